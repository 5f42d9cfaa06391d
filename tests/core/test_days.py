"""A limit a day: used up as fast as one likes, and never exceeded in any 24 hours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchdeck.limits.days import HOUR, HOURS, Day

DAY = HOURS * HOUR


@given(st.integers(1, 60), st.lists(st.floats(0.0, 6 * HOUR), min_size=1, max_size=150))
def test_any_24_hours_stay_within_the_limit(limit: int, gaps: list[float]) -> None:
    day, now, log = Day(limit), 0.0, []
    for gap in gaps:
        now += gap
        now += day.wait(now, 1.0)
        if day.wait(now, 1.0) == 0:
            day.take(now, 1.0)
            log.append(now)
    for at in log:
        assert sum(1 for other in log if at - DAY < other <= at) <= limit


@given(st.integers(1, 1_000), st.floats(0.0, DAY))
def test_it_is_there_to_be_used_up_at_once(limit: int, now: float) -> None:
    day = Day(limit)
    for _ in range(limit):
        assert day.wait(now, 1.0) == 0
        day.take(now, 1.0)
    assert 0 < day.wait(now, 1.0) <= DAY + HOUR


def test_what_was_not_used_comes_back() -> None:
    day = Day(1_000)
    day.take(0.0, 1_000)
    assert day.wait(10.0, 300) > 0
    day.take(0.0, -400)
    assert day.wait(10.0, 300) == 0
    assert day.left(10.0) == 400


def test_more_than_the_limit_goes_when_nothing_was_used() -> None:
    day = Day(1_000)
    assert day.wait(0.0, 5_000) == 0
    day.take(0.0, 10)
    wait = day.wait(0.0, 5_000)
    assert wait == pytest.approx(DAY + HOUR)
    assert day.wait(wait, 5_000) == 0
