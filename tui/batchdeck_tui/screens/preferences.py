"""How the console behaves: switches that are remembered, each seen at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from batchdeck_tui.commands import Scope, bindings
from batchdeck_tui.habits import HABITS
from batchdeck_tui.theme import MUTED

if TYPE_CHECKING:
    from batchdeck_tui.app import BatchdeckApp


class PreferencesScreen(ModalScreen[None]):
    """A list of switches."""

    SCOPE: ClassVar[Scope] = "preferences"
    BINDINGS: ClassVar[list[BindingType]] = bindings("preferences")
    AUTO_FOCUS = "#habits"

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = "Preferences"
            box.border_subtitle = "esc closes"
            yield OptionList(id="habits", compact=True)
            yield Static("space turns   t another theme", id="hint", markup=False)

    def on_mount(self) -> None:
        self._draw()

    @property
    def door(self) -> BatchdeckApp:
        return cast("BatchdeckApp", self.app)

    def _draw(self) -> None:
        switches = self.query_one("#habits", OptionList)
        at = switches.highlighted or 0
        switches.clear_options()
        for name, habit in HABITS.items():
            box = "☑" if self.door.habits[name] else "☐"
            switches.add_option(
                Option(Content.assemble(f" {box} {habit.title.ljust(14)}", (habit.means, MUTED)), id=name)
            )
        switches.highlighted = at

    @on(OptionList.OptionSelected)
    def action_turn(self) -> None:
        names = list(HABITS)
        self.door.turn(names[self.query_one("#habits", OptionList).highlighted or 0])
        self._draw()

    def action_close(self) -> None:
        self.dismiss()
