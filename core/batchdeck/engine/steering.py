"""What people ask of a live run. Each command takes effect at once and answers in one sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from batchdeck import settings
from batchdeck.errors import StoreError, UsageError
from batchdeck.model import Autotune, Live, Reply, RunConfig
from batchdeck.store.writer import Store

if TYPE_CHECKING:
    from batchdeck.engine.engine import Engine
    from batchdeck.store.runfile import RunFile

RETRY_CHUNK = 500
_OVER = "the run has ended already"
LIVE_TAIL = 2_000
"""Characters of live text that a table row gets."""
CHOSEN = 10_000
"""Items that one ``retry`` may name."""


class Steering:
    """The commands of one engine."""

    def __init__(self, engine: Engine, store: Store) -> None:
        self._engine = engine
        self._store = store
        self._paused_at = 0.0

    def set_concurrency(self, cap: int) -> Reply:
        """At least 1. Lowering it ends nothing that is in flight."""
        engine = self._engine
        before = engine.gate.cap
        after = engine.gate.resize(cap)
        why = " (as many as this process may open files: ulimit -n)" if cap > after else ""
        # A person's word holds though the number is the present one: of a level that is measured, or of autotune.
        config, swept = engine.config, engine.sweeping.is_active
        if config.concurrency != after:
            self.keep(msgspec.structs.replace(config, concurrency=after))
        engine.tuning.by_hand(after)
        engine.sweeping.overrule(after)
        said = f"concurrency is {after}"
        if after != before:
            said = f"concurrency {before} → {after}"
            engine.note("concurrency", f"{before} → {after}", after)
            engine.pool.shrink(after)
        engine.dispatch()
        did_nothing = after == before and engine.config.autotune == config.autotune and not swept
        return Reply(ok=not (why and did_nothing), message=said + why)

    def configure(self, changes: Mapping[str, float | None]) -> Reply:
        """Other limits and budgets from now on, all of them or none."""
        engine = self._engine
        try:
            config = settings.apply(engine.config, changes)
        except UsageError as error:
            return Reply(ok=False, message=str(error))
        before, after = settings.read(engine.config), settings.read(config)
        changed = [name for name in changes if before[name] != after[name]]
        said = [f"{name.replace('_', ' ')} {settings.show(name, before[name])} → {settings.show(name, after[name])}"
                for name in changed if name != "concurrency"]  # fmt: skip
        was = engine.config.autotune
        if said:
            self.keep(msgspec.structs.replace(config, concurrency=engine.config.concurrency))
            engine.admission.configure(engine.config, engine.now())
            engine.note("settings", ", ".join(said))
        # A number that the gate has already is news to a sweep, which would go on with another one.
        is_other = config.concurrency != engine.gate.cap or engine.sweeping.is_active
        if "concurrency" in changes and (config.autotune != was or (is_other and not was.is_on)):
            turned = self._switch(config, was)
            if not turned.ok and not said and config.autotune == was:
                return turned
            said.append(turned.message)
        elif config.autotune != was:
            if was.ceiling is not None and config.autotune.ceiling is None:
                lifted = f"the ceiling of {was.ceiling} by hand is lifted"
                engine.note("settings", lifted)
                said.append(lifted)
            self.keep(msgspec.structs.replace(engine.config, autotune=config.autotune))
            engine.tuning.begin()
        if engine.go_on():
            said.append("the run goes on")
        engine.check_limits()
        engine.dispatch()
        return Reply(ok=True, message=", ".join(said) or "nothing changes by that")

    def _switch(self, config: RunConfig, was: Autotune) -> Reply:
        """To a concurrency that is fixed, or to one that the engine finds. was: what autotune was told until now."""
        engine = self._engine
        told = config.autotune
        self.keep(msgspec.structs.replace(engine.config, autotune=told))
        engine.tuning.begin()
        if not told.is_on:
            if was.is_on:
                engine.note("settings", "concurrency auto → fixed")
            return self.set_concurrency(config.concurrency)
        cap = engine.gate.cap
        if engine.sweeping.is_active:
            when = "when the sweep is over"
            engine.note("tune", f"the engine finds the concurrency {when}")
        else:
            when = f"beginning with {cap}"
            engine.note("tune", f"the engine finds the concurrency from now on, {when}", cap)
        return Reply(ok=True, message=f"concurrency auto, {when}")

    def keep(self, config: RunConfig) -> None:
        """Go by this config from now on, and after a resume."""
        self._engine.config = config
        self._store.submit(lambda file: file.configure(config))

    def pause(self) -> Reply:
        engine = self._engine
        if engine.state != "running" or engine.is_ending:
            return Reply(ok=False, message=f"the run is {engine.state}")
        engine.state = "paused"
        self._paused_at = engine.now()
        self._store.submit(lambda file: file.intend("pause"))
        engine.note("pause", "paused")
        engine.dispatch()
        return Reply(ok=True, message="paused; requests in flight go on to their end")

    def resume(self) -> Reply:
        engine = self._engine
        if engine.state == "paused":
            engine.state = "running"
            engine.admission.breaker.slept(engine.now() - self._paused_at)
            engine.tuning.rested()
            self._store.submit(lambda file: file.intend("run"))
            engine.note("resume", "resumed")
            engine.dispatch()
            return Reply(ok=True, message="resumed")
        if engine.broken_store is not None:
            return Reply(ok=False, message=engine.broken_store)
        if engine.state == "draining" and engine.go_on():
            engine.dispatch()
            return Reply(ok=True, message="going on")
        if engine.is_over and engine.state != "done":
            engine.wanted.set()
            return Reply(ok=True, message="going on")
        if engine.is_over:
            return Reply(ok=False, message="everything is settled; nothing to resume")
        return Reply(ok=False, message=f"the run is {engine.state}")

    def drain(self) -> Reply:
        engine = self._engine
        if engine.is_ending:
            return Reply(ok=False, message=_OVER)
        self._store.submit(lambda file: file.intend("drain"))
        engine.halt("drained", "")
        engine.dispatch()
        return Reply(ok=True, message=f"draining: {engine.gate.in_flight} requests in flight go on to their end")

    def cancel(self) -> Reply:
        engine = self._engine
        if engine.is_ending:
            return Reply(ok=False, message=_OVER)
        self._store.submit(lambda file: file.intend("cancel"))
        cut = engine.cut_short()
        engine.dispatch()
        return Reply(ok=True, message=f"cancelled: {cut} requests cut off; what is done is kept")

    async def retry(self, idx: Iterable[int] | None = None, error: str | None = None) -> Reply:
        """Put failed items back into the queue, in chunks, so that a million of them hold nothing up.

        idx: only these. error: only those that failed of this class.
        """
        engine = self._engine
        chosen = None if idx is None else list(idx)[:CHOSEN]
        total = 0
        after: int | None = -1
        engine.putting_back += 1
        try:
            while after is not None:
                look = partial(_put_back, chosen, after, error)
                count, after = await self._store.submit(look)
                if count:
                    total += count
                    engine.queue.retried()
                    engine.dispatch()
        except StoreError as broken:
            return Reply(ok=False, message=str(broken))
        finally:
            engine.putting_back -= 1
        of = f" of {error}" if error is not None else ""
        if not total:
            engine.dispatch()
            return Reply(ok=False, message=f"no failed item{of} can be tried again")
        said = f"{total} failed items{of} go again"
        if engine.state == "draining":
            said += " when the run is resumed"
        engine.note("retry", said, total)
        if engine.is_ending:
            engine.wanted.set()
        engine.dispatch()
        return Reply(ok=True, message=said)

    def live(self, rows: Iterable[int] | None, *, full: bool) -> Live:
        """The rows in flight among ``rows`` with their text; None: all of them, without text."""
        flights, now, hedging = self._engine.flights, self._engine.now(), self._engine.hedging
        found = flights.values() if rows is None else (flights[idx] for idx in rows if idx in flights)
        tail = 0 if rows is None else None if full else LIVE_TAIL
        return Live(
            rows=tuple(
                hedging.shown(flight).live(now, tail, hedged=flight.order.idx in hedging.others) for flight in found
            )
        )


def _put_back(idx: list[int] | None, after: int, error: str | None, file: RunFile) -> tuple[int, int | None]:
    return file.retry(idx, after, RETRY_CHUNK, error)
