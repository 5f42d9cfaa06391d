"""What went wrong in a run, by class: how often, how many items failed of it, and one example."""

from __future__ import annotations

from typing import ClassVar

from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from batchdeck.model import ErrorClass
from batchdeck_tui.commands import Scope, bindings
from batchdeck_tui.format import short
from batchdeck_tui.widgets.cells import fit, one_line, strip
from batchdeck_tui.widgets.columns import blame

Part = tuple[str, str]


class ErrorList(Widget):
    """Errors by class, the most frequent first; one quiet line when there are none. A class can be chosen."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"errors--{name}" for name in ("title", "name", "text", "label", "cursor")}
    DEFAULT_CSS = """
    ErrorList {
        height: auto; max-height: 9; width: 1fr; padding: 0 1; color: $foreground;
        &> .errors--title { color: $foreground; text-style: bold; }
        &> .errors--name { color: $text-error; }
        &> .errors--text { color: $foreground; }
        &> .errors--label { color: $text-muted; }
        &> .errors--cursor { background: $block-cursor-background; }
    }
    """
    SCOPE: ClassVar[Scope] = "errors"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "cursor(-1)", "Up", show=False),
        Binding("down,j", "cursor(1)", "Down", show=False),
        *bindings("errors"),
    ]

    class Asked(Message):
        """Something is asked of a class."""

        def __init__(self, error: ErrorClass) -> None:
            super().__init__()
            self.error = error

    class Chosen(Asked):
        """Enter, or a click: its rows."""

    class Retried(Asked):
        """Its items again."""

    class Exported(Asked):
        """Its rows to a file."""

    def __init__(self, *, name: str | None = None, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self._errors: tuple[ErrorClass, ...] = ()
        self._at = ""
        """The class under the cursor, by name: their order changes while the run goes on."""

    def show(self, errors: tuple[ErrorClass, ...]) -> None:
        """The errors so far, the most frequent first."""
        if errors != self._errors:
            grown = len(errors) != len(self._errors)
            self._errors = errors
            self.can_focus = bool(errors)
            self.refresh(layout=grown)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return 1 + len(self._errors)

    def render_line(self, y: int) -> Strip:
        width, height = self.size
        base = self.rich_style
        if self.has_focus and self._errors and self._place(y) == self._cursor:
            base += Style(bgcolor=self.get_component_rich_style("errors--cursor").bgcolor)
        parts = self._parts(y, width, height)
        return strip([(text, base + self._look(name)) for text, name in parts], width, base)

    def _parts(self, y: int, width: int, height: int) -> list[Part]:
        if not self._errors:
            return [("no errors", "label")] if y == 0 else []
        place = self._place(y)
        kind = max(8, min(28, 2 + max(len(error.error_type) for error in self._errors), width // 3))
        if place is None:
            return [(fit("errors", kind), "title"), ("  tries", "label"), ("  failed", "label"), ("  example", "label")]
        if place >= len(self._errors):
            return []
        if self._is_rest(y):
            return [(f"✗ and {len(self._errors) - place} more classes", "label")]
        error = self._errors[place]
        room = max(0, width - kind - 17)
        return [
            (fit(f"✗ {one_line(error.error_type)}", kind), "name"),
            (short(error.attempts).rjust(7), "text"),
            (short(error.items).rjust(8), "name" if error.items else "label"),
            ("  " + fit(one_line(blame(error.error_type, error.example)[:400]), room), "label"),
        ]

    # The cursor

    @property
    def _cursor(self) -> int:
        places = (place for place, error in enumerate(self._errors) if error.error_type == self._at)
        return next(places, 0)

    def _place(self, y: int) -> int | None:
        """The class on a line (maybe past the last), None for the title."""
        height = self.size.height
        if height <= 1:  # a single line has no room for a title
            return y + self._cursor
        rows = height - 1
        # the last line may have to tell of those below
        top = max(0, min(self._cursor - rows + 2, len(self._errors) - rows))
        return y - 1 + top if y else None

    def _is_rest(self, y: int) -> bool:
        """Whether a line stands for several classes."""
        place = self._place(y)
        return y == self.size.height - 1 > 0 and place is not None and place < len(self._errors) - 1

    def action_cursor(self, by: int) -> None:
        if self._errors:
            self._at = self._errors[max(0, min(self._cursor + by, len(self._errors) - 1))].error_type
            self.refresh()

    def action_choose(self) -> None:
        self._ask(self.Chosen)

    def action_retry(self) -> None:
        self._ask(self.Retried)

    def action_export(self) -> None:
        self._ask(self.Exported)

    def _ask(self, kind: type[Asked]) -> None:
        if self._errors:
            self.post_message(kind(self._errors[self._cursor]))

    def on_click(self, event: events.Click) -> None:
        at = event.get_content_offset(self)
        place = self._place(at.y) if at is not None else None
        if at is None or place is None or place >= len(self._errors):
            return
        rest = self._is_rest(at.y)
        self._at = self._errors[place].error_type
        self.refresh()
        if not rest:
            self.action_choose()

    def _look(self, name: str) -> Style:
        style = self.get_component_rich_style(f"errors--{name}")
        return Style(color=style.color, bold=style.bold)
