"""What stands above the parts of the detail pane: which item it is, and each part's title. Pure."""

from __future__ import annotations

from rich.cells import cell_len

from batchdeck.model import Detail, ItemState, LiveRow
from batchdeck_tui.widgets.cells import fit, one_line
from batchdeck_tui.widgets.columns import GLYPHS
from batchdeck_tui.widgets.styled import Line


def headline(detail: Detail, live: LiveRow | None, width: int) -> Line:
    """Which item this is, and what it is doing."""
    now: ItemState = "in_flight" if live is not None else detail.state
    state = f"{GLYPHS[now]} {now.replace('_', ' ')}"
    left = f"#{detail.idx}  "
    name = one_line(detail.custom_id or "")
    line = f"line {detail.line}"
    room = width - cell_len(left) - cell_len(state) - len(line) - 4
    name = fit(name, min(cell_len(name), max(0, room)))
    gap = " " * max(1, room + 2 - cell_len(name))
    return ((left, "name"), (state, now), ("  ", "text"), (name, "label"), (gap, "text"), (line, "label"))


def heading(title: str, note: str, width: int, style: str = "label") -> Line:
    """A section's title and a rule, with a note at its right end."""
    note = fit(note, min(cell_len(note), max(0, width - len(title) - 6)))
    rule = "─" * max(1, width - len(title) - cell_len(note) - (2 if note else 1))
    return ((title, "title"), (" ", "text"), (rule + (" " if note else ""), "rule"), (note, style))
