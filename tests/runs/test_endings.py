"""The last moments of a run: a signal too late, a disk that stays full, a file that is gone."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from batchdeck import lock, spawn
from batchdeck.control.client import ControlClient
from batchdeck.model import Launch, Snapshot
from batchdeck.sim.options import SimOptions
from batchdeck.store.reader import RunReader
from tests.core.simulated import Rig, virtually
from tests.runs.processes import kill, launch, simulator, wait_for, wait_for_end, wait_until_free


def prompts(folder: Path, count: int) -> Path:
    path = folder / "prompts.txt"
    path.write_text("".join(f"What about {n}?\n" for n in range(count)))
    return path


@pytest.mark.parametrize("ask", ["drain", "cancel", "pause"])
def test_a_signal_in_the_moment_of_the_ending_does_not_undo_it(tmp_path: Path, ask: str) -> None:
    path = tmp_path / "run.db"

    async def main() -> str:
        rig = Rig(path, 3, SimOptions(latency_ms=10), delay=0.05)
        replies = []

        def at_the_end() -> None:
            if rig.trace[-1][1] == "ended" and not replies:
                replies.append(getattr(rig.engine.steer, ask)())

        rig.probes.append(at_the_end)
        ending = await rig.run()
        assert [reply.ok for reply in replies] == [False]
        return ending

    assert virtually(main) == "done"
    with RunReader(path) as reader:
        assert reader.meta().state == "done"


async def test_a_full_disk_can_be_left(tmp_path: Path) -> None:
    """The first signal drains, and waits for room; the second one ends it and says what was not kept."""
    rig = Rig(tmp_path / "run.db", 200, SimOptions(latency_ms=5), threaded=True)
    await rig.store.submit(lambda file: file.conn.execute("PRAGMA max_page_count = 1"))
    pages = await rig.store.submit(lambda file: int(file.conn.execute("PRAGMA max_page_count").fetchone()[0]))
    work = asyncio.create_task(rig.engine.run())
    full = asyncio.Event()
    troubled = rig.engine.trouble

    def trouble(message: str | None) -> None:
        troubled(message)
        full.set()

    rig.engine.trouble = trouble  # type: ignore[method-assign]
    await full.wait()
    assert rig.engine.steer.drain().ok
    assert not work.done()
    assert rig.engine.steer.cancel().ok
    assert await work == "cancelled"
    assert "not kept" in rig.engine.message
    assert pages > 0
    await rig.close()


async def test_a_run_whose_file_is_deleted_stops_and_says_so(tmp_path: Path) -> None:
    with simulator("--latency-ms", "50") as sim:
        run = launch(prompts(tmp_path, 2_000), sim, tmp_path / "run.db")
        await wait_for(run, lambda snapshot: snapshot.counts.done > 0)
        run.unlink()
        ended = await wait_for_end(run)
        assert ended.state == "failed"
        assert "deleted or replaced" in ended.message


async def test_a_second_engine_over_a_deleted_lock_ends_the_first(tmp_path: Path) -> None:
    with simulator("--latency-ms", "50", "--hold") as sim:
        run = launch(prompts(tmp_path, 60), sim, tmp_path / "run.db", "-c", "10")
        await wait_for(run, lambda snapshot: snapshot.in_flight == 10)
        info = lock.probe(run)
        assert info is not None
        async with ControlClient(info.endpoint) as first:
            stream = first.stream()
            await anext(stream)
            lock.lock_path(run).unlink()
            second = subprocess.Popen(
                [sys.executable, "-m", "batchdeck", "resume", str(run), "--headless", "--json", "--quiet"],
                stdout=subprocess.DEVNULL,
            )
            last: Snapshot = await anext(stream)
            async for last in stream:
                if last.state == "failed":
                    break
            assert "another engine has taken over" in last.message
        # held until now, so that the first is at it however long the second takes to start
        while sim.stats()["holding"] < 10:
            assert second.poll() is None
        sim.call("/sim/options", {"hold": False})
        sim.call("/sim/release", {})
        assert await asyncio.to_thread(second.wait, 60) == 0
    with RunReader(run) as reader:
        counts = reader.meta().counts
    assert (counts.done, counts.items) == (60, 60)


async def test_a_signal_after_the_end_sends_a_lingering_engine_home(tmp_path: Path) -> None:
    with simulator("--latency-ms", "5") as sim:
        run = launch(prompts(tmp_path, 20), sim, tmp_path / "run.db")
        info = lock.probe(run)
        assert info is not None
        async with ControlClient(info.endpoint) as client:
            async for snapshot in client.stream():
                if snapshot.state == "done":
                    os.kill(info.pid, signal.SIGTERM)
                    break
            await asyncio.to_thread(wait_until_free, run)


def test_an_engine_that_has_ended_leaves_no_zombie_with_its_launcher(tmp_path: Path) -> None:
    """Whoever launched it may be a console by then, which is open for hours."""
    with simulator("--hold") as sim:
        run = launch(prompts(tmp_path, 3), sim, tmp_path / "run.db")
        kill(run)
        assert spawn.spawn(Launch(path=str(run), config=None)).ok
        info = lock.probe(run)
        assert info is not None
        kill(run)
    for reaper in threading.enumerate():
        if reaper.name == "end of the engine":
            reaper.join(30)
    with pytest.raises(ProcessLookupError):
        os.kill(info.pid, 0)
