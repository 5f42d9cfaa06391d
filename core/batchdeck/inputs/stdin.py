"""Standard input and pipes: bytes that come once, when they come, and can be looked at before they are read."""

from __future__ import annotations

import select
from types import TracebackType
from typing import Protocol

from batchdeck.errors import InputError
from batchdeck.inputs.lines import ByteStream

PIECE = 256 * 1024
"""Bytes that are asked for at once."""


class RawStream(Protocol):
    """Unbuffered bytes, such as ``open(…, buffering=0)`` gives.

    Not a ``BufferedReader``: it keeps its lock while it waits, and a process that ends in the meantime is aborted.
    """

    def read(self, size: int, /) -> bytes | None:
        """What there is, at least one byte; it waits for that. Empty at the end, None when it may not wait."""

    def fileno(self) -> int: ...


class StreamSource:
    """A stream that is read once. What was peeked at is kept until it is read."""

    size: int | None = None

    def __init__(self, raw: RawStream, name: str = "stdin") -> None:
        self.name = name
        self.ahead = bytearray()
        self._raw = raw
        self._read = False
        self._ended = False

    def fingerprint(self) -> str:
        return ""

    def peek(self) -> ByteStream:
        return _Reading(self, keep=True)

    def open(self, offset: int) -> ByteStream:
        if self._read or offset:
            raise InputError(f"{self.name} cannot be read a second time; put the prompts into a file")
        self._read = True
        return _Reading(self, keep=False)

    def lines_before(self, offset: int) -> int:
        raise InputError(f"{self.name} cannot be read a second time; put the prompts into a file")

    def more(self) -> bool:
        """Wait for bytes and put them behind ``ahead``. False at the end, which a terminal would give only once."""
        if self._ended:
            return False
        try:
            while (piece := self._raw.read(PIECE)) is None:
                # Whoever shares the pipe has made it non-blocking.
                select.select([self._raw], [], [])
        except OSError as error:
            raise InputError(f"{self.name}: cannot be read ({error.strerror})") from error
        self.ahead += piece
        self._ended = not piece
        return not self._ended


class _Reading:
    """Lines of a stream from its start. Closing it leaves the stream open: it is not ours."""

    def __init__(self, source: StreamSource, *, keep: bool) -> None:
        self._source = source
        self._keep = keep
        self._at = 0

    def readline(self, size: int, /) -> bytes:
        ahead = self._source.ahead
        seen, last = self._at, self._at + size
        while (end := ahead.find(b"\n", seen, last)) < 0 and len(ahead) < last:
            seen = len(ahead)
            if not self._source.more():
                break
        stop = end + 1 if end >= 0 else min(len(ahead), last)
        line = bytes(ahead[self._at : stop])
        if self._keep:
            self._at = stop
        else:
            del ahead[:stop]
        return line

    def close(self) -> None:
        pass

    def __enter__(self) -> _Reading:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()
