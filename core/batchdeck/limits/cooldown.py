"""One 429 holds the whole run: nothing more is sent until its ``Retry-After``, then the run goes on in a ramp.

A ramp with jitter, since a run that lets go of all its slots at once meets the limit again at once. Where the server
says no time, the hold doubles with each 429 in a row ("full jitter" over an exponential ceiling: Brooker, "Exponential
Backoff And Jitter", AWS Architecture Blog, 2015), but never below half the ceiling: a quota does not heal in zero time.
"""

from __future__ import annotations

import random


class Cooldown:
    """State of one account's rate limit. Times are the loop's seconds."""

    def __init__(self, rng: random.Random, *, base: float = 1.0, ceiling: float = 60.0, jitter: float = 0.1) -> None:
        self._rng = rng
        self._base = base
        self._ceiling = ceiling
        self._jitter = jitter
        self._streak = 0
        self._began = 0.0
        self._until = 0.0
        self._ramp = 0.0

    def __repr__(self) -> str:
        return f"<Cooldown until {self._until:.3f}, {self._streak} in a row>"

    @property
    def until(self) -> float:
        """When the hold ends."""
        return self._until

    def hit(self, now: float, retry_after: float | None) -> float:
        """A 429 came. Returns when its item may go again."""
        if now >= self._until:
            # Answers to requests sent before the hold belong to the same refusal; only a new one raises the streak.
            self._streak += 1
            self._began = now
        if retry_after is None:
            top = min(self._ceiling, self._base * 2.0 ** (self._streak - 1))
            wait = top * (0.5 + 0.5 * self._rng.random())
        else:
            wait = retry_after
        until = now + wait * (1.0 + self._jitter * self._rng.random())
        if until > self._until:
            self._until = until
            self._ramp = min(2.0, max(0.1, 0.25 * wait))
        return self._until

    def success(self) -> None:
        """An answer came: the next 429 is the first of its streak."""
        self._streak = 0

    def wait(self, now: float, in_flight: int, cap: int) -> float:
        """Seconds until one more request may be sent beside ``in_flight`` others, 0 when it may now."""
        if now < self._until:
            return self._until - now
        if self._ramp and now < self._until + self._ramp:
            # After the hold the cap grows from 1 to its full size over the ramp.
            opens = self._until + self._ramp * in_flight / max(1, cap)
            return max(0.0, opens - now)
        return 0.0

    def held(self, start: float, end: float) -> float:
        """Seconds of ``start..end`` that the newest hold covers."""
        return max(0.0, min(end, self._until) - max(start, self._began))
