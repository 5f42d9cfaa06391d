"""All charts of a run in a grid that fits its place, with a cursor, zoom and pan; or one of them in all of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.message import Message

from batchdeck.model import Event
from batchdeck_tui.widgets.chart import Chart
from batchdeck_tui.widgets.chartkinds import ALL, Kind
from batchdeck_tui.widgets.charts import Charts
from batchdeck_tui.widgets.history import History
from batchdeck_tui.widgets.timespan import View

MARGIN = 7
"""Cells of the y axis in every chart, unless its labels need more: so that moments stand below each other."""
ROOMY = 8
"""Lines of a chart from which on it has an axis of time of its own; else those at the bottom have it for all."""
BREATH = 0.005
"""Seconds from one plot to the next: what a key does is painted then."""
LEAST = 5
"""Lines below which a chart tells nothing: rather all of them are scrolled."""


@dataclass(frozen=True)
class Reading:
    """Where values are read: seconds of the run, wall clock, what was done to the run then; a view's name."""

    view: str
    is_live: bool
    t: float | None = None
    at: float | None = None
    told: Sequence[Event] = ()


class ChartGrid(Charts):
    """Draws the history that the run's screen feeds."""

    DEFAULT_CSS = """
    ChartGrid { overflow-y: auto; scrollbar-size-vertical: 1; }
    """
    KINDS: ClassVar[tuple[Kind, ...]] = ALL

    class Turned(Message):
        """The cursor or what is in view is another one."""

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, ChartGrid.Turned)

    def __init__(self, history: History, window: float | None, *, id: str | None = None) -> None:
        super().__init__(history, id=id)
        self._view = View(window)
        self._alone: Chart | None = None
        self._due: dict[Chart, None] = {}
        """Whose plot is to be built again, in this order."""
        self._is_plotting = False

    def compose(self) -> ComposeResult:
        for kind in self.KINDS:
            yield Chart(kind, self._history, focusable=True, margin=MARGIN)

    def on_mount(self) -> None:
        self.draw()

    def draw(self) -> None:
        """A cursor moves at once. Plots are built one after the other, the one that the keys are for first: together
        they take as long as a person notices, and keys come in between."""
        span, cursor = self.span, self.cursor
        for chart in sorted(self.charts, key=lambda chart: chart is not self.focused):
            if not chart.display:
                continue
            if chart.fits(self._history, span):
                self._due.pop(chart, None)
                chart.show(self._history, span, cursor, self._ended)
            else:
                self._due[chart] = None
        if self._due and not self._is_plotting:
            self._is_plotting = True
            self._plot()
        self.post_message(self.Turned())

    @work(group="plots")
    async def _plot(self) -> None:
        try:
            while self._due:
                chart = next(iter(self._due))
                del self._due[chart]
                chart.show(self._history, self.span, self.cursor, self._ended)
                chart.plot()
                await asyncio.sleep(BREATH)
        finally:
            self._is_plotting = False

    @property
    def view(self) -> View:
        """What is in view, and where the cursor of the keys stands."""
        return self._view

    @property
    def charts(self) -> list[Chart]:
        return list(self.query(Chart))

    @property
    def focused(self) -> Chart:
        """The one that the keys are for."""
        charts = self.charts
        return next((chart for chart in charts if chart.has_focus), self._alone or charts[0])

    @property
    def alone(self) -> Chart | None:
        """The one that has all the place; None: all are there."""
        return self._alone

    @property
    def reading(self) -> Reading:
        """What is to be said beside the charts."""
        view, t = self._view, self.cursor
        if t is None:
            return Reading(view.name(), view.is_live)
        frame = self.focused.frame
        told: Sequence[Event] = ()
        if frame is not None:
            column = frame.column(t)
            # marks are rounded to columns, what was measured to dots: what stands in either is meant
            spans = frame.times(column), frame.mark_times(column)
            told = self._history.told_within(min(first for first, _ in spans), max(last for _, last in spans))
        return Reading(view.name(), view.is_live, t, self._history.wall_clock(t), told)

    # Where one looks

    def move(self, step: int) -> None:
        """The cursor by a column, or by a sample where these are farther apart. It begins at the newest in view."""
        history = self._history
        if history.last is None:
            return
        first, last = self.span
        t = self._view.cursor
        if t is None:
            self._turn(lambda view, began, end: view.at(history.nearest_sample(last), began, end))
            return
        frame = self.focused.frame
        column = (last - first) / frame.columns if frame is not None else 0.0
        there = history.nearest_sample(t + step * column)
        if (there - t) * step <= 0:
            there = history.next_sample(t, step)
        self._turn(lambda view, began, end: view.at(there, began, end))

    def leap(self, step: int) -> bool:
        """The cursor to the next mark (step 1) or the one before (-1). False: there is none."""
        t = self._view.cursor
        there = self._history.next_told(t if t is not None else self.span[1], step)
        if there is not None:
            self._turn(lambda view, began, end: view.at(there, began, end))
        return there is not None

    def pan(self, step: int) -> None:
        """Half of what is in view to the right (step 1) or to the left (-1)."""
        self._turn(lambda view, began, end: view.panned(step, began, end))

    def zoom(self, step: int) -> None:
        """A longer span (step 1) or a shorter one (-1)."""
        self._turn(lambda view, began, end: view.zoomed(step, began, end))

    def spread(self, window: float | None) -> None:
        """So many seconds in view; None: the whole run."""
        self._turn(lambda view, began, end: view.sized(window, began, end))

    def follow(self) -> None:
        """Up to the newest sample again, and the newest values."""
        self._hover = None
        self._turn(lambda view, began, end: view.live())

    def _turn(self, to: Callable[[View, float, float], View]) -> None:
        """Another view. Of a run without samples nothing but the span can be chosen."""
        history = self._history
        view = to(self._view, history.began, history.last.t if history.last is not None else history.began)
        if view != self._view:
            self._view = view
            self.draw()

    @on(Chart.Pointed)
    def _clicked(self, message: Chart.Pointed) -> None:
        """A click leaves the cursor where the mouse was."""
        t = message.t
        if message.is_click and t is not None:
            self._turn(lambda view, began, end: view.at(t, began, end))

    # Which chart

    def next(self, step: int) -> None:
        """The keys are for the next chart; where one is alone, that is there instead."""
        charts = self.charts
        chart = charts[(charts.index(self.focused) + step) % len(charts)]
        if self._alone is not None:
            self._give(chart)
        chart.focus()
        self.post_message(self.Turned())

    def enlarge(self) -> None:
        """The one that the keys are for has all the place, or all of them are there again."""
        self._give(None if self._alone is not None else self.focused)

    def _give(self, alone: Chart | None) -> None:
        chart = alone or self._alone
        self._alone = alone
        for one in self.charts:
            one.display = alone is None or one is alone
        self.lay_out()
        if chart is not None:
            chart.focus()
        self.draw()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        self.post_message(self.Turned())

    def lay_out(self) -> None:
        width, height = self.size
        shown = 1 if self._alone is not None else len(self.KINDS)
        columns = min(shown, 4 if height < 4 * LEAST and width >= 96 else 1 if width < 56 else 2)
        rows = shown // columns
        gap = 1 if rows > 1 and height >= rows * (ROOMY + 1) else 0
        tall = (height - gap * (rows - 1)) // rows
        styles = self.styles
        styles.grid_size_columns, styles.grid_size_rows = columns, rows
        styles.grid_gutter_horizontal, styles.grid_gutter_vertical = gap, 3 if width >= 100 else 2
        styles.grid_rows = "1fr" if tall >= LEAST else str(LEAST)
        for number, chart in enumerate(self.charts):
            chart.has_axis = tall >= ROOMY or tall < LEAST or number >= shown - columns or self._alone is not None
        if self.is_mounted and self.charts:
            self.draw()
