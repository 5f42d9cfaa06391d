"""Results out of a run file: rows as JSONL or CSV, in input order, into a file that is either whole or not there."""

from __future__ import annotations

import csv
import io
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec

from batchdeck.errors import BatchdeckError, UsageError

Format = Literal["jsonl", "csv"]
FIELDS = (
    "index",
    "custom_id",
    "state",
    "input",
    "text",
    "finish_reason",
    "tokens_in",
    "tokens_out",
    "ttft",
    "seconds",
    "cost",
    "error_type",
    "error",
    "attempts",
    "model",
    "line",
)
"""The columns of a row, as the view ``results`` names them; ``input`` is JSON text there."""

# JSON itself escapes only the controls below U+0020. These too steer terminals or split lines; inside of JSON they can
# stand in strings only, where an escape means the same.
_STEERING = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_RUNS = ("=", "+", "-", "@", "\t", "\n", "＝", "＋", "－", "＠")
_NUMBER = re.compile(r"[+-]?\d{1,300}(\.\d{1,300})?([eE][+-]?\d{1,3})?", re.ASCII)
_CELL = {code: 0x2400 + code for code in range(0x20) if code not in (0x09, 0x0A)}
_CELL |= dict.fromkeys(
    (
        *range(0x80, 0xA0),
        *(0x2028, 0x2029, 0xFEFF),
        # What turns the direction of all that follows, until something ends it. Joiners and marks of direction stay:
        # words are written with them, and they turn nothing.
        *(*range(0x202A, 0x202F), *range(0x2066, 0x206A)),
        *(*range(0xFFF9, 0xFFFC), *range(0xE0000, 0xE0080), *range(0xD800, 0xE000)),
    ),
    0xFFFD,
)
_CELL[0x7F] = 0x2421


def inert_json(value: Any) -> bytes:
    """Any value as one line of JSON, without a line break, that reads back as the same value and steers no terminal.

    Half a surrogate pair, which is no text, becomes ``�``.
    """
    try:
        text = msgspec.json.encode(value).decode()
    except UnicodeEncodeError:
        text = msgspec.json.encode(_whole(msgspec.to_builtins(value))).decode()
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode()


def row_json(row: dict[str, Any]) -> bytes:
    """A row of ``RunReader.results`` as one line of JSON, without a line break; ``input`` is the object that it is."""
    return inert_json({**row, "input": _parsed(row["input"])})


def write_jsonl(rows: Iterable[dict[str, Any]], out: BinaryIO) -> int:
    """Write all rows, return how many."""
    written = 0
    for row in rows:
        out.write(row_json(row) + b"\n")
        written += 1
    return written


def write_csv(rows: Iterable[dict[str, Any]], out: BinaryIO) -> int:
    """Write a header and all rows (RFC 4180, UTF-8), return how many rows."""
    line = io.StringIO(newline="")
    cells = csv.writer(line)
    cells.writerow(FIELDS)
    written = 0
    for row in rows:
        cells.writerow([csv_cell(row[field]) for field in FIELDS])
        written += 1
        if line.tell() > 1 << 16:
            _drain(line, out)
    _drain(line, out)
    return written


WRITERS: dict[Format, Callable[[Iterable[dict[str, Any]], BinaryIO], int]] = {"jsonl": write_jsonl, "csv": write_csv}


def csv_cell(value: Any) -> Any:
    """A value for a CSV cell: text that a spreadsheet would run gets a leading ``'``, what steers a terminal or turns
    the direction of writing becomes a visible sign, numbers stay numbers."""
    if not isinstance(value, str):
        return value
    text = value.replace("\r\n", "\n").translate(_CELL)
    return f"'{text}" if text.startswith(_RUNS) and not _NUMBER.fullmatch(text) else text


@contextmanager
def whole_file(target: Path) -> Iterator[BinaryIO]:
    """A file to write that takes ``target``'s place, 0600, only when all went well.

    Devices and pipes are written to as they are. Raises ``BatchdeckError`` when the file cannot be written, and
    ``UsageError`` for a folder.
    """
    if target.is_dir():
        raise UsageError(f"{target} is a folder; name a file in it")
    try:
        if target.exists() and not target.is_file():
            with open(target, "wb") as device:
                yield device
        else:
            with _replacing(Path(os.path.realpath(target))) as file:
                yield file
    except BrokenPipeError:
        raise
    except OSError as error:
        raise BatchdeckError(f"{target} cannot be written: {error.strerror or error}") from error


@contextmanager
def _replacing(target: Path) -> Iterator[BinaryIO]:
    handle, draft = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:100]}.")  # 0600 by its contract
    try:
        with os.fdopen(handle, "wb", buffering=1 << 18) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(draft)
        raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Make the new name durable, where folders can be synced."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _drain(line: io.StringIO, out: BinaryIO) -> None:
    out.write(line.getvalue().encode())
    line.seek(0)
    line.truncate()


def _parsed(data: str) -> Any:
    try:
        return msgspec.json.decode(data)
    except (ValueError, RecursionError):
        return data


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATE.sub("�", value)
    if isinstance(value, dict):
        return {_whole(key): _whole(item) for key, item in value.items()}
    return [_whole(item) for item in value] if isinstance(value, list | tuple) else value
