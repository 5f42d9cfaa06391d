"""Where an input's bytes come from: a file that can be read again, or a stream that cannot."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO, Protocol

from batchdeck.errors import InputError
from batchdeck.inputs.lines import ByteStream

_MIB = 1 << 20


class Source(Protocol):
    """Bytes, by name. ``size`` is None for a stream."""

    name: str
    size: int | None

    def fingerprint(self) -> str:
        """Identity of the content; empty for a stream."""

    def peek(self) -> ByteStream:
        """The bytes from the start, to look at: what is read here is read again by ``open``."""

    def open(self, offset: int) -> ByteStream:
        """The bytes from ``offset`` on. Raises ``InputError`` for a stream that was read already."""

    def lines_before(self, offset: int) -> int:
        """Line breaks in the first ``offset`` bytes."""


class FileSource:
    """A regular file."""

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        self._path = path
        with self._open() as file:
            self.size: int | None = os.fstat(file.fileno()).st_size

    def fingerprint(self) -> str:
        """A hash of the size and of the first, the middle and the last MiB: quick for a file of any size."""
        with self._open() as file:
            size = os.fstat(file.fileno()).st_size
            digest = hashlib.blake2b(str(size).encode(), digest_size=16)
            for start in sorted({0, max(0, size // 2 - _MIB // 2), max(0, size - _MIB)}):
                file.seek(start)
                digest.update(file.read(_MIB))
        return digest.hexdigest()

    def peek(self) -> ByteStream:
        return self._open()

    def open(self, offset: int) -> ByteStream:
        file = self._open()
        file.seek(offset)
        return file

    def lines_before(self, offset: int) -> int:
        count = 0
        with self._open() as file:
            while offset > 0 and (piece := file.read(min(offset, _MIB))):
                count += piece.count(b"\n")
                offset -= len(piece)
        return count

    def _open(self) -> BinaryIO:
        try:
            return open(self._path, "rb", buffering=256 * 1024)
        except FileNotFoundError:
            raise InputError(f"{self.name}: no such file") from None
        except OSError as error:
            raise InputError(f"{self.name}: cannot be read ({error.strerror})") from error
