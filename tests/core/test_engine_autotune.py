"""Autotune in an engine: switched on and off, bounded, overruled by hand, and remembered."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from batchdeck.model import Autotune
from batchdeck.sim.options import SimOptions
from batchdeck.store.reader import RunReader
from tests.core.simulated import Rig, ask, until, virtually

SIM = SimOptions(slots=8, ttft_ms=200, token_rate=40, answer_tokens=8)
ON = Autotune(is_on=True)


def live(path: Path, script: Any, items: int = 3_500, **config: Any) -> Rig:
    """A run, and beside it what a person does, after which it is drained."""
    kept: list[Rig] = []

    async def main() -> None:
        rig = Rig(path, items, SIM, **config)
        kept.append(rig)
        run = asyncio.create_task(rig.run())
        done: Coroutine[Any, Any, None] = script(rig)
        await done
        rig.engine.steer.drain()
        await run

    virtually(main)
    return kept[0]


def test_a_run_told_auto_finds_the_slots_of_its_server(tmp_path: Path) -> None:
    async def wait(rig: Rig) -> None:
        await asyncio.sleep(1)
        assert rig.engine.gate.cap == 4
        await until(lambda: rig.snapshot().tuning.phase == "settled", step=0.5)
        assert 8 <= rig.engine.gate.cap <= 11
        tuning = rig.snapshot().tuning
        assert tuning.is_on
        assert "is enough" in tuning.sentence
        assert rig.snapshot().waiting.sentence.endswith(f"auto: {tuning.sentence}"), "not that more may help"
        assert rig.snapshot().settings["concurrency"] is None

    path = tmp_path / "run.db"
    live(path, wait, autotune=ON)
    with RunReader(path) as reader:
        turns = [event for event in reader.events() if event.kind == "tune"]
        caps = [event.value for event in turns]
        assert caps[:3] == [4, 8, 16]
        assert all(" → " in event.detail and ": " in event.detail for event in turns)
        assert reader.meta().config.concurrency == caps[-1], "a resume goes on from there"


def test_a_key_pressed_wins_and_is_not_gone_above_again(tmp_path: Path) -> None:
    async def press(rig: Rig) -> None:
        await until(lambda: rig.snapshot().tuning.phase == "settled", step=0.5)
        assert rig.engine.steer.set_concurrency(5).ok
        await asyncio.sleep(120)
        assert rig.engine.gate.cap <= 5
        assert rig.snapshot().tuning.ceiling == 5
        assert rig.snapshot().tuning.most == 5
        assert rig.snapshot().tuning.is_on

    path = tmp_path / "run.db"
    live(path, press, autotune=ON)
    events = ask(path, "SELECT kind, value FROM events WHERE kind IN ('tune', 'concurrency') ORDER BY id")
    by_hand = events.index(("concurrency", 5.0))
    assert all(value <= 5 for _, value in events[by_hand:])

    async def resumed(rig: Rig) -> None:
        await asyncio.sleep(60)
        assert rig.snapshot().tuning.ceiling == 5, "also after a resume"
        assert rig.engine.gate.cap <= 5

    live(path, resumed, autotune=RunReader(path).meta().config.autotune, concurrency=5)


def test_a_hand_that_says_the_present_number_is_a_ceiling_too(tmp_path: Path) -> None:
    async def press(rig: Rig) -> None:
        await until(lambda: rig.engine.gate.cap == 4 and rig.engine.counts.done > 2)
        assert rig.engine.steer.set_concurrency(4).message == "concurrency is 4"
        assert rig.snapshot().tuning.ceiling == 4
        await asyncio.sleep(60)
        assert rig.engine.gate.cap == 4

    live(tmp_path / "run.db", press, autotune=ON)


def test_a_hand_before_the_first_request_and_one_in_a_sweep_are_ceilings_too(tmp_path: Path) -> None:
    async def press(rig: Rig) -> None:
        assert rig.engine.steer.set_concurrency(2).ok
        await until(lambda: rig.engine.counts.done > 2)
        assert (rig.engine.gate.cap, rig.snapshot().tuning.ceiling) == (2, 2)
        assert rig.engine.sweeping.ask([(1, 4), (4, 8)]).ok
        await until(lambda: rig.engine.gate.cap == 4)
        assert rig.engine.steer.set_concurrency(5).ok
        assert (rig.engine.gate.cap, rig.snapshot().tuning.ceiling) == (5, 5), "not the one from before the sweep"

    live(tmp_path / "run.db", press, autotune=ON, concurrency=20)


def test_a_hand_above_what_was_said_before_the_run_is_not_taken_back(tmp_path: Path) -> None:
    async def press(rig: Rig) -> None:
        await until(lambda: rig.engine.counts.done > 2)
        assert rig.engine.steer.set_concurrency(7).ok
        assert rig.snapshot().tuning.most == 7
        assert rig.engine.steer.configure({"min_concurrency": 5}).ok
        assert rig.engine.gate.cap == 7
        # what is said last counts
        assert rig.engine.steer.configure({"max_concurrency": 6}).ok
        assert (rig.engine.gate.cap, rig.snapshot().tuning.ceiling) == (6, None)

    live(tmp_path / "run.db", press, autotune=Autotune(is_on=True, most=5))


def test_who_says_auto_again_lifts_the_ceiling_of_his_own_hand(tmp_path: Path) -> None:
    async def press(rig: Rig) -> None:
        await until(lambda: rig.engine.counts.done > 2)
        steer = rig.engine.steer
        assert steer.set_concurrency(3).ok
        await asyncio.sleep(30)
        assert rig.engine.gate.cap <= 3
        cap = rig.engine.gate.cap
        assert steer.configure({"concurrency": None}).message == f"concurrency auto, beginning with {cap}"
        assert rig.snapshot().tuning.ceiling is None
        await until(lambda: rig.engine.gate.cap >= 8, step=0.5)
        turns = len(rig.happened("tune"))
        assert steer.configure({"concurrency": None}).message == "nothing changes by that", "nothing is forgotten by it"
        assert len(rig.happened("tune")) == turns

    live(tmp_path / "run.db", press, autotune=ON)


def test_a_highest_number_said_again_lifts_the_ceiling_of_a_hand_and_says_so(tmp_path: Path) -> None:
    async def press(rig: Rig) -> None:
        await until(lambda: rig.engine.counts.done > 2)
        steer = rig.engine.steer
        assert steer.set_concurrency(3).ok
        assert steer.configure({"max_concurrency": 50}).message == "the ceiling of 3 by hand is lifted"
        assert (rig.snapshot().tuning.ceiling, rig.snapshot().tuning.most) == (None, 50)
        assert steer.configure({"max_concurrency": 50}).message == "nothing changes by that"
        await until(lambda: rig.engine.gate.cap >= 8, step=0.5)
        assert steer.set_concurrency(5).ok
        lifted = steer.configure({"min_concurrency": 7}).message
        assert lifted == "min concurrency off → 7, the ceiling of 5 by hand is lifted"
        assert rig.engine.gate.cap == 7

    live(tmp_path / "run.db", press, autotune=Autotune(is_on=True, most=50))


def test_a_hand_below_the_lowest_and_up_again_leaves_the_lowest_as_it_was(tmp_path: Path) -> None:
    async def press(rig: Rig) -> None:
        await until(lambda: rig.engine.counts.done > 2)
        steer, caps = rig.engine.steer, set()
        assert steer.set_concurrency(2).ok
        assert (rig.engine.gate.cap, rig.snapshot().tuning.least) == (2, 2)
        assert steer.set_concurrency(40).ok
        rig.probes.append(lambda: caps.add(rig.engine.gate.cap))
        await asyncio.sleep(120)
        assert caps
        assert min(caps) >= 6

    live(tmp_path / "run.db", press, autotune=Autotune(is_on=True, least=6))


def test_auto_said_in_a_sweep_waits_for_its_end_and_a_number_ends_it(tmp_path: Path) -> None:
    async def press(rig: Rig) -> None:
        engine = rig.engine
        engine.gate.most = 20
        await until(lambda: engine.counts.done > 2)
        assert engine.sweeping.ask([(2, 10), (4, 40)]).ok
        assert engine.steer.configure({"concurrency": None}).message == "concurrency auto, when the sweep is over"
        tuning = rig.snapshot().tuning
        assert (tuning.phase, tuning.sentence) == ("resting", "it goes on when the sweep is over")
        await until(lambda: engine.gate.cap == 4)
        reply = engine.steer.set_concurrency(100)
        assert reply.ok, "the sweep is over by it"
        assert "as many as this process may open files" in reply.message
        assert (engine.gate.cap, engine.sweeping.is_active) == (20, False)
        assert not engine.steer.set_concurrency(100).ok, "nothing came of it this time"

    live(tmp_path / "run.db", press, concurrency=2)


def test_it_is_switched_on_in_mid_run_and_off_again(tmp_path: Path) -> None:
    async def switch(rig: Rig) -> None:
        steer = rig.engine.steer
        await asyncio.sleep(10)
        assert not rig.snapshot().tuning.is_on
        reply = steer.configure({"concurrency": None})
        assert reply.ok
        assert "auto" in reply.message
        assert rig.engine.gate.cap == 2, "from where it stands"
        await until(lambda: rig.snapshot().tuning.phase == "settled", step=0.5)
        assert rig.engine.gate.cap >= 8
        reply = steer.configure({"concurrency": 3})
        assert (reply.ok, rig.engine.gate.cap, rig.snapshot().tuning.is_on) == (True, 3, False)
        await asyncio.sleep(60)
        assert rig.engine.gate.cap == 3
        assert rig.snapshot().settings["concurrency"] == 3

    live(tmp_path / "run.db", switch, concurrency=2)


def test_bounds_hold_and_can_be_changed_while_it_runs(tmp_path: Path) -> None:
    async def bound(rig: Rig) -> None:
        await asyncio.sleep(60)
        assert rig.engine.gate.cap == 6
        assert rig.engine.steer.configure({"max_concurrency": None, "min_concurrency": 7}).ok
        await asyncio.sleep(1)
        assert rig.engine.gate.cap >= 7
        await until(lambda: rig.engine.gate.cap >= 8, step=0.5)
        reply = rig.engine.steer.configure({"max_concurrency": 2})
        assert not reply.ok
        assert "--min-concurrency 7 is more than --max-concurrency 2" in reply.message

    live(tmp_path / "run.db", bound, autotune=Autotune(is_on=True, most=6))


def test_a_pause_is_not_taken_for_a_slow_server(tmp_path: Path) -> None:
    async def pause(rig: Rig) -> None:
        await until(lambda: rig.snapshot().tuning.phase == "settled", step=0.5)
        cap, turns = rig.engine.gate.cap, len(rig.happened("tune"))
        for _ in range(3):
            rig.engine.steer.pause()
            await asyncio.sleep(30)
            rig.engine.steer.resume()
            await asyncio.sleep(2)
        assert rig.engine.gate.cap >= 0.75 * cap
        assert not any("times as long" in detail for _, _, _, detail in rig.happened("tune")[turns:])

    live(tmp_path / "run.db", pause, autotune=ON)


def test_autotune_off_leaves_the_cap_alone(tmp_path: Path) -> None:
    async def wait(rig: Rig) -> None:
        await asyncio.sleep(30)
        assert rig.engine.gate.cap == 20
        assert rig.snapshot().tuning.phase == "off"

    rig = live(tmp_path / "run.db", wait, concurrency=20)
    assert not rig.happened("tune")


def test_one_seed_gives_one_sequence_of_turns(tmp_path: Path) -> None:
    async def wait(rig: Rig) -> None:
        await asyncio.sleep(40)

    first, second = (live(tmp_path / f"{name}.db", wait, autotune=ON, items=1_500) for name in ("a", "b"))
    assert len(first.happened("tune")) >= 3
    assert first.happened("tune") == second.happened("tune")


def test_a_sweep_is_not_meddled_with_and_autotune_goes_on_after_it(tmp_path: Path) -> None:
    async def sweep(rig: Rig) -> None:
        await until(lambda: rig.snapshot().tuning.phase == "settled", step=0.5)
        assert rig.engine.sweeping.begin([(1, 20), (3, 30)]).ok
        await until(lambda: not rig.engine.sweeping.is_active, step=0.5)
        done = rig.snapshot().sweep
        assert done is not None
        assert [level.concurrency for level in done.measured] == [1, 3]
        assert rig.snapshot().tuning.is_on
        await until(lambda: rig.snapshot().tuning.phase == "settled", step=0.5)
        assert rig.engine.gate.cap >= 8

    live(tmp_path / "run.db", sweep, autotune=ON)
