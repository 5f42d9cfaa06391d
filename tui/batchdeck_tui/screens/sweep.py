"""The form of a sweep: which levels are measured in a row, and what that takes."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Static

from batchdeck.errors import UsageError
from batchdeck.inert import inert
from batchdeck.model import Snapshot
from batchdeck_tui.screens.sweepform import A_PLACE, LEAST, Levels, proposed, read, said
from batchdeck_tui.theme import MUTED
from batchdeck_tui.widgets.entry import Entry

WHAT = "Measures the levels one after the other with items of this run, each from a standing start to its last answer."


class SweepScreen(ModalScreen[Levels | None]):
    """Gives the levels with their items, or None when the person left."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "leave"),
        Binding("ctrl+s", "start", "start", priority=True),
        Binding("down,tab", "app.focus_next", show=False, priority=True),
        Binding("up,shift+tab", "app.focus_previous", show=False, priority=True),
    ]
    AUTO_FOCUS = "#sweep-levels"

    def __init__(self, now: Snapshot) -> None:
        super().__init__()
        self._left = max(0, now.queued - now.backoff)
        self._most = now.tuning.most
        self._latency = now.e2e.p50 if now.e2e is not None else None
        self._proposed = ", ".join(map(str, proposed(now.concurrency, self._left, self._most)))

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = "Sweep"
            yield Static(WHAT, classes="what", markup=False)
            with Horizontal(classes="field"):
                yield Label("levels", markup=False)
                yield Entry(self._proposed, id="sweep-levels", compact=True, select_on_focus=False)
            with Horizontal(classes="field"):
                yield Label("items each", markup=False)
                hint = f"{A_PLACE} a place, at least {LEAST}"
                yield Entry("", id="sweep-items", placeholder=hint, compact=True)
            yield Static(id="takes", markup=False)
            with Horizontal(classes="buttons"):
                yield Button("Start (⏎)", id="start", variant="primary", compact=True)
                yield Button("Leave (esc)", id="leave", compact=True)

    def on_mount(self) -> None:
        self._tell()

    def _read(self) -> Levels:
        levels, each = (self.query_one(f"#sweep-{name}", Input).value for name in ("levels", "items"))
        return read(levels, each, self._left, self._most)

    @on(Input.Changed)
    def _tell(self) -> None:
        try:
            words, colour = said(self._read(), self._left, self._latency), MUTED
        except UsageError as error:
            words, colour = str(error), "$error"
        self.query_one("#takes", Static).update(Content.styled(inert(words), colour))

    @on(Button.Pressed, "#start")
    @on(Input.Submitted)
    def action_start(self) -> None:
        try:
            self.dismiss(self._read())
        except UsageError:
            self._tell()

    @on(Button.Pressed, "#leave")
    def action_leave(self) -> None:
        self.dismiss(None)
