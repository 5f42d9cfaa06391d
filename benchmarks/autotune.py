"""How near autotune comes to the best of an exhaustive sweep, on servers with a knee, before and after the knee moves.

The real engine under virtual time (``tests/core/servers.py``). Kinds of servers: some slots and a queue, which never
say 429; such as become slower with each that is in flight, and worse in the end; such as refuse what does not fit; and
an account with a rate. For each the best of a sweep: the same engine at fixed concurrencies around the knee. A run is
given the time in which its server makes about 40 times as many answers as its knee, is measured in the last third of
it, then the knee moves. The bar: at least 90 % of the best throughput, before and after; the 95th percentile of the
latency at most twice that of the best, over the whole time before the move, and in the last third after it.

``--alone``: the policy in a closed loop without an engine, ten times as quick; not for ``limited``.

    python benchmarks/autotune.py [--seeds 100] [--first 0] [--kinds slots,slower,refusing,limited] [--knees 4,16]
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import groupby
from pathlib import Path
from statistics import mean, median
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.core.closedloop import play_alone
from tests.core.servers import KINDS, MINUTES, MOVES, Case, Outcome, play

LEVELS = (0.75, 0.9, 1.0, 1.15, 1.5, 2.0)
SWEEP_SEEDS = 3
NEARLY = 0.985
"""Share of the best throughput of a sweep from which a lower level is the best: beyond its slots a server gives the
same at twice the latency."""
SLOW = {300: 4.0}
"""By knee: how many times as long answers take."""


class Row(NamedTuple):
    """Of each half of a run: its rate, and the p95 of its last third and of all of it."""

    case: Case
    rates: list[float]
    settled: list[float]
    whole: list[float]
    refused: int


def one(case: Case, alone: bool) -> Row:
    gc.disable()
    outcome = play_alone(case) if alone else play(case)
    gc.enable()
    gc.collect()
    return Row(case, outcome.rates, _settled(case, outcome), _whole(case, outcome), outcome.refused)


def _settled(case: Case, outcome: Outcome) -> list[float]:
    return [outcome.p95(end - length / 3, end) for end, length in case.halves]


def _whole(case: Case, outcome: Outcome) -> list[float]:
    return [outcome.p95(end - length, end) for end, length in case.halves]


def sweep(cases: Iterable[Case]) -> list[Case]:
    """Each server that these cases meet, at fixed concurrencies around its knee."""
    servers = {(case.kind, knee, case.slow) for case in cases for knee in (case.knee, case.then) if knee is not None}
    return [
        Case(kind, knee, seed=1000 + seed, fixed=max(1, round(knee * factor)), slow=slow)
        for kind, knee, slow in sorted(servers)
        for factor in LEVELS
        for seed in range(SWEEP_SEEDS)
    ]


class Best(NamedTuple):
    """The fewest with nearly the best throughput of a sweep."""

    rate: float
    p95: float
    fixed: int


def best_of(rows: Iterable[Row]) -> Best:
    """rows: of one server, at several concurrencies."""
    by_level: dict[int, list[Row]] = {}
    for row in rows:
        by_level.setdefault(row.case.fixed or 0, []).append(row)
    levels = [
        Best(mean(row.rates[0] for row in some), mean(row.whole[0] for row in some), fixed)
        for fixed, some in sorted(by_level.items())
    ]
    most = max(level.rate for level in levels)
    return next(level for level in levels if level.rate >= NEARLY * most)._replace(rate=most)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--knees", default=",".join(map(str, MINUTES)))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--alone", action="store_true", help="without an engine")
    given = parser.parse_args()
    kinds, knees = given.kinds.split(","), [int(knee) for knee in given.knees.split(",")]
    seeds = range(given.first, given.first + given.seeds)
    if given.alone:
        kinds = [kind for kind in kinds if kind != "limited"]
    play_one = partial(one, alone=given.alone)
    cases = [
        Case(kind, knee, seed=seed, then=MOVES[knee], slow=SLOW.get(knee, 1.0))
        for kind in kinds
        for knee in knees
        for seed in seeds
    ]
    with ProcessPoolExecutor(given.jobs) as pool:
        swept = groupby(pool.map(play_one, sweep(cases)), key=lambda row: (row.case.kind, row.case.knee, row.case.slow))
        best = {server: best_of(rows) for server, rows in swept}
        print(f"{'':22}{'best of a sweep':>16}   {'throughput: least':>17}{'median':>8}{'≥ .9':>12}   "
              f"{'p95: most':>9}{'median':>8}{'≤ 2':>12}   429s", flush=True)  # fmt: skip
        good = total = 0
        for (kind, knee), group in groupby(pool.map(play_one, cases), key=lambda row: (row.case.kind, row.case.knee)):
            rows = list(group)
            for half, (name, at) in enumerate(((f"{kind} {knee}", knee), (f"  then {MOVES[knee]}", MOVES[knee]))):
                known = best[kind, at, SLOW.get(knee, 1.0)]
                shares = [row.rates[half] / known.rate for row in rows]
                slow = [(row.whole if half == 0 else row.settled)[half] / known.p95 for row in rows]
                fine, quick = sum(share >= 0.9 for share in shares), sum(ratio <= 2.0 for ratio in slow)
                hits = mean(row.refused for row in rows)
                good += sum(share >= 0.9 and ratio <= 2.0 for share, ratio in zip(shares, slow, strict=True))
                total += len(rows)
                print(f"{name:22}{known.rate:>9.2f} at {known.fixed:>3}   {min(shares):>17.3f}{median(shares):>8.3f}"
                      f"{f'{fine} of {len(rows)}':>12}   {max(slow):>9.2f}{median(slow):>8.2f}"
                      f"{f'{quick} of {len(rows)}':>12}   {hits:.0f}", flush=True)  # fmt: skip
    print(f"{good} of {total} halves of runs are within the bar")


if __name__ == "__main__":
    main()
