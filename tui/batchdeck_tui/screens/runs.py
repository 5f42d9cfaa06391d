"""The first screen: all runs known here, and how each is doing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.widgets import DataTable, Footer, Input, Static

from batchdeck.errors import BatchdeckError
from batchdeck.model import Reply
from batchdeck_tui.bridge import resume
from batchdeck_tui.commands import Scope, bindings
from batchdeck_tui.listing import Listing, RunLine
from batchdeck_tui.screens.runtable import RunsTable
from batchdeck_tui.screens.searchbox import SearchBox, SearchScreen
from batchdeck_tui.theme import MUTED
from batchdeck_tui.widgets.cells import one_line

if TYPE_CHECKING:
    from batchdeck_tui.app import BatchdeckApp

EVERY = 1.5
"""Seconds between two looks at the runs."""
RESUMABLE = ("interrupted", "drained", "cancelled", "stopped", "failed")
EMPTY = Content.assemble(
    ("No runs yet.\n\n", "bold"),
    ("n", "bold $primary"),
    "  launches a batch from a file of prompts\n",
    ("batchdeck demo", "bold $primary"),
    "  shows a simulated run from the shell",
)


class RunsScreen(SearchScreen):
    """All runs, newest first."""

    SCOPE: ClassVar[Scope] = "runs"
    BINDINGS: ClassVar[list[BindingType]] = bindings("runs")
    RESTS = AUTO_FOCUS = "#runs"

    def __init__(self) -> None:
        super().__init__()
        self._listing = Listing()
        self._lines: Sequence[RunLine] | None = None
        """None until the runs were looked at: not knowing is not having none."""
        self._words = ""
        self._resumable = False
        self._starting = False

    def compose(self) -> ComposeResult:
        yield Static(id="title", markup=False)
        yield RunsTable(id="runs")
        yield Static(EMPTY, id="empty")
        yield SearchBox(id="search", placeholder="name, model, provider or state", compact=True)
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        self.set_interval(EVERY, self._look)

    def on_resize(self) -> None:
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
        if self._lines is None or self.query_one_optional("#runs") is None:
            # Not read yet; or read only now, when the screen is being taken down.
            return
        lines = [line for line in self._lines if line.contains(self._words)]
        self.set_class(not self._lines, "-empty")
        if self._lines and self.focused is None and not self.is_searching:
            self.table.focus()  # a hidden table loses it
        self.table.show(lines, self.door.wall())
        self._headline(lines)
        resumable = self._can_resume()
        if resumable != self._resumable:
            self._resumable = resumable
            self.refresh_bindings()

    def _headline(self, lines: Sequence[RunLine]) -> None:
        live = sum(1 for line in lines if line.meta and line.meta.state in ("running", "paused", "draining"))
        broken = sum(1 for line in lines if line.meta and line.meta.state == "interrupted")
        words: list[tuple[str, str]] = [
            ("batchdeck", "bold $primary"),
            (f"   {len(lines)} run{'' if len(lines) == 1 else 's'}", MUTED),
        ]
        if live:
            words.append((f"   {live} live", "$success"))
        if broken:
            words.append((f"   {broken} interrupted", "$warning"))
        if self._words:
            words.append((f"   “{one_line(self._words)}”   esc shows all", "$warning"))
        self.query_one("#title", Static).update(Content.assemble(*words))

    # Commands

    def _line(self) -> RunLine | None:
        return next((line for line in self._lines or () if str(line.path) == self.table.path), None)

    def _can_resume(self) -> bool:
        line = self._line()
        return line is not None and line.meta is not None and line.meta.state in RESUMABLE

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if not self.applies_in_search(action):
            return False
        if action == "resume":
            return self._can_resume()
        if action == "back":
            return bool(self._words) or self.is_searching
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
        from batchdeck_tui.screens.launch import LaunchScreen  # after the first paint, not before it

        path = await self.app.push_screen_wait(LaunchScreen())
        if path is not None:
            self.door.open_run(path)

    def action_resume(self) -> None:
        line = self._line()
        if line is not None and not self._starting:
            self._starting = True
            self._resume(line)

    @work(group="start")
    async def _resume(self, line: RunLine) -> None:
        self.door.say(Reply(ok=True, message="Starting the engine …"))
        try:
            reply = await resume(line.path)
        finally:
            self._starting = False
        self.door.say(reply)
        if reply.ok and self.is_current:
            self.door.open_run(line.path)

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
