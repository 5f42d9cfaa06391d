"""What hedging does to the slowest items, and what it costs: the same runs with and without it, under virtual time.

The provider is the simulator: lognormal latencies, and a share of requests that hang or stall. How long an item takes
is counted from its first request to its answer, tries in between included. ``extra`` are the second requests, as a
share of the others; ``cost`` is what they cost on top, as far as that is known.

    python benchmarks/hedge.py [--items 2000] [--seeds 3] [--hedge 2%,5%] [--jobs 2]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent.parent))

import msgspec
from tests.core.hedged import check_books, play

from batchdeck.settings import parse, show
from batchdeck.sim.options import SimOptions

PROVIDERS = {
    "steady": SimOptions(ttft_ms=400, answer_tokens=30),
    "1 % stragglers": SimOptions(ttft_ms=400, answer_tokens=30, faults={"hang": 0.005, "stall": 0.005}),
    "3 % stragglers": SimOptions(ttft_ms=400, answer_tokens=30, faults={"hang": 0.015, "stall": 0.015}),
    "32 slots for 40": SimOptions(ttft_ms=400, answer_tokens=30, slots=32, faults={"hang": 0.01}),
}


class Case(msgspec.Struct, frozen=True):
    provider: str
    hedge: float | None
    seed: int
    items: int


class Outcome(msgspec.Struct, frozen=True):
    """Seconds of items and of the run; shares of the other requests and of the run's cost."""

    p50: float
    p99: float
    p999: float
    makespan: float
    extra: float
    cost: float


def one(case: Case) -> Outcome:
    sim = msgspec.structs.replace(PROVIDERS[case.provider], seed=case.seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.db"
        played = play(path, case.items, sim, hedge=case.hedge, concurrency=40, price=(1.0, 2.0), seed=case.seed)
        counts = check_books(path, [played.rig], case.hedge)
    return Outcome(
        p50=played.quantile(0.5),
        p99=played.quantile(0.99),
        p999=played.quantile(0.999),
        makespan=played.makespan,
        extra=counts.hedges / (counts.attempts - counts.hedges),
        cost=counts.hedge_cost / counts.cost,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--items", type=int, default=2_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--hedge", default="2%,5%", help="shares, parted by commas")
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    shares = [None, *(parse("hedge", text, 0.0) for text in given.hedge.split(","))]
    kinds = list(product(PROVIDERS, shares))
    cases = [Case(name, share, seed, given.items) for name, share in kinds for seed in range(given.seeds)]
    with ProcessPoolExecutor(given.jobs) as pool:
        outcomes = list(pool.map(one, cases))
    print(f"{'provider':18}{'hedge':>6}{'p50':>8}{'p99':>8}{'p99.9':>8}{'run':>8}{'extra':>8}{'cost':>8}")
    for name, share in kinds:
        found = [got for case, got in zip(cases, outcomes, strict=True) if (case.provider, case.hedge) == (name, share)]
        mid = {field: median(getattr(one, field) for one in found) for field in Outcome.__struct_fields__}
        print(
            f"{name:18}{show('hedge', share):>6}{mid['p50']:>7.2f}s{mid['p99']:>7.2f}s{mid['p999']:>7.2f}s"
            f"{mid['makespan']:>7.0f}s{mid['extra']:>8.2%}{mid['cost']:>8.2%}"
        )


if __name__ == "__main__":
    main()
