"""A measured sweep: so many items at each concurrency, figures that are right, and nothing sent twice."""

from __future__ import annotations

import math
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from batchdeck.inputs.base import SourceState
from batchdeck.model import Autotune, Budget, IngestRow, Limits, Measured
from batchdeck.sim.options import SimOptions
from batchdeck.store.reader import RunReader
from tests.core.simulated import (
    STEADY,
    Reply,
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


def measured(rig: Rig) -> tuple[Measured, ...]:
    sweep = rig.engine.sweeping.seen()
    assert sweep is not None
    assert sweep.is_over
    return sweep.measured


def events(path: Path, kind: str = "sweep") -> list[tuple[float | None, str]]:
    with RunReader(path) as reader:
        return [(event.value, event.detail) for event in reader.events() if event.kind == kind]


async def swept(rig: Rig) -> None:
    await until(lambda: not rig.engine.sweeping.is_active)


def sent_once(rig: Rig) -> bool:
    """No item was sent twice in good."""
    return max(Counter(idx for _, _, idx, _ in rig.happened("done")).values()) == 1


def test_a_sweep_measures_each_level_with_just_its_items(tmp_path: Path) -> None:
    """A run that goes at 16 is measured at 1, 4 and 10, and goes on at 16 with what is left."""
    most: dict[int, int] = {}
    starts: Counter[int] = Counter()

    async def live(rig: Rig) -> None:
        def look() -> None:
            if rig.engine.sweeping.is_active and rig.trace[-1][1] == "send":
                cap = rig.engine.gate.cap
                most[cap] = max(most.get(cap, 0), rig.engine.gate.in_flight)
                starts[cap] += 1

        await until(lambda: rig.engine.counts.done >= 16)
        reply = rig.engine.sweeping.ask([(1, 5), (4, 20), (10, 45)])
        assert reply.ok
        assert "70 items" in reply.message
        assert rig.engine.sweeping.is_active
        # the first level waits for what was in flight
        assert rig.snapshot().waiting.held == "sweep"
        await until(lambda: rig.tally.in_flight == 0, step=0.001)
        rig.probes.append(look)
        await swept(rig)
        assert not rig.engine.sweeping.is_active
        assert rig.engine.gate.cap == 16

    rig, ending = in_life(tmp_path / "run.db", 200, live, concurrency=16)
    assert ending == "done"
    assert most == {1: 1, 4: 4, 10: 10}
    assert starts == {1: 5, 4: 20, 10: 45}
    one, four, ten = measured(rig)
    assert [(level.concurrency, level.items, level.done) for level in (one, four, ten)] == [
        (1, 5, 5), (4, 20, 20), (10, 45, 45)
    ]  # fmt: skip
    # 400 ms each; at one a time the next waits for the commit of the last, 2 ms in the rig
    assert one.seconds == pytest.approx(5 * 0.4, rel=0.01)
    assert four.seconds == pytest.approx(5 * 0.4, rel=0.01)
    assert ten.seconds == pytest.approx(5 * 0.4, rel=0.01)
    assert one.speedup == 1
    assert four.speedup == pytest.approx(four.throughput / one.throughput)
    assert four.speedup == pytest.approx(4, rel=0.01)
    assert ten.speedup == pytest.approx(9, rel=0.01)  # five rounds, the last of them half empty
    assert ten.efficiency == pytest.approx(0.9, rel=0.01)
    assert (ten.success, ten.retries, ten.rate_limit_hits, ten.errors) == (1.0, 0, 0, {})
    assert ten.e2e is not None
    assert ten.ttft is not None
    assert ten.e2e.p50 == pytest.approx(0.4, rel=0.02)
    assert ten.ttft.p50 < 0.25
    assert ten.tokens_rate > 0
    assert ten.memory is not None
    assert ten.memory > 1_000_000
    # 35, 25, 15, 5 and 0 items waited for a fifth of the time each
    assert ten.queue_depth == pytest.approx(16, rel=0.02)
    assert rig.tally.requests == 200
    assert sent_once(rig)
    said = events(tmp_path / "run.db")
    assert [value for value, _ in said] == [1, 4, 10, 16]
    assert "4 at once: 20 items in 2.0" in said[1][1]
    assert "one at a time" in said[1][1]
    assert said[3][1] == "3 of 3 levels measured; concurrency 16"


def test_progress_is_told_while_a_level_is_measured(tmp_path: Path) -> None:
    async def live(rig: Rig) -> None:
        await until(lambda: rig.engine.counts.done > 0)
        assert rig.snapshot().sweep is None
        rig.engine.sweeping.ask([(2, 6), (4, 8)])
        await until(lambda: rig.engine.gate.cap == 4 and rig.tally.in_flight == 4)
        sweep = rig.snapshot().sweep
        assert sweep is not None
        assert (sweep.levels, len(sweep.measured), sweep.is_over) == (((2, 6), (4, 8)), 1, False)
        assert sweep.sentence == "level 2 of 2, 4 at once: 0 of 8 items"
        assert rig.snapshot().waiting.sentence == f"sweep: {sweep.sentence}"
        assert not rig.engine.sweeping.ask([(1, 1)]).ok
        await swept(rig)

    assert in_life(tmp_path / "run.db", 60, live, concurrency=3)[1] == "done"


def test_items_that_fail_and_items_tried_again_belong_to_their_level(tmp_path: Path) -> None:
    """A third of the answers is a 500: the level waits for their second and third try, and counts all of it."""

    async def live(rig: Rig) -> None:
        rig.engine.sweeping.ask([(1, 10), (5, 40)], then=3)
        await swept(rig)
        assert rig.engine.gate.cap == 3

    sim = SimOptions(latency_ms=100, seed=3, faults={"500": 0.3, "400": 0.1})
    rig, ending = in_life(tmp_path / "run.db", 80, live, sim, concurrency=8, max_retries=2)
    assert ending == "done"
    one, five = measured(rig)
    assert (one.items, five.items) == (10, 40)
    assert five.done + five.failed == 40
    assert five.failed > 0
    assert five.success == five.done / 40
    assert five.retries > 0
    assert five.attempts == 40 + five.retries
    assert sum(five.errors.values()) == five.retries + five.failed
    assert set(five.errors) == {"http_400", "http_500"}
    assert sent_once(rig)
    assert recount(tmp_path / "run.db")["attempts"] == rig.tally.requests


def test_rate_limits_are_counted_and_their_items_waited_for(tmp_path: Path) -> None:
    calls: list[int] = []

    def reply(number: int, body: bytes) -> Reply:
        calls.append(number)
        return refusal(429, retry_after="1") if number in (3, 7) else good()

    async def live(rig: Rig) -> None:
        rig.engine.sweeping.ask([(2, 12)])
        await swept(rig)

    rig, ending = in_life(tmp_path / "run.db", 20, live, transport=Scripted(reply), concurrency=2)
    assert ending == "done"
    (level,) = measured(rig)
    assert (level.items, level.done, level.rate_limit_hits, level.attempts, level.retries) == (12, 12, 2, 14, 0)
    assert level.errors == {"rate_limited": 2}
    assert level.speedup is None
    assert level.seconds > 1.0  # held by the 429
    assert len(calls) == 22


def test_what_waited_from_before_is_set_aside(tmp_path: Path) -> None:
    """An item that failed before the sweep is tried again after it, however long ago it was due."""

    def reply(number: int, body: bytes) -> Reply:
        return refusal(503, retry_after="2") if number == 0 else good()

    async def live(rig: Rig) -> None:
        await until(lambda: rig.engine.queue.backoff == 1)
        rig.engine.sweeping.ask([(1, 60)])
        await swept(rig)
        assert rig.loop.time() > 3.0
        assert len(rig.happened("done")) < 80
        assert [idx for _, _, idx, _ in rig.happened("done")].count(0) == 0

    rig, ending = in_life(tmp_path / "run.db", 80, live, transport=Scripted(reply), concurrency=2)
    assert ending == "done"
    (level,) = measured(rig)
    assert (level.items, level.attempts, level.retries) == (60, 60, 0)
    assert rig.engine.counts.done == 80
    assert sent_once(rig)


def test_a_level_that_was_paused_is_measured_again(tmp_path: Path) -> None:
    async def live(rig: Rig) -> None:
        rig.engine.sweeping.ask([(2, 10), (4, 12)])
        await until(lambda: rig.engine.gate.cap == 4 and rig.tally.in_flight == 4)
        assert rig.engine.steer.pause().ok
        await until(lambda: rig.tally.in_flight == 0)
        at = rig.loop.time()
        await until(lambda: rig.loop.time() > at + 60)
        assert rig.engine.sweeping.is_active
        assert rig.engine.steer.resume().ok
        await swept(rig)

    rig, ending = in_life(tmp_path / "run.db", 60, live, concurrency=8)
    assert ending == "done"
    two, four = measured(rig)
    assert (two.items, four.items) == (10, 12)
    assert four.seconds == pytest.approx(1.2, rel=0.01)
    assert any("measured again" in said for _, said in events(tmp_path / "run.db"))
    assert rig.tally.requests == 60
    assert sent_once(rig)


def test_a_pause_after_the_last_item_of_a_level_was_sent_costs_nothing(tmp_path: Path) -> None:
    async def live(rig: Rig) -> None:
        rig.engine.sweeping.ask([(4, 8), (8, 16)])
        await until(lambda: rig.engine.gate.cap == 4 and rig.tally.requests == 8)
        assert rig.engine.steer.pause().ok
        await until(lambda: rig.tally.in_flight == 0)
        at = rig.loop.time()
        await until(lambda: rig.loop.time() > at + 60)
        assert rig.engine.steer.resume().ok
        await swept(rig)

    rig, ending = in_life(tmp_path / "run.db", 40, live, concurrency=4)
    assert ending == "done"
    four, eight = measured(rig)
    assert (four.items, eight.items) == (8, 16)
    assert four.seconds == pytest.approx(0.8, rel=0.02)
    assert not any("again" in said for _, said in events(tmp_path / "run.db"))


@pytest.mark.parametrize("how", ["drain", "cancel"])
def test_a_sweep_ends_with_its_run_and_a_resume_sends_the_rest(tmp_path: Path, how: str) -> None:
    async def live(rig: Rig) -> None:
        rig.engine.sweeping.ask([(2, 10), (5, 30)])
        await until(lambda: rig.engine.gate.cap == 5 and rig.engine.counts.done >= 20)
        assert getattr(rig.engine.steer, how)().ok
        await until(lambda: rig.engine.is_over)

    path = tmp_path / "run.db"
    rig, ending = in_life(path, 100, live, concurrency=8)
    assert ending == {"drain": "drained", "cancel": "cancelled"}[how]
    (two,) = measured(rig)
    assert two.concurrency == 2
    sweep = rig.engine.sweeping.seen()
    assert sweep is not None
    assert "1 of 2 levels measured, then the run ends (5 at once was cut short after" in sweep.sentence
    done = rig.engine.counts.done
    again, ending = in_life(path, 100, lambda rig: until(lambda: rig.engine.is_over), concurrency=8)
    assert ending == "done"
    assert again.tally.requests == 100 - done
    assert again.engine.gate.cap == 8
    assert max(count for (count,) in ask(path, "SELECT count(*) FROM attempts WHERE outcome = 'ok' GROUP BY idx")) == 1


def test_a_sweep_is_ended_early(tmp_path: Path) -> None:
    async def live(rig: Rig) -> None:
        assert not rig.engine.sweeping.ask([]).ok
        rig.engine.sweeping.ask([(1, 4), (2, 40)])
        await until(lambda: rig.engine.gate.cap == 2)
        reply = rig.engine.sweeping.ask([])
        assert reply.ok
        assert reply.message.startswith("1 of 2 levels measured, then ended by hand")
        assert rig.engine.gate.cap == 6
        await until(lambda: rig.tally.in_flight == 6)

    rig, ending = in_life(tmp_path / "run.db", 60, live, concurrency=6)
    assert ending == "done"
    assert len(measured(rig)) == 1
    assert sent_once(rig)


def test_a_hand_on_the_concurrency_ends_the_sweep_and_stays(tmp_path: Path) -> None:
    async def live(rig: Rig) -> None:
        rig.engine.sweeping.ask([(1, 30)])
        await until(lambda: rig.engine.gate.cap == 1)
        rig.engine.steer.set_concurrency(9)
        assert not rig.engine.sweeping.is_active
        assert rig.engine.gate.cap == 9

    rig, ending = in_life(tmp_path / "run.db", 60, live, concurrency=6)
    assert ending == "done"
    assert rig.engine.gate.cap == 9
    assert measured(rig) == ()


@pytest.mark.parametrize("how", ["key", "settings"])
def test_a_hand_that_says_the_level_under_measurement_ends_the_sweep_too(tmp_path: Path, how: str) -> None:
    """Who types the number that the gate happens to have now means it for the run."""

    async def live(rig: Rig) -> None:
        rig.engine.sweeping.ask([(4, 30), (8, 16)])
        await until(lambda: rig.engine.gate.cap == 4 and rig.engine.gate.in_flight == 4)
        steer = rig.engine.steer
        reply = steer.set_concurrency(4) if how == "key" else steer.configure({"concurrency": 4})
        assert (reply.ok, reply.message) == (True, "concurrency is 4")
        assert not rig.engine.sweeping.is_active
        assert rig.engine.gate.cap == 4

    rig, ending = in_life(tmp_path / "run.db", 100, live, concurrency=12)
    assert (ending, rig.engine.gate.cap, measured(rig)) == ("done", 4, ())
    said = events(tmp_path / "run.db")[-1][1]
    assert "then the concurrency was turned by hand" in said
    assert said.endswith("; concurrency 4")
    with RunReader(tmp_path / "run.db") as reader:
        assert reader.meta().config.concurrency == 4


def test_what_a_sweep_leaves_behind_is_the_concurrency_of_the_run_and_of_its_resume(tmp_path: Path) -> None:
    async def live(rig: Rig) -> None:
        rig.engine.sweeping.ask([(1, 2), (4, 8)], then=16)
        await swept(rig)
        assert (rig.engine.gate.cap, rig.engine.config.concurrency) == (16, 16)
        assert rig.engine.steer.configure({"concurrency": 8}).message == "concurrency 16 → 8", "as before the sweep"

    assert in_life(tmp_path / "run.db", 60, live, concurrency=8)[1] == "done"

    async def twice(rig: Rig) -> None:
        rig.engine.sweeping.ask([(1, 2)], then=16)
        await swept(rig)
        rig.engine.steer.drain()

    in_life(tmp_path / "other.db", 60, twice, concurrency=8)
    with RunReader(tmp_path / "other.db") as reader:
        assert reader.meta().config.concurrency == 16


def test_other_settings_in_a_sweep_leave_it_alone(tmp_path: Path) -> None:
    async def live(rig: Rig) -> None:
        rig.engine.sweeping.ask([(2, 10), (6, 30)])
        await until(lambda: rig.engine.gate.cap == 6)
        assert rig.engine.steer.configure({"max_concurrency": 5}).ok
        assert rig.engine.steer.configure({"rpm": 5_000}).ok
        assert rig.engine.sweeping.is_active
        assert rig.snapshot().tuning.sentence == "it goes on when the sweep is over"
        await swept(rig)
        assert rig.engine.gate.cap <= 5, "the bounds count from then on"

    rig, ending = in_life(tmp_path / "run.db", 120, live, autotune=Autotune(is_on=True))
    assert ending == "done"
    assert [level.concurrency for level in measured(rig)] == [2, 6]


def test_the_first_level_is_measured_with_all_its_requests_from_the_start(tmp_path: Path) -> None:
    """A gate that opens little by little is for a provider that is not known; here it would look like latency."""

    async def live(rig: Rig) -> None:
        rig.engine.sweeping.ask([(64, 256)])
        await swept(rig)

    rig, _ = in_life(tmp_path / "run.db", 300, live, concurrency=64)
    (level,) = measured(rig)
    assert level.seconds == pytest.approx(4 * 0.4, rel=0.02)


def test_a_sweep_that_begins_the_run_sends_nothing_else(tmp_path: Path) -> None:
    """What ``bench`` does: one item to warm up, the levels, and the run is drained."""

    async def main() -> tuple[Rig, str]:
        rig = Rig(tmp_path / "run.db", 100, STEADY, concurrency=10)
        assert rig.engine.sweeping.begin([(1, 3), (4, 12)], warm_up=True, drains=True).ok
        return rig, await rig.run()

    rig, ending = virtually(main)
    assert ending == "drained"
    assert rig.tally.requests == 1 + 3 + 12
    assert [level.items for level in measured(rig)] == [3, 12]
    assert recount(tmp_path / "run.db")["done"] == 16


def test_a_sweep_of_all_items_leaves_a_run_that_is_done(tmp_path: Path) -> None:
    async def main() -> tuple[Rig, str]:
        rig = Rig(tmp_path / "run.db", 15, STEADY)
        assert rig.engine.sweeping.begin([(1, 3), (4, 12)], drains=True).ok
        return rig, await rig.run()

    rig, ending = virtually(main)
    assert ending == "done"
    assert [level.items for level in measured(rig)] == [3, 12]


def test_items_that_run_out_end_the_sweep(tmp_path: Path) -> None:
    """While the input is still read nobody knows how many there are."""

    async def read(store: Any, arrived: Any) -> None:
        for part in range(2):
            rows, state = prompt_rows(10 * part, 10), SourceState(index=10 * part + 10)
            await store.submit(lambda file, rows=rows, state=state, part=part: file.ingest(rows, state, part == 1))
            arrived(state)

    async def main() -> tuple[Rig, str]:
        rig = Rig(tmp_path / "run.db", 0, STEADY, read=read)
        assert rig.engine.sweeping.begin([(2, 12), (4, 12), (8, 12)], drains=True).ok
        return rig, await rig.run()

    rig, ending = virtually(main)
    assert ending == "done"
    assert [(level.concurrency, level.items) for level in measured(rig)] == [(2, 12), (4, 8)]
    sweep = rig.engine.sweeping.seen()
    assert sweep is not None
    assert sweep.sentence == "2 of 3 levels measured, then the items ran out"


@pytest.mark.parametrize("source", ["prompts.jsonl", "-"])
def test_a_file_is_not_read_on_while_a_level_is_measured(tmp_path: Path, source: str) -> None:
    """Its rows would keep the disk busy. Standard input is read to its end: later nobody could."""

    async def read(store: Any, arrived: Any) -> None:
        for part in range(6):
            rows, state = prompt_rows(10 * part, 10), SourceState(index=10 * part + 10)
            await store.submit(lambda file, rows=rows, state=state, part=part: file.ingest(rows, state, part == 5))
            rest = arrived(state)
            if rest is not None:
                await rest

    async def main() -> tuple[Rig, str, set[int]]:
        rig = Rig(tmp_path / "run.db", 0, STEADY, read=read, input=source)
        there: set[int] = set()
        assert rig.engine.sweeping.begin([(2, 8), (4, 8)], warm_up=True).ok
        assert rig.engine.sweeping.sentence == "level 1 of 2 waits for its items to be read"
        rig.probes.append(lambda: there.add(rig.engine.counts.items) if rig.engine.sweeping.is_active else None)
        return rig, await rig.run(), there

    rig, ending, there = virtually(main)
    assert ending == "done"
    assert [(level.concurrency, level.items) for level in measured(rig)] == [(2, 8), (4, 8)]
    assert rig.engine.counts.done == 60
    # 17 items are wanted, so two chunks of ten were read before the first request
    assert max(there) == (20 if source != "-" else 60)


@pytest.mark.parametrize(
    ("levels", "then", "said"),
    [
        ([(4, 100)], None, "60 items are left to start, and these levels take 100"),
        ([(0, 10)], None, "a level of 0 cannot be"),
        ([(20_000, 10)], None, "a level of 20,000 cannot be"),
        ([(4, 0)], None, "a level needs one item at least"),
        ([(4, 3)], None, "4 at once needs 4 items at least, not 3"),
        ([(4, 10)], 0, "a level of 0 cannot be"),
        ([(1, 1)] * 101, None, "1 to 100 levels"),
    ],
)
def test_what_cannot_be_measured_is_said_at_once(
    tmp_path: Path, levels: list[tuple[int, int]], then: int | None, said: str
) -> None:
    async def live(rig: Rig) -> None:
        reply = rig.engine.sweeping.ask(levels, then)
        assert not reply.ok
        assert said in reply.message
        assert not rig.engine.sweeping.is_active

    assert in_life(tmp_path / "run.db", 60, live)[1] == "done"


def test_a_paused_run_is_not_measured(tmp_path: Path) -> None:
    async def live(rig: Rig) -> None:
        await until(lambda: rig.engine.counts.done > 0)
        rig.engine.steer.pause()
        assert rig.engine.sweeping.ask([(1, 1)]).message == "the run is paused"
        rig.engine.steer.resume()

    assert in_life(tmp_path / "run.db", 40, live)[1] == "done"


def test_a_budget_that_is_used_up_in_a_level_ends_both(tmp_path: Path) -> None:
    async def live(rig: Rig) -> None:
        rig.engine.sweeping.ask([(1, 5), (4, 60)])
        await until(lambda: rig.engine.is_over)

    sim = SimOptions(latency_ms=100, faults={"400": 0.5})
    rig, ending = in_life(tmp_path / "run.db", 100, live, sim, budget=Budget(max_errors=12))
    assert ending == "stopped"
    assert [level.concurrency for level in measured(rig)] == [1]


def test_items_that_can_never_be_sent_are_no_part_of_a_level(tmp_path: Path) -> None:
    rows = prompt_rows(0, 30)
    rows[3] = IngestRow(index=3, line=4, data='{"other": 1}', label="")
    rows[20] = IngestRow(index=20, line=21, data='{"other": 1}', label="")

    async def main() -> tuple[Rig, str]:
        rig = Rig(tmp_path / "run.db", 0, STEADY, rows=rows)
        assert rig.engine.sweeping.begin([(1, 4), (4, 24)], drains=True).ok
        return rig, await rig.run()

    rig, ending = virtually(main)
    assert ending == "done"
    assert [(level.items, level.done) for level in measured(rig)] == [(4, 4), (24, 24)]
    assert rig.engine.counts.failed == 2


def test_one_seed_gives_one_sweep(tmp_path: Path) -> None:
    sim = SimOptions(seed=11, ttft_ms=100, rpm=400, burst=0.05, faults={"500": 0.05, "reset": 0.05, "truncate": 0.03})
    told = []
    for number in range(2):

        async def main(number: int = number) -> Rig:
            rig = Rig(tmp_path / f"run{number}.db", 120, sim)
            assert rig.engine.sweeping.begin([(1, 10), (4, 30), (20, 80)], drains=True).ok
            await rig.run()
            return rig

        rig = virtually(main)
        assert [level.items for level in measured(rig)] == [10, 30, 80]
        assert sent_once(rig)
        told.append(rig.trace)
    assert told[0] == told[1]


@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_done_to_a_run_in_a_sweep_no_answer_is_lost_or_paid_twice(tmp_path: Path, seed: int) -> None:
    """Pauses, turns, ends, new sweeps and retries at random, with faults and a quota that is met."""
    chance = random.Random(seed)

    async def live(rig: Rig) -> None:
        steer, sweeping = rig.engine.steer, rig.engine.sweeping
        while True:
            at = rig.loop.time() + chance.uniform(0.1, 4.0)
            await until(lambda at=at: rig.loop.time() > at or rig.engine.is_ending)
            if rig.engine.is_ending:
                return
            match chance.randrange(8):
                case 0 | 1 | 2:
                    levels = [(n, n * chance.randint(1, 5)) for n in chance.sample(range(1, 13), chance.randint(1, 3))]
                    sweeping.ask(levels, chance.choice([None, 6]))
                case 3:
                    sweeping.ask([])
                case 4:
                    steer.pause()
                case 5:
                    steer.set_concurrency(chance.randint(1, 12))
                case 6:
                    await steer.retry()
                case _:
                    steer.resume()

    async def main() -> tuple[Rig, str]:
        faults = {"500": 0.05, "reset": 0.05, "400": 0.03, "stall": 0.01}
        sim = SimOptions(seed=seed, ttft_ms=60, token_rate=400, rpm=1_500, burst=0.05, faults=faults)
        rig = Rig(tmp_path / "run.db", 400, sim, concurrency=8, limits=Limits(idle=2.0, first_token=3.0))
        meddling = rig.loop.create_task(live(rig))
        ending = await rig.run()
        await meddling
        return rig, ending

    rig, ending = virtually(main)
    assert ending == "done"
    assert rig.engine.counts.done + rig.engine.counts.failed == 400
    assert sent_once(rig)
    assert not rig.engine.sweeping.is_active
    assert rig.engine.admission.allowance == math.inf
    assert rig.engine.queue.is_empty
