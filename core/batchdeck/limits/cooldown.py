"""One 429 holds the whole run: nothing more is sent until its ``Retry-After``, then the run goes on in a ramp.

A ramp with jitter, since a run that lets go of all its slots at once meets the limit again at once. Where the server
says no time, the hold doubles with each 429 in a row ("full jitter" over an exponential ceiling: Brooker, "Exponential
Backoff And Jitter", AWS Architecture Blog, 2015), but never below half the ceiling: a quota does not heal in zero time.
It stays at eight seconds for the rest of a minute, the time by which most quotas are there again, then goes on
doubling.
A server that names a tiny time again and again is asked less and less often, up to every two seconds: its quota refills
meanwhile, and nothing is gained by knocking at each single request's worth of it.
"""

from __future__ import annotations

import random

MEMORY = 5.0
"""Seconds after a hold in which another 429 counts as one more in a row."""
PATIENT = 13
"""429s in a row by which a quota of a minute would be there again."""
KNOCK = 2.0
"""The longest hold beyond what the server asks for."""


class Cooldown:
    """State of one account's rate limit. Times are the loop's seconds."""

    def __init__(self, rng: random.Random, *, base: float = 1.0, ceiling: float = 60.0, jitter: float = 0.1) -> None:
        self._rng = rng
        self._base = base
        self._ceiling = ceiling
        self._jitter = jitter
        self._streak = 0
        self._began = 0.0
        self._until = -MEMORY
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
            self._streak = self._streak + 1 if now < self._until + MEMORY else 1
            self._began = now
        if retry_after is None:
            doublings = min(self._streak - 1, 3) + min(max(self._streak - PATIENT, 0), 30)
            top = min(self._ceiling, self._base * 2.0**doublings)
            wait = top * (0.5 + 0.5 * self._rng.random())
        else:
            wait = max(retry_after, min(KNOCK, KNOCK / 16 * 2.0 ** min(self._streak - 1, 30)))
        until = now + wait * (1.0 + self._jitter * self._rng.random())
        if until > self._until:
            self._until = until
            self._ramp = min(2.0, max(0.1, 0.25 * wait))
        return self._until

    def extend(self, now: float, until: float) -> None:
        """Another run of the same account met a 429: held until then, and a ramp after it."""
        if until > max(self._until, now):
            if now >= self._until:
                self._began = now
            self._until = until
            self._ramp = max(self._ramp, 0.5)

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
