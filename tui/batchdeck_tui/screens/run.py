"""The run screen: one run, live or ended, and the knobs beside its charts."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Footer, Static

from batchdeck.errors import StoreError
from batchdeck.inert import inert, inert_lines
from batchdeck.model import Reply, RunMeta, Snapshot
from batchdeck.store.index import KEPT_FROM
from batchdeck_tui.asking import HINT
from batchdeck_tui.bridge import RunBridge
from batchdeck_tui.commands import Scope, bindings
from batchdeck_tui.format import duration
from batchdeck_tui.listing import last_holder
from batchdeck_tui.messages import LiveReady, MetaReady, NewSamples, RowsSettled, SnapshotReady, Unreadable
from batchdeck_tui.screens.detailing import DetailingScreen
from batchdeck_tui.screens.knobs import DEPENDENT, WORKING
from batchdeck_tui.screens.limiting import LIMITING
from batchdeck_tui.screens.rowfilter import RowFilter
from batchdeck_tui.screens.searchbox import SearchBox
from batchdeck_tui.screens.tuning import TUNING
from batchdeck_tui.widgets.charts import Charts
from batchdeck_tui.widgets.detail import DetailPane
from batchdeck_tui.widgets.errors import ErrorList
from batchdeck_tui.widgets.progress import RunHeader
from batchdeck_tui.widgets.results import ResultsTable
from batchdeck_tui.widgets.rowsource import RowSource
from batchdeck_tui.widgets.turnstrip import TurnStrip
from batchdeck_tui.widgets.waiting import WaitingStrip

WINDOWS = (None, 3_600.0, 600.0, 60.0)
"""Seconds that the charts show; None: the whole run."""
SELECT_AGAIN = 1.0
"""Seconds between two searches while rows settle under a filter."""


class Rows(ResultsTable):
    """Leaves enter to the screen's table of commands; in a narrow terminal the footer has no room to name it."""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return action != "open"

    def key_enter(self) -> None:
        self.action_open()

    class Wandered(Message):
        """The person scrolls about by wheel or by the scrollbar, which moves no cursor."""

    def on_mouse_scroll_up(self) -> None:
        self.post_message(self.Wandered())

    def on_mouse_scroll_down(self) -> None:
        self.post_message(self.Wandered())

    def on_scroll_to(self) -> None:
        self.post_message(self.Wandered())

    def on_scroll_up(self) -> None:
        self.post_message(self.Wandered())

    def on_scroll_down(self) -> None:
        self.post_message(self.Wandered())


class RunScreen(DetailingScreen):
    """One run. Draws from the bridge's messages alone."""

    SCOPE: ClassVar[Scope] = "run"
    BINDINGS: ClassVar[list[BindingType]] = bindings("run")
    RESTS = AUTO_FOCUS = "#table"

    def __init__(self, path: Path) -> None:
        super().__init__(path, RunBridge(path, self.post_message, lambda: self.door.is_behind))
        self._following = True
        """Whether the newest row in flight is kept in view, until the person moves about."""
        self._led: set[int] = {0}
        """Where the cursor was put by no person, of which the table has yet to tell. It tells of its first row."""
        self._unreadable = ""
        """Why the file could not be read, as it was said last."""
        self._knobs: tuple[bool | None, ...] = ()

    def compose(self) -> ComposeResult:
        yield RunHeader(id="header")
        yield WaitingStrip(id="waiting")
        with Horizontal(id="body"):
            with Vertical(id="main"):
                yield Static(id="filtered", markup=False)
                yield Rows(id="table")
                yield DetailPane(id="detail")
            with Vertical(id="side"):
                yield TurnStrip(id="turns")
                yield Charts(id="charts")
                yield ErrorList(id="errors")
                yield Static(id="log", markup=False)
        yield SearchBox(id="search", placeholder=HINT, compact=True)
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        self.door.watched = self.path
        if self.query_one_optional("#table") is None:
            return  # the console closes while this opens
        try:
            self._source = RowSource(self.path)
        except StoreError as error:
            self.door.say(Reply(ok=False, message=str(error)))
            self.door.leave_run()
            return
        self.table.attach(self._source)
        self.table.chosen = self.columns_kept()
        self.run_worker(self.bridge.watch(), group="bridge", exit_on_error=True)
        self.set_interval(SELECT_AGAIN, self._select_again)
        if self._source.items >= KEPT_FROM:
            self.set_timer(SELECT_AGAIN, self._copy)  # so that the first search need not wait for it

    def on_unmount(self) -> None:
        if self._source is not None:
            self._source.close()

    # What the bridge says

    def on_snapshot_ready(self, message: SnapshotReady) -> None:
        begun = asyncio.get_running_loop().time()
        self._show(message.snapshot)
        self.remove_class("-bare")
        self.look()
        self.call_after_refresh(self._painted, begun)

    def on_meta_ready(self, message: MetaReady) -> None:
        self._show(message.meta, message.log)
        self.table.set_live({})

    def on_rows_settled(self, message: RowsSettled) -> None:
        self._unreadable = ""
        self.table.settled(message.items)
        self._stale = True
        if self._opened is not None and not self._opened_settled:
            self._load_detail(self._opened)

    def on_new_samples(self, message: NewSamples) -> None:
        charts = self.query_one(Charts)
        charts.extend(message.samples, message.events)
        self.measure(message.samples, message.events)
        self.query_one(WaitingStrip).sum_up(*charts.held)
        working = self._now is not None and self._now.state in WORKING
        self.set_class(not working and not charts.series("cap"), "-bare")

    def on_live_ready(self, message: LiveReady) -> None:
        self.table.set_live(dict(message.rows))
        if message.opened is not None:
            self._opened_settled = False  # a failed one that is tried again
        if self._opened is not None and (message.opened is None or message.opened.idx == self._opened):
            self.query_one(DetailPane).stream(message.opened)
        if message.census is not None:
            self._stale |= self._flights.census(message.census)
        if message.census is not None and self._filter.needs_census:
            self._list_as_flown()
        elif message.top is not None and self._following and not self._filter and not self.table.steered:
            led = self.table.follow(message.top)
            if led is not None:
                self._led.add(led)

    def on_unreadable(self, message: Unreadable) -> None:
        if message.error != self._unreadable:  # it comes again and again, and would hide all other words
            self._unreadable = message.error
            self.door.say(Reply(ok=False, message=inert(message.error)))

    def _show(self, now: Snapshot | RunMeta, log: str = "") -> None:
        before, self._now = self._now, now
        if before is not None and before.state in WORKING and now.state not in WORKING:
            counts = now.counts
            self.door.tell_end(f"{self.path.stem} {now.state}: {counts.done:,} done, {counts.failed:,} failed")
        self.query_one(RunHeader).show(now)
        self.query_one(WaitingStrip).show(now)
        charts = self.query_one(Charts)
        charts.ended, charts.history.unpriced = now.state not in WORKING, now.counts.unpriced
        self.query_one(ErrorList).show(now.errors)
        self.set_class(bool(now.errors), "-errors")
        words = "\n".join(part for part in (self._obituary(now), log) if part)
        self.set_class(bool(words), "-log")
        if words:
            self.query_one("#log", Static).update(Content(inert_lines(words)))
        if now.state not in WORKING:
            self.take_back()
        self.heard()
        knobs = tuple(self.check_action(name, ()) for name in (*DEPENDENT, *LIMITING, *TUNING))
        if knobs != self._knobs:
            self._knobs = knobs
            self.refresh_bindings()

    def _obituary(self, now: Snapshot | RunMeta) -> str:
        if now.state != "interrupted":
            return ""
        pid = last_holder(self.path)
        who = f"the engine (process {pid})" if pid else "the engine"
        return f"{who} ended without a word; R goes on"

    def look(self) -> None:
        census = self._filter.needs_census or (self._following and not self._filter)
        following = self._following and not self._filter
        self.bridge.is_calm = self.door.habits["calm"]
        self.bridge.look(self.table.visible_indices(), self._opened, census, following)

    def _painted(self, begun: float) -> None:
        self.bridge.painted(asyncio.get_running_loop().time() - begun)

    # Following the run, and going about

    def open_detail(self, idx: int) -> None:
        self._following = False
        super().open_detail(idx)

    @on(ResultsTable.Highlighted)
    def _row_highlighted(self, message: ResultsTable.Highlighted) -> None:
        if message.idx in self._led:
            self._led.discard(message.idx)
        else:
            self._following = False
        # An item that leaves the list is still read: only a person turns the page.
        if message.by_hand and self._opened is not None and message.idx != self._opened:
            self.open_detail(message.idx)

    @on(Rows.Wandered)
    def _wandered(self) -> None:
        self._following = False

    def action_follow(self) -> None:
        self._following, self.table.steered = True, False

    def action_back(self) -> None:
        if self.is_searching:
            self.close_search()
        elif self._opened is not None:
            self.close_detail()
        elif self._filter:
            self._narrow(RowFilter())
        else:
            self.door.leave_run()

    def action_window(self) -> None:
        """The next shorter span of time in the charts, after the shortest the whole run."""
        charts = self.query_one(Charts)
        charts.window = WINDOWS[(WINDOWS.index(charts.window) + 1) % len(WINDOWS)]
        said = f"the last {duration(charts.window)}" if charts.window is not None else "the whole run"
        self.door.say(Reply(ok=True, message=f"The charts show {said}"))

    def action_charts(self) -> None:
        self.toggle_class("-no-charts")
