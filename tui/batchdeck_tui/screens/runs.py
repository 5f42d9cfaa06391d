"""The first screen: all runs known here, and how each is doing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from rich.text import Text
from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import Screen
from textual.widgets import DataTable, Footer, Input, Static

from batchdeck.errors import BatchdeckError
from batchdeck.model import Reply, RunMeta
from batchdeck_tui import format as fmt
from batchdeck_tui.bridge import RunBridge
from batchdeck_tui.commands import Scope, bindings
from batchdeck_tui.listing import Listing, RunLine
from batchdeck_tui.screens.launch import LaunchScreen
from batchdeck_tui.theme import MUTED, STATES
from batchdeck_tui.widgets.cells import fit, one_line

if TYPE_CHECKING:
    from batchdeck_tui.app import BatchdeckApp

EVERY = 1.5
"""Seconds between two looks at the runs."""
COLUMNS = ("run", "state", "progress", "items", "rate", "cost", "failed", "when", "model")
NARROW = 110
"""Cells below which the bar is short and the last columns are left out."""
RESUMABLE = ("interrupted", "drained", "cancelled", "stopped", "failed")
EMPTY = Content.assemble(
    ("No runs yet.\n\n", "bold"),
    ("n", "bold $primary"),
    "  launches a batch from a file of prompts\n",
    ("batchdeck demo", "bold $primary"),
    "  shows a simulated run from the shell",
)


class RunsTable(DataTable[Text]):
    """Moves as the results table does."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "cursor_down", show=False),
        Binding("k", "cursor_up", show=False),
        Binding("home,g", "scroll_top", show=False),
        Binding("end,G", "scroll_bottom", show=False),
    ]


class RunsScreen(Screen[None]):
    """All runs, newest first."""

    SCOPE: ClassVar[Scope] = "runs"
    BINDINGS: ClassVar[list[BindingType]] = bindings("runs")
    AUTO_FOCUS = "#runs"

    def __init__(self) -> None:
        super().__init__()
        self._listing = Listing()
        self._lines: Sequence[RunLine] | None = None
        """None until the runs were looked at: not knowing is not having none."""
        self._shown: dict[str, tuple[Text, ...]] = {}
        self._columns: tuple[str, ...] = ()
        self._words = ""
        self._resumable = False

    def compose(self) -> ComposeResult:
        yield Static(id="title", markup=False)
        yield RunsTable(id="runs", cursor_type="row")
        yield Static(EMPTY, id="empty")
        yield Input(id="search", placeholder="name, model, provider or state", compact=True)
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        self.set_interval(EVERY, self._look)

    def on_resize(self, event: events.Resize) -> None:
        columns = COLUMNS if event.size.width >= NARROW else (*COLUMNS[:6], "when")
        if columns != self._columns:
            self._columns, self._shown = columns, {}
            self.table.clear(columns=True)
            for name in columns:
                right = name in ("items", "rate", "cost", "failed")
                self.table.add_column(Text(name, justify="right" if right else "left"), key=name)
            self._draw()

    def on_screen_resume(self) -> None:
        self._look()

    @property
    def door(self) -> BatchdeckApp:
        return cast("BatchdeckApp", self.app)

    @property
    def table(self) -> RunsTable:
        return self.query_one("#runs", RunsTable)

    def _look(self) -> None:
        if self.is_current and not any(worker.group == "look" and worker.is_running for worker in self.workers):
            self._read()

    @work(group="look")
    async def _read(self) -> None:
        try:
            self._lines = await asyncio.to_thread(self._listing.look)
        except (BatchdeckError, OSError) as error:
            self.door.say(Reply(ok=False, message=str(error)))
            return
        self._draw()

    def _draw(self) -> None:
        if self._lines is None:
            return
        lines = [line for line in self._lines if line.contains(self._words)]
        self.set_class(not self._lines, "-empty")
        if self._lines and self.focused is None:
            self.table.focus()  # a hidden table loses it
        rows = {str(line.path): self._cells(line) for line in lines}
        if list(rows) != list(self._shown):
            self._fill(rows)
        else:
            for key, cells in rows.items():
                for column, old, new in zip(self._columns, self._shown[key], cells, strict=True):
                    if old != new or old.spans != new.spans:
                        self.table.update_cell(key, column, new, update_width=True)
        self._shown = rows
        self._headline(lines)
        resumable = self._can_resume()
        if resumable != self._resumable:
            self._resumable = resumable
            self.refresh_bindings()

    def _fill(self, rows: dict[str, tuple[Text, ...]]) -> None:
        """All rows anew, and the cursor on the run it was on."""
        at = self._key()
        with self.app.batch_update():
            self.table.clear()
            for key, cells in rows.items():
                self.table.add_row(*cells, key=key)
            if at in rows:
                self.table.move_cursor(row=list(rows).index(at), animate=False)

    def _headline(self, lines: Sequence[RunLine]) -> None:
        live = sum(1 for line in lines if line.meta and line.meta.state in ("running", "paused", "draining"))
        broken = sum(1 for line in lines if line.meta and line.meta.state == "interrupted")
        words: list[tuple[str, str]] = [("batchdeck", "bold $primary"), (f"   {len(lines)} runs", MUTED)]
        if live:
            words.append((f"   {live} live", "$success"))
        if broken:
            words.append((f"   {broken} interrupted", "$warning"))
        if self._words:
            words.append((f"   “{one_line(self._words)}”   esc shows all", "$warning"))
        self.query_one("#title", Static).update(Content.assemble(*words))

    def _cells(self, line: RunLine) -> tuple[Text, ...]:
        """A line's cells, in the order of the columns that are shown now."""
        wide = self.size.width >= NARROW
        name = Text(fit(one_line(line.path.stem), 36 if wide else 20).rstrip())
        cells = dict.fromkeys(COLUMNS, Text("")) | {"run": name}
        cells |= self._meta_cells(line.meta, 20 if wide else 8) if line.meta else self._error_cells(line.error, wide)
        return tuple(cells[column] for column in self._columns)

    def _error_cells(self, error: str, wide: bool) -> dict[str, Text]:
        colour = self.app.theme_variables["error"]
        why = fit(one_line(error.rpartition(": ")[2]), 27 if wide else 15).rstrip()
        return {"state": Text("? unreadable", style=colour), "progress": Text(why, style=colour)}

    def _meta_cells(self, meta: RunMeta, bar: int) -> dict[str, Text]:
        colours, counts = self.app.theme_variables, meta.counts
        glyph, colour = STATES[meta.state]
        muted = "dim" if meta.state in ("done", "cancelled") else ""
        return {
            "state": Text(f"{glyph} {meta.state}", style=muted or colours[colour]),
            "progress": _bar(meta, bar, colours["secondary" if muted else colour], colours["border-blurred"]),
            "items": Text(f"{fmt.short(_settled(meta))}/{fmt.short(meta.items_expected)}", justify="right"),
            "rate": Text(fmt.rate(meta.rate) if meta.rate else "", justify="right"),
            "cost": Text(fmt.spent(counts.cost, counts.unpriced), justify="right"),
            "failed": Text(fmt.short(counts.failed) if counts.failed else "", style=colours["error"], justify="right"),
            "model": Text(fit(one_line(f"{meta.config.provider} · {meta.config.model}"), 34).rstrip()),
            "when": Text(fmt.ago(self.door.wall() - meta.updated_at), style="dim"),
        }

    # Commands

    def _key(self) -> str | None:
        table = self.table
        if not table.is_valid_row_index(table.cursor_row):
            return None
        return table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value

    def _line(self) -> RunLine | None:
        key = self._key()
        return next((line for line in self._lines or () if str(line.path) == key), None)

    def _can_resume(self) -> bool:
        line = self._line()
        return line is not None and line.meta is not None and line.meta.state in RESUMABLE

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "resume":
            return self._can_resume()
        if action == "back":
            return bool(self._words) or self.has_class("-searching")
        return True

    @on(DataTable.RowHighlighted)
    def _moved(self) -> None:
        self.refresh_bindings()

    @on(DataTable.RowSelected)
    def action_open(self) -> None:
        line = self._line()
        if line is None:
            return
        if line.meta is None:
            self.door.say(Reply(ok=False, message=one_line(line.error)))
        else:
            self.door.open_run(line.path)

    @work
    async def action_launch(self) -> None:
        path = await self.app.push_screen_wait(LaunchScreen())
        if path is not None:
            self.door.open_run(path)

    @work(exclusive=True, group="start")
    async def action_resume(self) -> None:
        line = self._line()
        if line is None:
            return
        self.door.say(Reply(ok=True, message="Starting the engine …"))
        reply = await RunBridge(line.path, self.post_message).resume()
        self.door.say(reply)
        if reply.ok:
            self.door.open_run(Path(line.path))

    def action_search(self) -> None:
        self.add_class("-searching")
        search = self.query_one("#search", Input)
        search.value = self._words
        search.focus()

    @on(Input.Changed, "#search")
    def _filter(self, message: Input.Changed) -> None:
        if self.has_class("-searching"):
            self._words = message.value.strip()
            self._draw()

    @on(Input.Submitted, "#search")
    def _filtered(self) -> None:
        self.remove_class("-searching")
        self.table.focus()

    def action_back(self) -> None:
        self.remove_class("-searching")
        self._words = ""
        self.table.focus()
        self._draw()

    def action_quit(self) -> None:
        self.app.exit()


def _settled(meta: RunMeta) -> int:
    return meta.counts.done + meta.counts.failed + meta.counts.skipped


def _bar(meta: RunMeta, width: int, colour: str, rest: str) -> Text:
    """How much of it is settled, on a line of half cells."""
    whole = meta.items_expected or 0
    settled = _settled(meta)
    halves = min(width * 2, settled * width * 2 // whole) if whole else 0
    done = "━" * (halves // 2) + ("╸" if halves % 2 else "")
    percent = fmt.percent(settled, whole).rjust(6)
    return Text.assemble((done, colour), ("━" * (width - len(done)), rest), f" {percent}")
