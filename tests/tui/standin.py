"""A stand-in for an engine: a process that holds a run's lock and speaks the control API over a run file.

``python standin.py RUN``: prints one line when it listens. It sends nothing anywhere; rows settle when a test writes
them into the run file.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from pathlib import Path

import msgspec
from aiohttp import web
from sqlite_utils import Database

from batchdeck.config import socket_path
from batchdeck.lock import RunLock
from batchdeck.model import Command, ErrorClass, Live, LiveRow, LockInfo, Percentiles, Reply, Snapshot
from batchdeck.store.reader import RunReader

TICK = 0.1
SAID = "The first words [/foo] of row {idx} arrive while the rest is still \x1b[31mon its way"


class StandIn:
    """One run that looks alive: its first queued rows are in flight, as many as the cap lets be."""

    def __init__(self, path: Path, cap: int) -> None:
        self.path, self.cap, self.state = path, cap, "running"
        self.reader = RunReader(path)
        self.over = asyncio.Event()
        self.rng = random.Random(5)

    def in_flight(self) -> list[int]:
        if self.state not in ("running", "paused", "draining"):
            return []
        return list(self.reader.select("queued")[: self.cap])

    def snapshot(self) -> Snapshot:
        counts, flying, samples = self.reader.counts(), self.in_flight(), self.reader.samples()
        settled = counts.done + counts.failed
        example = ErrorClass(
            error_type="http_500", attempts=3, items=2, example="upstream [/oops] broke", example_idx=3
        )
        return Snapshot(
            run=self.path.stem,
            path=str(self.path),
            state=self.state,  # type: ignore[arg-type]
            message="",
            counts=counts,
            ingest_complete=True,
            items_expected=counts.items,
            in_flight=len(flying),
            backoff=2,
            queued=counts.items - settled - len(flying),
            concurrency=self.cap,
            uncommitted=0,
            rate=7.8,
            tokens_rate=612.0,
            eta=(counts.items - settled) / 7.8,
            cooldown=0.0,
            ttft=Percentiles(p50=0.31, p95=0.62, p99=0.9),
            e2e=Percentiles(p50=1.4, p95=3.1, p99=5.2),
            errors=(example,) if counts.failed else (),
            seq=self.reader.seq(),
            samples=len(samples),
            at=time.time(),
        )

    def turn(self, cap: int) -> Reply:
        """The knob: a mark for the charts, and a sample so that they draw it."""
        before, self.cap = self.cap, max(1, cap)
        db = Database(str(self.path))
        with db.conn:
            t = (db.execute("SELECT coalesce(max(t), 0) FROM samples").fetchone()[0] or 0.0) + 1.0
            db.conn.execute(
                "INSERT INTO events (t, at, kind, detail, value) VALUES (?, 0, 'concurrency', ?, ?)",
                (t - 0.5, f"{before} → {self.cap}", float(self.cap)),
            )
            db.conn.execute(
                "INSERT INTO samples VALUES (?, 0, 1, 8, 0, 8, 0, 0, 0, 0, ?, ?, ?, 40, 0, 0)",
                (t, float(self.cap), self.cap, self.cap),
            )
        db.close()
        return Reply(ok=True, message=f"Concurrency {before} → {self.cap}")

    def obey(self, command: Command) -> Reply:
        match command.name:
            case "concurrency":
                return self.turn(command.value if command.value is not None else self.cap + (command.by or 0))
            case "pause":
                self.state = "paused"
                return Reply(ok=True, message="Paused: nothing new is sent")
            case "resume":
                self.state = "running"
                return Reply(ok=True, message="The run goes on")
            case "drain" | "cancel" as name:
                self.state = "drained" if name == "drain" else "cancelled"
                db = Database(str(self.path))
                with db.conn:
                    db.conn.execute("UPDATE run SET ending = ?", (self.state,))
                db.close()
                asyncio.get_running_loop().call_later(3 * TICK, self.over.set)
                return Reply(ok=True, message=f"The run is {self.state}")
            case "retry":
                return Reply(ok=True, message="2 failed items are queued again [/x]")


async def serve(path: Path, cap: int) -> None:
    lock = RunLock(path)
    engine = StandIn(path, cap)
    app = web.Application()

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while not engine.over.is_set():
            await response.write(msgspec.json.encode(engine.snapshot()) + b"\n")
            await asyncio.sleep(TICK)
        return response

    async def live(request: web.Request) -> web.Response:
        wanted, flying = request.query.get("rows"), engine.in_flight()
        full = "full" in request.query
        rows = flying if wanted is None else [idx for idx in flying if str(idx) in wanted.split(",")]
        said = tuple(
            LiveRow(
                idx=idx,
                phase="streaming",
                text="" if wanted is None else SAID.format(idx=idx) + (" (all of it)" if full else ""),
                tokens=7,
                seconds=1.2,
                attempt=1,
            )
            for idx in rows
        )
        return web.Response(body=msgspec.json.encode(Live(rows=said)))

    async def command(request: web.Request) -> web.Response:
        order = msgspec.json.decode(await request.read(), type=Command)
        return web.Response(body=msgspec.json.encode(engine.obey(order)))

    app.add_routes([web.get("/v1/stream", stream), web.get("/v1/live", live), web.post("/v1/command", command)])
    runner = web.AppRunner(app, shutdown_timeout=0.2)
    await runner.setup()
    endpoint = socket_path(path)
    endpoint.unlink(missing_ok=True)
    await web.UnixSite(runner, str(endpoint)).start()
    lock.write(LockInfo(host="here", pid=os.getpid(), endpoint=str(endpoint), api=1, started_at=time.time()))
    print("listening", flush=True)
    await engine.over.wait()
    await runner.cleanup()
    lock.release()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 10))
