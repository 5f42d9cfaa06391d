"""The provider is down, or the account out of money: the run waits, probes, goes on by itself, and fails nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from batchdeck.daemon import exit_code
from batchdeck.engine.snapshots import summarize
from batchdeck.errors import EXIT_OK, EXIT_SOME_FAILED, EXIT_STOPPED
from batchdeck.model import Budget, Limits
from batchdeck.retry.breaker import FIRST_CONTACT, JITTER, PROBES
from batchdeck.sim.options import SimOptions
from batchdeck.store.reader import RunReader
from tests.core.simulated import Rig, ask, recount, virtually

LONGEST = {kind: longest * (1 + JITTER) for kind, (_, longest) in PROBES.items()}
"""Seconds between two probes at most."""


def ran(path: Path, items: int, sim: SimOptions, **given: Any) -> tuple[Rig, str]:
    async def main() -> tuple[Rig, str]:
        rig = Rig(path, items, sim, **given)
        return rig, await rig.run()

    result: tuple[Rig, str] = virtually(main)
    return result


def sends(rig: Rig, start: float, end: float) -> int:
    return sum(start <= event[0] < end for event in rig.happened("send"))


def breaker_events(path: Path) -> list[tuple[float, str]]:
    with RunReader(path) as reader:
        return [(event.t, event.detail) for event in reader.events() if event.kind == "breaker"]


def balances(rig: Rig) -> None:
    """The ledger, the counters and what the provider counted are one."""
    counts, tally, counted = rig.engine.counts, rig.tally, recount(rig.path)
    assert {name: getattr(counts, name) for name in counted} == counted
    assert counts.sends == tally.requests
    assert counts.attempts == tally.requests + tally.turned_away
    assert (counts.done, counts.tokens_in, counts.tokens_out) == (tally.complete, tally.tokens_in, tally.tokens_out)
    assert counts.rate_limit_hits == tally.by_status[429]
    with RunReader(rig.path) as reader:
        samples = reader.samples()
    for name in ("done", "failed", "attempts", "rate_limit_hits", "tokens_in", "tokens_out"):
        assert sum(getattr(sample, name) for sample in samples) == getattr(counts, name), name


def code(rig: Rig) -> int:
    return exit_code(summarize(rig.snapshot(), rig.engine.errors))


@pytest.mark.parametrize("down", ["503", "refuse"])
@pytest.mark.parametrize(("cap", "items"), [(1, 60), (10, 700), (60, 1_500)])
def test_two_minutes_of_outage_fail_nothing(tmp_path: Path, down: str, cap: int, items: int) -> None:
    sim = SimOptions(seed=cap, answer_tokens=4, latency_ms=500, down_at=10.0, down_for=120.0, down=down)  # type: ignore[arg-type]
    rig, ending = ran(tmp_path / "run.db", items, sim, concurrency=cap)
    assert (ending, code(rig)) == ("done", EXIT_OK)
    assert (rig.engine.counts.done, rig.engine.counts.failed) == (items, 0)
    balances(rig)
    opened, closed = breaker_events(rig.path)
    assert opened[0] < 30.0
    assert opened[1].startswith("the provider is down (")
    assert closed[1] == "the provider answers again"
    assert 130.0 <= closed[0] <= 130.0 + LONGEST["down"] + 1.0
    # What found it out (half of what was in flight, or one by one with a narrow cap), and a probe now and then.
    assert sends(rig, opened[0] + 0.6, 130.0) <= 8
    assert sends(rig, 10.0, 130.0) <= 2.5 * cap + 30
    # As soon as a probe is answered it goes on with all its width.
    assert sends(rig, closed[0], closed[0] + 3.0) >= min(cap, items - 20) / 2
    with RunReader(rig.path) as reader:
        held = sum(sample.held.get("breaker", 0.0) for sample in reader.samples())
    assert held == pytest.approx(closed[0] - opened[0], rel=0.02)


def test_a_second_outage_soon_after_is_met_as_well(tmp_path: Path) -> None:
    """Up for half a minute between two: the outage is found again, and probed less often than at first."""
    sim = SimOptions(answer_tokens=4, latency_ms=500, down_at=10.0, down_for=40.0)

    async def main() -> tuple[Rig, str]:
        rig = Rig(tmp_path / "run.db", 1_500, sim, concurrency=10)
        run = rig.loop.create_task(rig.run())
        while len(rig.happened("breaker")) < 2:
            await asyncio.sleep(1.0)
        again = SimOptions(answer_tokens=4, latency_ms=500, down_at=rig.loop.time() + 5, down_for=50.0)
        rig.sim.model.configure(again, rig.loop.time())
        return rig, await run

    rig, ending = virtually(main)
    assert (ending, rig.engine.counts.done) == ("done", 1_500)
    assert len(breaker_events(rig.path)) == 4
    balances(rig)


def test_out_of_money_it_waits_for_more_and_goes_on(tmp_path: Path) -> None:
    sim = SimOptions(answer_tokens=4, latency_ms=500, out_of_money_at=10.0, out_of_money_for=120.0)
    rig, ending = ran(tmp_path / "run.db", 700, sim, concurrency=10)
    assert (ending, code(rig)) == ("done", EXIT_OK)
    assert (rig.engine.counts.done, rig.engine.counts.failed) == (700, 0)
    balances(rig)
    opened, closed = breaker_events(rig.path)
    assert opened[1].startswith("the account's quota is used up (You exceeded your current quota")
    assert closed[1] == "the provider answers again"
    assert 10.0 <= opened[0] <= 11.0
    assert 130.0 <= closed[0] <= 130.0 + 130.0 * (1 + JITTER)
    assert sends(rig, 10.0, 130.0) <= 10 + 3


def test_a_provider_that_was_never_up_stops_the_run_after_a_minute(tmp_path: Path) -> None:
    sim = SimOptions(down_at=0.0, down_for=1e6, down="refuse")
    rig, ending = ran(tmp_path / "run.db", 300, sim)
    assert (ending, code(rig)) == ("stopped", EXIT_STOPPED)
    assert FIRST_CONTACT <= rig.loop.time() <= FIRST_CONTACT + 1.0
    assert rig.snapshot().message.startswith(
        "the provider has not answered once in 60 s (cannot connect to the simulator"
    )
    assert rig.snapshot().message.endswith("check --base-url and whether it is up; resume goes on")
    assert (rig.engine.counts.done, rig.engine.counts.failed) == (0, 0)
    assert rig.engine.counts.attempts == rig.tally.turned_away <= 20
    again, ending = ran(tmp_path / "run.db", 300, SimOptions(answer_tokens=4, latency_ms=50))
    assert (ending, again.engine.counts.done) == ("done", 300)


def test_a_server_that_is_not_up_yet_is_waited_for(tmp_path: Path) -> None:
    """Launched together with a local model that takes 40 s to load."""
    rig, ending = ran(
        tmp_path / "run.db", 100, SimOptions(answer_tokens=4, latency_ms=200, down_at=0.0, down_for=40.0, down="refuse")
    )
    assert (ending, rig.engine.counts.done) == ("done", 100)
    assert rig.loop.time() < 60 + 5


def test_max_outage_stops_and_a_resume_goes_on(tmp_path: Path) -> None:
    sim = SimOptions(answer_tokens=4, latency_ms=500, down_at=10.0, down_for=120.0)
    rig, ending = ran(tmp_path / "run.db", 700, sim, budget=Budget(max_outage=30.0))
    assert (ending, code(rig)) == ("stopped", EXIT_STOPPED)
    assert 39.0 <= rig.loop.time() <= 43.0
    said = rig.snapshot().message
    assert said.startswith("the provider was down for 30 s (")
    assert "--max-outage" in said
    assert rig.engine.counts.failed == 0
    balances(rig)
    again, ending = ran(tmp_path / "run.db", 700, SimOptions(answer_tokens=4, latency_ms=500))
    assert (ending, again.engine.counts.done) == ("done", 700)


def test_a_longer_max_outage_while_it_waits_keeps_it_going(tmp_path: Path) -> None:
    async def main() -> tuple[Rig, str]:
        sim = SimOptions(answer_tokens=4, latency_ms=500, down_at=10.0, down_for=100.0)
        rig = Rig(tmp_path / "run.db", 500, sim, budget=Budget(max_outage=30.0))
        run = rig.loop.create_task(rig.run())
        await asyncio.sleep(25.0)
        assert rig.engine.steer.configure({"max_outage": 600}).message == "max outage 30s → 10m"
        return rig, await run

    rig, ending = virtually(main)
    assert (ending, rig.engine.counts.done) == ("done", 500)


def test_with_max_outage_0_items_fail_instead(tmp_path: Path) -> None:
    sim = SimOptions(answer_tokens=4, latency_ms=500, down_at=5.0, down_for=1e6)
    rig, ending = ran(tmp_path / "run.db", 200, sim, budget=Budget(max_outage=0.0), max_retries=1)
    assert (ending, code(rig)) == ("done", EXIT_SOME_FAILED)
    assert rig.engine.counts.done + rig.engine.counts.failed == 200
    assert rig.engine.counts.failed > 90
    assert breaker_events(rig.path) == []
    balances(rig)


def test_max_outage_0_while_it_waits_lets_the_rest_fail(tmp_path: Path) -> None:
    async def main() -> tuple[Rig, str]:
        rig = Rig(
            tmp_path / "run.db",
            120,
            SimOptions(answer_tokens=4, latency_ms=500, down_at=2.0, down_for=1e6),
            max_retries=1,
        )
        run = rig.loop.create_task(rig.run())
        await asyncio.sleep(25.0)
        assert rig.engine.waits.held == "breaker"
        before = rig.tally.requests
        assert rig.engine.steer.configure({"max_outage": 0}).ok
        await asyncio.sleep(0.1)
        assert rig.tally.requests > before, "it takes effect at once"
        return rig, await run

    rig, ending = virtually(main)
    assert (ending, rig.engine.counts.unfinished) == ("done", 0)
    assert rig.engine.counts.failed > 60


@pytest.mark.parametrize("share", [0.1, 0.2, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_random_faults_are_no_outage(tmp_path: Path, share: float, seed: int) -> None:
    each = share / 4
    sim = SimOptions(
        seed=seed, answer_tokens=4, latency_ms=300, faults={"500": each, "503": each, "reset": each, "garbage": each}
    )
    rig, ending = ran(tmp_path / "run.db", 400, sim, seed=seed, concurrency=(1, 12, 80)[seed], max_retries=12)
    assert (ending, rig.engine.counts.done) == ("done", 400)
    assert breaker_events(rig.path) == []
    assert rig.engine.counts.retries > 400 * share / 2


def test_a_paused_run_does_not_probe(tmp_path: Path) -> None:
    async def main() -> tuple[Rig, str]:
        rig = Rig(
            tmp_path / "run.db",
            300,
            SimOptions(answer_tokens=4, latency_ms=500, down_at=5.0, down_for=60.0),
            concurrency=10,
        )
        run = rig.loop.create_task(rig.run())
        await asyncio.sleep(20.0)
        assert rig.engine.admission.breaker.is_open
        rig.engine.steer.pause()
        await asyncio.sleep(2.0)
        before = rig.tally.requests
        await asyncio.sleep(60.0)
        assert rig.tally.requests == before
        rig.engine.steer.resume()
        return rig, await run

    rig, ending = virtually(main)
    assert (ending, rig.engine.counts.done) == ("done", 300)
    assert rig.loop.time() < 100
    times = [t for t, _ in breaker_events(rig.path)]
    assert len(times) == 2
    assert ask(rig.path, "SELECT count(*) FROM attempts WHERE outcome = 'transient'")[0][0] < 50


def test_hanging_in_mid_outage_is_found_by_the_time_limit(tmp_path: Path) -> None:
    """A provider that accepts and says nothing is as down as one that refuses."""

    async def main() -> tuple[Rig, str]:
        rig = Rig(
            tmp_path / "run.db",
            400,
            SimOptions(answer_tokens=4, latency_ms=400),
            limits=Limits(first_token=5.0),
            concurrency=20,
        )
        run = rig.loop.create_task(rig.run())
        await asyncio.sleep(3.0)
        rig.sim.model.configure(SimOptions(answer_tokens=4, latency_ms=400, faults={"hang": 1.0}), 3.0)
        await asyncio.sleep(60.0)
        rig.sim.model.configure(SimOptions(answer_tokens=4, latency_ms=400), 63.0)
        return rig, await run

    rig, ending = virtually(main)
    assert (ending, rig.engine.counts.done, rig.engine.counts.failed) == ("done", 400, 0)
    assert len(breaker_events(rig.path)) == 2


def test_a_pause_outlasts_a_provider_that_is_being_mended(tmp_path: Path) -> None:
    """Who pauses a run to mend the server must not find it stopped: nothing was sent that could have been answered."""

    async def main() -> None:
        sim = SimOptions(latency_ms=100, down_at=0.0, down_for=600.0, down="refuse")
        rig = Rig(tmp_path / "run.db", 40, sim, budget=Budget(max_outage=30.0))
        run = rig.loop.create_task(rig.run())
        await asyncio.sleep(10)
        assert rig.engine.admission.breaker.is_open
        assert rig.engine.steer.pause().ok
        await asyncio.sleep(900)
        assert rig.engine.state == "paused"
        assert rig.engine.steer.resume().ok
        assert (await run, rig.engine.counts.done) == ("done", 40)

    virtually(main)
