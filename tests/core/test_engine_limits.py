"""What holds a run back, what ends a request, and what ends a run: rate limits, retries, time limits, refused keys."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from batchdeck.engine.queue import Work
from batchdeck.limits.estimate import Need
from batchdeck.model import Budget, Limits, Quotas
from batchdeck.sim.options import SimOptions
from batchdeck.store.reader import RunReader
from tests.core.simulated import Reply, Rig, Scripted, ask, good, refusal, until, virtually

BREAKERLESS = Budget(max_outage=0)
"""Items fail of a provider that is down, instead of waiting for it."""


def ran(path: Path, items: int, sim: SimOptions, **given: Any) -> tuple[Rig, str]:
    async def main() -> tuple[Rig, str]:
        rig = Rig(path, items, sim, **given)
        return rig, await rig.run()

    result: tuple[Rig, str] = virtually(main)
    return result


def answering(path: Path, items: int, reply: Any, **given: Any) -> tuple[Rig, Scripted, str]:
    async def main() -> tuple[Rig, Scripted, str]:
        provider = Scripted(reply)
        rig = Rig(path, items, SimOptions(), transport=provider, **given)
        return rig, provider, await rig.run()

    result: tuple[Rig, Scripted, str] = virtually(main)
    return result


# -- 429


def test_a_429_holds_the_whole_run_then_it_ramps_up(tmp_path: Path) -> None:
    def reply(number: int, body: bytes) -> Reply:
        return refusal(429, "slow down", retry_after="7") if number == 30 else good()

    rig, provider, ending = answering(tmp_path / "run.db", 100, reply, max_retries=0)
    assert ending == "done"
    (at, _, idx, _), (_, _, _, detail) = rig.happened("rate_limited")
    assert "slow down" in detail
    after = [sent for sent in provider.sent_at if sent > at]
    assert after[0] >= at + 7.0
    assert after[0] < at + 7.0 * 1.2
    # What was held back does not all go at once: the second request comes later than the first, and so on.
    assert all(later > earlier for earlier, later in pairwise(after[:8]))
    assert rig.engine.counts.done == 100
    assert (rig.engine.counts.rate_limit_hits, rig.engine.counts.retries) == (1, 0)
    first_again = next(event for event in rig.happened("send") if event[0] > at)
    assert first_again[2] == idx
    with RunReader(tmp_path / "run.db") as reader:
        held = sum(sample.cooldown for sample in reader.samples())
        assert held == pytest.approx(after[0] - at, rel=0.02)
        assert "rate_limited" in [event.kind for event in reader.events()]


def test_what_was_refused_is_reckoned_a_larger_request_when_it_goes_again(tmp_path: Path) -> None:
    """Where tokens are the limit it is the large one that does not fit, and it would be refused again and again."""

    async def main() -> list[float]:
        provider = Scripted(lambda number, body: refusal(429, retry_after="1") if number in (20, 21) else good())
        rig = Rig(tmp_path / "run.db", 40, SimOptions(), transport=provider, concurrency=1)
        enter, reckoned = rig.engine.admission.enter, []

        def entered(now: float, work: Work, need: Need, size: int) -> None:
            reckoned.append((work.item.idx, need.tokens_out))
            enter(now, work, need, size)

        rig.engine.admission.enter = entered  # type: ignore[method-assign]
        assert await rig.run() == "done"
        return [tokens for idx, tokens in reckoned if idx == 20]

    first, second, third = virtually(main)
    assert second == pytest.approx(2 * first)
    assert third == pytest.approx(4 * first)


@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_sent_while_any_429_holds(tmp_path: Path, seed: int) -> None:
    sim = SimOptions(seed=seed, rpm=240, ttft_ms=150, answer_tokens=10, headers="none")
    rig, ending = ran(tmp_path / "run.db", 120, sim, seed=seed, max_retries=0, concurrency=16)
    assert ending == "done"
    assert rig.engine.counts.failed == 0
    assert rig.engine.counts.rate_limit_hits == rig.tally.by_status[429] > 0
    told = ask(
        tmp_path / "run.db",
        "SELECT started_at - 1800000000.0 + seconds, headers FROM attempts WHERE status = 429 ORDER BY id",
    )
    sends = [event[0] for event in rig.happened("send")]
    for ended, headers in told:
        asked = int(headers.split('"retry-after-ms":"')[1].split('"')[0]) / 1000
        assert not [at for at in sends if ended + 1e-5 < at < ended + asked - 1e-5]


def test_a_snapshot_says_what_it_waits_for(tmp_path: Path) -> None:
    async def main() -> None:
        provider = Scripted(lambda number, body: refusal(429, retry_after="60") if number < 5 else good())
        rig = Rig(tmp_path / "run.db", 20, SimOptions(), transport=provider, concurrency=5)
        run = rig.loop.create_task(rig.run())
        await until(lambda: rig.loop.time() > 3)
        snapshot = rig.snapshot()
        assert "rate limit" in snapshot.message
        assert 55 < snapshot.cooldown < 66
        assert (snapshot.in_flight, snapshot.backoff, snapshot.queued) == (0, 5, 20)
        assert await run == "done"

    virtually(main)


def test_a_server_that_says_no_time_is_asked_less_and_less(tmp_path: Path) -> None:
    _, provider, ending = answering(
        tmp_path / "run.db", 1, lambda number, body: refusal(429) if number < 6 else good(), max_retries=0
    )
    assert ending == "done"
    waits = [later - earlier for earlier, later in pairwise(provider.sent_at)]
    # Twice as long each time, up to eight seconds: there it stays until most quotas are there again.
    assert all(later > 1.1 * earlier for earlier, later in pairwise(waits[:4:2]))
    assert waits[0] >= 0.5
    assert all(4.0 <= wait <= 9.0 for wait in waits[3:])


def test_max_wait_fails_what_rate_limits_hold_longer(tmp_path: Path) -> None:
    rig, provider, ending = answering(
        tmp_path / "run.db", 1, lambda number, body: refusal(429, "busy", retry_after="4"), max_wait=10.0
    )
    assert ending == "done"
    assert (rig.engine.counts.failed, rig.engine.counts.retries) == (1, 0)
    # Twice 4 s and their jitter fit into 10 s, three times do not: it is given up as soon as that is known.
    assert len(provider.sent_at) == 3
    assert rig.loop.time() < 10.0
    (error,) = rig.engine.errors
    assert (error.error_type, error.attempts, error.items) == ("rate_limited", 3, 1)


def test_max_wait_does_not_sit_through_a_hold_that_is_longer(tmp_path: Path) -> None:
    rig, provider, ending = answering(
        tmp_path / "run.db", 1, lambda number, body: refusal(429, retry_after="3600"), max_wait=60.0
    )
    assert (ending, rig.engine.counts.failed, len(provider.sent_at)) == ("done", 1, 1)
    assert rig.loop.time() < 1.0


# -- errors that may pass, and those that do not


@pytest.mark.parametrize("retries", [0, 1, 4])
def test_an_item_gets_exactly_its_retries(tmp_path: Path, retries: int) -> None:
    rig, ending = ran(tmp_path / "run.db", 12, SimOptions(faults={"500": 1.0}), max_retries=retries, budget=BREAKERLESS)
    assert ending == "done"
    assert rig.engine.counts.failed == 12
    assert rig.tally.by_status[500] == 12 * (1 + retries)
    assert rig.engine.counts.retries == 12 * retries
    assert set(Counter(event[2] for event in rig.happened("send")).values()) == {1 + retries}


def test_rate_limits_do_not_eat_the_retries(tmp_path: Path) -> None:
    script = [503, 429, 429, 429, 503, 429, 503, 429]

    def reply(number: int, body: bytes) -> Reply:
        return refusal(script[number], retry_after="1") if number < len(script) else good()

    rig, _, ending = answering(tmp_path / "run.db", 1, reply, max_retries=3)
    assert (ending, rig.engine.counts.done) == ("done", 1)
    assert (rig.engine.counts.retries, rig.engine.counts.rate_limit_hits) == (3, 5)


def test_a_retry_after_on_a_503_is_honoured_by_its_item_alone(tmp_path: Path) -> None:
    def reply(number: int, body: bytes) -> Reply:
        return refusal(503, retry_after="9") if number == 0 else good()

    rig, _, ending = answering(tmp_path / "run.db", 50, reply, concurrency=2)
    assert ending == "done"
    first, again = [event[0] for event in rig.happened("send") if event[2] == 0]
    assert 9.0 <= again - first < 10.0
    others = [event[0] for event in rig.happened("send") if event[2] != 0]
    assert max(others) < 3.0


@pytest.mark.parametrize("status", [400, 404, 422])
def test_what_cannot_succeed_is_asked_once(tmp_path: Path, status: int) -> None:
    rig, provider, ending = answering(
        tmp_path / "run.db", 8, lambda number, body: refusal(status, "this cannot work", retry_after="1")
    )
    assert (ending, rig.engine.counts.failed, len(provider.sent_at)) == ("done", 8, 8)
    with RunReader(tmp_path / "run.db") as reader:
        assert {(row.error_type, row.error, row.attempts) for row in reader.window(0, 8)} == {
            (f"http_{status}", "this cannot work", 1)
        }


# -- what stops a run


@pytest.mark.parametrize(("fault", "words"), [("401", "Incorrect API key"), ("quota", "exceeded your current quota")])
def test_a_refused_key_stops_the_run_early_and_nothing_is_lost(tmp_path: Path, fault: str, words: str) -> None:
    rig, ending = ran(tmp_path / "run.db", 500, SimOptions(faults={fault: 1.0}))
    assert ending == "stopped"
    # What was in flight, and a probe: money may come back, a key does not.
    assert 1 <= rig.tally.requests <= (10 if fault == "401" else 11)
    assert words in rig.snapshot().message
    assert (rig.engine.counts.done, rig.engine.counts.failed) == (0, 0)
    assert rig.engine.counts.rate_limit_hits == rig.tally.by_status[429]
    with RunReader(tmp_path / "run.db") as reader:
        meta = reader.meta()
        assert meta.state == "stopped"
        assert words in meta.message
        assert len(reader.select("queued")) == 500
        opened = ["breaker"] if fault == "quota" else []
        assert [event.kind for event in reader.events()] == ["started", *opened, "stopped", "ended"]
    again, ending = ran(tmp_path / "run.db", 500, SimOptions(latency_ms=20))
    assert ending == "done"
    assert again.snapshot().message == ""
    assert (again.engine.counts.done, again.tally.requests) == (500, 500)


def test_a_key_that_is_refused_in_the_middle_keeps_what_is_in_flight(tmp_path: Path) -> None:
    def reply(number: int, body: bytes) -> Reply:
        return refusal(401, "key revoked") if number == 20 else good()

    rig, provider, ending = answering(tmp_path / "run.db", 100, reply)
    assert ending == "stopped"
    kinds = [event[1] for event in rig.trace]
    assert "send" not in kinds[kinds.index("fatal") :]
    assert "done" in kinds[kinds.index("fatal") :]
    assert rig.engine.counts.done == len(provider.sent_at) - 1
    assert rig.engine.steer.cancel().ok is False


def test_a_cancel_does_not_hide_why_the_run_stopped(tmp_path: Path) -> None:
    async def main() -> None:
        rig = Rig(tmp_path / "run.db", 30, SimOptions(seed=1, faults={"401": 0.3, "hang": 0.7}))
        run = rig.loop.create_task(rig.run())
        await until(lambda: rig.engine.state == "draining")
        assert rig.engine.steer.cancel().ok
        assert await run == "stopped"
        assert "API key" in rig.snapshot().message

    virtually(main)


# -- time limits


@pytest.mark.parametrize(
    ("fault", "limits", "error_type", "seconds"),
    [
        ("hang", Limits(first_token=3.0), "timeout_first_token", 3.0),
        ("stall", Limits(idle=2.0), "timeout_idle", 2.0),
        ("hang", Limits(total=5.0), "timeout_total", 5.0),
    ],
)
def test_a_time_limit_really_ends_the_request(
    tmp_path: Path, fault: str, limits: Limits, error_type: str, seconds: float
) -> None:
    sim = SimOptions(ttft_ms=100, faults={fault: 1.0}, answer_tokens=20)
    rig, ending = ran(tmp_path / "run.db", 6, sim, limits=limits, max_retries=1)
    assert ending == "done"
    assert rig.tally.requests == rig.tally.gone == rig.engine.counts.attempts == 12
    assert rig.tally.in_flight == 0
    rows = ask(tmp_path / "run.db", "SELECT error_type, outcome, seconds, coalesce(ttft, 0), text, error FROM attempts")
    assert {(row[0], row[1]) for row in rows} == {(error_type, "transient")}
    # Half of an answer may have come before the silence began.
    assert all(seconds <= row[2] < seconds + 0.1 + (1.5 if fault == "stall" else 0) for row in rows)
    assert all(bool(row[4]) == (fault == "stall") for row in rows)
    assert all(f"{seconds:g} s" in row[5] for row in rows)
    (error,) = rig.engine.errors
    assert (error.error_type, error.attempts, error.items) == (error_type, 12, 6)


def test_a_slow_stream_is_cut_by_the_total_limit_alone(tmp_path: Path) -> None:
    sim = SimOptions(ttft_ms=10, token_rate=2, answer_tokens=60)
    rig, _ = ran(tmp_path / "run.db", 4, sim, limits=Limits(first_token=2, idle=5, total=8), max_retries=0)
    assert [error.error_type for error in rig.engine.errors] == ["timeout_total"]
    texts = [text for (text,) in ask(tmp_path / "run.db", "SELECT text FROM attempts")]
    assert all(20 < len(text) < 200 for text in texts)


def test_an_answer_in_one_piece_has_no_first_token_to_wait_for(tmp_path: Path) -> None:
    """A model may think for minutes before an unstreamed answer; cutting it off would only pay for it again."""
    rig, ending = ran(
        tmp_path / "run.db", 3, SimOptions(latency_ms=30_000), stream=False, limits=Limits(first_token=5, idle=5)
    )
    assert (ending, rig.engine.counts.done, rig.tally.requests) == ("done", 3, 3)


# -- the cap


@pytest.mark.parametrize("cap", [1, 7, 64])
def test_concurrency_never_exceeds_the_cap(tmp_path: Path, cap: int) -> None:
    sim = SimOptions(seed=cap, ttft_ms=120, answer_tokens=10, faults={"500": 0.1, "reset": 0.1, "stall": 0.02})
    rig, ending = ran(tmp_path / "run.db", 150, sim, concurrency=cap, limits=Limits(idle=1.0))
    assert ending == "done"
    assert rig.tally.max_in_flight == cap
    assert rig.engine.gate.in_flight == 0


def test_the_cap_is_used_to_the_full(tmp_path: Path) -> None:
    """1,000 items of 50 ms at 10 in flight: at most 1 % above the ideal 5 s, the disk included."""
    rig, _ = ran(tmp_path / "run.db", 1_000, SimOptions(latency_ms=50), delay=0.005)
    assert rig.happened("done")[-1][0] <= 5.05


# -- what a server says wrongly must not stop a run


def worded(headers: dict[str, str], odd: dict[int, dict[str, str]]) -> Any:
    """Good answers with these headers, but for some numbers of the request."""

    def reply(number: int, body: bytes) -> Reply:
        status, known, content = good()
        return status, {**known, **headers, **odd.get(number, {})}, content

    return reply


def test_one_absurd_limit_fails_nothing(tmp_path: Path) -> None:
    told = {"x-ratelimit-limit-tokens": "60000", "x-ratelimit-remaining-tokens": "59000"}
    odd = {20: {"x-ratelimit-limit-tokens": "2", "x-ratelimit-remaining-tokens": "1"}}
    rig, _, ending = answering(tmp_path / "run.db", 200, worded(told, odd), concurrency=4)
    assert (ending, rig.engine.counts.done, rig.engine.counts.failed) == ("done", 200, 0)


def test_a_remaining_beyond_the_limit_is_not_believed(tmp_path: Path) -> None:
    told = {"x-ratelimit-limit-requests": "6000", "x-ratelimit-remaining-requests": "5999"}
    wrong = {number: {"x-ratelimit-remaining-requests": "99999999999"} for number in range(10, 30)}
    rig, _, ending = answering(tmp_path / "run.db", 600, worded(told, wrong), concurrency=10)
    assert (ending, rig.engine.counts.done) == ("done", 600)
    assert rig.loop.time() < 30


def test_an_absurd_usage_does_not_hold_a_run_for_ever(tmp_path: Path) -> None:
    def reply(number: int, body: bytes) -> Reply:
        status, headers, content = good()
        return status, headers, content.replace(b'"completion_tokens":2', b'"completion_tokens":1000000000000000')

    rig, _, ending = answering(
        tmp_path / "run.db", 12, lambda n, b: reply(n, b) if n == 3 else good(), quotas=Quotas(tpm=60_000)
    )
    assert (ending, rig.engine.counts.done) == ("done", 12)
    # At worst it is a whole minute's worth, and what later answers are taken for until they are known.
    assert rig.loop.time() < 900


def test_the_limit_of_another_run_fails_nothing_here(tmp_path: Path) -> None:
    async def main() -> None:
        rig = Rig(tmp_path / "run.db", 20, SimOptions(latency_ms=50, answer_tokens=2))
        quota = rig.engine.admission.quota
        quota.share({"tokens": 1.0}, {"tokens": 10.0}, None, 2, {}, rig.loop.time())
        run = rig.loop.create_task(rig.run())
        await until(lambda: rig.engine.counts.done >= 1)
        quota.share({}, {}, None, 1, {}, rig.loop.time())
        assert await run == "done"
        assert (rig.engine.counts.done, rig.engine.counts.failed) == (20, 0)

    virtually(main)
