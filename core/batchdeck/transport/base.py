"""The seam below which bytes travel. A transport knows HTTP and nothing of prompts, retries or limits.

Bytes go to a sink as they come, so that a transport at socket level can call it from inside ``data_received``.
"""

from __future__ import annotations

from typing import Protocol

import msgspec


class Request(msgspec.Struct, frozen=True):
    """A POST, ready to send: ``url`` absolute, ``headers`` complete but for those that frame the body."""

    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Sink(Protocol):
    """Takes a response as it arrives. All calls come from the event loop's thread and must not block."""

    def sending(self) -> None:
        """The request is about to go out (again: once a send)."""

    def head(self, status: int, headers: tuple[tuple[str, str], ...]) -> None:
        """Status line and headers are there; names are lower case."""

    def data(self, chunk: bytes) -> None:
        """A piece of the body, content encoding undone."""


class Transport(Protocol):
    """Sends one request and feeds one response to its sink."""

    async def send(self, request: Request, sink: Sink) -> None:
        """Return when the body is complete.

        Raises ``errors.TransportError`` when there is no complete response. Cancelling the task really ends the
        request: its connection is closed, never reused.
        """

    async def close(self) -> None:
        """Close all connections."""
