"""What a run's own samples say of each concurrency: throughput, latencies, 429s, once it has settled there.

A visit is a stay at one concurrency. It counts from when the change before it has worked its way through, which takes
about as long as the slowest answers, and only for the seconds in which the concurrency was what held the run: a run
that waits for a quota, a disk or its last answers tells nothing of the level it stands at. What a turn of the knob
did to the run is another question: for that a stay counts whatever held it.
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
REMEMBERED_STAYS = 50
"""The same of stays whatever held them."""
STILL = frozenset({"paused", "stopping", "input", "sweep", "breaker"})
"""What holds a run that tells nothing even of itself: it does not work as it would."""
HALF = 900.0
"""Seconds by which what was measured counts half: a provider is another one tonight."""


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """One stay at a concurrency, settled. ``began``, ``ended``: engine seconds. ``items``, ``throughput``:
    good answers, in all and a second.

    ``refused``: share of the attempts that were answered 429. ``in_flight``: on average. ``held``: seconds that each
    reason held the run. ``answers``, ``first_tokens``: latencies as counts by bucket of ``metrics.histogram``.
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
    attempts: int = 0
    in_flight: float = 0.0
    held: dict[str, float] = {}
    answers: dict[int, int] = {}
    first_tokens: dict[int, int] = {}

    @property
    def is_bound(self) -> bool:
        """Whether the concurrency was what held the run."""
        return self.held.get("cap", 0.0) >= BOUND * self.seconds


class _Stay:
    """Adds up the samples of one visit."""

    def __init__(self, concurrency: int, began: float) -> None:
        self.concurrency = concurrency
        self.began = self.ended = began
        self.seconds = 0.0
        self.items = self.tokens = self.attempts = self.hits = 0
        self.flying = 0.0
        self.held: dict[str, float] = {}
        self.e2e, self.ttft = Histogram(), Histogram()

    def add(self, sample: Sample) -> None:
        self.ended = sample.t
        self.flying += sample.in_flight * sample.dt
        for reason, seconds in sample.held.items():
            self.held[reason] = self.held.get(reason, 0.0) + seconds
        self.seconds += sample.dt
        # To fail fast is no throughput.
        self.items += sample.done
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
            attempts=self.attempts,
            in_flight=self.flying / self.seconds,
            held=dict(self.held),
            answers=self.e2e.buckets,
            first_tokens=self.ttft.buckets,
        )


class Stays:
    """Fed with a run's samples in order of time; gives its visits. Memory does not grow with the run."""

    def __init__(self) -> None:
        self._past: list[Visit] = []
        self._past_stays: list[Visit] = []
        self._bound: _Stay | None = None
        self._loose: _Stay | None = None
        """The settled seconds here in which something else held the run."""
        self._before, self._latency = Histogram(), Histogram()
        """Of the last level that told any, and of this one: how long a change takes to work its way through."""
        self._turned = 0.0
        self._has_answers = False
        self._seen: Visit | None = None
        self._last = -1.0
        self.concurrency = 0
        """As the newest sample has it; 0 before there is one."""
        self.is_settled = False
        """Whether the last turn has worked its way through."""

    @property
    def settles_in(self) -> float:
        """Seconds from the newest sample until this level has settled, as far as one can tell; 0 when it has."""
        return 0.0 if self.is_settled else max(0.0, self._turned + self._wait() - self._last)

    def add(self, sample: Sample) -> None:
        """One more sample; one that was added already is left out."""
        if sample.t <= self._last:
            return
        begun = sample.t - sample.dt
        # A new session begins with nothing in flight.
        is_gap = begun > self._last + 0.5 and self._last >= 0
        self._last = sample.t
        if sample.concurrency != self.concurrency or is_gap:
            self._leave()
            self.concurrency = sample.concurrency
            # The sample in which the cap was turned is of both levels.
            self._turned = sample.t
            self.is_settled = self._has_answers = False
            if self._latency.total:
                self._before, self._latency = self._latency, Histogram()
        self._latency.fill(sample.e2e)
        if not self.is_settled:
            self._has_answers |= bool(sample.done)
            self.is_settled = begun >= self._turned + self._wait() - 1e-9
        if self.is_settled and sample.dt > 0:
            self._count(sample)

    def _count(self, sample: Sample) -> None:
        begun, is_bound = sample.t - sample.dt, sample.held.get("cap", 0.0) >= BOUND * sample.dt
        if is_bound:
            self._bound = self._bound or _Stay(self.concurrency, begun)
            self._bound.add(sample)
            self._seen = None
        elif sum(time for reason, time in sample.held.items() if reason not in STILL) >= BOUND * sample.dt:
            self._loose = self._loose or _Stay(self.concurrency, begun)
            self._loose.add(sample)

    def visits(self) -> Sequence[Visit]:
        """All that are remembered, oldest first, the one under way among them."""
        if self._bound is None:
            return tuple(self._past)
        self._seen = self._seen or self._bound.seen()
        return (*self._past, self._seen) if self._seen is not None else tuple(self._past)

    def stays(self) -> Sequence[Visit]:
        """The same of every stay, whatever held it: for what a turn did to the run, not for what a level can do."""
        return (*self._past_stays, *self._stay())

    def _stay(self) -> list[Visit]:
        parts = [part.seen() for part in (self._bound, self._loose) if part is not None]
        return merged([part for part in parts if part is not None])

    def _wait(self) -> float:
        """Seconds after a turn. At first nothing is known of how long an answer takes, and before the first one has
        come there is nothing to count."""
        slow = [known.quantile(0.95) for known in (self._before, self._latency) if known.total]
        if not slow:
            return LEAST_WAIT if self._has_answers else MOST_WAIT
        return min(MOST_WAIT, max(LEAST_WAIT, SLOW * max(slow)))

    def _leave(self) -> None:
        left = self._bound.seen() if self._bound is not None else None
        self._past_stays = [*self._past_stays, *self._stay()][-REMEMBERED_STAYS:]
        self._bound = self._loose = self._seen = None
        if left is not None:
            self._past = [*self._past, left][-REMEMBERED:]


def merged(visits: Sequence[Visit]) -> list[Visit]:
    """All visits of one concurrency as one, in order of concurrency."""
    found: dict[int, list[Visit]] = {}
    for visit in visits:
        found.setdefault(visit.concurrency, []).append(visit)
    return [_merge(found[concurrency]) for concurrency in sorted(found)]


def _merge(visits: Sequence[Visit]) -> Visit:
    if len(visits) == 1:
        return visits[0]
    e2e, ttft = Histogram(), Histogram()
    held: dict[str, float] = {}
    for visit in visits:
        e2e.fill(visit.answers)
        ttft.fill(visit.first_tokens)
        for reason, seconds in visit.held.items():
            held[reason] = held.get(reason, 0.0) + seconds
    whole = sum(visit.seconds for visit in visits)
    items, attempts = sum(visit.items for visit in visits), sum(visit.attempts for visit in visits)
    hits = sum(visit.refused * visit.attempts for visit in visits)
    return Visit(
        concurrency=visits[0].concurrency,
        began=min(visit.began for visit in visits),
        ended=max(visit.ended for visit in visits),
        seconds=whole,
        items=items,
        throughput=items / whole,
        tokens_rate=sum(visit.tokens_rate * visit.seconds for visit in visits) / whole,
        refused=hits / attempts if attempts else 0.0,
        e2e=e2e.percentiles(),
        ttft=ttft.percentiles(),
        attempts=attempts,
        in_flight=sum(visit.in_flight * visit.seconds for visit in visits) / whole,
        held=held,
        answers=e2e.buckets,
        first_tokens=ttft.buckets,
    )


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
