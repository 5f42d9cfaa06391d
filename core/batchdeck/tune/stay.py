"""What the answers of one concurrency say of it: latency whatever their length, and by that its throughput.

Answers differ in length, so their whole time says little of the server until very many have come. So each is taken
apart into its time to first token and its time per token, as servers are judged by, and put together again for an
answer of average length: ``latency = ttft + itl * mean tokens``. By Little's law ("A proof for the queuing formula
L = λW", 1961) what is in flight divided by that is the throughput, known after some tens of answers.
"""

from __future__ import annotations

import math
from typing import NamedTuple

CLEAR, UNCLEAR = 3, 0.2
"""Refusals from which it can be told whether they come of the number in flight, and the share of them that may speak
against it."""


class Landed(NamedTuple):
    """What became of one request. Times are the loop's. ``refused``: a 429. ``ok``: a whole answer.

    ``ttft``: seconds, None where the answer came in one piece; ``tokens``: of the answer, None where nobody counted.
    ``beside``: how many were in flight when it was sent, itself among them.
    """

    started: float
    ended: float
    ok: bool = True
    refused: bool = False
    ttft: float | None = None
    tokens: int | None = None
    beside: int = 1

    @property
    def seconds(self) -> float:
        return self.ended - self.started


class Latency(NamedTuple):
    """Seconds of an average answer, and the standard error of that."""

    mean: float
    error: float


class Stay:
    """Answers at one concurrency since ``began``, and how many requests were in flight meanwhile."""

    def __init__(self, cap: int, began: float, in_flight: int) -> None:
        self.cap = cap
        self.began = began
        self.answers = 0
        self.landed = 0
        self.refused = 0
        self.ended = began
        self._in_flight = in_flight
        self._area = 0.0
        self._parts = _Moments()
        """Of (time to first token, time per token); an answer in one piece has all of its time in the second."""

    def __repr__(self) -> str:
        return f"<Stay at {self.cap}: {self.answers} answers, {self.flying:.1f} in flight>"

    def flew(self, now: float, in_flight: int) -> None:
        """The number in flight is another from now on."""
        self._area += self._in_flight * (now - self.ended)
        self.ended, self._in_flight = now, in_flight

    def add(self, landed: Landed) -> None:
        self.landed += 1
        self.refused += landed.refused
        if not landed.ok:
            return
        self.answers += 1
        first = landed.ttft if landed.ttft is not None else 0.0
        gaps = 1 if landed.tokens is None else max(1, landed.tokens - (landed.ttft is not None))
        self._parts.add(first, (landed.seconds - first) / gaps)

    def merge(self, older: Stay, most: int) -> None:
        """Count in what was measured here before: as if it had been ``most`` answers at most."""
        share = min(1.0, most / older.answers) if older.answers else 0.0
        self.answers += round(share * older.answers)
        self._parts.merge(older._parts, share)

    @property
    def seconds(self) -> float:
        return self.ended - self.began

    @property
    def flying(self) -> float:
        """Requests in flight, on average."""
        return self._area / self.seconds if self.seconds > 0 else float(self._in_flight)

    def latency(self, tokens: float) -> Latency:
        """Of an answer of so many tokens. Raises ``ValueError`` without any answer."""
        if not self.answers:
            raise ValueError("no answer")
        return self._parts.sum(tokens)

    def throughput(self, tokens: float) -> float:
        """Answers of so many tokens a second that it gives when it is fully used."""
        return self.cap / self.latency(tokens).mean


class Crowd:
    """Whether it is by their number that requests are refused: those sent beside few are let in, beside many not.

    An account's quota refuses by the minute, whatever is in flight.
    """

    def __init__(self) -> None:
        self._let_in: dict[int, int] = {}
        self._refused: dict[int, int] = {}
        self.refusals = 0

    def add(self, landed: Landed) -> None:
        counts = self._refused if landed.refused else self._let_in
        counts[landed.beside] = counts.get(landed.beside, 0) + 1
        self.refusals += landed.refused

    def most(self) -> int | None:
        """So many are let in at a time; None: their number does not tell which are refused."""
        if self.refusals < CLEAR:
            return None
        inside, outside = 0, sum(self._let_in.values())
        best: tuple[int, int] | None = None
        for n in sorted({*self._let_in, *self._refused}):
            wrong = inside + outside
            if best is None or wrong < best[0]:
                best = wrong, n - 1
            inside += self._refused.get(n, 0)
            outside -= self._let_in.get(n, 0)
        if best is None or best[0] > UNCLEAR * self.refusals or best[1] < 1:
            return None
        return best[1]


class _Moments:
    """Sums of pairs (x, y), from which mean and standard error of ``x + k * y`` follow for any ``k``."""

    def __init__(self) -> None:
        self.n = 0.0
        self.x = self.y = self.xx = self.xy = self.yy = 0.0

    def add(self, x: float, y: float) -> None:
        self.n += 1
        self.x += x
        self.y += y
        self.xx += x * x
        self.xy += x * y
        self.yy += y * y

    def merge(self, other: _Moments, share: float) -> None:
        self.n += share * other.n
        self.x += share * other.x
        self.y += share * other.y
        self.xx += share * other.xx
        self.xy += share * other.xy
        self.yy += share * other.yy

    def sum(self, k: float) -> Latency:
        n = self.n
        mean = (self.x + k * self.y) / n
        square = (self.xx + 2 * k * self.xy + k * k * self.yy) / n
        spread = math.sqrt(max(0.0, square - mean * mean))
        # With few answers the spread itself is hardly known: never less than a tenth of the mean.
        return Latency(max(mean, 1e-9), max(spread, 0.3 * mean) / math.sqrt(n))
