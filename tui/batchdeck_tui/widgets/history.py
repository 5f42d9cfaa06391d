"""What the charts draw: points by time, in bounded memory, with no peak ever lost."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import itemgetter

from batchdeck.model import Event, Sample
from batchdeck.tune.recent import SECONDS, Recent

Point = tuple[float, float]
"""(seconds since the run began, value)"""

KEPT = 3_600
"""Points of one series kept as they came: an hour of samples. Older ones are thinned."""
SHORTEST = 0.5
"""Seconds that a rate is over, at least."""
KEPT_MARKS = 500
KEPT_GAPS = 500
NOTED = ("settings", "breaker", "quota")
"""Events beside turns of the cap that change how a run goes."""

TURNS = ("concurrency", "tune", "sweep")
"""Events that turn the cap: by a person, by the engine, for a level of a sweep."""

UNTOLD = ("rate_limited",)
"""Events that are not kept to be told beside a cursor: they come by the hundred, and have a chart of their own."""

SERIES = ("throughput", "in_flight", "cap", "queue", "hits", "tokens", "cost", "at")
"""Filled with every sample: items/s, mean in flight, cap, mean depth, 429s a sample, tokens/s, dollars so far, and the
wall clock, in seconds since the epoch."""
LATENCIES = ("ttft_p50", "ttft_p95", "e2e_p50", "e2e_p95")
"""Of the answers of the last seconds up to a sample; a sample with none before it has no point."""

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
    start = 0
    for column in range(1, columns + 1):
        # by bisection: a loop over the points themselves took as long as plotext does
        end = bisect_left(points, (first + column * span,), start) if column < columns else len(points)
        if end > start:
            kept.extend(thin(points[start:end], end - start))
            start = end
    # a flat curve still reaches to its end
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]


_value = itemgetter(1)


def span(sample: Sample) -> float:
    """Seconds that the sample's figures are over, for a rate. A run that ends leaves a piece of a second: taken for
    itself, the few items that landed in it would be the run's greatest throughput."""
    return max(sample.dt, SHORTEST)


def _depth(sample: Sample) -> float:
    """Items that waited, on average over the sample; at its end, where an older engine took no mean.

    Those that counted no reasons took none either; an engine that does says 0 when it means it.
    """
    return sample.queue_depth if sample.queue_depth > 0 or sample.waits else float(sample.queued)


@dataclass
class History:
    """The samples of one run as series and sums, and what was changed meanwhile."""

    series: dict[str, Series] = field(default_factory=lambda: {name: Series() for name in (*SERIES, *LATENCIES)})
    marks: list[Mark] = field(default_factory=list)
    """Every change of concurrency, and who took it."""
    notes: list[Note] = field(default_factory=list)
    """The events of the kinds in ``NOTED``."""
    told: list[Event] = field(default_factory=list)
    """The newest events of all kinds but those in ``UNTOLD``."""
    version: int = 0
    """Grows with every mark and note: one may stand before the newest sample."""
    gaps: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: {name: [] for name in LATENCIES})
    """From when to when a series had no value, of the newest such times that are over."""
    timed: float = 0.0
    """Up to when it is known how long answers took: that comes later than the rest."""
    recent: Recent = field(default_factory=Recent)
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
    cost: float = 0.0
    """Dollars in all."""
    unpriced: int = 0
    """Answers of which no price is known."""
    seconds: float = 0.0
    """Time that the samples cover."""
    most: dict[str, int] = field(default_factory=lambda: {"in_flight": 0, "queue": 0})
    """The greatest value of a series ever, of samples drawn or not."""

    def between(self, name: str, first: float, last: float) -> list[Point]:
        """The points of a series from ``first`` to ``last``."""
        points = self.series[name].points
        low = bisect_left(points, (first, float("-inf")))
        return points[low : bisect_right(points, (last, float("inf")), low)]

    def within(self, name: str, first: float, last: float) -> tuple[float, float] | None:
        """The least and the greatest value of a series from ``first`` to ``last``.

        Where none fell in between: the one that was measured next, which holds for the time before it, else the newest.
        Latencies hold for no longer than they are taken over. None: there is none.
        """
        points = self.series[name].points
        low = bisect_left(points, (first, float("-inf")))
        high = bisect_right(points, (last, float("inf")), low)
        if low == high:
            near = points[low] if low < len(points) else points[-1] if points else None
            if near is None or (name in LATENCIES and not last <= near[0] <= last + SECONDS):
                return None
            return near[1], near[1]
        values = [value for _, value in points[low:high]]
        return min(values), max(values)

    def next_sample(self, t: float, step: int) -> float:
        """The time of the sample after ``t`` (step 1) or before it (-1); ``t`` itself at the end."""
        points = self.series["at"].points
        at = bisect_right(points, (t, float("inf"))) if step > 0 else bisect_left(points, (t, float("-inf"))) - 1
        return points[at][0] if 0 <= at < len(points) else t

    def nearest_sample(self, t: float) -> float:
        """The time of the sample that is nearest; ``t`` itself while there are none."""
        points = self.series["at"].points
        at = bisect_left(points, (t, float("-inf")))
        return min((point[0] for point in points[max(0, at - 1) : at + 1]), key=lambda near: abs(near - t), default=t)

    def wall_clock(self, t: float) -> float | None:
        """Seconds since the epoch at ``t`` seconds of the run. Sessions of a run lie apart, so no clock but the
        samples' own tells it."""
        points = self.series["at"].points
        at = min(bisect_left(points, (t, float("-inf"))), len(points) - 1)
        return points[at][1] + t - points[at][0] if points else None

    def told_within(self, first: float, last: float) -> list[Event]:
        """The events from ``first`` to ``last``, in order of time."""
        return [event for event in self.told if first <= event.t <= last]

    def next_told(self, t: float, step: int) -> float | None:
        """When the mark or the note after ``t`` (step 1) or before it (-1) stands; None: there is none."""
        times = sorted({mark[0] for mark in self.marks} | {note[0] for note in self.notes})
        at = bisect_right(times, t) if step > 0 else bisect_left(times, t) - 1
        return times[at] if 0 <= at < len(times) else None

    def time(self, samples: Sequence[Sample]) -> None:
        """How long answers took, of new samples in order of time.

        Apart from ``extend``, as it takes ten times as long: hand over a long past in pieces.
        """
        for sample in samples:
            ttft, e2e = self.recent.add(sample)
            for name, found in (("ttft", ttft), ("e2e", e2e)):
                if found is not None:
                    self._timed(f"{name}_p50", sample, found.p50)
                    self._timed(f"{name}_p95", sample, found.p95)
            self.timed = sample.t

    def _timed(self, name: str, sample: Sample, value: float) -> None:
        points, gaps = self.series[name].points, self.gaps[name]
        if points and points[-1][0] < self.timed:
            gaps.append((points[-1][0], sample.t))
            del gaps[:-KEPT_GAPS]
        self.series[name].append((sample.t, value))

    def extend(self, samples: Sequence[Sample], events: Sequence[Event]) -> bool:
        """New samples and events in order of time; those seen already are left out. True: there was something new."""
        before = (self.last, self.version)
        self._tell(events)
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
            self.cost += sample.cost
            self.seconds += sample.dt
            for reason, seconds in sample.held.items():
                self.held[reason] = self.held.get(reason, 0.0) + seconds
            self.most = {
                "in_flight": max(self.most["in_flight"], sample.in_flight_max),
                "queue": max(self.most["queue"], sample.queued),
            }
            values = {
                "throughput": settled / span(sample),
                "in_flight": sample.in_flight,
                "cap": float(sample.concurrency),
                "queue": _depth(sample),
                "hits": float(sample.rate_limit_hits),
                "tokens": sample.tokens_out / span(sample),
                "cost": self.cost,
                "at": sample.at,
            }
            for name, value in values.items():
                self.series[name].append((sample.t, value))
        for event in events:
            mark = (event.t, event.value or 0.0, event.kind)
            if event.kind in TURNS and event.value is not None and mark not in self.marks:
                self.marks.append(mark)
                self.version += 1
            elif event.kind in NOTED and (event.t, event.kind) not in self.notes:
                self.notes.append((event.t, event.kind))
                self.version += 1
        changed = (self.last, self.version) != before
        del self.marks[:-KEPT_MARKS], self.notes[:-KEPT_MARKS]
        return changed

    def _tell(self, events: Sequence[Event]) -> None:
        new = [event for event in events if event.kind not in UNTOLD and event not in self.told]
        if new:
            self.told = [*self.told, *new][-KEPT_MARKS:]
