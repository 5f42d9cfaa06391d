"""What happened since the last sample, and the latencies of the whole session."""

from __future__ import annotations

from collections.abc import Mapping

from batchdeck.limits.cooldown import Cooldown
from batchdeck.metrics.histogram import Histogram
from batchdeck.metrics.window import RateWindow
from batchdeck.model import Counts, Reason, Sample, Settlement, Timings


class _Latencies:
    """Of the answers since the last sample."""

    def __init__(self) -> None:
        self.ttft = Histogram()
        self.itl = Histogram()
        self.e2e = Histogram()

    def add(self, timings: Timings) -> None:
        self.e2e.add(timings.seconds)
        if timings.ttft is not None:
            self.ttft.add(timings.ttft)
        if timings.itl is not None:
            self.itl.add(timings.itl)


class Collector:
    """Fed by the engine at every change; gives a ``Sample`` a second. All times are the loop's."""

    def __init__(self, now: float, counts: Counts, since: Counts | None = None) -> None:
        """counts: as committed. since: as the last sample of an earlier collector left them, so that none is missed."""
        self.ttft = Histogram()
        self.e2e = Histogram()
        self.itl = Histogram()
        self._since = _Latencies()
        self.tokens_in = Histogram()
        self.tokens_out = Histogram()
        self.items = RateWindow()
        self.tokens = RateWindow()
        self.items.start(now)
        self.tokens.start(now)
        self._base = counts.seconds
        self._started = now
        self._sampled = now
        self._counts = counts if since is None else since
        self._changed = now
        self._in_flight = 0
        self._area = 0.0
        self._peak = 0
        self._stalled = self._stalled_most = 0
        self._queued = counts.unfinished
        self._queued_at = now
        self._queue_area = 0.0

    @property
    def sampled(self) -> Counts:
        """The counters that the samples so far add up to."""
        return self._counts

    def in_flight(self, now: float, count: int) -> None:
        """The number of requests in flight changed."""
        self._area += self._in_flight * (now - self._changed)
        self._changed = now
        self._in_flight = count
        self._peak = max(self._peak, count)

    def stalled(self, count: int) -> None:
        """So many streams have fallen silent."""
        self._stalled = count
        self._stalled_most = max(self._stalled_most, count)

    def waiting(self, now: float, count: int) -> None:
        """The number of items that are neither settled nor in flight changed."""
        self._queue_area += self._queued * (now - self._queued_at)
        self._queued_at = now
        self._queued = count

    def committed(self, now: float, settlement: Settlement) -> None:
        """An attempt became durable."""
        settled = settlement.settled
        if settlement.outcome is not None:
            self.items.add(now, 1)
        if settled.answer is not None and settled.answer.tokens_out:
            self.tokens.add(now, settled.answer.tokens_out)
        if settled.answer is not None and settled.answer.tokens_in is not None:
            self.tokens_in.add(settled.answer.tokens_in)
        if settled.answer is not None and settled.answer.tokens_out is not None:
            self.tokens_out.add(settled.answer.tokens_out)
        if settled.failure is None:
            self.e2e.add(settled.timings.seconds)
            if settled.timings.ttft is not None:
                self.ttft.add(settled.timings.ttft)
            if settled.timings.itl is not None:
                self.itl.add(settled.timings.itl)
            self._since.add(settled.timings)

    def elapsed(self, now: float) -> float:
        """Engine seconds since the run began, over all sessions."""
        return self._base + now - self._started

    def sample(
        self, now: float, at: float, counts: Counts, cap: int, queued: int, backoff: int, hold: Cooldown,
        waits: Mapping[Reason, int], held: dict[str, float],
    ) -> Sample:  # fmt: skip
        """Close the interval that began with the last sample. ``counts``: as committed.

        waits: each unfinished item under one reason. held: seconds of the interval by what held the next request.
        """
        dt = now - self._sampled
        self.in_flight(now, self._in_flight)
        self.waiting(now, queued)
        last = self._counts
        sample = Sample(
            t=self.elapsed(now),
            at=at,
            dt=dt,
            done=counts.done - last.done,
            failed=counts.failed - last.failed,
            attempts=counts.attempts - last.attempts,
            rate_limit_hits=counts.rate_limit_hits - last.rate_limit_hits,
            tokens_in=counts.tokens_in - last.tokens_in,
            tokens_out=counts.tokens_out - last.tokens_out,
            cost=counts.cost - last.cost,
            in_flight=self._area / dt if dt > 0 else float(self._in_flight),
            in_flight_max=self._peak,
            concurrency=cap,
            queued=queued,
            backoff=backoff,
            cooldown=hold.held(self._sampled, now),
            queue_depth=self._queue_area / dt if dt > 0 else float(queued),
            waits={str(reason): count for reason, count in waits.items()},
            held=held,
            ttft=self._since.ttft.buckets,
            itl=self._since.itl.buckets,
            e2e=self._since.e2e.buckets,
            stalled=self._stalled_most,
        )
        self._since = _Latencies()
        self._sampled = now
        self._counts = counts
        self._area = self._queue_area = 0.0
        self._peak = self._in_flight
        self._stalled_most = self._stalled
        return sample
