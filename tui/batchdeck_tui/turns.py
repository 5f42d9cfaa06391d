"""What each turn of the concurrency did: throughput, latency and 429s before and after, in words. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from batchdeck.tune.levels import Visit
from batchdeck_tui.format import UNKNOWN, duration, share, short
from batchdeck_tui.reasons import REASONS

ENOUGH = 3.0
"""Settled seconds from which on a stay is compared with another."""
STEADY = 0.03
"""Changes up to this are no change, however many answers tell of it."""

Part = tuple[str, str]
"""Text and the name of its style: ``label``, ``text``, ``better``, ``worse``."""
Form = Literal["full", "lean", "brief"]
"""From the longest: with all that was before; with the throughput before, and no 429s where there were none; with what
is now and its change only."""
Figures = tuple[list[Part], ...]
"""The parts of one turn: the caps, the throughput, the latency, the 429s, what holds the run now."""


@dataclass(frozen=True)
class Turn:
    """``after``: None while the new level settles, for some ``settles_in`` seconds. ``is_engines``: no person's."""

    before: Visit
    concurrency: int
    after: Visit | None
    is_engines: bool = False
    settles_in: float = 0.0


def turns(
    stays: Sequence[Visit], cap: int, settles_in: float = 0.0, by_engine: Sequence[tuple[float, float]] = ()
) -> list[Turn]:
    """The turns between settled stays, the newest first.

    What was turned over before it settled counts to the turn that did. cap: as it is now, 0 when unknown; by_engine:
    (t, new cap) of the turns that the engine took.
    """
    there = [stay for stay in stays if stay.seconds >= ENOUGH]
    made = [
        Turn(before, after.concurrency, after, _is_engines(before.ended, after.began, after.concurrency, by_engine))
        for before, after in pairwise(there)
        if before.concurrency != after.concurrency
    ]
    if there and cap and there[-1].concurrency != cap:
        last = there[-1]
        made.append(Turn(last, cap, None, _is_engines(last.ended, float("inf"), cap, by_engine), settles_in))
    return made[::-1]


def _is_engines(first: float, last: float, cap: int, by_engine: Sequence[tuple[float, float]]) -> bool:
    # a sample is as long as a second: the turn may have been within the last that was counted before it
    return any(first - 1.5 <= t <= last and value == cap for t, value in by_engine)


def change(before: float, after: float) -> float | None:
    """By what part it changed; None from nothing to something."""
    if before <= 0:
        return 0.0 if after <= 0 else None
    return after / before - 1.0


def told(change: float | None) -> str:
    """``+93%``, ``-4%``, ``±0%``; of ten times and more ``×12``; empty for what cannot be said."""
    if change is None:
        return ""
    if change >= 9.0:
        return f"×{change + 1:.0f}"
    whole = round(100 * change)
    return f"{whole:+d}%" if whole else "±0%"


def figures(turn: Turn, form: Form = "full") -> Figures:
    """The parts of a line, as long as ``form`` says."""
    caps: list[Part] = [(f"{'a ' if turn.is_engines else ''}{turn.before.concurrency} → {turn.concurrency}", "text")]
    before, after = turn.before, turn.after
    if after is None:
        wait = f", some {duration(turn.settles_in)} more" if turn.settles_in >= 1 else ""
        return (caps, [(f"settling …{wait}", "label")])
    # of so few answers so much is chance (their number as of a Poisson process)
    doubt = max(STEADY, math.sqrt(1 / max(1, before.items) + 1 / max(1, after.items)))
    pace = change(before.throughput, after.throughput)
    unit = " items/s" if form == "full" else "/s"
    items = _pair(short(before.throughput), f"{short(after.throughput)}{unit}", form == "brief")
    brief = form != "full"
    parts = [caps, [(items, "text"), *_changed(pace, doubt, up="better")]]
    if before.e2e is not None and after.e2e is not None:
        slower = change(before.e2e.p50, after.e2e.p50)
        spans = _pair(duration(before.e2e.p50), duration(after.e2e.p50), brief)
        parts.append([("p50 ", "label"), (spans, "text"), *_changed(slower, doubt, up="worse")])
    if form == "lean" and not (before.refused or after.refused):
        return (*parts, *_held(after))
    more = after.refused > before.refused and after.refused >= 0.001
    hits = _pair(share(before.refused), share(after.refused), brief or not (before.refused or after.refused))
    parts.append([("429s ", "label"), (hits, "worse" if more else "text")])
    return (*parts, *_held(after))


def _held(after: Visit) -> list[list[Part]]:
    return [] if after.is_bound else [[(f"held by {holder(after)}", "label")]]


def holder(stay: Visit) -> str:
    """What held it most besides the cap: ``RPM``, ``429s``."""
    others = {reason: seconds for reason, seconds in stay.held.items() if reason != "cap" and reason in REASONS}
    if not others:
        return "something else"
    return REASONS[max(others, key=lambda reason: others[reason])].by


def _pair(before: str, after: str, brief: bool) -> str:
    return after if brief else f"{before} → {after}"


def _changed(by: float | None, doubt: float, *, up: str) -> list[Part]:
    words = told(by)
    if by is None or not words or words == UNKNOWN:
        return []
    down = "worse" if up == "better" else "better"
    ink = "label" if abs(by) <= doubt else up if by > 0 else down
    return [(f" {words}", ink)]
