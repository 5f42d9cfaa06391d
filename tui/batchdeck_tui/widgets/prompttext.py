"""The prompt of an item as lines: the input's fields, and what was made of them. Pure."""

from __future__ import annotations

from typing import Any

import msgspec
from rich.cells import cell_len

from batchdeck.model import Detail
from batchdeck_tui.widgets.cells import fit, many_lines, one_line, wrap
from batchdeck_tui.widgets.styled import Line


def prompt_text(detail: Detail) -> str:
    """The whole prompt as far as the input's fields say it; all of them where there are several."""
    values = {name: _plain(value) for name, value in _fields(detail.data).items()}
    return next(iter(values.values())) if len(values) == 1 else detail.data


def prompt_lines(detail: Detail, width: int, most: int | None = None) -> tuple[list[Line], int]:
    """The input's fields; the rendered prompt first where no field says it.

    Returns the first ``most`` lines (None: all), the only ones that are filtered and wrapped, and about how many more
    there are.
    """
    if detail.error is not None:
        return [((text, "failed"),) for text in wrap(one_line(detail.error), width)], 0
    values = {name: _plain(value) for name, value in _fields(detail.data).items()}
    lines: list[Line] = []
    start = detail.label[:60].rstrip("…")
    if start and not any(start in value.replace("\n", " ") or start in value for value in values.values()):
        lines += [((text, "text"),) for text in wrap(one_line(detail.label), width)]
    alone = len(values) == 1 and not lines
    longest = max((cell_len(one_line(name)) for name in values), default=0)
    more = 0
    for name, value in values.items():
        key = "" if alone else fit(one_line(name), min(24, width // 3, longest)) + "  "
        room = None if most is None else max(0, most - len(lines))
        shown, unseen = _paragraphs(value, max(8, width - cell_len(key)), room)
        more += unseen
        for number, line in enumerate(shown):
            lines.append(((key if number == 0 else " " * cell_len(key), "label"), *line) if key else line)
    return lines, more


def _fields(data: str) -> dict[str, Any]:
    try:
        decoded = msgspec.json.decode(data.encode("utf-8", "replace"))
    except (msgspec.DecodeError, RecursionError):
        return {"input": data}
    return decoded if isinstance(decoded, dict) else {"input": decoded}


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(one, dict) and "role" in one for one in value):
        return "\n".join(f"{one['role']}: {_plain(one.get('content', ''))}" for one in value)
    if isinstance(value, (dict, list)):
        return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _paragraphs(text: str, width: int, most: int | None) -> tuple[list[Line], int]:
    # a character takes a cell at least, but for combining ones, of which a text has few
    head = text if most is None else text[: 2 * most * width + 1]
    lines = [line for paragraph in many_lines(head).split("\n") for line in wrap(paragraph, width)]
    if most is None:
        most = len(lines)
    unseen = len(lines) - most + _at_most(text, len(head), width) if len(lines) > most or len(head) < len(text) else 0
    return [((line, "text"),) for line in lines[:most]], unseen


def _at_most(text: str, start: int, width: int) -> int:
    """About how many lines the text takes from there on."""
    return text.count("\n", start) + (len(text) - start) // width
