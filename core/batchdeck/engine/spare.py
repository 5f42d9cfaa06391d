"""What a request is, and cost, whose item another one settles."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from batchdeck.engine.attempt import BEATEN, Flight
from batchdeck.model import HEDGED, Answer, Hedged, Settled


def beaten(settled: Settled) -> Settled:
    """An answer that came second decides nothing, though it may be whole: it is kept, as an attempt that was cut."""
    return settled if settled.failure is not None else msgspec.structs.replace(settled, failure=BEATEN)


def spare(
    is_second: bool, flight: Flight, settled: Settled, winner: Settled | None, price: Callable[[Settled], Settled]
) -> Hedged:
    """What the request cost: as the provider told, else guessed by what had come of it.

    winner: whose answer it was cut for; None: there is none yet. price: an attempt with its cost. A first request that
    failed by itself would have cost that without hedging, too.
    """
    was_cut = winner is not None or (settled.failure is not None and settled.failure.error_type == HEDGED)
    if not was_cut and not is_second:
        return Hedged(is_second=False, is_spare=True)
    answer = settled.answer
    is_told = answer is not None and answer.tokens_out is not None
    if not is_told:
        # The prompt is the winner's; what the provider wrote and nobody read is not known.
        known = winner.answer if winner is not None and winner.answer is not None else Answer(text="")
        guess = msgspec.structs.replace(known, text="", tokens_out=flight.tokens, tokens_cached=None)
        answer = guess if flight.status is not None and flight.status < 300 else None
        settled = price(msgspec.structs.replace(settled, answer=answer, cost=None))
    return Hedged(
        is_second=is_second,
        is_spare=True,
        tokens=0 if answer is None else (answer.tokens_in or 0) + (answer.tokens_out or 0),
        cost=settled.cost,
        is_guess=settled.sends > 0 and not (is_told and settled.cost is not None) and (was_cut or answer is not None),
    )
