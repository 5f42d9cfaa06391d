"""A rate that no header tells is learned from 429s: near to the truth, whatever way the provider counts."""

from __future__ import annotations

import random
from collections import deque
from typing import Protocol

import pytest

from batchdeck.limits.pace import Pace


class Provider(Protocol):
    def lets_in(self, now: float) -> bool: ...


class Filling:
    """A bucket of so many, filled evenly."""

    def __init__(self, a_minute: float, size: float) -> None:
        self._rate, self._size, self._level, self._at = a_minute / 60.0, size, size, 0.0

    def lets_in(self, now: float) -> bool:
        self._level = min(self._size, self._level + (now - self._at) * self._rate)
        self._at = now
        if self._level < 1:
            return False
        self._level -= 1
        return True


class Sliding:
    def __init__(self, a_minute: float) -> None:
        self._limit, self.log = a_minute, deque[float]()

    def lets_in(self, now: float) -> bool:
        while self.log and self.log[0] <= now - 60.0:
            self.log.popleft()
        if len(self.log) >= self._limit:
            return False
        self.log.append(now)
        return True


class Fixed:
    def __init__(self, a_minute: float) -> None:
        self._limit, self._window, self._used = a_minute, -1, 0

    def lets_in(self, now: float) -> bool:
        if now // 60 != self._window:
            self._window, self._used = int(now // 60), 0
        self._used += 1
        return self._used <= self._limit


def asked(pace: Pace, provider: Provider, seconds: float, seed: int, begin: float = 0.0) -> tuple[int, int, float]:
    """Requests one after the other as the pace lets them, 20 a second at most, a short hold after each 429.

    What was let in and refused in the last 200 s, and the mean pace of them.
    """
    rng, now, good, bad = random.Random(seed), begin, 0, 0
    paces = []
    while now < begin + seconds:
        now += 0.05 + pace.wait(now)
        pace.take(now)
        counts = now >= begin + seconds - 200.0
        if provider.lets_in(now):
            pace.accepted()
            good += counts
        else:
            pace.refused(now, now)
            bad += counts
            now += 0.5 + rng.random()
        if counts and pace.rate is not None:
            paces.append(pace.rate)
    return good, bad, sum(paces) / len(paces)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("a_minute", [60, 120, 300, 600])
@pytest.mark.parametrize("kind", ["bucket", "small bucket", "sliding", "fixed"])
def test_a_known_rate_is_found(kind: str, a_minute: float, seed: int) -> None:
    kinds: dict[str, Provider] = {
        "bucket": Filling(a_minute, a_minute),
        "small bucket": Filling(a_minute, a_minute / 10),
        "sliding": Sliding(a_minute),
        "fixed": Fixed(a_minute),
    }
    good, bad, mean = asked(Pace(0.0), kinds[kind], 500.0, seed)
    assert mean * 60.0 == pytest.approx(a_minute, rel=0.15)
    assert good / 200.0 * 60.0 >= 0.85 * a_minute
    assert bad / (good + bad) <= 0.08


def test_without_a_429_nothing_is_learned_and_nothing_waits() -> None:
    pace = Pace(0.0)
    for second in range(100):
        assert pace.wait(second) == 0
        pace.take(second)
        pace.accepted()
    assert pace.rate is None


def test_429s_of_one_burst_count_once() -> None:
    pace = Pace(0.0)
    for _ in range(50):
        pace.take(1.0)
    assert pace.refused(1.1, 1.0)
    rate = pace.rate
    assert not any(pace.refused(1.2, 1.0) for _ in range(20))
    assert pace.rate == rate


def test_knocks_at_an_empty_window_do_not_lower_it() -> None:
    pace, provider = Pace(0.0), Fixed(100)
    asked(pace, provider, 10.0, 1)
    rate = pace.rate
    assert rate is not None
    for second in range(12, 50, 4):
        pace.take(float(second))
        assert not pace.refused(second + 0.02, float(second))
    assert pace.rate == rate


class Crowded(Sliding):
    """A sliding minute of which somebody else takes a part, at random."""

    def __init__(self, a_minute: float, theirs: float, seed: int) -> None:
        super().__init__(a_minute)
        self._rng, self._next, self._every = random.Random(seed), 0.0, 60.0 / theirs

    def lets_in(self, now: float) -> bool:
        while self._next <= now:
            super().lets_in(self._next)
            self._next += self._rng.expovariate(1.0 / self._every)
        return super().lets_in(now)


@pytest.mark.parametrize("seed", range(4))
def test_in_a_sliding_minute_it_follows_what_somebody_else_leaves(seed: int) -> None:
    good, bad, _ = asked(Pace(0.0), Crowded(180, 90, seed), 600.0, seed)
    assert good / 200.0 * 60.0 >= 0.85 * 90
    assert bad / (good + bad) <= 0.05


def test_a_window_that_was_filled_too_fast_is_not_asked_before_its_own_are_a_minute_old() -> None:
    pace, provider = Pace(0.0), Sliding(100)
    asked(pace, provider, 200.0, 1)
    now = 200.0
    while pace.wait(now) < 2.0:
        now += 0.01 + pace.wait(now)
        pace.take(now)
        if provider.lets_in(now):
            pace.accepted()
        else:
            pace.refused(now, now)
    oldest = min(at for at in provider.log if at > now - 60.0)
    assert now + pace.wait(now) >= oldest + 60.0 - 0.1


@pytest.mark.parametrize("sharers", [2, 10])
def test_runs_that_share_a_sliding_minute_use_it_up_together(sharers: int) -> None:
    """Each has its part of the pace, its own trail, and hears what the others learn, and of their 429s."""
    provider, rng, now, held, good, bad = Sliding(120), random.Random(sharers), 0.0, 0.0, 0, 0
    runs = [Pace(0.0) for _ in range(sharers)]
    for run in runs:
        run.weight = float(sharers)
    share = 1.0 / sharers
    while now < 600.0:
        now += 0.05
        for run in rng.sample(runs, sharers):
            if now < held or run.wait(now, share) > 0:
                continue
            run.take(now)
            counts = now >= 300.0
            if provider.lets_in(now):
                run.accepted()
                good += counts
            else:
                bad += counts
                held = now + 0.5 + rng.random()
                if run.refused(now, now):
                    for other in runs:
                        if other is not run:
                            other.adopt(run.rate, now)
    assert good / 300.0 * 60.0 >= 0.85 * 120
    assert bad / (good + bad) <= 0.08


def test_a_share_of_it_waits_longer() -> None:
    pace = Pace(0.0)
    for _ in range(60):
        pace.take(0.0)
    pace.refused(0.1, 0.0)
    whole, half = pace.wait(0.1), pace.wait(0.1, 0.5)
    assert half == pytest.approx(2 * whole, rel=0.1)


def test_what_another_run_learned_is_taken_over() -> None:
    pace = Pace(0.0)
    pace.adopt(2.0, 1.0)
    assert pace.rate == 2.0
    assert pace.wait(1.0) == pytest.approx(0.5)
    pace.adopt(None, 2.0)
    assert pace.rate == pytest.approx(2.0, rel=0.1)
