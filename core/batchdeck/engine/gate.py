"""How many attempts may be in flight, and how many are."""

from __future__ import annotations

MOST = 10_000


class Gate:
    """A resizable cap. Lowering it ends nothing: requests in flight finish, and no new one starts above the cap."""

    def __init__(self, cap: int, most: int = MOST) -> None:
        """most: what this process can carry at all; each request is an open file."""
        self.most = max(1, min(most, MOST))
        self.in_flight = 0
        self.resize(cap)

    def __repr__(self) -> str:
        return f"<Gate {self.in_flight}/{self.cap}>"

    @property
    def has_room(self) -> bool:
        return self.in_flight < self.cap

    def resize(self, cap: int) -> int:
        """Set the cap, between 1 and ``most``. Returns the new one."""
        self.cap = max(1, min(cap, self.most))
        return self.cap

    def enter(self) -> None:
        self.in_flight += 1

    def leave(self) -> None:
        self.in_flight -= 1
