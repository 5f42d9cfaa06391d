"""May one more request start, and if not, why and for how long: all that can say no, asked in one order."""

from __future__ import annotations

import math
import random
from typing import NamedTuple

from batchdeck.engine.gate import Gate
from batchdeck.engine.queue import Work
from batchdeck.limits.budget import Spending
from batchdeck.limits.cooldown import Cooldown
from batchdeck.limits.estimate import Need
from batchdeck.limits.headers import read_limits
from batchdeck.limits.quota import Quota
from batchdeck.model import HEDGED, Counts, Failure, Reason, RunConfig, Settled, Wall
from batchdeck.retry.breaker import Breaker

BROKEN_OFF = (
    "truncated", "reset", "protocol", "too_large", "timeout_first_token", "timeout_idle", "timeout_total", "cancelled",
    HEDGED,
)  # fmt: skip
"""What ends an answer whose head was good, though nothing of its text may have come: models think unseen."""


class Held(NamedTuple):
    """Why nothing starts, and the loop's time at which that may be over, where it is known."""

    reason: Reason
    until: float | None


class Admission:
    """The rules of one run. Synchronous; times are the loop's but for ``wall``."""

    def __init__(self, config: RunConfig, now: float, rng: random.Random, wall: Wall, most: int) -> None:
        self.gate = Gate(config.concurrency, most)
        self.cooldown = Cooldown(rng)
        self.quota = Quota(config.quotas, now, max_tokens=config.max_tokens)
        self.spending = Spending(config.budget)
        self.breaker = Breaker(rng, max_outage=config.budget.max_outage)
        self.allowance: float = math.inf
        """How many items may still start that were not sent before: a measured level has only so many."""
        self._provider = config.provider
        self._rng = rng
        self._wall = wall

    def begin(self, config: RunConfig, counts: Counts, now: float) -> None:
        """A session begins: nothing is in flight, and the provider may be another than it was."""
        self.gate.in_flight = 0
        self.gate.open(now)
        self.spending = Spending(config.budget, counts)
        self.breaker = Breaker(self._rng, max_outage=config.budget.max_outage)

    def configure(self, config: RunConfig, now: float) -> None:
        """Other settings, from now on."""
        self.quota.configure(config.quotas, now)
        self.spending.change(config.budget)
        self.breaker.max_outage = config.budget.max_outage

    def closed(self, now: float, counts: Counts) -> Held | None:
        """What holds any request, whatever its size."""
        wait = self.breaker.wait(now, self.gate.in_flight)
        if wait > 0:
            return Held("breaker", now + wait)
        if self.spending.holds(counts):
            return Held("budget", None)
        wait = self.cooldown.wait(now, self.gate.in_flight, self.gate.cap)
        if wait > 0:
            return Held("cooldown", now + wait)
        room = self.gate.wait(now)
        if room is None or room > 0:
            return Held("cap", None if room is None else now + room)
        return None

    def spaced(self, now: float, need: Need) -> Held | None:
        """What holds this request: the account's quota."""
        wait, reason = self.quota.wait(now, need)
        return None if reason is None else Held(reason, now + wait)

    def enter(self, now: float, work: Work, need: Need, size: int) -> None:
        work.ticket = self.quota.take(now, need, size)
        work.probe = self.breaker.sent()
        self.spending.sent()
        self.gate.enter()

    def answered(self, work: Work, status: int, headers: tuple[tuple[str, str], ...], now: float) -> None:
        """An answer has begun: its headers tell of the account long before it ends."""
        assert work.ticket is not None
        knows = False
        if self.quota.wants(now, status):
            readings = read_limits(headers, self._wall(), self._provider)
            knows = bool(readings)
            self.quota.heard(work.ticket, readings, now)
        if status != 429:
            self.quota.accepted()
            self.gate.answered(knows=knows)

    def landed(self, work: Work, settled: Settled, now: float) -> str:
        """A request came back, however it went. Returns what the breaker did about it, in a sentence, mostly empty."""
        assert work.ticket is not None
        self.gate.leave()
        self.spending.landed(*_used(settled))
        answer, failure = settled.answer, settled.failure
        limited = failure is not None and failure.outcome == "rate_limited"
        if limited or settled.status == 429:
            # An account without money, or a request that is too large, tells nothing of the rate.
            self.quota.refused(work.ticket, now, tells=limited)
        else:
            told = (answer.tokens_in, answer.tokens_out) if answer is not None else (None, None)
            self.quota.settle(work.ticket, *told, now)
        if failure is None:
            if self.breaker.succeeded(now, work.probe):
                self.gate.open(now)
                return "the provider answers again"
        elif failure.outcome != "cancelled":
            was_open = self.breaker.is_open
            if self.breaker.failed(now, work.item.idx, failure, work.probe) and not was_open:
                return self.breaker.reason(now)
            if was_open and not self.breaker.is_open:
                self.gate.open(now)
                return "the provider answers again"
        return ""

    def committed(self, settled: Settled) -> None:
        """The counters hold it now."""
        self.spending.committed(*_used(settled))

    def over(self, counts: Counts, now: float, *, is_paused: bool) -> str | None:
        """The sentence to stop the run with; None while it may go on. A run that is paused waits for no provider."""
        gave_up = None if is_paused else self.breaker.gave_up(now)
        return gave_up or self.spending.over(counts, self._wall())


def _used(settled: Settled) -> tuple[int, float | None, bool, bool]:
    """Tokens, dollars, whether it is a whole answer, and whether one that broke off, as ``Spending`` takes them."""
    answer, failure = settled.answer, settled.failure
    tokens = (answer.tokens_in or 0) + (answer.tokens_out or 0) if answer is not None else 0
    return tokens, settled.cost, failure is None, failure is not None and _broke_off(settled, failure)


def _broke_off(settled: Settled, failure: Failure) -> bool:
    """Whether an answer began that was not whole: the provider may bill it. An error instead of an answer is not one,
    nor is a page of somebody else's."""
    if settled.status is None or not 200 <= settled.status < 300:
        return False
    return settled.timings.ttft is not None or failure.error_type in BROKEN_OFF
