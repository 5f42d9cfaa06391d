"""What this run may use of an account that other runs of the machine use too: asked for anew every 250 ms."""

from __future__ import annotations

import asyncio

from batchdeck.engine.engine import Engine
from batchdeck.limits.pool import METERS, Ask, Grant, QuotaPool
from batchdeck.limits.quota import MINUTE

LEASE_SECONDS = 0.25
SMOOTH = 0.1
"""Weight of the newest 250 ms in what a run uses: requests come in lumps."""
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

    async def run(self) -> None:
        """Lease until cancelled. The pool's file is asked in a thread: it may be busy for some milliseconds."""
        while True:
            await self.lease()
            await asyncio.sleep(LEASE_SECONDS)

    async def lease(self) -> None:
        """Ask once."""
        self._pool.priority = self._engine.config.priority
        ask = self._ask()
        self._take(await asyncio.to_thread(self._pool.lease, ask))

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
            self._rates[meter] += SMOOTH * (used[meter] / passed * MINUTE - self._rates[meter])
        greedy = engine.state == "running" and now - self._wanted_at < GREEDY
        return Ask(
            demand={meter: float("inf") if greedy else self._rates[meter] for meter in METERS},
            used=used,
            limits=quota.known,
            hold=max(0.0, engine.cooldown.until - now),
            pace=None if quota.pace.rate is None else quota.pace.rate * MINUTE,
        )

    def _take(self, grant: Grant) -> None:
        engine, now = self._engine, self._engine.now()
        pace = None if grant.pace is None else grant.pace / MINUTE
        engine.admission.quota.share(grant.shares, grant.limits, pace, grant.holders, grant.used_today, now)
        if grant.hold > 0:
            engine.cooldown.extend(now, now + grant.hold)
        engine.dispatch()
