"""What went wrong in a run, by class: how often, how many items failed of it, and one example."""

from __future__ import annotations

from typing import ClassVar

from rich.style import Style
from textual.geometry import Size
from textual.strip import Strip
from textual.widget import Widget

from batchdeck.model import ErrorClass
from batchdeck_tui.format import short
from batchdeck_tui.widgets.cells import fit, one_line, strip

Part = tuple[str, str]


class ErrorList(Widget):
    """Errors by class, the most frequent first; one quiet line when there are none."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"errors--title", "errors--name", "errors--text", "errors--label"}
    DEFAULT_CSS = """
    ErrorList {
        height: auto; max-height: 9; width: 1fr; padding: 0 1; color: $foreground;
        &> .errors--title { color: $foreground; text-style: bold; }
        &> .errors--name { color: $text-error; }
        &> .errors--text { color: $foreground; }
        &> .errors--label { color: $text-muted; }
    }
    """

    def __init__(self, *, name: str | None = None, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self._errors: tuple[ErrorClass, ...] = ()

    def show(self, errors: tuple[ErrorClass, ...]) -> None:
        """The errors so far, the most frequent first."""
        if errors != self._errors:
            grown = len(errors) != len(self._errors)
            self._errors = errors
            self.refresh(layout=grown)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return 1 + len(self._errors)

    def render_line(self, y: int) -> Strip:
        width, height = self.size
        base = self.rich_style
        parts = self._parts(y, width, height)
        return strip([(text, base + self._look(name)) for text, name in parts], width, base)

    def _parts(self, y: int, width: int, height: int) -> list[Part]:
        if not self._errors:
            return [("no errors", "label")] if y == 0 else []
        # a single line has no room for a title
        place = y - 1 if height > 1 else y
        kind = max(8, min(28, 2 + max(len(error.error_type) for error in self._errors), width // 3))
        if place < 0:
            return [(fit("errors", kind), "title"), ("  tries", "label"), ("  failed", "label"), ("  example", "label")]
        if place >= len(self._errors):
            return []
        if y == height - 1 and place < len(self._errors) - 1:
            return [(f"✗ and {len(self._errors) - place} more classes", "label")]
        error = self._errors[place]
        room = max(0, width - kind - 17)
        return [
            (fit(f"✗ {one_line(error.error_type)}", kind), "name"),
            (short(error.attempts).rjust(7), "text"),
            (short(error.items).rjust(8), "name" if error.items else "label"),
            ("  " + fit(one_line(error.example[:400]), room), "label"),
        ]

    def _look(self, name: str) -> Style:
        style = self.get_component_rich_style(f"errors--{name}")
        return Style(color=style.color, bold=style.bold)
