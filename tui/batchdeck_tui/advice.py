"""What to set the concurrency to, and what to do to know better: one sentence and one hint. Pure, but not fast."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from batchdeck.inert import inert
from batchdeck.model import Measured, Sweep
from batchdeck.tune.knee import FEWEST, LEAST_SECONDS, Level, Recommendation, recommend
from batchdeck.tune.levels import HALF, Visit, fitting
from batchdeck_tui.format import duration, rate, short
from batchdeck_tui.turns import ENOUGH, holder

LIMITING = frozenset({"rpm", "tpm", "daily", "cooldown"})
"""What holds a run that its account gives no more."""


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What a run's samples tell, and how it stands. ``now``: engine seconds. ``most``: the highest concurrency that may
    be set. ``settles_in``: seconds, None when the present level has settled."""

    visits: Sequence[Visit] = ()
    stays: Sequence[Visit] = ()
    sweep: Sweep | None = None
    concurrency: int = 0
    settles_in: float | None = None
    now: float = 0.0
    most: int = 10_000
    is_live: bool = False
    is_auto: bool = False

    @property
    def swept(self) -> Sequence[Measured]:
        return self.sweep.measured if self.sweep is not None else ()


@dataclass(frozen=True, kw_only=True)
class Advice:
    """``target``: what to set now, to run best or to measure next; None: nothing to set. ``best``: the level where more
    stops paying. ``hint``: what to do about the sentence, empty when nothing can be done any more."""

    sentence: str
    hint: str = ""
    target: int | None = None
    best: int | None = None
    recommendation: Recommendation | None = None


def advise(of: Situation, rng: random.Random) -> Advice:
    """Takes some tens of milliseconds. rng: as ``knee.recommend``."""
    held = _held(of)
    enough = _enough(held) if held is not None else of.most
    found = recommend(_levels(of), max(1, min(of.most, enough)), rng)
    is_known = found.verdict != "too little"
    if held is not None and (not is_known or held is of.stays[-1]):
        said = Advice(sentence=_saying(held, enough), target=enough, best=enough)
    elif is_known and found.concurrency is not None:
        more = f"; {holder(held)} allowed no more at {held.concurrency}" if held is not None else ""
        said = Advice(sentence=found.sentence + more, target=found.concurrency, best=found.concurrency)
    else:
        said = _exploring(of, found)
    if of.sweep is not None and not of.sweep.is_over:
        done, all_levels = len(of.sweep.measured), len(of.sweep.levels)
        sentence = inert(of.sweep.sentence) or f"a sweep is under way: {done} of {all_levels} levels are measured"
        return Advice(sentence=sentence, hint="s ends it", best=said.best, recommendation=found)
    hint = _hint(of, said, found) if of.is_live else ""
    return Advice(sentence=said.sentence, hint=hint, target=said.target, best=said.best, recommendation=found)


def _levels(of: Situation) -> list[Level]:
    """What the fit is through: the visits, and what a sweep measured for longer than those."""
    visited: dict[int, float] = {}
    for visit in of.visits:
        visited[visit.concurrency] = visited.get(visit.concurrency, 0.0) + visit.seconds
    swept = [
        Level(concurrency=level.concurrency, throughput=level.throughput, seconds=level.seconds)
        for level in of.swept
        if level.seconds > visited.get(level.concurrency, 0.0)
    ]
    return [*fitting(of.visits, of.now), *swept]


def _held(of: Situation) -> Visit | None:
    """The newest stay in which the account's limits held the run, unless it was seen to go faster since."""
    for place in range(len(of.stays) - 1, -1, -1):
        stay = of.stays[place]
        if stay.seconds < ENOUGH or stay.is_bound or of.now - stay.ended > HALF:
            continue
        reasons = {reason: seconds for reason, seconds in stay.held.items() if reason != "cap"}
        if not reasons or max(reasons, key=lambda reason: reasons[reason]) not in LIMITING:
            continue
        faster = any(
            later.is_bound and later.seconds >= ENOUGH and later.concurrency > _enough(stay)
            for later in of.stays[place + 1 :]
        )
        return None if faster else stay
    return None


def _enough(held: Visit) -> int:
    """By Little's law the requests in flight on average are what this throughput takes."""
    return max(1, min(held.concurrency, math.ceil(held.in_flight)))


def _saying(held: Visit, enough: int) -> str:
    by, pace = holder(held), rate(held.throughput)
    verb = "hold" if by.endswith("s") else "holds"
    if enough >= held.concurrency:
        return f"{held.concurrency} is enough: {by} {verb} the run at {pace}"
    return f"{enough} is enough: {by} {verb} the run at {pace}, and {short(held.in_flight)} are in flight on average"


def _exploring(of: Situation, found: Recommendation) -> Advice:
    levels = sorted({level.concurrency for level in _levels(of) if level.seconds >= LEAST_SECONDS})
    if not levels:
        if not of.is_live:
            return Advice(sentence="no level was measured: its samples do not tell what held it, or it ended too soon")
        return Advice(sentence="waiting for the first level: it counts once answers come steadily")
    named = ", ".join(f"{level:g}" for level in levels[-6:])
    missing = FEWEST - len(levels)
    if missing > 0:
        more = "one more makes a curve" if missing == 1 else f"{FEWEST} make a curve, and its knee is what to set"
        sentence = f"{len(levels)} level{'s are' if len(levels) > 1 else ' is'} measured ({named}): {more}"
    else:
        sentence = f"levels {named} are too near each other for a curve: measure one further away"
    is_here = of.concurrency in levels
    return Advice(sentence=sentence, target=_next(levels, of.most) if is_here else None)


def _next(levels: Sequence[float], most: int) -> int | None:
    """The level to measure next: twice the highest, or half the lowest where that is not allowed."""
    up, down = int(min(most, 2 * levels[-1])), int(levels[0] // 2)
    return up if up > levels[-1] else down if down >= 1 else None


def _hint(of: Situation, said: Advice, found: Recommendation) -> str:
    wait = ""
    if of.settles_in is not None:
        some = f", some {duration(of.settles_in)} more" if 1 <= of.settles_in < 100 else ""
        wait = f"{of.concurrency} settles{some}"
    if of.is_auto:
        do = "the engine turns it by itself; a takes it back"
    elif said.target is None:
        return f"{wait or 'turn + or - and wait some seconds'}; s measures several levels in a row"
    elif said.target == of.concurrency:
        return wait or "the run stands there now"
    else:
        do = f"⏎ {'sets' if said.best is not None else 'tries'} {said.target}"
        if said.best == found.concurrency and (found.low or 0) <= of.concurrency <= (found.high or 0):
            do = f"{of.concurrency} may be as good; {do}"
    return " · ".join(part for part in (do, wait) if part)
