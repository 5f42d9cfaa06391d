"""Bytes in, lines out, with where each one ends. Memory is bounded by one line, and one line by ``MAX_LINE``."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import NamedTuple, Protocol

MAX_LINE = 16 * 1024 * 1024
"""Bytes of a line, or of one CSV record over many lines, that are still read."""
BOM = b"\xef\xbb\xbf"


class ByteStream(Protocol):
    """What reading lines needs of a file."""

    def readline(self, size: int, /) -> bytes: ...

    def close(self) -> None: ...

    def __enter__(self) -> ByteStream: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


class Line(NamedTuple):
    """``number`` counts from 1, ``end`` is the byte offset just after the line.

    ``content`` has its line break still on, and is None for a line longer than ``MAX_LINE``.
    """

    number: int
    end: int
    content: bytes | None


def read_lines(stream: ByteStream, number: int, offset: int) -> Iterator[Line]:
    """Lines from where ``stream`` stands: ``number`` lines and ``offset`` bytes are before it. A BOM is left out."""
    while piece := stream.readline(MAX_LINE + 1):
        first = offset == 0
        offset += len(piece)
        number += 1
        if len(piece) > MAX_LINE and not piece.endswith(b"\n"):
            while piece and not piece.endswith(b"\n"):
                piece = stream.readline(1 << 20)
                offset += len(piece)
            yield Line(number, offset, None)
        else:
            yield Line(number, offset, piece.removeprefix(BOM) if first else piece)
