"""The results table's columns: how wide each one is, and what a row says in it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple, TypeVar

from batchdeck.model import ItemState, LiveRow, Row
from batchdeck.store.index import Order
from batchdeck_tui.format import duration, money, short
from batchdeck_tui.widgets.cells import LONGEST, fit, fit_tail, one_line

Cell = tuple[str, str]
"""Text of exactly the column's width, and the name of its style."""

ORDERED: dict[str, Order] = {
    "#": "idx", "state": "state", "prompt": "prompt", "answer": "answer", "tok": "tokens", "ttft": "ttft",
    "time": "seconds", "tries": "tries", "cost": "cost",
}  # fmt: skip
"""By column: what its rows are ordered by, where that can be."""
GLYPHS: dict[ItemState, str] = {"queued": "·", "in_flight": "▶", "done": "✓", "failed": "✗", "skipped": "–"}
_PHASES = {"connecting": "○", "waiting": "…", "streaming": "▶", "store": "●"}
_PHASE_WORDS = {
    "connecting": "connecting",
    "waiting": "waiting for the first token",
    "streaming": "",
    "store": "answered, being saved",
}
STALLED = "◌"
_RIGHT = ("#", "in", "tok", "ttft", "time", "tries", "cost")
_SHORT_TITLES = {"tries": "try"}
_WHERE = re.compile(r".*?(:\d+): (?=\S)")
"""``FILE:LINE: `` before the reason."""
_MEDIUM, _ROOMY, _WIDE = 88, 112, 130
EXTRA = ("id", "finish", "in")
"""Columns that are shown only when they are chosen."""
NAMES = ("#", "id", "state", "finish", "prompt", "answer", "in", "tok", "ttft", "time", "tries", "cost")
_SPARE = ("in", "id", "finish", "ttft", "cost", "tries", "time", "tok")
"""Columns that go first where no room is left for prompt and answer."""
ROOM = 8
LEAST, WIDEST = 4, 200
T = TypeVar("T")


class Column(NamedTuple):
    name: str
    title: str
    width: int

    @property
    def right(self) -> bool:
        return self.name in _RIGHT


@dataclass(frozen=True)
class Chosen:
    """What a person made of the columns. ``shown``: by name, those shown or hidden otherwise than at first; ``widths``:
    cells by name."""

    shown: tuple[tuple[str, bool], ...] = ()
    widths: tuple[tuple[str, int], ...] = ()

    def shows(self, name: str) -> bool:
        return dict(self.shown).get(name, name not in EXTRA)

    def turned(self, name: str) -> Chosen:
        """Shown instead of hidden, or the other way; the number of a row stays, and one of prompt and answer."""
        left = [other for other in ("prompt", "answer") if other != name and self.shows(other)]
        if name == "#" or (name in ("prompt", "answer") and self.shows(name) and not left):
            return self
        return replace(self, shown=_with(self.shown, name, not self.shows(name)))

    def widened(self, name: str, by: int, now: int) -> Chosen:
        return replace(self, widths=_with(self.widths, name, max(LEAST, min(WIDEST, now + by))))


def _with(pairs: tuple[tuple[str, T], ...], name: str, value: T) -> tuple[tuple[str, T], ...]:
    return tuple(sorted({**dict(pairs), name: value}.items()))


AS_AT_FIRST = Chosen()


@lru_cache(maxsize=32)
def layout(width: int, items: int, chosen: Chosen = AS_AT_FIRST) -> tuple[Column, ...]:
    """Columns for a table of ``width`` cells; with their gaps they fill it exactly when it is 40 or more."""
    roomy = width >= _ROOMY
    fixed = {"#": max(4, len(str(max(items - 1, 0)))), "id": 12, "state": 11, "finish": 8, "in": 5, "tok": 5}
    if width >= _MEDIUM:
        fixed["ttft"] = 6
    fixed["time"] = 6
    fixed["tries"] = 5 if roomy else 3
    if width >= _WIDE or dict(chosen.shown).get("cost"):
        fixed["cost"] = 8
    if width < 60:
        fixed = {"#": fixed["#"], "state": 1, "tok": 5}
    widths = dict(chosen.widths)
    fixed = {name: size if name == "#" else widths.get(name, size) for name, size in fixed.items()}
    fixed = {name: size for name, size in fixed.items() if chosen.shows(name)}
    while (room := _room(width, fixed, chosen)) < ROOM and (spare := [name for name in _SPARE if name in fixed]):
        del fixed[spare[0]]
    texts = [name for name in ("prompt", "answer") if chosen.shows(name)]
    sizes = {texts[-1]: max(4, room)}
    if len(texts) == 2:
        prompt = max(4, min(widths.get("prompt", min(72, int(room * 0.4))), room - 4))
        sizes = {"prompt": prompt, "answer": max(4, room - prompt)}
    sizes |= fixed
    return tuple(_column(name, sizes[name]) for name in NAMES if name in sizes)


def _column(name: str, size: int) -> Column:
    return Column(name, name if len(name) <= size else _SHORT_TITLES.get(name, ""), size)


def _room(width: int, fixed: dict[str, int], chosen: Chosen) -> int:
    """Cells for prompt and answer."""
    texts = chosen.shows("prompt") + chosen.shows("answer")
    return width - 2 - sum(fixed.values()) - gap(width) * (len(fixed) + texts - 1)


def gap(width: int) -> int:
    """Cells between two columns."""
    return 2 if width >= _ROOMY else 1


def header(columns: tuple[Column, ...], order: tuple[Order, bool] | None = None) -> tuple[Cell, ...]:
    """order: the column that the rows are ordered by, which an arrow tells, and whether the largest is first."""
    cells: list[Cell] = []
    for column in columns:
        title = column.title
        if order is not None and ORDERED.get(column.name) == order[0]:
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
            return ORDERED.get(column.name)
        left += column.width + between
    return None


def row_cells(columns: tuple[Column, ...], idx: int, row: Row | None, live: LiveRow | None) -> tuple[Cell, ...]:
    """What the row says, a cell for each column. ``row`` None: not known yet."""
    values = _live_values(live, row, columns) if live is not None else _row_values(row)
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
        "id": (one_line((row.custom_id or "")[:100]), "dim"),
        "finish": (one_line((row.finish_reason or "")[:40]), "number" if row.finish_reason == "stop" else "retried"),
        "in": (short(row.tokens_in) if settled else "", "number"),
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


def _live_values(live: LiveRow, row: Row | None, columns: tuple[Column, ...]) -> dict[str, Cell]:
    width = next((column.width for column in columns if column.name == "answer"), 0)
    said = one_line(live.text[len(live.text) - LONGEST * width :] if len(live.text) > LONGEST * width else live.text)
    state: Cell = (f"{_PHASES[live.phase]} {'hedged' if live.hedged else 'in flight'}", "in_flight")
    if live.silent is not None:
        said = f"{said.rstrip()} {STALLED} stalled {duration(live.silent)}".lstrip()
        state = (f"{STALLED} stalled", "retried")
    return {
        "state": state,
        "id": (one_line((row.custom_id or "")[:100]) if row else "", "dim"),
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
