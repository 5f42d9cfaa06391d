"""Virtual time: an asyncio loop that never waits. When nothing is ready it jumps to the next timer.

For code that reads time only from its loop. Sockets and threads live in real time and do not belong here; a thread that
calls in with ``call_soon_threadsafe`` is still heard, but timers do not wait for it.
"""

from __future__ import annotations

import asyncio
import math
import selectors
import threading
from asyncio import AbstractEventLoop

from batchdeck.model import Wall

PATIENCE = 1.0
"""Real seconds that a loop with nothing left to do waits for another thread before it calls itself stuck."""


class StuckLoop(RuntimeError):
    """Nothing is ready and no timer is set, so virtual time cannot go on: whoever waits, waits for ever."""


class _Jump(selectors.DefaultSelector):
    """Looks at the files without blocking; what would be waiting becomes a jump of the clock."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if timeout is not None:
            self.loop.jump(timeout)
            return []
        if threading.active_count() > 1:
            ready = super().select(PATIENCE)
        if not ready:
            raise self.loop.stuck()
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """``asyncio.Runner(loop_factory=VirtualLoop)``: ``time()`` begins at 0 and moves only by jumps.

    The same program with the same seeds runs the same way, every time. Raises ``StuckLoop`` out of ``run`` when every
    task waits and no timer is set.
    """

    def __init__(self) -> None:
        self._now = 0.0
        selector = _Jump()
        selector.loop = self
        super().__init__(selector)
        # asyncio runs timers that are due within its clock's resolution, 15 ms on some systems; here it is exact.
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._now

    def jump(self, seconds: float) -> None:
        """Move the clock on, by at least the smallest step that a float can take."""
        self._now = max(self._now + seconds, math.nextafter(self._now, math.inf))

    def stuck(self) -> StuckLoop:
        waiting = sorted(task.get_name() for task in asyncio.all_tasks(self))
        shown = ", ".join(waiting[:5]) + (f" and {len(waiting) - 5} more" if len(waiting) > 5 else "")
        return StuckLoop(
            f"stuck at {self._now:.3f} s of virtual time: nothing is ready and no timer is set;"
            f" waiting: {shown or 'no task'}"
        )


def wall(loop: AbstractEventLoop, start: float) -> Wall:
    """A wall clock that shows ``start`` (seconds since the epoch) when the loop's clock shows 0."""

    def now() -> float:
        return start + loop.time()

    return now
