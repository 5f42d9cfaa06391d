"""What went wrong with a request, from what httpx and aiohttp raised: none of their errors goes further up."""

from __future__ import annotations

import aiohttp
import httpx

from batchdeck.errors import TransportError
from batchdeck.inert import inert

CAUGHT = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, aiohttp.ClientError, OSError)
"""All that a request may raise; ``TimeoutError`` is an ``OSError``."""


def translate(error: BaseException, host: str, *, reused: bool, answered: bool) -> TransportError:
    """reused: the connection had served a request before. answered: the head of the response had arrived."""
    cause = _root(error)
    kind, message = _connecting(cause, host) or _talking(cause, host, reused=reused, answered=answered)
    return TransportError(kind, message)


def _root(error: BaseException) -> BaseException:
    """aiohttp's own error below the httpx one: the adapter names a lost connection a connect timeout."""
    while isinstance(error, httpx.HTTPError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _connecting(cause: BaseException, host: str) -> tuple[str, str] | None:
    if isinstance(cause, aiohttp.ClientSSLError):
        return "protocol", f"no secure connection to {host}: {_said(cause)}"
    if isinstance(cause, aiohttp.ClientProxyConnectionError | aiohttp.ClientHttpProxyError):
        return "connect", f"the proxy lets nothing through to {host}: {_said(cause)}"
    if isinstance(cause, aiohttp.ClientConnectorDNSError):
        return "connect", f"the name of {host} cannot be resolved"
    if isinstance(cause, aiohttp.ClientConnectorError):
        return "connect", f"cannot connect to {host}: {_said(cause.os_error)}"
    if isinstance(cause, TimeoutError):
        return "connect_timeout", f"no connection to {host} within the time limit"
    return None


def _talking(cause: BaseException, host: str, *, reused: bool, answered: bool) -> tuple[str, str]:
    if isinstance(cause, httpx.DecodingError):
        return "protocol", f"the content encoding of the answer is broken: {_said(cause)}"
    lost = isinstance(cause, aiohttp.ClientConnectionError | aiohttp.ClientPayloadError | OSError)
    if not lost:
        return "protocol", f"{host} does not answer in HTTP: {_said(cause)}"
    begun = isinstance(cause, aiohttp.ServerDisconnectedError) and not isinstance(cause.message, str | None)
    if answered or begun:
        return "reset", "the connection broke in the middle of the answer"
    if reused:
        return "stale", "the kept connection was closed before an answer came"
    return "disconnected", f"{host} closed the connection before an answer came"


def _said(cause: BaseException) -> str:
    message = cause.message if isinstance(cause, aiohttp.ClientResponseError) else str(cause)
    return inert(" ".join(message.split()))[:200] or type(cause).__name__
