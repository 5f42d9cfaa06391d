"""The knobs of a live run: concurrency, pause, drain, cancel, resume, and another try for what failed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from batchdeck.engine.gate import Gate
from batchdeck.inputs.base import SourceState
from batchdeck.model import IngestRow
from batchdeck.sim.options import SimOptions
from batchdeck.store.reader import RunReader
from tests.core.simulated import (
    STEADY,
    Rig,
    Scripted,
    ask,
    good,
    in_life,
    prompt_rows,
    recount,
    refusal,
    until,
    virtually,
)


def kinds(path: Path) -> list[str]:
    with RunReader(path) as reader:
        return [event.kind for event in reader.events()]


def test_concurrency_grows_and_shrinks_and_cuts_nothing(tmp_path: Path) -> None:
    most: list[int] = []

    async def live(rig: Rig) -> None:
        caps = [4, 12, 3, 1, 6]
        for cap in caps:
            before = rig.tally.in_flight
            reply = rig.engine.steer.set_concurrency(cap)
            assert reply.ok
            assert str(cap) in reply.message
            assert rig.tally.in_flight == before
            if cap > before:
                await until(lambda cap=cap: rig.tally.in_flight == cap)
            else:
                await until(lambda cap=cap: rig.tally.in_flight <= cap)
            rig.tally.max_in_flight = 0
            end = rig.loop.time() + 2.0
            await until(lambda end=end: rig.loop.time() > end)
            most.append(rig.tally.max_in_flight)
        assert most == caps

    rig, ending = in_life(tmp_path / "run.db", 240, live, concurrency=4)
    assert ending == "done"
    assert rig.tally.gone == 0
    assert rig.tally.requests == 240
    with RunReader(tmp_path / "run.db") as reader:
        turned = [event.value for event in reader.events() if event.kind == "concurrency"]
        assert turned == [12, 3, 1, 6]
        samples = reader.samples()
        assert {sample.concurrency for sample in samples} == {4, 12, 3, 1, 6}
        assert max(sample.in_flight_max for sample in samples) == 12
        assert all(sample.in_flight <= sample.in_flight_max for sample in samples)
        assert reader.meta().config.concurrency == 6


def test_concurrency_below_one_is_one(tmp_path: Path) -> None:
    async def live(rig: Rig) -> None:
        assert rig.engine.steer.set_concurrency(0).ok
        assert rig.engine.gate.cap == 1
        assert rig.engine.steer.set_concurrency(-5).message == "concurrency is 1"

    assert in_life(tmp_path / "run.db", 5, live)[1] == "done"


def test_a_pause_sends_nothing_and_a_resume_goes_on(tmp_path: Path) -> None:
    async def live(rig: Rig) -> None:
        engine = rig.engine
        await until(lambda: engine.counts.done >= 10)
        assert engine.steer.pause().ok
        sent = rig.tally.requests
        assert rig.snapshot().state == "paused"
        await until(lambda: not engine.gate.in_flight)
        end = rig.loop.time() + 100
        await until(lambda: rig.loop.time() > end, step=1.0)
        assert rig.tally.requests == sent
        assert rig.tally.gone == 0
        assert not engine.steer.pause().ok
        assert "paused" in rig.snapshot().message
        assert engine.steer.resume().ok
        assert not engine.steer.resume().ok
        await until(lambda: rig.tally.requests > sent)

    rig, ending = in_life(tmp_path / "run.db", 40, live)
    assert ending == "done"
    assert rig.tally.requests == 40
    assert [kind for kind in kinds(tmp_path / "run.db") if kind in ("pause", "resume")] == ["pause", "resume"]


def test_a_paused_run_whose_last_answers_come_in_is_done(tmp_path: Path) -> None:
    async def live(rig: Rig) -> None:
        await until(lambda: rig.tally.requests == 8)
        rig.engine.steer.pause()

    assert in_life(tmp_path / "run.db", 8, live)[1] == "done"


def test_a_drain_keeps_what_is_in_flight(tmp_path: Path) -> None:
    async def live(rig: Rig) -> None:
        await until(lambda: rig.engine.counts.done >= 10 and rig.tally.in_flight == 10)
        sent = rig.tally.requests
        assert "10 requests" in rig.engine.steer.drain().message
        assert rig.snapshot().state == "draining"
        assert not rig.engine.steer.resume().ok
        await until(lambda: rig.engine.is_over)
        assert rig.tally.requests == sent
        assert not rig.engine.steer.drain().ok

    rig, ending = in_life(tmp_path / "run.db", 100, live)
    assert ending == "drained"
    assert rig.tally.gone == 0
    assert rig.engine.counts.done == rig.tally.complete == 20
    with RunReader(tmp_path / "run.db") as reader:
        assert reader.meta().state == "drained"
        assert len(reader.select("queued")) == 80
    again, ending = in_life(tmp_path / "run.db", 100, lambda rig: until(lambda: rig.engine.is_over))
    assert ending == "done"
    assert again.tally.requests == 80
    assert "resumed" in kinds(tmp_path / "run.db")


def test_a_cancel_cuts_at_once_and_keeps_what_had_come(tmp_path: Path) -> None:
    sim = SimOptions(seed=5, ttft_ms=100, token_rate=20, answer_tokens=60)

    async def live(rig: Rig) -> None:
        await until(lambda: rig.engine.counts.done >= 3)
        now, open_now = rig.loop.time(), rig.tally.in_flight
        assert open_now > 0
        assert f"{open_now} requests cut off" in rig.engine.steer.cancel().message
        await until(lambda: rig.engine.is_over, step=0.001)
        assert rig.loop.time() - now < 0.05
        assert rig.tally.in_flight == 0
        assert rig.tally.gone == open_now
        assert not rig.engine.steer.cancel().ok

    rig, ending = in_life(tmp_path / "run.db", 60, live, sim)
    assert ending == "cancelled"
    cut = ask(tmp_path / "run.db", "SELECT text, ttft, error_type, sends FROM attempts WHERE outcome = 'cancelled'")
    assert len(cut) == rig.tally.gone
    assert {row[2] for row in cut} == {"cancelled"}
    assert sum(bool(row[0]) for row in cut) > len(cut) // 2
    assert all(text.startswith("[sim") and ttft > 0 for text, ttft, _, _ in cut if text)
    assert kinds(tmp_path / "run.db")[-2:] == ["cancel", "ended"]
    done = rig.engine.counts.done
    counted = recount(tmp_path / "run.db")
    assert {name: getattr(rig.engine.counts, name) for name in counted} == counted

    again, ending = in_life(tmp_path / "run.db", 60, lambda rig: until(lambda: rig.engine.is_over), sim)
    assert ending == "done"
    assert again.tally.requests == 60 - done
    assert again.engine.counts.failed == 0


def test_a_cancel_in_the_same_moment_as_a_send_sends_nothing(tmp_path: Path) -> None:
    """The slot has its order, its task has not begun: the request must not go out after the cancel."""

    async def live(rig: Rig) -> None:
        def at_the_first_send() -> None:
            if rig.happened("send"):
                rig.probes.clear()
                rig.loop.call_soon(rig.engine.steer.cancel)

        rig.probes.append(at_the_first_send)
        await until(lambda: rig.engine.is_over)

    rig, ending = in_life(tmp_path / "run.db", 10, live, SimOptions(faults={"hang": 1.0}))
    assert ending == "cancelled"
    assert len(rig.happened("send")) == rig.engine.counts.attempts == 10
    assert rig.tally.requests == 0
    assert rig.engine.counts.sends == 0


def test_a_cancel_after_a_drain_does_not_wait(tmp_path: Path) -> None:
    async def live(rig: Rig) -> None:
        await until(lambda: rig.tally.in_flight == 10)
        rig.engine.steer.drain()
        rig.engine.steer.cancel()

    rig, ending = in_life(tmp_path / "run.db", 30, live, SimOptions(faults={"hang": 1.0}))
    assert ending == "cancelled"
    assert rig.loop.time() < 1.0
    assert kinds(tmp_path / "run.db") == ["started", "drain", "cancel", "ended"]


def half_fails(number: int, body: bytes) -> Any:
    """Odd prompts are refused, as long as fewer than 20 requests have come."""
    index = int(body.split(b"What is ")[1].split()[0])
    return refusal(400, f"prompt {index} is no good") if index % 2 and number < 20 else good()


def test_failed_items_go_again_in_a_run_that_lives_and_in_one_that_is_over(tmp_path: Path) -> None:
    async def main() -> None:
        rig = Rig(tmp_path / "run.db", 20, STEADY, transport=Scripted(half_fails))
        engine = rig.engine
        assert await engine.run() == "done"
        assert (engine.counts.done, engine.counts.failed) == (10, 10)
        assert not engine.steer.resume().ok

        assert (
            await engine.steer.retry(error="timeout_idle")
        ).message == "no failed item of timeout_idle can be tried again"
        reply = await engine.steer.retry([1, 3, 3, 4, 999], "http_400")
        assert (reply.ok, reply.message) == (True, "2 failed items of http_400 go again")
        assert engine.wanted.is_set()
        assert await engine.run() == "done"
        assert (engine.counts.done, engine.counts.failed) == (12, 8)

        await until(lambda: rig.loop.time() > 50)
        assert (await engine.steer.retry()).message == "8 failed items go again"
        assert await engine.run() == "done"
        assert (engine.counts.done, engine.counts.failed) == (20, 0)
        assert not (await engine.steer.retry()).ok
        await rig.close()

    virtually(main)
    with RunReader(tmp_path / "run.db") as reader:
        detail = reader.detail(3)
        assert detail is not None
        assert [(attempt.number, attempt.outcome) for attempt in detail.attempts] == [(1, "permanent"), (2, "ok")]
        (error,) = reader.errors()
        assert (error.attempts, error.items) == (10, 0)
        counts, samples, events = reader.counts(), reader.samples(), reader.events()
    assert sum(sample.failed for sample in samples) == counts.failed == 0
    assert sum(sample.attempts for sample in samples) == counts.attempts == 30
    # The wait between two sessions is not time of the run: marks stand where the samples stand.
    assert max(event.t for event in events) <= samples[-1].t
    times = [round(event.t, 6) for event in events]
    assert times == sorted(times)
    counted = recount(tmp_path / "run.db")
    assert {name: getattr(counts, name) for name in counted} == counted


def test_bad_lines_are_not_tried_again(tmp_path: Path) -> None:
    rows = prompt_rows(0, 4)
    rows[2] = IngestRow(index=2, line=3, data="{}", label="", error="rows.csv:3: 4 fields instead of 2")

    async def live(rig: Rig) -> None:
        reply = await rig.engine.steer.retry()
        assert (reply.ok, reply.message) == (False, "no failed item can be tried again")

    rig, ending = in_life(tmp_path / "run.db", 0, live, rows=rows)
    assert ending == "done"
    assert (rig.engine.counts.failed, rig.engine.counts.bad_lines, rig.tally.requests) == (1, 1, 3)


def test_items_put_back_while_the_input_is_still_read(tmp_path: Path) -> None:
    """They wait in a lane of their own behind the input, and none of the rows that come in later is missed."""

    async def read(store: Any, arrived: Any) -> None:
        for first in range(0, 60, 10):
            state = SourceState(offset=first + 10, index=first + 10)
            await store.submit(lambda file: file.ingest(prompt_rows(first, 10), state, first == 50))  # noqa: B023
            arrived(state)
            end = rigs[0].loop.time() + 2.0
            await until(lambda end=end: rigs[0].loop.time() > end, step=0.1)

    rigs: list[Rig] = []

    async def main() -> None:
        rig = Rig(tmp_path / "run.db", 0, STEADY, read=read, transport=Scripted(half_fails), concurrency=3)
        rigs.append(rig)
        run = rig.loop.create_task(rig.run())
        await until(lambda: rig.engine.counts.failed == 5)
        assert (await rig.engine.steer.retry()).ok
        assert not rig.engine.ingest_complete
        assert await run == "done"

    virtually(main)
    engine = rigs[0].engine
    assert (engine.counts.items, engine.counts.done + engine.counts.failed) == (60, 60)
    sent = [event[2] for event in rigs[0].happened("send")]
    assert len(sent) == 60 + 5
    assert [idx for idx in sent if idx % 2 == 0] == list(range(0, 60, 2))


def test_what_is_in_flight_can_be_looked_at(tmp_path: Path) -> None:
    async def live(rig: Rig) -> None:
        await until(lambda: len(rig.sim.holds) == 2)
        rows = rig.engine.steer.live([0, 1, 7], full=True).rows
        assert [row.idx for row in rows] == [0, 1]
        assert all(row.phase == "streaming" and row.text.startswith("[simulated]") and row.tokens == 8 for row in rows)
        assert all(row.attempt == 1 and row.seconds > 0 for row in rows)
        assert [row.text for row in rig.engine.steer.live(None, full=False).rows] == ["", ""]
        snapshot = rig.snapshot()
        assert (snapshot.in_flight, snapshot.queued, snapshot.counts.done) == (2, 3, 0)
        rig.sim.holds.release(2)
        await until(lambda: rig.engine.counts.done == 2)
        assert [row.idx for row in rig.engine.steer.live(range(5), full=False).rows] == [2, 3]
        rig.engine.steer.cancel()

    assert in_life(tmp_path / "run.db", 5, live, SimOptions(hold=True), concurrency=2)[1] == "cancelled"


def test_a_snapshot_says_how_long_it_will_take(tmp_path: Path) -> None:
    async def live(rig: Rig) -> None:
        await until(lambda: rig.loop.time() > 12.0)
        snapshot = rig.snapshot()
        assert snapshot.rate == pytest.approx(10 / 0.4, rel=0.06)
        assert snapshot.eta == pytest.approx((1_000 - snapshot.counts.done) / snapshot.rate)
        assert snapshot.e2e is not None
        assert snapshot.e2e.p50 == pytest.approx(0.4, rel=0.02)
        assert snapshot.ttft is not None
        assert snapshot.ttft.p50 < snapshot.e2e.p50
        rig.engine.steer.cancel()

    assert in_life(tmp_path / "run.db", 1_000, live)[1] == "cancelled"


def test_the_cap_stays_within_what_the_process_may_open(tmp_path: Path) -> None:
    async def main() -> None:
        rig = Rig(tmp_path / "run.db", 1, SimOptions(), concurrency=1_000)
        rig.engine.gate = Gate(1_000, most=136)
        assert rig.engine.gate.cap == 136
        reply = rig.engine.steer.set_concurrency(500)
        assert not reply.ok
        assert "ulimit" in reply.message
        assert rig.engine.steer.set_concurrency(20).ok
        await rig.close()

    virtually(main)
