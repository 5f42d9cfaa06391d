"""What two attempts at an item answered, and where they differ."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Size
from textual.screen import Screen
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widgets import Footer, Static

from batchdeck.model import AttemptRow, Detail
from batchdeck_tui.commands import Scope, bindings
from batchdeck_tui.format import count
from batchdeck_tui.theme import MUTED
from batchdeck_tui.widgets.cells import strip
from batchdeck_tui.widgets.difftext import diff_lines
from batchdeck_tui.widgets.inks import Inked
from batchdeck_tui.widgets.styled import Line


class DiffPane(Inked, ScrollView, can_focus=True):
    """Lines that were made elsewhere."""

    INKS: ClassVar[Mapping[str, str]] = {
        "text": "$foreground",
        "label": "$text-muted",
        "rule": "$text-disabled",
        "gone": "bold $text-error",
        "new": "bold $text-success",
    }
    DEFAULT_CSS = """
    DiffPane {
        height: 1fr; background: $surface; color: $foreground; overflow-x: hidden; overflow-y: scroll;
        scrollbar-size-vertical: 1;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll_down", "Down", show=False),
        Binding("k", "scroll_up", "Up", show=False),
        Binding("g", "scroll_home", "Top", show=False),
        Binding("G", "scroll_end", "End", show=False),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.lines: list[Line] = []

    def show(self, lines: list[Line]) -> None:
        self.lines = lines
        self.virtual_size = Size(1, len(lines))
        self.scroll_to(y=0, animate=False)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        row, base = y + self.scroll_offset.y, self.rich_style
        line = self.lines[row] if row < len(self.lines) else ()
        parts = [(" ", base), *((text, base + self.ink(name)) for text, name in line)]
        return strip(parts, self.size.width, base)


class DiffScreen(Screen[None]):
    """Two of an item's attempts that have a text: at first the last two."""

    SCOPE: ClassVar[Scope] = "diff"
    BINDINGS: ClassVar[list[BindingType]] = bindings("diff")
    AUTO_FOCUS = "#diff"

    def __init__(self, detail: Detail) -> None:
        super().__init__()
        self._idx = detail.idx
        self._attempts = with_text(detail)
        self._right = len(self._attempts) - 1
        self._left = self._right - 1

    def compose(self) -> ComposeResult:
        yield Static(id="title", markup=False)
        yield DiffPane(id="diff")
        yield Footer(compact=True, show_command_palette=False)

    def on_resize(self) -> None:
        self._compare()

    @property
    def pair(self) -> tuple[AttemptRow, AttemptRow]:
        """The two that are compared."""
        return self._attempts[self._left], self._attempts[self._right]

    @work(exclusive=True)
    async def _compare(self) -> None:
        pane, (left, right) = self.query_one(DiffPane), self.pair
        width = pane.scrollable_content_region.width - 2
        lines = await asyncio.to_thread(diff_lines, left.text, right.text, max(20, width))
        pane.show(lines)
        changed = sum(any(name in ("gone", "new") and text.strip() for text, name in line) for line in lines)
        of = f"{count(changed)} line{'' if changed == 1 else 's'} differ" if changed else "they are the same"
        self.query_one("#title", Static).update(
            Content.assemble(
                (f"row {self._idx}", "bold"),
                ("   - ", "$text-error"),
                f"attempt {left.number} {left.outcome.replace('_', ' ')}",
                ("   + ", "$text-success"),
                f"attempt {right.number} {right.outcome.replace('_', ' ')}",
                (f"   {of}", MUTED),
            )
        )

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return len(self._attempts) > 2 if action in ("turn", "turn_right") else True

    def action_turn(self, step: int) -> None:
        """Compare with the attempt before the one at the left, or the one after it."""
        self._left = self._beside(self._left, self._right, step)
        self._compare()

    def action_turn_right(self, step: int) -> None:
        self._right = self._beside(self._right, self._left, step)
        self._compare()

    def _beside(self, place: int, other: int, step: int) -> int:
        """The attempt before or after the one at ``place``, round and round, but for the one on the other side."""
        places = [one for one in range(len(self._attempts)) if one != other]
        return places[(places.index(place) + step) % len(places)]

    def action_back(self) -> None:
        self.dismiss()


def with_text(detail: Detail) -> Sequence[AttemptRow]:
    """The attempts that brought a text, oldest first."""
    return [attempt for attempt in detail.attempts if attempt.text]
