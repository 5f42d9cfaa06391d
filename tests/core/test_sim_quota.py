"""The simulated quota in all its shapes: never exceeded, honest about waits, shared with a stranger, shrinking."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchdeck.errors import TransportError, UsageError
from batchdeck.limits.headers import read_limits
from batchdeck.sim.clock import VirtualLoop
from batchdeck.sim.headers import EPOCH, timestamp
from batchdeck.sim.inprocess import InProcessTransport
from batchdeck.sim.model import Plan, SimModel
from batchdeck.sim.options import Shape, SimOptions, build
from batchdeck.sim.quota import Quota
from batchdeck.sim.windows import Bucket, Fixed, Sliding, spare
from batchdeck.transport.base import Request

SHAPES = get_args(Shape)
GAPS = st.lists(st.integers(0, 240).map(lambda eighths: eighths / 8), min_size=1, max_size=150)
"""Eighths of a second, so that a sum of them is exact."""


def quota(now: float = 0.0, **options: Any) -> Quota:
    return Quota.of(SimOptions(**options), now, now, EPOCH)


def ask(prompt: str = "What is it?", **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": prompt}], **more}


def headers(plan: Plan) -> dict[str, str]:
    return dict(plan.headers)


def seconds_told(plan: Plan) -> float:
    return float(headers(plan)["retry-after-ms"]) / 1000


def accepted(subject: Quota, end: float, step: float, tokens: int = 1, start: float = 0.0) -> list[float]:
    """When a client that asks all the time is let in."""
    times = []
    for number in range(int((end - start) / step) + 1):
        now = start + number * step
        while subject.admit(tokens, now).wait == 0:
            times.append(now)
    return times


# -- never more than the quota ------------------------------------------------------------------------------------


@given(limit=st.integers(1, 300), gaps=GAPS, amounts=st.lists(st.integers(1, 120), min_size=1))
@settings(deadline=None)
def test_a_sliding_window_never_holds_more_than_the_limit(limit: int, gaps: list[float], amounts: list[int]) -> None:
    subject = quota(shape="sliding", tpm=limit)
    log: list[tuple[float, int]] = []
    for now, amount in zip(itertools.accumulate(gaps), itertools.cycle(amounts), strict=False):
        fits = sum(taken for at, taken in log if at > now - 60) + amount <= limit
        assert (subject.admit(amount, now).wait == 0) == fits
        if fits:
            log.append((now, amount))


@given(
    limit=st.integers(1, 300), gaps=GAPS, offset=st.integers(0, 479), amounts=st.lists(st.integers(1, 99), min_size=1)
)
@settings(deadline=None)
def test_a_fixed_window_never_takes_more_than_the_limit(
    limit: int, gaps: list[float], offset: int, amounts: list[int]
) -> None:
    """A window begins ``window_offset`` seconds after the start, and then every minute."""
    subject = quota(shape="fixed", tpm=limit, window_offset=offset / 8)
    used: dict[float, int] = {}
    for now, amount in zip(itertools.accumulate(gaps), itertools.cycle(amounts), strict=False):
        window = (now - offset / 8) // 60
        fits = used.get(window, 0) + amount <= limit
        assert (subject.admit(amount, now).wait == 0) == fits
        used[window] = used.get(window, 0) + amount * fits


@given(
    limit=st.floats(1, 5_000),
    burst=st.floats(0.01, 1),
    gaps=GAPS,
    amounts=st.lists(st.integers(1, 3_000), min_size=1),
)
@settings(deadline=None)
def test_a_bucket_never_gives_more_than_its_capacity_and_what_refills(
    limit: float, burst: float, gaps: list[float], amounts: list[int]
) -> None:
    """A request bigger than the bucket goes on debt, and one bigger than the minute does not go at all."""
    subject = quota(tpm=limit, burst=burst)
    capacity = max(1.0, limit * burst)
    given = debt = 0.0
    for now, amount in zip(itertools.accumulate(gaps), itertools.cycle(amounts), strict=False):
        if subject.admit(amount, now).wait == 0:
            assert amount <= limit
            given += amount
            debt = max(debt, amount - capacity)
        assert given <= capacity + now * limit / 60 + debt + 1e-3


@pytest.mark.parametrize("shape", SHAPES)
def test_who_asks_all_the_time_gets_what_the_quota_is_in_every_shape(shape: Shape) -> None:
    subject = quota(shape=shape, rpm=120, burst=0.05)
    times = accepted(subject, 600, 0.05)
    later = [at for at in times if 60 <= at < 600]
    assert len(later) == pytest.approx(subject.share_left(60, 600)[0], rel=0.01)
    assert subject.accepted_requests == len(times)


def test_each_meter_holds_for_itself() -> None:
    both = quota(shape="fixed", input_tpm=100, output_tpm=50)
    assert both.admit(60, 0.0, 10).wait == 0
    assert both.admit(60, 0.0, 10)[1] == "input_tokens"
    assert both.admit(10, 0.0, 45)[1] == "output_tokens"
    assert both.admit(40, 0.0, 40).wait == 0
    assert both.accepted_tokens == 150


def test_a_day_ends_a_day_after_the_start() -> None:
    model = SimModel(SimOptions(rpd=2), now=1_000.0)
    assert [model.arrive(ask(), 1_000.0 + at).status for at in (0, 40_000, 80_000)] == [200, 200, 429]
    refused = model.arrive(ask(), 81_000.0)
    assert refused.refusal is not None
    assert "requests per day" in refused.refusal.message
    assert seconds_told(refused) == 1_000 + 86_400 - 81_000
    assert model.arrive(ask(), 1_000.0 + 86_400).status == 200


# -- what a refused client is told --------------------------------------------------------------------------------


@given(
    shape=st.sampled_from(SHAPES),
    rpm=st.floats(1, 600),
    tpm=st.floats(100, 5_000),
    burst=st.floats(0.01, 1),
    gaps=GAPS,
    offset=st.floats(0, 60),
)
@settings(deadline=None, max_examples=60)
def test_who_waits_as_long_as_told_is_let_in_and_not_much_sooner(
    shape: Shape, rpm: float, tpm: float, burst: float, gaps: list[float], offset: float
) -> None:
    options = SimOptions(shape=shape, rpm=rpm, tpm=tpm, burst=burst, window_offset=offset, answer_tokens=10)
    model, now = SimModel(options), 0.0
    for number, gap in enumerate(gaps):
        now += gap
        plan = model.arrive(ask(f"{number}", max_tokens=20), now)
        if plan.status == 429:
            early = now + seconds_told(plan) - 0.002
            if early > now:
                assert model.arrive(ask(f"{number}", max_tokens=20), early).status == 429
            now += seconds_told(plan)
            assert model.arrive(ask(f"{number}", max_tokens=20), now).status == 200


@pytest.mark.parametrize("style", ["openai", "none"])
def test_a_provider_may_keep_the_wait_to_itself(style: str) -> None:
    model = SimModel(build({"rpm": 1, "headers": style, "retry_after": False}))
    refused = [model.arrive(ask(), 0.0) for _ in range(2)][1]
    assert refused.status == 429
    assert refused.refusal is not None
    assert "Try again" not in refused.refusal.message
    assert not any(name.startswith("retry") for name in headers(refused))
    assert bool(refused.headers) == (style == "openai")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ({"tpm": 100}, "tokens per min (TPM)"),
        ({"input_tpm": 100}, "input tokens per min (ITPM)"),
        ({"tpd": 100}, "tokens per day (TPD)"),
    ],
)
def test_what_is_more_than_the_whole_limit_is_told_that_no_waiting_helps(
    shape: Shape, limit: dict[str, float], said: str
) -> None:
    model = SimModel(build({"shape": shape, "burst": 1, **limit}))
    body = ask("x" * 996, max_tokens=1)
    refused = model.arrive(body, 0.0)
    asked = 249 if "input_tpm" in limit else 250
    assert refused.status == 429
    assert refused.refusal is not None
    assert refused.refusal.message.startswith(f"Request too large for sim on {said}: Limit 100, Requested {asked}.")
    assert (refused.refusal.code, refused.refusal.type) == ("rate_limit_exceeded", "tokens")
    assert "retry-after" not in headers(refused)
    assert model.arrive(ask("x", max_tokens=1), 0.0).status == 200, "and it took nothing"


# -- headers ------------------------------------------------------------------------------------------------------


@given(st.sampled_from(SHAPES), st.integers(0, 40), st.floats(0, 200))
@settings(deadline=None, max_examples=60)
@pytest.mark.parametrize("style", ["openai", "anthropic"])
def test_headers_are_read_back_as_they_are_meant(style: str, shape: Shape, count: int, now: float) -> None:
    model = SimModel(build({"headers": style, "shape": shape, "rpm": 30, "tpm": 6_000, "burst": 1}))
    used = 0
    for _ in range(count):
        plan = model.arrive(ask(), now)
        used += plan.tokens_in + plan.tokens_out
    shown = model.quota.headers(now)
    found = {reading.meter: reading for reading in read_limits(shown, EPOCH + now, "sim")}
    for meter, left in (("requests", 30 - min(count, 30)), ("tokens", 6_000 - used)):
        reading, window = found[meter], model.quota.windows[meter]  # type: ignore[index]
        assert (reading.limit, reading.remaining) == (window.limit, left)
        if left >= 1:
            assert reading.reset is not None
            assert window.reset - 1e-3 <= reading.reset <= window.reset + 1.001


def test_the_day_s_requests_go_by_the_plain_name_in_groq_s_style() -> None:
    model = SimModel(SimOptions(headers="groq", rpm=30, rpd=14_400, tpm=6_000, shape="fixed"))
    shown = headers(model.arrive(ask(), 20.0))
    assert shown["x-ratelimit-limit-requests"] == "14400"
    assert shown["x-ratelimit-remaining-requests"] == "14399"
    assert shown["x-ratelimit-reset-requests"] == "23h59m40s"
    assert shown["x-ratelimit-reset-tokens"] == "40s"
    for number in range(40):
        refused = model.arrive(ask(f"{number}"), 20.5)
    assert headers(refused)["retry-after"] == "40"
    assert "retry-after-ms" not in headers(refused)


def test_resets_are_points_in_time_in_anthropic_s_style() -> None:
    model = SimModel(SimOptions(headers="anthropic", input_tpm=600, shape="fixed"), now=5.0, epoch=1_700_000_000.0)
    shown = headers(model.arrive(ask("x" * 40), 25.25))
    assert shown["anthropic-ratelimit-input-tokens-remaining"] == "590"
    assert shown["anthropic-ratelimit-input-tokens-reset"] == timestamp(1_700_000_065.0) == "2023-11-14T22:14:25Z"


def test_each_shape_says_when_something_comes_back() -> None:
    def resets(shape: Shape) -> list[str]:
        model = SimModel(SimOptions(shape=shape, rpm=60, burst=0.5))
        return [headers(model.arrive(ask(f"{at}"), at))["x-ratelimit-reset-requests"] for at in (0.0, 0.5, 20.0)]

    assert resets("bucket") == ["1s", "1.5s", "1s"], "until it is full"
    assert resets("fixed") == ["1m0s", "59.5s", "40s"], "until the minute is over"
    assert resets("sliding") == ["1m0s", "59.5s", "40s"], "until the oldest leaves"


# -- a stranger on the account ------------------------------------------------------------------------------------

HOUR = 3_600.0


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("rpm", "tpm"), [(600, None), (600, 60_000), (None, 60_000)])
@given(share=st.floats(0.2, 0.7), seed=st.integers(0, 1_000))
@settings(deadline=None, max_examples=4)
def test_a_stranger_takes_its_share_over_an_hour(
    shape: Shape, rpm: float | None, tpm: float | None, share: float, seed: int
) -> None:
    subject = quota(shape=shape, rpm=rpm, tpm=tpm, stranger=share, seed=seed, burst=1)
    left = subject.share_left(0, HOUR)
    for limit, free in zip((rpm, tpm), left, strict=True):
        if limit is None:
            assert free is None
        else:
            assert free is not None
            assert 1 - free / (limit * 60) == pytest.approx(share, rel=0.1)
    assert (subject.accepted_requests, subject.accepted_tokens) == (0, 0), "its requests are not ours"


def test_the_same_seed_has_the_same_stranger_however_often_somebody_looks() -> None:
    def free(seed: int, steps: int) -> list[tuple[float | None, float | None]]:
        subject = quota(rpm=300, tpm=9_000, stranger=0.4, seed=seed)
        for step in range(steps):
            subject.headers(600 * step / steps)
        return [subject.share_left(start, start + 100) for start in range(0, 600, 100)]

    assert free(1, 1) == free(1, 1_000)
    assert free(1, 1) != free(2, 1)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_stranger_and_a_client_share_one_quota(shape: Shape) -> None:
    """Asked for a fifth too much: nobody gets all that he wants, together they get the quota, and not more."""
    subject = quota(shape=shape, rpm=300, stranger=0.6, burst=0.05, seed=4)
    got = sum(subject.admit(1, number / 3).wait == 0 for number in range(1_800))
    free = subject.share_left(0, 600)[0]
    assert free is not None
    taken = 3_000 - free
    assert 0.8 * 1_800 < got < 1_800
    assert 0.5 * 1_800 < taken < 1_800
    assert 0.95 * 3_000 < got + taken <= 3_000 + 15


def test_a_stranger_that_finds_the_quota_used_up_goes_away() -> None:
    subject = quota(shape="fixed", rpm=60, stranger=0.9)
    assert len(accepted(subject, 0, 1)) == 60
    assert subject.share_left(0, 59.5)[0] == pytest.approx(59.5), "nothing was left to take"
    assert subject.stranger is not None
    assert subject.stranger.next_at > 59.5


def test_what_a_stranger_took_too_long_ago_is_an_error_not_a_guess() -> None:
    subject = quota(rpm=1_000_000, stranger=0.5, burst=1)
    recent = subject.share_left(14, 15)[0]
    assert recent is not None
    assert 0 < recent < 1_000_000 / 60
    with pytest.raises(ValueError, match="no longer known"):
        subject.share_left(0, 15)


# -- a quota that shrinks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_after_the_shrink_less_is_let_in_and_headers_say_so(shape: Shape) -> None:
    model = SimModel(SimOptions(shape=shape, rpm=300, tpm=90_000, shrink_at=100, shrink_to=0.2, burst=0.05))
    before = headers(model.arrive(ask("before"), 99.9))
    after = headers(model.arrive(ask("after"), 100.0))
    assert (before["x-ratelimit-limit-requests"], after["x-ratelimit-limit-requests"]) == ("300", "60")
    assert (before["x-ratelimit-limit-tokens"], after["x-ratelimit-limit-tokens"]) == ("90000", "18000")
    subject = quota(shape=shape, rpm=300, shrink_at=100, shrink_to=0.2, burst=0.05)
    times = accepted(subject, 400, 0.05)
    assert sum(180 <= at < 360 for at in times) == pytest.approx(180, abs=4)
    assert subject.share_left(180, 360)[0] == pytest.approx(180)


def test_a_window_keeps_what_it_has_counted_when_it_shrinks() -> None:
    subject = quota(shape="fixed", rpm=100, shrink_at=30, shrink_to=0.5)
    assert len(accepted(subject, 0, 1)) == 100
    assert subject.admit(1, 30.0).wait == 30
    assert len(accepted(subject, 60, 1, start=60)) == 50


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("factor", [0.3, 0.6, 1.0])
@pytest.mark.parametrize("at", [90.0, 100.0, 110.0, 120.0])
def test_share_left_is_what_an_even_client_gets_through_a_shrink(shape: Shape, factor: float, at: float) -> None:
    """One that sends at the quota's pace and, since it knows no better, as soon as it is let in again."""
    subject = quota(shape=shape, rpm=600, shrink_at=at, shrink_to=factor, burst=0.01)
    # Whole minutes after the shrink: within one, a client that is held up sends what is left of it at the old pace.
    end = 240.0 if shape == "fixed" else at + 120
    asked_at = [number / 10 for number in range(1, int(end * 10))]
    got = sum(now >= 60 for now in asked_at if subject.admit(1, now).wait == 0)
    assert got == pytest.approx(subject.share_left(60, end)[0], abs=8)


def test_spare_is_the_area_under_the_paces() -> None:
    paces = [(0.0, 10.0), (100.0, 0.0), (120.0, 5.0)]
    assert spare(paces, 0, 100) == 1_000
    assert spare(paces, 90, 130) == 150
    assert spare(paces, 110, 115) == 0
    assert spare(paces, 200, 300) == 500


def test_new_options_make_the_quota_unused_and_leave_its_clock() -> None:
    model = SimModel(SimOptions(shape="fixed", rpm=1, shrink_at=50, shrink_to=0.5))
    assert [model.arrive(ask(), 20.0).status for _ in range(2)] == [200, 429]
    model.configure(msgspec.structs.replace(model.options, headers="none"), 21.0)
    silent = model.arrive(ask(), 21.0)
    assert silent.status == 429, "another style of headers gives nothing back"
    assert [name for name, _ in silent.headers] == ["retry-after", "retry-after-ms"]
    model.configure(msgspec.structs.replace(model.options, rpm=4, stranger=0.1, headers="openai"), 80.0)
    plans = [model.arrive(ask(), 80.0) for _ in range(3)]
    assert [plan.status for plan in plans] == [200, 200, 429], "4 a minute, which had shrunk to half"
    assert headers(plans[0])["x-ratelimit-reset-requests"] == "40s", "minutes still begin with the start"


# -- outages ------------------------------------------------------------------------------------------------------


def test_an_outage_answers_503_to_everybody_and_takes_nothing() -> None:
    model = SimModel(SimOptions(rpm=1, down_at=10, down_for=5, latency_ms=40), key="sk-right", now=100.0)
    plans = [model.arrive(ask(), 100.0 + at, "Bearer sk-right") for at in (10.0, 14.9, 15.0)]
    assert [plan.status for plan in plans] == [503, 503, 200]
    assert plans[0].refusal is not None
    assert plans[0].refusal.message.startswith("The engine is currently overloaded")
    assert plans[0].headers == ()
    assert plans[0].seconds == 0.04


def test_an_account_without_money_is_refused_until_it_is_paid_for() -> None:
    model = SimModel(SimOptions(rpm=1, out_of_money_at=0, out_of_money_for=30))
    plans = [model.arrive(ask(), at) for at in (0.0, 29.0, 30.0)]
    assert [plan.status for plan in plans] == [429, 429, 200]
    assert plans[0].refusal is not None
    assert plans[0].refusal.code == "insufficient_quota"
    assert "retry-after" not in headers(plans[0])


class Nothing:
    """A sink that must not be told of a send."""

    sends = 0

    def sending(self) -> None:
        self.sends += 1

    def head(self, status: int, headers: tuple[tuple[str, str], ...]) -> None:
        """Not looked at."""

    def data(self, chunk: bytes) -> None:
        """Not looked at."""


def test_a_provider_that_is_gone_refuses_the_connection_and_comes_back() -> None:
    transport = InProcessTransport(SimModel(SimOptions(down_at=0, down_for=60, down="refuse")))
    request = Request("http://sim/v1/chat/completions", (), msgspec.json.encode(ask()))

    async def main() -> None:
        sink = Nothing()
        with pytest.raises(TransportError) as caught:
            await transport.send(request, sink)
        assert caught.value.kind == "connect"
        assert sink.sends == 0, "nothing left the machine"
        await asyncio.sleep(60)
        await transport.send(request, sink)
        assert sink.sends == 1

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())
    stats = transport.tally.stats()
    assert (stats["turned_away"], stats["requests"], stats["accepted"], stats["complete"]) == (1, 1, 1, 1)
    assert stats["tokens_served"] == stats["tokens_in"] + stats["tokens_out"] > 0


# -- options ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"shape": "round"}, "shape"),
        ({"headers": "azure"}, "headers"),
        ({"down": "maybe"}, "down"),
        ({"stranger": 1}, "stranger is 1; it must be at least 0 and below 1"),
        ({"shrink_to": 0}, "shrink_to is 0"),
        ({"shrink_to": 1.5}, "shrink_to is 1.5"),
        ({"down_at": -1}, "down_at is -1"),
        ({"input_tpm": 0}, "input_tpm is 0"),
        ({"tpd": float("inf")}, "tpd is inf"),
    ],
)
def test_bad_options_are_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        build(given)


def test_each_window_says_what_is_in_it() -> None:
    bucket, sliding, fixed = Bucket(600, 0.1, 0.0), Sliding(600, 0.0), Fixed(600, 0.0, offset=17)
    sliding.take(20)
    fixed.take(30)
    assert [repr(window) for window in (bucket, sliding, fixed)] == [
        "<Bucket 60.0 of 60.0, +10.00/s>",
        "<Sliding 20.0 of 600.0>",
        "<Fixed 30.0 of 600.0, 17.0 s left>",
    ]
    assert repr(quota(rpm=60, shape="sliding")) == "<Quota requests=<Sliding 0.0 of 60.0>>"
