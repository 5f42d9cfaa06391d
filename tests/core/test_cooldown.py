"""The rule of the 429: nobody goes before the hold is over, and afterwards not everybody at once."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchdeck.limits.cooldown import MEMORY, Cooldown

HITS = st.lists(st.tuples(st.floats(0.0, 90.0), st.none() | st.floats(0.0, 120.0)), min_size=1, max_size=30)
"""Seconds since the last 429, and its Retry-After."""


@given(HITS, st.integers(0, 2**32), st.integers(1, 500))
def test_nothing_goes_before_every_retry_after_is_over(
    hits: list[tuple[float, float | None]], seed: int, cap: int
) -> None:
    cooldown, now, held_until, latest = Cooldown(random.Random(seed)), 0.0, 0.0, 0.0
    for gap, retry_after in hits:
        now += gap
        told = cooldown.hit(now, retry_after)
        held_until = max(held_until, now + (retry_after or 0.0))
        assert told == cooldown.until >= held_until
        latest = max(latest, now + 1.1 * (60.0 if retry_after is None else max(2.0, retry_after)))
        assert cooldown.until <= latest
        for in_flight in (0, cap // 2, cap - 1):
            assert cooldown.wait(now, in_flight, cap) >= held_until - now
            just_before = held_until - 1e-6
            assert cooldown.wait(just_before, in_flight, cap) > 0 or just_before < now
    assert cooldown.wait(cooldown.until + 2.0, cap - 1, cap) == 0


@given(st.integers(0, 2**32), st.floats(0.0, 30.0), st.integers(1, 300))
def test_after_a_hold_the_cap_opens_step_by_step(seed: int, retry_after: float, cap: int) -> None:
    cooldown = Cooldown(random.Random(seed))
    cooldown.hit(0.0, retry_after)
    opens = [cooldown.until + cooldown.wait(cooldown.until, in_flight, cap) for in_flight in range(cap)]
    assert opens[0] == cooldown.until
    assert all(later > earlier for earlier, later in pairwise(opens))
    assert opens[-1] <= cooldown.until + 2.0
    for at in opens[1:]:
        # Who waits as long as it was told may go then.
        assert cooldown.wait(at + 1e-9, opens.index(at), cap) == 0


def test_without_a_retry_after_the_hold_doubles_and_is_never_short() -> None:
    cooldown, now = Cooldown(random.Random(7)), 100.0
    # At eight seconds it stays for about a minute, the time in which most quotas are there again.
    for top in (1.0, 2.0, 4.0, *[8.0] * 10, 16.0, 32.0, 60.0, 60.0):
        wait = cooldown.hit(now, None) - now
        assert top / 2 <= wait <= top * 1.1
        now = cooldown.until + 0.5


def test_answers_to_requests_sent_before_the_hold_do_not_raise_it() -> None:
    cooldown = Cooldown(random.Random(7))
    first = cooldown.hit(0.0, None)
    assert all(cooldown.hit(0.1, None) <= 0.1 + 1.1 for _ in range(50))
    assert cooldown.until <= first + 1.2


def test_a_quiet_time_forgets_the_streak() -> None:
    cooldown, now = Cooldown(random.Random(7)), 0.0
    for _ in range(6):
        cooldown.hit(now, None)
        now = cooldown.until + 0.1
    now = cooldown.until + MEMORY + 0.1
    assert cooldown.hit(now, None) - now <= 1.1


def test_a_server_that_names_tiny_times_is_not_hammered() -> None:
    cooldown, now, knocks = Cooldown(random.Random(7)), 0.0, 0
    while now < 60.0:
        knocks += 1
        now = cooldown.hit(now, 0.01)
    assert knocks < 40


@given(HITS, st.integers(0, 2**32))
def test_the_time_that_was_held_is_within_what_passed(hits: list[tuple[float, float | None]], seed: int) -> None:
    cooldown, now = Cooldown(random.Random(seed)), 0.0
    for gap, retry_after in hits:
        now += gap
        cooldown.hit(now, retry_after)
        assert 0.0 <= cooldown.held(now, now + 1.0) <= 1.0 + 1e-9
        assert cooldown.held(now, cooldown.until + 10) == pytest.approx(cooldown.until - now)


def test_nothing_is_held_without_a_429() -> None:
    cooldown = Cooldown(random.Random(1))
    assert cooldown.wait(0.0, 5, 10) == 0
    assert cooldown.held(0.0, 1.0) == 0
