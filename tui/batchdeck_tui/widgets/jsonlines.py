"""Answers that are JSON: found, also where a model put a fence around it, and laid out as lines. Pure."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import msgspec
from rich.cells import cell_len

from batchdeck_tui.widgets.cells import fit, many_lines, one_line
from batchdeck_tui.widgets.styled import Line, Part, wrapped

MOST = 200_000
"""Longest text that is looked through, in characters."""
MOST_FIELDS = 500
_FENCE = re.compile(r"```(?:json|JSON)?[ \t]*\n(.*?)\n[ \t]*```", re.S)
_TOKEN = re.compile(r'("(?:[^"\\]|\\.)*")(\s*:)?|(-?\d[\d.eE+-]*)|(true|false|null)|([^"\dtfn-]+|.)')


class Found(NamedTuple):
    """``text``: the JSON as it was written, and its ``value``. ``is_all``: nothing else was said, but for a fence."""

    text: str
    value: Any
    is_all: bool


def find_json(text: str) -> Found | None:
    """The object or list that the text is, or that stands in its first fence; None: there is none."""
    if len(text) > MOST:
        return None
    bare = text.strip()
    fenced = _FENCE.search(bare)
    candidates = [(bare, True)]
    if fenced is not None:
        candidates.append((fenced[1].strip(), fenced[0] == bare))
    for candidate, is_all in candidates:
        if candidate[:1] in ("{", "["):
            try:
                return Found(candidate, msgspec.json.decode(candidate.encode("utf-8", "replace")), is_all)
            except (msgspec.DecodeError, RecursionError):
                continue
    return None


def json_lines(written: str, width: int) -> list[Line]:
    """JSON indented, in colours; each number and key as it was written."""
    text = msgspec.json.format(written.encode("utf-8", "replace"), indent=2).decode("utf-8", "replace")
    lines: list[Line] = []
    for line in many_lines(text).split("\n"):
        indent = len(line) - len(line.lstrip(" "))
        rows = wrapped(_coloured(line[indent:]), max(8, width - indent))
        lines += [((" " * min(indent, width - 8), "text"), *row) for row in rows]
    return lines


def _coloured(line: str) -> list[Part]:
    parts: list[Part] = []
    for found in _TOKEN.finditer(line):
        string, colon, number, literal, other = found.groups()
        if string is not None:
            parts.append((string, "key" if colon else "string"))
            if colon:
                parts.append((colon, "label"))
        elif number is not None or literal is not None:
            parts.append((number or literal, "number_value"))
        else:
            parts.append((other, "label"))
    return parts


def field_lines(value: Any, width: int) -> list[Line]:
    """Each field by its path, its text with its own line breaks: what a program that reads the answer gets."""
    fields = list(_fields(value, "", MOST_FIELDS))
    longest = max((cell_len(path) for path, _ in fields), default=0)
    column = min(longest, max(8, width // 3))
    lines: list[Line] = []
    for path, one in fields[:MOST_FIELDS]:
        text, style = _said(one)
        rows = [row for line in many_lines(text).split("\n") for row in wrapped([(line, style)], width - column - 2)]
        for number, row in enumerate(rows):
            lines.append(((fit(path if number == 0 else "", column) + "  ", "key"), *row))
    if len(fields) > MOST_FIELDS:
        lines.append((("… and more fields; v shows the answer otherwise", "label"),))
    return lines


def _fields(value: Any, path: str, most: int) -> list[tuple[str, Any]]:
    """Leaves with their paths, at most one more than ``most``."""
    children: list[tuple[str, Any]] = []
    if isinstance(value, dict) and value:
        children = [(f"{path}.{name}" if path else str(name), one) for name, one in value.items()]
    elif isinstance(value, list) and value:
        children = [(f"{path}[{number}]", one) for number, one in enumerate(value)]
    if not children:
        return [(one_line(path), value)]
    found: list[tuple[str, Any]] = []
    for name, one in children:
        if len(found) > most:
            break
        found += _fields(one, name, most - len(found))
    return found


def _said(value: Any) -> Part:
    if isinstance(value, str):
        return (value, "text") if value else ("(empty)", "label")
    if value is None or isinstance(value, bool):
        return ("null" if value is None else str(value).lower(), "number_value")
    if isinstance(value, (dict, list)):
        return ("{}" if isinstance(value, dict) else "[]", "label")
    return str(value), "number_value"
