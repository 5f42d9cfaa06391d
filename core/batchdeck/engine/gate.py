"""How many requests may be in flight: a cap that is turned while it counts, and opens step by step at first.

A run that starts far too wide would send all of its first wave into a quota that nobody has told it of yet. So, as
TCP's slow start does (RFC 5681), it begins with ``FIRST`` and adds one for each answer that begins; and since a slow
provider is no reason to wait, it adds some every second whatever comes.
"""

from __future__ import annotations

import math

MOST = 10_000
FIRST = 16
MORE = 4.0
"""Requests a second that are added while no answer has come."""
PATIENCE = 10.0
"""Seconds after which the whole cap is open."""


class Gate:
    """Counts requests in flight against a cap. Lowering the cap ends nothing: the excess flows out."""

    def __init__(self, cap: int, most: int = MOST) -> None:
        """most: what this process can carry at all; each request is an open file."""
        self.most = max(1, min(most, MOST))
        self.in_flight = 0
        self._opened = math.inf
        self._began = 0.0
        self.resize(cap)

    def __repr__(self) -> str:
        return f"<Gate {self.in_flight}/{self.cap}>"

    def open(self, now: float) -> None:
        """Begin (again) with few requests."""
        self._opened, self._began = float(FIRST), now

    def widen(self) -> None:
        """The whole cap is open at once."""
        self._opened = math.inf

    def answered(self, *, knows: bool) -> None:
        """An answer has begun. knows: its headers told a limit, which spaces requests better than this does."""
        self._opened = math.inf if knows or self._opened >= self.cap else self._opened + 1

    def wait(self, now: float) -> float | None:
        """Seconds until one more may be in flight; 0: now, None: when one has come back."""
        if self.in_flight >= self.cap:
            return None
        if self._opened == math.inf:
            return 0.0
        if now - self._began > PATIENCE:
            self._opened = math.inf
            return 0.0
        missing = self.in_flight + 1 - self._opened - MORE * (now - self._began)
        return missing / MORE if missing > 1e-9 else 0.0

    def resize(self, cap: int) -> int:
        """Set the cap, between 1 and ``most``. Returns the new one."""
        self.cap = max(1, min(cap, self.most))
        return self.cap

    def enter(self) -> None:
        self.in_flight += 1

    def leave(self) -> None:
        self.in_flight -= 1
