"""The results table's columns: how wide each one is, and what a row says in it. Pure."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from batchdeck.model import ItemState, LiveRow, Row
from batchdeck.store.index import Order
from batchdeck_tui.format import duration, money, short
from batchdeck_tui.widgets.cells import fit, fit_tail, one_line

Cell = tuple[str, str]
"""Text of exactly the column's width, and the name of its style."""

ORDERED: dict[str, Order] = {
    "#": "idx", "state": "state", "prompt": "prompt", "answer": "answer", "tok": "tokens", "ttft": "ttft",
    "time": "seconds", "tries": "tries", "cost": "cost",
}  # fmt: skip
"""By column: what its rows are ordered by."""
GLYPHS: dict[ItemState, str] = {"queued": "·", "in_flight": "▶", "done": "✓", "failed": "✗", "skipped": "–"}
_PHASES = {"connecting": "○", "waiting": "…", "streaming": "▶", "store": "●"}
_PHASE_WORDS = {
    "connecting": "connecting",
    "waiting": "waiting for the first token",
    "streaming": "",
    "store": "answered, being saved",
}
STALLED = "◌"
_RIGHT = ("#", "tok", "ttft", "time", "tries", "cost")
_SHORT_TITLES = {"tries": "try"}
_WHERE = re.compile(r".*?(:\d+): (?=\S)")
"""``FILE:LINE: `` before the reason."""
_MEDIUM, _ROOMY, _WIDE = 88, 112, 130


class Column(NamedTuple):
    name: str
    title: str
    width: int

    @property
    def right(self) -> bool:
        return self.name in _RIGHT


@lru_cache(maxsize=32)
def layout(width: int, items: int) -> tuple[Column, ...]:
    """Columns for a table of ``width`` cells; with their gaps they fill it exactly when it is 40 or more."""
    roomy = width >= _ROOMY
    fixed = {"#": max(4, len(str(max(items - 1, 0)))), "state": 11, "tok": 5}
    if width >= _MEDIUM:
        fixed["ttft"] = 6
    fixed["time"] = 6
    fixed["tries"] = 5 if roomy else 3
    if width >= _WIDE:
        fixed["cost"] = 8
    if width < 60:
        fixed = {"#": fixed["#"], "state": 1, "tok": 5}
    room = width - 2 - sum(fixed.values()) - gap(width) * (len(fixed) + 1)
    prompt = max(4, min(72, int(room * 0.4)))
    columns: list[Column] = []
    for name, size in fixed.items():
        title = name if len(name) <= size else _SHORT_TITLES.get(name, "")
        columns.append(Column(name, title, size))
        if name == "state":
            columns.append(Column("prompt", "prompt", prompt))
            columns.append(Column("answer", "answer", max(4, room - prompt)))
    return tuple(columns)


def gap(width: int) -> int:
    """Cells between two columns."""
    return 2 if width >= _ROOMY else 1


def header(columns: tuple[Column, ...], order: tuple[Order, bool] | None = None) -> tuple[Cell, ...]:
    """order: the column that the rows are ordered by, which an arrow tells, and whether the largest is first."""
    cells: list[Cell] = []
    for column in columns:
        title = column.title
        if order is not None and ORDERED[column.name] == order[0]:
            arrow = "↓" if order[1] else "↑"
            # where the name has no room beside it the arrow says enough
            title = f"{title}{arrow}" if len(title) < column.width else arrow
        cells.append((fit(title, column.width, right=column.right), "header"))
    return tuple(cells)


def order_at(columns: tuple[Column, ...], x: int, between: int) -> Order | None:
    """The order of the column whose title stands at this cell of a line."""
    left = 1
    for column in columns:
        if left <= x < left + column.width + between:
            return ORDERED[column.name]
        left += column.width + between
    return None


def row_cells(columns: tuple[Column, ...], idx: int, row: Row | None, live: LiveRow | None) -> tuple[Cell, ...]:
    """What the row says, a cell for each column. ``row`` None: not known yet."""
    values = _live_values(live, row) if live is not None else _row_values(row)
    values["#"] = (str(idx), "dim")
    return tuple(
        _cell(column, *values.get(column.name, ("", "dim")), tail=live is not None and bool(live.text))
        for column in columns
    )


def _cell(column: Column, text: str, style: str, *, tail: bool) -> Cell:
    if column.name == "answer" and tail:
        return fit_tail(text, column.width), style
    if column.name == "state" and column.width == 1:
        text = text[:1]  # the glyph says it
    return fit(text, column.width, right=column.right), style


def _row_values(row: Row | None) -> dict[str, Cell]:
    if row is None:
        return {"state": ("· reading", "dim")}
    tried = row.attempts > 0
    glyph = "↻" if row.state == "queued" and tried else GLYPHS[row.state]
    settled = row.state in ("done", "failed")
    return {
        "state": (f"{glyph} {row.state.replace('_', ' ')}", row.state),
        "prompt": (_head(row.label), "text" if row.state != "queued" else "dim"),
        "answer": _answer(row),
        "tok": (short(row.tokens_out) if settled else "", "number"),
        "ttft": (duration(row.ttft) if settled else "", "number"),
        "time": (duration(row.seconds) if settled else "", "number"),
        "tries": (str(row.attempts) if tried else "", "retried" if row.attempts > 1 else "dim"),
        "cost": (money(row.cost) if settled else "", "number" if row.cost is not None else "dim"),
    }


def blame(error_type: str | None, error: str) -> str:
    """An error for a cell with little room. That of a bad input line begins with its file, which all lines share:
    ``prompts.jsonl:14: not JSON`` reads ``not JSON :14``."""
    where = _WHERE.match(error) if error_type == "bad_input" else None
    return f"{error[where.end() :]} {where[1]}" if where is not None else error


def _answer(row: Row) -> Cell:
    if row.state == "failed":
        kind, said = row.error_type or "failed", blame(row.error_type, row.error or "")
        return _head(f"{kind}: {said}" if said else kind), "error"
    if row.state == "queued":
        return ("to be tried again" if row.attempts else ""), "dim"
    if not row.text:
        return ("(empty answer)" if row.state == "done" else ""), "dim"
    return _head(row.text), "text"


def _live_values(live: LiveRow, row: Row | None) -> dict[str, Cell]:
    said = one_line(live.text[-1_000:])
    state: Cell = (f"{_PHASES[live.phase]} {'hedged' if live.hedged else 'in flight'}", "in_flight")
    if live.silent is not None:
        said = f"{said.rstrip()} {STALLED} stalled {duration(live.silent)}".lstrip()
        state = (f"{STALLED} stalled", "retried")
    return {
        "state": state,
        "prompt": (_head(row.label) if row else "", "text"),
        "answer": (said, state[1]) if said else (_PHASE_WORDS[live.phase], "dim"),
        "tok": (short(live.tokens) if live.tokens else "", "number"),
        "ttft": (duration(live.ttft) if live.ttft is not None else "", "number"),
        "time": (duration(live.seconds), "number"),
        "tries": (str(live.attempt), "retried" if live.attempt > 1 else "dim"),
    }


def _head(text: str) -> str:
    # 400 characters fill the widest column; more would only be filtered and cut away
    return one_line(text[:400].lstrip("\n"))
