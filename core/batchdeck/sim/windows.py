"""Three ways in which providers count what an account uses; one window counts one meter.

- ``Bucket``: a share of a minute's limit at once, refilled continuously. Over any ``t`` seconds at most
  ``capacity + rate * t``.
- ``Sliding``: at most the limit in any 60 s, to the request.
- ``Fixed``: at most the limit in each minute (or day), which begins empty.

Times are seconds of any clock that does not go back; amounts are requests or tokens. A window that counts less than one
still lets one in.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import Protocol

MINUTE = 60.0
DAY = 86_400.0
SLACK = 1e-6
"""A client that waits as long as it was told must not be refused for a rounding error."""

Pace = tuple[float, float]
"""From when on how much a second may be used by whoever uses it evenly and leaves nothing over."""


class Window(Protocol):
    """``limit``: a minute or a day. ``paces``: in order of time."""

    limit: float
    paces: list[Pace]

    def advance(self, now: float) -> None:
        """Let time pass. What the others do and tell is of the time last advanced to."""

    def wait(self, amount: float) -> float:
        """Seconds until ``amount``, which is at most the limit, may be taken; 0: now."""

    def take(self, amount: float) -> None:
        """Count it, whether it fits or not."""

    def shrink(self, factor: float) -> None:
        """From now on the limit is so many times what it was; what was used stays used."""

    @property
    def remaining(self) -> float:
        """What may be taken now; may be below 0."""

    @property
    def reset(self) -> float:
        """Seconds until something comes back: all of a bucket, all of a fixed window, the oldest of a sliding one."""


def spare(paces: Iterable[Pace], start: float, end: float) -> float:
    """How much those paces let through between two times."""
    steps = list(paces)
    ends = [at for at, _ in steps[1:]] + [math.inf]
    return sum(rate * max(0.0, min(end, until) - max(start, at)) for (at, rate), until in zip(steps, ends, strict=True))


class Bucket:
    """Holds ``burst`` of a minute's limit. What is bigger than that goes when it is full and leaves it in debt: so the
    rate holds in the long run, and nothing is refused for ever.
    """

    def __init__(self, limit: float, burst: float, now: float) -> None:
        self.limit = limit
        self._burst = burst
        self._at = now
        self.level = self.capacity
        self.paces: list[Pace] = [(now, self.rate)]

    def __repr__(self) -> str:
        return f"<Bucket {self.level:.1f} of {self.capacity:.1f}, +{self.rate:.2f}/s>"

    @property
    def rate(self) -> float:
        return self.limit / MINUTE

    @property
    def capacity(self) -> float:
        return max(1.0, self.limit * self._burst)

    def advance(self, now: float) -> None:
        self.level = min(self.capacity, self.level + max(0.0, now - self._at) * self.rate)
        self._at = max(self._at, now)

    def wait(self, amount: float) -> float:
        missing = min(amount, self.capacity) - self.level
        return missing / self.rate if missing > SLACK else 0.0

    def take(self, amount: float) -> None:
        self.level -= amount

    def shrink(self, factor: float) -> None:
        self.limit *= factor
        self.level = min(self.level, self.capacity)
        self.paces.append((self._at, self.rate))

    @property
    def remaining(self) -> float:
        return self.level

    @property
    def reset(self) -> float:
        return (self.capacity - self.level) / self.rate


class Sliding:
    """A log of what was taken in the last 60 s; it holds no more entries than the limit lets in."""

    def __init__(self, limit: float, now: float) -> None:
        self.limit = limit
        self._at = now
        self._used = 0.0
        self._log: deque[tuple[float, float]] = deque()
        self.paces: list[Pace] = [(now, limit / MINUTE)]

    def __repr__(self) -> str:
        return f"<Sliding {self._used:.1f} of {self.limit:.1f}>"

    def advance(self, now: float) -> None:
        self._at = max(self._at, now)
        while self._log and self._log[0][0] + MINUTE <= self._at + SLACK:
            self._used -= self._log.popleft()[1]
        if not self._log:
            self._used = 0.0  # what rounding left of it

    def wait(self, amount: float) -> float:
        short = self._used + amount - max(1.0, self.limit)
        if short <= SLACK:
            return 0.0
        for at, taken in self._log:
            short -= taken
            if short <= SLACK:
                return at + MINUTE - self._at
        return MINUTE

    def take(self, amount: float) -> None:
        self._log.append((self._at, amount))
        self._used += amount

    def shrink(self, factor: float) -> None:
        # An evenly filled log has to empty a while before it takes in again what leaves it, for as long as it holds
        # what came in at the old pace.
        old, at = self.limit / MINUTE, self._at
        self.limit *= factor
        self.paces += [(at, 0.0), (at + MINUTE * (1 - factor), old), (at + MINUTE, old * factor)]

    @property
    def remaining(self) -> float:
        return self.limit - self._used

    @property
    def reset(self) -> float:
        return self._log[0][0] + MINUTE - self._at if self._log else 0.0


class Fixed:
    """Windows of ``span`` seconds, one after the other; the first ends ``offset`` seconds (of a span) from ``now``."""

    def __init__(self, limit: float, now: float, span: float = MINUTE, offset: float = 0.0) -> None:
        self.limit = limit
        self.used = 0.0
        self._at = now
        self._span = span
        self._ends = now + (offset % span or span)
        self.paces: list[Pace] = [(now, limit / span)]

    def __repr__(self) -> str:
        return f"<Fixed {self.used:.1f} of {self.limit:.1f}, {self.reset:.1f} s left>"

    def advance(self, now: float) -> None:
        self._at = max(self._at, now)
        over = self._at + SLACK - self._ends
        if over >= 0:
            self._ends += self._span * (math.floor(over / self._span) + 1)
            self.used = 0.0

    def wait(self, amount: float) -> float:
        return self.reset if self.used + amount > max(1.0, self.limit) + SLACK else 0.0

    def take(self, amount: float) -> None:
        self.used += amount

    def shrink(self, factor: float) -> None:
        # Who used the window evenly has used so much of it, and has the rest of the new limit for the rest of it.
        old = self.limit
        used = old * (1 - self.reset / self._span)
        self.limit *= factor
        self.paces += [(self._at, max(0.0, self.limit - used) / self.reset), (self._ends, self.limit / self._span)]

    @property
    def remaining(self) -> float:
        return self.limit - self.used

    @property
    def reset(self) -> float:
        return self._ends - self._at
