"""The figures of one level of a sweep, added up as its requests go and come back."""

from __future__ import annotations

from typing import Literal

from batchdeck.engine.queue import Work
from batchdeck.metrics.histogram import Histogram
from batchdeck.model import Measured, Settled
from batchdeck.process import resident

Outcome = Literal["done", "failed"] | None


class Figures:
    """Adds up one level. All times are the loop's."""

    def __init__(self, number: int, concurrency: int, items: int) -> None:
        """number: of this level among all that the engine ever measured. items: how many may start."""
        self.number = number
        self.concurrency = concurrency
        self.left = items
        self.started = self.done = self.failed = self.attempts = self.retries = self.hits = self.tokens = 0
        self.memory = resident()
        self._began: float | None = None
        self._changed = self._ended = 0.0
        self._in_flight = 0
        self._area = 0.0
        self._e2e, self._ttft = Histogram(), Histogram()
        self._errors: dict[str, int] = {}

    @property
    def open(self) -> int:
        """Items that were started and are not settled."""
        return self.started - self.done - self.failed

    @property
    def settled(self) -> int:
        return self.done + self.failed

    def sent(self, work: Work, now: float) -> None:
        """A request starts: of a new item, or once more of one that had to wait."""
        if self._began is None:
            self._began = self._changed = now
        self._pass(now)
        if work.level != self.number:
            work.level = self.number
            self.left -= 1
            self.started += 1
        self._in_flight += 1

    def landed(self, settled: Settled, outcome: Outcome, now: float) -> None:
        self._pass(now)
        self._in_flight -= 1
        self._ended = now
        self.attempts += 1
        failure, answer = settled.failure, settled.answer
        if failure is not None:
            # Counted as the run's own counters are.
            if failure.outcome == "rate_limited" or settled.status == 429:
                self.hits += 1
            elif failure.outcome == "transient" and outcome is None:
                self.retries += 1
            self._errors[failure.error_type] = self._errors.get(failure.error_type, 0) + 1
        else:
            self._e2e.add(settled.timings.seconds)
            if settled.timings.ttft is not None:
                self._ttft.add(settled.timings.ttft)
        if answer is not None:
            self.tokens += answer.tokens_out or 0
        self.done += outcome == "done"
        self.failed += outcome == "failed"

    def look(self) -> None:
        """How much memory is it now?"""
        now = resident()
        self.memory = now if self.memory is None or now is None else max(self.memory, now)

    def measured(self) -> Measured | None:
        """None: nothing was sent."""
        self.look()
        if self._began is None:
            return None
        seconds = max(1e-6, self._ended - self._began)
        return Measured(
            concurrency=self.concurrency,
            items=self.settled,
            seconds=round(seconds, 6),
            throughput=round(self.done / seconds, 6),
            tokens_rate=round(self.tokens / seconds, 3),
            done=self.done,
            failed=self.failed,
            attempts=self.attempts,
            retries=self.retries,
            rate_limit_hits=self.hits,
            # Items that were wanted and never came did not wait.
            queue_depth=round(max(0.0, self._area / seconds - self.left), 3),
            success=self.done / self.settled if self.settled else 0.0,
            e2e=self._e2e.percentiles(),
            ttft=self._ttft.percentiles(),
            errors=self._errors,
            memory=self.memory,
        )

    def _pass(self, now: float) -> None:
        self._area += max(0, self.left + self.open - self._in_flight) * (now - self._changed)
        self._changed = now
