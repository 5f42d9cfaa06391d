"""The simulated provider without a socket: same seed, same answers; a quota that is never exceeded; honest counts."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from statistics import median
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchdeck.errors import TransportError, UsageError
from batchdeck.sim.answers import count_tokens
from batchdeck.sim.clock import VirtualLoop
from batchdeck.sim.headers import duration
from batchdeck.sim.inprocess import InProcessTransport
from batchdeck.sim.model import Plan, SimModel
from batchdeck.sim.options import FAULTS, SimOptions, build, parse_faults
from batchdeck.sim.quota import Quota
from batchdeck.sim.windows import Bucket
from batchdeck.sim.wire import script
from batchdeck.transport.base import Request

T = TypeVar("T")


def ask(prompt: str, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": prompt}], **more}


def headers(plan: Plan) -> dict[str, str]:
    return dict(plan.headers)


def core(plan: Plan) -> tuple[Any, ...]:
    return plan.id, plan.text, plan.times, plan.status, plan.fault, plan.tokens_in, plan.tokens_out


# -- the same seed, the same answers ------------------------------------------------------------------------------


def test_one_seed_gives_the_same_answers_latencies_and_faults_in_any_order() -> None:
    options = SimOptions(seed=7, faults={"500": 0.2, "reset": 0.2})
    prompts = [f"prompt {number}" for number in range(200)]
    shuffled = random.Random(1).sample(prompts, len(prompts))
    one, other = SimModel(options), SimModel(options)
    in_order = {prompt: core(one.arrive(ask(prompt), 0.0)) for prompt in prompts}
    mixed = {prompt: core(other.arrive(ask(prompt, stream=True), at * 1.5)) for at, prompt in enumerate(shuffled)}
    assert in_order == mixed
    assert len({plan[1] for plan in in_order.values()}) > 100
    different = SimModel(SimOptions(seed=8))
    assert all(core(different.arrive(ask(prompt), 0.0)) != in_order[prompt] for prompt in prompts)


def test_asked_again_the_same_prompt_gets_another_answer_and_may_get_over_its_fault() -> None:
    model = SimModel(SimOptions(seed=3, faults={"503": 0.5}))
    tries = [model.arrive(ask("again and again"), 0.0) for _ in range(50)]
    assert len({plan.id for plan in tries}) == 50
    assert {plan.status for plan in tries} == {200, 503}


def test_a_rejected_request_does_not_use_up_an_answer() -> None:
    """What is answered after a 429 is what would have been answered without it."""
    free, tight = SimModel(SimOptions(seed=5)), SimModel(SimOptions(seed=5, rpm=60, burst=0.01))
    expected = [free.arrive(ask(name), 0.0).text for name in ("a", "b")]
    first = tight.arrive(ask("a"), 0.0)
    rejected = tight.arrive(ask("b"), 0.0)
    assert rejected.status == 429
    again = tight.arrive(ask("b"), float(headers(rejected)["retry-after-ms"]) / 1000)
    assert [first.text, again.text] == expected


def test_answers_admit_that_they_are_simulated_take_up_the_prompt_and_vary_in_length() -> None:
    model = SimModel(SimOptions(seed=1, answer_tokens=40))
    plans = [model.arrive(ask(f"Translate word {n} into French please"), 0.0) for n in range(500)]
    assert all(plan.text.startswith("[simulated] ") for plan in plans)
    assert all(f"Translate word {n} into French" in plan.text for n, plan in enumerate(plans))
    lengths = sorted(plan.tokens_out for plan in plans)
    assert 30 < median(lengths) < 70
    assert lengths[-1] > 3 * lengths[0]


def test_a_hostile_prompt_comes_back_as_it_was() -> None:
    hostile = "[/foo] \x1b]52;c;aGk=\x07 \x1b[31mred"
    assert hostile in SimModel().arrive(ask(hostile), 0.0).text
    long = "\n".join(f"line {n}" for n in range(100))
    assert SimModel(SimOptions(echo=True)).arrive(ask(long), 0.0).text == "[simulated] " + long


@given(st.lists(st.text(max_size=300), min_size=1, max_size=4), st.integers(1, 50) | st.none(), st.booleans())
@settings(deadline=None)
def test_token_counts_agree_with_the_texts(contents: list[str], most: int | None, echo: bool) -> None:
    messages = [{"role": "user", "content": text} for text in contents]
    plan = SimModel(SimOptions(echo=echo)).arrive({"model": "m", "messages": messages, "max_tokens": most}, 0.0)
    assert plan.tokens_in == sum(count_tokens(text) for text in contents)
    assert plan.tokens_out == len(plan.pieces) == len(plan.times) == count_tokens(plan.text)
    if echo:
        wanted = count_tokens("[simulated] " + contents[-1])
        assert plan.tokens_out == (wanted if most is None else min(wanted, most))
        assert plan.finish_reason == ("length" if plan.tokens_out < wanted else "stop")


def test_latencies_are_spread_around_what_was_asked_for() -> None:
    model = SimModel(SimOptions(ttft_ms=300, token_rate=50))
    plans = [model.arrive(ask(f"{n}"), 0.0) for n in range(1_000)]
    ttfts = [plan.times[0] for plan in plans]
    rates = [(plan.tokens_out - 1) / (plan.seconds - plan.times[0]) for plan in plans]
    assert median(ttfts) == pytest.approx(0.3, rel=0.1)
    assert median(rates) == pytest.approx(50, rel=0.1)
    assert max(ttfts) > 2 * min(ttfts)
    assert all(list(plan.times) == sorted(plan.times) for plan in plans)


def test_a_fixed_latency_is_the_whole_response_to_the_bit() -> None:
    model = SimModel(SimOptions(latency_ms=50, faults={"500": 0.3}))
    plans = [model.arrive(ask(f"{n}", stream=n % 2 == 0, max_tokens=1 + n % 7), 0.0) for n in range(300)]
    assert {plan.seconds for plan in plans} == {0.05}
    assert all(0 < first <= 0.05 for plan in plans for first in plan.times)


# -- the quota ----------------------------------------------------------------------------------------------------


@given(
    rpm=st.floats(1, 6_000),
    burst=st.floats(0.01, 1),
    gaps=st.lists(st.floats(0, 5), min_size=1, max_size=200),
)
@settings(deadline=None)
def test_never_more_requests_than_burst_and_refill_allow(rpm: float, burst: float, gaps: list[float]) -> None:
    quota = Quota(rpm, None, burst, 0.0)
    capacity = max(1.0, rpm * burst)
    now, accepted = 0.0, 0
    for gap in gaps:
        now += gap
        accepted += quota.admit(1, now)[0] == 0
        assert accepted <= capacity + now * rpm / 60 + 1e-3


@given(rpm=st.floats(60, 3_000), burst=st.floats(0.01, 1))
@settings(deadline=None, max_examples=30)
def test_who_asks_all_the_time_gets_the_whole_quota(rpm: float, burst: float) -> None:
    quota = Quota(rpm, None, burst, 0.0)
    seconds, accepted = 10.0, 0
    for tick in range(int(seconds * 100) + 1):
        while quota.admit(1, tick / 100)[0] == 0:
            accepted += 1
    assert accepted > max(1.0, rpm * burst) + seconds * rpm / 60 - 2


@given(
    tpm=st.floats(100, 100_000),
    steps=st.lists(st.tuples(st.floats(0, 5), st.integers(1, 3_000)), min_size=1, max_size=100),
)
@settings(deadline=None)
def test_never_more_tokens_than_burst_and_refill_allow(tpm: float, steps: list[tuple[float, int]]) -> None:
    quota = Quota(None, tpm, 0.1, 0.0)
    capacity = max(1.0, tpm * 0.1)
    now, accepted, biggest = 0.0, 0, 0.0
    for gap, tokens in steps:
        now += gap
        if quota.admit(tokens, now)[0] == 0:
            accepted += tokens
            biggest = max(biggest, tokens - capacity)
        assert accepted <= capacity + now * tpm / 60 + biggest + 1e-3


@given(st.floats(1, 1_000), st.floats(1, 5_000), st.integers(0, 20))
@settings(deadline=None)
def test_who_waits_as_long_as_told_is_let_in(rpm: float, tpm: float, before: int) -> None:
    model = SimModel(SimOptions(rpm=rpm, tpm=tpm))
    for number in range(before):
        model.arrive(ask(f"{number}"), 0.0)
    plan = model.arrive(ask("me"), 0.0)
    if plan.status == 429:
        told = headers(plan)
        if plan.refusal is not None and plan.refusal.message.startswith("Request too large"):
            assert "retry-after" not in told
            return
        assert int(told["retry-after"]) * 1000 >= int(told["retry-after-ms"]) > 0
        assert model.arrive(ask("me"), int(told["retry-after-ms"]) / 1000).status == 200


def test_quota_headers_tell_the_state_and_a_429_takes_nothing() -> None:
    model = SimModel(SimOptions(rpm=60, tpm=60_000, burst=0.05))
    seen = [model.arrive(ask(f"{n}"), 0.0) for n in range(5)]
    assert [plan.status for plan in seen] == [200, 200, 200, 429, 429]
    assert [headers(plan)["x-ratelimit-remaining-requests"] for plan in seen] == ["2", "1", "0", "0", "0"]
    assert headers(seen[0])["x-ratelimit-limit-requests"] == "60"
    assert headers(seen[0])["x-ratelimit-limit-tokens"] == "60000"
    assert headers(seen[2])["x-ratelimit-reset-requests"] == "3s"
    used = seen[0].tokens_in + seen[0].tokens_out
    assert headers(seen[0])["x-ratelimit-remaining-tokens"] == str(3_000 - used)
    refused = seen[3]
    assert headers(refused)["retry-after"] == "1"
    assert refused.refusal is not None
    assert (refused.refusal.code, refused.refusal.type) == ("rate_limit_exceeded", "requests")
    assert model.arrive(ask("later"), 1.0).status == 200
    assert not SimModel().arrive(ask("free"), 0.0).headers


def test_a_request_bigger_than_the_burst_gets_in_once_and_pays_for_it() -> None:
    model = SimModel(SimOptions(tpm=6_000, burst=0.01))
    big = ask("x" * 4_000)
    assert model.arrive(big, 0.0).status == 200
    refused = model.arrive(ask("small"), 0.0)
    assert refused.status == 429
    assert int(headers(refused)["retry-after"]) > 9, "over 1,000 tokens at 100 a second"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0s"),
        (0.45, "450ms"),
        (1, "1s"),
        (7.66, "7.66s"),
        (59.9999, "1m0s"),
        (90, "1m30s"),
        (119.5, "2m0s"),
        (3_600, "1h0m0s"),
    ],
)
def test_durations_as_openai_writes_them(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_a_bucket_says_what_is_in_it() -> None:
    assert repr(Bucket(600, 0.1, 0.0)) == "<Bucket 60.0 of 60.0, +10.00/s>"


# -- faults and refusals ------------------------------------------------------------------------------------------


def test_faults_come_as_often_as_asked_for() -> None:
    rates = dict.fromkeys(FAULTS, 0.05)
    model = SimModel(SimOptions(faults=rates))
    plans = [model.arrive(ask(f"{n}"), 0.0) for n in range(4_000)]
    for name in FAULTS:
        assert 140 < sum(plan.fault == name for plan in plans) < 260, name
    assert sum(plan.fault is None for plan in plans) > 1_800


def test_faults_change_nothing_about_the_good_answers() -> None:
    calm, wild = SimModel(SimOptions()), SimModel(SimOptions(faults={"500": 0.5}))
    pairs = [(calm.arrive(ask(f"{n}"), 0.0), wild.arrive(ask(f"{n}"), 0.0)) for n in range(100)]
    good = [(a, b) for a, b in pairs if b.fault is None]
    assert len(good) > 30
    assert all(core(a) == core(b) for a, b in good)


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        (b"{not json", None),
        (b"[]", None),
        (b'{"messages": [{"role": "user", "content": "x"}]}', "model"),
        (b'{"model": "m"}', "messages"),
        (b'{"model": "m", "messages": []}', "messages"),
        (b'{"model": "m", "messages": ["x"]}', "messages"),
        (b'{"model": "m", "messages": [{"role": "user", "content": 3}]}', "messages"),
        (b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 0}', "max_tokens"),
        (b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "stream_options": 1}', "stream_options"),
        (b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "n": 2}', "n"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(raw: bytes, param: str | None) -> None:
    plan = SimModel(SimOptions(rpm=60)).receive(raw, 0.0)
    assert plan.status == 400
    assert plan.refusal is not None
    assert (plan.refusal.type, plan.refusal.param) == ("invalid_request_error", param)


def test_only_the_right_key_opens() -> None:
    model = SimModel(key="sk-right")
    given = [
        model.arrive(ask("x"), 0.0, authorization).status for authorization in (None, "Bearer no", "Bearer sk-right")
    ]
    assert given == [401, 401, 200]


# -- options ------------------------------------------------------------------------------------------------------


def test_options_survive_the_way_through_json() -> None:
    options = SimOptions(seed=4, latency_ms=50, rpm=600, faults={"hang": 0.1}, require_key="KEY", echo=True)
    assert build(msgspec.json.decode(msgspec.json.encode(options))) == options
    assert build({"latency_ms": 9}, options).faults == {"hang": 0.1}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"faults": {"500": 1.5}}, "fault 500 is 1.5"),
        ({"faults": {"boom": 0.1}}, "unknown fault 'boom'"),
        ({"faults": {"500": 0.6, "503": 0.6}}, "add up to 1.2"),
        ({"rpm": 0}, "rpm is 0"),
        ({"tpm": -1}, "tpm is -1"),
        ({"latency_ms": float("nan")}, "latency_ms is nan"),
        ({"burst": 2}, "burst is 2"),
        ({"token_rate": 0}, "token_rate is 0"),
        ({"speed": 1}, "speed"),
        ({"seed": "x"}, "seed"),
    ],
)
def test_bad_options_are_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        build(given)


@pytest.mark.parametrize("text", ["500", "500=", "500=often", "=", "500:0.1"])
def test_a_fault_that_is_not_name_and_rate_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="NAME=RATE"):
        build({"faults": parse_faults((text,))})


def test_the_same_fault_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="twice"):
        parse_faults(("500=0.1", "500=0.2"))


# -- in process, under virtual time -------------------------------------------------------------------------------


class Received:
    """A sink that writes down what came when."""

    def __init__(self) -> None:
        self.log: list[tuple[float, Any]] = []
        self.sends = 0
        self.status: int | None = None
        self.headers: dict[str, str] = {}

    def sending(self) -> None:
        self.sends += 1

    def head(self, status: int, headers: tuple[tuple[str, str], ...]) -> None:
        self.status, self.headers = status, dict(headers)

    def data(self, chunk: bytes) -> None:
        self.log.append((asyncio.get_running_loop().time(), chunk))

    @property
    def body(self) -> bytes:
        return b"".join(chunk for _, chunk in self.log)


def virtually(main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def post(prompt: str, **more: Any) -> Request:
    return Request("http://sim/v1/chat/completions", (), msgspec.json.encode(ask(prompt, **more)))


async def send(transport: InProcessTransport, request: Request) -> Received:
    received = Received()
    await transport.send(request, received)
    return received


def test_a_stream_in_process_has_the_plan_s_times_and_the_script_s_bytes() -> None:
    model = SimModel(SimOptions(seed=2))
    plan = SimModel(SimOptions(seed=2)).arrive(ask("hello", stream=True), 0.0)
    received = virtually(send(InProcessTransport(model), post("hello", stream=True)))
    assert received.status == 200
    assert received.headers["content-type"].startswith("text/event-stream")
    assert received.body == b"".join(script(plan).chunks)
    assert received.log[0][0] == pytest.approx(plan.times[0])
    assert received.log[-1][0] == pytest.approx(plan.seconds)
    assert len(received.log) > 10


async def hundred(seed: int) -> tuple[list[tuple[float, Any]], dict[str, Any]]:
    transport = InProcessTransport(SimModel(SimOptions(seed=seed, rpm=300, faults={"reset": 0.1, "500": 0.1})))
    log: list[tuple[float, Any]] = []

    async def one(number: int) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(number * 0.1)
        try:
            received = await send(transport, post(f"{number}", stream=number % 2 == 0))
            log.append((loop.time(), received.status))
        except TransportError as error:
            log.append((loop.time(), error.kind))

    await asyncio.gather(*map(one, range(100)))
    return log, transport.tally.stats()


def test_the_same_seed_gives_the_same_event_log() -> None:
    log, stats = virtually(hundred(11))
    assert (log, stats) == virtually(hundred(11))
    ends = [end for _, end in log]
    assert set(ends) == {200, 429, 500, "reset"}
    assert stats["by_status"]["429"] == ends.count(429)
    assert stats["by_status"]["500"] == stats["faults"]["500"] == ends.count(500)
    assert stats["complete"] == ends.count(200)
    assert stats["by_status"]["200"] == ends.count(200) + ends.count("reset")
    assert stats["requests"] == 100
    assert stats["in_flight"] == stats["gone"] == 0


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("fault", ["hang", "stall"])
def test_silence_lasts_until_the_client_gives_up(fault: str, stream: bool) -> None:
    async def main() -> tuple[Received, float, dict[str, Any]]:
        transport = InProcessTransport(SimModel(SimOptions(faults={fault: 1.0})))
        received = Received()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(600):
                await transport.send(post("x", stream=stream), received)
        return received, asyncio.get_running_loop().time(), transport.tally.stats()

    received, ended, stats = virtually(main())
    assert ended == pytest.approx(600)
    assert (received.status is None) == (fault == "hang")
    assert stats["faults"] == {fault: 1}
    assert (stats["gone"], stats["in_flight"]) == (1, 0)


@pytest.mark.parametrize(("fault", "stream"), [("reset", True), ("reset", False), ("truncate", False)])
def test_a_broken_connection_is_a_reset(fault: str, stream: bool) -> None:
    transport = InProcessTransport(SimModel(SimOptions(faults={fault: 1.0})))
    with pytest.raises(TransportError) as caught:
        virtually(send(transport, post("x", stream=stream)))
    assert caught.value.kind == "reset"


def test_a_truncated_stream_ends_without_its_mark_and_garbage_does_not_parse() -> None:
    cut = virtually(send(InProcessTransport(SimModel(SimOptions(faults={"truncate": 1}))), post("x", stream=True)))
    assert cut.status == 200
    assert cut.body.startswith(b"data: ")
    assert b"[DONE]" not in cut.body
    assert b'"finish_reason":"stop"' not in cut.body
    rubbish = virtually(send(InProcessTransport(SimModel(SimOptions(faults={"garbage": 1}))), post("x")))
    assert rubbish.status == 200
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(rubbish.body)


def test_a_held_stream_shows_its_first_words_until_it_is_released() -> None:
    async def main() -> tuple[bytes, bytes, float]:
        transport = InProcessTransport(SimModel(SimOptions(hold=True, latency_ms=1_000)))
        received = Received()
        task = asyncio.create_task(transport.send(post("x", stream=True), received))
        await asyncio.sleep(500)
        assert len(transport.holds) == 1
        early = received.body
        assert transport.holds.release() == 1
        await task
        return early, received.body, asyncio.get_running_loop().time()

    early, whole, ended = virtually(main())
    assert b"[sim" in early
    assert b"[DONE]" not in early
    assert whole.startswith(early)
    assert whole.endswith(b"data: [DONE]\n\n")
    assert 500 < ended < 501, "what follows a hold takes no longer than it would have without"


def test_another_path_is_not_found() -> None:
    request = msgspec.structs.replace(post("x"), url="http://sim/v1/embeddings")
    assert virtually(send(InProcessTransport(SimModel()), request)).status == 404
