"""What happened since the last sample, and the latencies of the whole session."""

from __future__ import annotations

from batchdeck.limits.cooldown import Cooldown
from batchdeck.metrics.histogram import Histogram
from batchdeck.metrics.window import RateWindow
from batchdeck.model import Counts, Sample, Settlement


class Collector:
    """Fed by the engine at every change; gives a ``Sample`` a second. All times are the loop's."""

    def __init__(self, now: float, counts: Counts, since: Counts | None = None) -> None:
        """counts: as committed. since: as the last sample of an earlier collector left them, so that none is missed."""
        self.ttft = Histogram()
        self.e2e = Histogram()
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

    def committed(self, now: float, settlement: Settlement) -> None:
        """An attempt became durable."""
        settled = settlement.settled
        if settlement.outcome is not None:
            self.items.add(now, 1)
        if settled.answer is not None and settled.answer.tokens_out:
            self.tokens.add(now, settled.answer.tokens_out)
        if settled.failure is None:
            self.e2e.add(settled.timings.seconds)
            if settled.timings.ttft is not None:
                self.ttft.add(settled.timings.ttft)

    def elapsed(self, now: float) -> float:
        """Engine seconds since the run began, over all sessions."""
        return self._base + now - self._started

    def sample(
        self, now: float, at: float, counts: Counts, cap: int, queued: int, backoff: int, hold: Cooldown
    ) -> Sample:
        """Close the interval that began with the last sample. ``counts``: as committed."""
        dt = now - self._sampled
        self.in_flight(now, self._in_flight)
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
        )
        self._sampled = now
        self._counts = counts
        self._area = 0.0
        self._peak = self._in_flight
        return sample
