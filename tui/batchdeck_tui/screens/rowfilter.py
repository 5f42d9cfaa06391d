"""Which rows of a run are listed."""

from __future__ import annotations

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

    def turned(self, step: int) -> RowFilter:
        """The next filter by state, or the one before; it takes the place of one by class of errors."""
        return replace(self, state=STATES[(STATES.index(self.state) + step) % len(STATES)], error_type=None)

    def of_class(self, error_type: str) -> RowFilter:
        """Only items that failed of this class; once more, all states again."""
        return replace(self, state=None, error_type=None if error_type == self.error_type else error_type)
