"""What a run's follower says, and when: of a file that is gone, and to a terminal that cannot keep up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.message import Message

from batchdeck_tui.bridge import RunBridge
from batchdeck_tui.messages import SnapshotReady, Unreadable
from tests.tui.console import PATIENCE, console, launched, page, read, until
from tests.tui.runfile import make_run


class Told(list[Message]):
    """All that a bridge posted."""

    def __init__(self) -> None:
        super().__init__()
        self._came = asyncio.Event()

    def post(self, message: Message) -> None:
        self.append(message)
        self._came.set()

    async def wait_for(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await self._came.wait()
                self._came.clear()


@asynccontextmanager
async def watching(bridge: RunBridge) -> AsyncIterator[None]:
    watch = asyncio.create_task(bridge.watch())
    try:
        yield
    finally:
        watch.cancel()
        await asyncio.wait({watch})


@pytest.mark.parametrize("ending", ["done", None])
async def test_a_run_file_that_is_deleted_or_replaced_is_said_once(tmp_path: Path, ending: str | None) -> None:
    run = make_run(tmp_path / "run.db", 5, ending=ending)
    async with console(run) as (pilot, screen):
        await until(pilot, lambda: "✓ done" in read(screen.table))
        run.rename(tmp_path / "away.db")
        await until(pilot, lambda: "run file was deleted" in page(pilot.app))
        assert "✓ done" in read(screen.table), "what was read stays to be seen"
    told = Told()
    (tmp_path / "away.db").rename(run)
    async with watching(RunBridge(run, told.post)):
        await told.wait_for(lambda: told)
        make_run(tmp_path / "other.db", 3).replace(run)
        await told.wait_for(lambda: any(isinstance(one, Unreadable) for one in told))
    assert ["Another file" in one.error for one in told if isinstance(one, Unreadable)] == [True]


async def test_a_terminal_that_is_behind_gets_nothing_more_until_it_has_caught_up(tmp_path: Path) -> None:
    told, asked = Told(), asyncio.Event()
    behind = False

    def is_behind() -> bool:
        if behind:
            asked.set()
        return behind

    async with (
        launched(tmp_path, ["one", "two"], hold=True) as (run, _),
        watching(RunBridge(run, told.post, is_behind)),
    ):
        await told.wait_for(lambda: sum(isinstance(one, SnapshotReady) for one in told) >= 3)
        behind = True
        before = sum(isinstance(one, SnapshotReady) for one in told)
        for _ in range(5):
            asked.clear()
            await asyncio.wait_for(asked.wait(), 60)
        assert sum(isinstance(one, SnapshotReady) for one in told) == before
        behind = False
        await told.wait_for(lambda: sum(isinstance(one, SnapshotReady) for one in told) > before)
