"""What this run may use of an account that other runs of the machine use too: asked for anew every 250 ms."""

from __future__ import annotations

import asyncio
import logging
import math

import msgspec

from batchdeck.engine.engine import Engine
from batchdeck.limits.pool import DAY_METERS, METERS, TRICKLE, Ask, Grant, QuotaPool
from batchdeck.limits.quota import DAY, MINUTE
from batchdeck.model import Meter

log = logging.getLogger("batchdeck.engine")

LEASE_SECONDS = 0.25
SMOOTH = 0.1
"""Weight of the newest 250 ms in what a run uses: requests come in lumps."""
CLIMBED = 1.05
"""A learned pace that is so many times what was told last is told again."""
GREEDY = 2.0
"""Seconds that a run counts as wanting more after the quota has held it, or after it began."""


class Sharing:
    """One engine's side of a pool."""

    def __init__(self, engine: Engine, pool: QuotaPool) -> None:
        self._engine = engine
        self._pool = pool
        self._used = dict(engine.admission.quota.used)
        self._rates = dict.fromkeys(METERS, 0.0)
        self._asked_at = engine.now()
        self._wanted_at = engine.now()
        self._has_left = False
        self._told: float | None = None
        self._rate: float | None = None

    async def run(self) -> None:
        """Lease until cancelled. The pool's file is asked in a thread: it may be busy for some milliseconds."""
        while True:
            try:
                if not self._engine.is_over:
                    await self.lease()
                elif not self._has_left:
                    await self.leave()
            except (RuntimeError, OSError) as error:
                # No thread, no file: the run goes on by what it knows, and asks again.
                log.error("the account's quota could not be leased: %s", error)
            await asyncio.sleep(LEASE_SECONDS)

    async def lease(self) -> None:
        """Ask once."""
        self._has_left = False
        self._pool.priority = self._engine.config.priority
        ask = self._ask()
        self._take(await asyncio.to_thread(self._pool.lease, ask))

    async def leave(self) -> None:
        """The run is over: give everything back, though somebody may still watch it or try its failed items again."""
        self._has_left = True
        # What was used last counts, too.
        grant = await asyncio.to_thread(self._pool.lease, self._ask())
        await asyncio.to_thread(self._pool.leave)
        if self._engine.is_over:
            # Should it go on, it waits for its next lease.
            shares, left = dict.fromkeys(METERS, TRICKLE), dict.fromkeys(grant.left, 0.0)
            self._share(msgspec.structs.replace(grant, shares=shares, left=left, holders=1))

    def _ask(self) -> Ask:
        engine, now = self._engine, self._engine.now()
        quota = engine.admission.quota
        passed, self._asked_at = max(now - self._asked_at, 1e-3), now
        if quota.is_short:
            self._wanted_at = now
            quota.is_short = False
        used = {meter: quota.used[meter] - self._used[meter] for meter in METERS}
        self._used = dict(quota.used)
        for meter in METERS:
            window = DAY if meter in DAY_METERS else MINUTE
            self._rates[meter] += SMOOTH * (used[meter] / passed * window - self._rates[meter])
        return Ask(
            demand={meter: self._demand(meter, now) for meter in METERS},
            used=used,
            limits=quota.known,
            hold=max(0.0, engine.cooldown.until - now),
            pace=self._pace(quota.pace.rate),
        )

    def _pace(self, rate: float | None) -> float | None:
        """Learned requests a minute; another figure only when it is news: lowered by a 429, or climbed by some."""
        if rate is not None:
            told = self._told or math.inf
            if self._rate is None or rate < self._rate or rate * MINUTE > CLIMBED * told:
                self._told = round(rate * MINUTE, 6)
            self._rate = rate
        return self._told

    def _demand(self, meter: Meter, now: float) -> float:
        if self._engine.state not in ("starting", "running"):
            return 0.0  # nothing more is sent, for now or at all
        return math.inf if now - self._wanted_at < GREEDY else max(0.0, self._rates[meter])

    def _take(self, grant: Grant) -> None:
        engine, now = self._engine, self._engine.now()
        # What was sent since it was asked for is not in it.
        used = engine.admission.quota.used
        left = {meter: amount - (used[meter] - self._used[meter]) for meter, amount in grant.left.items()}
        self._share(msgspec.structs.replace(grant, left=left))
        if grant.hold > 0:
            engine.cooldown.extend(now, now + grant.hold)
        # In the loop's own name: what goes wrong there is no matter of the pool.
        asyncio.get_running_loop().call_soon(engine.dispatch)

    def _share(self, grant: Grant) -> None:
        pace = None
        if grant.pace is not None and grant.pace != self._told:
            self._told = grant.pace
            self._rate = pace = grant.pace / MINUTE
        self._engine.admission.quota.share(
            grant.shares, grant.limits, pace, grant.holders, grant.left, self._engine.now()
        )
