"""The slots: tasks that carry requests out, one after another, never more of them than the cap needs.

A slot knows nothing of what it carries. It asks for its next job when it has landed one, and is parked when there is
none; a parked slot is given the next job before another slot is made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from batchdeck.engine.attempt import Flight
from batchdeck.engine.queue import Work
from batchdeck.model import Settled

Job = tuple[Work, Flight]


class Pool:
    """All slots of one engine."""

    def __init__(
        self,
        fly: Callable[[Flight], Awaitable[Settled]],
        landed: Callable[[Work, Flight, Settled], Job | None],
        is_spare: Callable[[int], bool],
    ) -> None:
        """fly: carries a request out. landed: takes what came of it and gives the slot's next job at once, if any.

        is_spare: whether an idle slot may go, told how many there are.
        """
        self._fly = fly
        self._landed = landed
        self._is_spare = is_spare
        self._group: asyncio.TaskGroup | None = None
        self._parked: list[asyncio.Future[Job | None]] = []
        self._alive = 0

    def __repr__(self) -> str:
        return f"<Pool {self._alive} slots, {len(self._parked)} parked>"

    @property
    def is_open(self) -> bool:
        return self._group is not None

    def open(self, group: asyncio.TaskGroup) -> None:
        """Slots run in ``group`` from now on."""
        self._group = group

    def close(self) -> None:
        """No slot is left."""
        self._group = None
        self._parked.clear()

    def start(self, job: Job) -> None:
        """Give a job to a parked slot, or to a new one."""
        assert self._group is not None
        if not self._give(job):
            self._alive += 1
            self._group.create_task(self._slot(job))

    def shrink(self, size: int) -> None:
        """Send parked slots home until there are at most ``size``; those at work end their request first."""
        for _ in range(self._alive - size):
            if not self._give(None):
                return

    def dismiss(self) -> None:
        """Send every parked slot home."""
        while self._give(None):
            pass

    def _give(self, job: Job | None) -> bool:
        while self._parked:
            parked = self._parked.pop()
            if not parked.done():
                parked.set_result(job)
                return True
        return False

    async def _slot(self, first: Job) -> None:
        job: Job | None = first
        try:
            while job is not None:
                work, flight = job
                settled = await self._fly(flight)
                job = self._landed(work, flight, settled)
                if job is None and not self._is_spare(self._alive):
                    parked: asyncio.Future[Job | None] = asyncio.get_running_loop().create_future()
                    self._parked.append(parked)
                    job = await parked
        finally:
            self._alive -= 1
