"""The client's end of the control API: ``httpx`` over a run's Unix socket.

Endpoints: ``GET /v1/snapshot``, ``GET /v1/stream`` (NDJSON, 10 a second), ``GET /v1/live?rows=1,2&full=1``,
``POST /v1/command`` (a ``model.Command``, answered by a ``model.Reply``), ``GET /v1/info`` (a ``model.LockInfo``),
``GET /metrics`` (Prometheus text).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from types import TracebackType
from typing import TypeVar

import httpx
import msgspec

from batchdeck.errors import EngineGone
from batchdeck.model import Command, Live, LockInfo, Reply, Snapshot

T = TypeVar("T")
BASE = "http://batchdeck"
LONG_SECONDS = 60.0
"""A retry of a million items is answered when all of them are back in the queue."""


class ControlClient:
    """Talks to one live engine. Every method raises ``EngineGone`` when nobody answers."""

    def __init__(self, endpoint: str) -> None:
        """endpoint: the socket's path, as ``LockInfo.endpoint`` gives it."""
        # No TLS on a Unix socket, so no certificates need be read, which takes 40 ms.
        self._http = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=endpoint, verify=False),
            base_url=BASE,
            timeout=httpx.Timeout(5.0),
            trust_env=False,
        )

    async def __aenter__(self) -> ControlClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def info(self) -> LockInfo:
        return await self._get("/v1/info", LockInfo)

    async def snapshot(self) -> Snapshot:
        return await self._get("/v1/snapshot", Snapshot)

    async def live(self, rows: Iterable[int] | None = None, *, full: bool = False) -> Live:
        """The rows of these that are in flight, with their text so far; None: all in flight, without text."""
        query = {} if rows is None else {"rows": ",".join(map(str, rows))}
        if full:
            query["full"] = "1"
        return await self._get("/v1/live", Live, query)

    async def metrics(self) -> str:
        """What Prometheus would scrape."""
        try:
            return (await self._http.get("/metrics")).raise_for_status().text
        except httpx.HTTPError as error:
            raise EngineGone(f"the engine does not answer: {error}") from error

    async def command(self, command: Command) -> Reply:
        patience = httpx.Timeout(5.0, read=LONG_SECONDS if command.name == "retry" else 5.0)
        try:
            answer = await self._http.post("/v1/command", content=msgspec.json.encode(command), timeout=patience)
            return msgspec.json.decode(answer.content, type=Reply)
        except (httpx.HTTPError, msgspec.DecodeError) as error:
            raise EngineGone(f"the engine does not answer: {error}") from error

    async def stream(self) -> AsyncIterator[Snapshot]:
        """Snapshots as they come; ends when the engine says goodbye, raises ``EngineGone`` when it vanishes."""
        decode = msgspec.json.Decoder(Snapshot).decode
        try:
            async with self._http.stream("GET", "/v1/stream", timeout=httpx.Timeout(5.0, read=30.0)) as answer:
                async for line in answer.aiter_lines():
                    if line:
                        yield decode(line)
        except (httpx.HTTPError, msgspec.DecodeError) as error:
            raise EngineGone(f"the engine does not answer: {error}") from error

    async def _get(self, path: str, kind: type[T], query: dict[str, str] | None = None) -> T:
        try:
            answer = await self._http.get(path, params=query)
            return msgspec.json.decode(answer.content, type=kind)
        except (httpx.HTTPError, msgspec.DecodeError) as error:
            raise EngineGone(f"the engine does not answer: {error}") from error
