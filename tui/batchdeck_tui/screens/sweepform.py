"""What the form of a sweep makes of the texts in it: the levels, and how many items each takes. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from batchdeck.errors import UsageError
from batchdeck_tui.format import count, duration

A_PLACE, LEAST = 4, 10
"""Items of a level where nobody says: so many for each place, and no fewer than that."""
HIGHEST = 10_000
AROUND = 8, 4
"""The proposed levels: from an eighth of the present one to four times as many."""
MOST_LEVELS = 20
_NUMBERS = re.compile(r"[\s,;]+")

Levels = list[tuple[int, int]]
"""(concurrency, items) of each level."""


def proposed(here: int, left: int, most: int) -> list[int]:
    """Powers of two around the present concurrency, as many as there are items for."""
    levels = [n for n in (2**power for power in range(14)) if here / AROUND[0] <= n <= max(8, here * AROUND[1])]
    levels = [n for n in levels if n <= most] or [min(here, most)]
    while len(levels) > 1 and sum(items for _, items in planned(levels, None)) > left:
        levels.pop()
    return levels


def planned(levels: Sequence[int], each: int | None) -> Levels:
    """The levels with their items: ``each``, or as many as a level needs where that is None."""
    return [(n, each if each is not None else max(LEAST, A_PLACE * n)) for n in levels]


def read(levels: str, each: str, left: int, most: int) -> Levels:
    """What a person wrote. left: items that were not started yet. Raises ``UsageError``."""
    numbers = [word for word in _NUMBERS.split(levels.strip()) if word]
    if not numbers:
        raise UsageError("name the levels, such as 1, 2, 4, 8")
    wrong = next((word for word in numbers if not re.fullmatch(r"[0-9]{1,5}", word)), None)
    if wrong is not None:
        raise UsageError(f"'{wrong[:20]}' is no concurrency; write levels such as 1, 2, 4, 8")
    found = list(dict.fromkeys(map(int, numbers)))
    top = min(most, HIGHEST)
    if not all(1 <= n <= top for n in found):
        raise UsageError(f"a level is 1 to {count(top)} here")
    if len(found) > MOST_LEVELS:
        raise UsageError(f"{MOST_LEVELS} levels at most")
    if each.strip() and not re.fullmatch(r"[1-9][0-9]{0,6}", each.strip()):
        raise UsageError(f"'{each.strip()[:20]}' is no number of items")
    plan = planned(found, int(each) if each.strip() else None)
    takes = sum(items for _, items in plan)
    if takes > left:
        raise UsageError(f"that takes {count(takes)} items, and {count(left)} are left: fewer levels, or fewer items")
    return plan


def said(plan: Levels, left: int, latency: float | None) -> str:
    """What it takes, in a sentence. latency: of an answer, seconds, as far as it is known."""
    takes = sum(items for _, items in plan)
    seconds = sum(items / n for n, items in plan) * latency if latency is not None else None
    about = f", about {duration(seconds)}" if seconds is not None else ""
    each = " + ".join(str(items) for _, items in plan[:8]) + (" + …" if len(plan) > 8 else "")
    sums = f"{each} = {count(takes)}" if len(plan) > 1 else count(takes)
    return f"takes {sums} of the {count(left)} items left{about}; every answer is kept as a result"
