"""How the console behaves for its person: what was said at the start counts more than what is remembered."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from batchdeck_tui.remembered import recall, remember


class Habit(NamedTuple):
    """``variable``: in the environment, ``1`` or ``0``; the command line's option sets it."""

    title: str
    means: str
    variable: str
    usual: bool = False


HABITS: dict[str, Habit] = {
    "ascii": Habit("ASCII only", "for fonts without symbols; of models' words too", "BATCHDECK_ASCII"),
    "calm": Habit("Less motion", "two frames a second, nothing slides or blinks", "BATCHDECK_REDUCED_MOTION"),
    "bell": Habit("Bell", "rings when the run on the screen has ended", "BATCHDECK_BELL"),
    "notify": Habit("Notification", "the terminal tells the desktop that it has (OSC 9)", "BATCHDECK_NOTIFY"),
    "mouse": Habit("Mouse", "off leaves it to the terminal; from the next start on",
                   "BATCHDECK_MOUSE", usual=True),
}  # fmt: skip


class Habits:
    """All habits of this console, on or off. A turn of one is remembered."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        given = os.environ if environment is None else environment
        kept = recall().habits
        self._on = {name: kept.get(name, habit.usual) for name, habit in HABITS.items()}
        if given.get("TERM") == "linux" and "ascii" not in kept:
            self._on["ascii"] = True  # the console of the kernel has 512 glyphs
        self._on |= {name: given[habit.variable] != "0" for name, habit in HABITS.items() if given.get(habit.variable)}

    def __getitem__(self, name: str) -> bool:
        return self._on[name]

    def turn(self, name: str) -> str:
        """On instead of off, or the other way. Returns what hindered it from being remembered."""
        self._on[name] = not self._on[name]
        return remember(habits={**recall().habits, name: self._on[name]})
