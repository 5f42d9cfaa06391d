"""What a run's own samples say of each concurrency: throughput, latencies, 429s, once it has settled there.

A visit is a stay at one concurrency. It counts from when the change before it has worked its way through, which takes
about as long as the slowest answers, and only for the seconds in which the concurrency was what held the run: a run
that waits for a quota, a disk or its last answers tells nothing of the level it stands at.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from batchdeck.metrics.histogram import Histogram
from batchdeck.model import Percentiles, Sample
from batchdeck.tune.knee import Level

BOUND = 0.8
"""Share of a sample's time that the cap must have held the run."""
LEAST_WAIT, MOST_WAIT = 2.0, 120.0
"""Seconds that a level is given to settle, at least and at most."""
SLOW = 1.5
"""A level has settled after so many times the 95th percentile of the latency."""
REMEMBERED = 300
"""Visits that are kept: the oldest go."""
HALF = 900.0
"""Seconds by which what was measured counts half: a provider is another one tonight."""


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """One stay at a concurrency, settled. ``began``, ``ended``: engine seconds. ``throughput``: items a second.

    ``refused``: share of the attempts that were answered 429.
    """

    concurrency: int
    began: float
    ended: float
    seconds: float
    items: int
    throughput: float
    tokens_rate: float
    refused: float
    e2e: Percentiles | None = None
    ttft: Percentiles | None = None


class _Stay:
    """Adds up the samples of one visit."""

    def __init__(self, concurrency: int, began: float) -> None:
        self.concurrency = concurrency
        self.began = self.ended = began
        self.seconds = 0.0
        self.items = self.tokens = self.attempts = self.hits = 0
        self.e2e, self.ttft = Histogram(), Histogram()

    def add(self, sample: Sample) -> None:
        self.ended = sample.t
        self.seconds += sample.dt
        self.items += sample.done + sample.failed
        self.tokens += sample.tokens_out
        self.attempts += sample.attempts
        self.hits += sample.rate_limit_hits
        self.e2e.fill(sample.e2e)
        self.ttft.fill(sample.ttft)

    def seen(self) -> Visit | None:
        if self.seconds <= 0:
            return None
        return Visit(
            concurrency=self.concurrency,
            began=self.began,
            ended=self.ended,
            seconds=self.seconds,
            items=self.items,
            throughput=self.items / self.seconds,
            tokens_rate=self.tokens / self.seconds,
            refused=self.hits / self.attempts if self.attempts else 0.0,
            e2e=self.e2e.percentiles(),
            ttft=self.ttft.percentiles(),
        )


class Stays:
    """Fed with a run's samples in order of time; gives its visits. Memory does not grow with the run."""

    def __init__(self) -> None:
        self._past: list[Visit] = []
        self._here: _Stay | None = None
        self._cap = 0
        self._settles = 0.0
        self._latency = Histogram()
        """Of the last level that told any: how long a change takes to work its way through."""
        self._seen: Visit | None = None
        self._last = -1.0

    def add(self, sample: Sample) -> None:
        """One more sample; one that was added already is left out."""
        if sample.t <= self._last:
            return
        # A new session begins with nothing in flight.
        is_gap = sample.t - sample.dt > self._last + 0.5 and self._last >= 0
        self._last = sample.t
        if sample.concurrency != self._cap or is_gap:
            self._leave()
            self._cap = sample.concurrency
            # The sample in which the cap was turned is of both levels.
            self._settles = sample.t + self._wait()
            self._latency = Histogram()
        self._latency.fill(sample.e2e)
        if sample.t - sample.dt < self._settles - 1e-9:
            return
        if sample.dt <= 0 or sample.held.get("cap", 0.0) < BOUND * sample.dt:
            return
        if self._here is None:
            self._here = _Stay(self._cap, sample.t - sample.dt)
        self._here.add(sample)
        self._seen = None

    def visits(self) -> Sequence[Visit]:
        """All that are remembered, oldest first, the one under way among them."""
        if self._here is None:
            return tuple(self._past)
        self._seen = self._seen or self._here.seen()
        return (*self._past, self._seen) if self._seen is not None else tuple(self._past)

    def _wait(self) -> float:
        slow = self._latency.percentiles()
        return min(MOST_WAIT, max(LEAST_WAIT, SLOW * slow.p95)) if slow is not None else LEAST_WAIT

    def _leave(self) -> None:
        left = self._here.seen() if self._here is not None else None
        self._here = self._seen = None
        if left is not None:
            self._past = [*self._past, left][-REMEMBERED:]


def fitting(visits: Sequence[Visit], now: float) -> list[Level]:
    """The visits as ``knee`` takes them, older ones with less weight. now: engine seconds."""
    return [
        Level(
            concurrency=visit.concurrency,
            throughput=visit.throughput,
            seconds=visit.seconds * 0.5 ** (max(0.0, now - visit.ended) / HALF),
        )
        for visit in visits
        if visit.seconds > 0
    ]
