"""The engine's end of the control API: plain HTTP on a Unix socket, served by ``aiohttp``; ``/metrics`` on TCP, too.

Endpoints: see ``control.client``. A snapshot is taken and encoded once a tick for all clients; a slow client misses
ticks and gets only the latest.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path

import msgspec
from aiohttp import web

from batchdeck.control.prometheus import CONTENT_TYPE, exposition
from batchdeck.engine.engine import Engine
from batchdeck.errors import BatchdeckError, UsageError
from batchdeck.model import Command, LockInfo, Reply, Snapshot

log = logging.getLogger("batchdeck.control")

TICK_SECONDS = 0.1
MAX_ROWS = 500


class ControlServer:
    """Serves one engine on one socket. ``close`` says goodbye to all clients."""

    def __init__(self, engine: Engine, take: Callable[[], Snapshot], info: LockInfo) -> None:
        self._engine = engine
        self._take = take
        self._info = info
        self._runners: list[web.AppRunner] = []
        self._frame = b""
        self._tick = asyncio.Condition()
        self._ticker: asyncio.Task[None] | None = None
        self._closing = False
        self._quiet_since = asyncio.get_running_loop().time()
        self.clients = 0

    @property
    def quiet(self) -> float:
        """Seconds since the last client left; 0 while one is attached."""
        return 0.0 if self.clients else asyncio.get_running_loop().time() - self._quiet_since

    async def listen(self, path: Path) -> None:
        """Bind the socket, 0600. Only the lock's holder may call it: it unlinks a stale socket."""
        app = web.Application()
        app.router.add_get("/v1/info", self._get_info)
        app.router.add_get("/v1/snapshot", self._get_snapshot)
        app.router.add_get("/v1/stream", self._get_stream)
        app.router.add_get("/v1/live", self._get_live)
        app.router.add_post("/v1/command", self._post_command)
        app.router.add_get("/metrics", self._get_metrics)
        runner = await self._serve(app)
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.bind(os.fspath(path))
            path.chmod(0o600)
        except OSError as error:
            sock.close()
            raise BatchdeckError(f"the control socket {path} cannot be made: {error.strerror}") from error
        await web.SockSite(runner, sock).start()
        self._ticker = asyncio.create_task(self._ticks())

    async def listen_metrics(self, sock: socket.socket) -> int:
        """Serve ``/metrics``, and nothing that steers, on this socket of ``metrics_socket``. Returns its port."""
        app = web.Application()
        app.router.add_get("/metrics", self._get_metrics)
        await web.SockSite(await self._serve(app), sock).start()
        bound: int = sock.getsockname()[1]
        log.info("metrics at http://127.0.0.1:%d/metrics", bound)
        return bound

    async def _serve(self, app: web.Application) -> web.AppRunner:
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        self._runners.append(runner)
        return runner

    async def close(self) -> None:
        """A last snapshot to everybody, then the end."""
        self._closing = True
        if self._ticker is not None:
            self._ticker.cancel()
        await self._publish()
        for runner in self._runners:
            await runner.cleanup()
        Path(self._info.endpoint).unlink(missing_ok=True)

    async def _ticks(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            if self.clients:
                await self._publish()

    async def _publish(self) -> None:
        self._frame = msgspec.json.encode(self._take()) + b"\n"
        async with self._tick:
            self._tick.notify_all()

    async def _get_info(self, request: web.Request) -> web.Response:
        return _json(self._info)

    async def _get_snapshot(self, request: web.Request) -> web.Response:
        return _json(self._take())

    async def _get_metrics(self, request: web.Request) -> web.Response:
        config, collector = self._engine.config, self._engine.journal.collector
        text = exposition(
            self._take(),
            provider=config.provider,
            model=config.model,
            seconds={"duration": collector.e2e, "time_to_first_chunk": collector.ttft},
            tokens={"input": collector.tokens_in, "output": collector.tokens_out},
        )
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE})

    async def _get_stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "application/x-ndjson"})
        await response.prepare(request)
        self.clients += 1
        try:
            await response.write(msgspec.json.encode(self._take()) + b"\n")
            while not self._closing:
                async with self._tick:
                    await self._tick.wait()
                await response.write(self._frame)
        except ConnectionError:
            # The client has gone; that is how a console detaches.
            pass
        finally:
            self.clients -= 1
            self._quiet_since = asyncio.get_running_loop().time()
        return response

    async def _get_live(self, request: web.Request) -> web.Response:
        wanted = request.query.get("rows")
        try:
            rows = None if wanted is None else [int(row) for row in wanted.split(",")[:MAX_ROWS] if row]
        except ValueError:
            return _json(Reply(ok=False, message="rows: a comma-separated list of indices"), 400)
        return _json(self._engine.steer.live(rows, full=request.query.get("full") == "1"))

    async def _post_command(self, request: web.Request) -> web.Response:
        try:
            command = msgspec.json.decode(await request.read(), type=Command)
        except msgspec.DecodeError as error:
            return _json(Reply(ok=False, message=f"not a command: {error}"), 400)
        return _json(await self._carry_out(command))

    async def _carry_out(self, command: Command) -> Reply:
        engine = self._engine
        match command.name:
            case "concurrency":
                if command.value is None and command.by is None:
                    return Reply(ok=False, message="concurrency: give value or by")
                cap = command.value if command.value is not None else engine.gate.cap + (command.by or 0)
                return engine.steer.set_concurrency(max(1, cap))
            case "configure":
                if not command.settings:
                    return Reply(ok=False, message="configure: give settings")
                return engine.steer.configure(command.settings)
            case "pause":
                return engine.steer.pause()
            case "resume":
                return engine.steer.resume()
            case "drain":
                return engine.steer.drain()
            case "cancel":
                return engine.steer.cancel()
            case "retry" | "retry_class":
                return await engine.steer.retry(command.idx, command.error)
            case "sweep":
                return engine.sweeping.ask(command.levels or [], command.value)


def metrics_socket(port: int) -> socket.socket:
    """This port of loopback, listened on from now on; 0: any free one. Raises ``UsageError`` when it cannot be had."""
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise UsageError(f"--metrics-port {port} cannot be had ({why}); 0 takes any that is free") from error


def _json(value: msgspec.Struct, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json", status=status)
