"""An engine under virtual time: the real engine, store and provider over the simulator's model, without sockets."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from batchdeck.engine.engine import Engine
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
from batchdeck.store.writer import InlineWriter

EPOCH = 1_800_000_000.0


class Rig:
    """One engine on one run file, to be driven inside a virtual loop."""

    def __init__(self, path: Path, items: int, sim: SimOptions, *, seed: int = 1, delay: float = 0.002, **config: Any):
        loop = asyncio.get_running_loop()
        self.loop = loop
        self.path = path
        self.config = RunConfig(
            **{
                "name": path.stem, "input": "-", "input_format": "jsonl", "model": "sim", "provider": "sim",
                "concurrency": 10, **config,
            }  # fmt: skip
        )
        self.wall = wall(loop, EPOCH)
        if path.exists():
            self.file = RunFile.open(path)
        else:
            self.file = RunFile.create(path, path.stem, self.config, "", None, EPOCH)
            self.file.begin()
            rows = [
                IngestRow(index=n, line=n + 1, data=f'{{"prompt": "What is {n} and why?"}}', label=f"What is {n} and why?")
                for n in range(items)
            ]
            self.file.ingest(rows, SourceState(index=items), True)
            self.file.commit()
        self.transport = InProcessTransport(SimModel(sim))
        self.store = InlineWriter(self.file, delay)
        provider = OpenAIChat(preset("sim"))
        connection = Connection(provider=provider, base_url="http://sim/v1", headers=(), secrets=())
        self.trace: list[tuple[float, str, int, str]] = []
        self.engine = Engine(
            path.stem,
            self.config,
            self.store,
            ProviderSlots(self.config, Prompts(None, None, ("prompt",)), connection, self.transport, self.wall),
            counts=self.file.counts(),
            errors=self.file.errors(),
            seq=self.file.seq,
            samples=self.file.samples(),
            wall=self.wall,
            rng=random.Random(seed),
            ingest=None,
            trace=lambda *event: self.trace.append(event),
        )
        self.snapshots = Snapshots(self.engine, str(path), self.wall, loop.time, None)

    def snapshot(self) -> Snapshot:
        return self.snapshots.take()

    async def run(self) -> str:
        try:
            return await self.engine.run()
        finally:
            await self.store.close()


def virtually(main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run a coroutine under virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())
