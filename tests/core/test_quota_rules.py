"""One account asked as one: every limit holds, real usage settles what was reserved, and too large is said at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchdeck.limits.estimate import Need
from batchdeck.limits.headers import Reading
from batchdeck.limits.quota import Quota, Ticket
from batchdeck.model import Quotas


def send(quota: Quota, now: float, need: Need) -> tuple[Ticket, float]:
    """As soon as it may go. Returns when it went."""
    for _ in range(1_000):
        wait, reason = quota.wait(now, need)
        if reason is None:
            return quota.take(now, need, 100), now
        now += wait
    raise AssertionError(f"it never goes: {quota}")


@given(st.integers(30, 3_000), st.integers(1_000, 200_000), st.lists(st.floats(10, 500), min_size=5, max_size=120))
def test_all_limits_hold_at_once(rpm: int, tpm: int, sizes: list[float]) -> None:
    quota, now, log = Quota(Quotas(rpm=rpm, tpm=tpm), 0.0), 0.0, []
    for size in sizes:
        _, now = send(quota, now, Need(size, 20.0))
        log.append((now, size + 20.0))
    for at, _ in log:
        minute = [amount for other, amount in log if at - 60.0 < other <= at]
        assert len(minute) <= rpm
        assert sum(minute) <= tpm + max(sizes) + 20.0 + 1e-6


@given(st.floats(1.0, 5_000.0), st.floats(1.0, 5_000.0))
def test_a_reservation_is_settled_by_real_usage(reserved: float, used: float) -> None:
    """Whatever was reserved: after the answer, only what it used counts."""
    quota, same = (Quota(Quotas(tpm=60_000, tpd=100_000), 0.0) for _ in range(2))
    ticket = quota.take(0.0, Need(1.0, reserved), 100)
    quota.settle(ticket, 1, round(used), 0.0)
    same.settle(same.take(0.0, Need(1.0, float(round(used))), 100), 1, round(used), 0.0)
    ask = Need(1.0, 500.0)
    assert quota.wait(0.0, ask)[0] == pytest.approx(same.wait(0.0, ask)[0], abs=1e-6)
    assert quota.used == same.used
    (left,) = (state.remaining for state in quota.states(0.0) if state.meter == "tokens_day")
    assert left == pytest.approx(100_000 - 1 - round(used))


def test_a_prompt_larger_than_the_limit_is_refused_at_once() -> None:
    quota = Quota(Quotas(tpm=8_000), 0.0)
    assert quota.refuses(Need(7_999.0, 500.0)) is None
    refused = quota.refuses(Need(8_001.0, 1.0))
    assert refused is not None
    assert "8,001" in refused.message
    assert "8,000 a minute" in refused.message
    day = Quota(Quotas(tpd=5_000), 0.0).refuses(Need(6_000.0, 1.0))
    assert day is not None
    assert "a day" in day.message


def test_what_fits_only_with_its_answer_goes_when_the_bucket_is_full() -> None:
    quota = Quota(Quotas(tpm=1_000), 0.0)
    _, first = send(quota, 0.0, Need(900.0, 400.0))
    _, second = send(quota, 0.0, Need(900.0, 400.0))
    assert first == 0
    assert 60.0 < second < 100.0


@pytest.mark.parametrize(
    ("quotas", "reason"),
    [
        (Quotas(rpm=10), "rpm"),
        (Quotas(tpm=600), "tpm"),
        (Quotas(input_tpm=300), "tpm"),
        (Quotas(output_tpm=300), "tpm"),
        (Quotas(rpd=1), "daily"),
        (Quotas(tpd=100), "daily"),
    ],
)
def test_what_holds_a_request_has_a_name(quotas: Quotas, reason: str) -> None:
    quota = Quota(quotas, 0.0)
    quota.take(0.0, Need(50.0, 50.0), 100)
    wait, said = quota.wait(0.1, Need(50.0, 50.0))
    assert (wait > 0, said) == (True, reason)


def test_a_limit_can_be_changed_and_taken_away() -> None:
    quota, need = Quota(Quotas(rpm=6), 0.0), Need(10.0, 10.0)
    quota.take(0.0, need, 100)
    slow, _ = quota.wait(0.0, need)
    quota.configure(Quotas(rpm=600), 0.0)
    assert quota.wait(0.0, need)[0] < slow
    quota.configure(Quotas(), 0.0)
    assert quota.wait(0.0, need) == (0.0, None)


def test_headers_tell_a_limit_and_the_lower_of_flag_and_header_counts() -> None:
    quota = Quota(Quotas(rpm=500), 0.0)
    ticket = quota.take(0.0, Need(10.0, 10.0), 100)
    assert quota.heard(ticket, [Reading("requests", 300.0, 299.0, 0.2)], 0.3)
    assert quota.known["requests"] == 300.0
    assert not quota.heard(ticket, [Reading("requests", 300.0, 299.0, 0.2)], 0.4)


def test_an_answer_that_comes_late_does_not_bring_an_old_limit_back() -> None:
    quota, need = Quota(Quotas(), 0.0), Need(10.0, 10.0)
    old, new = quota.take(0.0, need, 100), quota.take(0.5, need, 100)
    quota.heard(new, [Reading("requests", 60.0, 50.0, 1.0)], 1.0)
    quota.heard(old, [Reading("requests", 300.0, 299.0, 1.0)], 5.0)
    assert quota.known["requests"] == 60.0


def test_what_remains_is_not_overdrawn() -> None:
    quota, need = Quota(Quotas(), 0.0), Need(10.0, 10.0)
    quota.heard(quota.take(0.0, need, 100), [Reading("requests", 600.0, 3.0, None)], 0.1)
    gone, now = 0, 0.1
    while quota.wait(now, need)[1] is None or now < 0.35:
        if quota.wait(now, need)[1] is None:
            quota.take(now, need, 100)
            gone += 1
        now += 0.01
    assert gone <= 3 + 0.35 * 10


def test_a_request_that_was_refused_is_reckoned_a_larger_one() -> None:
    quota = Quota(Quotas(tpm=10_000), 0.0, max_tokens=150)
    ticket = quota.take(0.0, quota.need(100), 100)
    quota.settle(ticket, 25, 50, 0.0)
    assert quota.need(100) == Need(25.0, 50.0)
    assert quota.need(100, 1) == Need(25.0, 100.0)
    # Never more than an answer may have.
    assert quota.need(100, 2) == quota.need(100, 9) == Need(25.0, 150.0)


def test_in_the_first_minute_what_remains_is_spread_unless_the_account_is_shared() -> None:
    alone, shared, need = Quota(Quotas(), 0.0), Quota(Quotas(), 0.0), Need(10.0, 10.0)
    shared.share({"requests": 1.0}, {"requests": 600.0}, None, 2, {}, 0.0)
    for quota in (alone, shared):
        quota.heard(quota.take(0.0, need, 100), [Reading("requests", 600.0, 400.0, None)], 0.1)
        quota.take(0.2, need, 100)
    # 400 in a minute are one in 0.15 s.
    assert alone.wait(0.2, need) == (pytest.approx(0.15, rel=0.05), "rpm")
    assert shared.wait(0.2, need) == (0.0, None)
    # Only for that minute, whatever one request is said to need.
    huge = Quota(Quotas(), 0.0)
    huge.heard(huge.take(0.0, Need(1.0, 1.0), 100), [Reading("tokens", 6_000.0, 6_000.0, None)], 0.1)
    huge.take(0.2, Need(1.0, 1.0), 100)
    wait, _ = huge.wait(0.2, Need(9_000.0, 0.0))
    assert wait <= 60.0


def test_refusals_double_what_an_answer_is_reckoned_with_three_times_at_most() -> None:
    quota = Quota(Quotas(tpm=10_000), 0.0)
    quota.settle(quota.take(0.0, quota.need(100), 100), 25, 50, 0.0)
    assert [quota.need(100, n).tokens_out for n in (0, 1, 2, 3, 50)] == [50.0, 100.0, 200.0, 400.0, 400.0]


def test_a_429_that_headers_explain_lowers_no_pace_and_one_that_nothing_explains_does() -> None:
    need = Need(10.0, 10.0)
    explained, silent = Quota(Quotas(), 0.0), Quota(Quotas(), 0.0)
    for quota in (explained, silent):
        for _ in range(20):
            quota.accepted()
            last = quota.take(0.0, need, 100)
        if quota is explained:
            quota.heard(last, [Reading("requests", 60.0, 0.0, 30.0)], 0.1)
        quota.refused(last, 0.1)
    assert explained.pace.rate is None
    assert silent.pace.rate is not None
    assert [state.source for state in silent.states(1.0)] == ["learned"]
