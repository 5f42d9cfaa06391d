"""A list to choose one thing from, with a line that narrows it down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from batchdeck_tui.commands import Scope, bindings
from batchdeck_tui.format import count
from batchdeck_tui.theme import MUTED
from batchdeck_tui.widgets.cells import one_line
from batchdeck_tui.widgets.entry import Entry

SHOWN = 300
"""Lines at most; more are found by typing."""


@dataclass(frozen=True)
class Choice:
    """``value``: what is chosen; ``name``: how it is shown; ``note``: what stands behind it."""

    value: str
    name: str
    note: str = ""

    def line(self) -> Content:
        return Content.assemble(one_line(self.name), (f"   {one_line(self.note)}" if self.note else "", MUTED))


class ChoiceScreen(ModalScreen[str | None]):
    """Gives the value of a choice, or None when the person left."""

    SCOPE: ClassVar[Scope] = "choice"
    BINDINGS: ClassVar[list[BindingType]] = bindings("choice")
    AUTO_FOCUS = "#words"

    def __init__(self, title: str, choices: Sequence[Choice]) -> None:
        super().__init__()
        self._heading = title
        self._choices = choices
        self._listed: Sequence[Choice] = ()

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = one_line(self._heading).replace("[", r"\[")
            box.border_subtitle = "⏎ takes   esc leaves"
            yield Entry(id="words", placeholder="type to narrow the list", compact=True)
            yield OptionList(id="choices", compact=True)
            yield Static(id="left-out", markup=False)

    def on_mount(self) -> None:
        self._narrow("")

    @property
    def _list(self) -> OptionList:
        return self.query_one("#choices", OptionList)

    @on(Input.Changed, "#words")
    def _typed(self, message: Input.Changed) -> None:
        self._narrow(message.value)

    def _narrow(self, text: str) -> None:
        words = text.casefold().split()
        found = [choice for choice in self._choices if all(word in choice.name.casefold() for word in words)]
        self._listed = found[:SHOWN]
        self._list.clear_options()
        self._list.add_options(Option(choice.line()) for choice in self._listed)
        self._list.highlighted = 0 if self._listed else None
        more = len(found) - len(self._listed)
        told = f"{count(more)} more: type to find them" if more else "" if found else "none of them reads so"
        self.query_one("#left-out", Static).update(Content.styled(told, MUTED))

    def action_move(self, by: int) -> None:
        if self._listed:
            self._list.highlighted = max(0, min(len(self._listed) - 1, (self._list.highlighted or 0) + by))

    @on(Input.Submitted, "#words")
    @on(OptionList.OptionSelected)
    def action_take(self) -> None:
        at = self._list.highlighted
        if at is not None:
            self.dismiss(self._listed[at].value)

    def action_leave(self) -> None:
        self.dismiss(None)
