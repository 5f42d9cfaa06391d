"""Turns the cap as ``tune.autotune`` says: tells it what lands, carries out its turns, remembers a person's hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from batchdeck.engine.attempt import Flight
from batchdeck.model import ServerLoad, Settled
from batchdeck.model import Tuning as State
from batchdeck.tune.autotune import FIRST, Autotune, Phase, Turn
from batchdeck.tune.stay import Landed

if TYPE_CHECKING:
    from batchdeck.engine.engine import Engine


class Tuning:
    """The autotune of one engine, on or off. Told of everything that lands, on either."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._policy: Autotune | None = None

    def __repr__(self) -> str:
        return f"<Tuning {self._policy or 'off'}>"

    def begin(self) -> None:
        """A session begins, the bounds are others, or it is switched: it starts anew from the cap as it is."""
        engine = self._engine
        self._policy = None
        if not engine.config.autotune.is_on or engine.sweeping.is_active:
            return  # a sweep turns the cap itself, and calls this when it is over
        least, most = self._bounds()
        cap = engine.gate.cap
        if not engine.counts.attempts and not engine.gate.in_flight:
            cap = FIRST
        cap = max(least, min(most, cap))
        if cap != engine.gate.cap:
            self._carry_out(Turn(cap, f"beginning with {cap}"))
        self._policy = Autotune(cap, least, most, engine.now(), engine.gate.in_flight)

    def flew(self, now: float, in_flight: int) -> None:
        """The number of requests in flight changed."""
        if self._policy is not None:
            self._policy.flew(now, in_flight)

    def landed(self, now: float, flight: Flight, settled: Settled) -> None:
        """An attempt came back."""
        if self._policy is None or not self._may_turn:
            return
        failure = settled.failure
        tokens = settled.answer.tokens_out if settled.answer is not None else None
        turn = self._policy.landed(
            now,
            Landed(
                started=flight.started,
                ended=now,
                ok=failure is None,
                refused=failure is not None and failure.outcome == "rate_limited",
                ttft=settled.timings.ttft,
                tokens=tokens or flight.tokens or None,
                beside=flight.beside,
            ),
        )
        if turn is not None:
            if turn.crowded:
                # What was taken for a rate was none.
                self._engine.admission.quota.forget_pace(now)
            self._carry_out(turn)

    def heard(self, load: ServerLoad) -> None:
        """What the server says of itself."""
        if self._policy is None or not self._may_turn:
            return
        turn = self._policy.queueing(self._engine.now(), load.running, load.waiting)
        if turn is not None:
            self._carry_out(turn)

    def rested(self) -> None:
        """A pause is over, or a stop that was taken back."""
        if self._policy is not None:
            self._policy.rested(self._engine.now())

    def by_hand(self, cap: int) -> None:
        """A person turned the cap: no higher by itself from now on."""
        engine = self._engine
        if not engine.config.autotune.is_on:
            return
        autotune = msgspec.structs.replace(engine.config.autotune, ceiling=cap)
        engine.steer.keep(msgspec.structs.replace(engine.config, autotune=autotune))
        if self._policy is not None:
            self._policy.turned(engine.now(), *self._bounds())

    @property
    def why(self) -> str:
        """Why the cap is what it is; empty where a person said so."""
        return f"auto: {self._policy.sentence}" if self._policy is not None else ""

    def state(self) -> State:
        told = self._engine.config.autotune
        (least, most), policy = self._bounds(), self._policy
        if not told.is_on:
            return State(least=least, most=most)
        phase: Phase = policy.phase if policy is not None else "resting"
        sentence = policy.sentence if policy is not None else "it goes on when the sweep is over"
        return State(is_on=True, phase=phase, sentence=sentence, least=least, most=most, ceiling=told.ceiling)

    @property
    def _may_turn(self) -> bool:
        """A pause is nobody's latency, and a sweep turns the cap itself."""
        return self._engine.state == "running" and not self._engine.sweeping.is_active

    def _bounds(self) -> tuple[int, int]:
        """A person's hand counts for more than what was said before the run."""
        told, possible = self._engine.config.autotune, self._engine.gate.most
        most = min(possible, told.ceiling if told.ceiling is not None else told.most or possible)
        return min(told.least or 1, most), most

    def _carry_out(self, turn: Turn) -> None:
        engine = self._engine
        before, after = engine.gate.cap, engine.gate.resize(turn.cap)
        engine.note("tune", f"{before} → {after}: {turn.why}", after)
        engine.steer.keep(msgspec.structs.replace(engine.config, concurrency=after))
        engine.pool.shrink(after)
        engine.dispatch_soon()
