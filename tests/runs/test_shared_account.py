"""Runs of one account, each an engine of its own: who may send how much, and who has it when one is gone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from batchdeck import lock
from batchdeck.control.client import ControlClient
from batchdeck.daemon import host
from batchdeck.model import Command, Launch, QuotaState, RunConfig, Snapshot, Summary
from batchdeck.store.writer import Store
from tests.runs.processes import Sim, batchdeck, command, kill, launch, simulator, wait_for, wait_until_free

RPM = 1_200.0
QUOTA = ("--rpm", f"{RPM:g}")
WIDE = ("-c", "100")
STRETCH = 4.0
"""Seconds in which shares are counted: some 80 requests."""


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.txt"
    path.write_text("".join(f"What about {n}?\n" for n in range(5_000)))
    return path


@contextmanager
def ended(*runs: Path) -> Iterator[None]:
    """What is still going at the end of a test is not needed any more."""
    try:
        yield
    finally:
        for run in runs:
            info = lock.probe(run)
            if info is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(info.pid, signal.SIGKILL)
                wait_until_free(run)


def requests(now: Snapshot) -> QuotaState | None:
    """What the run knows of the requests a minute."""
    return next((quota for quota in now.quotas if quota.meter == "requests"), None)


def has(share: float, runs: int) -> Callable[[Snapshot], bool]:
    """Whether a run may use such a share of the limit, and how many it knows of."""

    def met(now: Snapshot) -> bool:
        quota = requests(now)
        return now.shared_by == runs and quota is not None and quota.rate == pytest.approx(share * RPM, rel=0.02)

    return met


async def sent(run: Path, seconds: float) -> float:
    """Requests a minute of a run over the next seconds."""
    first = await wait_for(run, lambda now: True)
    last = await wait_for(run, lambda now: now.at >= first.at + seconds)
    return 60 * (last.counts.attempts - first.counts.attempts) / (last.at - first.at)


@pytest.mark.parametrize(("headers", "flags"), [("openai", ()), ("none", QUOTA)], ids=["told", "untold"])
async def test_two_runs_have_half_each_and_a_killed_one_leaves_all_to_the_other(
    headers: str, flags: tuple[str, ...], prompts: Path, tmp_path: Path
) -> None:
    """The second is started while the first uses all there is; then the first is killed."""
    options = (*WIDE, *flags)
    with simulator(*QUOTA, "--latency-ms", "100", "--headers", headers) as sim:
        first = launch(prompts, sim, tmp_path / "first.db", *options)
        with ended(first):
            await wait_for(first, lambda now: has(1.0, 1)(now) and now.counts.done > 0)
            second = launch(prompts, sim, tmp_path / "second.db", *options)
            with ended(second):
                for run in (first, second):
                    await wait_for(run, has(0.5, 2))
                rates = await asyncio.gather(sent(first, STRETCH), sent(second, STRETCH))
                total = sum(rates)
                assert [rate / total for rate in rates] == pytest.approx([0.5, 0.5], abs=0.1)
                assert 0.85 * RPM <= total <= 1.1 * RPM
                assert sim.stats()["by_status"].get("429", 0) <= 2

                status = batchdeck("ctl", "status", str(second)).stdout
                assert "shared by 2 runs of this machine" in status
                assert "600" in next(line for line in status.splitlines() if line.startswith("requests a minute"))

                before = await wait_for(second, lambda now: True)
                kill(first)
                alone = await wait_for(second, has(1.0, 1))
                assert await sent(second, 2.0) >= 0.9 * RPM
                # What was granted to the dead one counted as spent until then.
                assert alone.at < before.at + 5.0
                assert sim.stats()["by_status"].get("429", 0) <= 2


async def test_a_run_of_priority_3_has_three_quarters_until_that_is_changed(prompts: Path, tmp_path: Path) -> None:
    with simulator(*QUOTA, "--latency-ms", "100") as sim:
        first = launch(prompts, sim, tmp_path / "first.db", *WIDE, "--priority", "3")
        second = launch(prompts, sim, tmp_path / "second.db", *WIDE)
        with ended(first, second):
            await wait_for(first, has(0.75, 2))
            await wait_for(second, has(0.25, 2))
            rates = await asyncio.gather(sent(first, STRETCH), sent(second, STRETCH))
            assert [rate / sum(rates) for rate in rates] == pytest.approx([0.75, 0.25], abs=0.1)
            assert batchdeck("ctl", "config", str(second), "--priority", "3").returncode == 0
            for run in (first, second):
                await wait_for(run, has(0.5, 2))
            assert sim.stats()["by_status"].get("429", 0) <= 2


async def test_another_key_is_another_account(prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with simulator("--latency-ms", "100") as sim:
        runs = []
        for key in ("sk-ours", "sk-ours", "sk-theirs"):
            monkeypatch.setenv("OPENAI_API_KEY", key)
            runs.append(launch(prompts, sim, tmp_path / f"{len(runs)}.db", *WIDE, *QUOTA))
        first, second, other = runs
        with ended(*runs):
            for run in (first, second):
                await wait_for(run, has(0.5, 2))
            await wait_for(other, has(1.0, 1))
            assert await sent(other, 2.0) >= 0.9 * RPM
    for file in (tmp_path / "home").iterdir():
        assert not file.is_file() or b"sk-" not in file.read_bytes()


async def test_a_429_that_one_meets_holds_the_other_too(prompts: Path, tmp_path: Path) -> None:
    """The second has one request in flight that does not end: it meets no 429 of its own."""
    with simulator("--rpm", "12", "--burst", "0.5", "--headers", "none", "--hold") as sim:
        second = launch(prompts, sim, tmp_path / "second.db", "-c", "1")
        with ended(second):
            await wait_for(second, lambda now: now.waiting.counts.get("streaming") == 1)
            first = launch(prompts, sim, tmp_path / "first.db", "-c", "10")
            with ended(first):
                met = await wait_for(first, lambda now: now.cooldown > 0 and now.counts.rate_limit_hits > 0)
                held = await wait_for(second, lambda now: now.cooldown > 0)
                assert (met.shared_by, held.shared_by) == (2, 2)
                assert (held.counts.rate_limit_hits, held.cooldown <= 10) == (0, True)


async def test_a_limit_a_day_is_one_for_all_and_nobody_gets_more_by_being_started_anew(
    prompts: Path, tmp_path: Path
) -> None:
    """Nothing else holds them: two runs far too wide may not pass it together, not even by what is in flight."""
    options = (*WIDE, "--rpd", "90")
    with simulator("--latency-ms", "100") as sim:
        first = launch(prompts, sim, tmp_path / "first.db", *options)
        second = launch(prompts, sim, tmp_path / "second.db", *options)
        with ended(first, second):
            done = [0, 0]
            while sum(done) < 90:
                done = [(await wait_for(run, used_up)).counts.done for run in (first, second)]
            assert sim.stats()["requests"] == 90
            kill(second)
            late = launch(prompts, sim, tmp_path / "late.db", *options)
            with ended(late):
                assert (await wait_for(late, used_up)).counts.done == 0
                assert sim.stats()["requests"] == 90


def used_up(now: Snapshot) -> bool:
    return now.waiting.held == "daily" and not now.in_flight and not now.uncommitted


async def test_a_run_that_is_through_or_paused_leaves_its_part_though_somebody_watches_it(
    prompts: Path, tmp_path: Path
) -> None:
    with simulator("--latency-ms", "100") as sim:
        first = launch(prompts, sim, tmp_path / "first.db", *WIDE, *QUOTA)
        second = launch(prompts, sim, tmp_path / "second.db", *WIDE, *QUOTA)
        short = launch(prompts, sim, tmp_path / "short.db", "-c", "1", "--limit", "5", *QUOTA)
        with ended(first, second, short):
            info = lock.probe(short)
            assert info is not None
            async with ControlClient(info.endpoint) as watching:
                async for now in watching.stream():
                    if now.state == "done":
                        break
                for run in (first, second):
                    await wait_for(run, has(0.5, 2))
                assert lock.probe(short) is not None, "it is still there to be looked at"
            await command(second, Command(name="pause"))
            # It stays one of them, with next to nothing until it goes on.
            await wait_for(first, has(1.0, 2))
            await command(second, Command(name="resume"))
            for run in (first, second):
                await wait_for(run, has(0.5, 2))
            await command(second, Command(name="drain"))
            await wait_for(first, has(1.0, 1))


class Watching:
    """Keeps the snapshots that the foreground is shown."""

    def __init__(self) -> None:
        self.seen: list[Snapshot] = []

    async def tick(self, snapshot: Snapshot, store: Store) -> None:
        self.seen.append(snapshot)


async def test_two_runs_of_one_process_share_as_well(prompts: Path, tmp_path: Path) -> None:
    with simulator(*QUOTA, "--latency-ms", "100") as sim:
        watching = [Watching(), Watching()]
        summaries = await asyncio.gather(
            *(hosted(prompts, sim, tmp_path / f"{number}.db", look) for number, look in enumerate(watching))
        )
        stats = sim.stats()
    assert [(summary.state, summary.done) for summary in summaries] == [("done", 60), ("done", 60)]
    assert all(any(has(0.5, 2)(now) for now in look.seen) for look in watching)
    assert stats["requests"] == 120


async def hosted(prompts: Path, sim: Sim, db: Path, watching: Watching) -> Summary:
    config = RunConfig(
        name=db.stem,
        input=str(prompts),
        input_format="text",
        model="sim",
        provider="custom",
        base_url=sim.base_url,
        concurrency=100,
        limit=60,
    )
    return await host(Launch(path=str(db), config=config), lambda ready: None, watching)
