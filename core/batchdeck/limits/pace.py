"""A rate learned from 429s alone, for accounts whose limits no header tells.

At a 429 the quota is used up, whatever its kind. So what was let in during the minute before is a minute's worth of
it; and sooner after the first 429 than that, what was let in since tells how fast a bucket fills. A hold that lasts
long shows that nothing fills at all: then it is a window, and what it let in before the first 429 is a minute's worth.
Until that is known the pace climbs. Then it follows the curve of CUBIC (Ha, Rhee, Xu, 2008; RFC 9438): down by a little
after a 429, soon back to the known rate, slowly past it, then faster. One 429 lowers what is known by a little only,
since a window that was used unevenly lets in unevenly for a while.

Once a window is seen, its last minute is kept below what it holds, whatever the pace: a gap in it can be filled faster
than evenly, and who filled it too fast waits until its own requests are a minute old, instead of asking again.
"""

from __future__ import annotations

import math

from batchdeck.limits.trail import MINUTE, Trail

CLIMB = 1.5
"""Growth a second while the true rate is not known yet."""
GROW = 1.006
"""Growth a second once the known rate was passed for long without a 429."""
LESS, MUCH_LESS = 0.93, 0.85
"""What is left of the pace after a 429, and after one that comes within ``SOON`` seconds of the last."""
SOON = 10.0
BACK = 20.0
"""Seconds until the pace is back where it was."""
WINDOW = 5.0
"""Seconds in which nothing comes back, after which it is no bucket."""
LATE = 0.15
"""Share of a hold that it may have lasted too long."""
AT_ONCE = 0.5
"""Seconds in which a request is refused, if it is."""
HURRY = 1.5
"""How much faster than its rate a window may be filled that has room: a gap in it is gone a minute later."""
LESS_FULL, SMALLER = 0.98, 0.7
"""What is left after a 429 of what a window holds, and at least of the pace before it."""
SOONER = 0.5
"""How much sooner the pace of a window is back where it was: its 429s tell exactly how much it holds."""
LEAST = 1 / 60
"""Requests a second."""


class Pace:
    """Requests a second that the account seems to bear; ``rate`` is None while no 429 has told anything."""

    def __init__(self, now: float) -> None:
        self.rate: float | None = None
        self._at = now
        self._level = 1.0
        self._trail = Trail()
        self.weight = 1.0
        """Requests of the whole account that one of this run stands for: it has a share of them."""
        self._let_in = 0.0
        self._top: float | None = None
        self._from = 0.0
        self._cycle = 0.0
        self._bound_at = now - MINUTE
        self._cut_at = now - MINUTE
        self._first: tuple[float, float] | None = None
        """When the quota was used up for the first time, and how many had been let in by then."""
        self._own_wait = 0.0
        self._is_window = False
        """Whether the account was taken for one that counts by the minute, be it a fixed or a sliding one."""
        self._again: float | None = None
        """When the first request went that was not refused since the quota was used up."""

    def __repr__(self) -> str:
        return "<Pace open>" if self.rate is None else f"<Pace {self.rate:.2f}/s, top {self._top}>"

    def adopt(self, rate: float | None, now: float) -> None:
        """Take over what another run of the same account has learned: from a 429, or by climbing without one."""
        if rate is None:
            return
        self._advance(now, 1.0)
        if self.rate is not None and rate >= self.rate:
            self.rate = rate
            return
        if self.rate is None or self._top is not None:
            self._top = max(LEAST, rate)
        self.rate = self._from = max(LEAST, rate)
        self._first = self._first or (now, self._let_in)
        self._cut(now)

    def accepted(self) -> None:
        """The provider let a request in."""
        if self._again is None or self.rate is None or self._again - self._cut_at < WINDOW + self._own_wait:
            return
        held, self._again = self._again - self._cut_at, -math.inf
        self._is_window = True
        if self._top is None and self._first is not None:
            self._top = max(LEAST, self._first[1] / MINUTE)
            self.rate = LESS * self._top
        elif self._top is not None:
            # What a window holds when it lets in again is a minute's worth.
            oldest = self._cut_at + (1.0 - LATE) * held - MINUTE
            measured = self._trail.between(oldest, self._cut_at) / MINUTE
            self._top = max(LEAST, min(self._top, max(measured, self._top * max(0.25, 1.0 - held / MINUTE))))
            self.rate = min(self.rate, LESS * self._top)
        self._from = self.rate
        self._cycle = 0.0

    def refused(self, now: float, sent_at: float) -> bool:
        """A request sent at ``sent_at`` was answered 429. True: the pace is another now."""
        self._let_in -= self.weight
        self._trail.amend(sent_at, -self.weight)
        if self._again is not None and sent_at <= self._again:
            self._again = None
        if self.rate is None and self._let_in < self.weight:
            return False  # nothing was ever let in: that tells no rate
        if sent_at <= self._cut_at:
            if self._first is not None and sent_at <= self._first[0]:
                self._first = (self._first[0], self._first[1] - self.weight)
            return False
        if self.rate is not None and self._trail.between(self._cut_at, sent_at - AT_ONCE) < 2 * self.weight:
            # Nothing has come back since the last: it tells of the same emptiness.
            self._level = min(self._level, 0.0)
            if self._is_window and self._top is not None:
                # Until something comes back: then the curve goes on where it was.
                self.rate = max(LEAST, min(self.rate, max(self._holds(sent_at), MUCH_LESS * self._top)))
            return False
        self._advance(now, 1.0)
        if self.rate is None or self._first is None:
            self.rate = self._from = max(LEAST, self._let_in / MINUTE)
            self._first = (now, self._let_in)
        else:
            if self._is_window:
                self._full(sent_at)
                self._cut(now)
                return True
            less = MUCH_LESS if now - self._cut_at < SOON else LESS
            self._learn(now, less)
            self.rate = max(LEAST, less * (self.rate if self._top is None else min(self.rate, self._top)))
            self._from = self.rate
        self._cut(now)
        return True

    def _full(self, sent_at: float) -> None:
        """A window is full: what it holds is what was let in during its minute."""
        assert self.rate is not None
        self._top = max(LEAST, min(self.rate, max(self._holds(sent_at), SMALLER * self.rate)))
        self.rate = self._from = max(LEAST, LESS_FULL * self._top)

    def _holds(self, now: float) -> float:
        """Requests a second of the last minute."""
        return self._trail.between(now - MINUTE, now) / MINUTE

    def _cut(self, now: float) -> None:
        self._cycle = 0.0
        self._cut_at = now
        self._again = None
        self._level = min(self._level, 0.0)
        # So long nothing would have been sent anyway, which shows nothing.
        self._own_wait = 2.0 * self.weight / (self.rate or 1.0)

    def _learn(self, now: float, less: float) -> None:
        """What has been let in lately is what comes back."""
        assert self._first is not None
        assert self.rate is not None
        began, let_in = self._first
        if now - began >= MINUTE:
            measured = self._holds(now)
        elif now - began >= WINDOW:
            measured = (self._let_in - let_in) / (now - began)
        else:
            return
        if self._top is not None:
            measured = max(measured, less * self._top)
        self._top = max(LEAST, min(self.rate, measured))

    def wait(self, now: float, share: float = 1.0) -> float:
        """Seconds until one more may be sent."""
        if self.rate is None:
            return 0.0
        self._advance(now, share)
        wait = 0.0
        if self._level < 1.0 - 1e-9:
            wait = (1.0 - self._level) / (self._spacing * share)
        if self._is_window:
            wait = max(wait, self._until_free(now))
        if wait > 0:
            self._bound_at = now
        return wait

    @property
    def _spacing(self) -> float:
        """Requests a second that may follow each other."""
        assert self.rate is not None
        return self.rate * (HURRY if self._is_window else 1.0)

    def _until_free(self, now: float) -> float:
        """Seconds until the last minute holds less than a minute's worth."""
        assert self.rate is not None
        # Of an account that is shared, one of ours stands for several, so that it is known to that grain only.
        grain = self.weight if self.weight > 1.0 else 0.0
        over = self._trail.between(now - MINUTE, now) + self.weight - max(self.weight, self.rate * MINUTE) - grain
        if over <= 1e-9:
            return 0.0
        for at, amount in self._trail.after(now - MINUTE):
            over -= amount
            if over <= 1e-9:
                return max(0.01, at + MINUTE - now)
        return MINUTE

    def take(self, now: float) -> None:
        """A request goes. Until it is refused it counts as let in: answers may take long."""
        self._let_in += self.weight
        self._trail.add(now, self.weight)
        if self.rate is not None:
            self._level -= 1.0
            if self._again is None:
                self._again = now

    def _advance(self, now: float, share: float) -> None:
        passed, self._at = max(0.0, now - self._at), max(now, self._at)
        if self.rate is None or not passed:
            return
        # A second's worth may be made up for, so that a hold costs little.
        spacing = self._spacing * share
        self._level = min(max(1.0, spacing), self._level + spacing * passed)
        if now - self._bound_at > 1.0 + 2.0 / (self.rate * share):
            return  # something else is the limit: there is no evidence that more would be taken
        self._cycle += passed
        if self._top is None:
            self.rate *= CLIMB ** min(passed, 5.0)
            return
        back = max(BACK, 50.0 / self._top) * (SOONER if self._is_window else 1.0)
        way = min(self._cycle / back - 1.0, 1.0) ** 3
        curve = self._top + (self._top - self._from if way < 0 else (1.0 - LESS) * self._top) * way
        self.rate = max(self.rate, curve * GROW ** max(0.0, self._cycle - 2.0 * back))
