"""Which part of a run's time the charts show, and where the cursor stands in it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

WINDOWS = (60.0, 600.0, 3_600.0, None)
"""Seconds that can be shown, from the shortest; None: the whole run."""
NAMES = {60.0: "last minute", 600.0: "last 10 minutes", 3_600.0: "last hour", None: "whole run"}
HELD = {60.0: "one minute", 600.0: "10 minutes", 3_600.0: "one hour", None: "whole run"}
STEP = 0.5
"""How far the view is moved at a time, as a part of it."""


@dataclass(frozen=True)
class View:
    """``window``: seconds in view, None: all of them; ``end``: up to when, None: up to the newest sample, whatever
    comes; ``cursor``: when values are read, None: nowhere, so that the newest are shown."""

    window: float | None = None
    end: float | None = None
    cursor: float | None = None

    @property
    def is_live(self) -> bool:
        """Whether it goes on with the run and shows the newest values."""
        return self.end is None and self.cursor is None

    def span(self, began: float, last: float) -> tuple[float, float]:
        """(first, last) second in view of a run that has samples from ``began`` to ``last``."""
        end = last if self.end is None else min(self.end, last)
        return (began if self.window is None else max(began, end - self.window)), end

    def sized(self, window: float | None, began: float, last: float) -> View:
        """So many seconds around the cursor; without one up to the same end."""
        if window is None or self.cursor is None:
            return replace(self, window=window, end=self.end if window is not None else None)
        return replace(self, window=window)._ending(self.cursor + window / 2, began, last)

    def zoomed(self, step: int, began: float, last: float) -> View:
        """The next longer span (step 1) or shorter one (-1)."""
        at = min(len(WINDOWS) - 1, max(0, WINDOWS.index(self.window) + step))
        # those that are longer than the run all show all of it, and a key would seem to do nothing
        while 0 < at < len(WINDOWS) - 1 and (WINDOWS[at] or 0.0) >= last - began:
            at += step
        return self.sized(WINDOWS[at], began, last)

    def panned(self, step: int, began: float, last: float) -> View:
        """Half a view to the right (step 1) or to the left (-1); there values are read, and the cursor comes along.

        The end of the run is as far as it goes; of what is all in view nothing moves.
        """
        first, end = self.span(began, last)
        if self.window is None or (first <= began and end >= last):
            return self
        moved = self._ending(end + step * STEP * self.window, began, last)
        by = moved.span(began, last)[1] - end
        cursor = end if self.cursor is None else self.cursor
        return replace(moved, cursor=min(last, max(began, cursor + by)))

    def at(self, t: float, began: float, last: float) -> View:
        """The cursor at ``t``, which comes into view if it was not. A view that moves on would leave it behind, so it
        stays where it is."""
        t = min(last, max(began, t))
        if self.window is None:
            return replace(self, cursor=t)
        first, end = self.span(began, last)
        if t > end:
            end = t
        elif t < first:
            end = t + self.window
        return replace(self, cursor=t)._ending(end, began, last)

    def live(self) -> View:
        """Up to the newest sample again, and no cursor."""
        return View(self.window)

    def name(self) -> str:
        if self.end is None:
            return NAMES[self.window]
        return HELD[self.window]

    def _ending(self, end: float, began: float, last: float) -> View:
        full = began if self.window is None else began + self.window
        return replace(self, end=min(last, max(end, full)))
