"""The one writer: groups form by themselves, order is kept, and a full disk loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from batchdeck.errors import StoreError
from batchdeck.inputs.base import SourceState
from batchdeck.sim.options import SimOptions
from batchdeck.store.reader import RunReader
from batchdeck.store.runfile import RunFile
from batchdeck.store.writer import Commit, InlineWriter, ThreadWriter
from tests.core.ledger import create, failed, rows, settlement
from tests.core.simulated import Rig, ask, recount, virtually

NO_LIMIT = 1_073_741_823


class Told:
    """A listener that remembers what it was told, and can be waited for."""

    def __init__(self) -> None:
        self.commits: list[Commit] = []
        self.troubles: list[str | None] = []
        self.broke: list[BaseException] = []
        self._news = asyncio.Event()

    def committed(self, commit: Commit) -> None:
        self.commits.append(commit)
        self._news.set()

    def trouble(self, message: str | None) -> None:
        self.troubles.append(message)
        self._news.set()

    def broken(self, error: BaseException) -> None:
        self.broke.append(error)
        self._news.set()

    @property
    def settled(self) -> list[int]:
        return [one.settled.order.idx for commit in self.commits for one in commit.settlements]

    async def news(self) -> None:
        await asyncio.wait_for(self._news.wait(), 10)
        self._news.clear()


@contextlib.asynccontextmanager
async def writing(path: Path, items: int) -> AsyncIterator[tuple[ThreadWriter, Told, RunFile]]:
    file, told = create(path, items), Told()
    store = ThreadWriter(file, asyncio.get_running_loop())
    store.listen(told)
    try:
        yield store, told, file
    finally:
        await store.close()


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batchdeck.store.writer.RETRY_SECONDS", 0.02)


async def test_what_comes_while_the_disk_is_busy_is_one_group_and_in_order(tmp_path: Path) -> None:
    async with writing(tmp_path / "run.db", 300) as (store, told, _):
        gate = threading.Event()
        held = store.submit(lambda file: gate.wait(10))
        for idx in range(300):
            store.settle(settlement(idx))
        counted = store.submit(lambda file: file.counts().done)
        gate.set()
        assert await held is True
        # A job sees what was settled before it.
        assert await counted == 300
        assert told.settled == list(range(300))
        assert len([commit for commit in told.commits if commit.settlements]) <= 2
        assert told.commits[-1].counts.done == 300
    assert recount(tmp_path / "run.db")["done"] == 300


async def test_jobs_run_in_order_each_in_a_turn_of_its_own(tmp_path: Path) -> None:
    async with writing(tmp_path / "run.db", 5) as (store, told, _):
        futures = [store.submit(lambda file, n=n: file.event(n, 1e9, "pause", str(n), None)) for n in range(5)]
        await asyncio.gather(*futures)
        assert len(told.commits) == 5
    with RunReader(tmp_path / "run.db") as reader:
        assert [event.detail for event in reader.events()] == ["0", "1", "2", "3", "4"]


async def test_a_commit_is_told_only_when_others_can_read_it(tmp_path: Path) -> None:
    async with writing(tmp_path / "run.db", 50) as (store, told, _):
        with RunReader(tmp_path / "run.db") as reader:
            for idx in range(50):
                store.settle(settlement(idx))
                while idx not in told.settled:
                    await told.news()
                assert reader.rows([idx])[0].state == "done"


async def test_closing_commits_what_there_is(tmp_path: Path) -> None:
    async with writing(tmp_path / "run.db", 100) as (store, _, _):
        for idx in range(100):
            store.settle(settlement(idx))
        noted = store.submit(lambda file: file.event(0, 1e9, "ended", "done", None))
    assert noted.done()
    assert not (tmp_path / "run.db-wal").exists()
    assert recount(tmp_path / "run.db")["done"] == 100


async def test_a_full_disk_is_reported_loses_nothing_and_is_survived(tmp_path: Path, quick_retries: None) -> None:
    async with writing(tmp_path / "run.db", 60) as (store, told, file):
        await store.submit(lambda file: file.conn.execute("PRAGMA max_page_count = 1").fetchone())
        for idx in range(40):
            store.settle(settlement(idx, text="x" * 4_000))
        while not told.troubles:
            await told.news()
        assert "full" in str(told.troubles[0])
        assert "nothing is lost" in str(told.troubles[0])
        assert told.settled == []
        # More comes in while it waits.
        for idx in range(40, 60):
            store.settle(failed(idx) if idx % 2 else settlement(idx))
        asked = store.submit(lambda file: file.counts())
        await told.news()
        assert recount(tmp_path / "run.db")["attempts"] == 0
        file.conn.execute(f"PRAGMA max_page_count = {NO_LIMIT}")
        while len(told.settled) < 60:
            await told.news()
        assert told.settled == list(range(60))
        assert told.troubles[-1] is None
        assert (await asked).attempts == 60
        assert told.broke == []
    counted = recount(tmp_path / "run.db")
    assert (counted["attempts"], counted["done"], counted["failed"]) == (60, 50, 10)
    with RunReader(tmp_path / "run.db") as reader:
        counts = reader.counts()
    assert {name: getattr(counts, name) for name in counted} == counted


async def test_an_engine_stops_sending_while_the_disk_is_full_and_goes_on(tmp_path: Path, quick_retries: None) -> None:
    rig = Rig(tmp_path / "run.db", 120, SimOptions(ttft_ms=3, token_rate=20_000, answer_tokens=300), threaded=True)
    engine = rig.engine

    async def so(condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0)

    run = asyncio.create_task(rig.run())
    await so(lambda: engine.counts.done >= 20)
    await rig.store.submit(lambda file: file.conn.execute("PRAGMA max_page_count = 1").fetchone())
    await so(lambda: engine.store_trouble)
    assert "full" in str(engine.store_trouble)
    assert "cannot be written" in rig.snapshot().message
    await so(lambda: not engine.gate.in_flight)
    sent, answered = rig.tally.requests, engine.uncommitted
    assert 0 < answered < 2 * 10
    assert engine.counts.done < 120
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(run), 0.2)
    assert rig.tally.requests == sent
    rig.file.conn.execute(f"PRAGMA max_page_count = {NO_LIMIT}")
    assert await asyncio.wait_for(run, 20) == "done"
    assert (engine.counts.done, rig.tally.requests) == (120, 120)
    assert "store" in [kind for (kind,) in ask(rig.path, "SELECT kind FROM events")]


async def test_what_trying_again_will_not_mend_is_said_to_everybody(tmp_path: Path) -> None:
    async with writing(tmp_path / "run.db", 3) as (store, told, _):
        gate = threading.Event()
        held = store.submit(lambda file: gate.wait(10))
        twice = store.submit(lambda file: file.ingest(rows(0, 1), SourceState(), True))
        behind = store.submit(lambda file: file.counts())
        gate.set()
        await held
        for future in (twice, behind):
            with pytest.raises(StoreError, match="cannot be written"):
                await asyncio.wait_for(future, 10)
        assert "UNIQUE constraint failed" in str(told.broke[0])
        with pytest.raises(StoreError, match="cannot be written"):
            await store.submit(lambda file: file.counts())
    assert recount(tmp_path / "run.db")["items"] == 3


async def test_an_engine_whose_run_file_breaks_fails_and_says_so(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "run.db", 40, SimOptions(faults={"hang": 1.0}), threaded=True)
    run = asyncio.create_task(rig.engine.run())
    async with asyncio.timeout(10):
        while rig.tally.in_flight < 10:
            await asyncio.sleep(0)
    broken = rig.store.submit(lambda file: file.conn.execute("INSERT INTO items (idx, position) VALUES (0, 0)"))
    with pytest.raises(StoreError):
        await broken
    assert await asyncio.wait_for(run, 10) == "failed"
    assert "cannot be written" in rig.snapshot().message
    assert (rig.engine.gate.in_flight, rig.tally.in_flight) == (0, 0)
    for reply in (rig.engine.steer.resume(), await rig.engine.steer.retry()):
        assert not reply.ok
        assert "cannot be written" in reply.message
    await rig.close()


def test_the_inline_writer_has_a_crash_window(tmp_path: Path) -> None:
    async def main() -> None:
        file, told = create(tmp_path / "run.db", 4), Told()
        store = InlineWriter(file, delay=0.5)
        store.listen(told)
        store.settle(settlement(0))
        await asyncio.sleep(0.4)
        store.settle(settlement(1))
        assert recount(tmp_path / "run.db")["done"] == 0
        await asyncio.sleep(0.2)
        assert told.settled == [0, 1]
        assert len(told.commits) == 1
        store.settle(settlement(2))
        assert recount(tmp_path / "run.db")["done"] == 2
        await store.close()

    virtually(main)
    assert recount(tmp_path / "run.db")["done"] == 3
