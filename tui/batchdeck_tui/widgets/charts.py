"""The charts of a run over the same time, with one cursor through all of them: the four beside its table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.containers import Container

from batchdeck.model import Event, Sample
from batchdeck_tui.widgets.chart import Chart
from batchdeck_tui.widgets.chartkinds import FEW, Kind
from batchdeck_tui.widgets.history import History, Mark, Note, Point
from batchdeck_tui.widgets.timespan import View

__all__ = ["Chart", "Charts"]


class Charts(Container):
    """Four charts over the same time: two by two where there is height, else in one row.

    Feed it once a second with what is new; a chart is built again only then, or for a new size. While the mouse is over
    one, all of them tell of that moment.
    """

    DEFAULT_CSS = """
    Charts { layout: grid; grid-size: 2 2; grid-gutter: 0 2; height: 1fr; padding: 0 1; }
    """
    KINDS: ClassVar[tuple[Kind, ...]] = FEW

    def __init__(
        self,
        history: History | None = None,
        *,
        name: str | None = None,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        """history: of a run that is fed elsewhere."""
        super().__init__(name=name, id=id, classes=classes)
        self._history = history if history is not None else History()
        self._view = View()
        self._hover: float | None = None
        self._ended = False
        self._undrawn: list[Chart] = []

    def compose(self) -> ComposeResult:
        for kind in self.KINDS:
            yield Chart(kind, self._history)

    def extend(self, samples: Sequence[Sample], events: Sequence[Event]) -> None:
        """Add new samples and events, oldest first; those already drawn are left out."""
        if self._history.extend(samples, events):
            self.draw()

    def reset(self) -> None:
        """Forget everything: another run is to be drawn."""
        self._history = History()
        self.draw()

    @property
    def history(self) -> History:
        """What is drawn."""
        return self._history

    @property
    def window(self) -> float | None:
        """How many of the last seconds are drawn; None: the whole run."""
        return self._view.window

    @window.setter
    def window(self, seconds: float | None) -> None:
        self._view = View(seconds)
        self.draw()

    @property
    def ended(self) -> bool:
        """Whether the titles sum the run up, as nothing is going on now."""
        return self._ended

    @ended.setter
    def ended(self, ended: bool) -> None:
        if ended != self._ended:
            self._ended = ended
            self.draw()

    @property
    def cursor(self) -> float | None:
        """The second of the run whose values are shown; None: the newest are."""
        return self._hover if self._hover is not None else self._view.cursor

    def series(self, name: str) -> list[Point]:
        """(t, value) as drawn, before thinning to the columns, by the names in ``history.SERIES`` and ``LATENCIES``."""
        return list(self._history.series[name].points)

    def marks(self) -> list[Mark]:
        """(t, new cap, kind of the event) of every change of concurrency."""
        return list(self._history.marks)

    def notes(self) -> list[Note]:
        """(t, kind) of what else changed how the run goes: limits turned, the breaker, a quota that became known."""
        return list(self._history.notes)

    @property
    def held(self) -> tuple[dict[str, float], float]:
        """Seconds that each reason held the run, of so many that the samples cover."""
        return dict(self._history.held), self._history.seconds

    @on(Chart.Pointed)
    def _pointed(self, message: Chart.Pointed) -> None:
        message.stop()
        if message.t != self._hover:
            self._hover = message.t
            self.draw()

    def on_resize(self) -> None:
        self.lay_out()

    def lay_out(self) -> None:
        """Rows and columns for this size."""
        width, height = self.size
        columns = 4 if height < 12 and width >= 64 else 1 if width < 72 and height >= 24 else 2
        rows = 4 // columns
        self.styles.grid_size_columns = columns
        self.styles.grid_size_rows = rows
        self.styles.grid_gutter_horizontal = 1 if rows > 1 and height >= 18 else 0
        self.styles.grid_gutter_vertical = 3 if width >= 100 else 2

    @property
    def span(self) -> tuple[float, float]:
        """The seconds of the run in view."""
        history = self._history
        return self._view.span(history.began, history.last.t) if history.last is not None else (0.0, 0.0)

    def draw(self) -> None:
        """Something is to be seen otherwise. One chart after the other, between which keys are heard."""
        is_under_way = bool(self._undrawn)
        self._undrawn = list(self.query(Chart))
        if self._undrawn and not is_under_way:
            self._draw_next()

    @property
    def is_drawing(self) -> bool:
        """Whether a chart has yet to show what is new."""
        return bool(self._undrawn)

    def _draw_next(self) -> None:
        if self._undrawn:
            self._undrawn.pop(0).show(self._history, self.span, self.cursor, self._ended)
        if self._undrawn:
            self.call_after_refresh(self._draw_next)
