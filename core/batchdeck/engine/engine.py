"""The engine: items go from the run file through a bounded pool of slots to the ledger.

All decisions are made synchronously, in ``_admit`` (may another request start, and which) and ``_decide`` (what follows
from an attempt). Slots only carry requests out. The engine reads time from the running loop alone.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Literal, Protocol

import msgspec

from batchdeck.engine.attempt import Flight
from batchdeck.engine.gate import Gate
from batchdeck.engine.ingest import Arrived
from batchdeck.engine.queue import Work, WorkQueue
from batchdeck.errors import BatchdeckError, StoreError
from batchdeck.inputs.base import SourceState
from batchdeck.limits.cooldown import Cooldown
from batchdeck.metrics.collector import Collector
from batchdeck.model import (
    Counts,
    ErrorClass,
    Failure,
    Item,
    Live,
    Reply,
    RunConfig,
    RunState,
    Settled,
    Settlement,
    Timings,
    Wall,
    WorkOrder,
)
from batchdeck.retry.policy import RetryPolicy, backoff, may_retry
from batchdeck.store.writer import Commit, Store

log = logging.getLogger("batchdeck.engine")

SWEEP_SECONDS = 0.05
SAMPLE_SECONDS = 1.0
RETRY_CHUNK = 500
LOGGED_EXAMPLES = 20
"""Failed items of one class that get a line in the log."""

Ending = Literal["done", "drained", "cancelled", "stopped", "failed"]


class EngineStuck(BatchdeckError):
    """Items wait, and nothing that could move them is under way: a bug, reported instead of hanging."""


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
        trace: Callable[[float, str, int, str], None] | None = None,
    ) -> None:
        """ingest: reads the input to its end, telling each arrival; None when it is complete already.

        trace: called with (time, what, idx, detail) at every decision; a hook for tests and logs.
        """
        self.run_name = run
        self.config = config
        self.counts = counts
        self.errors = errors
        self.seq = seq
        self.samples = samples
        self.gate = Gate(config.concurrency)
        self.queue = WorkQueue()
        self.cooldown = Cooldown(rng)
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
        self._trace = trace
        self._loop = asyncio.get_running_loop()
        self.collector = Collector(self._loop.time(), counts)
        self._parked: list[asyncio.Future[tuple[Work, Flight] | None]] = []
        self._alive = 0
        self._group: asyncio.TaskGroup | None = None
        self._pulling = False
        self._putting_back = 0
        self._timer: asyncio.TimerHandle | None = None
        self._wake = 0.0
        self._trouble: str | None = None
        self._broken: str | None = None
        self._stop: tuple[Ending, str] | None = None
        self._ended: asyncio.Future[Ending] | None = None
        self._logged: dict[str, int] = {}
        store.listen(self)

    def __repr__(self) -> str:
        return f"<Engine {self.run_name} {self.state} {self.gate} {self.queue} {self.uncommitted} uncommitted>"

    # -- the run

    async def run(self) -> Ending:
        """Work until everything is settled or somebody stops it. The ending is in the run file when this returns."""
        now = self._loop.time()
        self.wanted.clear()
        self._ended = self._loop.create_future()
        self._stop = None
        self.message = ""
        self.queue.restart()
        self.collector = Collector(now, self.counts, self.collector.sampled)
        self.state = "running"
        began = "resumed" if self.counts.attempts or self.counts.seconds else "started"
        self._store.submit(lambda file: file.intend("run"))
        self._note(began, f"concurrency {self.gate.cap}", self.gate.cap)
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                chores = [group.create_task(self._sweep()), group.create_task(self._sampling())]
                if self._ingest is not None and not self.ingest_complete:
                    chores.append(group.create_task(self._ingesting(self._ingest)))
                self._dispatch()
                ending = await self._ended
                for chore in chores:
                    chore.cancel()
                self._dismiss(cut=ending == "failed")
        except BaseExceptionGroup as errors:
            error = errors.exceptions[0]
            if not isinstance(error, BatchdeckError):
                log.exception("the engine broke", exc_info=errors)
            ending, self.message = "failed", str(error) or repr(error)
        finally:
            # No slot is left; those that were cut off or broke did not settle.
            self._group = None
            self.flights.clear()
            self._parked.clear()
            self.gate.in_flight = 0
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        await self._finish(ending)
        return ending

    async def _finish(self, ending: Ending) -> None:
        self._sample()
        message, now = self.message, self._wall()
        self._note("ended", f"{ending}: {message}" if message else ending)
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
            self._halt("failed", str(error))
            self._dispatch()
            return
        self.ingest_complete = True
        log.info("input read: %d items, %d bad lines", self.counts.items, self.counts.bad_lines)
        self._dispatch()

    def _arrived(self, state: SourceState) -> None:
        self.input_offset = state.offset
        self.queue.ingested()
        self._dispatch()

    def _end(self, ending: Ending) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(ending)

    def _check_end(self) -> None:
        """Is there nothing left to do?"""
        if self._ended is None or self._ended.done() or self.gate.in_flight or self.uncommitted or self._putting_back:
            return
        if self._stop is not None:
            ending, self.message = self._stop
            self._end(ending)
        elif self.ingest_complete and not self._pulling and self.queue.is_empty:
            self._end("done")

    # -- decisions

    def _admit(self, now: float) -> Work | None:
        """The next item to send, or None with the wake-up set where time will help."""
        if self.state != "running" or self._stop is not None or self._trouble is not None:
            return None
        if not self.gate.has_room or self.uncommitted >= self.gate.cap:
            return None
        held = self.cooldown.wait(now, self.gate.in_flight, self.gate.cap)
        if held > 0:
            self._wake_at(now + held)
            return None
        # What is in flight may all come back to wait: a new item starts only if the heap keeps its bound.
        fresh = self.queue.backoff + self.gate.in_flight < 4 * self.gate.cap
        work = self.queue.pop(now, fresh=fresh)
        if work is None:
            due = self.queue.next_due()
            if due is not None:
                self._wake_at(due)
        return work

    def _dispatch(self) -> None:
        """Start all that may start now, and look ahead for more."""
        if self._group is None or self._ended is None or self._ended.done():
            return
        now = self._loop.time()
        while (work := self._admit(now)) is not None:
            flight = self._start(work, now)
            if flight is None:
                continue
            while self._parked:
                slot = self._parked.pop()
                if not slot.done():
                    slot.set_result((work, flight))
                    break
            else:
                self._alive += 1
                self._group.create_task(self._slot(work, flight))
        self._look_ahead()
        self._check_end()

    def _start(self, work: Work, now: float) -> Flight | None:
        """Turn an item into a request; one that cannot be rendered fails here."""
        try:
            order = self._slots.order(work.item, work.attempts + 1)
        except BatchdeckError as error:
            self._unsendable(work, str(error))
            return None
        work.attempts += 1
        flight = self._slots.flight(order)
        self.flights[order.idx] = flight
        self.gate.enter()
        self.collector.in_flight(now, self.gate.in_flight)
        if self._trace is not None:
            self._trace(now, "send", order.idx, str(order.number))
        return flight

    def _unsendable(self, work: Work, message: str) -> None:
        work.attempts += 1
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
        failure = Failure(outcome="permanent", error_type="bad_input", message=message)
        timings = Timings(started_at=self._wall(), seconds=0.0)
        self._commit(
            Settlement(settled=Settled(order=order, timings=timings, failure=failure, sends=0), outcome="failed")
        )

    async def _slot(self, work: Work, flight: Flight) -> None:
        """One slot: carries requests out until there is no more room for it."""
        try:
            while True:
                settled = await self._slots.fly(flight)
                self._settle(work, flight, settled)
                now = self._loop.time()
                while (next_work := self._admit(now)) is not None:
                    next_flight = self._start(next_work, now)
                    if next_flight is not None:
                        break
                if next_work is not None and next_flight is not None:
                    work, flight = next_work, next_flight
                    self._look_ahead()
                    continue
                self._look_ahead()
                self._check_end()
                if self._alive > self.gate.cap or self._stop is not None:
                    return
                parked: asyncio.Future[tuple[Work, Flight] | None] = self._loop.create_future()
                self._parked.append(parked)
                given = await parked
                if given is None:
                    return
                work, flight = given
        finally:
            self._alive -= 1

    def _settle(self, work: Work, flight: Flight, settled: Settled) -> None:
        now = self._loop.time()
        self.gate.leave()
        self.collector.in_flight(now, self.gate.in_flight)
        settled = self._slots.price(settled)
        self._commit(Settlement(settled=settled, outcome=self._decide(work, settled, now)))

    def _decide(self, work: Work, settled: Settled, now: float) -> Literal["done", "failed"] | None:
        """What follows from an attempt: the item's outcome, or None when it goes on."""
        failure = settled.failure
        if failure is None:
            if self._trace is not None:
                self._trace(now, "done", work.item.idx, "")
            return "done"
        if self._trace is not None:
            self._trace(now, failure.outcome, work.item.idx, failure.error_type)
        until = now
        if failure.outcome == "rate_limited":
            work.limited_since = now if work.limited_since is None else work.limited_since
            fresh_hold = now >= self.cooldown.until
            until = self.cooldown.hit(now, failure.retry_after)
            if fresh_hold:
                wait = until - now
                self._note("rate_limited", f"429: held for {wait:.1f} s ({failure.message})"[:300], wait)
        elif failure.outcome == "transient":
            work.transient += 1
            until = now + backoff(self._policy, work.transient, self._rng, failure.retry_after)
        elif failure.outcome == "fatal":
            self._halt("stopped", failure.message)
        limited_for = until - work.limited_since if work.limited_since is not None else 0.0
        if not may_retry(self._policy, failure, work.transient, limited_for):
            self._log_failure(work, failure)
            return "failed"
        if failure.outcome in ("transient", "rate_limited"):
            self.queue.wait(work, until)
        return None

    def _log_failure(self, work: Work, failure: Failure) -> None:
        seen = self._logged[failure.error_type] = self._logged.get(failure.error_type, 0) + 1
        if seen <= LOGGED_EXAMPLES:
            log.warning("item %d failed: %s: %s", work.item.idx, failure.error_type, failure.message)
            if seen == LOGGED_EXAMPLES:
                log.warning("further failures of class %s are only counted", failure.error_type)

    def _commit(self, settlement: Settlement) -> None:
        self.uncommitted += 1
        self._store.settle(settlement)

    def _halt(self, ending: Ending, message: str) -> None:
        """Start nothing more; what is in flight may end."""
        if self._stop is None:
            self._stop = (ending, message)
            self.message = message
            self.state = "draining"
            self._note({"drained": "drain", "cancelled": "cancel"}.get(ending, "stopped"), message or ending)

    # -- looking ahead

    def _look_ahead(self) -> None:
        low = max(8, self.gate.cap)
        if (
            self._pulling
            or self.queue.is_dry
            or self.queue.ready >= low
            or self._stop is not None
            or self._ended is None
        ):
            return
        self._pulling = True
        after, before = self.queue.refill()
        asked = min(1_000, 2 * low)
        pulled = self._store.submit(lambda file: file.pull(after, before, asked))
        pulled.add_done_callback(lambda future: self._pulled(future, asked, after))

    def _pulled(self, future: asyncio.Future[list[Item]], asked: int, after: int) -> None:
        self._pulling = False
        if future.cancelled() or future.exception() is not None:
            return
        self.queue.extend(future.result(), asked, after)
        self._dispatch()

    def _wake_at(self, when: float) -> None:
        """Dispatch again at ``when``, or earlier if that was wanted already."""
        if self._timer is not None:
            if self._wake <= when:
                return
            self._timer.cancel()
        self._wake = when
        self._timer = self._loop.call_at(when, self._woken)

    def _woken(self) -> None:
        self._timer = None
        self._dispatch()

    # -- the store's listener

    def committed(self, commit: Commit) -> None:
        now = self._loop.time()
        self.counts, self.errors, self.seq = commit.counts, commit.errors, commit.seq
        for settlement in commit.settlements:
            idx = settlement.settled.order.idx
            flight = self.flights.get(idx)
            if flight is not None and flight.order is settlement.settled.order:
                del self.flights[idx]
            self.collector.committed(now, settlement)
        self.uncommitted -= len(commit.settlements)
        if self._on_commit is not None:
            self._on_commit(commit)
        self._dispatch()

    def trouble(self, message: str | None) -> None:
        self._trouble = message
        if message is None:
            self._note("store", "the run file can be written again")
        self._dispatch()

    def broken(self, error: BaseException) -> None:
        self._broken = self.message = f"the run file cannot be written: {error}"
        self._end("failed")

    # -- chores

    async def _sweep(self) -> None:
        """Time limits, 20 times a second: one float compared for each request in flight."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = self._loop.time()
            late = [flight for flight in self.flights.values() if flight.deadline <= now and flight.phase != "store"]
            for flight in late:
                flight.stop(flight.deadline_kind)
            self._check_stuck()

    def _check_stuck(self) -> None:
        if not self._is_idle():
            return
        self._dispatch()
        if self._is_idle():
            raise EngineStuck(f"items wait but nothing can move them: {self!r}")

    def _is_idle(self) -> bool:
        """The run is not over, and no answer, commit, timer or arrival is awaited."""
        return (
            self.state == "running"
            and self.ingest_complete
            and self._trouble is None
            and self._timer is None
            and not (self.gate.in_flight or self.uncommitted or self._pulling or self._putting_back)
            and self._ended is not None
            and not self._ended.done()
        )

    async def _sampling(self) -> None:
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            self._sample()

    def _sample(self) -> None:
        sample = self.collector.sample(
            self._loop.time(), self._wall(), self.counts, self.gate.cap, self.queued, self.queue.backoff, self.cooldown
        )
        if sample.dt > 0:
            stored = self._store.submit(lambda file: file.sample(sample))
            stored.add_done_callback(self._sampled)

    def _sampled(self, future: asyncio.Future[None]) -> None:
        if not future.cancelled() and future.exception() is None:
            self.samples += 1

    def _note(self, kind: str, detail: str, value: float | None = None) -> None:
        """An event: into the run file, and into the log."""
        t = self.counts.seconds if self.is_over else self.collector.elapsed(self._loop.time())
        at = self._wall()
        log.info("%s: %s", kind, detail)
        if self._trace is not None:
            self._trace(self._loop.time(), kind, -1, detail)
        self._store.submit(lambda file: file.event(t, at, kind, detail, value))

    def _dismiss(self, *, cut: bool) -> None:
        """Send the slots home; ``cut``: those in flight too, since their answers could not be kept."""
        if cut:
            for flight in self.flights.values():
                if flight.task is not None:
                    flight.task.cancel()
        for slot in self._parked:
            if not slot.done():
                slot.set_result(None)
        self._parked.clear()

    # -- commands

    @property
    def is_over(self) -> bool:
        return self.state in ("done", "drained", "cancelled", "stopped", "failed")

    @property
    def store_trouble(self) -> str | None:
        """Why the run file cannot be written, while it cannot."""
        return self._trouble

    @property
    def queued(self) -> int:
        """Items neither settled nor in flight."""
        counts = self.counts
        return max(0, counts.items - counts.done - counts.failed - counts.skipped - len(self.flights))

    def set_concurrency(self, cap: int) -> Reply:
        before = self.gate.cap
        after = self.gate.resize(cap)
        if after != before:
            self._note("concurrency", f"{before} → {after}", after)
            self.config = msgspec.structs.replace(self.config, concurrency=after)
            config = self.config
            self._store.submit(lambda file: file.configure(config))
            while self._parked and self._alive > after:
                slot = self._parked.pop()
                if not slot.done():
                    slot.set_result(None)
            self._dispatch()
        return Reply(
            ok=True, message=f"concurrency {before} → {after}" if after != before else f"concurrency is {after}"
        )

    def pause(self) -> Reply:
        if self.state != "running":
            return Reply(ok=False, message=f"the run is {self.state}")
        self.state = "paused"
        self._store.submit(lambda file: file.intend("pause"))
        self._note("pause", "paused")
        return Reply(ok=True, message="paused; requests in flight go on to their end")

    def resume(self) -> Reply:
        if self.state == "paused":
            self.state = "running"
            self._store.submit(lambda file: file.intend("run"))
            self._note("resume", "resumed")
            self._dispatch()
            return Reply(ok=True, message="resumed")
        if self._broken is not None:
            return Reply(ok=False, message=self._broken)
        if self.is_over and self.state != "done":
            self.wanted.set()
            return Reply(ok=True, message="going on")
        if self.is_over:
            return Reply(ok=False, message="everything is settled; nothing to resume")
        return Reply(ok=False, message=f"the run is {self.state}")

    def drain(self) -> Reply:
        if self.is_over:
            return Reply(ok=False, message=f"the run is {self.state} already")
        self._store.submit(lambda file: file.intend("drain"))
        self._halt("drained", "")
        self._dispatch()
        return Reply(ok=True, message=f"draining: {self.gate.in_flight} requests in flight go on to their end")

    def cancel(self) -> Reply:
        if self.is_over:
            return Reply(ok=False, message=f"the run is {self.state} already")
        self._store.submit(lambda file: file.intend("cancel"))
        if self._stop is None:
            self._halt("cancelled", "")
        else:
            self._note("cancel", "cancelled")
            if self._stop[0] == "drained":
                self._stop = ("cancelled", "")
        cut = 0
        for flight in self.flights.values():
            if flight.phase != "store":
                cut += 1
                flight.stop("cancelled")
        self._dispatch()
        return Reply(ok=True, message=f"cancelled: {cut} requests cut off; what is done is kept")

    async def retry(self, idx: Iterable[int] | None = None) -> Reply:
        """Put failed items back into the queue, in chunks, so that a million of them hold nothing up."""
        chosen = None if idx is None else list(idx)[:10_000]
        self._putting_back += 1
        total, after = 0, -1
        try:
            while True:
                count, after = await self._store.submit(lambda file: file.retry(chosen, after, RETRY_CHUNK))  # noqa: B023
                if not count:
                    break
                total += count
                self.queue.retried()
                self._dispatch()
        except StoreError as error:
            return Reply(ok=False, message=str(error))
        finally:
            self._putting_back -= 1
        if not total:
            self._dispatch()
            return Reply(ok=False, message="no failed item can be tried again")
        self._note("retry", f"{total} failed items go again", total)
        if self.is_over or (self._ended is not None and self._ended.done()):
            self.wanted.set()
        self._dispatch()
        return Reply(ok=True, message=f"{total} failed items go again")

    def live(self, rows: Iterable[int] | None, *, full: bool) -> Live:
        """The rows in flight among ``rows`` with their text; None: all of them, without text."""
        now = self._loop.time()
        if rows is None:
            return Live(
                rows=tuple(
                    msgspec.structs.replace(flight.live(now, full=False), text="") for flight in self.flights.values()
                )
            )
        found = (self.flights.get(idx) for idx in rows)
        return Live(rows=tuple(flight.live(now, full=full) for flight in found if flight is not None))
