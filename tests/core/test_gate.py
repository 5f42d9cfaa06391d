"""How many requests may be in flight: never more than the cap, few at first, all of them soon."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from batchdeck.engine.gate import FIRST, PATIENCE, Gate


@given(st.integers(1, 500), st.lists(st.booleans(), max_size=300), st.floats(0.0, 30.0))
def test_never_more_than_the_cap(cap: int, moves: list[bool], now: float) -> None:
    gate = Gate(cap)
    gate.open(0.0)
    for enters in moves:
        if enters and gate.wait(now) == 0:
            gate.enter()
        elif not enters and gate.in_flight:
            gate.leave()
            gate.answered(knows=False)
        assert gate.in_flight <= cap


def test_it_opens_with_few_and_with_each_answer_by_one() -> None:
    gate = Gate(100)
    gate.open(0.0)
    while gate.wait(0.0) == 0:
        gate.enter()
    assert gate.in_flight == FIRST
    gate.answered(knows=False)
    assert gate.wait(0.0) == 0
    gate.enter()
    assert gate.wait(0.0) != 0


@given(st.integers(FIRST, 400), st.floats(0.0, PATIENCE))
def test_who_waits_as_long_as_it_was_told_may_enter(cap: int, now: float) -> None:
    gate = Gate(cap)
    gate.open(0.0)
    for _ in range(cap):
        wait = gate.wait(now)
        assert wait is not None
        assert now + wait <= PATIENCE + 1e-6 or gate.wait(PATIENCE + 1e-3) == 0
        now += wait
        assert (gate.wait(now + 1e-6) or 0) <= 1e-3
        gate.enter()
    assert gate.wait(now) is None


def test_an_answer_that_tells_a_limit_opens_it_at_once() -> None:
    gate = Gate(50)
    gate.open(0.0)
    gate.answered(knows=True)
    while gate.wait(0.0) == 0:
        gate.enter()
    assert gate.in_flight == 50


def test_it_can_be_opened_at_once() -> None:
    gate = Gate(50)
    gate.open(0.0)
    gate.widen()
    while gate.wait(0.0) == 0:
        gate.enter()
    assert gate.in_flight == 50


def test_silence_opens_it_in_the_end() -> None:
    gate = Gate(200)
    gate.open(5.0)
    while gate.wait(5.0 + PATIENCE + 0.1) == 0:
        gate.enter()
    assert gate.in_flight == 200


def test_a_lower_cap_ends_nothing_and_lets_nobody_in() -> None:
    gate = Gate(10)
    for _ in range(10):
        gate.enter()
    assert gate.resize(3) == 3
    assert gate.in_flight == 10
    for _ in range(7):
        gate.leave()
        assert gate.wait(0.0) is None
    gate.leave()
    assert gate.wait(0.0) == 0


def test_a_cap_is_at_least_one_and_at_most_what_the_process_can_carry() -> None:
    gate = Gate(5, most=20)
    assert (gate.resize(0), gate.resize(1_000)) == (1, 20)
