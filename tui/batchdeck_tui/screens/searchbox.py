"""The line in which a screen's search is typed, and what works while it is open."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.screen import Screen

from batchdeck_tui.commands import Scope, verbs
from batchdeck_tui.widgets.entry import Entry

OPEN = "-searching"
"""The screen's class while the line is shown."""


class SearchBox(Entry):
    """Enter takes the words, escape closes the line; both stand in the footer."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", "find", key_display="⏎"),
        Binding("escape", "screen.back", "close", key_display="esc", priority=True),
    ]

    def _on_hide(self, event: events.Hide) -> None:
        # Closed and opened again at once: the news that it was hidden comes late, and must not take its focus.
        if not self.screen.has_class(OPEN):
            super()._on_hide(event)


class SearchScreen(Screen[None]):
    """A screen with a ``SearchBox#search``, and a ``RESTS`` that has the focus when it is closed.

    The search key and escape are priority bindings, carried out before the next key is handed to a widget; the focus
    changes in the same turn. So keys that come with them in one write are typed, and never taken for commands.
    """

    SCOPE: ClassVar[Scope]
    RESTS: ClassVar[str]

    @property
    def is_searching(self) -> bool:
        return self.has_class(OPEN)

    def applies_in_search(self, action: str) -> bool:
        """Whether an action may be carried out as far as the search is concerned: while it is open, no command is."""
        if not self.is_searching or action == "back":
            return True
        if action == "search":
            return self.focused is not self.query_one("#search")
        return action not in {verb.action.partition("(")[0] for verb in verbs(self.SCOPE)}

    def open_search(self, words: str) -> None:
        search = self.query_one("#search", SearchBox)
        if not self.is_searching:
            self.add_class(OPEN)
            search.value = words
        self.set_focus(search)

    def close_search(self) -> None:
        self.remove_class(OPEN)
        self.set_focus(self.query_one(self.RESTS))
