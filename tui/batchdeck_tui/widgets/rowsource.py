"""Settled rows for the results table: pages read from the run file when a row comes into view, and only then."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from batchdeck.errors import StoreError
from batchdeck.model import Row
from batchdeck.store.reader import RunReader
from batchdeck_tui.selection import Selection

PAGE = 128
"""Rows a page: one read of about half a millisecond."""
PAGES = 64


class RowSource:
    """The rows of one run in the current selection, by their place in the table.

    Without a selection the place is the item's index, so nothing is held for each row. Memory is bounded by
    ``PAGES × PAGE`` rows and the selection's eight bytes a row (or sixteen). Raises ``StoreError`` when the file cannot
    be opened; a read that fails later leaves the reason in ``error`` and the rows unknown.
    """

    def __init__(self, path: str | Path) -> None:
        self._reader = RunReader(path)
        self._pages: OrderedDict[int, list[Row | None]] = OrderedDict()
        self._items = self._reader.counts().items
        self._selection: Selection | None = None
        self.reads = 0
        """Pages read so far."""
        self.error = ""

    def __repr__(self) -> str:
        kind = "all" if self._selection is None else "selected"
        return f"<RowSource {self.count} {kind} of {self._items} items, {len(self._pages)} pages>"

    def close(self) -> None:
        self._reader.close()

    @property
    def count(self) -> int:
        """Rows in the current selection."""
        return self._items if self._selection is None else len(self._selection)

    @property
    def items(self) -> int:
        """All items of the run, selected or not."""
        return self._items

    @property
    def selection(self) -> Selection | None:
        return self._selection

    def set_items(self, items: int) -> None:
        """The run's kept counter says how many items there are."""
        if items != self._items:
            # the last page was read while it was short
            self._pages.pop(self._items // PAGE if self._selection is None else -1, None)
            self._items = items

    def set_selection(self, selection: Selection | None) -> None:
        """Show only these items, in their order; None shows all."""
        self._selection = selection
        self._pages.clear()

    def idx_at(self, row: int) -> int:
        """The item at a place; ``IndexError`` when there is none."""
        if not 0 <= row < self.count:
            raise IndexError(row)
        return row if self._selection is None else self._selection.rows[row]

    def row_at(self, idx: int) -> int | None:
        """The place of an item, None when it is not in the selection."""
        if self._selection is not None:
            return self._selection.place(idx)
        return idx if 0 <= idx < self._items else None

    def nearest(self, idx: int) -> int | None:
        """The place of an item, or the one where it would stand; None where nobody knows."""
        if self._selection is None:
            return max(0, min(idx, self._items))
        return self._selection.nearest(idx)

    def get(self, row: int) -> Row | None:
        """The row at a place; None when it is not there or not ingested yet."""
        if not 0 <= row < self.count:
            return None
        number, offset = divmod(row, PAGE)
        page = self._pages.get(number)
        if page is None:
            page = self._read(number)
            self._pages[number] = page
            if len(self._pages) > PAGES:
                self._pages.popitem(last=False)
        else:
            self._pages.move_to_end(number)
        return page[offset] if offset < len(page) else None

    def invalidate(self) -> None:
        """Something was committed: the next look at a row reads it again."""
        self._pages.clear()

    def forget(self, row: int) -> None:
        """This one row may have changed: read its page again at the next look."""
        self._pages.pop(row // PAGE, None)

    def _read(self, number: int) -> list[Row | None]:
        self.reads += 1
        first = number * PAGE
        try:
            if self._selection is None:
                found = self._reader.window(first, PAGE)
                wanted: Sequence[int] = range(first, min(first + PAGE, self._items))
            else:
                wanted = self._selection.rows[first : first + PAGE]
                found = self._reader.rows(wanted)
        except StoreError as error:
            self.error = str(error)
            return []
        self.error = ""
        by_idx = {row.idx: row for row in found}
        return [by_idx.get(idx) for idx in wanted]
