"""The tune screen: what each concurrency gave, where more stops paying, and the knob beside it."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Vertical
from textual.events import Resize
from textual.screen import Screen
from textual.widgets import Footer

from batchdeck.model import RunMeta, Snapshot
from batchdeck_tui.advice import Advice, Situation, advise
from batchdeck_tui.autotune import is_auto
from batchdeck_tui.commands import Scope, bindings
from batchdeck_tui.screens.knobs import WORKING
from batchdeck_tui.screens.sweep import SweepScreen
from batchdeck_tui.turns import ENOUGH
from batchdeck_tui.widgets.leveltable import LevelTable, rows
from batchdeck_tui.widgets.scatter import LatencyScene, Scene
from batchdeck_tui.widgets.scatterplot import ScatterPlot
from batchdeck_tui.widgets.tunehead import TuneHead
from batchdeck_tui.widgets.turnstrip import TurnStrip

if TYPE_CHECKING:
    from batchdeck_tui.screens.tuning import TuningScreen

EVERY = 2.0
"""Seconds between two fits at least: one takes tens of milliseconds."""
SEED = 7
"""Of the resampling: the same measurements always give the same words."""


class TuneScreen(Screen[None]):
    """Draws what the run's screen, which lies below, has measured, and turns the knobs through it."""

    SCOPE: ClassVar[Scope] = "tune"
    BINDINGS: ClassVar[list[BindingType]] = bindings("tune")

    def __init__(self, run: TuningScreen, now: Snapshot | RunMeta) -> None:
        super().__init__()
        self._run = run
        self._now = now
        self._advice: Advice | None = None
        self._is_stale = True
        self._thought_at = float("-inf")
        self._is_thinking = False
        self._knobs: tuple[object, ...] = ()

    def compose(self) -> ComposeResult:
        yield TuneHead(id="head")
        with Container(id="levels"):
            yield ScatterPlot(id="scatter")
            with Vertical(id="told"):
                yield LevelTable(id="table")
                yield TurnStrip(id="turns")
                yield ScatterPlot(("no latency yet",), id="latency")
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        self.set_interval(EVERY / 4, self._think_again)
        self._fit()
        self.hear(self._now)
        self.measured()

    def on_resize(self, event: Resize) -> None:
        self._fit()

    def _fit(self) -> None:
        """How many lines the table may have: below the plot the smaller half, beside it what latencies leave."""
        if not self._stands:
            return
        height = self.app.size.height
        below = not (self.has_class("-wide") or self.has_class("-huge"))
        self.query_one(LevelTable).most_lines = max(4, (height - 6) * 2 // 5) if below else max(6, height // 2 - 6)

    # What is new

    def hear(self, now: Snapshot | RunMeta) -> None:
        """The run as it is now. Ten times a second: only the head is told, unless a knob was turned."""
        self._now = now
        if not self._stands:
            return
        cap = now.concurrency if isinstance(now, Snapshot) else 0
        swept = len(now.sweep.measured) if isinstance(now, Snapshot) and now.sweep is not None else 0
        knobs = (now.state, is_auto(now), cap, swept, self._is_sweeping)
        if knobs != self._knobs:
            self._knobs = knobs
            self._is_stale = True
            self.refresh_bindings()
            self._show(self._run.situation)
        self.query_one(TuneHead).show(now, self._advice)

    def measured(self) -> None:
        """There are new samples."""
        self._is_stale = True
        self._think_again()
        if self._stands:
            self._show(self._run.situation)
            self.query_one(TurnStrip).show(self._run.turns)

    def _think_again(self) -> None:
        clock = asyncio.get_running_loop().time()
        if self._stands and self._is_stale and not self._is_thinking and clock - self._thought_at >= EVERY:
            self._is_stale, self._is_thinking, self._thought_at = False, True, clock
            self._think(self._run.situation)

    @work(group="advice")
    async def _think(self, situation: Situation) -> None:
        offered = self.check_action("set", ())
        try:
            self._advice = await asyncio.to_thread(advise, situation, random.Random(SEED))
        finally:
            self._is_thinking = False
        if self.check_action("set", ()) != offered:
            self.refresh_bindings()
        if self._stands:
            self._show(self._run.situation)

    @property
    def _stands(self) -> bool:
        """Whether its widgets are there: the innermost come last, and news of the run do not wait for them."""
        return self.query_one_optional("#latency") is not None

    def _show(self, of: Situation) -> None:
        advice = self._advice
        here = of.concurrency if of.is_live else 0
        best = advice.best if advice is not None else None
        self.query_one(TuneHead).show(self._now, advice)
        held = [stay for stay in of.stays if not stay.is_bound and stay.seconds >= ENOUGH]
        self.query_one(LevelTable).show(rows(of.visits, held, of.swept, here), here, best)
        rate = self._now.rate if isinstance(self._now, Snapshot) else 0.0
        given = Scene(
            visits=of.visits,
            held=held,
            swept=of.swept,
            found=advice.recommendation if advice is not None else None,
            best=best,
            now=(here, round(rate, 1)) if here and rate > 0 else None,
            at=of.now,
        )
        self.query_one("#scatter", ScatterPlot).show(given, of.is_live)
        latencies = LatencyScene(visits=of.visits, swept=of.swept, best=best)
        self.query_one("#latency", ScatterPlot).show(latencies, of.is_live)

    # What can be done

    @property
    def _is_sweeping(self) -> bool:
        return isinstance(self._now, Snapshot) and self._now.sweep is not None and not self._now.sweep.is_over

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("concurrency", "autotune"):
            return self._run.check_action(action, parameters)
        if action not in ("set", "sweep", "end_sweep"):
            return True
        if not isinstance(self._now, Snapshot) or self._now.state not in WORKING:
            return False
        if action == "set":
            target = self._advice.target if self._advice is not None else None
            return target is not None and target != self._now.concurrency
        return self._is_sweeping == (action == "end_sweep")

    def action_set(self) -> None:
        if self._advice is not None and self._advice.target is not None:
            self._run.set_concurrency(self._advice.target)

    def action_concurrency(self, by: int) -> None:
        self._run.action_concurrency(by)

    def action_autotune(self) -> None:
        self._run.action_autotune()

    @work
    async def action_sweep(self) -> None:
        if isinstance(self._now, Snapshot):
            levels = await self.app.push_screen_wait(SweepScreen(self._now))
            if levels:
                self._run.sweep(levels)

    def action_end_sweep(self) -> None:
        self._run.sweep([])

    def action_back(self) -> None:
        self.dismiss(None)

    def action_detach(self) -> None:
        self.app.exit()
