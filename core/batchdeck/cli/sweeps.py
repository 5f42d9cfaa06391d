"""A measured sweep on the command line: its levels as they are given, its figures as lines for a person."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import click

from batchdeck.format import UNKNOWN, count, duration, rate, table
from batchdeck.inert import inert
from batchdeck.model import Measured, Sweep
from batchdeck.tune.sweep import fastest

LEVELS = (1, 4, 10)
BATCH = 50
"""Items a level, where nobody says another number."""
MOST = 10_000
WIDTH = 48
_ASCII = str.maketrans({"×": "x", "—": "-", "█": "#", "≥": ">", "…": ".", "–": "-"})


class Levels(click.ParamType[tuple[int, ...]]):
    """``1,4,10``, or ``sequential,4,10``."""

    name = "levels"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        words = [word.strip() for word in value.replace("sequential", "1").split(",")]
        if not all(re.fullmatch(r"\d{1,6}", word, re.ASCII) for word in words):
            self.fail(f"'{inert(value)[:40]}' is not a list of levels, e.g. 1,4,10.", param, ctx)
        levels = tuple(int(word) for word in words)
        if not all(1 <= level <= MOST for level in levels):
            self.fail(f"a level is 1 to {MOST:,} at once.", param, ctx)
        return levels


def live_lines(sweep: Sweep | None) -> Iterator[str]:
    """The newest sweep of a live run, as far as it is."""
    if sweep is None:
        return
    yield ""
    yield f"SWEEP  {inert(sweep.sentence)}"
    if sweep.measured:
        yield from level_lines(sweep.measured)


def level_lines(measured: Sequence[Measured]) -> list[str]:
    """Two tables, a line for each level: how fast it was, and what it met."""
    speed = [
        (
            at_once(one.concurrency),
            count(one.items),
            seconds(one.seconds),
            rate(one.throughput),
            times(one.speedup),
            share(one.efficiency),
            *([duration(one.e2e.p50), duration(one.e2e.p95), duration(one.e2e.p99)] if one.e2e else [UNKNOWN] * 3),
            duration(one.ttft.p50 if one.ttft else None),
        )
        for one in measured
    ]
    met = [
        (
            at_once(one.concurrency),
            share(one.success),
            count(one.rate_limit_hits),
            count(one.retries),
            f"{one.queue_depth:,.1f}",
            UNKNOWN if one.memory is None else f"{one.memory / 1e6:,.0f} MB",
            f"{one.tokens_rate:,.0f}/s",
            inert(", ".join(f"{number:,} × {name}" for name, number in one.errors.items())) or "none",
        )
        for one in measured
    ]
    head = ("AT ONCE", "ITEMS", "TIME", "RATE", "SPEEDUP", "EFFICIENCY", "P50", "P95", "P99", "TTFT")
    below = ("AT ONCE", "SUCCESS", "429S", "RETRIES", "QUEUE", "MEMORY", "TOKENS", "ERRORS")
    return [*table(head, speed, range(1, 10)), "", *table(below, met, range(1, 7))]


def count_lines(measured: Sequence[Measured]) -> list[str]:
    """Items × concurrency: the time and the speedup over one at a time of as many items."""
    caps = sorted({one.concurrency for one in measured})
    cells = {(one.items, one.concurrency): one for one in measured}
    rows = []
    for items in sorted({one.items for one in measured}):
        row = [count(items)]
        for cap in caps:
            one = cells.get((items, cap))
            row.append(UNKNOWN if one is None else seconds(one.seconds))
            if cap > 1:
                row.append(times(one.speedup if one else None))
        rows.append(row)
    head = ["ITEMS"]
    for cap in caps:
        head += [at_once(cap).upper()] if cap == 1 else [f"{cap} AT ONCE", "SPEEDUP"]
    return table(head, rows, range(len(head)))


def plot_lines(measured: Sequence[Measured]) -> list[str]:
    """Good answers a second by concurrency, as bars; of several numbers of items the largest."""
    most = max((one.items for one in measured), default=0)
    shown = sorted((one for one in measured if one.items == most and one.seconds > 0), key=lambda one: one.concurrency)
    top = max((one.throughput for one in shown), default=0.0)
    if len(shown) < 2 or not top:
        return []
    rows = [
        (
            at_once(one.concurrency),
            "█" * max(1, round(WIDTH * one.throughput / top)) if one.throughput else "",
            rate(one.throughput),
        )
        for one in shown
    ]
    return table(("AT ONCE", "GOOD ANSWERS A SECOND", ""), rows, (0, 2))


def verdict_lines(measured: Sequence[Measured], said: str) -> Iterator[str]:
    """What follows from it. said: the recommendation's sentence."""
    best = fastest(measured)
    if best is not None and len({one.concurrency for one in measured}) > 1:
        gain = f", {times(best.speedup)} one at a time" if best.speedup is not None and best.concurrency > 1 else ""
        yield f"fastest: {best.concurrency} at once ({rate(best.throughput)}{gain})"
    yield f"concurrency: {inert(said)}"


def printed(lines: Sequence[str], *, ascii_only: bool) -> None:
    """On standard output, in ASCII where nothing else can be shown there."""
    text = "\n".join(lines)
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        ascii_only = True
    print(text.translate(_ASCII) if ascii_only else text, flush=True)


def at_once(cap: int) -> str:
    return "sequential" if cap == 1 else count(cap)


def seconds(value: float) -> str:
    """To three digits: sweeps are compared by them."""
    return f"{value:.2f}s" if value < 99.95 else f"{value:,.0f}s"


def times(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.2f}×"


def share(value: float | None) -> str:
    """Rounded down, so that 100 % is all of it."""
    return UNKNOWN if value is None else f"{int(100 * value + 1e-9)}%"
