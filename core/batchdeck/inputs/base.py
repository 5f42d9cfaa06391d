"""Inputs: files of prompts as rows with stable indices, readable from a byte offset."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Protocol

import msgspec

from batchdeck.model import InputRow


class SourceState(msgspec.Struct, frozen=True):
    """From where reading goes on: kept in the run file with each committed chunk of rows.

    ``fingerprint`` tells a changed source; it covers the file's size and content, not its name or time.
    """

    offset: int = 0
    line: int = 0
    index: int = 0
    fingerprint: str = ""


class Input(Protocol):
    """One source of rows."""

    name: str
    """What error messages call it: the path as it was given, or ``stdin``."""

    format: Literal["jsonl", "csv", "text"]

    columns: tuple[str, ...]
    """Of the first good row (CSV: of the header)."""

    size: int | None
    """Bytes, None for a stream."""

    def fingerprint(self) -> str:
        """Identity of the content; empty for a stream, which cannot be read twice."""

    def rows(self, start: SourceState) -> Iterator[InputRow]:
        """Rows from ``start`` on; a bad line comes as a row with ``error``. ``InputError``: nothing can be read."""
