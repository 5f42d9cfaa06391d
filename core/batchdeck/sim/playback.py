"""Carries a script out in time, on the running loop's clock; whoever listens writes the bytes."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator

from batchdeck.sim.wire import Script

_GRAIN = 0.004
"""Seconds; tokens that follow one another faster share a write. The first and the last are always on time."""
_STEP = 20e-6
_LONGEST_LEAD = 1e-3
"""Seconds; a server that is later than this is overloaded, which is not to be hidden."""


Chunks = AsyncIterator[tuple[bytes, bool]]
"""Bytes to send now, and whether they are the last."""


class Holds:
    """Answers that wait to be released, oldest first."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        return sum(not waiting.done() for waiting in self._waiting)

    async def wait(self) -> None:
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        await waiting

    def release(self, count: int | None = None) -> int:
        """Let the oldest ``count`` go on, None: all. Returns how many did."""
        released = 0
        while self._waiting and (count is None or released < count):
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(None)
                released += 1
        return released


class Aim:
    """How early to wake so that as many answers leave early as late: learnt, a small step at a time.

    Timers come late (asyncio's epoll waits whole milliseconds, rounded up) and writing takes its time; uncorrected,
    that is 1 % of a response of 50 ms. Following the median, it is not led astray by the rare long delay.
    """

    def __init__(self) -> None:
        self.lead = 0.0

    def learn(self, late: float) -> None:
        """late: seconds after its due time that the last of an answer had left."""
        self.lead = max(0.0, min(self.lead + math.copysign(_STEP, late), _LONGEST_LEAD))


async def play(script: Script, arrived: float, holds: Holds | None = None, aim: Aim | None = None) -> Chunks:
    """Yield each chunk when it is due, with whether it is the last; those due by now or very soon come as one.

    arrived: the loop's time when the request came; every chunk aims at a time of its own after it, so delays do not add
    up. holds: set when answers are held; what follows a hold keeps its distance from it. aim: set when writing is real.
    """
    early = aim.lead if aim is not None else 0.0
    loop = asyncio.get_running_loop()
    at, chunks = script.at, script.chunks
    hold = script.hold if holds is not None else None
    start = 0
    while start < len(chunks):
        if holds is not None and start == hold:
            held_at = loop.time()
            await holds.wait()
            arrived += loop.time() - held_at
            hold = None
        due = arrived + at[start]
        delay = due - early - loop.time()
        if delay > 0:
            await asyncio.sleep(delay)
        reached = max(loop.time() + early - arrived, at[start])
        soon = min(at[start] + _GRAIN, at[-1])
        stop = start + 1
        while stop < len(chunks) and stop != hold and (at[stop] <= reached or at[stop] < soon):
            stop += 1
        yield b"".join(chunks[start:stop]), stop == len(chunks)
        if aim is not None and delay > 0 and stop == len(chunks):
            aim.learn(loop.time() - due)
        start = stop
