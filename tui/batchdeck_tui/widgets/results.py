"""The results table: any number of rows, of which only those in view are read, filtered and painted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from batchdeck.model import LiveRow
from batchdeck.store.index import Order
from batchdeck_tui.selection import Selection
from batchdeck_tui.widgets.cells import fit, one_line, strip
from batchdeck_tui.widgets.columns import (
    AS_AT_FIRST,
    Cell,
    Chosen,
    Column,
    gap,
    header,
    layout,
    order_at,
    row_cells,
)
from batchdeck_tui.widgets.inks import Inked
from batchdeck_tui.widgets.rowsource import RowSource

MARK = "●"
AT_ONCE = 16
"""Lines painted in one go: about 5 ms."""
TEXTS = ("prompt", "answer", "id")
"""Columns in which words that were searched for are marked."""


class ResultsTable(Inked, ScrollView, can_focus=True):
    """Settled rows from a ``RowSource`` with the rows in flight laid over them, in order of the input.

    Every line is exactly as wide as the widget and holds no control character, whatever a model said. What is painted
    is remembered by its content, so that an update repaints only visible lines that now read differently.
    """

    ALLOW_SELECT = False
    INKS: ClassVar[Mapping[str, str]] = {
        "header": "bold $text-muted on $panel",
        "text": "$foreground",
        "dim": "$text-disabled",
        "number": "$text-muted",
        "queued": "$text-disabled",
        "in_flight": "$text-accent",
        "done": "$text-success",
        "failed": "bold $text-error",
        "skipped": "$text-muted",
        "error": "$text-error",
        "retried": "$text-warning",
        "match": "$background on $warning",
        "cursor": "on $foreground 12%",
        "focused": "on $primary 30%",
    }
    DEFAULT_CSS = """
    ResultsTable {
        height: 1fr; background: $background; color: $foreground; overflow-x: hidden; overflow-y: auto;
        scrollbar-size-vertical: 1;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "cursor(-1)", "Up", show=False),
        Binding("down,j", "cursor(1)", "Down", show=False),
        Binding("pageup,ctrl+b", "page(-1)", "Page up", show=False),
        Binding("pagedown,ctrl+f", "page(1)", "Page down", show=False),
        Binding("home,g", "edge(0)", "First row", show=False),
        Binding("end,G", "edge(1)", "Last row", show=False),
        Binding("enter", "open", "Detail"),
    ]

    class Highlighted(Message):
        """The cursor stands on another item. ``by_hand``: because a person moved it."""

        def __init__(self, idx: int, by_hand: bool = False) -> None:
            super().__init__()
            self.idx = idx
            self.by_hand = by_hand

    class Opened(Message):
        """Enter, or a double click, on an item."""

        def __init__(self, idx: int) -> None:
            super().__init__()
            self.idx = idx

    class Ordered(Message):
        """A click on a column's title: the rows are wanted in its order."""

        def __init__(self, order: Order) -> None:
            super().__init__()
            self.order = order

    def __init__(
        self,
        source: RowSource | None = None,
        *,
        name: str | None = None,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self.source = source
        self.paints = 0
        """Lines painted so far."""
        self._live: dict[int, LiveRow] = {}
        self._cursor = 0
        self.steered = False
        """Whether a person moved the cursor since this was taken back. True at once, before any message tells of it."""
        self._announced: int | None = None
        self._is_by_hand = False
        self._highlight = ""
        self._order: tuple[Order, bool] | None = None
        self._chosen = AS_AT_FIRST
        self.marks: set[int] = set()
        """Items that a person marked, to do something with all of them. Call ``refresh`` after a change."""
        self._painted: dict[int, object] = {}
        self._laid: dict[int, tuple[tuple[object, ...], tuple[Cell, ...]]] = {}
        """By line: what its cells were made of, and the cells, which are asked for twice at each update."""
        self._looks: dict[str, Style] = {}
        self._unseen: list[int] = []
        """Lines that may read differently, and were not looked at yet."""

    # What the run screen tells the table

    def attach(self, source: RowSource | None) -> None:
        """Show another run."""
        self.source = source
        self._live = {}
        self._cursor = 0
        self._announced = None
        self._reshape()
        self.scroll_to(y=0, animate=False)

    def set_live(self, rows: dict[int, LiveRow]) -> None:
        """The rows in flight now, by index; only those in view need their text."""
        if self.source is not None:
            for idx in self._live.keys() - rows.keys():
                # it was committed, or goes back into the queue: the run file knows
                place = self.source.row_at(idx)
                if place is not None:
                    self.source.forget(place)
        self._live = dict(rows)
        self._repaint_changed()

    def settled(self, items: int) -> None:
        """Something was committed; the run has ``items`` items by now. While rows are in flight ``set_live`` follows at
        once, and both are painted as one."""
        if self.source is None:
            return
        before = self.source.count
        self.source.set_items(items)
        self.source.invalidate()
        if self.source.count != before:
            self._reshape(repaint=False)
        if not self._live:
            self._repaint_changed()

    def select(self, selection: Selection | None) -> None:
        """Show only these items, or all. The cursor stays on its item, or on the one nearest after it; where that is
        not known, at its place. And it stays in its line, where there was one for it in view."""
        if self.source is None:
            return
        if selection is not None and selection == self.source.selection:
            return
        idx, line = self.cursor_idx, self._cursor - self.scroll_offset.y
        self.source.set_selection(selection)
        place = 0 if idx is None else self.source.nearest(idx)
        self._cursor = self._cursor if place is None else place
        self._reshape()
        if 0 <= line < self._page:
            self.scroll_to(y=self._cursor - line, animate=False)
        self._show_cursor()

    @property
    def highlight(self) -> str:
        """Text to mark where it occurs in prompts and answers."""
        return self._highlight

    @highlight.setter
    def highlight(self, text: str) -> None:
        self._highlight = one_line(text).casefold()
        self._repaint_changed()

    @property
    def order(self) -> tuple[Order, bool] | None:
        """The column that the rows are ordered by, and whether the largest is first; None: the input's order."""
        return self._order

    @order.setter
    def order(self, order: tuple[Order, bool] | None) -> None:
        self._order = order
        self.refresh()

    @property
    def chosen(self) -> Chosen:
        """Which columns there are, and how wide."""
        return self._chosen

    @chosen.setter
    def chosen(self, chosen: Chosen) -> None:
        self._chosen = chosen
        self.refresh()

    # What the table tells

    @property
    def cursor_idx(self) -> int | None:
        """The item under the cursor, None in an empty table."""
        if self.source is None or not self.source.count:
            return None
        return self.source.idx_at(min(self._cursor, self.source.count - 1))

    def visible_indices(self) -> list[int]:
        """The items in view, from top to bottom."""
        if self.source is None:
            return []
        top = self.scroll_offset.y
        return [self.source.idx_at(row) for row in range(top, min(top + self._page, self.source.count))]

    def follow(self, top: int) -> int | None:
        """Show the page from this place on, and put the cursor on its newest row in flight.

        Returns the item that the cursor went to, None when it stayed where it is.
        """
        if self.source is None or not self.source.count:
            return None
        if top != self.scroll_offset.y:
            self.scroll_to(y=top, animate=False, immediate=True)
        newest = next((idx for idx in reversed(self.visible_indices()) if idx in self._live), None)
        if newest is None or newest == self.cursor_idx:
            return None
        self.move_to(newest)
        return newest

    def move_to(self, idx: int) -> bool:
        """Put the cursor on an item; False, and nothing happens, when the selection does not have it."""
        place = self.source.row_at(idx) if self.source is not None else None
        if place is not None:
            self._move(place)
        return place is not None

    def go_to(self, idx: int) -> bool:
        """The same for a person, who is led there."""
        place = self.source.row_at(idx) if self.source is not None else None
        if place is not None:
            self._steer(place)
        return place is not None

    def step_round(self, by: int) -> None:
        """The next row or the one before, round the ends."""
        if self.source is not None and self.source.count:
            self._steer((self._cursor + by) % self.source.count)

    # Painting

    def render_line(self, y: int) -> Strip:
        width = self.size.width  # with the scrollbar's column, which is cropped away
        if not self._looks:
            self._looks = self._read_styles()
        self.paints += 1
        content = self._content(y)
        self._painted[y] = content
        if y == 0:
            return self._draw(header(self.columns, self._order), width, self._looks["header"], cursor=False)
        if isinstance(content, str):
            base = self._looks["base"]
            return strip([(fit(content, width), base + self._looks["dim"])], width, base)
        cells, cursor, _, marked = content
        return self._draw(cells, width, self._looks["base"], cursor=cursor, marked=marked)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that have room now."""
        # from the size of now: a first paint at a new size can come before its Resize
        return layout(self.scrollable_content_region.width, self.source.items if self.source else 0, self._chosen)

    def _content(self, y: int) -> str | tuple[tuple[Cell, ...], bool, str, bool]:
        """All that decides how a line looks: text for a line that is no row."""
        row = y - 1 + self.scroll_offset.y
        if y == 0 or self.source is None or row >= self.source.count:
            return self._notice() if y == 2 else ""
        idx = self.source.idx_at(row)
        made_of = (self.columns, idx, self.source.get(row), self._live.get(idx))
        kept = self._laid.get(y)
        if kept is None or kept[0] != made_of:
            kept = self._laid[y] = made_of, row_cells(*made_of)
        return kept[1], row == self._cursor, self._highlight, idx in self.marks

    def _notice(self) -> str:
        if self.source is None or self.source.count:
            return ""
        if self.source.error:
            return f"   {one_line(self.source.error)}"
        return "   no row matches" if self.source.selection is not None else "   no items yet"

    def _draw(self, cells: tuple[Cell, ...], width: int, base: Style, *, cursor: bool, marked: bool = False) -> Strip:
        back = self._looks["cursor"] if cursor else Style.null()
        parts = [(MARK, base + self._looks["retried"] + back) if marked else (" ", base + back)]
        between = gap(self.scrollable_content_region.width)
        columns = self.columns
        for place, (text, name) in enumerate(cells):
            if place:
                parts.append((" " * between, base + back))
            # on the cursor's background the faintest ink is too faint
            style = base + self._looks["number" if cursor and name == "dim" else name] + back
            if self._highlight and columns[place].name in TEXTS and name != "header":
                parts.extend(self._marked(text, style))
            else:
                parts.append((text, style))
        return strip(parts, width, base + back)

    def _marked(self, text: str, style: Style) -> list[tuple[str, Style]]:
        folded, size = text.casefold(), len(self._highlight)
        if len(folded) != len(text):  # folding changed the length (ß): places would not match
            return [(text, style)]
        parts: list[tuple[str, Style]] = []
        start = 0
        while (at := folded.find(self._highlight, start)) >= 0:
            parts += [(text[start:at], style), (text[at : at + size], style + self._looks["match"])]
            start = at + size
        return [*parts, (text[start:], style)]

    def _read_styles(self) -> dict[str, Style]:
        looks = {name: self.ink(name) for name in self.INKS}
        return {**looks, "base": self.rich_style, "cursor": looks["focused" if self.has_focus else "cursor"]}

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._looks = {}

    def watch_has_focus(self, has_focus: bool) -> None:
        super().watch_has_focus(has_focus)
        self._looks = {}
        self.refresh()

    def _repaint_changed(self) -> None:
        """Paint the lines that read differently now; many of them in turns, between which keys are heard."""
        is_under_way = bool(self._unseen)
        self._unseen = list(range(1, self.size.height))
        if not is_under_way:
            self._repaint_some()

    def _repaint_some(self) -> None:
        changed: list[int] = []
        while self._unseen and len(changed) < AT_ONCE:
            y = self._unseen.pop(0)
            if self._painted.get(y) != self._content(y):
                changed.append(y)
        if changed:
            self.refresh(*(Region(0, y, self.size.width, 1) for y in changed))
        if self._unseen:
            self.call_after_refresh(self._repaint_some)

    # Size, cursor, keys and mouse

    @property
    def _page(self) -> int:
        """Rows in view; the header takes a line."""
        return max(0, self.size.height - 1)

    def on_mount(self) -> None:
        self._reshape()

    def on_resize(self) -> None:
        self._show_cursor()

    def _reshape(self, *, repaint: bool = True) -> None:
        count = self.source.count if self.source is not None else 0
        self._cursor = max(0, min(self._cursor, count - 1))
        # a width of 1: never a horizontal scrollbar, columns follow the widget's own width
        self.virtual_size = Size(1, count + 1)
        if repaint:
            self.refresh()
        self._announce()

    def _move(self, row: int, *, by_hand: bool = False) -> None:
        if self.source is None or not self.source.count:
            return
        self._cursor = max(0, min(row, self.source.count - 1))
        self._show_cursor()
        self._repaint_changed()
        self._announce(by_hand=by_hand)

    def _show_cursor(self) -> None:
        top, page = self.scroll_offset.y, self._page
        if page <= 0:
            return
        if self._cursor < top:
            self.scroll_to(y=self._cursor, animate=False)
        elif self._cursor >= top + page:
            self.scroll_to(y=self._cursor - page + 1, animate=False)

    def _announce(self, *, by_hand: bool = False) -> None:
        """Tell of another item; and of the same one, when a person chooses what the table had gone to by itself."""
        idx = self.cursor_idx
        is_chosen = by_hand and not self._is_by_hand
        if idx is not None and (idx != self._announced or is_chosen) and self.is_attached:
            self._announced, self._is_by_hand = idx, by_hand
            self.post_message(self.Highlighted(idx, by_hand))

    def _steer(self, row: int) -> None:
        """A person moves the cursor."""
        before = self._cursor
        self._move(row, by_hand=True)
        self.steered |= self._cursor != before

    def action_cursor(self, by: int) -> None:
        self._steer(self._cursor + by)

    def action_page(self, by: int) -> None:
        step = by * max(1, self._page - 1)
        self.scroll_to(y=self.scroll_offset.y + step, animate=False)
        self._steer(self._cursor + step)

    def action_edge(self, last: int) -> None:
        self._steer(self.source.count - 1 if last and self.source else 0)

    def action_open(self) -> None:
        idx = self.cursor_idx
        if idx is not None:
            self.post_message(self.Opened(idx))

    def on_click(self, event: events.Click) -> None:
        at = event.get_content_offset(self)
        if at is None or self.source is None:
            return
        if at.y < 1:
            order = order_at(self.columns, at.x, gap(self.scrollable_content_region.width))
            if order is not None:
                self.post_message(self.Ordered(order))
            return
        row = at.y - 1 + self.scroll_offset.y
        if row < self.source.count:
            self._steer(row)
            if event.chain > 1:
                self.action_open()
