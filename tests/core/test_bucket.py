"""The spacing of requests: no minute ever holds more than the limit, and who waits as long as it was told may go."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchdeck.limits.bucket import Bucket

LIMITS = st.floats(1.0, 6_000.0)
PAUSES = st.lists(st.floats(0.0, 40.0), max_size=20)


def sent(bucket: Bucket, pauses: list[float], amounts: list[float]) -> list[tuple[float, float]]:
    """Everything as soon as it may go, with pauses between."""
    now, log = 0.0, []
    for number, amount in enumerate(amounts):
        if pauses and number % 40 == 39:
            now += pauses[(number // 40) % len(pauses)]
        now += bucket.wait(now, amount)
        bucket.take(now, amount)
        log.append((now, amount))
    return log


def most_in_a_minute(log: list[tuple[float, float]]) -> float:
    window: deque[tuple[float, float]] = deque()
    total = most = 0.0
    for at, amount in log:
        window.append((at, amount))
        total += amount
        while window[0][0] <= at - 60.0:
            total -= window.popleft()[1]
        most = max(most, total)
    return most


@given(LIMITS, PAUSES)
def test_no_minute_holds_more_requests_than_the_limit(limit: float, pauses: list[float]) -> None:
    log = sent(Bucket(limit, 60.0, 0.0), pauses, [1.0] * 400)
    # Half a request's rounding: a limit of 1.9 has room for one.
    assert most_in_a_minute(log) <= max(2.0, limit + 1e-6)


@given(st.floats(100.0, 1e6), PAUSES, st.lists(st.floats(1.0, 400.0), min_size=1, max_size=200))
def test_no_minute_holds_more_tokens_than_the_limit_and_one_request(
    limit: float, pauses: list[float], amounts: list[float]
) -> None:
    log = sent(Bucket(limit, 60.0, 0.0), pauses, amounts)
    assert most_in_a_minute(log) <= limit + max(amounts) + 1e-6


@given(LIMITS, st.floats(0.1, 1e7), st.lists(st.floats(0.1, 500.0), max_size=20))
def test_who_waits_as_long_as_it_was_told_goes_however_large(limit: float, amount: float, before: list[float]) -> None:
    bucket = Bucket(limit, 60.0, 0.0)
    for earlier in before:
        bucket.take(0.0, earlier)
    wait = bucket.wait(0.0, amount)
    assert wait <= (bucket.capacity + sum(before)) / bucket.rate + 1e-6
    assert bucket.wait(wait, amount) == pytest.approx(0.0, abs=1e-6)


@given(LIMITS, st.floats(0.1, 1.0))
def test_a_share_of_a_limit_is_a_limit(limit: float, share: float) -> None:
    log = sent(Bucket(limit, 60.0, 0.0, share), [], [1.0] * 200)
    assert most_in_a_minute(log) <= max(2.0, limit * share + 1e-6)


def test_a_limit_is_used_up() -> None:
    log = sent(Bucket(300.0, 60.0, 0.0), [], [1.0] * 3_000)
    assert 3_000 / log[-1][0] * 60.0 >= 0.98 * 300.0


def test_tokens_that_were_not_used_come_back() -> None:
    one, other = Bucket(6_000.0, 60.0, 0.0), Bucket(6_000.0, 60.0, 0.0)
    for bucket in (one, other):
        bucket.take(0.0, 1_000.0)
    other.give(400.0)
    assert one.wait(0.0, 10.0) - other.wait(0.0, 10.0) == pytest.approx(400.0 / one.rate)


def test_what_the_provider_held_back_is_made_up_for_but_slowly() -> None:
    held, free = Bucket(600.0, 60.0, 0.0), Bucket(600.0, 60.0, 0.0)
    held.blocked = True
    held.refill(20.0)
    held.blocked = False
    free.refill(20.0)

    def passed(bucket: Bucket) -> int:
        now, count = 20.0, 0
        while (now := now + bucket.wait(now, 1.0)) < 40.0:
            bucket.take(now, 1.0)
            count += 1
        return count

    assert 1.2 < passed(held) / passed(free) < 1.3
