"""What the last turns of the concurrency did, beside the charts: before and after, newest first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, get_args

from rich.cells import cell_len

from batchdeck_tui.turns import Figures, Form, Turn, figures
from batchdeck_tui.widgets.cells import fit
from batchdeck_tui.widgets.linewise import Line, Linewise, Part

GAP = 2
"""Cells between two figures."""
HIGH = 32
"""Lines of the terminal from which on there is room for several turns."""
SEVERAL = 4


def lines(turns: Sequence[Turn], width: int, most: int) -> list[Line]:
    """A line a turn, the newest first, each at most ``width`` cells.

    Figures of all lines stand below each other. Where there is no room for before and after, after is what stays; after
    that the last figures go.
    """
    shown = turns[:most]
    if not shown:
        return []
    for form in get_args(Form):
        told = _aligned([figures(turn, form) for turn in shown])
        columns = _widths(told)
        if sum(columns) + GAP * (len(columns) - 1) <= width:
            break
    return [_line(parts, columns, width) for parts in told]


def _aligned(told: Sequence[Figures]) -> list[Figures]:
    """The changes of a column below each other, whatever stands before them."""
    values: dict[int, int] = {}
    for parts in told:
        for place, figure in enumerate(parts):
            if figure[-1][0].startswith(" "):
                values[place] = max(values.get(place, 0), _size(figure[:-1]))
    return [
        tuple(
            [*figure[:-1], (" " * (values[place] - _size(figure[:-1])), "text"), figure[-1]]
            if figure[-1][0].startswith(" ")
            else figure
            for place, figure in enumerate(parts)
        )
        for parts in told
    ]


def _widths(told: Sequence[Figures]) -> list[int]:
    """Of each column. What stands last in its line, as a turn that settles does, widens no column that others use."""
    columns: list[int] = []
    for place in range(max(len(parts) for parts in told)):
        inner = [_size(parts[place]) for parts in told if place < len(parts) - 1]
        last = [_size(parts[place]) for parts in told if place == len(parts) - 1]
        columns.append(max(inner or last or [0]))
    return columns


def _size(parts: Sequence[Part]) -> int:
    return sum(cell_len(text) for text, _ in parts)


def _line(parts: Figures, columns: Sequence[int], width: int) -> Line:
    line: list[Part] = []
    used = 0
    for place, figure in enumerate(parts):
        size = _size(figure)
        if used + size > width:
            if place == 1:  # a turn without a single figure would tell nothing
                words = "".join(text for text, _ in figure)
                line.append((fit(words, max(0, width - used)), figure[-1][1]))
            break
        line += figure
        pad = max(0, columns[place] - size) + GAP if place < len(parts) - 1 else 0
        line.append((" " * min(pad, max(0, width - used - size)), "text"))
        used += size + pad
    return tuple(line)


class TurnStrip(Linewise):
    """Empty until the concurrency was turned."""

    INKS: ClassVar[Mapping[str, str]] = {
        "text": "$foreground",
        "label": "$text-muted",
        "better": "bold $text-success",
        "worse": "bold $text-error",
    }
    DEFAULT_CSS = """
    TurnStrip {
        height: auto; width: 1fr; padding: 0 1; color: $foreground;
    }
    """

    def __init__(self, *, name: str | None = None, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self._turns: Sequence[Turn] = ()

    def show(self, turns: Sequence[Turn]) -> None:
        """All turns, the newest first."""
        self._turns = turns
        self.tell()

    def lines(self, width: int) -> list[Line]:
        return lines(self._turns, width, SEVERAL if self.app.size.height >= HIGH else 1)
