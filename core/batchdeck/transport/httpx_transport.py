"""Requests through ``httpx`` on aiohttp's connection pool, with no time limit but the one for connecting.

Two pools stand behind it: one keeps connections alive, the other opens one for each request. A kept connection that the
server closed before any byte of a response is stale, not a failure of the request: it is sent once more, on a
connection that is surely new (llama.cpp closes after each stream although it promises to keep alive).
"""

from __future__ import annotations

from collections.abc import AsyncIterable
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport
from multidict import CIMultiDict

from batchdeck.errors import TransportError
from batchdeck.transport.base import Request, Sink
from batchdeck.transport.faults import CAUGHT, translate
from batchdeck.transport.proxy import proxy_for

KEEP_ALIVE = 15.0
"""Seconds that an idle connection is kept."""
HEADER_BYTES = 65_536
"""Longest header that is read; gateways send longer ones than aiohttp's 8 KB."""
DECODABLE = httpx.AsyncClient(transport=httpx.AsyncBaseTransport(), trust_env=False).headers["accept-encoding"]
"""The content encodings that httpx can undo here; aiohttp would offer its own, which may be more."""
MAX_TARGETS = 256
"""URLs whose parsed form is kept; batch lines may each name a path."""


class _Sending:
    """One send: who is told that it goes out, and whether its connection had been used before."""

    __slots__ = ("reused", "sink")

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.reused = False


_sending: ContextVar[_Sending] = ContextVar("sending")
"""aiohttp calls its trace hooks in the task of the request, so this finds the send that a hook speaks of."""


async def _on_reused(session: aiohttp.ClientSession, context: SimpleNamespace, params: Any) -> None:
    sending = _sending.get()
    sending.reused = True
    sending.sink.sending()


async def _on_connected(session: aiohttp.ClientSession, context: SimpleNamespace, params: Any) -> None:
    _sending.get().sink.sending()


class _Post(httpx.Request):
    """A POST that is ready as it is: httpx' own constructor parses and copies for 50 µs what is the same each time."""

    def __init__(self, url: httpx.URL, headers: CIMultiDict[str], body: bytes, extensions: dict[str, Any]) -> None:
        self.method = "POST"
        self.url = url
        # aiohttp takes its own kind of headers as they are; httpx' kind is decoded anew each time.
        self.headers = headers  # type: ignore[assignment]
        self.extensions = extensions
        self._body = body

    @property
    def content(self) -> bytes:
        return self._body


class _Target:
    """A URL, and the ways that lead to it: through the kept connections, and through a new one."""

    __slots__ = ("fresh", "host", "kept", "url")

    def __init__(self, url: httpx.URL, kept: AiohttpTransport, fresh: AiohttpTransport) -> None:
        self.url = url
        self.host = f"{url.host}:{url.port}" if url.port else url.host
        self.kept = kept
        self.fresh = fresh


class HttpxTransport:
    """A ``transport.base.Transport``. As many connections as there are requests at once; make it where a loop runs."""

    def __init__(self, *, connect_timeout: float = 10.0, trust_env: bool = True) -> None:
        """connect_timeout: seconds for name, TCP and TLS together. trust_env: honour the proxy variables."""
        self._trust_env = trust_env
        self._extensions = {
            "timeout": {"connect": connect_timeout, "pool": connect_timeout, "read": None, "write": None}
        }
        self._targets: dict[str, _Target] = {}
        self._ways: dict[str | None, tuple[AiohttpTransport, AiohttpTransport]] = {}
        self._given: tuple[tuple[str, str], ...] = ()
        self._headers: CIMultiDict[str] = CIMultiDict()
        self._ssl = httpx.create_ssl_context()
        self._ssl.set_alpn_protocols(["http/1.1"])
        self._kept = self._session(force_close=False)
        self._fresh = self._session(force_close=True)

    def __repr__(self) -> str:
        return f"<HttpxTransport {len(self._targets)} targets, {'closed' if self._kept.closed else 'open'}>"

    async def send(self, request: Request, sink: Sink) -> None:
        target = self._targets.get(request.url) or self._target(request.url)
        try:
            await self._send(target, target.kept, request, sink)
        except TransportError as error:
            if error.kind != "stale":
                raise
            await self._send(target, target.fresh, request, sink)

    async def close(self) -> None:
        await self._kept.close()
        await self._fresh.close()

    async def _send(self, target: _Target, way: AiohttpTransport, request: Request, sink: Sink) -> None:
        sending = _Sending(sink)
        _sending.set(sending)
        if request.headers is not self._given:
            self._given, self._headers = request.headers, CIMultiDict(request.headers)
        outgoing = _Post(target.url, self._headers, request.body, self._extensions)
        answered = False
        try:
            # Straight to the adapter: a client around it would look for cookies, redirects and credentials.
            response = await way.handle_async_request(outgoing)
            answered = True
            try:
                # From the raw bytes: httpx guesses an encoding anew for each name and value that it is asked for.
                headers = tuple(
                    [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in response.headers.raw]
                )
                sink.head(response.status_code, headers)
                # httpx' own iterator does what nothing here needs: it counts, and cuts to sizes.
                encoded = any(name == "content-encoding" for name, _ in headers)
                body: AsyncIterable[bytes] = response.aiter_bytes() if encoded else response.stream  # type: ignore[assignment]
                async for chunk in body:
                    sink.data(chunk)
            finally:
                # Of an unfinished response this closes the connection.
                await response.aclose()
        except CAUGHT as error:
            raise translate(error, target.host, reused=sending.reused, answered=answered) from error

    def _target(self, address: str) -> _Target:
        try:
            url = httpx.URL(address)
        except httpx.InvalidURL as error:
            raise TransportError("protocol", f"not a URL that can be asked: {error}") from error
        proxy = proxy_for(url.scheme, url.host) if self._trust_env else None
        if proxy not in self._ways:
            self._ways[proxy] = (self._way(self._kept, proxy), self._way(self._fresh, proxy))
        if len(self._targets) >= MAX_TARGETS:
            self._targets.clear()
        target = self._targets[address] = _Target(url, *self._ways[proxy])
        return target

    def _way(self, session: aiohttp.ClientSession, proxy: str | None) -> AiohttpTransport:
        return AiohttpTransport(
            client=session, verify=self._ssl, proxy=httpx.Proxy(proxy) if proxy is not None else None
        )

    def _session(self, *, force_close: bool) -> aiohttp.ClientSession:
        trace = aiohttp.TraceConfig()
        trace.on_connection_reuseconn.append(_on_reused)
        trace.on_connection_create_end.append(_on_connected)
        connector = aiohttp.TCPConnector(
            limit=0,  # the engine's gate is the limit; the default of 100 would hold requests back unseen
            ssl=self._ssl,
            force_close=force_close,
            ttl_dns_cache=60,
            keepalive_timeout=None if force_close else KEEP_ALIVE,
        )
        return aiohttp.ClientSession(
            connector=connector,
            # the adapter gives each request a limit of its own; this only bars the default of 300 s
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"accept-encoding": DECODABLE},
            trace_configs=[trace],
            max_line_size=HEADER_BYTES,
            max_field_size=HEADER_BYTES,
        )
