"""The knee of a throughput curve is found from noisy measurements, and what is not known is said."""

from __future__ import annotations

import random
from itertools import takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchdeck.tune.knee import Curve, Level, Recommendation, fit, recommend

DOUBLING = [2**n for n in range(13)]


def measured(throughput: object, levels: list[int], rng: random.Random, times: int, noise: float) -> list[Level]:
    assert callable(throughput)
    return [
        Level(concurrency=n, throughput=throughput(n) * max(0.05, rng.gauss(1.0, noise)), seconds=5.0)
        for n in levels
        for _ in range(times)
    ]


def drawn(rng: random.Random) -> Curve:
    """A server whose throughput is highest at about 4 to 400 at once."""
    contention = rng.choice([0.0, 0.005, 0.02, 0.05, 0.1])
    peak = rng.choice([4, 16, 64, 300]) * rng.uniform(0.8, 1.25)
    return Curve(rate=rng.uniform(0.1, 50.0), contention=contention, coherency=(1.0 - contention) / peak**2)


def up_to_twice_its_best(curve: Curve) -> list[int]:
    return [
        *takewhile(lambda n: n < 2 * curve.best(1e6), DOUBLING),
        next(n for n in DOUBLING if n >= 2 * curve.best(1e6)),
    ]


@pytest.mark.parametrize("seed", range(40))
def test_the_recommendation_gives_nearly_all_that_the_server_can(seed: int) -> None:
    """Known servers, doubling levels, each measured three times with 10 % noise."""
    rng = random.Random(seed)
    curve = drawn(rng)
    found = recommend(measured(curve.throughput, up_to_twice_its_best(curve), rng, 3, 0.1), 10_000, rng)
    assert found.concurrency is not None
    assert curve.throughput(found.concurrency) >= 0.95 * curve.throughput(curve.best(1e6))
    assert found.verdict in ("known", "unsure")


def test_its_interval_mostly_holds_the_true_knee() -> None:
    held = 0
    for seed in range(30):
        rng = random.Random(seed)
        curve = drawn(rng)
        found = recommend(measured(curve.throughput, up_to_twice_its_best(curve), rng, 3, 0.1), 10_000, rng)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= curve.knee(1e6) <= found.high
    assert 19 <= held <= 29


@pytest.mark.parametrize("slots", [4, 16, 64, 300])
def test_a_server_with_so_many_slots_gets_so_many_and_not_many_more(slots: int) -> None:
    """No curve of the law: beyond its slots requests only queue."""
    rng = random.Random(slots)
    found = recommend(
        measured(lambda n: 2.0 * min(n, slots), [n for n in DOUBLING if n <= 4 * slots], rng, 3, 0.03), 10_000, rng
    )
    assert found.concurrency is not None
    assert 0.95 * slots <= found.concurrency <= 1.5 * slots + 1


@given(st.floats(0.01, 1e4), st.floats(0.0, 0.5), st.floats(0.0, 1e-2))
def test_without_noise_the_curve_is_the_servers_own(rate: float, contention: float, coherency: float) -> None:
    true = Curve(rate=rate, contention=contention, coherency=coherency)
    found = fit([Level(concurrency=n, throughput=true.throughput(n), seconds=1.0) for n in (1, 2, 5, 20, 60, 200)])
    assert found is not None
    for n in (1, 3, 10, 50, 150):
        assert found.throughput(n) == pytest.approx(true.throughput(n), rel=1e-4)
    assert found.noise < 1e-4


@given(
    st.lists(
        st.builds(Level, concurrency=st.floats(1, 1e4), throughput=st.floats(0, 1e6), seconds=st.floats(0, 1e4)),
        max_size=12,
    )
)
@settings(deadline=None)
def test_whatever_was_measured_there_is_an_answer_within_bounds(levels: list[Level]) -> None:
    found = recommend(levels, 500, random.Random(1))
    assert found.sentence
    if found.concurrency is not None:
        assert found.low is not None
        assert found.high is not None
        assert 1 <= found.low <= found.concurrency <= found.high <= 500


def test_too_little_data_is_said() -> None:
    rng = random.Random(1)
    nothing = recommend([], 100, rng)
    assert (nothing.verdict, nothing.concurrency) == ("too little", None)
    one = recommend(measured(float, [8], rng, 9, 0.1), 100, rng)
    assert one.verdict == "too little"
    assert "level 8 so far" in one.sentence
    near = recommend(measured(float, [8, 9, 10], rng, 3, 0.1), 100, rng)
    assert near.verdict == "too little"
    short = [Level(concurrency=n, throughput=float(n), seconds=1.0) for n in (1, 4, 16)]
    assert recommend(short, 100, rng).verdict == "too little"


def test_a_throughput_that_still_rises_asks_for_a_higher_level() -> None:
    rng = random.Random(1)
    found = recommend(measured(lambda n: 3.0 * n, [1, 2, 4, 8], rng, 3, 0.02), 100, rng)
    assert found.verdict == "beyond"
    assert found.concurrency is not None
    assert 8 < found.concurrency <= 12
    assert "still rises at 8" in found.sentence


def test_what_noise_hides_is_called_unsure() -> None:
    rng = random.Random(3)
    verdicts = {recommend(measured(lambda n: 5.0, [2, 4, 8, 16], rng, 1, 0.5), 100, rng).verdict for _ in range(20)}
    assert "unsure" in verdicts


def test_the_same_measurements_give_the_same_answer() -> None:
    levels = measured(lambda n: min(n, 9.0), [1, 4, 16, 32], random.Random(5), 3, 0.1)
    answers: list[Recommendation] = [recommend(levels, 100, random.Random(7)) for _ in range(2)]
    assert answers[0] == answers[1]


def test_a_server_with_slots_is_told_from_one_that_becomes_slower() -> None:
    """As they were measured at a simulated server with 16 slots: a curve through them had its knee at 26."""
    levels = [(4, 3.2), (8, 5.8), (16, 12.5), (24, 12.7), (27, 12.8), (44, 12.8)]
    measured = [Level(concurrency=n, throughput=rate, seconds=12.0) for n, rate in levels]
    found = recommend(measured, 1_000, random.Random(1))
    assert found.verdict == "known"
    assert found.concurrency in (16, 17, 18)
    assert found.curve is not None
    assert found.curve.full == pytest.approx(12.7, rel=0.02)
    assert found.curve.throughput(100) == found.curve.full
