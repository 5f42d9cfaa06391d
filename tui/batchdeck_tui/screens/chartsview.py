"""All charts of a run on one axis of time, with a cursor that reads them, and the knob beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import Screen
from textual.widgets import Footer

from batchdeck.model import Reply, RunMeta, Snapshot
from batchdeck_tui.commands import Scope, bindings
from batchdeck_tui.screens.knobs import WORKING
from batchdeck_tui.widgets.chartgrid import ChartGrid
from batchdeck_tui.widgets.chartshead import ChartsHead
from batchdeck_tui.widgets.history import History
from batchdeck_tui.widgets.timespan import WINDOWS

if TYPE_CHECKING:
    from batchdeck_tui.screens.charting import ChartingScreen


class ChartsScreen(Screen[None]):
    """Draws what the run's screen, which lies below, was told, and turns the knob through it."""

    SCOPE: ClassVar[Scope] = "charts"
    BINDINGS: ClassVar[list[BindingType]] = bindings("charts")
    AUTO_FOCUS = "Chart"

    def __init__(
        self, run: ChartingScreen, now: Snapshot | RunMeta, history: History, window: float | None = None
    ) -> None:
        """window: how many of the last seconds are in view at first; None: the whole run."""
        super().__init__()
        self._run = run
        self._now = now
        self._history = history
        self._window = window
        self._knobs: tuple[object, ...] = ()

    def compose(self) -> ComposeResult:
        yield ChartsHead(id="head")
        yield ChartGrid(self._history, self._window, id="grid")
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        self.hear(self._now)

    @property
    def grid(self) -> ChartGrid:
        return self.query_one("#grid", ChartGrid)

    # What is new

    def hear(self, now: Snapshot | RunMeta) -> None:
        """The run as it is now. Ten times a second: only the head is told."""
        self._now = now
        if not self._stands:
            return
        self.grid.ended = now.state not in WORKING
        self._tell_head()

    def measured(self) -> None:
        """There are new samples, or something happened."""
        if self._stands:
            self.grid.draw()

    @on(ChartGrid.Turned)
    def _tell_head(self) -> None:
        if not self._stands:
            return
        grid = self.grid
        self.query_one(ChartsHead).tell_of(self._now, grid.reading)
        knobs = (self._now.state, grid.view.is_live, grid.alone is not None)
        if knobs != self._knobs:
            self._knobs = knobs
            self.refresh_bindings()

    @property
    def _stands(self) -> bool:
        """Whether its widgets are there: the innermost come last, and news of the run do not wait for them."""
        return self.query_one_optional("#chart-cost") is not None

    # What can be done

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "concurrency":
            return self._run.check_action(action, parameters)
        if action == "live":
            return self._stands and not self.grid.view.is_live
        return True

    def action_move(self, step: int) -> None:
        self.grid.move(step)

    def action_leap(self, step: int) -> None:
        if not self.grid.leap(step):
            way = "after" if step > 0 else "before"
            self._run.door.say(Reply(ok=True, message=f"No mark stands {way} the cursor"))

    def action_pan(self, step: int) -> None:
        self.grid.pan(step)

    def action_zoom(self, step: int) -> None:
        self.grid.zoom(step)

    def action_span(self, number: int) -> None:
        """By its place in the row of spans, the shortest first."""
        self.grid.spread(WINDOWS[number - 1])

    def action_live(self) -> None:
        self.grid.follow()

    def action_enlarge(self) -> None:
        self.grid.enlarge()

    def action_next(self, step: int) -> None:
        self.grid.next(step)

    def action_concurrency(self, by: int) -> None:
        self._run.action_concurrency(by)

    def action_back(self) -> None:
        if self.grid.alone is not None:
            self.grid.enlarge()
        else:
            self.dismiss(None)

    def action_detach(self) -> None:
        self.app.exit()
