"""Standard input and pipes: bytes that come once, and can be looked at before they are read."""

from __future__ import annotations

from types import TracebackType
from typing import BinaryIO

from batchdeck.errors import InputError
from batchdeck.inputs.lines import ByteStream


class StreamSource:
    """A stream that is read once. What was peeked at is kept until it is read."""

    size: int | None = None

    def __init__(self, raw: BinaryIO, name: str = "stdin") -> None:
        self.name = name
        self._raw = raw
        self._ahead = bytearray()
        self._read = False

    def fingerprint(self) -> str:
        return ""

    def peek(self) -> ByteStream:
        return _Reading(self._raw, self._ahead, keep=True)

    def open(self, offset: int) -> ByteStream:
        if self._read or offset:
            raise InputError(f"{self.name} cannot be read a second time; put the prompts into a file")
        self._read = True
        return _Reading(self._raw, self._ahead, keep=False)

    def lines_before(self, offset: int) -> int:
        raise InputError(f"{self.name} cannot be read a second time; put the prompts into a file")


class _Reading:
    """Reads what was looked at before, then the stream itself. Closing it leaves the stream open: it is not ours."""

    def __init__(self, raw: BinaryIO, ahead: bytearray, *, keep: bool) -> None:
        self._raw = raw
        self._ahead = ahead
        self._keep = keep
        self._at = 0

    def readline(self, size: int, /) -> bytes:
        line = self._from_ahead(size)
        if len(line) < size and not line.endswith(b"\n"):
            fresh = self._raw.readline(size - len(line))
            if self._keep:
                self._ahead += fresh
                self._at += len(fresh)
            line += fresh
        return line

    def _from_ahead(self, size: int) -> bytes:
        if self._at >= len(self._ahead):
            if not self._keep:
                self._ahead.clear()
                self._at = 0
            return b""
        end = self._ahead.find(b"\n", self._at, self._at + size)
        stop = end + 1 if end >= 0 else min(len(self._ahead), self._at + size)
        line = bytes(self._ahead[self._at : stop])
        self._at = stop
        return line

    def close(self) -> None:
        pass

    def __enter__(self) -> _Reading:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()
