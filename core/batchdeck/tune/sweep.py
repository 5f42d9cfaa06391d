"""A measured sweep, judged: what each level gained over one at a time, and which concurrency it speaks for."""

from __future__ import annotations

import random
from collections.abc import Sequence

import msgspec

from batchdeck.model import Measured
from batchdeck.tune.knee import LEAST_SECONDS, Level, Recommendation, recommend


def compared(measured: Sequence[Measured]) -> tuple[Measured, ...]:
    """The same with speedup and efficiency.

    ``speedup = throughput / throughput of one at a time``, ``efficiency = speedup / concurrency``. Where one at a time
    was measured more than once, the measurement of as many items (or the nearest number) is the one to compare with:
    the more items, the less the last answers weigh for which no other is left to go beside them.
    """
    alone = [one for one in measured if one.concurrency == 1 and one.throughput > 0]
    return tuple(_compared(one, alone) for one in measured)


def _compared(one: Measured, alone: Sequence[Measured]) -> Measured:
    if not alone:
        return one
    base = min(alone, key=lambda other: abs(other.items - one.items))
    speedup = one.throughput / base.throughput
    return msgspec.structs.replace(one, speedup=speedup, efficiency=speedup / one.concurrency)


def recommended(measured: Sequence[Measured], most: int, rng: random.Random) -> Recommendation:
    """What concurrency to set, up to ``most``."""
    levels = [
        Level(concurrency=one.concurrency, throughput=one.throughput, seconds=one.seconds)
        for one in measured
        if one.seconds > 0
    ]
    advice = recommend(levels, most, rng)
    short = sum(level.seconds < LEAST_SECONDS for level in levels)
    if advice.verdict != "too little" or not short:
        return advice
    which = "a level" if short == 1 else f"{short} levels"
    said = f"{advice.sentence} ({which} of less than {LEAST_SECONDS:g} s not counted: give more items)"
    return msgspec.structs.replace(advice, sentence=said)


def fastest(measured: Sequence[Measured]) -> Measured | None:
    """The level with the most good answers a second; of two alike the one with fewer at once. None: no good answer."""
    good = [one for one in measured if one.throughput > 0]
    return max(good, key=lambda one: (one.throughput, -one.concurrency), default=None)


def sentence(one: Measured) -> str:
    """``4 at once: 50 items in 3.21 s, 15.6/s, 3.90× one at a time; p95 0.26 s; 2 rate-limit hits; 1 failed``"""
    said = f"{one.concurrency} at once: {one.items} items in {one.seconds:.2f} s, {one.throughput:.3g}/s"
    if one.speedup is not None and one.concurrency > 1:
        said += f", {one.speedup:.2f}× one at a time"
    if one.e2e is not None:
        said += f"; p95 {one.e2e.p95:.2f} s"
    if one.rate_limit_hits:
        said += f"; {one.rate_limit_hits} rate-limit hits"
    return f"{said}; {one.failed} failed" if one.failed else said
