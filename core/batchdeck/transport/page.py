"""A small page that is asked for again and again beside a run's requests, such as a server's metrics."""

from __future__ import annotations

import asyncio

import httpx

from batchdeck.errors import TransportError
from batchdeck.transport.proxy import proxy_for

LARGEST = 4 * 1024 * 1024
"""Bytes; the metrics of one vLLM engine are some 100 KB."""


class Page:
    """One URL on a connection of its own. Follows no redirect, so that its headers go to no other host.

    seconds: for a whole answer. Raises ``TransportError`` for a proxy that cannot be used.
    """

    def __init__(self, url: str, headers: tuple[tuple[str, str], ...], seconds: float) -> None:
        self.url = url
        self._seconds = seconds
        parts = httpx.URL(url)
        self._client = httpx.AsyncClient(
            # what is compressed could be far larger than it is to be
            headers=[*headers, ("accept-encoding", "identity")],
            limits=httpx.Limits(max_connections=1),
            timeout=seconds,
            trust_env=False,
            # for TLS alone: to read the machine's certificates takes 40 ms
            verify=parts.scheme == "https",
            proxy=proxy_for(parts.scheme, parts.host),
            follow_redirects=False,
        )

    def __repr__(self) -> str:
        return f"<Page {self.url}>"

    async def get(self) -> bytes:
        """The page as it is now. Raises ``TransportError`` when it does not come whole, in time, as a 200."""
        body = bytearray()
        try:
            async with asyncio.timeout(self._seconds), self._client.stream("GET", self.url) as response:
                if response.status_code != 200:
                    raise TransportError("protocol", f"{self.url} answers {response.status_code}")
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > LARGEST:
                        raise TransportError("protocol", f"{self.url} is larger than {LARGEST} bytes")
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            raise TransportError("connect", f"{self.url} cannot be read: {type(error).__name__}") from error
        return bytes(body)

    async def close(self) -> None:
        await self._client.aclose()
