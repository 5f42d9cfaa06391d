"""The account quota of a simulated provider: token buckets for requests and for tokens, as OpenAI describes its own.

A bucket holds ``burst`` of a minute's quota and refills continuously. A rejected request consumes nothing. A request
bigger than a whole bucket is let in when that bucket is full and leaves it in debt: so the rate holds in the long run
and no request is refused for ever. Over any ``t`` seconds at most ``capacity + rate * t`` is accepted, plus at most the
part of one request that exceeds the capacity.
"""

from __future__ import annotations

import math

Headers = tuple[tuple[str, str], ...]
_SLACK = 1e-6
"""A client that waits as long as it was told must not be refused for a rounding error."""


class Bucket:
    """Times are seconds of any clock that does not go back."""

    def __init__(self, per_minute: float, burst: float, now: float) -> None:
        self.limit = per_minute
        self.rate = per_minute / 60
        self.capacity = max(1.0, per_minute * burst)
        self.level = self.capacity
        self._at = now

    def __repr__(self) -> str:
        return f"<Bucket {self.level:.1f} of {self.capacity:.1f}, +{self.rate:.2f}/s>"

    def refill(self, now: float) -> None:
        self.level = min(self.capacity, self.level + max(0.0, now - self._at) * self.rate)
        self._at = max(self._at, now)

    def wait(self, amount: float) -> float:
        """Seconds until ``amount`` may be taken; 0: now."""
        missing = min(amount, self.capacity) - self.level
        return missing / self.rate if missing > _SLACK else 0.0

    def take(self, amount: float) -> None:
        self.level -= amount

    def headers(self, name: str) -> Headers:
        return (
            (f"x-ratelimit-limit-{name}", str(max(1, int(self.limit)))),
            (f"x-ratelimit-remaining-{name}", str(max(0, math.floor(self.level + _SLACK)))),
            (f"x-ratelimit-reset-{name}", duration((self.capacity - self.level) / self.rate)),
        )


class Quota:
    """Requests and tokens a minute together: a request must fit both."""

    def __init__(self, rpm: float | None, tpm: float | None, burst: float, now: float) -> None:
        self.requests = None if rpm is None else Bucket(rpm, burst, now)
        self.tokens = None if tpm is None else Bucket(tpm, burst, now)

    def __repr__(self) -> str:
        return f"<Quota requests={self.requests} tokens={self.tokens}>"

    def admit(self, tokens: int, now: float) -> tuple[float, str]:
        """Take one request of so many tokens: (0, "") when it fits, else the seconds to wait and what is short."""
        waits = []
        for bucket, amount, name in ((self.requests, 1, "requests"), (self.tokens, tokens, "tokens")):
            if bucket is not None:
                bucket.refill(now)
                waits.append((bucket.wait(amount), name))
        longest = max(waits, default=(0.0, ""))
        if longest[0] > 0:
            return longest
        if self.requests is not None:
            self.requests.take(1)
        if self.tokens is not None:
            self.tokens.take(tokens)
        return 0.0, ""

    def headers(self, now: float) -> Headers:
        """The ``x-ratelimit-*`` headers of a response sent now; empty without a quota."""
        found: Headers = ()
        for bucket, name in ((self.requests, "requests"), (self.tokens, "tokens")):
            if bucket is not None:
                bucket.refill(now)
                found += bucket.headers(name)
        return found


def duration(seconds: float) -> str:
    """As OpenAI writes them, rounded up: ``450ms``, ``7.66s``, ``1m30s``, ``0s``."""
    ms = math.ceil(seconds * 1000 - _SLACK)
    if ms <= 0:
        return "0s"
    if ms < 1000:
        return f"{ms}ms"
    if ms < 60_000:
        return f"{ms / 1000:g}s"
    minutes, seconds_left = divmod(math.ceil(ms / 1000), 60)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}h" if hours else "") + f"{minutes}m{seconds_left}s"
