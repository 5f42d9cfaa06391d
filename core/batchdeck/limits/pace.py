"""A rate learned from 429s alone, for accounts whose limits no header tells.

At a 429 the quota is used up, whatever its kind. So what was let in between two of them, over the time between, is the
rate at which it comes back. The first one has no other before it: as most quotas are a minute's, it counts as a minute's
worth. From there the pace climbs until the next 429 tells the true rate, and then follows the curve of CUBIC (Ha, Rhee,
Xu, 2008; RFC 9438): down by a little, back soon, slowly past the known rate, then faster.
"""

from __future__ import annotations

MINUTE = 60.0
CLIMB = 1.5
"""Growth a second while the true rate is not known yet."""
GROW = 1.04
"""Growth a second once the known rate was passed for long without a 429."""
LESS, MUCH_LESS = 0.93, 0.75
"""What is left of the pace after a 429, and after one that comes within ``SOON`` seconds of the last."""
SOON = 10.0
BACK = 20.0
"""Seconds until the pace is back where it was."""
LEAST = 1 / 60
"""Requests a second."""
TELLING = 0.001
"""A smaller share is that of a run that has not got its own yet: it tells nothing of the account."""


class Pace:
    """Requests a second that the account seems to bear; ``rate`` is None while no 429 has told anything."""

    def __init__(self, now: float) -> None:
        self.rate: float | None = None
        self._began = now
        self._at = now
        self._level = 1.0
        self._share = 1.0
        self._let_in = 0.0
        """By the whole account, judged by this run's share of it."""
        self._top: float | None = None
        self._cycle = 0.0
        self._bound_at = now - MINUTE
        self._cut_at = now - MINUTE
        self._since = (now, 0.0)
        """When the quota was used up, and how many had been let in by then."""
        self._let_in_at_cut = 0.0

    def __repr__(self) -> str:
        return "<Pace open>" if self.rate is None else f"<Pace {self.rate:.2f}/s, top {self._top}>"

    def adopt(self, rate: float | None, now: float) -> None:
        """Take over what another run of the same account has learned."""
        if rate is not None and self.rate is None:
            self._advance(now, 1.0)
            self.rate = self._top = max(LEAST, rate)
            self._since = (now, self._let_in)
            self._cycle = 0.0

    def accepted(self, now: float) -> None:
        """A request was let in."""
        self._let_in += 1.0 / self._share

    def refused(self, now: float, sent_at: float) -> bool:
        """A request sent at ``sent_at`` was answered 429. True: the pace is another now."""
        if sent_at <= self._cut_at or self._let_in - self._let_in_at_cut < 2:
            return False  # nothing has come back since the last: it tells of the same emptiness
        self._advance(now, self._share)
        began, let_in = self._since
        if self.rate is None:
            self.rate = max(LEAST, self._let_in / (MINUTE + min(MINUTE, now - self._began)))
            self._since = (now, self._let_in)
        elif now - began >= SOON:
            measured = (self._let_in - let_in) / (now - began)
            self._top = max(LEAST, min(self.rate, measured))
            self.rate = LESS * self._top
            self._since = (now, self._let_in)
        else:
            self.rate = max(LEAST, self.rate * MUCH_LESS)
            self._top = self.rate if self._top is not None else None
        self._cycle = 0.0
        self._cut_at = now
        self._let_in_at_cut = self._let_in
        self._level = min(self._level, 0.0)
        return True

    def wait(self, now: float, share: float = 1.0) -> float:
        """Seconds until one more may be sent. share: of the account, that this run may use."""
        if share >= TELLING:
            self._share = share
        if self.rate is None:
            return 0.0
        self._advance(now, share)
        if self._level >= 1.0 - 1e-9:
            return 0.0
        self._bound_at = now
        return (1.0 - self._level) / (self.rate * share)

    def take(self) -> None:
        if self.rate is not None:
            self._level -= 1.0

    def _advance(self, now: float, share: float) -> None:
        passed, self._at = max(0.0, now - self._at), max(now, self._at)
        if self.rate is None or not passed:
            return
        # A second's worth may be made up for, so that a hold costs little.
        self._level = min(max(1.0, self.rate * share), self._level + self.rate * share * passed)
        if now - self._bound_at > 1.0 + 2.0 / (self.rate * share):
            return  # something else is the limit: there is no evidence that more would be taken
        self._cycle += passed
        if self._top is None:
            self.rate *= CLIMB ** min(passed, 5.0)
            return
        back = max(BACK, 50.0 / self._top)
        curve = 1.0 + (1.0 - LESS) * min((self._cycle / back - 1.0) ** 3, 1.0)
        self.rate = max(self.rate, self._top * curve * GROW ** max(0.0, self._cycle - 2.0 * back))
