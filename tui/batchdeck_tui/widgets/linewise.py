"""A widget of a few lines that is told its state ten times a second, and paints only what reads differently."""

from __future__ import annotations

from abc import abstractmethod

from textual.geometry import Region, Size
from textual.strip import Strip

from batchdeck_tui.widgets.cells import strip
from batchdeck_tui.widgets.inks import Inked

Part = tuple[str, str]
"""Text and the name of its style."""
Line = tuple[Part, ...]


class Linewise(Inked):
    """As high as its lines are many."""

    def __init__(self, *, name: str | None = None, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self._painted: dict[int, Line] = {}
        self._height = -1
        self.paints = 0
        """Lines painted so far."""

    @abstractmethod
    def lines(self, width: int) -> list[Line]:
        """What stands here now, each line at most ``width`` cells."""

    def tell(self) -> None:
        """Something may read differently now."""
        width = self.size.width
        now = self.lines(width)
        if len(now) != self._height:
            self.refresh(layout=True)
            return
        changed = [y for y, line in enumerate(now) if self._painted.get(y) != line]
        if changed:
            self.refresh(*(Region(0, y, width, 1) for y in changed))

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        self._height = len(self.lines(width))
        return self._height

    def render_line(self, y: int) -> Strip:
        width, base = self.size.width, self.rich_style
        now = self.lines(width)
        self.paints += 1
        if y >= len(now):
            return Strip.blank(width, base)
        self._painted[y] = now[y]
        return strip([(text, base + self.ink(name)) for text, name in now[y]], width, base)
