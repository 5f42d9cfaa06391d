"""A limit over 24 hours that is there to be used up: counted by the hour, so that any 24 hours stay within it."""

from __future__ import annotations

import math
from collections import deque

HOUR = 3_600.0
HOURS = 24


class Day:
    """What was used in each of the last 25 hours. Times are seconds of any clock that does not go back."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.spare = math.inf
        """What the other runs of the account leave to this one."""
        self._hours: deque[list[float]] = deque()

    def __repr__(self) -> str:
        return f"<Day {sum(amount for _, amount in self._hours):.0f} of {self.limit:.0f}>"

    def take(self, at: float, amount: float) -> None:
        """Used at ``at``, which may lie in the past; a negative amount takes back."""
        self.spare -= amount
        hour = math.floor(at / HOUR)
        for cell in reversed(self._hours):
            if cell[0] == hour:
                cell[1] += amount
                return
        self._hours.append([hour, amount])
        if len(self._hours) > 1 and self._hours[-2][0] > hour:
            self._hours = deque(sorted(self._hours))

    def left(self, now: float) -> float:
        """What may still be used now."""
        # An hour counts until its last moment is a day old.
        while self._hours and (self._hours[0][0] + 1 + HOURS) * HOUR <= now:
            self._hours.popleft()
        return min(self.spare, self.limit - sum(amount for _, amount in self._hours))

    def wait(self, now: float, amount: float) -> float:
        """Seconds until ``amount`` may be used; what is more than the limit goes when nothing was used."""
        short = min(amount, self.limit) - self.left(now)
        if short <= 1e-9:
            return 0.0
        for hour, used in self._hours:
            short -= used
            if short <= 1e-9:
                return (hour + 1 + HOURS) * HOUR - now
        return HOUR
