"""Throughput against concurrency: each level as a point, the fitted curve with its knee, and where the run is now.

Beside it, where there is room, the latency of each level.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from batchdeck.model import Measured
from batchdeck.tune.knee import Curve, Recommendation
from batchdeck.tune.levels import HALF, Visit, merged
from batchdeck_tui.format import short
from batchdeck_tui.widgets.plot import Cells, Run, ceiling, runs, ticks, trace

LONG = 10.0
"""Seconds measured from which on a point is a large one."""
AHEAD = 1.15
"""How far the x axis reaches beyond the highest level."""
BAND = "+band"
"""Appended to an ink: the same over the band in which the knee lies."""
POINT, SHORT, OLD, HELD, SWEPT, NOW, KNEE, TAIL = "●", "•", "∙", "○", "◇", "◆", "┊", "▴"
_DOTS = range(0x2801, 0x2900)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What is drawn.

    ``visits``: levels that the cap held; ``held``: stays that something else did; ``now``: (cap, items a second);
    ``at``: engine seconds, to tell old points from new ones; ``best``: what is recommended.
    """

    visits: Sequence[Visit] = ()
    held: Sequence[Visit] = ()
    swept: Sequence[Measured] = ()
    found: Recommendation | None = None
    best: int | None = None
    now: tuple[int, float] | None = None
    at: float = 0.0

    title: ClassVar[str] = "throughput by concurrency"
    unit: ClassVar[str] = "items/s"

    @property
    def is_empty(self) -> bool:
        return not (self.visits or self.held or self.swept)

    @property
    def curve(self) -> Curve | None:
        return self.found.curve if self.found is not None else None

    @property
    def points(self) -> list[tuple[int, float, str, str]]:
        """(concurrency, items a second, glyph, ink), those that lie above others last."""
        held = [(stay.concurrency, stay.throughput, HELD, "held") for stay in self.held]
        swept = [(level.concurrency, level.throughput, SWEPT, "swept") for level in self.swept]
        own = []
        for visit in self.visits:
            is_old = self.at - visit.ended > HALF
            glyph = OLD if is_old else POINT if visit.seconds >= LONG else SHORT
            own.append((visit.concurrency, visit.throughput, glyph, "old" if is_old else "point"))
        now = [(*self.now, NOW, "now")] if self.now is not None and self.now[0] > 0 else []
        return [*held, *swept, *own, *now]

    @property
    def legend(self) -> list[tuple[str, str, str]]:
        """(glyph, ink, what it means) of what is there."""
        there = {glyph: ink for _, _, glyph, ink in self.points}
        means = {
            POINT: "a level",
            SHORT: "a short look",
            OLD: "long ago",
            HELD: "held by a limit",
            SWEPT: "of the sweep",
            NOW: "now",
        }
        return [(glyph, there[glyph], meaning) for glyph, meaning in means.items() if glyph in there]


class LatencyScene(Scene):
    """The median latency of each level and its 95th percentile, where the run measured them; sweeps fill in."""

    title: ClassVar[str] = "latency by concurrency"
    unit: ClassVar[str] = "seconds"

    @property
    def is_empty(self) -> bool:
        return not self.points

    @property
    def curve(self) -> Curve | None:
        return None

    @property
    def points(self) -> list[tuple[int, float, str, str]]:
        own = {visit.concurrency: visit.e2e for visit in merged(self.visits)}
        known = {level.concurrency: level.e2e for level in self.swept} | own
        there = [(n, e2e) for n, e2e in known.items() if e2e is not None]
        tails = [(n, e2e.p95, TAIL, "held") for n, e2e in there]
        return [*tails, *((n, e2e.p50, POINT, "point") for n, e2e in there)]

    @property
    def legend(self) -> list[tuple[str, str, str]]:
        return [(POINT, "point", "p50"), (TAIL, "held", "p95")] if self.points else []


def draw(scene: Scene, width: int, height: int) -> list[list[Run]]:
    """``height`` lines of ``width`` cells, the last one the x axis; none where there is no room or nothing to draw.

    Inks: ``point`` ``old`` ``held`` ``swept`` ``now`` ``curve`` ``beyond`` (of what was measured) ``knee`` ``axis``,
    each also with ``BAND``.
    """
    points = scene.points
    if not points:
        return []
    right = _right(scene)
    measured = max(n for n, *_ in points)
    values = [y for _, y, *_ in points]
    if scene.curve is not None:
        values += [scene.curve.throughput(max(1.0, right * share)) for share in (0.25, 0.5, 0.75, 1.0)]
    top = ceiling(max([0.1, *(1.1 * y for y in values)]))
    labels = ticks(top, height)
    margin = max(len(label) for label in labels.values()) + 1
    columns, rows = width - margin, height - 1
    if columns < 8 or rows < 2:
        return []
    cells: Cells = [[(" ", "axis")] * columns for _ in range(rows)]
    if scene.curve is not None:
        _lay_curve(cells, scene.curve, measured, right, top)
    _lay_knee(cells, scene, right)
    for n, y, glyph, ink in points:
        row = rows - 1 - min(rows - 1, round(y / top * (rows - 1)))
        cells[row][_column(n, right, columns)] = (glyph, ink)
    _tint(cells, scene.found, right)
    lines = [[(labels.get(place, "").rjust(margin - 1) + " ", "axis"), *runs(row)] for place, row in enumerate(cells)]
    return [*lines, [(" " * margin + _x_axis(right, columns), "axis")]]


def _right(scene: Scene) -> float:
    """The end of the x axis: beyond the highest level, and beyond the knee's interval where that is near."""
    top = max(n for n, *_ in scene.points)
    knee = scene.best or 0
    high = scene.found.high if scene.found is not None and scene.found.high is not None else 0
    return max(4.0, AHEAD * max(top, min(max(high, knee), 2 * top)))


def _column(concurrency: float, right: float, columns: int) -> int:
    return min(columns - 1, round(concurrency / right * (columns - 1)))


def _lay_curve(cells: Cells, curve: Curve, measured: int, right: float, top: float) -> None:
    rows, columns = len(cells), len(cells[0])
    steps = 2 * columns
    line = [(x, curve.throughput(x)) for x in (1.0 + (right - 1.0) * step / steps for step in range(steps + 1))]
    last = _column(measured, right, columns)
    for row, codes in enumerate(trace(line, (0.0, right), top, columns, rows)):
        for column, code in enumerate(codes[:columns]):
            if code in _DOTS:
                cells[row][column] = (chr(code), "curve" if column <= last else "beyond")


def _lay_knee(cells: Cells, scene: Scene, right: float) -> None:
    """A dotted line where more stops paying, with its figure and how sure that is on top."""
    if scene.best is None:
        return
    columns = len(cells[0])
    at = _column(scene.best, right, columns)
    for row in cells:
        if row[at][0] == " ":
            row[at] = (KNEE, "knee")
    found = scene.found
    sure = found is not None and found.low is not None and found.high is not None and found.concurrency == scene.best
    captions = [f"best {scene.best}"]
    if sure and found is not None and found.low != found.high:
        captions.insert(0, f"best {scene.best} ({found.low}–{found.high})")
    for caption in captions:
        for start in (at + 1, at - len(caption)):
            if start >= 0 and start + len(caption) <= columns:
                cells[0][start : start + len(caption)] = [(char, "knee") for char in caption]
                return


def _tint(cells: Cells, found: Recommendation | None, right: float) -> None:
    if found is None or found.low is None or found.high is None:
        return
    columns = len(cells[0])
    first, last = _column(found.low, right, columns), _column(min(found.high, right), right, columns)
    for row in cells:
        for column in range(first, last + 1):
            char, ink = row[column]
            row[column] = (char, ink + BAND)


def _x_axis(right: float, columns: int) -> str:
    """Concurrencies at round steps, well apart from each other."""
    line = [" "] * columns
    widest = len(short(right))
    least = right * (widest + 4) / columns
    scale = 10.0 ** math.floor(math.log10(max(1.0, least)))
    step = next(int(scale * times) for times in (1, 2, 5, 10) if scale * times >= max(1.0, least))
    for value in range(0, int(right) + 1, step):
        text, at = short(value), _column(value, right, columns)
        start = min(max(0, at - len(text) // 2), columns - len(text))
        if start >= 0 and all(char == " " for char in line[max(0, start - 1) : start + len(text)]):
            line[start : start + len(text)] = text
    return "".join(line)
