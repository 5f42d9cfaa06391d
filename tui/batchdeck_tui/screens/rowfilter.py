"""Which rows of a run are listed, and in which order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from batchdeck.model import ItemState
from batchdeck.store.index import Order, Query
from batchdeck_tui.asking import Asked, Range, said, written
from batchdeck_tui.selection import Selection

_TITLES: dict[Order, str] = {"idx": "#", "tokens": "tok", "seconds": "time"}
STATES: tuple[ItemState | None, ...] = (None, "in_flight", "queued", "done", "failed")
"""In the order in which the filter key turns through them; None lists all."""


@dataclass(frozen=True)
class RowFilter:
    """A state or a class of errors, words to search for, how answers ended, bounds of figures; or none of these."""

    state: ItemState | None = None
    words: str = ""
    error_type: str | None = None
    finish_reason: str | None = None
    ranges: tuple[Range, ...] = ()
    order: Order = "idx"
    descending: bool = False

    def __bool__(self) -> bool:
        return self != RowFilter()

    def __str__(self) -> str:
        parts = [self.state.replace("_", " ")] if self.state else []
        parts += [f"✗ {self.error_type}"] if self.error_type is not None else []
        parts += [f"ended by {self.finish_reason}"] if self.finish_reason is not None else []
        parts += [said(one) for one in self.ranges]
        parts += [f"“{self.words}”"] if self.words else []
        if self.is_ordered:
            parts.append(f"by {_TITLES.get(self.order, self.order)} {'↓' if self.descending else '↑'}")
        return "  ·  ".join(parts)

    @property
    def query(self) -> Query:
        """What the run file is asked for; which rows are in flight it does not know."""
        return Query(
            state=None if self.is_live else self.state, error_type=self.error_type, words=self.words,
            finish_reason=self.finish_reason, ranges=self.ranges, order=self.order, descending=self.descending,
        )  # fmt: skip

    @property
    def is_ordered(self) -> bool:
        """Whether in another order than the input's."""
        return self.order != "idx" or self.descending

    @property
    def line(self) -> str:
        """What stands in the search line when it is opened."""
        return written(self.words, self.finish_reason, self.ranges)

    def asking(self, asked: Asked) -> RowFilter:
        """For what was typed. A state or a class that was chosen stays where none is typed."""
        chosen = asked.state is not None or asked.error_type is not None
        return replace(
            self, words=asked.words, finish_reason=asked.finish_reason, ranges=asked.ranges,
            state=asked.state if chosen else self.state, error_type=asked.error_type if chosen else self.error_type,
        )  # fmt: skip

    def ordered(self, order: Order) -> RowFilter:
        """By a column; the largest first, where that is what one looks for. Once more: the other way; then not."""
        largest_first = order in ("tokens", "ttft", "seconds", "tries", "cost", "idx")
        if order != self.order:
            return replace(self, order=order, descending=largest_first)
        if self.descending == largest_first and order != "idx":
            return replace(self, descending=not largest_first)
        return replace(self, order="idx", descending=order == "idx" and not self.descending)

    @property
    def is_live(self) -> bool:
        """Whether it lists what only the engine knows."""
        return self.state == "in_flight"

    @property
    def asks_file(self) -> bool:
        """Whether the run file must be searched."""
        return self.query != Query()

    @property
    def needs_census(self) -> bool:
        """Whether it depends on which rows are in flight."""
        return self.state in ("in_flight", "queued")

    def turned(self, step: int) -> RowFilter:
        """The next filter by state, or the one before; it takes the place of one by class of errors."""
        at = STATES.index(self.state) if self.state in STATES else 0  # others can be typed
        return replace(self, state=STATES[(at + step) % len(STATES)], error_type=None)

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

    def queued(self, found: Selection) -> Selection:
        """Of the rows that the file calls queued those that are."""
        self._seen |= dict.fromkeys(self.now, self._look)
        return found.without(frozenset(self._seen))
