"""Counts what was really served, so that a client's figures can be checked against it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from batchdeck.sim.model import Plan


class Tally:
    """Every request that arrived, and what became of it.

    - ``requests``: all requests for a completion.
    - ``by_status``: status lines sent. A fault in mid-answer counts under the 200 it began with, a hang under none.
    - ``faults``: faults carried out, by name.
    - ``accepted``: requests that the quota let in, to an answer or to a fault; ``tokens_served``: their tokens, in and
      out, as the quota counts them.
    - ``turned_away``: attempts to reach it during an outage that refuses; they are not among ``requests``.
    - ``complete``: good answers sent to the end; ``tokens_in`` and ``tokens_out`` are theirs.
    - ``gone``: clients that left before their response had ended (those of a hang or stall too).
    - ``in_flight``: requests that have arrived and not ended. A response counts as ended just before its last bytes go
      out, so that a client can never be faster than the count.
    """

    def __init__(self) -> None:
        self.requests = 0
        self.by_status: Counter[int] = Counter()
        self.faults: Counter[str] = Counter()
        self.in_flight = 0
        self.max_in_flight = 0
        self.accepted = 0
        self.tokens_served = 0
        self.turned_away = 0
        self.complete = 0
        self.gone = 0
        self.tokens_in = 0
        self.tokens_out = 0

    def __repr__(self) -> str:
        return f"<Tally requests={self.requests} in_flight={self.in_flight} by_status={dict(self.by_status)}>"

    def enter(self) -> Visit:
        self.requests += 1
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        return Visit(self)

    def turn_away(self) -> None:
        self.turned_away += 1

    def stats(self) -> dict[str, Any]:
        """The counts as ``GET /sim/stats`` gives them."""
        return {
            "requests": self.requests,
            "by_status": {str(status): self.by_status[status] for status in sorted(self.by_status)},
            "max_in_flight": self.max_in_flight,
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
            "accepted": self.accepted,
            "tokens_served": self.tokens_served,
            "turned_away": self.turned_away,
            "in_flight": self.in_flight,
            "complete": self.complete,
            "gone": self.gone,
            "faults": {name: self.faults[name] for name in sorted(self.faults)},
        }


class Visit:
    """One request's way through the tally: ``decide``, ``begin`` at the status line, ``end`` before the last bytes."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._open = True

    def decide(self, plan: Plan) -> None:
        if plan.admitted:
            self._tally.accepted += 1
            self._tally.tokens_served += plan.tokens_in + plan.tokens_out

    def begin(self, status: int) -> None:
        self._tally.by_status[status] += 1

    def fall_silent(self, fault: str) -> None:
        """A hang or a stall has begun: it is still in flight, and ends when its client leaves."""
        self._tally.faults[fault] += 1

    def end(self, plan: Plan) -> None:
        """The response is over as planned, with whatever fault it has."""
        if plan.fault is not None:
            self._tally.faults[plan.fault] += 1
        elif plan.refusal is None:
            self._tally.complete += 1
            self._tally.tokens_in += plan.tokens_in
            self._tally.tokens_out += plan.tokens_out
        self._close()

    def leave(self) -> None:
        """Nothing more will be sent. Not ended before: the client has gone."""
        if self._open:
            self._tally.gone += 1
            self._close()

    def _close(self) -> None:
        self._open = False
        self._tally.in_flight -= 1
