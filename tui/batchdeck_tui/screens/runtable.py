"""The table of runs: its columns for each width, and a run's cells in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from rich.console import JustifyMethod
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widgets import DataTable

from batchdeck.model import RunMeta
from batchdeck_tui import format as fmt
from batchdeck_tui.listing import RunLine
from batchdeck_tui.runorder import settled
from batchdeck_tui.theme import STATES
from batchdeck_tui.widgets.cells import fit, one_line
from batchdeck_tui.widgets.sparkline import sparkline

WIDTHS = {"state": 13, "items": 11, "rate": 7, "cost": 8, "failed": 6, "took": 7, "when": 7}
RIGHT = ("items", "rate", "cost", "failed", "took")
NARROW, WIDE, HUGE = 110, 150, 190
"""Cells from which on there are a bar and more columns, time taken and a longer bar, and the longest one."""
PERCENT = 7
LONGEST = 44


class RunsTable(DataTable[Text]):
    """Moves as the results table does."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "cursor_down", show=False),
        Binding("k", "cursor_up", show=False),
        Binding("home,g", "scroll_top", show=False),
        Binding("end,G", "scroll_bottom", show=False),
    ]

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id, cursor_type="row", cursor_foreground_priority="renderable")
        self._widths: dict[str, int] = {}
        self._ordered = ("", False)
        self._shown: dict[str, tuple[Text, ...]] = {}
        self._theme = ""
        self._made: dict[str, tuple[RunLine, str, tuple[Text, ...]]] = {}
        """What each run's cells were made of, and the cells: of hundreds that ended long ago few read differently."""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Enter is the screen's, whose footer names it."""
        return action != "select_cursor"

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that are shown."""
        return tuple(self._widths)

    @property
    def path(self) -> str | None:
        """The run under the cursor."""
        if not self.is_valid_row_index(self.cursor_row):
            return None
        return self.coordinate_to_cell_key(self.cursor_coordinate).row_key.value

    def show(self, lines: Sequence[RunLine], now: float, by: str = "", down: bool = False) -> None:
        """These runs, as they are; only cells that read differently are painted. now: seconds since the epoch. by: the
        column that they are ordered by, down: the largest first."""
        widths = layout(self.app.size.width, max((line.title_cells for line in lines), default=0))
        at, turned = self.path, (by, down) != self._ordered
        self._ordered = by, down
        if widths != self._widths:
            self._widths, self._shown, self._made = widths, {}, {}
            self.clear(columns=True)
            for name, width in widths.items():
                self.add_column(self._head(name), key=name, width=width)
        elif turned:
            for key, column in self.columns.items():
                column.label = self._head(key.value or "")
        if self.app.theme != self._theme:
            self._theme, self._made = self.app.theme, {}
        rows = {line.key: self._cells(line, now) for line in lines}
        with self.app.batch_update():
            self._fill(rows)
            if turned or list(rows) != list(self._shown):
                self._order(list(rows))
                if at is not None and at in rows:
                    self.move_cursor(row=list(rows).index(at), animate=False)
        self._shown = rows

    def _head(self, name: str) -> Text:
        by, down = self._ordered
        width = self._widths[name]
        justify: JustifyMethod = "right" if name in RIGHT or width < len(name) else "left"
        title = "%" if width < len(name) else name
        if name == by:
            title = title[: width - 1] + ("↓" if down else "↑")
        return Text(title, justify=justify)

    def _cells(self, line: RunLine, now: float) -> tuple[Text, ...]:
        age = fmt.ago(now - line.meta.updated_at) if line.meta is not None else ""
        known = self._made.get(line.key)
        if known is not None and known[0] is line and known[1] == age:
            return known[2]
        row = cells(line, self._widths, self.app.theme_variables, now)
        self._made[line.key] = (line, age, row)
        return row

    def _fill(self, rows: Mapping[str, tuple[Text, ...]]) -> None:
        """These rows, in any order. Rows that stay are kept: to build one costs more than to paint it."""
        gone = self._shown.keys() - rows.keys()
        if 2 * len(gone) > len(self._shown):
            self._shown = {}
            self.clear()
            gone = set()
        for key in gone:
            self.remove_row(key)
        for key, row in rows.items():
            shown = self._shown.get(key)
            if shown is row:
                continue
            if shown is None:
                self.add_row(*row, key=key)
                continue
            for column, old, new in zip(self._widths, shown, row, strict=True):
                if old is not new and (old != new or old.spans != new.spans or old.style != new.style):
                    self.update_cell(key, column, new)

    def _order(self, keys: Sequence[str]) -> None:
        # The table sorts by what stands in its cells: the cell itself says whose it is.
        places = {id(self.get_cell(key, "run")): place for place, key in enumerate(keys)}
        self.sort("run", key=lambda cell: places[id(cell)])


def layout(width: int, longest: int) -> dict[str, int]:
    """The columns for a terminal of ``width`` cells and their widths; ``longest``: the longest name's. Each column is
    two cells wider than its text, and one is kept for a scrollbar."""
    bar = 0 if width < NARROW else 6 if width < WIDE else 12 if width < HUGE else 20
    names = ["state", "progress", "failed", "pace", "cost", "when"]
    if width >= NARROW:
        names = ["state", "progress", "items", "failed", "pace", "rate", "cost", "when"]
    if width >= WIDE:
        names.insert(-1, "took")
    pace = 8 if width < NARROW else 10 if width < WIDE else 20 if width < HUGE else 30
    columns = {name: WIDTHS.get(name, pace if name == "pace" else bar + PERCENT - (not bar)) for name in names}
    room = width - 1 - sum(columns.values()) - 2 * len(columns) - 2
    name = min(max(longest, 12), LONGEST, max(8, room))
    columns = {"run": name, **columns}
    return columns | {"model": room - name - 2} if room - name - 2 >= 12 else columns


def _bar(meta: RunMeta, width: int, colour: str, rest: str) -> Text:
    """How much of it is settled, on a line of half cells."""
    whole = meta.items_expected or 0
    done_so_far = settled(meta)
    percent = fmt.percent(done_so_far, whole).rjust(6)
    if width < 1:
        return Text(percent)
    halves = min(width * 2, done_so_far * width * 2 // whole) if whole else 0
    done = "━" * (halves // 2) + ("╸" if halves % 2 else "")
    return Text.assemble((done, colour), ("━" * (width - len(done)), rest), f" {percent}")


def cells(line: RunLine, widths: Mapping[str, int], colours: Mapping[str, str], now: float) -> tuple[Text, ...]:
    """A run's cells in the order of ``widths``; ``colours``: the theme's variables."""
    row = dict.fromkeys(widths, Text("")) | {"run": _name(line, widths["run"], colours)}
    if line.meta is not None:
        row |= _figures(line.meta, widths, colours, now)
        row["pace"] = Text(sparkline(line.pace or (), widths["pace"]), style=colours["secondary"])
    else:
        why = fit(one_line(line.error.rpartition(": ")[2]), widths["progress"])
        row |= {
            "state": Text("? unreadable", style=colours["error"]),
            "progress": Text(why, style=colours["error"]),
        }
    return tuple(row[column] for column in widths)


def _name(line: RunLine, width: int, colours: Mapping[str, str]) -> Text:
    """Name and tags; that of a run that broke off stands out."""
    broke_off = line.meta is not None and line.meta.state == "interrupted"
    name = one_line(line.name)
    text = Text(fit(line.title, width), style=f"bold {colours['warning']}" if broke_off else "")
    if line.label.tags:
        text.stylize(colours["accent"], len(name))
    return text


def _figures(meta: RunMeta, widths: Mapping[str, int], colours: Mapping[str, str], now: float) -> dict[str, Text]:
    counts = meta.counts
    glyph, colour = STATES[meta.state]
    muted = "dim" if meta.state in ("done", "cancelled") else ""
    ink, rest = colours["secondary" if muted else colour], colours["border-blurred"]
    model = f"{meta.config.provider} · {meta.config.model}"
    pace = fmt.rate(meta.rate) if meta.rate else ""
    cost = fmt.spent(counts.cost, counts.unpriced) if counts.done or counts.cost else fmt.UNKNOWN
    return {
        "state": Text(f"{glyph} {meta.state}", style=muted or colours[colour]),
        "progress": _bar(meta, widths["progress"] - PERCENT, ink, rest),
        "items": Text(f"{fmt.short(settled(meta))}/{fmt.short(meta.items_expected)}", justify="right"),
        "rate": Text(pace, justify="right"),
        "cost": Text(cost, justify="right"),
        "failed": Text(fmt.short(counts.failed) if counts.failed else "", style=colours["error"], justify="right"),
        "model": Text(fit(one_line(model), widths.get("model", 0))),
        "took": Text(fmt.duration(meta.counts.seconds), style="dim", justify="right"),
        # A run that goes was here just now; where there is no column for its rate, that says more.
        "when": Text(pace, style=colours[colour])
        if meta.rate and "rate" not in widths
        else Text(fmt.ago(now - meta.updated_at), style="dim"),
    }
