"""Max-min fair shares: who wants little gets all of it, and what is left is split by weight among those who want more.

Weighted max-min fairness by progressive filling (Bertsekas, Gallager, "Data Networks", 2nd ed., section 6.5.2), with a
floor below which nobody falls.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

HEADROOM = 1.1
"""A demand that is met may grow by a tenth before its owner asks again."""
FLOOR = 0.01
"""Part of a holder's even share that it gets whatever it wants: without any, it could never show a demand."""


class Want(NamedTuple):
    """demand: what it would use in the limit's window, ``math.inf`` for all there is. weight: > 0."""

    demand: float
    weight: float


def fair_shares(limit: float | None, wants: Mapping[str, Want]) -> dict[str, float]:
    """Shares of ``limit``, each above 0, together 1. While nobody knows the limit, each demand above 0 is endless."""
    if len(wants) == 1:
        return dict.fromkeys(wants, 1.0)
    weight = sum(want.weight for want in wants.values())
    tops = {name: max(FLOOR * want.weight / weight, _part(limit, want.demand)) for name, want in wants.items()}
    shares: dict[str, float] = {}
    left = 1.0
    for name in sorted(wants, key=lambda name: tops[name] / wants[name].weight):
        own = wants[name].weight
        shares[name] = max(0.0, min(tops[name], left * own / weight))
        left -= shares[name]
        weight -= own
    if left > 0:
        # Everybody has what it wants: what nobody asked for is room to grow in.
        eager = [name for name, want in wants.items() if want.demand > 0] or list(wants)
        weight = sum(wants[name].weight for name in eager)
        for name in eager:
            shares[name] += left * wants[name].weight / weight
    return shares


def _part(limit: float | None, demand: float) -> float:
    """A demand as a part of the limit."""
    if limit is None or limit <= 0:
        return math.inf if demand > 0 else 0.0
    return HEADROOM * max(0.0, demand) / limit
