"""How many attempts may be in flight, and how many are."""

from __future__ import annotations


class Gate:
    """A resizable cap. Lowering it ends nothing: requests in flight finish, and no new one starts above the cap."""

    def __init__(self, cap: int) -> None:
        self.cap = max(1, cap)
        self.in_flight = 0

    def __repr__(self) -> str:
        return f"<Gate {self.in_flight}/{self.cap}>"

    @property
    def has_room(self) -> bool:
        return self.in_flight < self.cap

    def resize(self, cap: int) -> int:
        """Set the cap, at least 1. Returns the new one."""
        self.cap = max(1, cap)
        return self.cap

    def enter(self) -> None:
        self.in_flight += 1

    def leave(self) -> None:
        self.in_flight -= 1
