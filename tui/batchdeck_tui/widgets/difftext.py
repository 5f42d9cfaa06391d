"""What two answers have in common, and what not, as lines: side by side where there is room. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from rich.cells import cell_len

from batchdeck_tui.widgets.cells import many_lines
from batchdeck_tui.widgets.styled import Line, Part, wrapped

Side = list[Part] | None
"""A line on one side; None: there is none."""
MOST_LINES = 2_000
"""Of each text; comparing takes time with their square."""
SIDE_BY_SIDE = 100
"""Cells from which on the two stand side by side."""
MOST_WORDS = 4_000_000
"""Pairs of words that are compared, one of either text, in all: a few tenths of a second."""
ALIKE = 0.3
"""From so alike on, two lines are shown as one that was changed."""


class Allowance:
    """So much may be taken, in all."""

    def __init__(self, left: int) -> None:
        self._left = left

    def take(self, wanted: int) -> bool:
        """Whether there is as much; then it is gone."""
        if wanted > self._left:
            return False
        self._left -= wanted
        return True


def diff_lines(before: str, after: str, width: int) -> list[Line]:
    """The difference from one text to another, in lines of at most ``width`` cells."""
    old, new = (many_lines(text).split("\n") for text in (before, after))
    cut = len(old) > MOST_LINES or len(new) > MOST_LINES
    old, new = old[:MOST_LINES], new[:MOST_LINES]
    show = _beside if width >= SIDE_BY_SIDE else _below
    lines: list[Line] = []
    allowance = Allowance(MOST_WORDS)
    for kind, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=len(old) > 200).get_opcodes():
        is_same = kind == "equal"
        pairs = (
            [(_whole(line), _whole(line)) for line in old[a:b]] if is_same else _changed(old[a:b], new[c:d], allowance)
        )
        for left, right in pairs:
            lines += show(left, right, width, is_same)
    if cut:
        lines.append(((f"… only the first {MOST_LINES:,} lines are compared", "label"),))
    return lines


def _whole(line: str) -> Side:
    return [(line, "text")]


def _changed(old: Sequence[str], new: Sequence[str], allowance: Allowance) -> list[tuple[Side, Side]]:
    """Lines that were changed into others, with the words that are new or gone as far as the allowance goes; None:
    there is none on that side."""
    pairs: list[tuple[Side, Side]] = []
    for number in range(max(len(old), len(new))):
        before = old[number] if number < len(old) else None
        after = new[number] if number < len(new) else None
        if before is None or after is None:
            pairs.append((None if before is None else [(before, "gone")], None if after is None else [(after, "new")]))
            continue
        words = _words(before), _words(after)
        matcher = difflib.SequenceMatcher(None, *words, autojunk=False)
        if not allowance.take(len(words[0]) * len(words[1])) or matcher.ratio() < ALIKE:
            pairs.append(([(before, "gone")], [(after, "new")]))
            continue
        left: list[Part] = []
        right: list[Part] = []
        for kind, a, b, c, d in matcher.get_opcodes():
            left.append(("".join(words[0][a:b]), "text" if kind == "equal" else "gone"))
            right.append(("".join(words[1][c:d]), "text" if kind == "equal" else "new"))
        pairs.append((left, right))
    return pairs


def _words(line: str) -> list[str]:
    words: list[str] = []
    for char in line:
        if words and char.isalnum() and words[-1][-1].isalnum():
            words[-1] += char
        else:
            words.append(char)
    return words


def _below(left: Side, right: Side, width: int, is_same: bool) -> list[Line]:
    if is_same:
        return [(("  ", "label"), *line) for line in wrapped(left or [], width - 2)]
    lines: list[Line] = []
    for parts, sign, name in ((left, "- ", "gone"), (right, "+ ", "new")):
        if parts is not None:
            lines += [((sign, name), *line) for line in wrapped(parts, width - 2)]
    return lines


def _beside(left: Side, right: Side, width: int, is_same: bool) -> list[Line]:
    half = (width - 3) // 2
    sides = [wrapped(parts, half - 2) if parts is not None else [] for parts in (left, right)]
    lines: list[Line] = []
    for number in range(max(len(side) for side in sides)):
        line: list[Part] = []
        for side, sign, name in ((sides[0], "- ", "gone"), (sides[1], "+ ", "new")):
            piece = side[number] if number < len(side) else None
            line.append(("  " if is_same or piece is None else sign, name))
            line += piece or ()
            if sign == "- ":
                used = sum(cell_len(text) for text, _ in piece or ())
                line += [(" " * (half - 2 - used), "text"), (" │ ", "rule")]
        lines.append(tuple(line))
    return lines
