"""Samples are deltas that add up, and rates count what really happened."""

from __future__ import annotations

import random
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchdeck.limits.cooldown import Cooldown
from batchdeck.metrics.collector import Collector
from batchdeck.metrics.window import RateWindow
from batchdeck.model import Answer, Counts, Failure, Sample, Settled, Settlement, Timings, WorkOrder

QUIET = Cooldown(random.Random(0))
ORDER = WorkOrder(idx=0, variant=0, revision=0, number=1, path="/", body=b"", stream=True)


def take(collector: Collector, now: float, counts: Counts, hold: Cooldown = QUIET) -> Sample:
    return collector.sample(now, 1e9 + now, counts, cap=10, queued=3, backoff=1, hold=hold, waits={}, held={})


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.01, 0.1, 0.25, 0.3, 1.0, 4.0, 30.0]), st.integers(0, 50)), max_size=80),
    st.floats(0.0, 12.0),
)
def test_a_rate_is_a_count_over_the_last_seconds(events: list[tuple[float, int]], later: float) -> None:
    window, now, seen = RateWindow(span=10.0, cell=0.25), 0.0, []
    window.start(now)
    for gap, amount in events:
        now += gap
        window.add(now, amount)
        seen.append((now, amount))
        counted = sum(amount for at, amount in seen if at // 0.25 > (now - 10.0) // 0.25)
        assert window.rate(now) == (pytest.approx(counted / min(10.0, now)) if now >= 0.25 else 0.0)
    now += later
    # Whole cells are forgotten: what is at most 9.75 s old always counts, what is older than 10 s never.
    rate = window.rate(now) * min(10.0, now)
    assert rate <= sum(amount for at, amount in seen if now - at <= 10.0 + 1e-9) + 1e-6
    if now >= 0.25:
        assert rate >= sum(amount for at, amount in seen if now - at < 9.75 - 1e-9) - 1e-6


@given(st.lists(st.tuples(st.floats(0.01, 3.0), st.integers(0, 9), st.integers(-3, 3)), min_size=1, max_size=40))
def test_samples_add_up_to_the_counters(steps: list[tuple[float, int, int]]) -> None:
    collector, now, counts, samples = Collector(5.0, Counts(done=7, seconds=100.0)), 5.0, Counts(done=7), []
    for gap, done, failed in steps:
        now += gap
        counts = Counts(done=counts.done + done, failed=counts.failed + failed, attempts=counts.attempts + done)
        samples.append(take(collector, now, counts))
    assert 7 + sum(sample.done for sample in samples) == counts.done
    assert sum(sample.failed for sample in samples) == counts.failed
    assert sum(sample.attempts for sample in samples) == counts.attempts
    assert [sample.t for sample in samples] == pytest.approx([100 + t for t in accumulate(s[0] for s in steps)])
    assert sum(sample.dt for sample in samples) == pytest.approx(now - 5.0)


def test_what_happened_between_two_sessions_is_in_the_next_sample() -> None:
    first = Collector(0.0, Counts())
    take(first, 1.0, Counts(done=3, failed=2, seconds=1.0))
    put_back = Counts(done=3, failed=0, seconds=1.0)
    second = Collector(60.0, put_back, first.sampled)
    assert take(second, 61.0, put_back).failed == -2


def test_in_flight_is_a_mean_over_time_and_a_peak() -> None:
    collector = Collector(0.0, Counts())
    collector.in_flight(0.0, 4)
    collector.in_flight(0.25, 8)
    collector.in_flight(0.5, 0)
    sample = take(collector, 1.0, Counts())
    assert (sample.in_flight, sample.in_flight_max) == (pytest.approx(3.0), 8)
    assert (sample.concurrency, sample.queued, sample.backoff) == (10, 3, 1)
    collector.in_flight(1.5, 2)
    again = take(collector, 2.0, Counts())
    assert (again.in_flight, again.in_flight_max) == (pytest.approx(1.0), 2)


def test_a_sample_knows_how_long_a_rate_limit_held() -> None:
    hold, collector = Cooldown(random.Random(0)), Collector(0.0, Counts())
    until = hold.hit(0.4, 1.0)
    assert take(collector, 1.0, Counts(), hold).cooldown == pytest.approx(0.6)
    assert take(collector, 2.0, Counts(), hold).cooldown == pytest.approx(until - 1.0)
    assert take(collector, 3.0, Counts(), hold).cooldown == 0.0


def test_only_good_answers_count_as_latencies() -> None:
    collector = Collector(0.0, Counts())
    timings = Timings(started_at=1.0, seconds=2.0, ttft=0.5)
    answer = Answer(text="a", tokens_out=40)
    failure = Failure(outcome="transient", error_type="reset", message="x")
    collector.committed(1.0, Settlement(settled=Settled(order=ORDER, timings=timings, failure=failure, answer=answer)))
    assert collector.e2e.percentiles() is None
    assert collector.items.rate(10.0) == 0
    collector.committed(1.0, Settlement(settled=Settled(order=ORDER, timings=timings, answer=answer), outcome="done"))
    assert collector.e2e.quantile(0.5) == pytest.approx(2.0, rel=0.02)
    assert collector.ttft.quantile(0.5) == pytest.approx(0.5, rel=0.02)
    assert collector.items.rate(10.0) == pytest.approx(0.1)
    # The tokens of a broken answer were generated, and are paid for.
    assert collector.tokens.rate(10.0) == pytest.approx(8.0)
