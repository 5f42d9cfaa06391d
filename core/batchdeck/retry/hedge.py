"""When a request that takes unusually long is sent a second time: pure rules.

Hedged requests (Dean, Barroso, "The Tail at Scale", CACM 56(2), 2013): after the time that all but the slowest requests
need, ask again, take the first answer and cancel the other. Sent after the p95, that is 5 % of extra load at most; here
it is after the p99, since an answer costs money, and a share that a person sets bounds the extra requests whatever
happens, as the retry throttle of gRPC does (grpc/proposal, A6): each request earns a part of a hedge.

An answer that is long and comes steadily is no straggler: asked again, it would be as long. So what counts is the time
to the first token, then silence; only where nothing is streamed is it the whole time.
"""

from __future__ import annotations

from typing import NamedTuple

KNOWN_FROM = 100
"""Answers from which a p99 means something."""
LEVEL, HIGHEST = 0.99, 0.999
MARGIN = 1.1
"""How many times the p99 is unusual: where all requests need nearly the same, most of them are near to it."""
SAVED_OF = 1_000
"""Requests whose share of hedges can be saved up: a long calm must not become a flood at the first trouble."""


class Usual(NamedTuple):
    """What all but the slowest of a run's requests need, in seconds; None while it is not known."""

    ttft: float | None = None
    e2e: float | None = None


def level(answers: int, lost: int) -> float:
    """The quantile of what was measured that is the p99 of what was sent.

    lost: requests that were cancelled because their hedge answered first. How long they would have taken is not known,
    but it is among the longest: left out, the p99 would sink with each, and in the end every request would be hedged.
    Where more than one in a hundred never answers there is no p99; then what one in a thousand answers needs is it.
    """
    return min(HIGHEST, LEVEL * (1 + lost / max(1, answers)))


def limit(usual: Usual, *, streams: bool) -> float | None:
    """Seconds that a request may wait for its first token (``streams``) or for its answer; None: not known."""
    longest = usual.ttft if streams and usual.ttft is not None else usual.e2e
    return None if longest is None else MARGIN * longest


def is_straggler(
    usual: Usual, age: float, silent: float | None, *, streams: bool, is_stalled: bool, pause: float
) -> bool:
    """Whether a second request is worth its money.

    age: seconds since it was sent. silent: seconds since its newest byte, None before its first token. pause: seconds
    of silence from which a stream that should have ended by now does not come steadily.
    """
    if usual.e2e is None:
        return False
    if silent is None:
        longest = limit(usual, streams=streams)
        return longest is not None and age > longest
    return is_stalled or (age > MARGIN * usual.e2e and silent >= pause)


class Allowance:
    """How many hedges may still be sent: never more than a share of the other requests.

    What is kept are requests, not their share: it may be another at any moment, and be set when the run is near its end
    and its last requests do not answer.
    """

    def __init__(self) -> None:
        self._requests = 0.0

    def __repr__(self) -> str:
        return f"<Allowance of {self._requests:.0f} requests>"

    def earn(self) -> None:
        """A request was sent that is no hedge."""
        self._requests = min(self._requests + 1.0, SAVED_OF)

    def allows(self, share: float) -> bool:
        """Whether one more hedge may be sent."""
        return self._requests * share >= 1.0 - 1e-9

    def spend(self, share: float) -> None:
        """A hedge was sent."""
        self._requests -= 1.0 / share
