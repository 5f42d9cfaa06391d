"""A text that grows, wrapped to a width without wrapping again what was there before."""

from __future__ import annotations

from batchdeck_tui.widgets.cells import many_lines, wrap


class Wrapped:
    """Inert lines of a hostile text. Only its last paragraph is done again when something is added."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._raw = ""
        self._width = 0
        self._last_at = 0
        """Where the last paragraph begins in the raw text, and in the lines."""
        self._last_line = 0

    def set(self, raw: str, width: int) -> None:
        """Show ``raw`` in lines of at most ``width`` cells."""
        if width != self._width or not raw.startswith(self._raw):
            self._last_at = self._last_line = 0
        elif raw == self._raw:
            return
        self._raw, self._width = raw, width
        del self.lines[self._last_line :]
        ended = raw.rfind("\n") + 1
        if ended > self._last_at:
            for paragraph in many_lines(raw[self._last_at : ended]).split("\n")[:-1]:
                self.lines.extend(wrap(paragraph, width))
            self._last_at, self._last_line = ended, len(self.lines)
        if ended < len(raw):
            self.lines.extend(wrap(many_lines(raw[ended:]), width))
