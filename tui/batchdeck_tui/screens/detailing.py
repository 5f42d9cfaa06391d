"""The detail pane of a run's screen: which item it shows, in which form, and what is done with that item."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from textual import on, work
from textual.binding import ActiveBinding

from batchdeck.errors import StoreError
from batchdeck.format import some
from batchdeck.inert import inert
from batchdeck.model import Reply
from batchdeck_tui.bridge import RunBridge
from batchdeck_tui.format import count
from batchdeck_tui.remembered import recall, remember
from batchdeck_tui.screens.classes import ClassesScreen
from batchdeck_tui.screens.diffview import DiffScreen, with_text
from batchdeck_tui.screens.listed import MOST_COPIED
from batchdeck_tui.widgets.answertext import FORMS
from batchdeck_tui.widgets.detail import DetailPane
from batchdeck_tui.widgets.prompttext import prompt_text
from batchdeck_tui.widgets.results import ResultsTable

UNSAID = ("limits", "pause", "unpause", "drain", "cancel", "retry", "open")
"""Actions that the footer leaves out while the pane is open: they apply, but in 80 cells its own come first."""
DETAIL = ("form", "zoom", "unfold", "copy_prompt", "diff", "step")
"""Actions that apply while the pane is open."""


class DetailingScreen(ClassesScreen):
    """One item of the run, beside its table or in place of all else."""

    def __init__(self, path: Path, bridge: RunBridge) -> None:
        super().__init__(path, bridge)
        self._opened: int | None = None
        self._opened_settled = False
        self._wanted: int | None = None
        self._is_loading = False

    @property
    def pane(self) -> DetailPane:
        return self.query_one("#detail", DetailPane)

    @property
    def active_bindings(self) -> dict[str, ActiveBinding]:
        """What the footer names, and which keys apply."""
        found = super().active_bindings
        if self._opened is None:
            return found
        return {
            key: entry._replace(binding=replace(entry.binding, show=False)) if entry.binding.action in UNSAID else entry
            for key, entry in found.items()
        }

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in DETAIL and self._opened is None:
            return False
        return super().check_action(action, parameters)

    def action_open(self) -> None:
        idx = self.table.cursor_idx
        if idx is not None:
            self.open_detail(idx)

    @on(ResultsTable.Opened)
    def _row_opened(self, message: ResultsTable.Opened) -> None:
        self.open_detail(message.idx)

    def open_detail(self, idx: int) -> None:
        """Show this item; where one is shown already, in its place."""
        is_first = self._opened is None
        self._opened, self._opened_settled = idx, False
        self.add_class("-detail")
        if is_first:
            kept = recall().form
            self.pane.form = next((form for form in FORMS if form == kept), "read")
            self.refresh_bindings()
        self._load_detail(idx)

    def close_detail(self) -> None:
        self._opened = None
        self.remove_class("-detail", "-zoomed")
        self.pane.show(None)
        self.table.focus()
        self.refresh_bindings()

    @work(group="detail")
    async def _load_detail(self, idx: int) -> None:
        """Read an item. Asked for again and again while rows settle: one look is not broken off by the next, or on a
        slow disk none would ever end."""
        self._wanted = idx
        if self._is_loading:
            return
        self._is_loading = True
        try:
            while self._wanted is not None:
                idx, self._wanted = self._wanted, None
                try:
                    detail = await self.bridge.detail(idx)
                except StoreError as error:
                    self.door.say(Reply(ok=False, message=str(error)))
                    continue
                if idx == self._opened:
                    self._opened_settled = detail is not None and detail.state in ("done", "failed")
                    self.pane.show(detail)
        finally:
            self._is_loading = False

    def action_step(self, by: int) -> None:
        """The next item of the list, or the one before; the pane goes along."""
        self.table.action_cursor(by)

    def action_form(self) -> None:
        """The answer in its next form."""
        pane = self.pane
        forms = pane.forms
        if len(forms) == 1:
            self.door.say(Reply(ok=True, message="an answer that streams, or a very long one, is shown raw"))
            return
        form = pane.form if pane.form in forms else "read"
        pane.form = forms[(forms.index(form) + 1) % len(forms)]
        hindered = remember(form=pane.form)
        if hindered:
            self.door.say(Reply(ok=False, message=f"that is kept for now only: {inert(hindered)}"))

    def action_zoom(self) -> None:
        """The pane alone, or the table beside it again."""
        self.toggle_class("-zoomed")
        if self.has_class("-zoomed"):
            self.pane.focus()
        else:
            self.table.focus()

    def close_search(self) -> None:
        super().close_search()
        if self.has_class("-zoomed"):
            self.pane.focus()  # the table is not to be seen

    def action_unfold(self) -> None:
        self.pane.unfold()

    def action_copy_prompt(self) -> None:
        detail = self.pane.detail
        text = prompt_text(detail) if detail is not None else ""
        if len(text) > MOST_COPIED:
            said = f"more than {count(MOST_COPIED)} characters are too much for a terminal's clipboard; E exports"
            self.door.say(Reply(ok=False, message=said))
        elif text:
            self.app.copy_to_clipboard(text)
            self.door.say(Reply(ok=True, message=f"copied the prompt, {some(len(text), 'character')}"))

    def action_diff(self) -> None:
        detail = self.pane.detail
        if detail is None or len(with_text(detail)) < 2:
            self.door.say(Reply(ok=False, message="two attempts with a text are needed for that"))
        else:
            self.app.push_screen(DiffScreen(detail))
