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

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.core.closedloop import play_alone
from tests.core.servers import KINDS, MINUTES, MOVES, Case, Outcome, play

LEVELS = (0.75, 0.9, 1.0, 1.15, 1.5, 2.0)
SWEEP_SEEDS = 3


def one(case: Case, alone: bool) -> tuple[Case, list[float], list[float], list[float], int]:
    """Rates of each half, p95 of its last third and of all of it, and 429s."""
    gc.disable()
    outcome = play_alone(case) if alone else play(case)
    gc.enable()
    gc.collect()
    return case, outcome.rates, _settled(case, outcome), _whole(case, outcome), outcome.refused


def _settled(case: Case, outcome: Outcome) -> list[float]:
    return [outcome.p95(end - length / 3, end) for end, length in case.halves]


def _whole(case: Case, outcome: Outcome) -> list[float]:
    return [outcome.p95(end - length, end) for end, length in case.halves]


def sweep(kinds: Iterable[str], knees: Iterable[int]) -> list[Case]:
    return [
        Case(kind, knee, seed=1000 + seed, fixed=max(1, round(knee * factor)))  # type: ignore[arg-type]
        for kind in kinds
        for knee in knees
        for factor in LEVELS
        for seed in range(SWEEP_SEEDS)
    ]


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
    cases = [Case(kind, knee, seed=seed, then=MOVES[knee]) for kind in kinds for knee in knees for seed in seeds]
    with ProcessPoolExecutor(given.jobs) as pool:
        best: dict[tuple[str, int], tuple[float, float, int]] = {}
        swept = pool.map(play_one, sweep(kinds, sorted({*knees, *(MOVES[knee] for knee in knees)})))
        for (kind, knee, fixed), group in groupby(swept, key=lambda row: (row[0].kind, row[0].knee, row[0].fixed)):
            rows = list(group)
            rate, p95 = mean(row[1][0] for row in rows), mean(row[3][0] for row in rows)
            best[kind, knee] = max(best.get((kind, knee), (0.0, 0.0, 0)), (rate, p95, fixed or 0))
        print(f"{'':22}{'best of a sweep':>16}   {'throughput: least':>17}{'median':>8}{'≥ .9':>10}   "
              f"{'p95: most':>9}{'median':>8}{'≤ 2':>10}   429s", flush=True)  # fmt: skip
        good = total = 0
        for (kind, knee), group in groupby(pool.map(play_one, cases), key=lambda row: (row[0].kind, row[0].knee)):
            rows = list(group)
            for half, (name, at) in enumerate(((f"{kind} {knee}", knee), (f"  then {MOVES[knee]}", MOVES[knee]))):
                rate, p95, fixed = best[kind, at]
                shares = [row[1][half] / rate for row in rows]
                slow = [(row[3] if half == 0 else row[2])[half] / p95 for row in rows]
                fine, quick = sum(share >= 0.9 for share in shares), sum(ratio <= 2.0 for ratio in slow)
                good += sum(share >= 0.9 and ratio <= 2.0 for share, ratio in zip(shares, slow, strict=True))
                total += len(rows)
                print(f"{name:22}{rate:>9.2f} at {fixed:>3}   {min(shares):>17.3f}{median(shares):>8.3f}"
                      f"{f'{fine} of {len(rows)}':>10}   {max(slow):>9.2f}{median(slow):>8.2f}"
                      f"{f'{quick} of {len(rows)}':>10}   {mean(row[4] for row in rows):.0f}", flush=True)  # fmt: skip
    print(f"{good} of {total} halves of runs are within the bar")


if __name__ == "__main__":
    main()
