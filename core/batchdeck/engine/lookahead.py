"""Which request is the next: a few items ahead are kept in memory, and the first of them is said and waits its turn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

from batchdeck.engine.admission import Admission, Held
from batchdeck.engine.queue import Work, WorkQueue
from batchdeck.errors import BatchdeckError
from batchdeck.limits.estimate import Need
from batchdeck.model import Item, WorkOrder
from batchdeck.store.writer import Store

LEAST = 8
"""Items that are kept ahead at least."""
MOST = 1_000
"""Items that are read at once at most."""


class Candidate(NamedTuple):
    """The next request: chosen, said, and waiting for its share of the quota."""

    work: Work
    order: WorkOrder
    need: Need


class Saying(Protocol):
    """How an item becomes a request."""

    def order(self, item: Item, number: int) -> WorkOrder:
        """Raises ``BatchdeckError`` when the item cannot be rendered."""


class LookAhead:
    """The front of the queue. Who comes first goes first: once chosen, nothing overtakes a request."""

    def __init__(
        self, admission: Admission, saying: Saying, store: Store, unsendable: Callable[[Work, str, str], None],
        arrived: Callable[[], None],
    ) -> None:  # fmt: skip
        """unsendable: told work, error type and message of an item that can never be sent. arrived: more is ahead."""
        self.queue = WorkQueue()
        self.is_pulling = False
        self.chosen: Candidate | None = None
        self._session = 0
        self._admission = admission
        self._saying = saying
        self._store = store
        self._unsendable = unsendable
        self._arrived = arrived

    def __repr__(self) -> str:
        return f"<LookAhead {self.queue}, next {self.chosen.work if self.chosen else None}>"

    @property
    def is_empty(self) -> bool:
        """Nothing is left, as far as the run file was read."""
        return not self.is_pulling and self.chosen is None and self.queue.is_empty

    @property
    def is_out(self) -> bool:
        """No new item is left, as far as the run file was read; some may wait to be tried again."""
        return not self.is_pulling and self.chosen is None and self.queue.is_dry and not self.queue.ready

    def restart(self) -> None:
        """Forget everything: the run file is read again."""
        self.queue.restart()
        self.chosen = None
        self.is_pulling = False
        self._session += 1

    def choose(self, now: float) -> Candidate | None:
        """The next request; one that can never be sent fails here. None: there is none now."""
        while not self._is_chosen():
            gate = self._admission.gate
            # What is in flight may all come back to wait: a new item starts only if the heap keeps its bound.
            fresh = self._admission.allowance > 0 and self.queue.backoff + gate.in_flight < 4 * gate.cap
            # A provider that is down is asked with another item each time: one of them may be at fault itself.
            first: Literal["due", "fresh"] = "fresh" if self._admission.breaker.is_open else "due"
            work = self.queue.pop(now, fresh=fresh, first=first)
            if work is None:
                return None
            try:
                order = self._saying.order(work.item, work.attempts + 1)
            except BatchdeckError as error:
                self._unsendable(work, "bad_input", str(error))
                continue
            self.chosen = Candidate(work, order, self._admission.quota.need(len(order.body), work.refusals))
        return self.chosen

    def take(self) -> None:
        """The chosen request goes."""
        self.chosen = None

    def _is_chosen(self) -> bool:
        """Whether there is a next request. One that waits is judged by what is known now of limits and estimates."""
        if self.chosen is None:
            return False
        work, order, _ = self.chosen
        need = self._admission.quota.need(len(order.body), work.refusals)
        refused = self._admission.quota.refuses(need, was_refused=work.limited_since is not None)
        if refused is None:
            self.chosen = Candidate(work, order, need)
            return True
        self.chosen = None
        self._unsendable(work, "request_too_large", refused.message)
        return False

    def idle(self, ingest_complete: bool) -> Held | None:
        """Nothing can be sent: what is it that is waited for?"""
        due = self.queue.next_due()
        used_up = self._admission.allowance <= 0
        if due is not None and (used_up or self.queue.ready or (self.queue.is_dry and not self.is_pulling)):
            # With items ahead it is their bound that says no: so many wait to be tried again that no new one starts.
            return Held("cooldown" if self._admission.cooldown.until >= due else "backoff", due)
        if used_up:
            return Held("sweep", None)
        if self.is_pulling or not self.queue.is_dry:
            return Held("store" if self.is_pulling or ingest_complete else "input", due)
        return None if ingest_complete else Held("input", None)

    def pull(self) -> None:
        """Read on where little is ahead."""
        low = max(LEAST, self._admission.gate.cap)
        if self.is_pulling or self.queue.is_dry or self.queue.ready >= low:
            return
        self.is_pulling = True
        after, before = self.queue.refill()
        asked = min(MOST, 2 * low)
        pulled = self._store.submit(lambda file: file.pull(after, before, asked))
        session = self._session
        pulled.add_done_callback(lambda future: self._pulled(future, after, session))

    def _pulled(self, future: asyncio.Future[tuple[list[Item], bool]], after: int, session: int) -> None:
        if session != self._session:
            return  # asked before everything was begun anew
        self.is_pulling = False
        if future.cancelled() or future.exception() is not None:
            return
        items, is_dry = future.result()
        self.queue.extend(items, is_dry, after)
        self._arrived()
