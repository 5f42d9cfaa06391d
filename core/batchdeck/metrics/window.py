"""Rates over the last seconds, in constant memory."""

from __future__ import annotations

from collections import deque


class RateWindow:
    """How much happened over the last ``span`` seconds, kept in cells of ``cell`` seconds."""

    def __init__(self, span: float = 10.0, cell: float = 0.25) -> None:
        self._span = span
        self._cell = cell
        self._cells: deque[list[float]] = deque()
        self._total = 0.0
        self._start: float | None = None

    def start(self, now: float) -> None:
        """Begin to measure: before a whole span has passed, the rate is over the time since now."""
        self._cells.clear()
        self._total = 0.0
        self._start = now

    def add(self, now: float, amount: float) -> None:
        cell = now // self._cell
        if self._cells and self._cells[-1][0] == cell:
            self._cells[-1][1] += amount
        else:
            self._cells.append([cell, amount])
        self._total += amount
        self._forget(now)

    def rate(self, now: float) -> float:
        """Amount a second; 0 in the first moments."""
        self._forget(now)
        since = self._span if self._start is None else min(self._span, now - self._start)
        return self._total / since if since >= self._cell else 0.0

    def _forget(self, now: float) -> None:
        oldest = (now - self._span) // self._cell
        while self._cells and self._cells[0][0] <= oldest:
            self._total -= self._cells.popleft()[1]
