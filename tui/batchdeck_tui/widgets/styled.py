"""Pieces of text with the names of their styles, and lines of them that fit a width. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from batchdeck_tui.widgets.cells import wrap_spans

Part = tuple[str, str]
"""Text and the name of its style."""
Line = tuple[Part, ...]


def wrapped(parts: Sequence[Part], width: int) -> list[Line]:
    """One paragraph of inert parts in lines of at most ``width`` cells."""
    text = "".join(piece for piece, _ in parts)
    lines: list[Line] = []
    number, begins = 0, 0  # the part at which the line before ended, and its place in the text
    for start, end in wrap_spans(text, max(2, width)):
        line: list[Part] = []
        while number < len(parts):
            piece, name = parts[number]
            cut = piece[max(0, start - begins) : max(0, end - begins)]
            if cut:
                line.append((cut, name))
            if begins + len(piece) > end:
                break
            begins += len(piece)
            number += 1
        lines.append(tuple(line))
    return lines


def indented(lines: Sequence[Line], first: Part, rest: Part) -> list[Line]:
    """Something before the first line, and something as wide before the others."""
    return [((first if number == 0 else rest), *line) for number, line in enumerate(lines)]
