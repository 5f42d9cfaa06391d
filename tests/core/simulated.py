"""An engine under virtual time: the real engine, store and provider over the simulator's model, without sockets."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import sqlite3
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec

from batchdeck.engine.engine import Engine
from batchdeck.engine.ingest import Arrived
from batchdeck.engine.slots import ProviderSlots
from batchdeck.engine.snapshots import Snapshots
from batchdeck.inputs.base import SourceState
from batchdeck.model import IngestRow, RunConfig, Snapshot
from batchdeck.prompts import Prompts
from batchdeck.providers.connect import Connection
from batchdeck.providers.openai import OpenAIChat
from batchdeck.providers.presets import preset
from batchdeck.sim.clock import VirtualLoop, wall
from batchdeck.sim.inprocess import InProcessTransport
from batchdeck.sim.model import SimModel
from batchdeck.sim.options import SimOptions
from batchdeck.store.runfile import RunFile
from batchdeck.store.writer import InlineWriter, Store, ThreadWriter
from batchdeck.transport.base import Request, Sink, Transport

EPOCH = 1_800_000_000.0
STEADY = SimOptions(latency_ms=400)


def prompt_rows(first: int, count: int) -> list[IngestRow]:
    """Good input rows from index ``first`` on."""
    return [
        IngestRow(index=n, line=n + 1, data=f'{{"prompt": "What is {n} and why?"}}', label=f"What is {n} and why?")
        for n in range(first, first + count)
    ]


class Rig:
    """One engine on one run file, to be driven inside a virtual loop. A path that exists is resumed.

    rows: what the input holds instead of ``items`` good prompts. read: ingest that goes on while the engine runs, given
    the store. transport: asked instead of the simulator. threaded: with the product's own
    writer, for a loop of real time.
    """

    def __init__(
        self,
        path: Path,
        items: int,
        sim: SimOptions,
        *,
        seed: int = 1,
        delay: float = 0.002,
        rows: list[IngestRow] | None = None,
        read: Callable[[Store, Arrived], Coroutine[Any, Any, None]] | None = None,
        transport: Transport | None = None,
        threaded: bool = False,
        **config: Any,
    ):
        loop = asyncio.get_running_loop()
        self.loop = loop
        self.path = path
        settings = {
            "name": path.stem,
            "input": "-",
            "input_format": "jsonl",
            "model": "sim",
            "provider": "sim",
            **config,
        }
        self.config = RunConfig(**settings)
        self.wall = wall(loop, EPOCH)
        if path.exists():
            self.file = RunFile.open(path)
        else:
            self.file = RunFile.create(path, path.stem, self.config, "", None, EPOCH)
            self.file.begin()
            rows = prompt_rows(0, items) if rows is None else rows
            self.file.ingest(rows, SourceState(index=len(rows)), read is None)
            self.file.commit()
        # What a process leaves when it dies does not depend on fsync, and virtual time need not wait for a real disk.
        self.file.conn.execute("PRAGMA synchronous = OFF")
        self.sim = InProcessTransport(SimModel(sim))
        self.tally = self.sim.tally
        self.store: Store = ThreadWriter(self.file, loop) if threaded else InlineWriter(self.file, delay)
        provider = OpenAIChat(preset("sim"))
        connection = Connection(provider=provider, base_url="http://sim/v1", headers=(), secrets=())
        self.trace: list[tuple[float, str, int, str]] = []
        self.probes: list[Callable[[], object]] = []
        """Called at every decision."""
        self.engine = Engine(
            path.stem,
            self.config,
            self.store,
            ProviderSlots(self.config, Prompts(None, None, ("prompt",)), connection, transport or self.sim, self.wall),
            counts=self.file.counts(),
            errors=self.file.errors(),
            seq=self.file.seq,
            samples=self.file.samples(),
            wall=self.wall,
            rng=random.Random(seed),
            ingest=None if read is None else lambda arrived: read(self.store, arrived),
            trace=self._traced,
        )
        self.snapshots = Snapshots(self.engine, str(path), self.wall, loop.time, None)

    def _traced(self, at: float, what: str, idx: int, detail: str) -> None:
        self.trace.append((at, what, idx, detail))
        for probe in self.probes:
            probe()

    def snapshot(self) -> Snapshot:
        return self.snapshots.take()

    def happened(self, *kinds: str) -> list[tuple[float, str, int, str]]:
        """What the trace holds of these kinds."""
        return [event for event in self.trace if event[1] in kinds]

    async def run(self) -> str:
        """Work to the end, and close the file."""
        try:
            return await self.engine.run()
        finally:
            await self.close()

    async def close(self) -> None:
        await self.store.close()

    def crash(self, image: Path) -> Path:
        """What a kill -9 at this moment would leave on the disk, at ``image``. Leave the loop afterwards."""
        for ending in ("", "-wal"):
            shutil.copyfile(f"{self.path}{ending}", f"{image}{ending}")
        return image


Reply = tuple[int, dict[str, str], bytes]
"""Status, headers, body."""


class Scripted:
    """A provider that answers as a test says: ``reply(number of the request, its body)``, each after ``seconds``."""

    def __init__(self, reply: Callable[[int, bytes], Reply], seconds: float = 0.05) -> None:
        self._reply = reply
        self._seconds = seconds
        self.sent_at: list[float] = []

    async def send(self, request: Request, sink: Sink) -> None:
        sink.sending()
        number = len(self.sent_at)
        self.sent_at.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self._seconds)
        status, headers, body = self._reply(number, request.body)
        sink.head(status, tuple(headers.items()))
        sink.data(body)

    async def close(self) -> None:
        """Nothing is open."""


def good(text: str = "Good.") -> Reply:
    """A whole answer in one piece."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    return 200, {"content-type": "application/json"}, msgspec.json.encode({"choices": [choice], "usage": usage})


def refusal(status: int, message: str = "no", code: str | None = None, **headers: str) -> Reply:
    """An error; ``retry_after="2"`` is a header."""
    body = {"error": {"message": message, "type": "error", "code": code}}
    return status, {name.replace("_", "-"): value for name, value in headers.items()}, msgspec.json.encode(body)


async def until(condition: Callable[[], bool], step: float = 0.01) -> None:
    """Let virtual time pass until something is so. Raises ``TimeoutError`` when it does not come to that."""
    for _ in range(20_000):
        if condition():
            return
        await asyncio.sleep(step)
    raise TimeoutError(f"not so by {asyncio.get_running_loop().time():.1f} s of virtual time")


def virtually(main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run a coroutine under virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())


def in_life(
    path: Path, items: int, live: Callable[[Rig], Coroutine[Any, Any, None]], sim: SimOptions = STEADY, **given: Any
) -> tuple[Rig, str]:
    """Run a rig to its end while ``live`` acts on it; and how it ended."""

    async def main() -> tuple[Rig, str]:
        rig = Rig(path, items, sim, **given)
        run = rig.loop.create_task(rig.run())
        await live(rig)
        return rig, await run

    result: tuple[Rig, str] = virtually(main)
    return result


def recount(path: Path) -> dict[str, float]:
    """The counters as the tables themselves say, counted with SQL."""
    queries = {
        "items": "SELECT count(*) FROM items",
        "done": "SELECT count(*) FROM items WHERE state = 'done'",
        "failed": "SELECT count(*) FROM items WHERE state = 'failed'",
        "skipped": "SELECT count(*) FROM items WHERE state = 'skipped'",
        "attempts": "SELECT count(*) FROM attempts",
        "sends": "SELECT coalesce(sum(sends), 0) FROM attempts",
        "rate_limit_hits": "SELECT count(*) FROM attempts WHERE status = 429",
        "tokens_in": "SELECT coalesce(sum(tokens_in), 0) FROM attempts",
        "tokens_out": "SELECT coalesce(sum(tokens_out), 0) FROM attempts",
        "unpriced": "SELECT count(*) FROM attempts WHERE outcome = 'ok' AND cost IS NULL",
        "bad_lines": "SELECT count(*) FROM inputs WHERE error IS NOT NULL",
    }
    return {name: ask(path, query)[0][0] for name, query in queries.items()}


def ask(path: Path, query: str) -> list[tuple[Any, ...]]:
    """Plain SQL on a run file."""
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
        return db.execute(query).fetchall()
