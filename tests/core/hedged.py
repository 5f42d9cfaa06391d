"""Runs with stragglers, played with and without hedging, and what must be true of any of them. For tests and the
benchmark."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from batchdeck.model import Counts, Limits
from batchdeck.sim.options import SimOptions
from batchdeck.store.reader import RunReader
from tests.core.simulated import Rig, ask, recount, virtually

STRAGGLING = SimOptions(ttft_ms=400, answer_tokens=20, faults={"hang": 0.012, "stall": 0.01})
PATIENT = Limits(first_token=60, idle=30)


class Played(msgspec.Struct, frozen=True):
    """A run that has ended. ``seconds``: by item, from its first request to its answer."""

    rig: Rig
    ending: str
    counts: Counts
    seconds: dict[int, float]

    def quantile(self, q: float) -> float:
        """Nearest rank."""
        values = sorted(self.seconds.values())
        return values[max(1, math.ceil(q * len(values))) - 1]

    @property
    def makespan(self) -> float:
        return max(at for at, *_ in self.rig.happened("done"))


def play(path: Path, items: int, sim: SimOptions = STRAGGLING, **given: Any) -> Played:
    """A run to its end, under virtual time."""

    async def main() -> tuple[Rig, str]:
        rig = Rig(path, items, sim, **{"limits": PATIENT, "concurrency": 25, **given})
        return rig, await rig.run()

    rig, ending = virtually(main)
    began: dict[int, float] = {}
    seconds: dict[int, float] = {}
    for at, what, idx, _ in rig.happened("send", "done"):
        if what == "send":
            began.setdefault(idx, at)
        else:
            seconds[idx] = at - began[idx]
    with RunReader(path) as reader:
        return Played(rig, ending, reader.counts(), seconds)


def check_books(path: Path, rigs: list[Rig], share: float | None) -> Counts:
    """Every item is decided once, the counters are what the tables say, and the provider agrees. Returns the counters.

    rigs: of all sessions on this file, none of which was killed.
    """
    with RunReader(path) as reader:
        counts, samples, errors = reader.counts(), reader.samples(), reader.errors()
    counted = recount(path)
    assert {name: getattr(counts, name) for name in counted} == counted
    assert counts.done == ask(path, "SELECT count(*) FROM attempts WHERE outcome = 'ok'")[0][0]
    twice = "SELECT count(*) FROM attempts WHERE outcome = 'ok' GROUP BY idx HAVING count(*) > 1"
    assert ask(path, twice) == []
    answered = "SELECT a.outcome FROM items i JOIN attempts a ON a.id = i.result_attempt WHERE i.state = 'done'"
    assert {row[0] for row in ask(path, answered)} <= {"ok"}
    ended = Counter(event[2] for rig in rigs for event in rig.happened("done"))
    assert set(ended.values()) <= {1}
    # every send is in the ledger, numbered from 1 without a gap
    assert counts.sends == sum(rig.tally.requests for rig in rigs)
    numbers = ask(path, "SELECT count(*) = max(number) AND min(number) = 1 FROM attempts GROUP BY idx")
    assert all(whole for (whole,) in numbers)
    by_type = dict(ask(path, "SELECT error_type, count(*) FROM attempts WHERE outcome != 'ok' GROUP BY error_type"))
    beaten = by_type.pop("hedged", 0)
    assert {error.error_type: error.attempts for error in errors if error.attempts} == by_type
    for name in ("done", "failed", "attempts", "rate_limit_hits", "tokens_in", "tokens_out"):
        assert sum(getattr(sample, name) for sample in samples) == getattr(counts, name), name
    # hedges
    hedges = [event for rig in rigs for event in rig.happened("hedge")]
    sends = [event for rig in rigs for event in rig.happened("send")]
    assert counts.hedges <= len(hedges)
    assert len(hedges) <= (share or 0.0) * len(sends) + 1e-6
    assert counts.attempts == len(hedges) + len(sends)
    assert beaten <= len(hedges)
    spare = sum(len(rig.happened("spare")) for rig in rigs)
    assert spare >= beaten
    assert counts.hedge_wins <= counts.hedges
    # an item's first failure of two is no retry
    transient = ask(path, "SELECT count(*) FROM attempts WHERE outcome = 'transient'")[0][0]
    assert counts.retries <= transient
    for rig in rigs:
        assert rig.engine.gate.in_flight == 0
        assert rig.engine.flying == []
        assert rig.tally.in_flight == 0
    return counts
