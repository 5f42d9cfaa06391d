"""What autotune makes of what it is told: a closed loop at a server whose every answer takes what the test says."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchdeck.tune.autotune import Autotune
from batchdeck.tune.stay import Crowd, Landed, Stay
from tests.core.closedloop import Answer, Loop


def queueing(slots: int, seconds: float = 2.0) -> Callable[[float, int], Answer]:
    """A server that makes so many answers at a time, and lets others wait. It never says 429."""
    free = [0.0] * slots

    def serve(now: float, busy: int) -> Answer:
        start = max(now, heapq.heappop(free))
        heapq.heappush(free, start + seconds)
        return start - now + 0.5, start - now + seconds, 20

    return serve


@pytest.mark.parametrize("slots", [1, 4, 10, 16, 50, 100])
def test_a_server_that_queues_gets_as_many_as_it_has_slots(slots: int) -> None:
    loop = Loop(queueing(slots))
    loop.run(300)
    assert loop.run(300) >= 0.95 * 300 * slots / 2.0
    assert slots <= loop.cap <= 1.35 * slots + 1


def test_it_doubles_while_that_pays_and_says_why_it_turns() -> None:
    loop = Loop(queueing(16))
    loop.run(120)
    assert [turn.cap for _, turn in loop.turns[:3]] == [8, 16, 32]
    assert "8 gives +100% over 4" in loop.turns[1][1].why
    assert "settled" in loop.policy.phase or "probing" in loop.policy.phase
    settled = next(turn for _, turn in loop.turns[3:] if "is enough" in turn.why)
    assert "of latency" in settled.why


def test_it_stays_within_its_bounds() -> None:
    loop = Loop(queueing(100), least=3, most=20)
    loop.run(400)
    assert loop.cap == 20
    assert {turn.cap for _, turn in loop.turns} <= set(range(3, 21))
    wide = Loop(queueing(2), least=8)
    wide.run(400)
    assert wide.cap >= 8
    assert all(turn.cap >= 8 for _, turn in wide.turns)


def test_answers_of_different_length_are_no_other_throughput() -> None:
    """The second half of the input asks for answers ten times as long: that is no reason to send fewer."""
    tokens = 10

    def serve(now: float, busy: int) -> Answer:
        return 0.2, 0.2 + 0.05 * (tokens - 1) * max(1.0, busy / 16), tokens

    loop = Loop(serve)
    loop.run(200)
    before = loop.cap
    tokens = 100
    loop.run(200)
    assert loop.cap >= 0.7 * before


def test_where_so_many_are_let_in_at_a_time_it_sends_so_many() -> None:
    loop = Loop(lambda now, busy: None if busy >= 12 else (0.5, 2.0, 20))
    loop.run(300)
    assert loop.run(300) >= 0.93 * 300 * 12 / 2.0
    assert any(turn.crowded for _, turn in loop.turns)
    assert "12 are let in at a time" in next(turn.why for _, turn in loop.turns if turn.crowded)


def test_a_level_that_met_429s_is_left_alone_for_longer_each_time() -> None:
    loop = Loop(lambda now, busy: None if busy >= 12 else (0.5, 2.0, 20))
    loop.run(1500)
    met = [at for at, turn in loop.turns if turn.why.startswith("429s") or turn.crowded]
    gaps = [b - a for a, b in pairwise(met) if b - a > 10]
    assert gaps[0] >= 55
    assert gaps[-1] >= 1.5 * gaps[0]


def test_a_person_who_turns_it_is_never_gone_above() -> None:
    loop = Loop(queueing(64))
    loop.run(200)
    assert loop.cap > 30
    loop.policy.turned(loop.now, 1, 20)
    after = len(loop.turns)
    loop.run(600)
    assert loop.cap == 20
    assert all(turn.cap <= 20 for _, turn in loop.turns[after:])
    assert loop.policy.most == 20


def test_what_is_held_by_something_else_than_the_cap_is_left_as_it_is() -> None:
    loop = Loop(queueing(100))
    loop.allowed = 10
    loop.run(400)
    assert loop.policy.phase == "resting"
    assert loop.cap == 16, "at 8 the cap held it, at 16 it no longer does"
    assert "something else than the cap" in loop.policy.sentence
    loop.allowed = math.inf
    loop.run(400)
    assert loop.cap >= 100


@pytest.mark.parametrize(("before", "after"), [(16, 64), (64, 16), (8, 2), (100, 30), (4, 100)])
def test_when_the_knee_moves_it_follows(before: int, after: int) -> None:
    loop = Loop(queueing(before))
    loop.run(600)
    loop.serve = queueing(after)
    loop.run(900)
    assert loop.run(300) >= 0.93 * 300 * after / 2.0
    assert loop.cap <= 1.7 * after + 1


def test_a_server_that_becomes_slow_in_the_middle_is_let_off_at_once() -> None:
    loop = Loop(queueing(64))
    loop.run(300)
    loop.serve = queueing(64, seconds=12.0)
    begun = loop.now
    loop.run(60)
    assert any("times as long" in turn.why for at, turn in loop.turns if at > begun)


def test_a_server_that_says_how_many_wait_in_it_is_believed() -> None:
    loop = Loop(queueing(20, seconds=10.0))
    while loop.cap <= 20:
        loop.run(1)
    assert loop.cap == 32
    climbed = loop.now
    assert loop.policy.queueing(loop.now, 20, 12) is None, "once may be by chance"
    turn = loop.policy.queueing(loop.now, 20, 12)
    assert turn is not None
    assert (turn.cap, turn.why) == (20, "12 of 32 wait at the server: trying 20")
    loop.turns.append((loop.now, turn))
    loop.run(120)
    assert loop.now - climbed < 130
    assert 18 <= loop.cap <= 26


def test_a_server_that_others_use_too_is_not_gone_by() -> None:
    """Two hundred requests of others wait at it all the time: that is nothing that a lower cap would mend."""
    loop = Loop(queueing(20))
    for _ in range(300):
        loop.run(1)
        assert loop.policy.queueing(loop.now, 256, 200) is None
    assert loop.run(300) >= 0.95 * 300 * 20 / 2.0


def test_a_queue_at_the_server_never_takes_more_than_half() -> None:
    loop = Loop(queueing(30, seconds=10.0))
    while loop.cap <= 30:
        loop.run(1)
    assert loop.cap == 32
    for _ in range(2):
        turn = loop.policy.queueing(loop.now, 1, 31)
    assert turn is not None
    assert turn.cap == 16


def test_a_pause_is_no_part_of_what_is_measured() -> None:
    """An hour in which nothing was sent, in the middle of a stay: neither a slow server nor a limit."""
    loop = Loop(queueing(16))
    while loop.policy.phase != "settled":
        loop.run(1)
    cap, turns = loop.cap, len(loop.turns)
    loop.allowed = 0
    loop.run(3_600)
    loop.allowed = math.inf
    loop.policy.rested(loop.now)
    loop.run(60)
    assert loop.policy.phase in ("settled", "probing")
    assert loop.cap >= cap, "a probe was due meanwhile"
    assert [turn.why for _, turn in loop.turns[turns:] if "as long" in turn.why or "something else" in turn.why] == []


def test_after_a_pause_a_level_is_begun_anew_its_first_wave_apart() -> None:
    def until_a_turn(policy: Autotune, now: float, most: int = 1_000) -> int:
        """How many answers it takes."""
        for n in range(1, most + 1):
            policy.flew(now + n, policy.cap)
            if policy.landed(now + n, Landed(now + n - 1, now + n, ttft=0.1, tokens=10)) is not None:
                return n
        return 0

    never_paused, paused = Autotune(4, 1, 100, 0.0), Autotune(4, 1, 100, 0.0)
    whole = until_a_turn(never_paused, 0.0)
    assert until_a_turn(paused, 0.0, whole - 2) == 0
    paused.rested(500.0)
    assert until_a_turn(paused, 500.0) == whole


def test_failures_are_no_answers() -> None:
    stay = Stay(4, 0.0, 4)
    stay.add(Landed(0.0, 60.0, ok=False))
    assert (stay.landed, stay.answers) == (1, 0)
    with pytest.raises(ValueError, match="no answer"):
        stay.latency(10)


def test_an_answer_in_one_piece_is_judged_by_its_time_and_length() -> None:
    short, long = Stay(2, 0.0, 2), Stay(2, 0.0, 2)
    short.add(Landed(0.0, 1.0, tokens=10))
    long.add(Landed(0.0, 4.0, tokens=40))
    assert short.latency(20).mean == pytest.approx(long.latency(20).mean) == pytest.approx(2.0)
    assert short.throughput(20) == pytest.approx(1.0)


def test_rates_that_refuse_are_not_taken_for_a_number_at_a_time() -> None:
    by_number, by_rate = Crowd(), Crowd()
    for n in range(1, 25):
        by_number.add(Landed(0.0, 1.0, ok=n <= 12, refused=n > 12, beside=n))
        by_rate.add(Landed(0.0, 1.0, ok=n % 3 > 0, refused=n % 3 == 0, beside=n))
    assert by_number.most() == 12
    assert by_rate.most() is None
    assert Crowd().most() is None


@given(
    st.lists(
        st.tuples(
            st.floats(0.01, 30.0), st.sampled_from(["ok", "ok", "ok", "failed", "refused"]), st.integers(0, 400),
            st.booleans(),
        ),
        min_size=50,
        max_size=400,
    ),
    st.integers(1, 20),
    st.integers(0, 100),
    st.integers(0, 2**32),
)  # fmt: skip
@settings(max_examples=50, deadline=None)
def test_whatever_comes_the_cap_stays_within_its_bounds(
    script: list[tuple[float, str, int, bool]], least: int, more: int, seed: int
) -> None:
    """Failures, refusals, answers without a length, a hand on the cap, a server that says that requests wait."""
    chance = random.Random(seed)
    script = script * 6
    place = 0

    def serve(now: float, busy: int) -> Answer:
        nonlocal place
        seconds, what, tokens, _ = script[place % len(script)]
        place += 1
        return None if what == "refused" else (seconds / 3, seconds, tokens)

    loop = Loop(serve, least, least + more)
    for _ in range(30):
        loop.run(chance.choice([1.0, 10.0, 60.0]))
        policy = loop.policy
        assert policy.least <= loop.cap <= policy.most
        match chance.randrange(12):
            case 0:
                cap = chance.randint(1, least + more)
                policy.turned(loop.now, min(least, cap), cap)
                assert policy.most <= least + more
            case 1:
                turn = policy.queueing(loop.now, chance.randint(0, 30), chance.randint(0, 30))
                assert turn is None or policy.least <= turn.cap <= policy.most
            case 2:
                loop.allowed = chance.choice([1, 3, math.inf])


def test_what_was_measured_below_the_least_is_gone_when_a_hand_raises_it() -> None:
    """Else it would look for the knee between that and the cap, below what it may."""
    loop = Loop(lambda now, busy: (0.3, 1.0, 10), 1, 3)
    loop.policy.turned(loop.now, 1, 1)
    loop.run(200)
    loop.policy.turned(loop.now, 3, 3)
    for _ in range(600):
        loop.run(1)
        assert loop.cap == 3


def test_a_generation_of_failures_is_no_measurement() -> None:
    """A server that fails everything for a while, in the middle of the climb."""
    policy = Autotune(4, 1, 100, 0.0)
    now = 0.0
    for n in range(2_000):
        policy.flew(now, policy.cap)
        now += 0.1
        is_ok = not 100 <= n < 400
        landed = Landed(now - 0.5, now, ok=is_ok, ttft=0.1 if is_ok else None, tokens=10 if is_ok else None)
        policy.flew(now, policy.cap - 1)
        policy.landed(now, landed)
    assert 1 <= policy.cap <= 100


def test_after_a_rest_it_stays_where_it_had_settled() -> None:
    loop = Loop(queueing(16))
    loop.run(200)
    while loop.policy.phase != "settled":
        loop.run(1)
    cap, turns = loop.cap, len(loop.turns)
    loop.allowed = 2
    loop.run(150)
    assert loop.policy.phase == "resting"
    loop.allowed = math.inf
    loop.run(15)
    assert loop.cap <= 1.35 * cap + 1
    assert not any(turn.cap >= 2 * cap for _, turn in loop.turns[turns:]), "no second climb"
