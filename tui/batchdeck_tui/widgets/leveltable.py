"""What was measured at each concurrency, a line a level."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from rich.cells import cell_len

from batchdeck.model import Measured, Percentiles
from batchdeck.tune.levels import Visit, merged
from batchdeck_tui.format import UNKNOWN, duration, share, short
from batchdeck_tui.widgets.linewise import Line, Linewise, Part

BEST, HERE = "best", "now"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One level. ``seconds``: measured; 0: it is where the run is, and nothing is known of it yet. ``newest``: engine
    seconds at which it was last measured. ``of``: what its figures are of, where the cap did not hold the run there."""

    concurrency: int
    seconds: float = 0.0
    throughput: float | None = None
    tokens_rate: float | None = None
    e2e: Percentiles | None = None
    ttft: Percentiles | None = None
    refused: float | None = None
    newest: float = 0.0
    of: Literal["", "sweep", "held"] = ""


@dataclass(frozen=True)
class _Column:
    title: str
    width: int
    write: Callable[[Row], str]


_COLUMNS = (
    _Column("seconds", 8, lambda row: f"{row.seconds:.0f}" if row.seconds else UNKNOWN),
    _Column("items/s", 8, lambda row: short(row.throughput)),
    _Column("tok/s", 7, lambda row: short(row.tokens_rate)),
    _Column("p50", 8, lambda row: duration(row.e2e.p50 if row.e2e else None)),
    _Column("p95", 8, lambda row: duration(row.e2e.p95 if row.e2e else None)),
    _Column("p99", 8, lambda row: duration(row.e2e.p99 if row.e2e else None)),
    _Column("TTFT", 8, lambda row: duration(row.ttft.p50 if row.ttft else None)),
    _Column("429s", 7, lambda row: UNKNOWN if row.refused is None else share(row.refused)),
)
LEAST_IMPORTANT = ("tok/s", "seconds", "p99", "TTFT", "p95")
"""Columns that are left out first where there is no room."""
SIGNS = {"sweep": " ◇ sweep", "held": " ○ held"}
NAMES = 17
"""Cells for the level and what it is."""


def rows(visits: Sequence[Visit], held: Sequence[Visit], swept: Sequence[Measured], here: int) -> list[Row]:
    """All levels in order, the present one among them.

    held: stays in which something else than the cap held the run, which tell only where nothing better does. Of what a
    sweep and the run itself measured, the longer one counts. here: the present concurrency, 0 when the run is over.
    """
    known = {stay.concurrency: _visited(stay, "held") for stay in merged(held)}
    own = {visit.concurrency: _visited(visit) for visit in merged(visits)}
    known |= own
    for level in swept:
        if level.concurrency not in own or level.seconds > own[level.concurrency].seconds:
            known[level.concurrency] = _swept(level)
    if here and here not in known:
        known[here] = Row(concurrency=here)
    return [known[concurrency] for concurrency in sorted(known)]


def _visited(visit: Visit, of: Literal["", "held"] = "") -> Row:
    return Row(
        concurrency=visit.concurrency, seconds=visit.seconds, throughput=visit.throughput, of=of,
        tokens_rate=visit.tokens_rate, e2e=visit.e2e, ttft=visit.ttft, refused=visit.refused, newest=visit.ended,
    )  # fmt: skip


def _swept(level: Measured) -> Row:
    return Row(
        concurrency=level.concurrency, seconds=level.seconds, throughput=level.throughput, of="sweep",
        tokens_rate=level.tokens_rate, e2e=level.e2e, ttft=level.ttft,
        refused=level.rate_limit_hits / level.attempts if level.attempts else 0.0,
    )  # fmt: skip


def table(levels: Sequence[Row], here: int, best: int | None, width: int, height: int) -> list[Line]:
    """A title and a line a level, at most ``height`` lines of at most ``width`` cells.

    Where not all have room, those stay that the run is at, that is best, and that were measured last.
    """
    if not levels or height < 2:
        return []
    columns = list(_COLUMNS)
    for name in LEAST_IMPORTANT:
        if NAMES + sum(column.width for column in columns) > width:
            columns = [column for column in columns if column.title != name]
    title: Line = ("level".ljust(NAMES), "title"), *((column.title.rjust(column.width), "label") for column in columns)
    shown = list(levels)
    left_out = 0
    if len(shown) > height - 1:
        ranked = sorted(levels, key=lambda row: (row.concurrency not in (here, best), -row.newest))
        kept = {row.concurrency for row in ranked[: max(1, height - 2)]}
        shown = [row for row in levels if row.concurrency in kept]
        left_out = len(levels) - len(shown)
    lines: list[Line] = [title, *(_line(row, columns, here, best) for row in shown)]
    if left_out:
        lines.append(((f"and {left_out} more level{'s' if left_out > 1 else ''}", "label"),))
    return lines


def _line(row: Row, columns: Sequence[_Column], here: int, best: int | None) -> Line:
    marks: list[Part] = []
    if row.concurrency == here:
        marks.append((f" ◆ {HERE}", "now"))
    if row.concurrency == best:
        marks.append((f" ┊ {BEST}", "best"))
    if row.of and not marks:
        marks.append((SIGNS[row.of], "label"))
    used = sum(cell_len(text) for text, _ in marks)
    name = str(row.concurrency).rjust(4)
    usual = "label" if row.of == "held" else "strong" if row.concurrency in (here, best) else "text"
    parts: list[Part] = [(name, "strong"), *marks, (" " * max(0, NAMES - len(name) - used), "text")]
    parts += [(column.write(row).rjust(column.width), _ink(column, row, usual)) for column in columns]
    return tuple(parts)


def _ink(column: _Column, row: Row, usual: str) -> str:
    if column.title == "429s" and row.refused:
        return "worse"
    return "label" if column.title == "seconds" or not row.seconds else usual


class LevelTable(Linewise):
    """As many lines as there are levels, up to the height it is given."""

    INKS: ClassVar[Mapping[str, str]] = {
        "title": "bold $foreground",
        "label": "$text-muted",
        "text": "$foreground",
        "strong": "bold $foreground",
        "now": "bold $text-warning",
        "best": "bold $text-primary",
        "worse": "$text-error",
    }
    DEFAULT_CSS = """
    LevelTable {
        height: auto; width: 1fr; padding: 0 1; color: $foreground;
    }
    """

    def __init__(self, *, name: str | None = None, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self._levels: list[Row] = []
        self._here = 0
        self._best: int | None = None
        self.most_lines = 100

    def show(self, levels: list[Row], here: int, best: int | None) -> None:
        """All levels; where the run is (0: it is over); where more stops paying."""
        self._levels, self._here, self._best = levels, here, best
        self.tell()

    def lines(self, width: int) -> list[Line]:
        return table(self._levels, self._here, self._best, width, self.most_lines)
