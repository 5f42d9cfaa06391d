"""What the charts draw: points by time, in bounded memory, with no peak ever lost."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from batchdeck.model import Event, Sample

Point = tuple[float, float]
"""(seconds since the run began, value)"""

KEPT = 3_600
"""Points of one series kept as they came: an hour of samples. Older ones are thinned."""
KEPT_MARKS = 500
NOTED = ("settings", "breaker", "quota")
"""Events beside turns of the cap that change how a run goes."""

TURNS = ("concurrency", "tune", "sweep")
"""Events that turn the cap: by a person, by the engine, for a level of a sweep."""

Mark = tuple[float, float, str]
"""(seconds since the run began, new cap, kind of the event)"""
Note = tuple[float, str]
"""(seconds since the run began, kind of the event)"""


class Series:
    """Points in order of time; beyond ``KEPT`` the older half is thinned to the least and the greatest of each four."""

    def __init__(self) -> None:
        self.points: list[Point] = []

    def append(self, point: Point) -> None:
        self.points.append(point)
        if len(self.points) > KEPT:
            half = len(self.points) // 2
            self.points[:half] = thin(self.points[:half], 4)


def thin(points: Sequence[Point], group: int) -> list[Point]:
    """The least and the greatest of each ``group`` consecutive points, in order of time."""
    kept: list[Point] = []
    for start in range(0, len(points), group):
        few = points[start : start + group]
        low, high = min(few, key=_value), max(few, key=_value)
        kept.extend(sorted({low, high}))
    return kept


def by_column(points: Sequence[Point], first: float, last: float, columns: int) -> list[Point]:
    """The least and the greatest point of each of ``columns`` equal spans of time, and the last one."""
    span = (last - first) / columns if last > first and columns > 0 else 0.0
    if not span or len(points) <= 2 * columns:
        return list(points)
    kept: list[Point] = []
    start, column = 0, 0
    for place, (t, _) in enumerate(points):
        here = min(columns - 1, int((t - first) / span))
        if here != column:
            kept.extend(thin(points[start:place], place - start) if place > start else ())
            start, column = place, here
    kept.extend(thin(points[start:], len(points) - start))
    # a flat curve still reaches to its end
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]


def _value(point: Point) -> float:
    return point[1]


def _depth(sample: Sample) -> float:
    """Items that waited, on average over the sample; at its end, where an older engine took no mean.

    Those that counted no reasons took none either; an engine that does says 0 when it means it.
    """
    return sample.queue_depth if sample.queue_depth > 0 or sample.waits else float(sample.queued)


@dataclass
class History:
    """The samples of one run as series and sums, and what was changed meanwhile."""

    series: dict[str, Series] = field(
        default_factory=lambda: {name: Series() for name in ("throughput", "in_flight", "cap", "queue", "hits")}
    )
    marks: list[Mark] = field(default_factory=list)
    """Every change of concurrency, and who took it."""
    notes: list[Note] = field(default_factory=list)
    """The events of the kinds in ``NOTED``."""
    held: dict[str, float] = field(default_factory=dict)
    """Seconds that each reason held the run, in all."""
    last: Sample | None = None
    began: float = 0.0
    """When the first sample's interval began."""
    hits: int = 0
    """Rate-limit hits in all."""
    settled: int = 0
    tokens: int = 0
    """Tokens of answers in all."""
    seconds: float = 0.0
    """Time that the samples cover."""
    most: dict[str, int] = field(default_factory=lambda: {"in_flight": 0, "queue": 0})
    """The greatest value of a series ever, of samples drawn or not."""

    def since(self, name: str, first: float) -> list[Point]:
        """The points of a series from ``first`` on."""
        points = self.series[name].points
        return points[bisect_left(points, (first, float("-inf"))) :]

    def extend(self, samples: Sequence[Sample], events: Sequence[Event]) -> bool:
        """New samples and events in order of time; those seen already are left out. True: there was something new."""
        before = (self.last, len(self.marks), len(self.notes))
        for sample in samples:
            if self.last is not None and sample.t <= self.last.t:
                continue
            if self.last is None:
                self.began = max(0.0, sample.t - sample.dt)
            self.last = sample
            self.hits += sample.rate_limit_hits
            settled = sample.done + sample.failed
            self.settled += settled
            self.tokens += sample.tokens_out
            self.seconds += sample.dt
            for reason, seconds in sample.held.items():
                self.held[reason] = self.held.get(reason, 0.0) + seconds
            self.most = {
                "in_flight": max(self.most["in_flight"], sample.in_flight_max),
                "queue": max(self.most["queue"], sample.queued),
            }
            values = {
                "throughput": settled / sample.dt if sample.dt > 0 else 0.0,
                "in_flight": sample.in_flight,
                "cap": float(sample.concurrency),
                "queue": _depth(sample),
                "hits": float(sample.rate_limit_hits),
            }
            for name, value in values.items():
                self.series[name].append((sample.t, value))
        for event in events:
            mark = (event.t, event.value or 0.0, event.kind)
            if event.kind in TURNS and event.value is not None and mark not in self.marks:
                self.marks.append(mark)
            elif event.kind in NOTED and (event.t, event.kind) not in self.notes:
                self.notes.append((event.t, event.kind))
        changed = (self.last, len(self.marks), len(self.notes)) != before
        del self.marks[:-KEPT_MARKS], self.notes[:-KEPT_MARKS]
        return changed
