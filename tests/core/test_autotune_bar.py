"""Autotune comes near the best that a sweep finds, before and after a knee moves; ``benchmarks/autotune.py`` has it at
large.

The real engine under virtual time, against the same engine at a fixed concurrency.
"""

from __future__ import annotations

import pytest

from tests.core.servers import MINUTES, MOVES, Case, play

CASES = [
    Case("slots", 4, seed=1, then=MOVES[4]),
    Case("slower", 16, seed=3),
    Case("refusing", 16, seed=4),
    Case("limited", 16, seed=5),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_comes_within_a_tenth_of_the_best_concurrency(case: Case) -> None:
    outcome = play(case)
    knees = (case.knee,) if case.then is None else (case.knee, case.then)
    for knee, rate, (end, length) in zip(knees, outcome.rates, case.halves, strict=True):
        # Of a server that becomes slower the knee is the best there is; the others bear more.
        best = play(Case(case.kind, knee, seed=case.seed + 100, fixed=knee))
        assert rate >= 0.9 * best.rates[0], outcome.turns
        first = end - length if end == length else end - length / 3
        assert outcome.p95(first, end) <= 2.0 * best.p95(0.0, 60.0 * MINUTES[knee]), outcome.turns
