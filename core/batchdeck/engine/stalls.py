"""Streams that began and then fell silent for much longer than is usual: seen while it lasts, and counted.

Each byte of a stream sets the time at which its silence is worth a look (``Flight.look_at``). The sweep hands in the
flights whose time has come: few, so that the rule may be asked for each. A stalled one stays among them until another
byte comes or it ends, so those that are handed in are those that are silent now.
"""

from __future__ import annotations

from collections.abc import Iterable

from batchdeck.engine.attempt import Flight
from batchdeck.metrics.histogram import Histogram
from batchdeck.retry.stall import patience

KNOWN_FROM = 20
"""Answers from which the run's usual gap means something."""


class Stalls:
    """The stalled streams of one engine."""

    def __init__(self) -> None:
        self.now = 0
        """How many are silent now."""

    def __repr__(self) -> str:
        return f"<Stalls {self.now} now>"

    def look(self, due: Iterable[Flight], now: float, gaps: Histogram) -> None:
        """Judge the streams that are worth a look. gaps: mean gaps of the tokens of this session's answers."""
        silent, usual = 0, None
        for flight in due:
            if flight.heard_at is None:
                continue
            if not flight.is_stalled:
                usual = self._usual(gaps) if usual is None else usual
                ends = flight.heard_at + patience(flight.tokens, flight.streamed, usual, flight.idle)
                if now < ends:
                    flight.look_at = ends
                    continue
                flight.stall()
            silent += 1
        self.now = silent

    def _usual(self, gaps: Histogram) -> float:
        return gaps.quantile(0.99) if gaps.total >= KNOWN_FROM else 0.0
