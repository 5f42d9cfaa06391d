"""What a run's screen does for its charts: how long answers took, and the screen on which all charts stand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from textual import work

from batchdeck.model import Event, Sample
from batchdeck_tui.bridge import RunBridge
from batchdeck_tui.screens.tuning import TuningScreen
from batchdeck_tui.widgets.charts import Charts

if TYPE_CHECKING:
    from batchdeck_tui.screens.chartsview import ChartsScreen


class ChartingScreen(TuningScreen):
    """The charts beside the table hold the history; the charts' own screen draws the same one."""

    def __init__(self, path: Path, bridge: RunBridge) -> None:
        super().__init__(path, bridge)
        self._charts: ChartsScreen | None = None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        applies = super().check_action(action, parameters)
        return self._now is not None if action == "all_charts" and applies else applies

    # What is new

    def measure(self, samples: Sequence[Sample], events: Sequence[Event]) -> None:
        super().measure(samples, events)
        if events and not samples and self._charts is not None:
            self._charts.measured()  # else with the samples, once they are taken in

    def take_in(self, samples: Sequence[Sample]) -> None:
        super().take_in(samples)
        self.query_one(Charts).history.time(samples)

    def measured(self) -> None:
        super().measured()
        if self._charts is not None:
            self._charts.measured()

    def heard(self) -> None:
        super().heard()
        if self._charts is not None and self._now is not None:
            self._charts.hear(self._now)

    # What can be done

    @work
    async def action_all_charts(self) -> None:
        if self._now is None or self._charts is not None:
            return
        beside = self.query_one(Charts)
        from batchdeck_tui.screens.chartsview import ChartsScreen  # loaded beside the loop, after the first paint

        self._charts = ChartsScreen(self, self._now, beside.history, beside.window)
        await self.app.push_screen_wait(self._charts)
        self._charts = None
