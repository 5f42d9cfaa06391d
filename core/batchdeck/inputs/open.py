"""Opens an input by its name: which format it is, or why it is none."""

from __future__ import annotations

import re
import stat
import sys
from itertools import islice
from pathlib import Path

from batchdeck.errors import InputError
from batchdeck.inputs.csv import Csv
from batchdeck.inputs.jsonl import Jsonl, parse_object
from batchdeck.inputs.lines import read_lines
from batchdeck.inputs.records import Records
from batchdeck.inputs.source import FileSource, Source
from batchdeck.inputs.stdin import RawStream, StreamSource
from batchdeck.inputs.text import Text

FORMATS = ("jsonl", "csv", "text")
_SUFFIXES = {
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), "jsonl"),
    **dict.fromkeys((".csv", ".tsv", ".tab"), "csv"),
    ".txt": "text",
}
_NOT_TEXT = {
    b"\x1f\x8b": ("compressed (gzip)", "gunzip"),
    b"\x28\xb5\x2f\xfd": ("compressed (zstd)", "unzstd"),
    b"BZh": ("compressed (bzip2)", "bunzip2"),
    b"\xfd7zXZ\x00": ("compressed (xz)", "unxz"),
    b"PK\x03\x04": ("a zip archive or a spreadsheet", ""),
    b"PAR1": ("a Parquet file", ""),
    b"SQLite format 3\x00": ("a SQLite database", ""),
    b"\xff\xfe": ("UTF-16", "iconv -f UTF-16 -t UTF-8"),
    b"\xfe\xff": ("UTF-16", "iconv -f UTF-16 -t UTF-8"),
}
_COLUMN = re.compile(r"[A-Za-z_][\w.-]{0,63}", re.ASCII)


def open_input(path: str | Path, format: str | None = None, *, stdin: RawStream | None = None) -> Records:
    """The input at ``path``; ``-`` is standard input.

    format: one of ``FORMATS``, or None to go by the suffix, and where that says nothing, by the first lines.
    Raises ``InputError`` when nothing can be read there, saying what to do about it.
    """
    name = str(path)
    if format is not None and format not in FORMATS:
        raise InputError(f"there is no input format '{format}'; there are {', '.join(FORMATS)}")
    source = StreamSource(stdin or _stdin()) if name == "-" else _open_path(Path(path), name)
    suffix = "" if name == "-" else Path(path).suffix.lower()
    first = _line(source, 0)
    _check_text(source.name, first)
    format = format or _SUFFIXES.get(suffix) or _sniff(source, first)
    if format == "jsonl":
        _check_lines(source, first, suffix)
    rows = _reader(source, format, suffix)
    if rows.is_empty():
        raise InputError(f"{source.name} is empty" if not first else f"{source.name}: there is no prompt in it")
    return rows


def _stdin() -> RawStream:
    if sys.stdin is None:
        raise InputError("there is no standard input")
    return open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)


def _open_path(path: Path, name: str) -> Source:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise InputError(f"{name}: no such file") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{name}: cannot be read ({error})") from error
    if stat.S_ISDIR(mode):
        raise InputError(f"{name} is a folder; name a file of prompts in it")
    if stat.S_ISREG(mode):
        return FileSource(path, name)
    try:
        return StreamSource(open(path, "rb", buffering=0), name)
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror})") from error


def _line(source: Source, number: int) -> bytes:
    """A line to tell the format by, blank ones not counted; empty where there is none among the first hundred.

    No more is read than that, and the second line only when it is asked for: a pipe may be slow to give it.
    """
    with source.peek() as stream:
        lines = islice(read_lines(stream, 0, 0), 100)
        return next(
            islice((line.content for line in lines if line.content and line.content.strip()), number, None), b""
        )


def _check_text(name: str, first: bytes) -> None:
    for magic, (what, mend) in _NOT_TEXT.items():
        if first.startswith(magic):
            way = f"'{mend} < {name} | batchdeck run - …' reads it" if mend else "export it as JSONL or CSV"
            raise InputError(f"{name} is {what}, not text; {way}")


def _check_lines(source: Source, first: bytes, suffix: str) -> None:
    """Refuse one JSON document over many lines, which would make every line of it a bad one."""
    name = source.name
    start = first.strip()
    if start == b"[" or (start.startswith(b"[") and (suffix == ".json" or not _line(source, 1))):
        raise InputError(f"{name} is one JSON array; make it a line an item: jq -c '.[]' {name} > prompts.jsonl")
    if start in (b"{", b"[{"):
        raise InputError(f"{name} is one JSON document over many lines; make it JSONL: jq -c . {name} > prompts.jsonl")


def _sniff(source: Source, first: bytes) -> str:
    """The format that the first lines look like. CSV only when the first can hardly be a prompt: names, no blanks."""
    start = first.strip()
    if start.startswith((b'{"', b"[{")) or start in (b"{", b"[") or isinstance(parse_object(start), dict):
        return "jsonl"
    for delimiter in (b",", b"\t", b";"):
        cells = [cell.strip(b'"').decode(errors="replace") for cell in start.split(delimiter)]
        if (
            len(cells) > 1
            and all(map(_COLUMN.fullmatch, cells))
            and _line(source, 1).count(delimiter) >= len(cells) - 1
        ):
            return "csv"
    return "text"


def _reader(source: Source, format: str, suffix: str) -> Records:
    if format == "jsonl":
        return Jsonl(source)
    if format == "csv":
        return Csv(source, "\t" if suffix in (".tsv", ".tab") else None)
    return Text(source)
