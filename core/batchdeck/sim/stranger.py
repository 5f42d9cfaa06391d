"""Somebody else on the account, who takes a share of it and is known only by what is missing.

Arrivals are a Poisson process, drawn from the seed. Each asks for one request and a mean request's tokens; one that
does not fit is refused and dropped, so that what is taken may be less than the share.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections import deque
from collections.abc import Mapping

from batchdeck.model import Meter
from batchdeck.sim.windows import MINUTE

_REQUESTS = 200
"""Requests a minute for the whole of an account that counts only tokens."""
_KEPT = 65_536
"""Arrivals let in whose times are known: more than a day of one a second."""
_MINUTES: tuple[Meter, ...] = ("tokens", "input_tokens", "output_tokens")


class Stranger:
    """``next_at``: when it asks again, ``need``: for how much of each meter. Whoever owns the quota answers."""

    def __init__(self, share: float, limits: Mapping[Meter, float], seed: int, now: float) -> None:
        """share: of each minute limit, above 0. limits: of the whole account; without one a minute it never comes."""
        whole = limits.get("requests", _REQUESTS)
        tokens = {meter: limits[meter] / whole for meter in _MINUTES if meter in limits}
        both = tokens.get("input_tokens", 0.0) + tokens.get("output_tokens", 0.0)
        self.need: dict[Meter, float] = {
            "requests": 1.0,
            "requests_day": 1.0,
            "tokens_day": tokens.get("tokens", both),
            **tokens,
        }
        self._rng = random.Random(f"{seed}/stranger")
        self._rate = share * whole / MINUTE if tokens or "requests" in limits else 0.0
        self._tokens = self.need["tokens_day"]
        self._taken: deque[tuple[float, int]] = deque([(now, 0)], maxlen=_KEPT)
        self.next_at = now
        self.wait()

    def __repr__(self) -> str:
        return f"<Stranger took {self._taken[-1][1]} requests, {self._rate:.2f}/s>"

    def wait(self) -> None:
        """It has been answered, and goes on to its next request."""
        self.next_at += self._rng.expovariate(self._rate) if self._rate else float("inf")

    def take(self) -> None:
        """What it asks for now was let in."""
        self._taken.append((self.next_at, self._taken[-1][1] + 1))

    def slow(self, factor: float, now: float) -> None:
        """Its share is of less from now on. Waiting has no memory, so that what is left of it is only stretched."""
        self._rate *= factor
        self.next_at = now + (self.next_at - now) / factor

    def taken(self, start: float, end: float) -> tuple[int, float]:
        """Requests and tokens let in after ``start`` and up to ``end``. Raises ``ValueError`` for too long ago."""
        requests = self._until(end) - self._until(start)
        return requests, requests * self._tokens

    def _until(self, at: float) -> int:
        place = bisect_right(self._taken, at, key=lambda entry: entry[0])
        if place == 0 and self._taken[0][1] > 0:
            raise ValueError(f"what the stranger took before {self._taken[0][0]:.1f} is no longer known")
        return self._taken[max(0, place - 1)][1]
