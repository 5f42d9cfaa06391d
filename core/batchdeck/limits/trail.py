"""What was sent within the last minute: where the provider counts a sliding minute, that is what comes back next."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

MINUTE = 60.0
WIDTH = 0.05
"""Seconds that are counted as one moment, the last of them."""
_TRIM = 1_024
"""Cells too old to count that are kept until they are thrown away together."""


class Trail:
    """Amounts by time; times are seconds of any clock that does not go back."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._amounts: list[float] = []
        self._began = 0.0

    def __repr__(self) -> str:
        return f"<Trail of {len(self._times)} moments>"

    def add(self, now: float, amount: float) -> None:
        if self._times and now - self._began < WIDTH:
            self._times[-1] = now
            self._amounts[-1] += amount
            return
        self._began = now
        self._times.append(now)
        self._amounts.append(amount)
        old = bisect_right(self._times, now - 2 * MINUTE)
        if old > _TRIM:
            del self._times[:old], self._amounts[:old]

    def amend(self, sent_at: float, more: float) -> None:
        """What was sent then was counted as more (or, negative, less) than was thought."""
        place = bisect_right(self._times, sent_at - WIDTH)
        while place < len(self._times) and self._times[place] < sent_at:
            place += 1
        if place < len(self._times):
            self._amounts[place] += more

    def between(self, start: float, end: float) -> float:
        """Sent after ``start`` and up to ``end``."""
        return sum(self._amounts[bisect_right(self._times, start) : bisect_right(self._times, end)])

    def after(self, start: float) -> Iterator[tuple[float, float]]:
        """Moments after ``start`` and what was sent in each."""
        for place in range(bisect_right(self._times, start), len(self._times)):
            yield self._times[place], self._amounts[place]
