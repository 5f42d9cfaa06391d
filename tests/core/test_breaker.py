"""A provider that goes down: the run waits for it, probes, and goes on; a faulty one is not mistaken for it."""

from __future__ import annotations

import math
import random
from collections import deque
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchdeck.model import Failure
from batchdeck.retry.breaker import FIRST_CONTACT, FREE_PROBES, PROBES, Breaker

SEEDS = st.integers(0, 2**32)


def transient(error_type: str, message: str = "it broke") -> Failure:
    return Failure(outcome="transient", error_type=error_type, message=message)


REFUSED = transient("connect", "cannot connect to 127.0.0.1:9: Connection refused")
UNAVAILABLE = transient("http_503", "HTTP 503: no healthy upstream")
BROKEN = transient("http_500", "internal server error")
LIMITED = Failure(outcome="rate_limited", error_type="rate_limited", message="slow down")
BAD = Failure(outcome="permanent", error_type="http_400", message="no such field")
EXHAUSTED = Failure(outcome="fatal", error_type="quota_exhausted", message="You exceeded your current quota")
KEY = Failure(outcome="fatal", error_type="auth", message="no such key")
FAULTS = [
    transient(kind)
    for kind in ("http_500", "http_502", "http_503", "timeout_first_token", "timeout_total", "reset", "truncated")
]


def breaker(*, answered: bool = True, max_outage: float | None = None, seed: int = 1) -> Breaker:
    """answered: the provider has served this session well so far."""
    made = Breaker(random.Random(seed), max_outage=max_outage)
    for _ in range(300 if answered else 0):
        made.succeeded(0.0, made.sent())
    return made


def broken(now: float = 100.0, failure: Failure = REFUSED, **more: object) -> Breaker:
    """One that is open since ``now``."""
    made = breaker(**more)  # type: ignore[arg-type]
    for idx in range(500):
        if made.failed(now + idx / 10, idx, failure, made.sent()):
            return made
    raise AssertionError("it did not open")


def goes(breaker: Breaker, now: float, in_flight: int = 0) -> bool:
    return breaker.wait(now, in_flight) == 0


# -- what opens it


def test_nothing_listens_any_more() -> None:
    cut = breaker()
    assert [cut.failed(100.0, 1, REFUSED, cut.sent()) for _ in range(3)] == [False, False, True]
    assert cut.is_open
    assert cut.since == 100.0
    assert 0 < cut.wait(100.0, 5) <= 2.4


def test_a_lost_connection_now_and_then_is_no_outage() -> None:
    cut = breaker()
    for idx in range(100):
        assert not cut.failed(float(idx), idx, REFUSED, cut.sent())
        assert not cut.failed(float(idx), idx, REFUSED, cut.sent())
        cut.succeeded(float(idx), cut.sent())
    assert not cut.is_open


@pytest.mark.parametrize("failure", [UNAVAILABLE, BROKEN, transient("timeout_first_token"), transient("reset")])
def test_a_provider_that_was_reliable_is_down_after_five_items_in_five_seconds(failure: Failure) -> None:
    cut = breaker()
    cut.wait(100.0, 8)
    opened = [cut.failed(100.0 + 1.3 * idx, idx, failure, cut.sent()) for idx in range(5)]
    assert opened == [False, False, False, False, True]
    assert cut.since == 100.0


def test_one_item_that_fails_again_and_again_is_no_outage() -> None:
    cut = breaker()
    cut.wait(0.0, 10)
    assert not any(cut.failed(idx * 10.0, idx % 4, BROKEN, cut.sent()) for idx in range(200))


def test_a_run_of_one_request_at_a_time_sees_an_outage_before_an_item_fails() -> None:
    """With a cap of 1 no more than four items are on their way, each with five retries."""
    for answered in (True, False):
        cut = breaker(answered=answered)
        cut.wait(0.0, 1)
        opened = [cut.failed(100.0 + idx, idx % 4, UNAVAILABLE, cut.sent()) for idx in range(20)]
        assert True in opened


def test_a_balancer_that_restarts_breaks_many_at_once_and_that_is_one_fault() -> None:
    for width, lost in ((200, 99), (16, 16), (8, 20)):
        cut = breaker()
        cut.wait(100.0, width)
        assert not any(cut.failed(100.0 + idx / 50, idx, transient("reset"), cut.sent()) for idx in range(lost))
        cut.succeeded(101.0, cut.sent())
        assert not cut.is_open


def test_what_is_in_flight_must_fail_by_half() -> None:
    cut = breaker()
    cut.wait(100.0, 200)
    opened = [cut.failed(100.0 + idx, idx, UNAVAILABLE, cut.sent()) for idx in range(100)]
    assert opened.index(True) == 99


def test_bad_items_left_over_at_the_end_fail_by_themselves() -> None:
    """Thirty prompts that crash the server: each failed once while others were answered, now only they are left."""
    cut, now = breaker(), 100.0
    for idx in range(30):
        cut.failed(now, idx, BROKEN, cut.sent())
        cut.succeeded(now, cut.sent())
        now += 1.0
    for _ in range(5):
        for idx in range(30):
            assert not cut.failed(now, idx, BROKEN, cut.sent())
            assert cut.counts_against_item(idx, BROKEN)
            now += 1.0
    assert not cut.is_open
    # That the server itself says to be away is still believed.
    assert any(cut.failed(now + idx, idx, UNAVAILABLE, cut.sent()) for idx in range(30))


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.5])
def test_a_faulty_provider_is_not_down(share: float) -> None:
    """Independent faults, in slow runs and fast ones: 200 seeds of 1,000 requests."""
    for seed in range(200):
        rng = random.Random(seed)
        cut, now, fresh = Breaker(rng, max_outage=None), 0.0, count()
        rate, width = rng.choice([(0.5, 1), (5.0, 4), (20.0, 16), (500.0, 64)])
        again: deque[int] = deque()
        for _ in range(1_000):
            now += rng.expovariate(rate)
            cut.wait(now, width)
            idx = again.popleft() if again and rng.random() < 0.5 else next(fresh)
            probe = cut.sent()
            if rng.random() < share:
                assert not cut.failed(now, idx, rng.choice(FAULTS), probe), f"seed {seed}"
                again.append(idx)
            else:
                cut.succeeded(now, probe)


@given(SEEDS, st.floats(0.0, 0.5), st.integers(1, 500), st.sampled_from([*FAULTS, REFUSED]))
def test_a_real_outage_is_always_seen(seed: int, share: float, width: int, failure: Failure) -> None:
    """However faulty the provider was before."""
    rng = random.Random(seed)
    cut = Breaker(rng, max_outage=None)
    for idx in range(300):
        cut.wait(idx * 0.1, width)
        if rng.random() < share:
            cut.failed(idx * 0.1, idx, rng.choice(FAULTS), cut.sent())
        else:
            cut.succeeded(idx * 0.1, cut.sent())
    cut.succeeded(30.0, True)
    opened = [cut.failed(31.0 + idx / width, 1_000 + idx, failure, cut.sent()) for idx in range(max(60, width))]
    assert True in opened
    assert opened.index(True) + 1 >= (3 if failure is REFUSED else max(5, width / 2))


# -- probing


def test_a_server_is_restarted_and_the_run_goes_on_by_itself() -> None:
    cut, now, probes = broken(100.0), 100.2, []
    while now < 160.0:
        now += cut.wait(now, 0)
        assert goes(cut, now)
        assert cut.sent(), "what is sent now is a probe"
        assert not goes(cut, now, 1), "one at a time"
        probes.append(now)
        assert cut.failed(now + 0.1, 50 + len(probes), REFUSED, True)
        assert not cut.counts_against_item(50 + len(probes), REFUSED)
    gaps = [later - earlier for earlier, later in zip([100.2, *probes], probes, strict=False)]
    for gap, expected in zip(gaps, (2, 4, 8, 16, 32), strict=False):
        assert expected <= gap <= 1.2 * expected + 0.11
    now += cut.wait(now, 0)
    assert cut.sent()
    assert cut.succeeded(now + 1.0, True)
    assert not cut.is_open
    assert cut.since is None
    assert goes(cut, now + 1.0, 400)
    assert cut.reason(now + 1.0) == ""


@given(SEEDS, st.sampled_from([REFUSED, EXHAUSTED]), st.lists(st.floats(0.0, 300.0), max_size=40))
def test_probes_come_one_at_a_time_and_at_bounded_intervals(seed: int, failure: Failure, took: list[float]) -> None:
    cut, now = broken(failure=failure, seed=seed), 100.0 if failure is EXHAUSTED else 100.2
    first, longest = PROBES["quota" if failure is EXHAUSTED else "down"]
    last = 0.0
    for seconds in took:
        wait = cut.wait(now, 3)
        assert first - 1e-6 <= wait <= 1.2 * longest + 1e-6
        assert wait >= min(last / 1.2, longest) - 1e-6
        now, last = now + wait, wait
        assert goes(cut, now, 3)
        assert cut.sent()
        assert not goes(cut, now + seconds, 4)
        now += seconds
        cut.failed(now, 7, failure, True)


def test_a_server_that_shuts_down_ends_what_it_has_begun() -> None:
    """Its last answers are no reason to send it everything again, only to look at once."""
    cut = broken(100.0)
    assert not cut.succeeded(100.5, probe=False)
    assert cut.is_open
    assert goes(cut, 100.5, 40)
    assert cut.sent()
    assert not cut.succeeded(100.6, probe=False)
    assert not goes(cut, 100.6, 40), "a probe is on its way"
    cut.failed(100.7, 9, REFUSED, True)
    assert cut.wait(100.7, 39) >= 2.0


@pytest.mark.parametrize("failure", [LIMITED, BAD])
def test_a_refusal_shows_that_the_server_is_up(failure: Failure) -> None:
    cut = broken(100.0)
    now = 100.2 + cut.wait(100.2, 0)
    cut.failed(now, 8, failure, cut.sent())
    assert not cut.is_open
    again = breaker()
    for idx in range(200):
        again.failed(float(idx), idx, REFUSED if idx % 3 else failure, again.sent())
    assert not again.is_open


def test_an_outage_soon_after_the_last_goes_on_with_its_intervals() -> None:
    cut, now = broken(100.0), 100.2
    for _ in range(4):
        now += cut.wait(now, 0)
        cut.failed(now, 5, REFUSED, cut.sent())
    now += cut.wait(now, 0)
    cut.succeeded(now, cut.sent())
    for idx in range(3):
        cut.failed(now + 1.0, idx, REFUSED, cut.sent())
    assert cut.wait(now + 1.0, 0) >= 32.0


def test_a_probe_that_vanished_does_not_hold_the_run_forever() -> None:
    cut = broken(100.0)
    assert cut.sent()
    assert not goes(cut, 110.0, 1)
    assert goes(cut, 110.0, 0)


# -- the account's quota


def test_an_exhausted_quota_waits_for_somebody_to_pay() -> None:
    cut = breaker()
    assert cut.failed(100.0, 3, EXHAUSTED, cut.sent())
    assert not cut.counts_against_item(3, EXHAUSTED)
    assert not cut.failed(100.1, 4, EXHAUSTED, False), "the others in flight say the same"
    assert cut.reason(100.0).startswith("the account's quota is used up (You exceeded your current quota); tried again")
    now = 100.0 + cut.wait(100.0, 9)
    assert now >= 130.0
    cut.failed(now, 5, LIMITED, cut.sent())
    assert cut.is_open, "that the server is up is not what is missing"
    assert 30.0 <= cut.wait(now, 0) <= 36.0
    now += cut.wait(now, 0)
    assert cut.succeeded(now, cut.sent())


def test_a_refused_key_is_not_its_business() -> None:
    cut = breaker(answered=False)
    assert not any(cut.failed(1.0, idx, KEY, cut.sent()) for idx in range(50))
    assert not cut.is_open


# -- giving up


def test_a_wrong_address_is_given_up_after_a_minute() -> None:
    cut = broken(100.0, answered=False)
    now = 100.2
    while cut.gave_up(now) is None:
        step = cut.wait(now, 0)
        assert step > 0
        now += step
        if goes(cut, now) and cut.gave_up(now) is None:
            cut.failed(now, 4, REFUSED, cut.sent())
    assert now == pytest.approx(100.0 + FIRST_CONTACT), "it wakes up in time to say so"
    said = cut.gave_up(now)
    assert said is not None
    assert said.startswith("the provider has not answered once in 60 s (cannot connect to 127.0.0.1:9: Connection")
    assert "--base-url" in said


def test_an_account_that_never_had_a_quota_is_given_up_after_a_minute() -> None:
    cut = breaker(answered=False)
    cut.failed(100.0, 0, EXHAUSTED, cut.sent())
    assert cut.gave_up(159.9) is None
    assert "You exceeded your current quota" in (cut.gave_up(160.0) or "")


def test_a_provider_that_once_answered_is_waited_for_through_the_night() -> None:
    cut = broken(100.0)
    assert cut.gave_up(100.0 + 12 * 3_600) is None


def test_an_outage_may_last_as_long_as_was_said() -> None:
    cut = broken(100.0, max_outage=900.0)
    assert cut.gave_up(999.9) is None
    assert "down for 15 min (cannot connect" in (cut.gave_up(1000.0) or "")
    cut.max_outage = 3_600.0
    assert cut.gave_up(1000.0) is None


def test_without_a_breaker_items_fail_by_themselves() -> None:
    cut = breaker(max_outage=0.0)
    for idx in range(500):
        assert not cut.failed(float(idx), idx, UNAVAILABLE, cut.sent())
        assert not cut.failed(float(idx), idx, REFUSED, cut.sent())
        assert cut.counts_against_item(idx, REFUSED)
        assert goes(cut, float(idx), 10)
    assert cut.gave_up(1e6) is None
    cut.failed(600.0, 1, EXHAUSTED, cut.sent())
    assert goes(cut, 600.0, 10)
    assert "You exceeded your current quota" in (cut.gave_up(600.0) or "")


def test_the_breaker_is_turned_off_in_the_middle_of_an_outage() -> None:
    cut = broken(100.0)
    cut.max_outage = 0.0
    assert not cut.is_open
    assert goes(cut, 100.5, 10)


# -- what an outage costs the items


def test_an_outage_costs_no_item_its_retries_but_bad_items_cannot_hold_a_run_forever() -> None:
    """All that is left are items that crash the server, and were never tried before."""
    cut, now = broken(100.0, BROKEN), 130.0
    paid = []
    for _ in range(FREE_PROBES + 3):
        now += cut.wait(now, 0)
        cut.failed(now, 7, BROKEN, cut.sent())
        paid.append(cut.counts_against_item(7, BROKEN))
    assert paid == [False] * FREE_PROBES + [True] * 3
    assert not cut.counts_against_item(8, BROKEN)
    assert not cut.counts_against_item(7, UNAVAILABLE), "that the server is away is never the item's fault"


def test_the_sentence_says_what_is_wrong_and_when_it_is_tried_again() -> None:
    cut = broken(100.0)
    seconds = math.ceil(cut.wait(100.2, 0))
    said = "the provider is down (cannot connect to 127.0.0.1:9: Connection refused)"
    assert cut.reason(100.2) == f"{said}; tried again in {seconds} s"
    cut.sent()
    assert cut.reason(100.3) == f"{said}; being tried again now"
    assert len(broken(failure=transient("connect", "x" * 500)).reason(100.0)) < 220
