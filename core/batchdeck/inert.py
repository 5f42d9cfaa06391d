"""Hostile text made harmless: what a model or a file says must never steer a terminal.

Control characters become their Unicode pictures (``ESC`` is shown as ␛), bidirectional overrides and other invisible
format characters become ``�``; what is left has no effect outside its own cells.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

_PICTURES = {code: 0x2400 + code for code in range(0x20)} | {0x7F: 0x2421}
_INVISIBLE = (
    *range(0x80, 0xA0),  # C1 controls
    *(0x061C, 0x180E, 0x200B, 0x200C, 0x200E, 0x200F, 0x2028, 0x2029, 0xFEFF),
    *range(0x202A, 0x202F),  # bidirectional embeddings and overrides
    *range(0x2060, 0x2070),  # invisible operators, bidirectional isolates
    *range(0xD800, 0xE000),  # lone surrogates
    *range(0xFFF9, 0xFFFC),
    *range(0xE0000, 0xE0080),  # tags
)
_REPLACED = dict.fromkeys(_INVISIBLE, 0xFFFD)
_LINES = _PICTURES | _REPLACED
_LINES[0x0A] = 0x0A
_LINES[0x09] = 0x20
_ONE_LINE = _LINES | {0x0A: 0x23CE}
MAX_MARKS = 4
"""Combining marks kept on one character; more would paint over the rows above and below."""


def inert(text: str) -> str:
    """Text for one cell or one line: a line break is shown as ⏎."""
    return _tame(text.replace("\r\n", "\n").translate(_ONE_LINE))


def inert_lines(text: str) -> str:
    """Text for a pane of many lines: line breaks stay."""
    return _tame(text.replace("\r\n", "\n").translate(_LINES))


def _tame(text: str) -> str:
    if text.isascii() or not _maybe_marks().search(text):
        return text
    kept: list[str] = []
    marks = 0
    for char in text:
        marks = marks + 1 if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me") else 0
        if marks <= MAX_MARKS:
            kept.append(char)
    return "".join(kept)


@cache
def _maybe_marks() -> re.Pattern[str]:
    """Outside of these there is no combining mark: punctuation, symbols and pictures need no look at each character.
    Compiled when it is needed first: it takes as long as importing the rest."""
    return re.compile("[\u0300-\u1fff\u20d0-\u20ff\u2c00-\U0010ffff]")
