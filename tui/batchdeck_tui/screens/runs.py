"""The first screen: all runs known here, and how each is doing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.widgets import DataTable, Footer, Input, Static

from batchdeck.errors import BatchdeckError
from batchdeck.model import Reply
from batchdeck_tui.commands import Scope, bindings
from batchdeck_tui.listing import LIVE, Listing, RunLine
from batchdeck_tui.remembered import recall, remember
from batchdeck_tui.runorder import COLUMNS, arranged, is_down_first
from batchdeck_tui.screens.runacts import READABLE, RunActsScreen
from batchdeck_tui.screens.runtable import RunsTable
from batchdeck_tui.screens.searchbox import SearchBox
from batchdeck_tui.theme import MUTED
from batchdeck_tui.widgets.cells import one_line

EVERY = 1.5
"""Seconds between two looks at the runs."""
SOON = 0.2
"""The same while there are some whose pace was not read yet."""
DEPENDENT = ("open", "resume", "label", "delete", *READABLE)
"""Actions that not every run can have done to it."""
EMPTY = Content.assemble(
    ("No runs yet.\n\n", "bold"),
    ("n", "bold $primary"),
    "  launches a batch from a file of prompts\n",
    ("batchdeck demo", "bold $primary"),
    "  shows a simulated run from the shell",
)


class RunsScreen(RunActsScreen):
    """All runs: those that broke off first, then those that go, then the newest; or by any column."""

    SCOPE: ClassVar[Scope] = "runs"
    BINDINGS: ClassVar[list[BindingType]] = bindings("runs")
    RESTS = AUTO_FOCUS = "#runs"

    def __init__(self) -> None:
        super().__init__()
        self._listing = Listing()
        self._lines: Sequence[RunLine] | None = None
        """None until the runs were looked at: not knowing is not having none."""
        self._by_key: dict[str, RunLine] = {}
        self._words = ""
        kept = recall()
        self._by, self._down = kept.runs_by if kept.runs_by in COLUMNS else "", kept.runs_down
        self._can: tuple[bool, ...] = ()
        self._whole = True
        """Whether something changed that only a look at all runs shows."""

    def compose(self) -> ComposeResult:
        yield Static(id="title", markup=False)
        yield RunsTable(id="runs")
        yield Static(EMPTY, id="empty")
        yield SearchBox(id="search", placeholder="name, tag, model, provider or state", compact=True)
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        self.set_interval(EVERY, self._look)
        self.app.theme_changed_signal.subscribe(self, lambda _: self._draw())  # the cells name their colours

    def on_resize(self) -> None:
        self._draw()

    def on_screen_resume(self) -> None:
        self.look_again()

    @property
    def table(self) -> RunsTable:
        return self.query_one("#runs", RunsTable)

    def _look(self) -> None:
        if self.is_current and not any(worker.group == "look" and worker.is_running for worker in self.workers):
            self._read()

    @work(group="look")
    async def _read(self) -> None:
        whole, self._whole = self._whole, False
        try:
            self._lines = await asyncio.to_thread(lambda: self._listing.look(whole=whole))
        except (BatchdeckError, OSError) as error:
            self.door.say(Reply(ok=False, message=str(error)))
            return
        self._by_key = {line.key: line for line in self._lines}
        self._draw()
        if self._listing.is_behind:
            self.set_timer(SOON, self._look)

    def look_again(self) -> None:
        self._whole = True
        self._look()

    def _draw(self) -> None:
        if self._lines is None or self.query_one_optional("#runs") is None:
            # Not read yet; or read only now, when the screen is being taken down.
            return
        lines = [line for line in self._lines if line.contains(self._words)] if self._words else self._lines
        lines = arranged(lines, self._by, self._down)
        self.set_class(not self._lines, "-empty")
        if self._lines and self.focused is None and not self.is_searching:
            self.table.focus()  # a hidden table loses it
        self.table.show(lines, self.door.wall(), self._by, self._down)
        self._headline(lines)
        can = tuple(self.applies(action) for action in DEPENDENT)
        if can != self._can:
            self._can = can
            self.refresh_bindings()

    def _headline(self, lines: Sequence[RunLine]) -> None:
        live = sum(1 for line in lines if line.meta and line.meta.state in LIVE)
        broken = sum(1 for line in lines if line.meta and line.meta.state == "interrupted")
        words: list[tuple[str, str]] = [
            ("batchdeck", "bold $primary"),
            (f"   {len(lines)} run{'' if len(lines) == 1 else 's'}", MUTED),
        ]
        if live:
            words.append((f"   {live} live", "$success"))
        if broken:
            words.append((f"   ↯ {broken} interrupted", "$warning"))
        if self._by:
            words.append((f"   by {self._by} {'↓' if self._down else '↑'}", MUTED))
        if self._words:
            words.append((f"   “{one_line(self._words)}”   esc shows all", "$warning"))
        self.query_one("#title", Static).update(Content.assemble(*words))

    # Commands

    @property
    def line(self) -> RunLine | None:
        return self._by_key.get(self.table.path or "")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if not self.applies_in_search(action):
            return False
        if action == "back":
            return bool(self._words) or self.is_searching
        return self.applies(action)

    @on(DataTable.RowHighlighted)
    def _moved(self) -> None:
        self.refresh_bindings()

    @on(DataTable.RowSelected)
    def _selected(self) -> None:
        self.action_open()

    # The order

    def action_order(self, step: int) -> None:
        """By the next of the columns that are shown; behind the last one as at first."""
        places = ["", *(column for column in self.table.names if column in COLUMNS)]
        at = places.index(self._by) if self._by in places else 0
        self._order_by(places[(at + step) % len(places)])

    def action_turn(self) -> None:
        """The other way round."""
        if self._by:
            self._order_by(self._by, down=not self._down)

    @on(DataTable.HeaderSelected)
    def _head_selected(self, message: DataTable.HeaderSelected) -> None:
        """A click: by this column, then the other way round, then as at first."""
        column = message.column_key.value or ""
        if column != self._by:
            self._order_by(column)
        elif self._down == is_down_first(column):
            self._order_by(column, down=not self._down)
        else:
            self._order_by("")

    def _order_by(self, column: str, *, down: bool | None = None) -> None:
        self._by, self._down = column, is_down_first(column) if down is None else down
        self._draw()
        hindered = remember(runs_by=self._by, runs_down=self._down)
        if hindered:
            self.door.say(Reply(ok=False, message=f"the order is kept for now only: {one_line(hindered)}"))

    # The filter

    def action_search(self) -> None:
        self.open_search(self._words)

    @on(Input.Changed, "#search")
    def _filter(self, message: Input.Changed) -> None:
        if self.is_searching:
            self._words = message.value.strip()
            self._draw()

    @on(Input.Submitted, "#search")
    def _filtered(self) -> None:
        self.close_search()

    def action_back(self) -> None:
        self._words = ""
        self.close_search()
        self._draw()

    def action_quit(self) -> None:
        self.app.exit()
