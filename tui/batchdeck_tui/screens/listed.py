"""The rows of a run's table: which are listed, in which order and columns, how one gets about, and which are marked."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.content import Content
from textual.widgets import Input, Static

from batchdeck.errors import BatchdeckError, StoreError, UsageError
from batchdeck.format import some
from batchdeck.inert import inert
from batchdeck.model import Command, Reply
from batchdeck.store.index import Order
from batchdeck_tui.asking import HINT, asked
from batchdeck_tui.bridge import Found, RunBridge
from batchdeck_tui.format import count
from batchdeck_tui.remembered import recall, remember
from batchdeck_tui.screens.charting import ChartingScreen
from batchdeck_tui.screens.exportform import ExportScreen
from batchdeck_tui.screens.rowfilter import Flights, RowFilter
from batchdeck_tui.screens.searchbox import SearchBox
from batchdeck_tui.selection import Selection
from batchdeck_tui.theme import MUTED
from batchdeck_tui.widgets.answertext import answer_text
from batchdeck_tui.widgets.columns import Chosen
from batchdeck_tui.widgets.results import ResultsTable
from batchdeck_tui.widgets.rowsource import RowSource

MOST_COPIED = 100_000
"""Characters: terminals take no more through OSC 52."""
MOST_MARKS = 10_000
"""Rows that can be marked at a time: as many as the engine puts back into the queue at a command."""
AGAIN = 4.0
"""So many times as long as a look at the file took passes before the next one."""


class ListingScreen(ChartingScreen):
    """What a run's screen does with the rows of its table."""

    RESTS: ClassVar[str] = "#table"

    def __init__(self, path: Path, bridge: RunBridge) -> None:
        super().__init__(path, bridge)
        self._source: RowSource | None = None
        self._filter = RowFilter()
        self._found: Found | None = None
        """What the file found for the filter."""
        self._flights = Flights()
        self._sought = ""
        """The words that were searched for last."""
        self._listed_words: Content | None = None
        self._goes = False
        """Whether the search line takes the number of a row."""
        self._stale = False
        self._rests_until = 0.0

    @property
    def loop_time(self) -> float:
        return asyncio.get_running_loop().time()

    @property
    def table(self) -> ResultsTable:
        return self.query_one("#table", ResultsTable)

    def look(self) -> None:
        """Tell the bridge which rows are in view."""
        raise NotImplementedError

    # The rows that are listed

    def action_filter(self, step: int = 1) -> None:
        self._narrow(self._filter.turned(step))

    def action_search(self) -> None:
        self._type(self._filter.line, HINT, goes=False)

    def action_goto(self) -> None:
        self._type("", "number of a row, 50%, or a custom_id", goes=True)

    def _type(self, text: str, hint: str, *, goes: bool) -> None:
        self._goes = goes
        self.query_one("#search", SearchBox).placeholder = hint
        self.open_search(text)

    @on(Input.Submitted, "#search")
    def _search(self, message: Input.Submitted) -> None:
        text = message.value.strip()
        if self._goes:
            self.close_search()
            self._go(text)
            return
        try:
            wanted = self._filter.asking(asked(text))
        except UsageError as error:
            self.door.say(Reply(ok=False, message=inert(str(error))))
            return
        self.close_search()
        self._sought = wanted.words or self._sought
        self._narrow(wanted)

    @work(exclusive=True, group="go")
    async def _go(self, text: str) -> None:
        items = self._source.items if self._source is not None else 0
        idx: int | None = None
        if text.isdecimal() and len(text) < 19:
            idx = int(text)
        elif text.endswith("%") and text[:-1].isdecimal() and items:
            assert self._source is not None
            listed = self._source.count
            idx = self._source.idx_at(min(listed - 1, listed * int(text[:-1]) // 100)) if listed else None
        if idx is None or idx >= items:
            try:
                idx = await self.bridge.idx_of(text) if text else None
            except StoreError as error:
                self.door.say(Reply(ok=False, message=str(error)))
                return
        if idx is None:
            said = f"there is no row “{inert(text[:60])}”; the last one is {items - 1}"
            self.door.say(Reply(ok=False, message=said if text else "a row's number, 50%, or a custom_id"))
        elif not self.table.go_to(idx):
            self.door.say(Reply(ok=False, message=f"row {idx} is not among those listed; esc shows all"))

    @work(exclusive=True, group="go")
    async def action_match(self, step: int) -> None:
        """To the next row with the words searched for last. Where only such rows are listed it is the next one."""
        if not self._sought:
            self.door.say(Reply(ok=False, message="nothing was searched for yet: / takes words"))
            return
        if self._filter:
            if not self._filter.words:
                self._narrow(replace(self._filter, words=self._sought))
            else:
                self.table.step_round(step)
            return
        self.table.highlight = self._sought
        here = self.table.cursor_idx
        try:
            idx = await self.bridge.next_match(self._sought, -1 if here is None else here, step)
        except StoreError as error:
            self.door.say(Reply(ok=False, message=str(error)))
            return
        if idx is None:
            self.door.say(Reply(ok=False, message=f"no row has “{inert(self._sought[:60])}”"))
        else:
            self.table.go_to(idx)

    @on(ResultsTable.Ordered)
    def _ordered(self, message: ResultsTable.Ordered) -> None:
        self._narrow(self._filter.ordered(message.order))

    def _narrow(self, wanted: RowFilter) -> None:
        self._filter, self._found = wanted, None
        self._say_listed(Content(inert(f"{wanted}  …")) if wanted else None)
        self.table.highlight = wanted.words
        self.workers.cancel_group(self, "select")
        if wanted.asks_file:
            self._select(wanted)
        elif wanted.is_live:
            self._list(Selection(array("q")))
        else:
            self.table.select(None)
        self.table.order = (wanted.order, wanted.descending) if wanted.is_ordered else None
        self.look()

    @work(exclusive=True, group="select")
    async def _select(self, wanted: RowFilter) -> None:
        look, begun = self._flights.ask(), self.loop_time
        try:
            found = await self.bridge.select(wanted.query)
        except StoreError as error:
            self.door.say(Reply(ok=False, message=str(error)))
            return
        self._found = found
        self._rests_until = self.loop_time + AGAIN * (self.loop_time - begun)
        if found.missing:
            self._stale = True
            self._copy()
        self._flights.answered(look)
        self._list_as_flown()

    @work(group="copy")
    async def _copy(self) -> None:
        """Bring the index up to date beside all else, once at a time."""
        if sum(worker.group == "copy" and worker.is_running for worker in self.workers) > 1:
            return
        try:
            await self.bridge.copy()
        except StoreError as error:
            self.log.warning(str(error))

    def _select_again(self) -> None:
        """Rows settled under a filter: look again, but never interrupt a look for that."""
        busy = any(worker.group == "select" and worker.is_running for worker in self.workers)
        if self._stale and self._filter.asks_file and not busy and self.loop_time >= self._rests_until:
            self._stale = False
            self._select(self._filter)

    def _list_as_flown(self) -> None:
        """What the file found, with what the engine says of the rows in flight."""
        found, flights = self._found, self._flights
        if self._filter.is_live:
            flying: Iterable[int] = flights.now
            if self._filter.asks_file:
                flying = (idx for idx in flights.now if found is not None and found.rows.place(idx) is not None)
            self._list(Selection(array("q", sorted(flying))))
        elif found is not None:
            self._list(flights.queued(found.rows) if self._filter.state == "queued" else found.rows, found.missing)

    def _list(self, listed: Selection, missing: int = 0) -> None:
        self.table.select(listed)
        count = f"{len(listed):,} row{'' if len(listed) == 1 else 's'}".replace(",", "\u202f")
        if missing:
            count += f", {missing:,} are still to be looked at".replace(",", "\u202f")
        said = Content.assemble((inert(str(self._filter)), "$warning"), (f"  {count}   esc shows all", MUTED))
        self._say_listed(said)

    def _say_listed(self, listed: Content | None) -> None:
        """The line over the table: what is listed, None where all is, and how many rows are marked."""
        self._listed_words = listed
        marks = len(self.table.marks)
        marked = Content.assemble((f"{some(marks, 'row')} marked", "$warning"), ("   for r y E   M unmarks", MUTED))
        parts = [*([listed] if listed is not None else []), *([marked] if marks else [])]
        self.set_class(bool(parts), "-filtered")
        self.query_one("#filtered", Static).update(Content("   ").join(parts))

    def action_events(self) -> None:
        from batchdeck_tui.screens.eventlog import EventsScreen

        self.app.push_screen(EventsScreen(self.bridge, self.path.stem))

    @work(exclusive=True, group="copy answers")
    async def action_copy(self) -> None:
        """The answers of the marked rows, else of the one under the cursor, to the clipboard of the terminal."""
        here = self.table.cursor_idx
        rows = sorted(self.table.marks) or ([here] if here is not None else [])
        texts: list[str] = []
        size = 0
        try:
            for idx in rows:
                detail = await self.bridge.detail(idx)
                texts.append(answer_text(detail) if detail is not None else "")
                size += len(texts[-1])
                if size > MOST_COPIED:
                    said = (
                        f"more than {count(MOST_COPIED)} characters are too much for a terminal's clipboard; E exports"
                    )
                    self.door.say(Reply(ok=False, message=said))
                    return
        except StoreError as error:
            self.door.say(Reply(ok=False, message=str(error)))
            return
        if not size:
            self.door.say(Reply(ok=False, message="there is no answer to copy yet"))
            return
        self.app.copy_to_clipboard("\n\n".join(texts))
        of = f" of {some(len(rows), 'row')}" if len(rows) > 1 else f" of row {rows[0]}"
        self.door.say(Reply(ok=True, message=f"copied {some(size, 'character')}{of}"))

    # Columns

    def columns_kept(self) -> Chosen:
        kept = recall()
        return Chosen(tuple(sorted(kept.columns.items())), tuple(sorted(kept.widths.items())))

    @work
    async def action_columns(self) -> None:
        from batchdeck_tui.screens.columnsview import ColumnsScreen

        before = self.table.chosen
        await self.app.push_screen_wait(ColumnsScreen(self.table, self._order_by))
        chosen = self.table.chosen
        if chosen != before:
            hindered = remember(columns=dict(chosen.shown), widths=dict(chosen.widths))
            if hindered:
                self.door.say(Reply(ok=False, message=f"the columns are kept for now only: {inert(hindered)}"))

    def _order_by(self, order: Order) -> None:
        self._narrow(self._filter.ordered(order))

    # Marks, and what is done with the rows that have them

    def action_mark(self) -> None:
        """Mark the row, or take its mark away, and go on to the next one."""
        idx = self.table.cursor_idx
        if idx is None:
            return
        marks = self.table.marks
        if idx in marks:
            marks.discard(idx)
        elif len(marks) < MOST_MARKS:
            marks.add(idx)
        else:
            self.door.say(Reply(ok=False, message=f"{count(MOST_MARKS)} rows are marked, and no more can be"))
        self.table.action_cursor(1)
        self._marked()

    def action_mark_all(self) -> None:
        """Mark all rows that are listed; where all of them are, take the marks away."""
        listed = self._source.selection if self._source is not None else None
        rows: Iterable[int] = listed.rows if listed is not None else range(self._source.items if self._source else 0)
        total = len(listed) if listed is not None else self._source.items if self._source else 0
        if total > MOST_MARKS:
            said = (
                f"{count(total)} rows are listed, and {count(MOST_MARKS)} can be marked; E exports all that are listed"
            )
            self.door.say(Reply(ok=False, message=said))
            return
        wanted = set(rows)
        if wanted <= self.table.marks:
            self.table.marks -= wanted
        elif len(wanted | self.table.marks) <= MOST_MARKS:
            self.table.marks |= wanted
        else:
            said = f"no more than {count(MOST_MARKS)} rows can be marked; M unmarks those that are"
            self.door.say(Reply(ok=False, message=said))
            return
        self._marked()

    def action_unmark(self) -> None:
        self.table.marks.clear()
        self._marked()

    def _marked(self) -> None:
        self.table.refresh()
        self._say_listed(self._listed_words)
        marks = len(self.table.marks)
        self.door.say(Reply(ok=True, message=f"{some(marks, 'row')} marked" if marks else "no row is marked"))

    def action_retry(self) -> None:
        """With marked rows: those of them that failed."""
        marks = sorted(self.table.marks)
        if not marks:
            super().action_retry()
        elif self.is_live:
            self._send(Command(name="retry", idx=marks))
        elif self._now is not None and self._now.state != "done":
            # An engine would send all that is still queued as well, and the marks say nothing of that.
            self.door.say(Reply(ok=False, message="R resumes the run; then r tries the marked rows again"))
        else:
            self._start(retry_failed=True, idx=marks)

    def went_again(self) -> None:
        """What was marked for that is not meant for the next thing, too."""
        self.table.marks.clear()
        self.table.refresh()
        self._say_listed(self._listed_words)

    @work
    async def action_export(self) -> None:
        """Write the marked rows to a file, else those that are listed."""
        listed = self._source.selection if self._source is not None else None
        if self.table.marks:
            rows, what = array("q", sorted(self.table.marks)), some(len(self.table.marks), "marked row")
        elif self._found is not None and self._found.missing and not self._filter.needs_census:
            found = await self._all_found()
            if found is None:
                return
            rows, what = found.rows, f"{some(len(found.rows), 'row')} listed"
        elif listed is not None:
            rows, what = listed.rows, f"{some(len(listed), 'row')} listed"
        else:
            rows, what = None, "all rows"
        await self.export_rows(rows, what)

    async def _all_found(self) -> Selection | None:
        """What the filter lists once every row was looked at; None: that cannot be said."""
        self.door.say(Reply(ok=True, message="looking at all rows …"))
        try:
            await self.bridge.copy()
            return (await self.bridge.select(self._filter.query)).rows
        except StoreError as error:
            self.door.say(Reply(ok=False, message=str(error)))
            return None

    async def export_rows(self, rows: array[int] | None, what: str) -> None:
        """Ask for a file and write these rows to it; None: all. what: the rows, as a person reads them."""
        target = await self.app.push_screen_wait(ExportScreen(what, self.path.stem))
        if target is None:
            return
        self.door.say(Reply(ok=True, message=f"writing {inert(target.name)} …"))
        try:
            said = await self.bridge.export(target, rows)
        except (BatchdeckError, OSError) as error:
            self.door.say(Reply(ok=False, message=inert(str(error))))
        else:
            self.door.say(Reply(ok=True, message=inert(said)))
