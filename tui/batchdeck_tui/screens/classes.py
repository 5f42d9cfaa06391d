"""What a run's screen does with a class of errors: list its rows, try them again, export them."""

from __future__ import annotations

from textual import on, work

from batchdeck.errors import StoreError
from batchdeck.format import some
from batchdeck.inert import inert
from batchdeck.model import Command, Reply
from batchdeck.store.index import Query
from batchdeck_tui.screens.listed import ListingScreen
from batchdeck_tui.widgets.errors import ErrorList

BAD_INPUT = "bad_input"
"""The class of lines that cannot be sent."""


class ClassesScreen(ListingScreen):
    """A run's screen with its ``ErrorList``."""

    @on(ErrorList.Chosen)
    def _class_chosen(self, message: ErrorList.Chosen) -> None:
        if self._has_items(message):
            self.table.focus()
            self._narrow(self._filter.of_class(message.error.error_type))

    @on(ErrorList.Retried)
    def _class_retried(self, message: ErrorList.Retried) -> None:
        error = message.error
        if not self._has_items(message):
            return
        if error.error_type == BAD_INPUT:
            self.door.say(Reply(ok=False, message="A bad line has nothing to send; mend the file, run it anew"))
        elif self.is_live:
            self._send(Command(name="retry_class", error=error.error_type))
        else:
            self._start(retry_failed=True, error=error.error_type)

    @on(ErrorList.Exported)
    @work
    async def _class_exported(self, message: ErrorList.Exported) -> None:
        if not self._has_items(message):
            return
        kind = message.error.error_type
        try:
            await self.bridge.copy()
            found = await self.bridge.select(Query(error_type=kind))
        except StoreError as error:
            self.door.say(Reply(ok=False, message=str(error)))
            return
        what = f"{some(len(found.rows), 'row')} that failed of {inert(kind)}"
        await self.export_rows(found.rows.rows, what)

    def _has_items(self, message: ErrorList.Asked) -> bool:
        error = message.error
        if not error.items:
            self.door.say(Reply(ok=True, message=f"No item failed of {inert(error.error_type)}; it was tried again"))
        return error.items > 0
