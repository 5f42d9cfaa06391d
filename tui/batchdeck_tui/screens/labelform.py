"""Asks for a run's name and tags."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from batchdeck.errors import UsageError
from batchdeck.inert import inert
from batchdeck.labels import Label, checked
from batchdeck_tui.theme import MUTED
from batchdeck_tui.widgets.entry import Entry

HINT = "a name and tags are labels: the file stays where it is"


class LabelScreen(ModalScreen[Label | None]):
    """Gives the new label, or None when the person went back."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "leave"),
        Binding("down,tab", "app.focus_next", show=False, priority=True),
        Binding("up,shift+tab", "app.focus_previous", show=False, priority=True),
    ]
    AUTO_FOCUS = "#name"

    def __init__(self, stem: str, label: Label) -> None:
        """stem: what the run is called without a name."""
        super().__init__()
        self._stem, self._label = stem, label

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = "Name and tags"
            box.border_subtitle = "⏎ takes them   esc leaves"
            with Horizontal(classes="field"):
                yield Static("name", markup=False)
                yield Entry(self._label.name, id="name", placeholder=inert(self._stem), compact=True)
            with Horizontal(classes="field"):
                yield Static("tags", markup=False)
                yield Entry(" ".join(self._label.tags), id="tags", placeholder="with a blank between", compact=True)
            yield Static(Content.styled(HINT, MUTED), id="problem", markup=False)

    @on(Input.Submitted)
    def _submitted(self) -> None:
        name, tags = (self.query_one(f"#{field}", Input).value for field in ("name", "tags"))
        try:
            self.dismiss(checked(Label(name, tuple(tags.replace(",", " ").split()))))
        except UsageError as error:
            self.query_one("#problem", Static).update(Content.styled(inert(str(error)), "$text-error"))

    def action_leave(self) -> None:
        self.dismiss(None)
