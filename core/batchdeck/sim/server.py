"""The simulated provider as a real HTTP server, on loopback only.

- ``POST /v1/chat/completions``: streamed (SSE) and not, as OpenAI's chat API
- ``GET /v1/models``, ``GET /v1/models/NAME``
- ``GET /metrics``: with slots, how many are taken, in vLLM's words
- ``GET /sim/stats``: what was served (``tally.Tally``), with ``connections`` (accepted so far), ``open_connections``
  and ``holding`` (answers that wait to be released)
- ``POST /sim/release``: let held answers go on; ``{"count": n}``: only the n oldest. → ``{"released", "holding"}``
- ``POST /sim/options``: change some options while it runs; answers all of them

An outage is of all but ``/sim``. One that refuses resets a connection on which a request comes, without an answer, so
that ``/sim`` can still be reached.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, cast

import msgspec
from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.web_protocol import RequestHandler

from batchdeck.errors import UsageError
from batchdeck.sim import wire
from batchdeck.sim.model import Plan, SimModel
from batchdeck.sim.options import SimOptions, build
from batchdeck.sim.playback import Aim, Chunks, Holds, play
from batchdeck.sim.refusals import FAULTY, Refusal
from batchdeck.sim.tally import Tally, Visit

HOST = "127.0.0.1"
COMPLETIONS = "/v1/chat/completions"
_BACKLOG = 4096
"""Connections not yet accepted: a client that opens 1,000 at once must not be made to wait for a second SYN."""
_LARGEST_BODY = 256 * 1024 * 1024
_SILENT = logging.getLogger("batchdeck.sim.access")
_SILENT.disabled = True
_FAREWELL = 0.05
"""Seconds that open responses get when the server stops."""


class SimServer:
    """``async with SimServer(options) as sim:`` serves in the running loop until left.

    key: what clients must send; by default the value of the environment variable that ``options.require_key`` names.
    port 0: any free one. Raises ``UsageError`` when the port is taken or the variable is empty.
    """

    def __init__(self, options: SimOptions | None = None, *, port: int = 0, key: str | None = None) -> None:
        options = options or SimOptions()
        if key is None and options.require_key is not None:
            key = os.environ.get(options.require_key)
            if not key:
                raise UsageError(f"the environment variable {options.require_key} holds no key; set it first")
        self.model = SimModel(options, key=key)
        self.tally = Tally()
        self.holds = Holds()
        self._aim = Aim()
        self.port = port
        self._http: _Http | None = None
        self._listener: asyncio.Server | None = None

    def __repr__(self) -> str:
        return f"<SimServer port={self.port} {self.tally!r} holding={len(self.holds)}>"

    @property
    def root_url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def base_url(self) -> str:
        """What a client takes as its base URL; it includes ``/v1``."""
        return f"{self.root_url}/v1"

    def stats(self) -> dict[str, Any]:
        """What ``GET /sim/stats`` answers."""
        http = self._http
        return {
            **self.tally.stats(),
            "holding": len(self.holds),
            "connections": http.accepted if http else 0,
            "open_connections": len(http.connections) if http else 0,
        }

    async def __aenter__(self) -> SimServer:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._http = _Http(self._dispatch)
        try:
            self._listener = await loop.create_server(self._http, HOST, self.port, backlog=_BACKLOG)
        except (OSError, OverflowError) as error:
            raise UsageError(f"port {self.port} cannot be used ({error}); choose another with --port") from error
        self.model.begin(loop.time(), datetime.now(UTC).timestamp() - loop.time())
        self.port = self._listener.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and end what is open."""
        if self._listener is not None and self._http is not None:
            self._listener.close()
            self._http.pre_shutdown()
            await self._http.shutdown(_FAREWELL)
            self._listener = None

    async def _dispatch(self, request: web.BaseRequest) -> web.StreamResponse:
        now = asyncio.get_running_loop().time()
        is_provider = not request.path.startswith("/sim/")
        if is_provider and self.model.is_unreachable(now):
            self.tally.turn_away()
            _reset(request)
            return web.Response()
        if request.method == "POST" and request.path == COMPLETIONS:
            return await self._complete(request)
        routes: dict[tuple[str, str], Callable[[web.BaseRequest], Awaitable[web.Response]]] = {
            ("GET", "/v1/models"): self._models,
            ("GET", "/sim/stats"): self._stats,
            ("POST", "/sim/release"): self._release,
            ("POST", "/sim/options"): self._options,
        }
        if is_provider and self.model.is_down(now):
            status, refusal = FAULTY["503"]
            return _json(wire.error_body(refusal), status)
        handler = routes.get((request.method, request.path))
        if handler is not None:
            return await handler(request)
        load = self.model.load(now)
        if load is not None and (request.method, request.path) == ("GET", "/metrics"):
            return web.Response(body=wire.metrics_body(*load), headers={"content-type": wire.METRICS_TYPE})
        if request.method == "GET" and request.path.startswith("/v1/models/"):
            return _json(wire.model_body(request.path.removeprefix("/v1/models/")))
        unknown = Refusal(
            f"Unknown request URL: {request.method} {request.path}.", "invalid_request_error", "unknown_url"
        )
        return _json(wire.error_body(unknown), 404)

    async def _complete(self, request: web.BaseRequest) -> web.StreamResponse:
        visit = self.tally.enter()
        try:
            body = await request.read()
            arrived = cast(_Connection, request.protocol).arrived
            plan = self.model.receive(body, arrived, request.headers.get("Authorization"))
            visit.decide(plan)
            script = wire.script(plan)
            holds = self.holds if self.model.options.hold else None
            chunks = play(script, arrived, holds, self._aim)
            with contextlib.suppress(ConnectionError):  # the client has gone: ``leave`` counts it
                if script.length is not None and script.ending == "complete":
                    return await self._send_whole(request, plan, script, visit, chunks)
                return await self._send_pieces(request, plan, script, visit, chunks)
            return web.Response()
        finally:
            visit.leave()

    async def _send_whole(
        self, request: web.BaseRequest, plan: Plan, script: wire.Script, visit: Visit, chunks: Chunks
    ) -> web.StreamResponse:
        """Head and body in one write. It is written here, not by aiohttp, so that its lateness is seen."""
        response = web.Response(status=script.status, headers=script.headers)
        async for chunk, _ in chunks:
            visit.begin(script.status)
            visit.end(plan)
            response.body = chunk
            await response.prepare(request)
            await response.write_eof()
        return response

    async def _send_pieces(
        self, request: web.BaseRequest, plan: Plan, script: wire.Script, visit: Visit, chunks: Chunks
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=script.status, headers=script.headers)
        response.content_length = script.length
        async for chunk, is_last in chunks:
            if not response.prepared:
                visit.begin(script.status)
                await response.prepare(request)
            if is_last and script.ending == "complete":
                visit.end(plan)
                await response.write_eof(chunk)
            else:
                await response.write(chunk)
        await self._break_off(request, plan, script, visit)
        return response

    async def _break_off(self, request: web.BaseRequest, plan: Plan, script: wire.Script, visit: Visit) -> None:
        """End a response as no server should."""
        transport = request.transport
        if script.ending == "silence":
            visit.fall_silent(plan.fault or "hang")
            await asyncio.get_running_loop().create_future()
        elif script.ending == "close" and transport is not None:
            visit.end(plan)
            transport.close()
        elif script.ending == "reset":
            visit.end(plan)
            _reset(request)

    async def _models(self, request: web.BaseRequest) -> web.Response:
        if not self.model.admits(request.headers.get("Authorization")):
            status, refusal = FAULTY["401"]
            return _json(wire.error_body(refusal), status)
        return _json(wire.models_body())

    async def _stats(self, request: web.BaseRequest) -> web.Response:
        return _json(msgspec.json.encode(self.stats()))

    async def _release(self, request: web.BaseRequest) -> web.Response:
        try:
            count = msgspec.json.decode(await request.read() or b"{}", type=_Release).count
        except msgspec.DecodeError as error:
            return _json(wire.error_body(Refusal(str(error), "invalid_request_error")), 400)
        released = self.holds.release(count)
        return _json(msgspec.json.encode({"released": released, "holding": len(self.holds)}))

    async def _options(self, request: web.BaseRequest) -> web.Response:
        try:
            given = msgspec.json.decode(await request.read(), type=dict[str, Any])
            options = build(given, self.model.options)
        except (msgspec.DecodeError, UsageError) as error:
            return _json(wire.error_body(Refusal(str(error), "invalid_request_error")), 400)
        self.model.configure(options, asyncio.get_running_loop().time())
        return _json(msgspec.json.encode(options))


class _Release(msgspec.Struct, forbid_unknown_fields=True):
    count: int | None = None


class _Connection(RequestHandler):
    """Knows when the last byte of a request arrived: what comes after that is the server's own time."""

    __slots__ = ("arrived",)

    def data_received(self, data: bytes) -> None:
        self.arrived = self._loop.time()
        super().data_received(data)


class _Http(web.Server):
    """aiohttp's server without router and middleware; a handler is cancelled when its client goes."""

    def __init__(self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> None:
        super().__init__(handler, request_factory=self._request, handler_cancellation=True)
        self.accepted = 0

    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=self._loop, access_log=_SILENT)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        self.accepted += 1
        super().connection_made(handler, transport)

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        return web.BaseRequest(message, payload, protocol, writer, task, self._loop, client_max_size=_LARGEST_BODY)


def _reset(request: web.BaseRequest) -> None:
    """Break the connection off, as a server does that dies."""
    transport = request.transport
    if transport is not None:
        # Lingering for zero seconds makes the kernel send RST instead of an orderly end.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()


def _json(body: bytes, status: int = 200) -> web.Response:
    return web.Response(status=status, body=body, content_type="application/json")
