"""A second request for an item whose first one takes unusually long: the first answer wins, the other is cancelled.

How it goes:

    _start    → began     each request in flight is one of a ``Pair``, nearly always alone in it
    sweep     → look      those that are worth a look (``Flight.look_at``): stragglers are put down
    _next_job → next      a slot is free: a straggler's hedge goes before a new item, if admission, quota and the
                          allowance let it; never while the account, a person or a limit holds the run
    _landed   → landed    who decides the item: the first good answer, or the last of two failures. The other one is
                          stopped, and settles as an attempt of its own: ``cancelled``, ``hedged``

``Engine.flights`` holds one flight an item, that which decides it or goes on: waiting is tallied by it. The other one
is in ``others``: it counts for the gate, the quota, time limits and a cancel, not for the item. A hedge has a ``Work``
of its own, since reservation and probe are an attempt's; what the item has been through stays with its first.

Where the hedge is a straggler, too, the older request makes room for another one, once: of a hundred requests that hang
a few have a hedge that hangs. Where one of the two failed, no other is sent: from there on it is a matter of retries.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from batchdeck.engine.attempt import Flight
from batchdeck.engine.lookahead import Candidate
from batchdeck.engine.queue import Work
from batchdeck.engine.spare import beaten, spare
from batchdeck.model import HEDGED, Hedged, Reason, Settled
from batchdeck.retry.hedge import KNOWN_FROM, Allowance, Usual, is_straggler, level, limit

if TYPE_CHECKING:
    from batchdeck.engine.admission import Held
    from batchdeck.engine.engine import Engine

MOST = 2
"""Hedges for one try of an item."""
LEARN_SECONDS = 1.0
"""How often it is asked anew what is usual."""
LIMITS: tuple[Reason, ...] = ("rpm", "tpm", "daily", "cooldown", "budget", "breaker")
"""While one of these holds the run, a second request would be at the cost of a first one."""


class Hedge(Work):
    """A second request on its way. ``first``: the item's own work."""

    __slots__ = ("first",)

    def __init__(self, first: Work) -> None:
        super().__init__(first.item)
        self.first = first


class Pair:
    """The requests in flight for one item. ``winner``: whose answer came first, once it came."""

    __slots__ = ("first", "hedges", "second", "winner", "work")

    def __init__(self, work: Work, first: Flight) -> None:
        self.work = work
        self.first: Flight | None = first
        self.second: Flight | None = None
        self.hedges = 0
        self.winner: Settled | None = None

    @property
    def may_be_hedged(self) -> bool:
        return self.winner is None and self.hedges < MOST

    def leave(self, flight: Flight) -> Flight | None:
        """One landed. Returns the other one, if it is still in flight: it is the first from now on."""
        self.first, self.second = (self.second if flight is self.first else self.first), None
        return self.first


class Landing(NamedTuple):
    """What follows from an attempt. ``decides``: the work of the item that it decides; None: another request does."""

    settled: Settled
    decides: Work | None
    told: Hedged | None


class Hedging:
    """The pairs of one engine, and which of them wait for a second request."""

    def __init__(
        self, engine: Engine, closed: Callable[[float], Held | None], price: Callable[[Settled], Settled]
    ) -> None:
        """closed: what holds every request back now, if anything does. price: an attempt with its cost."""
        self._engine = engine
        self._closed = closed
        self._price = price
        self.begin()

    def __repr__(self) -> str:
        return f"<Hedging {len(self.others)} of {len(self._pairs)} in flight, {len(self._due)} due, {self._allowance}>"

    def begin(self) -> None:
        """A session begins, or has ended: nothing is in flight."""
        self.others: dict[int, Flight] = {}
        """By item: the request in flight beside that in ``Engine.flights``."""
        self.usual = Usual()
        self._learned_at = -math.inf
        self._lost = 0
        self._pairs: dict[int, Pair] = {}
        self._due: dict[int, None] = {}
        self._allowance = Allowance()
        self._was_on = False

    @property
    def share(self) -> float | None:
        """Hedges for each other request, at most; None: it is off."""
        return self._engine.config.hedge

    def shown(self, flight: Flight) -> Flight:
        """Of an item's requests the one that is further."""
        other = self.others.get(flight.order.idx)
        is_further = other is not None and flight.phase != "store" and other.tokens > flight.tokens
        return other if other is not None and is_further else flight

    # -- when

    def look(self, due: Iterable[Flight], now: float) -> bool:
        """Put down the stragglers among those that are worth a look. True: there is a new one."""
        if self.share is None:
            self._was_on = False
            self._due.clear()
            return False
        if now >= self._learned_at + LEARN_SECONDS:
            self._learn(now)
        if not self._was_on:
            # Turned on in mid-run: what is in flight was not to be looked at.
            self._was_on = True
            due = [*self._engine.flights.values()]
        before = len(self._due)
        for flight in due:
            pair = self._pairs.get(flight.order.idx)
            if pair is None or not pair.may_be_hedged or flight is not (pair.second or pair.first):
                continue
            if self._straggles(flight, now):
                self._due[flight.order.idx] = None
                if flight.heard_at is None:
                    flight.look_at = now + LEARN_SECONDS
            elif flight.heard_at is None:
                flight.look_at = self._overdue(flight, now)
        return len(self._due) > before

    def _learn(self, now: float) -> None:
        self._learned_at = now
        collector = self._engine.journal.collector
        answers = collector.e2e.total
        if answers < KNOWN_FROM:
            return
        share = level(answers, self._lost)
        ttft = collector.ttft.quantile(share) if collector.ttft.total >= KNOWN_FROM else None
        self.usual = Usual(ttft, collector.e2e.quantile(share))

    def _straggles(self, flight: Flight, now: float) -> bool:
        silent = None if flight.heard_at is None else now - flight.heard_at
        return is_straggler(
            self.usual,
            now - flight.started,
            silent,
            streams=flight.order.stream,
            is_stalled=flight.is_stalled,
            pause=flight.quiet,
        )

    def _overdue(self, flight: Flight, now: float) -> float:
        """When one that waits is to be looked at."""
        longest = limit(self.usual, streams=flight.order.stream)
        return now + LEARN_SECONDS if longest is None else max(now, flight.started + longest)

    # -- sending

    def next(self, now: float) -> Candidate | None:
        """The hedge to be sent now; None: there is none, or it may not go."""
        if not self._due or self.share is None or not self._allowance.allows(self.share) or self._is_held(now):
            return None
        for idx in tuple(self._due):
            pair = self._pairs[idx]
            first, second = pair.first, pair.second
            if first is None or not pair.may_be_hedged or not self._straggles(first, now):
                # It has begun to stream meanwhile: it is looked at again when that falls silent.
                del self._due[idx]
                continue
            if second is not None:
                del self._due[idx]
                if self._straggles(second, now):
                    first.stop(HEDGED)
                continue
            work = pair.work
            order = msgspec.structs.replace(first.order, number=work.attempts + 1)
            need = self._engine.admission.quota.need(len(order.body), work.refusals)
            held = self._engine.admission.spaced(now, need)
            if held is not None:
                if held.until is not None:
                    self._engine.wake_at(held.until)
                return None
            del self._due[idx]
            work.attempts += 1
            return Candidate(Hedge(work), order, need)
        return None

    def _is_held(self, now: float) -> bool:
        engine = self._engine
        is_limited = engine.waits.held in LIMITS or engine.admission.breaker.is_open
        # A sweep measures what each of its items takes with one request at a time.
        return is_limited or engine.sweeping.is_active or self._closed(now) is not None

    def began(self, work: Work, flight: Flight, now: float) -> None:
        """A request is in flight."""
        idx = work.item.idx
        if isinstance(work, Hedge):
            pair = self._pairs[idx]
            pair.second = flight
            pair.hedges += 1
            self.others[idx] = flight
            flight.look_at = self._overdue(flight, now)
            assert self.share is not None
            self._allowance.spend(self.share)
            return
        self._engine.flights[idx] = flight
        self._pairs[idx] = Pair(work, flight)
        self._allowance.earn()
        if self.share is not None:
            flight.look_at = self._overdue(flight, now)

    # -- deciding

    def landed(self, work: Work, flight: Flight, settled: Settled) -> Landing:
        """A request came back, however it went: who decides the item?"""
        idx, is_second = work.item.idx, isinstance(work, Hedge)
        pair = self._pairs[idx]
        other = pair.leave(flight)
        self._due.pop(idx, None)
        if other is None:
            del self._pairs[idx]
        if pair.winner is not None:
            del self.others[idx]
            return Landing(beaten(settled), None, spare(is_second, flight, settled, pair.winner, self._price))
        if other is None:
            return Landing(settled, pair.work, Hedged(is_second=True) if is_second else None)
        if settled.failure is None:
            pair.winner = settled
            self._lost += is_second
            self._engine.flights[idx], self.others[idx] = flight, other
            other.stop(HEDGED)
            return Landing(settled, pair.work, Hedged(is_second=True) if is_second else None)
        self._engine.flights[idx] = other
        del self.others[idx]
        if settled.failure.error_type != HEDGED:
            pair.hedges = MOST
        elif pair.may_be_hedged:
            self._due[idx] = None
        return Landing(settled, None, spare(is_second, flight, settled, None, self._price))
