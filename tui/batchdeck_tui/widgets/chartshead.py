"""The head of the charts' screen: the run in a line with what is in view, and what the cursor stands on."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.cells import cell_len

from batchdeck.model import Event, RunMeta, Snapshot
from batchdeck_tui.format import clock
from batchdeck_tui.widgets.cells import fit, one_line
from batchdeck_tui.widgets.chartgrid import Reading
from batchdeck_tui.widgets.linewise import Line
from batchdeck_tui.widgets.plot import NOTES, SIGNS
from batchdeck_tui.widgets.tunehead import TuneHead, headline

HINT = "← → read values   z Z zoom   ⏎ one chart alone"
MOST = 200
"""Characters of what an event says."""


def lines(view: Snapshot | RunMeta, reading: Reading, width: int) -> list[Line]:
    """Two lines, each at most ``width`` cells."""
    how = "" if isinstance(view, RunMeta) else " · live" if reading.is_live else " · held"
    return [headline(view, width, f"{reading.view}{how}"), _second(reading, width)]


def _second(reading: Reading, width: int) -> Line:
    if reading.t is None:
        return ((fit(HINT, min(width, cell_len(HINT))), "label"),)
    when = f"┃ {clock(reading.t)}"
    if reading.at is not None:
        when += time.strftime("   %m-%d %H:%M:%S", time.localtime(reading.at))
    when = fit(when, min(width, cell_len(when)))
    words = told(reading.told, width - cell_len(when) - 3)
    return ((when, "name"), ("   " if words else "", "text"), (words, "text"))


def told(events: Sequence[Event], width: int) -> str:
    """What happened, the newest first, as far as there is room, and how much more did."""
    said = ""
    for number, event in enumerate(reversed(events)):
        sign = SIGNS[event.kind][1] if event.kind in SIGNS else NOTES.get(event.kind, "·")
        words = f"{sign} {one_line(event.kind)}: {one_line(event.detail[:MOST])}".removesuffix(": ")
        left = len(events) - number - 1
        more = f"   +{left}" if left else ""
        if said and cell_len(said) + 3 + cell_len(words) + cell_len(more) > width:
            return f"{said}   +{left + 1}"
        if not said:
            words = fit(words, max(0, min(cell_len(words), width - (6 if left else 0))))
        said = f"{said}   {words}" if said else words
    return said


class ChartsHead(TuneHead):
    """Two lines; one is repainted only when it reads differently."""

    DEFAULT_CSS = """
    ChartsHead { height: 2; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._reading = Reading("", is_live=True)

    def tell_of(self, view: Snapshot | RunMeta, reading: Reading) -> None:
        """The run as it is now, and where its values are read."""
        self._view, self._reading = view, reading
        self.tell()

    def lines(self, width: int) -> list[Line]:
        return lines(self._view, self._reading, width) if self._view is not None else [()] * 2
