"""What is to be sent next: a small look-ahead into the run file, and a heap of items that wait to be tried again.

Synchronous and without I/O: it says what to fetch, the engine fetches. Nothing here grows with the number of items.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from typing import Literal

from batchdeck.limits.quota import Ticket
from batchdeck.model import Item
from batchdeck.store.runfile import RETRY_LANE

END = 1 << 62


class Work:
    """An item on its way, with what it has been through in this session."""

    __slots__ = ("attempts", "due", "item", "level", "limited_since", "probe", "refusals", "ticket", "transient")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.attempts = item.attempts
        self.transient = 0
        self.limited_since: float | None = None
        self.refusals = 0
        """How often it was answered 429 for the account's rate."""
        self.due = 0.0
        self.ticket: Ticket | None = None
        """What was reserved of the account for the attempt that is in flight."""
        self.probe = False
        """It was sent to see whether the provider is up again."""
        self.level = 0
        """The number of the measured level that it was sent in, 0: in none."""

    def __repr__(self) -> str:
        return f"<Work {self.item.idx} attempts={self.attempts} transient={self.transient}>"


class WorkQueue:
    """Items in order of position: first what was ingested, then what was put back by a retry of failed items."""

    def __init__(self) -> None:
        self._ready: deque[Work] = deque()
        self._waiting: list[tuple[float, int, Work]] = []
        self._aside: list[tuple[float, int, Work]] = []
        self._number = 0
        self._ingest_cursor = -1
        self._retry_cursor = RETRY_LANE - 1
        self._ingest_dry = False
        self._retry_dry = False

    def __repr__(self) -> str:
        return f"<WorkQueue {len(self._ready)} ready, {len(self._waiting)} in backoff>"

    @property
    def backoff(self) -> int:
        """Items that wait to be tried again."""
        return len(self._waiting)

    @property
    def ready(self) -> int:
        return len(self._ready)

    @property
    def is_dry(self) -> bool:
        """Nothing is left in the run file behind the cursors, as far as it was read."""
        return self._ingest_dry and self._retry_dry

    @property
    def is_empty(self) -> bool:
        return self.is_dry and not self._ready and not self._waiting and not self._aside

    def restart(self) -> None:
        """Forget everything: what the run file calls queued is read again from the beginning."""
        self.__init__()  # type: ignore[misc]

    def refill(self) -> tuple[int, int]:
        """Where to read on: positions strictly between the two."""
        return (self._retry_cursor, END) if self._ingest_dry else (self._ingest_cursor, RETRY_LANE)

    def extend(self, items: list[Item], is_dry: bool, after: int) -> None:
        """Take what was read after position ``after``; ``is_dry``: its lane holds nothing behind them."""
        self._ready.extend(Work(item) for item in items)
        if after >= RETRY_LANE - 1:
            if items:
                self._retry_cursor = items[-1].position
            self._retry_dry = is_dry
        else:
            if items:
                self._ingest_cursor = items[-1].position
            self._ingest_dry = is_dry

    def ingested(self) -> None:
        """More rows came in: the first lane is worth another look."""
        self._ingest_dry = False

    def retried(self) -> None:
        """Failed items were put back: the second lane is worth another look."""
        self._retry_dry = False

    def wait(self, work: Work, until: float) -> None:
        """Put an item aside until ``until``. It gives up its slot."""
        self._number += 1
        work.due = until
        heapq.heappush(self._waiting, (until, self._number, work))

    def set_aside(self) -> None:
        """What waits to be tried again is out of the way until it is taken back."""
        self._aside += self._waiting
        self._waiting.clear()

    @property
    def aside(self) -> int:
        """Items that are out of the way."""
        return len(self._aside)

    def take_back(self) -> None:
        self._waiting += self._aside
        self._aside.clear()
        heapq.heapify(self._waiting)

    @property
    def waiting(self) -> Iterator[Work]:
        """The items that wait to be tried again, in no order."""
        return (entry[2] for entry in self._waiting)

    def next_due(self) -> float | None:
        """When the first waiting item is due."""
        return self._waiting[0][0] if self._waiting else None

    def pop(self, now: float, *, fresh: bool, first: Literal["due", "fresh"] = "due") -> Work | None:
        """The next item to send: one that is due again, else (if ``fresh``) a new one; ``first``: or the other way."""
        is_due = bool(self._waiting) and self._waiting[0][0] <= now
        if fresh and self._ready and (first == "fresh" or not is_due):
            return self._ready.popleft()
        return heapq.heappop(self._waiting)[2] if is_due else None
