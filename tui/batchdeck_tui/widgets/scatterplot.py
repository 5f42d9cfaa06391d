"""A scatter over the concurrency as a widget: built again only for another scene or size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from batchdeck_tui.widgets.cells import fit, strip
from batchdeck_tui.widgets.scatter import BAND, KNEE, Scene, draw

EMPTY = (
    "no level is measured yet",
    "",
    "A level counts once answers come steadily:",
    "some seconds after a turn.",
    "",
    "Turn + or - and wait some seconds;",
    "three levels make a curve.",
)
OVER = ("no level was measured",)
_INKS = ("title", "label", "axis", "point", "old", "held", "swept", "now", "curve", "beyond", "knee")


class ScatterPlot(Widget):
    """A title line with the legend, and the plot."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {*(f"scatter--{ink}" for ink in _INKS), "scatter--band"}
    DEFAULT_CSS = """
    ScatterPlot {
        height: 1fr; width: 1fr; padding: 0 1; color: $foreground;
        &> .scatter--title { color: $foreground; text-style: bold; }
        &> .scatter--label { color: $text-muted; }
        &> .scatter--axis { color: $text-disabled; }
        &> .scatter--point { color: $success; text-style: bold; }
        &> .scatter--old { color: $success 50%; }
        &> .scatter--held { color: $error; }
        &> .scatter--swept { color: $text-secondary; }
        &> .scatter--now { color: $text-warning; text-style: bold; }
        &> .scatter--curve { color: $primary; }
        &> .scatter--beyond { color: $primary 45%; }
        &> .scatter--knee { color: $foreground; text-style: bold; }
        &> .scatter--band { background: $primary 18%; }
    }
    """

    def __init__(
        self,
        empty: Sequence[str] = EMPTY,
        *,
        name: str | None = None,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        """empty: what stands there while there is nothing to draw, and more may come."""
        super().__init__(name=name, id=id, classes=classes)
        self._empty = empty
        self._scene: Scene = Scene()
        self._is_live = False
        self._strips: list[Strip] = []
        self._drawn_for: object = None
        self.builds = 0
        """Plots built so far."""

    def show(self, scene: Scene, is_live: bool) -> None:
        """What is to be drawn now."""
        if (scene, is_live) != (self._scene, self._is_live):
            self._scene, self._is_live = scene, is_live
            self._drawn_for = None
            self.refresh()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._drawn_for = None

    def render_line(self, y: int) -> Strip:
        # a first paint at a new size can come before its Resize
        if self._drawn_for != self.size:
            self._strips = self._build()
            self._drawn_for = self.size
        return self._strips[y] if y < len(self._strips) else Strip.blank(self.size.width, self.rich_style)

    def _build(self) -> list[Strip]:
        width, height = self.size
        base = self.rich_style
        self.builds += 1
        strips = [self._title(width, base)]
        lines = [] if self._scene.is_empty else draw(self._scene, width, height - 1)
        if lines:
            looks = {ink: self._look(ink) for ink in {ink for line in lines for _, ink in line}}
            return strips + [strip([(text, base + looks[ink]) for text, ink in line], width, base) for line in lines]
        words = self._empty if self._is_live else OVER
        words = words if len(words) < height and all(cell_len(word) <= width for word in words) else words[:1]
        strips += [Strip.blank(width, base)] * max(0, (height - 1 - len(words)) // 2)
        look = base + self._look("label")
        return strips + [strip([(word.center(width), look)], width, base) for word in words]

    def _title(self, width: int, base: Style) -> Strip:
        title, unit = self._scene.title, f"  {self._scene.unit}"
        legend = [] if self._scene.is_empty else self._scene.legend
        if self._scene.best is not None and legend:
            legend = [*legend, (KNEE, "knee", "best")]
        parts: list[tuple[str, Style]] = [(title, base + self._look("title")), (unit, base + self._look("label"))]
        used = cell_len(title) + cell_len(unit)
        for glyph, ink, means in legend:
            words = f" {means}"
            if used + 4 + cell_len(words) > width:
                break
            parts += [("   ", base), (glyph, base + self._look(ink)), (words, base + self._look("label"))]
            used += 4 + cell_len(words)
        return strip(parts, width, base) if used <= width else strip([(fit(title, width), base)], width, base)

    def _look(self, ink: str) -> Style:
        name, is_over_band = (ink.removesuffix(BAND), ink.endswith(BAND))
        style = self.get_component_rich_style(f"scatter--{name}")
        band = self.get_component_rich_style("scatter--band").bgcolor if is_over_band else None
        return Style(color=style.color, bold=style.bold, bgcolor=band)
