"""Samples of a run that was turned up level by level, as its engine would have kept them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import pairwise

from batchdeck.metrics.histogram import Histogram
from batchdeck.model import Event, Sample
from batchdeck.tune.knee import Curve
from batchdeck.tune.levels import Stays

SERVER = Curve(rate=1.0, contention=0.02, coherency=0.0012)
"""Answers one item a second alone, and most at about 28 at once."""


def samples(
    levels: Sequence[tuple[int, int]],
    *,
    seed: int = 5,
    curve: Curve = SERVER,
    quota: float | None = None,
    begun: float = 0.0,
    hits: Mapping[int, int] | None = None,
) -> list[Sample]:
    """(concurrency, seconds) after one another on a server of this curve.

    quota: items a second that the account allows; above it RPM holds the run. hits: 429s a second by concurrency.
    """
    rng = random.Random(seed)
    made: list[Sample] = []
    t, queued = begun, 9_000
    for concurrency, seconds in levels:
        pace = curve.throughput(concurrency)
        is_held = quota is not None and pace > quota
        pace = min(pace, quota) if quota is not None else pace
        latency = concurrency / curve.throughput(concurrency)
        flying = min(float(concurrency), pace * latency)
        for _ in range(seconds):
            t += 1.0
            done = max(0, round(rng.gauss(pace, 0.05 * pace)))
            refused = (hits or {}).get(concurrency, 0)
            queued -= done
            answers, firsts = Histogram(), Histogram()
            for _ in range(done):
                answers.add(latency * rng.uniform(0.7, 1.4))
                firsts.add(0.25 * latency * rng.uniform(0.7, 1.4))
            made.append(
                Sample(
                    t=t, at=1_795_000_000.0 + t, dt=1.0, done=done, failed=0, attempts=done + refused,
                    rate_limit_hits=refused, tokens_in=40 * done, tokens_out=90 * done, cost=0.0, in_flight=flying,
                    in_flight_max=concurrency, concurrency=concurrency, queued=queued, backoff=0, cooldown=0.0,
                    held={"rpm": 0.95, "cap": 0.05} if is_held else {"cap": 1.0}, e2e=answers.buckets,
                    ttft=firsts.buckets,
                )
            )  # fmt: skip
    return made


def events(levels: Sequence[tuple[int, int]], *, by_engine: Sequence[int] = ()) -> list[Event]:
    """The turns between these levels. by_engine: the levels that no person turned to."""
    made = [Event(id=1, t=0.0, at=1_795_000_000.0, kind="started", detail="", value=float(levels[0][0]))]
    t = 0.0
    for number, ((before, seconds), (after, _)) in enumerate(pairwise(levels), start=2):
        t += seconds
        kind, value = "tune" if after in by_engine else "concurrency", float(after)
        made.append(Event(id=number, t=t, at=1_795_000_000.0 + t, kind=kind, detail=f"{before} → {after}", value=value))
    return made


def stays_of(given: Sequence[Sample]) -> Stays:
    """What these samples tell of each level."""
    stays = Stays()
    for sample in given:
        stays.add(sample)
    return stays
