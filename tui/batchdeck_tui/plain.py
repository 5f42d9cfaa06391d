"""A screen of nothing but ASCII, for terminals and fonts that know no more. Every cell stays as wide as it is."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

_SIGNS = {
    "·∙•": ".", "…≈": "~", "⏎␊": "|", "→▸▶»›": ">", "←◀«‹": "<", "↑▴▲": "^", "↓▽▾▼": "v", "×✗": "X", "✓☑": "+",
    "☐": "_", "◇◆": "*", "●": "@", "○": "o", "◌": "?", "↻": "%", "↯": "!", "■": "#", "‖┃│╎┊┆║▌▐▏▎▍▊▋▉": "|",
    "–—─━╸╺╍═": "-", "“”„": '"', "‘’": "'", "≥": ">", "≤": "<", "±": "+", "ø": "~", "␣": "_", "⇧": "^",
    "╭╮╰╯┌┐└┘├┤┬┴┼": "+", "█▀▄▇▆": "#", "▁▂▃▔": "_", "▅": "=", "░▒▓": "%",
}  # fmt: skip
_TABLE = {ord(char): sign for chars, sign in _SIGNS.items() for char in chars}
_OTHER = re.compile("[^ -~]")
_DOTS = " ..::++##"
"""A braille cell by how many of its eight dots are set."""


class AsciiFilter(LineFilter):
    """Put over all that is painted."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            segment if segment.text.isascii() else Segment(plain(segment.text), segment.style, segment.control)
            for segment in segments
        ]


def plain(text: str) -> str:
    """The text in ASCII, in as many cells."""
    return _OTHER.sub(lambda found: _one(found[0]), text.translate(_TABLE))


@lru_cache(maxsize=4_096)
def _one(char: str) -> str:
    code = ord(char)
    if 0x2800 <= code < 0x2900:
        return _DOTS[(code - 0x2800).bit_count()]
    if 0x2400 <= code <= 0x2421:
        return "?"  # the picture of a control character
    width = cell_len(char)
    letters = "".join(one for one in unicodedata.normalize("NFKD", char) if " " <= one <= "~")
    return letters if len(letters) == width else "?" * width
