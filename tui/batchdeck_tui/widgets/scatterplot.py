"""A scatter over the concurrency as a widget: built again only for another scene or size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.style import Style
from textual.strip import Strip

from batchdeck_tui.widgets.cells import fit, strip
from batchdeck_tui.widgets.inks import Inked
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


class ScatterPlot(Inked):
    """A title line with the legend, and the plot."""

    INKS: ClassVar[Mapping[str, str]] = {
        "title": "bold $foreground",
        "label": "$text-muted",
        "axis": "$text-disabled",
        "point": "bold $success",
        "old": "$success 50%",
        "held": "$error",
        "swept": "$text-secondary",
        "now": "bold $text-warning",
        "curve": "$primary",
        "beyond": "$primary 45%",
        "knee": "bold $foreground",
        "band": "on $primary 18%",
    }
    DEFAULT_CSS = """
    ScatterPlot {
        height: 1fr; width: 1fr; padding: 0 1; color: $foreground;
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
        look = base + self.ink("label")
        return strips + [strip([(word.center(width), look)], width, base) for word in words]

    def _title(self, width: int, base: Style) -> Strip:
        title, unit = self._scene.title, f"  {self._scene.unit}"
        legend = [] if self._scene.is_empty else self._scene.legend
        if self._scene.best is not None and legend:
            legend = [*legend, (KNEE, "knee", "best")]
        parts: list[tuple[str, Style]] = [(title, base + self.ink("title")), (unit, base + self.ink("label"))]
        used = cell_len(title) + cell_len(unit)
        for glyph, ink, means in legend:
            words = f" {means}"
            if used + 4 + cell_len(words) > width:
                break
            parts += [("   ", base), (glyph, base + self.ink(ink)), (words, base + self.ink("label"))]
            used += 4 + cell_len(words)
        return strip(parts, width, base) if used <= width else strip([(fit(title, width), base)], width, base)

    def _look(self, ink: str) -> Style:
        name, is_over_band = (ink.removesuffix(BAND), ink.endswith(BAND))
        return self.ink(name) + self.ink("band") if is_over_band else self.ink(name)
