"""Hostile text in terminal cells: as wide as it says, in every terminal.

Terminals disagree about how wide joined emoji, variation selectors and skin tones are, and one that disagrees shifts
the rest of its line. Those characters are left out: a family is shown as the people it is made of.
"""

from __future__ import annotations

import re

from rich.cells import cell_len, set_cell_size, split_graphemes
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from batchdeck.inert import inert, inert_lines

ELLIPSIS = "…"
LONGEST = 4
"""Code points of a grapheme; few have more."""
_UNSURE = re.compile("[\u200d\ufe00-\ufe0f\U0001f3fb-\U0001f3ff\U000e0100-\U000e01ef]")
_PLAIN = re.compile("[ -~\u00a1-\u00ac\u00ae-\u02ff\u2010-\u2027\u23ce\u2400-\u2421\ufffd]*")
"""Text in which every character is one cell wide."""
_FILLERS = re.compile("[\u00ad\u115f\u1160\u3164\uffa0]")


def one_line(text: str) -> str:
    """Text for one cell of a table: inert, line breaks shown as ⏎."""
    return _certain(inert(text))


def many_lines(text: str) -> str:
    """Text for a pane: inert, line breaks stay."""
    return _certain(inert_lines(text))


def _certain(text: str) -> str:
    if text.isascii():
        return text
    return _FILLERS.sub("\ufffd", _UNSURE.sub("", text))


def fit(text: str, width: int, *, right: bool = False) -> str:
    """Exactly ``width`` cells: padded, or cut with an ellipsis. ``text`` is inert already."""
    if width <= 0:
        return ""
    is_plain = _PLAIN.fullmatch(text) is not None
    size = len(text) if is_plain else cell_len(text)
    if size > width:
        if is_plain:
            return text[: width - 1] + ELLIPSIS
        return set_cell_size(set_cell_size(text, width - 1) + ELLIPSIS, width)
    pad = " " * (width - size)
    return pad + text if right else text + pad


def fit_tail(text: str, width: int) -> str:
    """Exactly ``width`` cells showing the end of the text, for one that grows."""
    if width <= 0:
        return ""
    text = text[-LONGEST * width :]
    if _PLAIN.fullmatch(text):
        return text.ljust(width) if len(text) <= width else ELLIPSIS + text[len(text) - width + 1 :]
    excess = cell_len(text) - width
    if excess <= 0:
        return fit(text, width)
    spans, _ = split_graphemes(text)
    cut = 0
    for _, end, size in spans:
        excess -= size
        cut = end
        if excess < 0:
            break
    return fit(ELLIPSIS + text[cut:], width)


def wrap(text: str, width: int) -> list[str]:
    """One paragraph of inert text in lines of at most ``width`` cells (2 or more), broken at spaces where there are."""
    return [text[start:end] for start, end in wrap_spans(text, width)]


def wrap_spans(text: str, width: int) -> list[tuple[int, int]]:
    """The same as places in the text. A space at which a line is broken is in none of them."""
    lines: list[tuple[int, int]] = []
    if text.isascii():
        start = 0
        while len(text) - start > width:
            space = text.rfind(" ", start + 1, start + width + 1)
            end = space if space > 0 and text[start:space].strip() else start + width
            lines.append((start, end))
            start = end + (end == space)
        return [*lines, (start, len(text))]
    spans, _ = split_graphemes(text)
    start = used = 0
    space = -1  # where the newest space of this line begins, and the cells up to and with it
    after_space = 0
    for at, end, size in spans:
        if used + size > width:
            # a space after something visible: what follows it has room in a line of its own
            broken = space > start and after_space > 1 and bool(text[start:space].strip())
            lines.append((start, space if broken else at))
            start, used = (space + 1, used - after_space) if broken else (at, 0)
            space = -1
        used += size
        if text[at:end] == " ":
            space, after_space = at, used
    return [*lines, (start, len(text))]


def strip(parts: list[tuple[str, Style]], width: int, base: Style) -> Strip:
    """A line of exactly ``width`` cells out of inert texts with their styles."""
    return Strip([Segment(text, style) for text, style in parts if text]).adjust_cell_length(width, base)
