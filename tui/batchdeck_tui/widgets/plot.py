"""One chart as lines of inked text: curves drawn by plotext in braille, then filled, marked and labelled here.

plotext has one global figure, so curves are built one after another, each from an empty figure. Its own fill costs ten
times what a curve does, so the space under a curve is filled in the finished cells.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from batchdeck_tui.format import brief, clock, short
from batchdeck_tui.widgets.history import Mark, Note, Point, by_column

Run = tuple[str, str]
"""A piece of a line: text, and the name of its ink: a curve's, the same with ``-fill`` below it, ``axis``, ``mark``,
``auto``, ``note``."""

Cells = list[list[tuple[str, str]]]
"""Rows of (character, ink); every character is one cell wide."""

_SGR = re.compile(r"\x1b\[[0-9;]*m")
_BRAILLE = 0x2800
_LEFT, _RIGHT = (0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80)
"""The dots of a braille cell from top to bottom."""
_BLANK = (" ", "axis")
NOTES = {"settings": "◆", "quota": "◇", "breaker": "!"}
"""What stands on top of a note's dotted line, by kind; of several in one place the last of these kinds."""
SIGNS = {"concurrency": ("", "│", "mark"), "tune": ("a", "╎", "auto"), "sweep": ("s", "╎", "auto")}
"""How a turn of the cap is drawn, by who took it: before its arrow, as a line, and with which ink."""
CROWDED = 4
"""Columns from one mark to the next below which they are drawn as one: a line for each would hide the chart."""


@dataclass(frozen=True)
class Curve:
    """points in order of time; ``fill`` down to zero; ``stems``: a bar at each point instead of a line; ``steps``: a
    value holds until the next one, with no slope between them; ``gaps``: from when to when there was no value, and is
    no line."""

    ink: str
    points: Sequence[Point]
    fill: bool = False
    stems: bool = False
    steps: bool = False
    gaps: Sequence[tuple[float, float]] = ()


@dataclass(frozen=True)
class Frame:
    """Where a chart of ``width`` × ``height`` cells has what: ``columns`` × ``rows`` of it are the plot, over the time
    from ``first`` to ``last`` and values from 0 to ``top``."""

    first: float
    last: float
    top: float
    labels: Mapping[int, str]
    margin: int
    columns: int
    rows: int

    def column(self, t: float) -> int:
        """Where what was measured at ``t`` stands."""
        return column_of(t, (self.first, self.last), self.columns)

    def times(self, column: int) -> tuple[float, float]:
        """From when to when is in this column."""
        dot = (self.last - self.first) / (2 * self.columns - 1)
        return self.first + (2 * column - 0.5) * dot, self.first + (2 * column + 1.5) * dot

    def mark_times(self, column: int) -> tuple[float, float]:
        """From when to when marks stand in this column. One between two columns is in either."""
        step = (self.last - self.first) / max(1, self.columns - 1)
        half = 0.5 + 1e-9
        return self.first + (column - half) * step, self.first + (column + half) * step


def column_of(t: float, span: tuple[float, float], columns: int) -> int:
    """Where plotext puts what was measured at ``t``: it rounds to the dots of braille, two to a column."""
    share = (t - span[0]) / (span[1] - span[0])
    return min(columns - 1, max(0, int(share * (2 * columns - 1) + 0.5) // 2))


def frame_of(
    curves: Sequence[Curve],
    span: tuple[float, float],
    width: int,
    height: int,
    *,
    floor: float = 1.0,
    say: Callable[[float], str] = brief,
    margin: int = 0,
    axis: bool = True,
) -> Frame | None:
    """The frame for these curves; None: there is no room. say: a label of the y axis; margin: its least width; axis:
    whether the last line is for the times."""
    first, last = span[0], max(span[1], span[0] + 1.0)
    # a little room above the highest value, for captions
    top = ceiling(max([floor, *(1.08 * value for curve in curves for _, value in curve.points)]))
    rows = height - axis
    labels = ticks(top, rows + 1, say)
    margin = max([margin, *(len(label) + 1 for label in labels.values())])
    columns = width - margin
    if columns < 2 or rows < 1:
        return None
    return Frame(first, last, top, labels, margin, columns, rows)


def draw(
    curves: Sequence[Curve],
    marks: Sequence[Mark],
    span: tuple[float, float],
    width: int,
    height: int,
    *,
    notes: Sequence[Note] = (),
    floor: float = 1.0,
) -> list[list[Run]]:
    """A chart of ``width`` × ``height`` cells over a span of seconds, its y axis from 0.

    floor: the least top of the y axis.
    """
    frame = frame_of(curves, span, width, height, floor=floor)
    return paint(frame, curves, marks, notes) if frame is not None else []


def paint(
    frame: Frame, curves: Sequence[Curve], marks: Sequence[Mark], notes: Sequence[Note] = (), *, axis: bool = True
) -> list[list[Run]]:
    """The chart in this frame, each line as wide as the frame.

    Later curves lie over earlier ones; marks are vertical lines captioned with their value where there is room, dashed
    and signed where no person took the turn. Notes are dotted lines that leave out what a curve, a mark or a caption
    takes.
    """
    first, last = frame.first, frame.last
    cells: Cells = [[_BLANK] * frame.columns for _ in range(frame.rows)]
    for curve in curves:
        _lay_curve(cells, curve, (first, last), frame.top)
    _lay_notes(cells, notes, first, last)
    _lay_marks(cells, marks, first, last)
    lines: list[list[Run]] = []
    for number, row in enumerate(cells):
        label = frame.labels.get(number, "").rjust(frame.margin - 1) + " "
        lines.append([(label, "axis"), *runs(row)])
    if axis:
        lines.append([(" " * frame.margin + _time_axis(first, last, frame.columns), "axis")])
    return lines


def ceiling(value: float) -> float:
    """The next round number, a small multiple of a power of ten."""
    if not math.isfinite(value) or value <= 0:
        return 1.0
    scale = 10.0 ** math.floor(math.log10(value))
    for step in (1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10):
        if value <= step * scale * 1.0001:
            return step * scale
    return 10 * scale


def ticks(top: float, height: int, say: Callable[[float], str] = brief) -> dict[int, str]:
    """Labels of the y axis by row, from the top."""
    rows = height - 1
    labels = {0: say(top), rows - 1: "0"}
    if rows >= 6:
        labels[rows // 2] = say(top / 2)
    return labels


def _lay_curve(cells: Cells, curve: Curve, span: tuple[float, float], top: float) -> None:
    rows, columns = len(cells), len(cells[0])
    points: Sequence[Point] = by_column(curve.points, *span, columns)
    if curve.stems:
        points = [point for point in points if point[1] > 0]
    if curve.steps:
        points = stepped(points)
    if not points:
        return
    drawn = trace(points, span, top, columns, rows, is_line=not curve.stems)
    for begun, ended in curve.gaps:
        _blank(drawn, column_of(begun, span, columns) + 1, column_of(ended, span, columns))
    if curve.fill or curve.stems:
        _fill(drawn)
    crest = [True] * columns
    for row, line in enumerate(drawn):
        for column, code in enumerate(line[:columns]):
            if code > _BRAILLE:
                bright = crest[column] or not curve.fill
                cells[row][column] = (chr(code), curve.ink if bright else f"{curve.ink}-fill")
                crest[column] = False


def trace(
    points: Sequence[Point], span: tuple[float, float], top: float, columns: int, rows: int, *, is_line: bool = True
) -> list[list[int]]:
    """Rows of character codes: a line through the points, or the points alone, in braille, over x from ``span``, y from
    0 to ``top``. The only place where plotext draws."""
    import plotext as figure  # only now: the console paints its first frame without

    figure.clear_figure()
    figure.theme("clear")
    figure.limit_size(False, False)
    figure.plotsize(columns, rows)
    figure.xaxes(False, False)
    figure.yaxes(False, False)
    figure.xfrequency(0)
    figure.yfrequency(0)
    figure.xlim(*span)
    figure.ylim(0, top)
    (figure.plot if is_line else figure.scatter)(
        [x for x, _ in points], [value for _, value in points], marker="braille"
    )
    return [[ord(char) for char in line] for line in _SGR.sub("", figure.build()).split("\n")[:rows]]


def stepped(points: Sequence[Point]) -> list[Point]:
    """The points with a corner before each that has another value."""
    kept = list(points[:1])
    for (_, before), (t, value) in pairwise(points):
        kept += [(t, before), (t, value)] if value != before else [(t, value)]
    return kept


def _blank(drawn: list[list[int]], first: int, end: int) -> None:
    """Take out what was drawn from column ``first`` to before ``end``."""
    for line in drawn:
        line[first:end] = [ord(" ")] * len(line[first:end])


def _fill(drawn: list[list[int]]) -> None:
    """Set every dot below the highest one of its column."""
    for column in range(min(len(line) for line in drawn)):
        left = right = False
        for line in drawn:
            code = line[column]
            dots = code - _BRAILLE if code >= _BRAILLE else 0
            for left_dot, right_dot in zip(_LEFT, _RIGHT, strict=True):
                left, right = left or bool(dots & left_dot), right or bool(dots & right_dot)
                dots |= (left_dot if left else 0) | (right_dot if right else 0)
            if dots:
                line[column] = _BRAILLE + dots


_EMPTY_CELLS = (" ", "\u2800")


def _lay_marks(cells: Cells, marks: Sequence[Mark], first: float, last: float) -> None:
    """Vertical lines over the curves, from right to left so that the newest gets its caption."""
    columns = len(cells[0])
    free = columns
    inside = [
        (round((t - first) / (last - first) * (columns - 1)), value, kind)
        for t, value, kind in marks
        if first <= t <= last
    ]
    for column, begun, ended, kind in reversed(_merged(inside)):
        sign, line, ink = SIGNS.get(kind, SIGNS["concurrency"])
        for number, row in enumerate(cells):
            # Below the top, what was measured in this column stays to be seen, in the mark's ink.
            char = row[column][0]
            row[column] = (line if number == 0 or char in _EMPTY_CELLS else char, ink)
        captions = [f"{sign}→{short(ended)} " if sign else f"→ {short(ended)} "]
        if begun != ended:
            captions.insert(0, f"{sign}{' ' if sign else ''}{short(begun)} → {short(ended)} ")
        for caption in captions:
            if column + 1 + len(caption) <= free:
                cells[0][column + 1 : column + 1 + len(caption)] = [(char, ink) for char in caption]
                break
        free = column


def _lay_notes(cells: Cells, notes: Sequence[Note], first: float, last: float) -> None:
    """Dotted lines in the empty cells, with a sign of their kind on top."""
    columns = len(cells[0])
    kinds = list(NOTES)
    inside = [
        (round((t - first) / (last - first) * (columns - 1)), kinds.index(kind))
        for t, kind in sorted(notes)
        if first <= t <= last and kind in NOTES
    ]
    grouped: dict[int, int] = {}
    newest = start = -CROWDED
    for column, rank in inside:
        start, newest = (column if column - newest >= CROWDED else start), column
        grouped[start] = max(rank, grouped.get(start, rank))
    for column, rank in grouped.items():
        for number, row in enumerate(cells):
            if number == 0:
                row[column] = (NOTES[kinds[rank]], "note")
            elif row[column][0] in _EMPTY_CELLS:
                row[column] = ("┊", "note")


def _merged(marks: Sequence[tuple[int, float, str]]) -> list[tuple[int, float, float, str]]:
    """(column, first value, last value, who took the last) of marks by column; those that would stand side by side are
    one."""
    merged: list[tuple[int, float, float, str]] = []
    newest = -CROWDED
    for column, value, kind in marks:
        if column - newest < CROWDED:
            at, begun, _, _ = merged.pop()
            merged.append((at, begun, value, kind))
        else:
            merged.append((column, value, value, kind))
        newest = column
    return merged


def runs(row: list[tuple[str, str]]) -> list[Run]:
    """A row of cells as pieces of one ink each."""
    return [("".join(char for char, _ in run), ink) for ink, run in groupby(row, key=lambda cell: cell[1])]


def _time_axis(first: float, last: float, columns: int) -> str:
    """Elapsed times below the chart, as many as stand well apart."""
    line = [" "] * columns
    labels = 5 if columns >= 70 else 3 if columns >= 24 else 2
    for number in range(labels):
        share = number / (labels - 1)
        label = clock(first + (last - first) * share)
        start = min(max(0, round(share * (columns - 1)) - len(label) // 2), columns - len(label))
        if start >= 0:
            line[start : start + len(label)] = label
    return "".join(line)
