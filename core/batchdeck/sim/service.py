"""How busy a simulated server is, and what that does to the next answer: it waits for a slot, and slows the others.

``slots`` answers are made at a time, as vLLM's ``--max-num-seqs`` or Ollama's ``OLLAMA_NUM_PARALLEL`` have it; what
comes beyond that queues, first come, first served, and nobody says 429. With ``n`` being made each takes
``1 + contention * (n - 1) + coherency * n * (n - 1)`` times as long: then the throughput of a server that is kept at
``n`` follows the Universal Scalability Law with these two (Gunther, "Guerrilla Capacity Planning", 2007).
"""

from __future__ import annotations

import heapq
from typing import NamedTuple


class Share(NamedTuple):
    """Seconds until an answer is begun, and how many times as long as alone it then takes."""

    wait: float
    stretch: float


class Service:
    """Times are seconds of any clock that does not go back. A client that leaves early frees its slot no sooner."""

    def __init__(self) -> None:
        self._ends: list[float] = []
        """When each answer that is being made will be through; with all slots taken, when each slot is free again."""

    def __repr__(self) -> str:
        return f"<Service {len(self._ends)} at a time>"

    def busy(self, now: float) -> int:
        """Answers that are being made."""
        while self._ends and self._ends[0] <= now:
            heapq.heappop(self._ends)
        return len(self._ends)

    def begin(self, now: float, seconds: float, slots: int | None, contention: float, coherency: float) -> Share:
        """One more answer, of so many seconds when it is alone."""
        self.busy(now)
        start = now
        while slots is not None and len(self._ends) >= slots:
            start = heapq.heappop(self._ends)
        n = len(self._ends) + 1
        stretch = 1.0 + contention * (n - 1) + coherency * n * (n - 1)
        heapq.heappush(self._ends, start + seconds * stretch)
        return Share(start - now, stretch)
