"""What is told of a run while it goes: events, a sample a second, failures in the log. All but the log is committed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from batchdeck.limits.cooldown import Cooldown
from batchdeck.metrics.collector import Collector
from batchdeck.model import Counts, Failure, Reason, Wall
from batchdeck.store.writer import Store

log = logging.getLogger("batchdeck.engine")

LOGGED_EXAMPLES = 20
"""Failed items of one class that get a line in the log."""

Trace = Callable[[float, str, int, str], None]
"""Called with (time, what, idx, detail) at every decision."""


class Journal:
    """The chronicle of one engine. ``samples``: how many the run file holds."""

    def __init__(self, store: Store, wall: Wall, counts: Counts, samples: int, trace: Trace | None) -> None:
        self._store = store
        self._wall = wall
        self._trace = trace
        self._loop = asyncio.get_running_loop()
        self._logged: dict[str, int] = {}
        self.samples = samples
        self.collector = Collector(self._loop.time(), counts)

    def begin(self, counts: Counts) -> None:
        """A session begins: rates and latencies are those of this one."""
        self.collector = Collector(self._loop.time(), counts, self.collector.sampled)

    def trace(self, what: str, idx: int, detail: str) -> None:
        if self._trace is not None:
            self._trace(self._loop.time(), what, idx, detail)

    def note(self, kind: str, detail: str, value: float | None = None, *, t: float | None = None) -> None:
        """An event, into the run file and the log. ``t``: when, in engine seconds; None: now."""
        t = self.collector.elapsed(self._loop.time()) if t is None else t
        at = self._wall()
        log.info("%s: %s", kind, detail)
        self.trace(kind, -1, detail)
        self._store.submit(lambda file: file.event(t, at, kind, detail, value))

    def sample(
        self, counts: Counts, cap: int, queued: int, backoff: int, hold: Cooldown, waits: Mapping[Reason, int],
        held: dict[str, float],
    ) -> None:  # fmt: skip
        """Close the interval that began with the last sample."""
        now, at = self._loop.time(), self._wall()
        sample = self.collector.sample(now, at, counts, cap, queued, backoff, hold, waits, held)
        if sample.dt > 0:
            self._store.submit(lambda file: file.sample(sample)).add_done_callback(self._sampled)

    def failed(self, idx: int, failure: Failure) -> None:
        """An item failed for good: the first of each class are named in the log."""
        seen = self._logged[failure.error_type] = self._logged.get(failure.error_type, 0) + 1
        if seen <= LOGGED_EXAMPLES:
            log.warning("item %d failed: %s: %s", idx, failure.error_type, failure.message)
            if seen == LOGGED_EXAMPLES:
                log.warning("further failures of class %s are only counted", failure.error_type)

    def _sampled(self, future: asyncio.Future[None]) -> None:
        if not future.cancelled() and future.exception() is None:
            self.samples += 1
