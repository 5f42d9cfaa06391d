"""What the provider would still take, mirrored from what its answers say remains.

An answer tells what remained when its request was decided on. Since then more was sent, and something came back: the
first is known exactly, the second is learned. A bucket gives back evenly, a window nothing until it turns; and a
stranger on the same account takes some away. All three are one figure, the drift, measured between two answers. How far
such forecasts go wrong is measured as well, and kept as a margin (as TCP's timer keeps a multiple of the mean deviation:
Jacobson, "Congestion Avoidance and Control", 1988).
"""

from __future__ import annotations

FASTER = 0.3
"""Weight of the newest measurement of the drift."""
SPAN = 1.0
"""Seconds that one measurement of the drift takes at least."""
DEVIATIONS = 4.0
MARGIN_AT_MOST = 0.5
"""Share of what there can be at most."""
PROBE = 0.05
"""Where nothing seems to come back, the mirror opens at this share of the limit's rate: it may be wrong."""
STALE = 120.0
"""Seconds after which an answer tells nothing any more."""


class Mirror:
    """One meter of the account. Amounts sent are cumulative: ``mark`` is their sum up to and with a request."""

    def __init__(self, rate: float, unit: float) -> None:
        """rate: of the limit, a second. unit: the smallest error that is reckoned with."""
        self.rate = rate
        self._unit = unit
        self._remaining: float | None = None
        self._mark = 0.0
        self._told_at = 0.0
        self._reset_at: float | None = None
        self._probed: float | None = None
        self._most = 0.0
        self._drift = rate
        self._began: tuple[float, float, float] | None = None
        self._deviation = 0.0

    def __repr__(self) -> str:
        return f"<Mirror {self._remaining} left at {self._told_at:.2f}, drift {self._drift:.2f}/s, ±{self._deviation:.1f}>"

    @property
    def margin(self) -> float:
        return min(self._unit + DEVIATIONS * self._deviation, MARGIN_AT_MOST * self._most)

    def told(self, remaining: float, reset: float | None, mark: float, sent_at: float, now: float) -> None:
        """An answer said what remained. mark, sent_at: of its request. reset: seconds from now until all is there."""
        if self._remaining is not None and mark <= self._mark and sent_at <= self._told_at:
            return  # an older request: what it tells is out of date
        if self._remaining is not None:
            self._measure(remaining, mark, sent_at)
        self._remaining, self._mark, self._told_at = remaining, mark, sent_at
        self._reset_at = None if reset is None else now + reset
        self._probed = None
        self._most = max(self._most, remaining)

    def _measure(self, remaining: float, mark: float, sent_at: float) -> None:
        assert self._remaining is not None
        gone = mark - self._mark
        expected = min(self._remaining + self._drift * (sent_at - self._told_at) - gone, self._most)
        error = remaining - expected
        if error > max(0.25 * self._most, 4 * self._unit):
            # A window has turned: nothing to be learned of the time before.
            self._began = (remaining, mark, sent_at)
            self._drift = max(self._drift, 0.0)
            return
        # Only what was overestimated leads to a refusal.
        self._deviation += 0.1 * (max(0.0, -error) - self._deviation)
        if self._began is None:
            self._began = (self._remaining, self._mark, self._told_at)
        before, began_mark, began_at = self._began
        span = sent_at - began_at
        if span >= SPAN:
            measured = (remaining - before + mark - began_mark) / span
            if remaining < 0.9 * self._most or measured > self._drift:
                # A full bucket gives nothing back, which does not tell how fast it would.
                self._drift += FASTER * (max(-self.rate, min(self.rate, measured)) - self._drift)
            self._began = (remaining, mark, sent_at)

    def refused(self, amount: float) -> None:
        """A request of this size that the mirror let through was refused."""
        self._deviation = max(1.5 * self._deviation, 0.5 * amount)

    def resize(self, rate: float) -> None:
        """Another limit."""
        if rate != self.rate:
            self._drift = min(self._drift, rate)
            self._most *= min(1.0, rate / self.rate)
            self.rate = rate

    def level(self, now: float, mark: float) -> float | None:
        """What would be taken now, ``mark`` being all that was sent; None: unknown."""
        if self._remaining is None or now - self._told_at > STALE:
            return None
        return min(self._remaining + self._drift * (now - self._told_at) - (mark - self._mark), self._most)

    def wait(self, now: float, mark: float, amount: float) -> float:
        """Seconds until ``amount`` more may be sent, as far as is known; 0: now."""
        level = self.level(now, mark)
        if level is None:
            return 0.0
        margin = self.margin
        missing = min(amount, self._most - margin) + margin - level
        if missing <= 1e-9:
            return 0.0
        seconds = missing / max(self._drift, PROBE * self.rate)
        if self._reset_at is not None:
            if now < self._reset_at:
                return max(0.01, min(seconds, self._reset_at - now))
            # With some providers all is there again now, with others only something: one request will tell.
            if self._probed is None:
                self._probed = mark
            if mark <= self._probed:
                return 0.0
        return max(seconds, 0.01)
