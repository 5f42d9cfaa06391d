"""Which rows of a run are listed."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, replace

from batchdeck.model import ItemState

STATES: tuple[ItemState | None, ...] = (None, "in_flight", "queued", "done", "failed")
"""In the order in which the filter key turns through them; None lists all."""


@dataclass(frozen=True)
class RowFilter:
    """A state or a class of errors, words to search for, both, or neither."""

    state: ItemState | None = None
    words: str = ""
    error_type: str | None = None

    def __bool__(self) -> bool:
        return self.state is not None or self.error_type is not None or bool(self.words)

    def __str__(self) -> str:
        said = [self.state.replace("_", " ")] if self.state else []
        said += [f"✗ {self.error_type}"] if self.error_type is not None else []
        return "  ·  ".join([*said, f"“{self.words}”"] if self.words else said)

    @property
    def is_live(self) -> bool:
        """Whether it lists what only the engine knows."""
        return self.state == "in_flight"

    @property
    def asks_file(self) -> bool:
        """Whether the run file must be searched."""
        return bool(self.words) or self.error_type is not None or (self.state is not None and not self.is_live)

    @property
    def needs_census(self) -> bool:
        """Whether it depends on which rows are in flight."""
        return self.state in ("in_flight", "queued")

    def turned(self, step: int) -> RowFilter:
        """The next filter by state, or the one before; it takes the place of one by class of errors."""
        return replace(self, state=STATES[(STATES.index(self.state) + step) % len(STATES)], error_type=None)

    def of_class(self, error_type: str) -> RowFilter:
        """Only items that failed of this class; once more, all states again."""
        return replace(self, state=None, error_type=None if error_type == self.error_type else error_type)


class Flights:
    """What is in flight, and what of it the run file still called queued when it was asked last.

    An item is queued in the file until its outcome is committed. Each look at the file has a number (``ask``), so that
    a row that was in flight since is left out until the answer to a later one is there.
    """

    def __init__(self) -> None:
        self.now: frozenset[int] = frozenset()
        self._seen: dict[int, int] = {}
        self._look = 0

    def census(self, indices: Iterable[int]) -> bool:
        """All rows in flight now. Whether some that were are not any more: then the file says something new."""
        before, self.now = self.now, frozenset(indices)
        return not before <= self.now

    def ask(self) -> int:
        """The file is asked now: the number of the look."""
        self._look += 1
        return self._look

    def answered(self, look: int) -> None:
        """Its answer is here: what was in flight only before is told right by it."""
        self._seen = {idx: seen for idx, seen in self._seen.items() if seen >= look}

    def queued(self, found: array[int]) -> array[int]:
        """Of the rows that the file calls queued (ascending) those that are."""
        self._seen |= dict.fromkeys(self.now, self._look)
        kept, start = array("q"), 0
        for idx in sorted(self._seen):
            at = bisect_left(found, idx, start)
            if at < len(found) and found[at] == idx:
                kept.extend(found[start:at])
                start = at + 1
        kept.extend(found[start:])
        return kept
