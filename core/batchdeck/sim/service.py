"""How busy a simulated server is, and what that does to the next answer: it waits for a slot, and slows the others.

``slots`` answers are made at a time, as vLLM's ``--max-num-seqs`` or Ollama's ``OLLAMA_NUM_PARALLEL`` have it; what
comes beyond that queues, first come, first served, and nobody says 429 unless the queue has an end. With ``n`` being
made each takes ``1 + contention * (n - 1) + coherency * n * (n - 1)`` times as long: then the throughput of a server
that is kept at ``n`` follows the Universal Scalability Law with these two (Gunther, "Guerrilla Capacity Planning",
2007).
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

EARLY = 0.002
"""Seconds before an answer's planned end at which its client may be back: last bytes leave early (``playback.Aim``)."""


class Share(NamedTuple):
    """Seconds until an answer is begun, and how many times as long as alone it then takes."""

    wait: float
    stretch: float


class Busy(NamedTuple):
    """Answers that are being made, and requests that wait for a slot."""

    running: int
    waiting: int


class Service:
    """Times are seconds of any clock that does not go back. A client that leaves early frees its slot no sooner."""

    def __init__(self) -> None:
        self._ends: list[float] = []
        """When each answer that is being made will be through; with all slots taken, when each slot is free again."""
        self._due: list[float] = []
        """When each answer that has not ended will be through, begun or not."""
        self._starts: list[float] = []
        """When each answer that waits will be begun."""

    def __repr__(self) -> str:
        return f"<Service {len(self._ends)} at a time, {len(self._due)} in all>"

    def begin(self, now: float, seconds: float, slots: int | None, contention: float, coherency: float) -> Share:
        """One more answer, of so many seconds when it is alone."""
        _drop(self._ends, now)
        start = now
        while slots is not None and len(self._ends) >= slots:
            start = heapq.heappop(self._ends)
        n = len(self._ends) + 1
        stretch = 1.0 + contention * (n - 1) + coherency * n * (n - 1)
        end = start + seconds * stretch
        heapq.heappush(self._ends, end)
        heapq.heappush(self._due, end)
        if start > now:
            heapq.heappush(self._starts, start)
        return Share(start - now, stretch)

    def busy(self, now: float) -> Busy:
        """How many run and how many wait at this time, which is not before any that was asked of."""
        _drop(self._due, now)
        _drop(self._starts, now)
        return Busy(len(self._due) - len(self._starts), len(self._starts))

    def wait_for_place(self, now: float, places: int) -> float:
        """Seconds until fewer than ``places`` answers, begun or not, have not ended; 0: there is a place now."""
        _drop(self._due, now)
        over = len(self._due) - places
        wait = heapq.nsmallest(over + 1, self._due)[-1] - now if over >= 0 else 0.0
        return wait if wait > EARLY else 0.0


def _drop(times: list[float], now: float) -> None:
    """Forget the times of a heap that have come."""
    while times and times[0] <= now:
        heapq.heappop(times)
