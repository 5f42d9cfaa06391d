"""What an engine does by the clock: time limits, samples, and a look whether anything still moves."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import TYPE_CHECKING

from batchdeck.errors import BatchdeckError

if TYPE_CHECKING:
    from batchdeck.engine.engine import Engine

SWEEP_SECONDS = 0.05
SAMPLE_SECONDS = 1.0
BEHIND = 1.0
"""Seconds that the loop may be late before silence tells nothing, and in which it then reads what came meanwhile."""


class EngineStuck(BatchdeckError):
    """Items wait, and nothing that could move them is under way: a bug, reported instead of hanging."""


class Chores:
    """The clockwork of one engine, for as long as a session lasts."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def all(self) -> Iterator[Coroutine[None, None, None]]:
        """Each to be run until it is cancelled."""
        yield self._sweep()
        yield self._sampling()

    async def _sweep(self) -> None:
        """Time limits and stalls, 20 times a second: a float compared for each, of each request in flight."""
        engine = self._engine
        asleep = deaf_until = engine.now()
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = engine.now()
            behind, asleep = now - asleep - SWEEP_SECONDS, now
            engine.waits.late(now, behind)
            late = [flight for flight in engine.flying if flight.deadline <= now and flight.phase != "store"]
            for flight in late:
                flight.stop(flight.deadline_kind)
            if behind > BEHIND:
                deaf_until = now + BEHIND
            if now >= deaf_until:
                self._look(now)
            engine.sweeping.look()
            engine.check_limits()
            self._check_stuck()

    def _look(self, now: float) -> None:
        engine = self._engine
        collector = engine.journal.collector
        due = [flight for flight in engine.flying if flight.look_at <= now]
        engine.stalls.look(due, now, collector.itl)
        collector.stalled(engine.stalls.now)
        if engine.hedging.look(due, now):
            engine.dispatch()

    def _check_stuck(self) -> None:
        if not self._engine.is_idle:
            return
        self._engine.dispatch()
        if self._engine.is_idle:
            raise EngineStuck(f"items wait but nothing can move them: {self._engine!r}")

    async def _sampling(self) -> None:
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            self.sample()

    def sample(self) -> None:
        """Close the interval that began with the last sample."""
        engine = self._engine
        held = engine.waits.take(engine.now())
        engine.journal.sample(
            engine.counts, engine.gate.cap, engine.queued, engine.queue.backoff, engine.cooldown, engine.reasons(), held
        )
