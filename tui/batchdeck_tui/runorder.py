"""In which order the list of runs stands. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from batchdeck.model import RunMeta
from batchdeck_tui.listing import LIVE, RunLine

Key = Callable[[RunLine, RunMeta], str | float]
COLUMNS: dict[str, Key] = {
    "run": lambda line, meta: line.name.casefold(),
    "state": lambda line, meta: meta.state,
    "progress": lambda line, meta: settled(meta) / meta.items_expected if meta.items_expected else 0.0,
    "items": lambda line, meta: meta.items_expected or meta.counts.items,
    "failed": lambda line, meta: meta.counts.failed,
    "pace": lambda line, meta: meta.counts.done / meta.counts.seconds if meta.counts.seconds else 0.0,
    "rate": lambda line, meta: meta.rate,
    "cost": lambda line, meta: meta.counts.cost,
    "took": lambda line, meta: meta.counts.seconds,
    "when": lambda line, meta: meta.updated_at,
    "model": lambda line, meta: f"{meta.config.provider} {meta.config.model}".casefold(),
}
"""What each column is ordered by."""
WORDS = ("run", "state", "model")
"""Columns that begin with the least: of figures the largest is looked for."""


def settled(meta: RunMeta) -> int:
    """Items that need no request any more."""
    return meta.counts.done + meta.counts.failed + meta.counts.skipped


def is_down_first(column: str) -> bool:
    """Whether a column is ordered from the largest on when it is chosen."""
    return column not in WORDS


def arranged(lines: Sequence[RunLine], column: str = "", descending: bool = False) -> list[RunLine]:
    """The runs by a column; without one, those that broke off first, then those that go, then the newest.

    Files that cannot be read come last, and equals stand as they do without a column.
    """
    usual = sorted(lines, key=_urgency)
    key = COLUMNS.get(column)
    if key is None:
        return usual
    pairs = [(line, line.meta) for line in usual if line.meta is not None]
    pairs.sort(key=lambda pair: key(*pair), reverse=descending)
    return [line for line, _ in pairs] + [line for line in usual if line.meta is None]


def _urgency(line: RunLine) -> tuple[int, float]:
    if line.meta is None:
        return 3, 0.0
    state = line.meta.state
    # By when it was made: files change at odd moments, and the list would jump.
    return 0 if state == "interrupted" else 1 if state in LIVE else 2, -line.meta.created_at
