"""A token bucket that never lets more through in any minute than its limit.

Over ``t`` seconds a bucket passes at most ``capacity + rate * t``. With ``rate = (limit - capacity) / window`` that is
at most ``limit`` over any window, however the provider counts: by a bucket, a fixed or a sliding window.
"""

from __future__ import annotations

BURST = 0.01
"""Share of a limit that may go at once: evenly spaced requests are what every way of counting likes best."""
LOOSE = 0.04
"""The same where something else keeps the limit. Of two limits the one that does not hold saves up as much."""
REFUNDS = 2.0
"""Capacities of what was reserved and not used that are kept to be made up for."""
CATCH_UP = 1.25
"""How much faster than evenly what was held back is made up for."""


class Bucket:
    """Times are seconds of any clock that does not go back; amounts are requests or tokens."""

    def __init__(self, limit: float, window: float, now: float, share: float = 1.0, *, strict: bool = True) -> None:
        self._at = now
        self._window = window
        self.blocked = False
        """Whether the provider itself keeps it from being used: that time is owed, and made up for later."""
        self._owed = 0.0
        self.resize(limit, share, strict=strict)
        self.level = self.capacity

    def __repr__(self) -> str:
        return f"<Bucket {self.level:.1f} of {self.capacity:.1f}, +{self.rate:.2f}/s>"

    def resize(self, limit: float, share: float = 1.0, *, strict: bool = True) -> None:
        """Another limit, or another share of it, from now on. strict: no minute may hold more, whatever comes.

        Where the provider's own count is mirrored it only spaces requests, and the whole limit can be used.
        """
        allowed = self._allowed = limit * share
        # One request must fit, even where less than one belongs to a minute.
        self.capacity = max(min(1.0, allowed), (BURST if strict else LOOSE) * allowed)
        self.rate = (max(allowed - self.capacity, 0.5 * allowed) if strict else allowed) / self._window
        self.level = min(getattr(self, "level", self.capacity), self.capacity)

    def refill(self, now: float) -> None:
        if now > self._at:
            new = (now - self._at) * self.rate
            more = min(self._owed, (CATCH_UP - 1.0) * new)
            surplus = max(0.0, self.level + new + more - self.capacity)
            self.level += new + more - surplus
            self._owed += surplus - more if self.blocked else min(0.0, surplus - more)
            self._owed = min(self._owed, self.rate * self._window)
            self._at = now

    def wait(self, now: float, amount: float) -> float:
        """Seconds until ``amount`` may be taken. What is larger than the bucket goes when it is full, on debt."""
        self.refill(now)
        missing = min(amount, self.capacity) - self.level
        return missing / self.rate if missing > 1e-9 else 0.0

    def take(self, now: float, amount: float) -> None:
        self.refill(now)
        # What one request may owe is bounded, whatever a server says that it used.
        self.level = max(self.level - amount, -self._allowed)

    def give(self, amount: float) -> None:
        """Take back what was estimated too high (or, negative, too low). What finds no room is made up for later."""
        surplus = max(0.0, self.level + amount - self.capacity)
        self.level = max(self.level + amount - surplus, -self._allowed)
        if self._owed < REFUNDS * self.capacity:
            self._owed = min(self._owed + surplus, REFUNDS * self.capacity)
