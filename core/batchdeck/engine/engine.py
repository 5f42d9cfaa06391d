"""The engine: items go from the run file through a bounded pool of slots to the ledger.

All decisions are made synchronously, in ``_admit`` (may another request start, and which) and ``_decide`` (what follows
from an attempt). Slots only carry requests out. The engine reads time from the running loop alone.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Literal, Protocol

from batchdeck.engine.admission import Admission, Held
from batchdeck.engine.attempt import Flight
from batchdeck.engine.chores import Chores
from batchdeck.engine.gate import MOST
from batchdeck.engine.hedging import Hedge, Hedging
from batchdeck.engine.ingest import Arrived
from batchdeck.engine.journal import Journal, Trace
from batchdeck.engine.lookahead import Candidate, LookAhead
from batchdeck.engine.pool import Job, Pool
from batchdeck.engine.queue import Work
from batchdeck.engine.stalls import Stalls
from batchdeck.engine.steering import Steering
from batchdeck.engine.sweeping import Sweeping
from batchdeck.engine.tuning import Tuning
from batchdeck.engine.waiting import Waits, tally
from batchdeck.errors import BatchdeckError, StoreError
from batchdeck.inputs.base import SourceState
from batchdeck.model import (
    ENDINGS,
    HEDGED,
    Counts,
    ErrorClass,
    Failure,
    Item,
    Reason,
    RunConfig,
    RunState,
    ServerLoad,
    Settled,
    Settlement,
    Timings,
    Wall,
    WorkOrder,
)
from batchdeck.retry.breaker import QUOTA
from batchdeck.retry.policy import RetryPolicy, backoff, may_retry
from batchdeck.store.writer import Commit, Store

log = logging.getLogger("batchdeck.engine")

Ending = Literal["done", "drained", "cancelled", "stopped", "failed"]


class Slots(Protocol):
    """How a request is said and carried out: made from provider, prompts and transport, and from nothing else."""

    def order(self, item: Item, number: int) -> WorkOrder:
        """Raises ``BatchdeckError`` when the item cannot be rendered."""

    def flight(self, order: WorkOrder) -> Flight: ...

    async def fly(self, flight: Flight) -> Settled: ...

    def price(self, settled: Settled) -> Settled:
        """The same with its cost, where it is known."""


class Engine:
    """One run. ``run`` works until there is an ending; after a retry or resume it can be called again."""

    def __init__(
        self,
        run: str,
        config: RunConfig,
        store: Store,
        slots: Slots,
        *,
        counts: Counts,
        errors: tuple[ErrorClass, ...],
        seq: int,
        samples: int,
        wall: Wall,
        rng: random.Random,
        ingest: Callable[[Arrived], Awaitable[None]] | None,
        on_commit: Callable[[Commit], None] | None = None,
        trace: Trace | None = None,
        most: int = MOST,
    ) -> None:
        """ingest: reads the input to its end, telling each arrival; None when it is complete already.

        trace: called with (time, what, idx, detail) at every decision; a hook for tests and logs.
        """
        self.run_name = run
        self.config = config
        self.counts = counts
        self.errors = errors
        self.seq = seq
        self._loop = asyncio.get_running_loop()
        self.admission = Admission(config, self._loop.time(), rng, wall, most)
        self.gate = self.admission.gate
        self.cooldown = self.admission.cooldown
        self.waits = Waits(self._loop.time())
        self.state: RunState = "starting"
        self.message = ""
        self.flights: dict[int, Flight] = {}
        self.uncommitted = 0
        self.wanted = asyncio.Event()
        self.ingest_complete = ingest is None
        self.input_offset = 0
        self._store = store
        self._slots = slots
        self._policy = RetryPolicy(max_retries=config.max_retries, max_wait=config.max_wait)
        self._wall = wall
        self._rng = rng
        self._ingest = ingest
        self._on_commit = on_commit
        self.ahead = LookAhead(self.admission, slots, store, self._unsendable, self.dispatch)
        self.queue = self.ahead.queue
        self.pool = Pool(slots.fly, self._landed, self._is_spare)
        self.journal = Journal(store, wall, counts, samples, trace)
        self.stalls = Stalls()
        self.hedging = Hedging(self, self._closed, slots.price)
        self.steer = Steering(self, store)
        self.tuning = Tuning(self)
        self.sweeping = Sweeping(self)
        self._chores = Chores(self)
        self.putting_back = 0
        self.is_limited = False
        """Whether it is a limit that stops the run: raised in time, the run goes on."""
        self.server_load: ServerLoad | None = None
        self.broken_store: str | None = None
        self.store_trouble: str | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._wake = 0.0
        self._stop: tuple[Ending, str] | None = None
        self._ended: asyncio.Future[Ending] | None = None
        store.listen(self)

    def __repr__(self) -> str:
        return f"<Engine {self.run_name} {self.state} {self.gate} {self.queue} {self.uncommitted} uncommitted>"

    # -- the run

    async def run(self) -> Ending:
        """Work until everything is settled or somebody stops it. The ending is in the run file when this returns."""
        self.wanted.clear()
        self._ended = self._loop.create_future()
        self._stop = None
        self.is_limited = False
        self.message = ""
        self.ahead.restart()
        self.admission.begin(self.config, self.counts, self._loop.time())
        self.waits = Waits(self._loop.time())
        self.journal.begin(self.counts)
        self.hedging.begin()
        self.state = "running"
        began = "resumed" if self.counts.attempts or self.counts.seconds else "started"
        self._store.submit(lambda file: file.intend("run"))
        self.tuning.begin()
        self.note(began, f"concurrency {self.gate.cap}", self.gate.cap)
        try:
            async with asyncio.TaskGroup() as group:
                self.pool.open(group)
                chores = [group.create_task(chore) for chore in self._chores.all()]
                if self._ingest is not None and not self.ingest_complete:
                    chores.append(group.create_task(self._ingesting(self._ingest)))
                self.check_limits()
                self.dispatch()
                ending = await self._ended
                for chore in chores:
                    chore.cancel()
                if ending == "failed":
                    self._drop_flights()
                self.pool.dismiss()
        except BaseExceptionGroup as errors:
            error = errors.exceptions[0]
            if not isinstance(error, BatchdeckError):
                log.exception("the engine broke", exc_info=errors)
            ending, self.message = "failed", str(error) or repr(error)
        finally:
            self.sweeping.close()
            # No slot is left; those that were cut off or broke did not settle.
            self.pool.close()
            self.flights.clear()
            self.hedging.begin()
            self.gate.in_flight = 0
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        self.waits.hold(self._loop.time(), "stopping")
        await self._finish(ending)
        return ending

    async def _finish(self, ending: Ending) -> None:
        self._chores.sample()
        message, now = self.message, self._wall()
        self.note("ended", f"{ending}: {message}" if message else ending)
        if self.store_trouble is not None:
            log.error("the ending could not be written: %s", self.store_trouble)
            self.state = ending
            return
        try:
            await self._store.submit(lambda file: file.end(ending, message, now))
        except StoreError as error:
            log.error("the ending could not be written: %s", error)
        self.state = ending

    async def _ingesting(self, read: Callable[[Arrived], Awaitable[None]]) -> None:
        try:
            await read(self._arrived)
        except BatchdeckError as error:
            # What is in flight is paid for: it goes on to its end.
            log.error("the input cannot be read on: %s", error)
            self.halt("failed", str(error))
            self.dispatch()
            return
        self.ingest_complete = True
        log.info("input read: %d items, %d bad lines", self.counts.items, self.counts.bad_lines)
        self.dispatch()

    def _arrived(self, state: SourceState) -> Awaitable[None] | None:
        self.input_offset = state.offset
        self.queue.ingested()
        self.dispatch()
        return self.sweeping.rest()

    def _end(self, ending: Ending) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(ending)

    def _check_end(self) -> None:
        """Is there nothing left to do?"""
        if self._ended is None or self._ended.done() or self.gate.in_flight or self.uncommitted or self.putting_back:
            return
        if self._stop is not None:
            ending, self.message = self._stop
            self._end(ending)
        elif self.ingest_complete and self.ahead.is_empty:
            self._end("done")

    # -- decisions

    def _admit(self, now: float) -> Candidate | None:
        """The next request to send, or None with the reason noted and the wake-up set where time will help."""
        held = self._closed(now)
        if held is None:
            chosen = self.ahead.choose(now)
            held = self.admission.spaced(now, chosen.need) if chosen else self.ahead.idle(self.ingest_complete)
            if chosen is not None and held is None:
                self.ahead.take()
                return chosen
        reason, until = held if held is not None else (None, None)
        self.waits.hold(now, reason if self.queued else None, until)
        if until is not None:
            self.wake_at(until)
        return None

    def _closed(self, now: float) -> Held | None:
        """What holds everything back."""
        if self._stop is not None or self.is_ending:
            return Held("stopping", None)
        if self.state != "running":
            return Held("paused", None)
        if self.sweeping.is_clearing:
            return Held("sweep", None)
        if self.store_trouble is not None or self.uncommitted >= self.gate.cap:
            return Held("store", None)
        return self.admission.closed(now, self.counts)

    def dispatch(self) -> None:
        """Start all that may start now, and look ahead for more."""
        if not self.pool.is_open or self._ended is None or self._ended.done():
            return
        self.sweeping.step()
        while (job := self._next_job()) is not None:
            self.pool.start(job)
        self._look_ahead()
        self._check_end()

    def dispatch_soon(self) -> None:
        """The same, once whatever is being decided now is decided."""
        self._loop.call_soon(self.dispatch)

    def _next_job(self) -> Job | None:
        now = self._loop.time()
        chosen = self.hedging.next(now) or self._admit(now)
        return None if chosen is None else (chosen.work, self._start(chosen, now))

    def _start(self, chosen: Candidate, now: float) -> Flight:
        """One more request is in flight."""
        work, order = chosen.work, chosen.order
        work.attempts += 1
        flight = self._slots.flight(order)
        flight.on_head = partial(self._answered, work)
        self.hedging.began(work, flight, now)
        self.admission.enter(now, work, chosen.need, len(order.body))
        flight.beside = self.gate.in_flight
        self.tuning.flew(now, self.gate.in_flight)
        self.sweeping.sent(work, now)
        self._counted(now)
        self.journal.trace("hedge" if isinstance(work, Hedge) else "send", order.idx, str(order.number))
        return flight

    def _counted(self, now: float) -> None:
        """What is in flight, or what waits, is another number now."""
        self.journal.collector.in_flight(now, self.gate.in_flight)
        self.journal.collector.waiting(now, self.queued)

    def _answered(self, work: Work, status: int, headers: tuple[tuple[str, str], ...]) -> None:
        """The head of an answer is there."""
        self.admission.answered(work, status, headers, self._loop.time())
        if self.waits.held in ("cap", "rpm", "tpm", "daily"):
            # More may be allowed than was known.
            self.dispatch_soon()

    def _unsendable(self, work: Work, error_type: str, message: str) -> None:
        work.attempts += 1
        self.sweeping.dropped(work)
        item = work.item
        order = WorkOrder(
            idx=item.idx,
            variant=item.variant,
            revision=item.revision,
            number=work.attempts,
            path="",
            body=b"",
            stream=False,
        )
        failure = Failure(outcome="permanent", error_type=error_type, message=message)
        timings = Timings(started_at=self._wall(), seconds=0.0)
        self._commit(
            Settlement(settled=Settled(order=order, timings=timings, failure=failure, sends=0), outcome="failed")
        )

    def _landed(self, work: Work, flight: Flight, settled: Settled) -> Job | None:
        """A slot is through with its request: settle it, and give the slot its next one."""
        now = self._loop.time()
        settled, decides, hedged = self.hedging.landed(work, flight, self._slots.price(settled))
        turned = self.admission.landed(work, settled, now)
        if turned:
            self.note("breaker", turned)
        self.journal.collector.in_flight(now, self.gate.in_flight)
        self.tuning.flew(now, self.gate.in_flight)
        outcome = None
        if decides is not None:
            outcome = self._decide(decides, settled, now)
        else:
            self._pass_over(settled, now)
        self.sweeping.landed(settled, outcome, now)
        self._commit(Settlement(settled=settled, outcome=outcome, hedged=hedged))
        self.tuning.landed(now, flight, settled)
        job = self._next_job()
        self._look_ahead()
        if job is None:
            self._check_end()
        return job

    def _is_spare(self, slots: int) -> bool:
        return slots > self.gate.cap or self._stop is not None

    def _decide(self, work: Work, settled: Settled, now: float) -> Literal["done", "failed"] | None:
        """What follows from an attempt: the item's outcome, or None when it goes on."""
        failure = settled.failure
        if failure is None:
            self.journal.trace("done", work.item.idx, "")
            return "done"
        self.journal.trace(failure.outcome, work.item.idx, failure.error_type)
        until = self._heed(failure, now)
        if failure.outcome == "rate_limited":
            work.limited_since = now if work.limited_since is None else work.limited_since
            work.refusals += 1
        elif failure.outcome == "transient":
            # A provider that is down is no fault of the item.
            work.transient += self.admission.breaker.counts_against_item(work.item.idx, failure)
            until = now + backoff(self._policy, max(1, work.transient), self._rng, failure.retry_after)
        limited_for = until - work.limited_since if work.limited_since is not None else 0.0
        if not may_retry(self._policy, failure, work.transient, limited_for):
            self.journal.failed(work.item.idx, failure)
            return "failed"
        if failure.outcome in ("transient", "rate_limited") or failure.error_type in (QUOTA, HEDGED):
            self.queue.wait(work, until)
        return None

    def _pass_over(self, settled: Settled, now: float) -> None:
        """The item is settled by another request, or that goes on: only what is true of the account counts."""
        failure = settled.failure
        assert failure is not None
        self.journal.trace("spare", settled.order.idx, failure.error_type)
        self._heed(failure, now)

    def _heed(self, failure: Failure, now: float) -> float:
        """What a failure means for all items. Returns when the account may be asked again."""
        if failure.outcome == "rate_limited":
            fresh_hold = now >= self.cooldown.until
            until = self.cooldown.hit(now, failure.retry_after)
            if fresh_hold:
                wait = until - now
                self.note("rate_limited", f"429: held for {wait:.1f} s ({failure.message})"[:300], wait)
            return until
        if failure.outcome == "fatal" and failure.error_type != QUOTA:
            self.halt("stopped", failure.message)
        return now

    def _commit(self, settlement: Settlement) -> None:
        self.uncommitted += 1
        self._store.settle(settlement)

    def halt(self, ending: Ending, message: str) -> None:
        """Start nothing more; what is in flight may end."""
        self.is_limited = False
        if self._stop is None:
            self._stop = (ending, message)
            self.message = message
            self.state = "draining"
            self.note({"drained": "drain", "cancelled": "cancel"}.get(ending, "stopped"), message or ending)

    def cut_short(self) -> int:
        """End everything now. Returns how many requests were cut off; their partial answers are kept."""
        if self._stop is None:
            self.halt("cancelled", "")
        else:
            self.note("cancel", "cancelled")
            if self._stop[0] == "drained" or self.is_limited:
                self._stop, self.is_limited = ("cancelled", ""), False
            if self.store_trouble is not None:
                # Asked a second time, and what came cannot be kept: going on to wait would be for ever.
                self.message = f"{self.uncommitted} answers were not kept: {self.store_trouble}"
                self._end("cancelled")
        flying = [flight for flight in self.flying if flight.phase != "store"]
        for flight in flying:
            flight.stop("cancelled")
        return len(flying)

    # -- looking ahead

    def _look_ahead(self) -> None:
        if self._stop is None and self._ended is not None:
            self.ahead.pull()

    def wake_at(self, when: float) -> None:
        """Dispatch again at ``when``, or earlier if that was wanted already."""
        if self._timer is not None:
            if self._wake <= when:
                return
            self._timer.cancel()
        self._wake = when
        self._timer = self._loop.call_at(when, self._woken)

    def _woken(self) -> None:
        self._timer = None
        self.dispatch()

    # -- the store's listener

    def committed(self, commit: Commit) -> None:
        now = self._loop.time()
        self.counts, self.errors, self.seq = commit.counts, commit.errors, commit.seq
        for settlement in commit.settlements:
            idx = settlement.settled.order.idx
            flight = self.flights.get(idx)
            if flight is not None and flight.order is settlement.settled.order:
                del self.flights[idx]
            self.journal.collector.committed(now, settlement)
            self.admission.committed(settlement.settled)
        self.uncommitted -= len(commit.settlements)
        self.journal.collector.waiting(now, self.queued)
        if self._on_commit is not None:
            self._on_commit(commit)
        self.dispatch()

    def trouble(self, message: str | None) -> None:
        self.store_trouble = message
        if message is None:
            self.note("store", "the run file can be written again")
        self.dispatch()

    def broken(self, error: BaseException) -> None:
        self.broken_store = self.message = str(error)
        self._end("failed")

    # -- limits that end it

    def check_limits(self) -> None:
        """Is a budget used up, a deadline over, the provider down for too long?"""
        if self._stop is not None or self.is_ending:
            return
        over = self.admission.over(self.counts, self._loop.time(), is_paused=self.state == "paused")
        if over is not None:
            self.halt("stopped", over)
            self.is_limited = True
            self.dispatch()

    def go_on(self) -> bool:
        """Take back a stop by a limit that is another now. False: there is none, or it still stands."""
        over = self.admission.over(self.counts, self._loop.time(), is_paused=False)
        if not self.is_limited or self.is_ending or over is not None:
            return False
        self._stop, self.message, self.state, self.is_limited = None, "", "running", False
        self.tuning.rested()
        self.note("resume", "resumed")
        return True

    def _drop_flights(self) -> None:
        """Their answers could not be kept."""
        for flight in self.flying:
            if flight.task is not None:
                flight.task.cancel()

    # -- what others may know

    @property
    def flying(self) -> list[Flight]:
        """All that is in flight, and what is answered and not committed."""
        return [*self.flights.values(), *self.hedging.others.values()]

    def now(self) -> float:
        """The engine's clock."""
        return self._loop.time()

    def note(self, kind: str, detail: str, value: float | None = None) -> None:
        """An event of this run. Between sessions no engine time passes."""
        self.journal.note(kind, detail, value, t=self.counts.seconds if self.is_over else None)

    def reasons(self) -> dict[Reason, int]:
        """Each unfinished item under one reason: they add up to ``counts.unfinished``."""
        now, held = self._loop.time(), self.waits.held or "store"
        if held == "cap" and self.waits.is_late(now):
            held = "machine"
        return tally(self.flights, self.queue.waiting, self.counts.unfinished, held, now, self.cooldown.until)

    @property
    def is_idle(self) -> bool:
        """The run is not over, and no answer, commit, timer or arrival is awaited."""
        return (
            self.state == "running"
            and self.ingest_complete
            and self.store_trouble is None
            and self._timer is None
            and not (self.gate.in_flight or self.uncommitted or self.ahead.is_pulling or self.putting_back)
            and self._ended is not None
            and not self._ended.done()
        )

    @property
    def is_over(self) -> bool:
        return self.state in ENDINGS

    @property
    def is_ending(self) -> bool:
        """The ending is decided, whether or not it is written yet."""
        return self.is_over or (self._ended is not None and self._ended.done())

    @property
    def queued(self) -> int:
        """Items neither settled nor in flight."""
        return max(0, self.counts.unfinished - len(self.flights))
