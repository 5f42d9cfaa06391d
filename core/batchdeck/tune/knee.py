"""Where more concurrency stops paying: a curve through what was measured, its knee, and how sure that is.

The curve is the Universal Scalability Law (Gunther, "Guerrilla Capacity Planning", 2007): ``N`` at once have the
throughput ``X(N) = rate * N / (1 + contention * (N - 1) + coherency * N * (N - 1))``. ``N / X(N)`` is linear in
``1 / rate``, ``contention / rate`` and ``coherency / rate``, so that the fit is linear least squares; none of them can
be negative, and with two of them that can vanish there are four ways to do without some, of which the best is taken.
The noise of a throughput is relative, so each error counts relative to its value.

Servers with a fixed number of slots (vLLM, Ollama, llama.cpp) do not follow it: throughput rises evenly until all slots
are taken, and then not at all. Where two straight lines fit much better than the curve does, they are the curve.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import product
from typing import Literal

import msgspec

ENOUGH = 0.98
"""Share of the highest throughput at which more concurrency is not worth it."""
REACH = 1.5
"""How far beyond the highest level measured the curve is believed, as a factor."""
FEWEST, SPREAD = 3, 3.0
"""Levels that must have been measured at least, and the factor between the lowest and the highest."""
LEAST_SECONDS = 2.0
"""At one level: shorter measurements do not count as one."""
_RATES = 1e-9, 1e12
"""Throughputs that are any: their squares are numbers still."""
RISING, FLAT = 2, 2
"""Levels at least on each of the two lines of a server with slots."""
PLAINLY = 0.35
"""Of the curve's squared errors the two lines may have to be taken instead of it."""
RESAMPLES = 100
SURE = 4.0
"""The factor between the ends of the knee's interval up to which it is known."""
LOW, HIGH = 0.1, 0.9
"""Quantiles of the resampled knees that are its interval."""

Verdict = Literal["known", "beyond", "unsure", "too little"]


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured at one concurrency, settled. ``throughput``: items (or tokens) a second over ``seconds``."""

    concurrency: float
    throughput: float
    seconds: float


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """``rate``: throughput of one at a time. ``noise``: root mean square of the relative errors of the fit. ``full``:
    throughput of all slots, where that is what it never gets beyond."""

    rate: float
    contention: float
    coherency: float
    noise: float = 0.0
    full: float = math.inf

    def throughput(self, concurrency: float) -> float:
        n = concurrency
        return min(self.full, self.rate * n / (1.0 + self.contention * (n - 1.0) + self.coherency * n * (n - 1.0)))

    def best(self, most: float) -> float:
        """The concurrency of the highest throughput, at most ``most``: the least, where more have the same."""
        if self.full < math.inf:
            return min(most, max(1.0, self.full / self.rate))
        if self.coherency <= 0 or self.contention >= 1:
            return most if self.contention < 1 else 1.0
        return min(most, max(1.0, math.sqrt((1.0 - self.contention) / self.coherency)))

    def knee(self, most: float) -> int:
        """The least concurrency with ``ENOUGH`` of the highest throughput up to ``most``."""
        top = self.best(most)
        enough = ENOUGH * self.throughput(top)
        low, high = 1, max(1, math.ceil(top))
        while low < high:
            middle = (low + high) // 2
            if self.throughput(min(middle, top)) >= enough:
                high = middle
            else:
                low = middle + 1
        return low


class Recommendation(msgspec.Struct, frozen=True, kw_only=True):
    """``concurrency``: to set now; None when too little was measured to say any. ``low..high``: where the knee is in
    80 of 100 resamplings of what was measured. ``sentence``: the same to a person, with its reason."""

    verdict: Verdict
    sentence: str
    concurrency: int | None = None
    low: int | None = None
    high: int | None = None
    curve: Curve | None = None


def fit(levels: Sequence[Level]) -> Curve | None:
    """The curve through the levels, longer measurements counting more. None for fewer than two different levels.

    With two levels ``coherency`` is 0: it cannot be told from contention.
    """
    points = [
        one for one in levels if one.seconds > 0 and one.concurrency >= 1 and _RATES[0] < one.throughput < _RATES[1]
    ]
    distinct = len({level.concurrency for level in points})
    if distinct < 2:
        return None
    rows = []
    for level in points:
        n, y = level.concurrency, level.concurrency / level.throughput
        weight = math.sqrt(level.seconds) / y
        rows.append(((weight, weight * (n - 1.0), weight * n * (n - 1.0)), weight * y))
    best: tuple[float, tuple[float, float, float]] | None = None
    for bends, bows in product((True, False), (True, False)):
        if bows and bends and distinct < 3:
            continue
        columns = [0, *([1] if bends else []), *([2] if bows else [])]
        found = _least_squares([(tuple(row[c] for c in columns), y) for row, y in rows])
        if found is None or found[0] <= 0 or min(found) < 0:
            continue
        terms = [0.0, 0.0, 0.0]
        for column, value in zip(columns, found, strict=True):
            terms[column] = value
        error = sum((sum(x * t for x, t in zip(row, terms, strict=True)) - y) ** 2 for row, y in rows)
        if best is None or error < best[0]:
            best = error, (terms[0], terms[1], terms[2])
    if best is None:
        return None
    error, (one, contention, coherency) = best
    weight = sum(level.seconds for level in points)
    slots = _slots(points, weight)
    if slots is not None and slots.noise**2 * weight < PLAINLY * error:
        return slots
    return Curve(
        rate=1.0 / one,
        contention=contention / one,
        coherency=coherency / one,
        noise=math.sqrt(error / weight),
    )


def _slots(points: Sequence[Level], weight: float) -> Curve | None:
    """A rise and a flat line, the best of all ways to share the levels out to them. None: there are too few levels."""
    distinct = sorted({level.concurrency for level in points})
    found: Curve | None = None
    for last in distinct[: -FLAT if len(distinct) >= FLAT + RISING else 0][RISING - 1 :]:
        rising = [(one.seconds, one.throughput / one.concurrency) for one in points if one.concurrency <= last]
        flat = [(one.seconds, one.throughput) for one in points if one.concurrency > last]
        rate, full = _level(rising), _level(flat)
        misses = [(seconds, rate / value - 1.0) for seconds, value in rising]
        misses += [(seconds, full / value - 1.0) for seconds, value in flat]
        noise = math.sqrt(sum(seconds * miss * miss for seconds, miss in misses) / weight)
        if last <= full / rate < distinct[-1] and (found is None or noise < found.noise):
            found = Curve(rate=rate, contention=0.0, coherency=0.0, noise=noise, full=full)
    return found


def _level(weighted: Sequence[tuple[float, float]]) -> float:
    """The value with the least relative errors to all of these, as (weight, value)."""
    least = min(value for _, value in weighted)
    shares = [(weight, least / value) for weight, value in weighted]
    return (
        least
        * sum(weight * share for weight, share in shares)
        / sum(weight * share * share for weight, share in shares)
    )


def recommend(levels: Sequence[Level], most: int, rng: random.Random) -> Recommendation:
    """What concurrency to set, up to ``most``. rng: resamples what was measured, to tell how sure the knee is."""
    measured = [level for level in levels if level.seconds >= LEAST_SECONDS and level.throughput > 0]
    distinct = sorted({level.concurrency for level in measured})
    curve = fit(measured)
    if curve is None or len(distinct) < FEWEST or distinct[-1] < SPREAD * distinct[0]:
        return Recommendation(
            verdict="too little",
            sentence=f"too little was measured to say: {_levels(distinct)} so far, it takes {FEWEST} that are"
            f" {SPREAD:g} times apart",
        )
    top = distinct[-1]
    reach = max(1.0, min(float(most), REACH * top))
    knee = curve.knee(reach)
    knees = sorted(_resampled(measured, curve, reach, rng))
    low, high = knees[int(LOW * (len(knees) - 1))], knees[math.ceil(HIGH * (len(knees) - 1))]
    low, high = min(low, knee), max(high, knee)
    gain = curve.throughput(knee)
    about = f"about {gain:.3g} a second"
    verdict: Verdict
    if knee > top and top < most:
        verdict = "beyond"
        sentence = f"try {knee}: throughput still rises at {top:g}, the highest level that was measured"
    elif high > SURE * low:
        verdict = "unsure"
        sentence = (
            f"{knee} seems best ({about}), but anything from {low} to {high} fits what was measured: measure more"
        )
    else:
        verdict = "known"
        more = curve.throughput(min(reach, 2.0 * knee)) / gain - 1.0
        beyond = f"twice as many would give {more:+.0%}" if 2 * knee <= reach else "more gives nothing worth it"
        where = f"is between {low} and {high}" if low < high else f"is at {knee}"
        sentence = f"{knee} is enough ({about}, the knee {where}): {beyond}"
    return Recommendation(verdict=verdict, sentence=sentence, concurrency=knee, low=low, high=high, curve=curve)


def _resampled(levels: Sequence[Level], curve: Curve, reach: float, rng: random.Random) -> list[int]:
    """Knees of as many data sets as the curve and its noise could have given (parametric bootstrap)."""
    whole = sum(level.seconds for level in levels) / len(levels)
    levels = _merged(levels)
    found = []
    for _ in range(RESAMPLES):
        again = [
            Level(
                concurrency=level.concurrency,
                throughput=curve.throughput(level.concurrency)
                * max(0.05, 1.0 + rng.gauss(0.0, curve.noise) * math.sqrt(whole / level.seconds)),
                seconds=level.seconds,
            )
            for level in levels
        ]
        other = fit(again)
        if other is not None:
            found.append(other.knee(reach))
    return found or [curve.knee(reach)]


def _merged(levels: Sequence[Level]) -> list[Level]:
    """All measurements of one concurrency as one."""
    seconds: dict[float, float] = {}
    done: dict[float, float] = {}
    for level in levels:
        n = level.concurrency
        seconds[n] = seconds.get(n, 0.0) + level.seconds
        done[n] = done.get(n, 0.0) + level.seconds * level.throughput
    return [Level(concurrency=n, throughput=done[n] / seconds[n], seconds=seconds[n]) for n in seconds]


def _least_squares(rows: Sequence[tuple[tuple[float, ...], float]]) -> list[float] | None:
    """Normal equations of one to three unknowns, solved by elimination with pivots. None where they have no solution.

    The columns are scaled first: they are ``N`` squared apart.
    """
    size = len(rows[0][0])
    scale = [math.sqrt(sum(row[c] ** 2 for row, _ in rows)) for c in range(size)]
    if min(scale) <= 0:
        return None
    matrix = [
        [sum(row[a] * row[b] for row, _ in rows) / (scale[a] * scale[b]) for b in range(size)]
        + [sum(row[a] * y for row, y in rows) / scale[a]]
        for a in range(size)
    ]
    for column in range(size):
        pivot = max(range(column, size), key=lambda r: abs(matrix[r][column]))
        if abs(matrix[pivot][column]) < 1e-12:
            return None
        matrix[column], matrix[pivot] = matrix[pivot], matrix[column]
        for row in range(size):
            if row != column:
                factor = matrix[row][column] / matrix[column][column]
                matrix[row] = [a - factor * b for a, b in zip(matrix[row], matrix[column], strict=True)]
    return [matrix[c][size] / matrix[c][c] / scale[c] for c in range(size)]


def _levels(distinct: Sequence[float]) -> str:
    if not distinct:
        return "no level"
    shown = ", ".join(f"{one:g}" for one in distinct[:6])
    return f"level {shown}" if len(distinct) == 1 else f"levels {shown}"
