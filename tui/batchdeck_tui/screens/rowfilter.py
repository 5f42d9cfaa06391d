"""Which rows of a run are listed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from batchdeck.model import ItemState

STATES: tuple[ItemState | None, ...] = (None, "in_flight", "queued", "done", "failed")
"""In the order in which the filter key turns through them; None lists all."""


@dataclass(frozen=True)
class RowFilter:
    """A state, words to search for, both, or neither."""

    state: ItemState | None = None
    words: str = ""

    def __bool__(self) -> bool:
        return self.state is not None or bool(self.words)

    def __str__(self) -> str:
        state = [self.state.replace("_", " ")] if self.state else []
        return "  ·  ".join([*state, f"“{self.words}”"] if self.words else state)

    @property
    def is_live(self) -> bool:
        """Whether it lists what only the engine knows."""
        return self.state == "in_flight"

    @property
    def asks_file(self) -> bool:
        """Whether the run file must be searched."""
        return bool(self.words) or (self.state is not None and not self.is_live)

    def turned(self, step: int) -> RowFilter:
        """The next filter by state, or the one before."""
        return replace(self, state=STATES[(STATES.index(self.state) + step) % len(STATES)])
