"""Which columns the results table has, how wide, and by which its rows are ordered."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from batchdeck.store.index import Order
from batchdeck_tui.commands import Scope, bindings
from batchdeck_tui.theme import MUTED
from batchdeck_tui.widgets.columns import AS_AT_FIRST, NAMES, ORDERED
from batchdeck_tui.widgets.results import ResultsTable

MEANS = {
    "#": "place in the input, from 0", "id": "custom_id", "state": "queued, in flight, done, failed",
    "finish": "why the answer ended", "prompt": "as it was rendered", "answer": "or the error", "in": "tokens sent",
    "tok": "tokens of the answer", "ttft": "time to the first token", "time": "of the whole answer",
    "tries": "attempts", "cost": "US dollars",
}  # fmt: skip


class ColumnsScreen(ModalScreen[None]):
    """Each change is seen behind it at once. order_by: what a column in the order of the rows is told to."""

    SCOPE: ClassVar[Scope] = "columns"
    BINDINGS: ClassVar[list[BindingType]] = bindings("columns")
    AUTO_FOCUS = "#columns"

    def __init__(self, table: ResultsTable, order_by: Callable[[Order], None]) -> None:
        super().__init__()
        self._table = table
        self._order_by = order_by

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = "Columns"
            box.border_subtitle = "esc closes"
            yield OptionList(id="columns", compact=True)
            yield Static("space shows or hides   + - width   ⏎ order by   0 as at first", id="hint", markup=False)

    def on_mount(self) -> None:
        self._draw()

    @property
    def _list(self) -> OptionList:
        return self.query_one("#columns", OptionList)

    def _draw(self) -> None:
        at = self._list.highlighted or 0
        self._list.clear_options()
        self._list.add_options(Option(self._line(name), id=name) for name in NAMES)
        self._list.highlighted = at

    def _line(self, name: str) -> Content:
        chosen, width, order = self._table.chosen, self._width(name), self._table.order
        box = "☑" if chosen.shows(name) else "☐"
        arrow = ("↓" if order[1] else "↑") if order is not None and ORDERED.get(name) == order[0] else " "
        size = str(width) if width is not None else "no room" if chosen.shows(name) else ""
        return Content.assemble(f" {box} {name.ljust(7)}{arrow} ", (f"{size.rjust(7)}  {MEANS[name]}", MUTED))

    def _width(self, name: str) -> int | None:
        """As it is now, None where there is no such column on the screen."""
        return next((column.width for column in self._table.columns if column.name == name), None)

    @property
    def _here(self) -> str:
        return NAMES[self._list.highlighted or 0]

    def action_turn(self) -> None:
        self._table.chosen = self._table.chosen.turned(self._here)
        self._draw()

    def action_width(self, by: int) -> None:
        now = self._width(self._here)
        if now is not None and self._here not in ("#", "answer"):
            self._table.chosen = self._table.chosen.widened(self._here, by, now)
            self._draw()

    def action_reset(self) -> None:
        self._table.chosen = AS_AT_FIRST
        self._draw()

    @on(OptionList.OptionSelected)
    def action_order(self) -> None:
        order = ORDERED.get(self._here)
        if order is not None:
            self._order_by(order)
            self._draw()

    def action_close(self) -> None:
        self.dismiss()
