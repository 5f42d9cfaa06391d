"""Percentiles from fixed logarithmic buckets: constant memory, mergeable, relative error at most 1 %.

Bucket ``i`` holds values in ``(γ^(i-1), γ^i]`` with γ = 1.02, as in DDSketch (Masson, Rim, Lee, VLDB 2019).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from batchdeck.model import Percentiles

GAMMA = 1.02
_LOG = math.log(GAMMA)


class Histogram:
    """Counts of positive values, in seconds."""

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self.total = 0
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count one value; what is not positive counts as a microsecond."""
        key = _key(value)
        self._buckets[key] = self._buckets.get(key, 0) + 1
        self.total += 1
        self.sum += max(value, 0.0)

    def merge(self, other: Histogram) -> None:
        self._count(other._buckets)
        self.sum += other.sum

    @property
    def buckets(self) -> dict[int, int]:
        """Counts by bucket, as ``fill`` takes them."""
        return dict(self._buckets)

    def fill(self, buckets: Mapping[int, int]) -> None:
        """Count what other histograms held. Their sum is not known: each value counts as the middle of its bucket."""
        self._count(buckets)
        self.sum += sum(_value(key) * count for key, count in buckets.items())

    def take_out(self, buckets: Mapping[int, int]) -> None:
        """Count no longer what ``fill`` counted."""
        self.sum -= sum(_value(key) * count for key, count in buckets.items())
        for key, count in buckets.items():
            left = self._buckets[key] - count
            if left:
                self._buckets[key] = left
            else:
                del self._buckets[key]
            self.total -= count

    def _count(self, buckets: Mapping[int, int]) -> None:
        for key, count in buckets.items():
            self._buckets[key] = self._buckets.get(key, 0) + count
            self.total += count

    def quantile(self, q: float) -> float:
        """The smallest value that a share ``q`` of all values does not exceed (nearest rank).

        Raises ``ValueError`` when there are none.
        """
        if not self.total:
            raise ValueError("no values")
        rank = max(1, math.ceil(q * self.total))
        seen = 0
        for key in sorted(self._buckets):
            seen += self._buckets[key]
            if seen >= rank:
                return _value(key)
        raise AssertionError("the counts do not add up")

    def percentiles(self) -> Percentiles | None:
        if not self.total:
            return None
        return Percentiles(p50=self.quantile(0.5), p95=self.quantile(0.95), p99=self.quantile(0.99))

    def cumulative(self, bounds: Sequence[float]) -> list[int]:
        """How many values are at most each of these ascending bounds.

        None at or below a bound is left out; one up to 2 % above it may be counted in, being in the same bucket.
        """
        counts: list[int] = []
        keys = sorted(self._buckets, reverse=True)
        seen = 0
        for bound in bounds:
            top = _key(bound)
            while keys and keys[-1] <= top:
                seen += self._buckets[keys.pop()]
            counts.append(seen)
        return counts


def _value(key: int) -> float:
    """The value of a bucket from which no value in it is further than 1 %."""
    return 2 * GAMMA**key / (1 + GAMMA)


def _key(value: float) -> int:
    return math.ceil(math.log(max(value, 1e-6)) / _LOG)
