"""Asks where the results are to go."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from batchdeck.inert import inert
from batchdeck_tui.theme import MUTED


class ExportScreen(ModalScreen[str]):
    """A file's name; what was there is said before it is written over. Empty: nothing is exported."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "leave")]
    AUTO_FOCUS = "#file"

    def __init__(self, what: str, proposed: str) -> None:
        """what: the rows, as a person reads them."""
        super().__init__()
        self._what, self._proposed = what, proposed

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = "Export"
            box.border_subtitle = "⏎ writes   esc leaves"
            yield Static(f"Write {self._what} to (.jsonl or .csv):", markup=False)
            yield Input(self._proposed, id="file", compact=True)
            yield Static(id="there", markup=False)

    def on_mount(self) -> None:
        self._say(self._proposed)

    @on(Input.Changed, "#file")
    def _changed(self, message: Input.Changed) -> None:
        self._say(message.value)

    def _say(self, name: str) -> None:
        self.query_one("#there", Static).update(self._told(name.strip()))

    def _told(self, name: str) -> Content:
        path = Path(name).expanduser()
        if not name or path.suffix.lower() not in (".jsonl", ".ndjson", ".json", ".csv"):
            return Content.styled("a name that ends with .jsonl or .csv", MUTED)
        if path.is_dir():
            return Content.styled("that is a folder", "$text-error")
        if path.exists():
            return Content.styled("that file is there, and is written over", "$text-warning")
        return Content.styled(inert(str(path.absolute())), MUTED)

    @on(Input.Submitted, "#file")
    def _submitted(self, message: Input.Submitted) -> None:
        name = message.value.strip()
        if name and Path(name).suffix and not Path(name).expanduser().is_dir():
            self.dismiss(name)

    def action_leave(self) -> None:
        self.dismiss("")
