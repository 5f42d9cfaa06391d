"""Autotune's policy alone, in a closed loop with a server: no engine, ten times as quick as one under virtual time."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable

from batchdeck.tune.autotune import FIRST, Autotune, Turn
from batchdeck.tune.stay import Landed
from tests.core.servers import Case, Outcome, Server

Answer = tuple[float, float, int] | None
"""Seconds to the first token and to the end, and tokens; None: refused at once."""


class Loop:
    """Requests that are in flight at a server, as many as the cap allows. ``serve``: told how many it is busy with."""

    def __init__(
        self, serve: Callable[[float, int], Answer], least: int = 1, most: int = 10_000, fixed: int | None = None
    ) -> None:
        """fixed: a cap that nobody turns."""
        self.serve = serve
        self.now = 0.0
        self.policy = Autotune(max(least, min(most, FIRST)), least, most, 0.0)
        self.turns: list[tuple[float, Turn]] = []
        self.answers = self.refused = 0
        self.latencies: list[tuple[float, float]] = []
        """(when it ended, seconds) of each answer."""
        self._fixed = fixed
        self.allowed = math.inf
        """More than so many are not in flight, whatever the cap: something else holds the run."""
        self._flying: list[tuple[float, int, float, int, Answer]] = []
        self._number = 0
        self._held = 0.0

    @property
    def cap(self) -> int:
        return self.policy.cap if self._fixed is None else self._fixed

    def run(self, seconds: float) -> int:
        """For so long. Returns the answers that came."""
        end, before = self.now + seconds, self.answers
        while True:
            self._send()
            due = self._flying[0][0] if self._flying else math.inf
            due = min(due, self._held) if self._held > self.now else due
            if due > end:
                self.now = end
                return self.answers - before
            self.now = due
            if self._flying and self._flying[0][0] <= self.now:
                self._land()

    def _send(self) -> None:
        while len(self._flying) < min(self.cap, self.allowed) and self.now >= self._held:
            answer = self.serve(self.now, len(self._flying))
            self._number += 1
            end = self.now + (0.05 if answer is None else answer[1])
            beside = len(self._flying) + 1
            heapq.heappush(self._flying, (end, self._number, self.now, beside, answer))
            self.policy.flew(self.now, beside)

    def _land(self) -> None:
        _, _, sent, beside, answer = heapq.heappop(self._flying)
        self.policy.flew(self.now, len(self._flying))
        if answer is None:
            self.refused += 1
            self._held = max(self._held, self.now + 1.0)
            landed = Landed(sent, self.now, ok=False, refused=True, beside=beside)
        else:
            self.answers += 1
            self.latencies.append((self.now, answer[1]))
            landed = Landed(sent, self.now, ttft=answer[0], tokens=answer[2], beside=beside)
        turn = self.policy.landed(self.now, landed) if self._fixed is None else None
        if turn is not None:
            self.turns.append((self.now, turn))


def play_alone(case: Case) -> Outcome:
    """As ``servers.play`` does it with an engine. A rate is none of the policy's business: no case of ``limited``."""
    server = Server(case)
    loop = Loop(lambda now, busy: server.answer(now), fixed=case.fixed)
    rates = []
    for half, (end, length) in enumerate(case.halves):
        if half and case.then is not None:
            server.move(case.then, loop.now)
        loop.run(end - length / 3 - loop.now)
        rates.append(loop.run(end - loop.now) / (length / 3))
    return Outcome(rates, loop.latencies, loop.refused, [(at, turn.why) for at, turn in loop.turns])
