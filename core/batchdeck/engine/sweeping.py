"""A measured sweep while the run goes: so many items at each concurrency, one level after the other.

A level begins when nothing is in flight and nothing waits for the disk, and is over when each of its items is settled,
those that had to be tried again too. Only then are its figures right: nothing else was sent meanwhile. What waited to
be tried again from before is set aside until the end of the sweep. The items of all levels are read in before the first
one, and no others meanwhile: reading a large file beside it would make the disk slow for what is measured.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING

import msgspec

from batchdeck.engine.figures import Figures, Outcome
from batchdeck.engine.queue import Work
from batchdeck.model import Measured, Reply, Settled, Sweep
from batchdeck.tune.sweep import compared, sentence

if TYPE_CHECKING:
    from batchdeck.engine.engine import Engine

MOST_LEVELS = 100


class Sweeping:
    """The sweeps of one engine, one at a time. ``step`` is called before each choice of what to send next."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._number = 0
        self._levels: tuple[tuple[int, int], ...] = ()
        self._warms_up = self._drains = False
        self._then = 0
        self._measured: tuple[Measured, ...] = ()
        self._level: Figures | None = None
        self._cap = 0
        self._sentence = ""
        self._reading: asyncio.Future[None] | None = None
        """Done when the input may be read on."""
        self.is_active = False

    def __repr__(self) -> str:
        return f"<Sweeping {len(self._measured)}/{len(self._levels)} {'active' if self.is_active else 'idle'}>"

    # -- what people ask

    def ask(self, levels: Sequence[tuple[int, int]], then: int | None = None) -> Reply:
        """Begin a sweep, or end the one under way when there is no level. then: see ``begin``."""
        return self.begin(levels, then=then) if levels else self.stop()

    def begin(
        self, levels: Sequence[tuple[int, int]], *, then: int | None = None, warm_up: bool = False, drains: bool = False
    ) -> Reply:
        """Measure these (concurrency, items), in this order, as soon as what is in flight has come back.

        then: the concurrency to go on with; None: the one before. warm_up: one item goes first and is not measured.
        drains: the run ends in order when the sweep is over, in whatever way.
        """
        engine = self._engine
        wrong = self._refusal(levels, then)
        if wrong:
            return Reply(ok=False, message=wrong)
        self._levels = tuple((at_once, items) for at_once, items in levels)
        self._warms_up, self._drains = warm_up, drains
        self._cap = engine.gate.cap
        self._then = then if then is not None else self._cap
        self._measured, self._level, self._sentence = (), None, ""
        self.is_active = True
        engine.tuning.begin()
        engine.dispatch()
        total = sum(items for _, items in levels)
        return Reply(ok=True, message=f"measuring {_at_once(levels)}: {total:,} items, kept as results like any other")

    def stop(self) -> Reply:
        """End the sweep under way; what is in flight goes on to its end."""
        if not self.is_active:
            return Reply(ok=False, message="no sweep is under way")
        self._end("ended by hand")
        self._engine.dispatch()
        return Reply(ok=True, message=self._sentence)

    def _refusal(self, levels: Sequence[tuple[int, int]], then: int | None) -> str:
        engine = self._engine
        if self.is_active:
            return "a sweep is under way already; end it first"
        if engine.state not in ("starting", "running") or engine.is_ending:
            return f"the run is {engine.state}"
        if not 0 < len(levels) <= MOST_LEVELS:
            return f"a sweep has 1 to {MOST_LEVELS} levels"
        if any(items < 1 for _, items in levels):
            return "a level needs one item at least"
        for at_once in (*(at_once for at_once, _ in levels), *([] if then is None else [then])):
            if not 1 <= at_once <= engine.gate.most:
                return f"a level of {at_once:,} cannot be: it must be 1 to {engine.gate.most:,}"
        for at_once, items in levels:
            if items < at_once:
                return f"{at_once:,} at once needs {at_once:,} items at least, not {items:,}"
        left, wanted = engine.queued - engine.queue.backoff, sum(items for _, items in levels)
        if engine.ingest_complete and wanted > left:
            return f"{left:,} items are left to start, and these levels take {wanted:,}"
        return ""

    # -- what the engine tells and asks

    @property
    def is_clearing(self) -> bool:
        """Nothing may start: a level waits for what is in flight from before."""
        return self.is_active and self._level is None

    def sent(self, work: Work, now: float) -> None:
        if self._level is not None:
            self._level.sent(work, now)
            self._engine.admission.allowance = self._level.left

    def landed(self, settled: Settled, outcome: Outcome, now: float) -> None:
        if self._level is not None:
            self._level.landed(settled, outcome, now)

    def dropped(self, work: Work) -> None:
        """An item failed without being sent (again)."""
        if self._level is not None and work.level == self._level.number:
            self._level.failed += 1

    def look(self) -> None:
        """Called by the clock, 20 times a second."""
        if self._level is not None:
            self._level.look()

    def rest(self) -> Awaitable[None] | None:
        """What the reading of the input is to wait for. Standard input is read on: it cannot be read again later."""
        engine = self._engine
        if not self.is_active or engine.config.input == "-" or self._spare <= 0:
            return None
        self._reading = asyncio.get_running_loop().create_future()
        return self._reading

    def step(self) -> None:
        """Go on to the next level, or to the end, when that may be."""
        if not self.is_active:
            return
        engine = self._engine
        if self._spare < 0:
            self._read_on()
        if engine.state not in ("running", "paused"):
            self._end("the run ends")
        elif engine.state == "paused":
            # With all its items in flight a level loses no time by it.
            if self._level is not None and self._level.started and (self._level.left or engine.queue.backoff):
                engine.note("sweep", f"{self._level.concurrency} at once is measured again: the run was paused")
                self._level = None
        else:
            self._advance()

    def overrule(self, cap: int) -> None:
        """A person turned the concurrency: that is what goes on, and nothing more is measured."""
        if self.is_active:
            self._then = cap
            self._end("the concurrency was turned by hand")

    def close(self) -> None:
        """The session is over."""
        self._drains = False
        if self.is_active:
            self._end("the run has ended")

    def _advance(self) -> None:
        engine = self._engine
        if engine.gate.in_flight:
            return
        level = self._level
        if level is not None and not level.open and (not level.left or self._is_out):
            self._finish(level)
        if self._level is not None or engine.uncommitted:
            return
        count = len(self._measured)
        if count == len(self._levels):
            self._end("" if self._measured[-1].items >= self._levels[-1][1] else "the items ran out")
        elif self._is_out:
            self._end("the items ran out")
        elif engine.ingest_complete or self._spare >= 0:
            self._open()

    @property
    def _is_out(self) -> bool:
        """No item is left that was not started yet."""
        return self._engine.ingest_complete and self._engine.ahead.is_out

    @property
    def _spare(self) -> int:
        """Items that are read in and not started, beyond those that the sweep still takes."""
        engine, level, number = self._engine, self._level, len(self._measured)
        wanted = int(self._warms_up) if level is None else level.left
        if level is not None and not self._warms_up:
            number += 1
        wanted += sum(items for _, items in self._levels[number:])
        return engine.queued - engine.queue.backoff - engine.queue.aside - wanted

    def _read_on(self) -> None:
        if self._reading is not None and not self._reading.done():
            self._reading.set_result(None)

    def _open(self) -> None:
        """A level begins."""
        engine = self._engine
        at_once, items = (1, 1) if self._warms_up else self._levels[len(self._measured)]
        self._number += 1
        self._level = Figures(self._number, at_once, items)
        engine.queue.set_aside()
        engine.admission.allowance = items
        self._turn(at_once)
        engine.gate.widen()  # so many at once are measured, not how they come to be so many

    def _finish(self, level: Figures) -> None:
        """All items of a level are settled."""
        self._level = None
        if self._warms_up:
            self._warms_up = False
            return
        measured = level.measured()
        if measured is not None:
            self._measured = compared([*self._measured, measured])
            self._engine.note("sweep", sentence(self._measured[-1]), level.concurrency)

    def _turn(self, cap: int) -> None:
        engine = self._engine
        self._cap = engine.gate.resize(cap)
        engine.pool.shrink(self._cap)

    def _end(self, why: str) -> None:
        engine = self._engine
        level = self._level
        self._level, self.is_active = None, False
        engine.admission.allowance = math.inf
        engine.queue.take_back()
        self._read_on()
        self._turn(self._then)
        engine.steer.keep(msgspec.structs.replace(engine.config, concurrency=engine.gate.cap))
        said = f"{len(self._measured)} of {len(self._levels)} levels measured"
        if why:
            said += f", then {why}"
        if level is not None and level.started:
            said += f" ({level.concurrency} at once was cut short after {level.settled} items)"
        self._sentence = said
        engine.note("sweep", f"{said}; concurrency {engine.gate.cap}", engine.gate.cap)
        engine.tuning.begin()
        if (
            self._drains
            and engine.state in ("running", "paused")
            and (engine.counts.unfinished or not engine.ingest_complete)
        ):
            engine.steer.drain()

    # -- what others may know

    def seen(self) -> Sweep | None:
        """The sweep under way or the newest one; None: there was none."""
        if not self._levels:
            return None
        return Sweep(levels=self._levels, measured=self._measured, is_over=not self.is_active, sentence=self.sentence)

    @property
    def sentence(self) -> str:
        """How far the sweep is, or how it ended."""
        if not self.is_active:
            return self._sentence
        number, level = len(self._measured) + 1, self._level
        if level is None:
            is_short = not self._engine.ingest_complete and self._spare < 0
            what = "its items to be read" if is_short else "what is in flight"
            return f"level {number} of {len(self._levels)} waits for {what}"
        if self._warms_up:
            return "the first item goes alone and is not measured"
        return (
            f"level {number} of {len(self._levels)}, {level.concurrency} at once:"
            f" {level.settled} of {level.settled + level.open + level.left} items"
        )


def _at_once(levels: Sequence[tuple[int, int]]) -> str:
    """``3 levels (1, 4, 10 at once)``"""
    shown = [f"{at_once:,}" for at_once, _ in levels[:12]] + (["…"] if len(levels) > 12 else [])
    return f"{len(levels)} level{'s' if len(levels) > 1 else ''} ({', '.join(shown)} at once)"
