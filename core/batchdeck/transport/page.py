"""A small page that is read beside a run's requests: a server's metrics again and again, its models once."""

from __future__ import annotations

import asyncio
import os
import re

import httpx

from batchdeck.errors import PageRefused, TransportError
from batchdeck.inert import inert
from batchdeck.transport.proxy import proxy_for

LARGEST = 4 * 1024 * 1024
"""Bytes; the metrics of one vLLM engine are some 100 KB."""
_ERRNO = re.compile(r"\[Errno -?\d+\] ")


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
        """The page as it is now. Raises ``TransportError`` when it does not come whole and in time,
        ``PageRefused`` when it does not come as a 200."""
        body = bytearray()
        try:
            async with asyncio.timeout(self._seconds), self._client.stream("GET", self.url) as response:
                if response.status_code != 200:
                    raise PageRefused(response.status_code, f"{self.url} answers {response.status_code}")
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > LARGEST:
                        raise TransportError("protocol", f"{self.url} is larger than {LARGEST} bytes")
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            raise TransportError("connect", f"{self.url} cannot be read: {self._why(error)}") from error
        return bytes(body)

    def _why(self, error: Exception) -> str:
        if isinstance(error, TimeoutError | httpx.TimeoutException):
            return f"no answer within {self._seconds:g} s"
        if isinstance(error, httpx.ConnectError):
            return f"no connection ({_said(error)})"
        return _said(error)

    async def close(self) -> None:
        await self._client.aclose()


def _said(error: BaseException) -> str:
    """In the words of the operating system, where it is what failed at last: ``Connection refused``."""
    words, cause = str(error), error.__cause__ or error.__context__
    while cause is not None:
        if isinstance(cause, OSError) and str(cause):
            number = cause.errno or 0  # asyncio puts the address in the place of the words; a resolver's are below 0
            words = os.strerror(number) if number > 0 else cause.strerror or str(cause)
        cause = cause.__cause__ or cause.__context__
    return inert(_ERRNO.sub("", words))[:120] or type(error).__name__
