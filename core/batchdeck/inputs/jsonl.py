"""JSON Lines: an object a line, its members are the columns. A line that is a JSON string is the column ``text``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from batchdeck.inputs.base import SourceState
from batchdeck.inputs.lines import ByteStream, read_lines
from batchdeck.inputs.records import NUL, TOO_LONG, Records, custom_id
from batchdeck.model import InputRow

_KINDS = {list: "a list", int: "a number", float: "a number", bool: "true or false", type(None): "null"}


class Jsonl(Records):
    format = "jsonl"

    def _parse(self, stream: ByteStream, start: SourceState) -> Iterator[InputRow]:
        index = start.index
        for number, end, content in read_lines(stream, start.line, start.offset):
            if content is not None and not content.strip():
                continue
            fields = TOO_LONG if content is None else parse_object(content)
            if isinstance(fields, str):
                yield self._bad(index, number, end, fields)
            else:
                yield InputRow(index=index, line=number, offset=end, fields=fields, custom_id=custom_id(fields))
            index += 1


def parse_object(line: bytes) -> dict[str, Any] | str:
    """The columns of one line, or the reason why it has none."""
    try:
        value = msgspec.json.decode(line)
    except (ValueError, RecursionError) as error:
        return _reason(line, error)
    if isinstance(value, str):
        return {"text": value}
    if not isinstance(value, dict):
        return f"not a JSON object but {_KINDS.get(type(value), 'something else')}; each line must be an object"
    return value


def _reason(line: bytes, error: Exception) -> str:
    if b"\x00" in line:
        return NUL
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    try:
        json.loads(line)
    except json.JSONDecodeError as plain:
        return f"not JSON: {plain.msg} at column {plain.colno}"
    except (ValueError, RecursionError):
        return f"not JSON: {error}"
    return "not JSON: it holds NaN, Infinity, a number out of range or half of a surrogate pair"
