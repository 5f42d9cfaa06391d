"""What happened to a run: every turn of a knob, pause, limit and stop, the newest at the bottom."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Footer, Log, Static

from batchdeck.errors import StoreError
from batchdeck.inert import inert
from batchdeck.model import Event
from batchdeck_tui.bridge import RunBridge
from batchdeck_tui.commands import Scope, bindings
from batchdeck_tui.format import clock, count
from batchdeck_tui.theme import MUTED
from batchdeck_tui.widgets.cells import one_line

EVERY = 1.0
"""Seconds between two looks at the file."""
KEPT = 20_000
"""The newest so many are shown: they come by what people and limits do, not by items."""


class EventLog(Log):
    """Goes by the keys of vim, too."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll_down", show=False),
        Binding("k", "scroll_up", show=False),
        Binding("g", "scroll_home", show=False),
        Binding("G", "scroll_end", show=False),
    ]


class EventsScreen(Screen[None]):
    """Read from the run file, so a run that has ended has one too."""

    SCOPE: ClassVar[Scope] = "events"
    BINDINGS: ClassVar[list[BindingType]] = bindings("events")
    AUTO_FOCUS = "#events"

    def __init__(self, bridge: RunBridge, run: str) -> None:
        super().__init__()
        self._bridge, self._run = bridge, run
        self._events: list[Event] = []
        self._last = 0
        self._kind = ""
        """Only events of this kind are shown; empty: all."""

    def compose(self) -> ComposeResult:
        yield Static(id="title", markup=False)
        yield EventLog(id="events", max_lines=KEPT)
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        self.set_interval(EVERY, self._read)
        self._read()

    @property
    def log_widget(self) -> Log:
        return self.query_one("#events", Log)

    @work(group="events")
    async def _read(self) -> None:
        if sum(worker.group == "events" and worker.is_running for worker in self.workers) > 1:
            return  # on a slow disk the first look takes longer than it is until the next one
        try:
            new = await self._bridge.events(self._last)
        except StoreError as error:
            self.query_one("#title", Static).update(Content(inert(str(error))))
            return
        if new:
            self._last = new[-1].id
            self._events = [*self._events, *new][-KEPT:]
            self._write(new)
        self._headline()

    def _write(self, events: Sequence[Event]) -> None:
        self.log_widget.write_lines([line(event) for event in events if self._kind in ("", event.kind)])

    def _headline(self) -> None:
        shown = sum(1 for event in self._events if self._kind in ("", event.kind))
        what = f"{count(shown)} of {count(len(self._events))} events: {self._kind}" if self._kind else ""
        said = what or f"{count(shown)} event{'' if shown == 1 else 's'}"
        self.query_one("#title", Static).update(
            Content.assemble((inert(self._run), "bold"), (f"   {said}", "$warning" if self._kind else MUTED))
        )

    def action_kind(self, step: int) -> None:
        """Turn through the kinds that there are."""
        kinds = ["", *sorted({event.kind for event in self._events})]
        at = kinds.index(self._kind) if self._kind in kinds else 0
        self._kind = kinds[(at + step) % len(kinds)]
        self.log_widget.clear()
        self._write(self._events)
        self._headline()

    def action_back(self) -> None:
        self.dismiss()


def line(event: Event) -> str:
    """Wall clock, seconds since the run began, kind and detail."""
    at = time.strftime("%m-%d %H:%M:%S", time.localtime(event.at))
    return f" {at}  {clock(event.t).rjust(8)}  {one_line(event.kind).ljust(13)} {one_line(event.detail[:2_000])}"
