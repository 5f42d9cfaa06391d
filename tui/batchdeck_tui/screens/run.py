"""The run screen: one run, live or ended, and the knobs beside its charts."""

from __future__ import annotations

import asyncio
from array import array
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Footer, Input, Static

from batchdeck.errors import StoreError
from batchdeck.inert import inert, inert_lines
from batchdeck.model import Reply, RunMeta, Snapshot
from batchdeck_tui.bridge import RunBridge
from batchdeck_tui.commands import Scope, bindings
from batchdeck_tui.listing import last_holder
from batchdeck_tui.messages import LiveReady, MetaReady, NewSamples, RowsSettled, SnapshotReady, Unreadable
from batchdeck_tui.screens.knobs import DEPENDENT, WORKING
from batchdeck_tui.screens.limiting import LIMITING
from batchdeck_tui.screens.rowfilter import Flights, RowFilter
from batchdeck_tui.screens.searchbox import SearchBox
from batchdeck_tui.screens.tuning import TUNING, TuningScreen
from batchdeck_tui.theme import MUTED
from batchdeck_tui.widgets.charts import Charts
from batchdeck_tui.widgets.detail import DetailPane
from batchdeck_tui.widgets.errors import ErrorList
from batchdeck_tui.widgets.progress import RunHeader
from batchdeck_tui.widgets.results import ResultsTable
from batchdeck_tui.widgets.rowsource import RowSource
from batchdeck_tui.widgets.turnstrip import TurnStrip
from batchdeck_tui.widgets.waiting import WaitingStrip

SELECT_AGAIN = 1.0
"""Seconds between two searches while rows settle under a filter."""


class Rows(ResultsTable):
    """Leaves enter to the screen's table of commands; in a narrow terminal the footer has no room to name it."""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return action != "open"

    def key_enter(self) -> None:
        self.action_open()

    class Wandered(Message):
        """The person scrolls about by wheel, which moves no cursor."""

    def on_mouse_scroll_up(self) -> None:
        self.post_message(self.Wandered())

    def on_mouse_scroll_down(self) -> None:
        self.post_message(self.Wandered())


class RunScreen(TuningScreen):
    """One run. Draws from the bridge's messages alone."""

    SCOPE: ClassVar[Scope] = "run"
    BINDINGS: ClassVar[list[BindingType]] = bindings("run")
    RESTS = AUTO_FOCUS = "#table"

    def __init__(self, path: Path) -> None:
        super().__init__(path, RunBridge(path, self.post_message, lambda: self.door.is_behind))
        self._source: RowSource | None = None
        self._filter = RowFilter()
        self._found: array[int] | None = None
        """What the file found for the filter."""
        self._flights = Flights()
        self._stale = False
        self._opened: int | None = None
        self._opened_settled = False
        self._following = True
        """Whether the newest row in flight is kept in view, until the person moves about."""
        self._led: set[int] = {0}
        """Where the cursor was put by no person, of which the table has yet to tell. It tells of its first row."""
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
        yield SearchBox(id="search", placeholder="search prompts, answers, errors, ids", compact=True)
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        self.door.watched = self.path
        if self.query_one_optional("#table") is None:
            return  # the console closes while this opens
        try:
            self._source = RowSource(self.path)
        except StoreError as error:
            self.door.say(Reply(ok=False, message=str(error)))
            self.dismiss()
            return
        self.table.attach(self._source)
        self.run_worker(self.bridge.watch(), group="bridge", exit_on_error=True)
        self.set_interval(SELECT_AGAIN, self._select_again)

    def on_unmount(self) -> None:
        if self._source is not None:
            self._source.close()

    @property
    def table(self) -> ResultsTable:
        return self.query_one("#table", ResultsTable)

    # What the bridge says

    def on_snapshot_ready(self, message: SnapshotReady) -> None:
        begun = asyncio.get_running_loop().time()
        self._show(message.snapshot)
        self.remove_class("-bare")
        self._look()
        self.call_after_refresh(self._painted, begun)

    def on_meta_ready(self, message: MetaReady) -> None:
        self._show(message.meta, message.log)
        self.table.set_live({})

    def on_rows_settled(self, message: RowsSettled) -> None:
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
        self.door.say(Reply(ok=False, message=inert(message.error)))

    def _show(self, now: Snapshot | RunMeta, log: str = "") -> None:
        self._now = now
        self.query_one(RunHeader).show(now)
        self.query_one(WaitingStrip).show(now)
        self.query_one(Charts).ended = now.state not in WORKING
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

    def _look(self) -> None:
        census = self._filter.needs_census or (self._following and not self._filter)
        following = self._following and not self._filter
        self.bridge.look(self.table.visible_indices(), self._opened, census, following)

    def _painted(self, begun: float) -> None:
        self.bridge.painted(asyncio.get_running_loop().time() - begun)

    # The rows that are listed

    def action_filter(self, step: int = 1) -> None:
        self._narrow(self._filter.turned(step))

    def action_search(self) -> None:
        self.open_search(self._filter.words)

    @on(Input.Submitted, "#search")
    def _search(self, message: Input.Submitted) -> None:
        self.close_search()
        self._narrow(replace(self._filter, words=message.value.strip()))

    @on(ErrorList.Chosen)
    def _class_chosen(self, message: ErrorList.Chosen) -> None:
        error = message.error
        if not error.items:
            self.door.say(Reply(ok=True, message=f"No item failed of {inert(error.error_type)}; it was tried again"))
            return
        self.table.focus()
        self._narrow(self._filter.of_class(error.error_type))

    def _narrow(self, wanted: RowFilter) -> None:
        self._filter, self._found = wanted, None
        self.set_class(bool(wanted), "-filtered")
        self.table.highlight = wanted.words
        self.workers.cancel_group(self, "select")
        if wanted.asks_file:
            self.query_one("#filtered", Static).update(Content(inert(f"{wanted}  …")))
            self._select(wanted)
        elif wanted.is_live:
            self._list(array("q"))
        else:
            self.table.select_ids(None)
        self._look()

    @work(exclusive=True, group="select")
    async def _select(self, wanted: RowFilter) -> None:
        look = self._flights.ask()
        try:
            found = await self.bridge.select(wanted.state, wanted.words, wanted.error_type)
        except StoreError as error:
            self.door.say(Reply(ok=False, message=str(error)))
            return
        self._found = found
        self._flights.answered(look)
        self._list_as_flown()

    def _select_again(self) -> None:
        """Rows settled under a filter: look again, but never interrupt a look for that."""
        busy = any(worker.group == "select" and worker.is_running for worker in self.workers)
        if self._stale and self._filter.asks_file and not busy:
            self._stale = False
            self._select(self._filter)

    def _list_as_flown(self) -> None:
        """What the file found, with what the engine says of the rows in flight."""
        found, flights = self._found, self._flights
        if self._filter.is_live:
            flying = flights.now & set(found or ()) if self._filter.words else flights.now
            self._list(array("q", sorted(flying)))
        elif found is not None:
            self._list(flights.queued(found) if self._filter.state == "queued" else found)

    def _list(self, found: array[int]) -> None:
        self.table.select_ids(found)
        count = f"{len(found):,} row{'' if len(found) == 1 else 's'}".replace(",", "\u202f")
        self.query_one("#filtered", Static).update(
            Content.assemble((inert(str(self._filter)), "$warning"), (f"  {count}   esc shows all", MUTED))
        )

    # The detail pane

    def action_open(self) -> None:
        idx = self.table.cursor_idx
        if idx is not None:
            self._open(idx)

    @on(ResultsTable.Opened)
    def _row_opened(self, message: ResultsTable.Opened) -> None:
        self._open(message.idx)

    @on(ResultsTable.Highlighted)
    def _row_highlighted(self, message: ResultsTable.Highlighted) -> None:
        if message.idx in self._led:
            self._led.discard(message.idx)
        else:
            self._following = False
        if self._opened is not None and message.idx is not None and message.idx != self._opened:
            self._open(message.idx)

    @on(Rows.Wandered)
    def _wandered(self) -> None:
        self._following = False

    def action_follow(self) -> None:
        self._following, self.table.steered = True, False

    def _open(self, idx: int) -> None:
        self._following = False
        self._opened, self._opened_settled = idx, False
        self.add_class("-detail")
        self._load_detail(idx)

    @work(exclusive=True, group="detail")
    async def _load_detail(self, idx: int) -> None:
        try:
            detail = await self.bridge.detail(idx)
        except StoreError as error:
            self.door.say(Reply(ok=False, message=str(error)))
            return
        if idx == self._opened:
            self._opened_settled = detail is not None and detail.state in ("done", "failed")
            self.query_one(DetailPane).show(detail)

    def action_back(self) -> None:
        if self.is_searching:
            self.close_search()
        elif self._opened is not None:
            self._opened = None
            self.remove_class("-detail")
            self.query_one(DetailPane).show(None)
            self.table.focus()
        elif self._filter:
            self._narrow(RowFilter())
        else:
            self.dismiss()

    def action_charts(self) -> None:
        self.toggle_class("-no-charts")
