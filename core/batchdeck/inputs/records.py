"""What all formats share: a source, its columns, and reading on from where an earlier reading stood."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import islice
from typing import Any, Literal

from batchdeck.errors import InputError
from batchdeck.inert import inert
from batchdeck.inputs.base import SourceState
from batchdeck.inputs.lines import MAX_LINE, ByteStream
from batchdeck.inputs.source import Source
from batchdeck.model import InputRow

LOOK_AHEAD = 1_000
"""Rows that are searched for a good one to learn the columns from."""
TOO_LONG = f"longer than {MAX_LINE // (1 << 20)} MB"
NUL = "holds a NUL byte; this is not a text file, or not UTF-8"


class Records(ABC):
    """An ``Input`` over one ``Source``; a format adds how to parse it."""

    format: Literal["jsonl", "csv", "text"]

    def __init__(self, source: Source) -> None:
        self.name = source.name
        self.size = source.size
        self._source = source
        self.columns: tuple[str, ...] = self._find_columns()

    def fingerprint(self) -> str:
        return self._source.fingerprint()

    def rows(self, start: SourceState) -> Iterator[InputRow]:
        try:
            with self._source.open(start.offset) as stream:
                yield from self._parse(stream, start)
        except OSError as error:
            raise InputError(f"{self.name}: cannot be read ({error.strerror})") from error

    def is_empty(self) -> bool:
        """Whether there is no row at all, not even a bad one."""
        with self._source.peek() as stream:
            return next(self._parse(stream, SourceState()), None) is None

    def _find_columns(self) -> tuple[str, ...]:
        with self._source.peek() as stream:
            for row in islice(self._parse(stream, SourceState()), LOOK_AHEAD):
                if row.error is None:
                    return tuple(row.fields)
        return ()

    @abstractmethod
    def _parse(self, stream: ByteStream, start: SourceState) -> Iterator[InputRow]:
        """Rows of ``stream``, which stands at ``start``."""

    def _bad(self, index: int, line: int, offset: int, reason: str) -> InputRow:
        return InputRow(
            index=index, line=line, offset=offset, fields={}, error=f"{inert(self.name)}:{line}: {inert(reason)}"
        )


def custom_id(fields: dict[str, Any]) -> str | None:
    """The name that the input itself gives a row: ``custom_id``, else ``id``, where it is text or a whole number."""
    for column in ("custom_id", "id"):
        value = fields.get(column)
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            return str(value)
    return None
