"""How often the screen is painted anew: often, for as long as that costs little of a core."""

from __future__ import annotations

FASTEST, SLOWEST = 0.1, 0.5
"""Seconds between two frames."""
SHARE = 0.09
"""Of a core that frames may take: the engine and the person's own work need the rest."""
SLOW_PAINT = 0.05
"""Seconds from a snapshot to its paint, after which the loop has no time for more of them."""
MEMORY = 0.8
"""Of what a frame cost so far, kept when the next one is known."""


class Frames:
    """The rhythm of one screen. ``interval``: seconds to the next frame."""

    def __init__(self) -> None:
        self._cost = 0.0
        self._used: float | None = None
        self._is_slow = False
        self.is_calm = False
        """Whether few frames are wanted."""

    def __repr__(self) -> str:
        return f"<Frames {self._cost * 1000:.0f} ms each, every {self.interval:.2f} s>"

    def began(self, used: float) -> None:
        """A frame begins. used: seconds of CPU that this thread has had by now."""
        if self._used is not None:
            cost = used - self._used
            self._cost = cost if not self._cost else MEMORY * self._cost + (1 - MEMORY) * cost
        self._used = used

    def painted(self, seconds: float) -> None:
        """The frame is out, so long after its snapshot came."""
        self._is_slow = seconds > (SLOW_PAINT / 2 if self._is_slow else SLOW_PAINT)

    @property
    def interval(self) -> float:
        fastest = SLOWEST if self.is_calm else 2 * FASTEST if self._is_slow else FASTEST
        return max(fastest, min(SLOWEST, self._cost / SHARE))
