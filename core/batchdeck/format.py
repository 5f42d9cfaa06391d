"""Figures and lines for a plain terminal. Unknown is shown as ``—``, never as zero."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from batchdeck.inert import inert
from batchdeck.model import Counts, Snapshot

UNKNOWN = "—"
BAR = 20
LEAST_SENTENCE = 24
"""Cells below which a sentence cannot be understood any more."""
_EIGHTHS = " ▏▎▍▌▋▊▉"


def duration(seconds: float | None) -> str:
    """``340ms``, ``3.2s``, ``47s``, ``2m 05s``, ``3h 07m``, ``2d 4h``."""
    if seconds is None:
        return UNKNOWN
    seconds = max(0.0, seconds)
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = int(seconds + 0.5)
    if whole < 60:
        return f"{whole}s"
    if whole < 3_600:
        return f"{whole // 60}m {whole % 60:02d}s"
    hours = whole // 3_600
    return f"{hours}h {whole // 60 % 60:02d}m" if hours < 24 else f"{hours // 24}d {hours % 24}h"


def ago(seconds: float) -> str:
    """``now``, ``5m ago``, ``3h ago``, ``12d ago``."""
    minutes = int(seconds // 60)
    if minutes < 1:
        return "now"
    if minutes < 60:
        return f"{minutes}m ago"
    return f"{minutes // 60}h ago" if minutes < 48 * 60 else f"{minutes // 1_440}d ago"


def count(number: int | None) -> str:
    """``1,234,567``"""
    return UNKNOWN if number is None else f"{number:,}"


def some(number: int, noun: str) -> str:
    """``1 attempt``, ``1,234 attempts``"""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def size(number: int) -> str:
    """Bytes as ``812 B``, ``4.1 MB``."""
    if number < 1_000:
        return f"{number} B"
    scaled, units = number / 1_000, ["kB", "MB", "GB", "TB"]
    while scaled >= 999.95 and len(units) > 1:
        scaled /= 1_000
        units.pop(0)
    return f"{scaled:.1f} {units[0]}"


def money(dollars: float | None) -> str:
    """``$0.0012``, ``$0.12``, ``$1,234.50``"""
    if dollars is None:
        return UNKNOWN
    if dollars == 0 or dollars >= 0.095:
        return f"${dollars:,.2f}"
    return f"${dollars:.4f}" if dollars >= 0.000_05 else "<$0.0001"


def spent(cost: float, unpriced: int) -> str:
    """What a run cost by its counters: unknown when nothing had a price, a lower bound when some answers had none."""
    if not unpriced:
        return money(cost)
    return f"≥ {money(cost)}" if cost else UNKNOWN


def rate(per_second: float) -> str:
    """``120/s``, ``12.3/s``, ``0.25/s``; slower than one in ten seconds by the minute: ``4.2/min``."""
    if 0 < per_second < 0.1:
        return f"{per_second * 60:.1f}/min"
    return f"{per_second:.2f}/s" if 0 < per_second < 1 else f"{per_second:,.{0 if per_second >= 99.95 else 1}f}/s"


def percent(part: int, whole: int | None) -> str:
    """``24.7%``; ``100%`` only when it is all of it, ``0%`` only when it is nothing."""
    if not whole:
        return UNKNOWN
    if part >= whole:
        return "100%"
    return f"{min(99.9, max(0.1, 100 * part / whole)):.1f}%" if part > 0 else "0%"


def bar(part: float, whole: float | None, width: int = BAR) -> str:
    """A bar of exactly ``width`` cells, in steps of an eighth of a cell."""
    filled = min(1.0, max(0.0, part / whole)) * width if whole else 0.0
    eighths = int(filled * 8)
    line = "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
    return line.ljust(width, "░")


def hedges(counts: Counts) -> str:
    """What hedging did and cost on top: ``12 sent, 9 answered first, ≥ $0.03 extra``; without a price: tokens."""
    extra = f"{'at least ' if counts.hedge_guesses else ''}{count(counts.hedge_tokens)} tokens"
    if counts.hedge_cost:
        extra = spent(counts.hedge_cost, counts.hedge_guesses)
    return f"{count(counts.hedges)} sent, {count(counts.hedge_wins)} answered first, {extra} extra"


def progress_line(now: Snapshot, width: int) -> str:
    """A live run in one line of at most ``width`` cells; what matters least is left out first."""
    counts = now.counts
    settled = counts.done + counts.failed + counts.skipped
    about = "" if now.ingest_complete or now.items_expected is None else "~"
    state = now.state if now.state != "running" else ""
    parts = [
        f"{bar(settled, now.items_expected)} {percent(settled, now.items_expected)}",
        f"{count(settled)}/{about}{count(now.items_expected)}",
        state,
        f"{count(counts.failed)} failed" if counts.failed else "",
        f"eta {duration(now.eta)}" if now.eta is not None else "",
        rate(now.rate),
        clip(inert(now.message), width // 3) if now.message != now.waiting.sentence else "",
        f"in flight {now.in_flight}/{now.concurrency}",
        f"429 × {count(counts.rate_limit_hits)}" if counts.rate_limit_hits else "",
        spent(counts.cost, counts.unpriced) if counts.cost else "",
    ]
    line = ""
    for part in filter(None, parts):
        longer = f"{line}  {part}" if line else part
        if cells(longer) <= width:
            line = longer
    room = width - cells(line) - 2
    # Why it waits is worth a sentence, where there is room to read one.
    if now.waiting.sentence and room >= LEAST_SENTENCE:
        line += f"  {clip(inert(now.waiting.sentence), room)}"
    return line


def cells(text: str) -> int:
    """How many cells of a terminal the text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def clip(text: str, width: int) -> str:
    """The text, cut to at most ``width`` cells with an ellipsis."""
    if cells(text) <= width:
        return text
    kept = 0
    for end, char in enumerate(text):
        kept += cells(char)
        if kept > width - 1:
            return f"{text[:end]}…" if width > 0 else ""
    return text


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Lines of aligned columns; those in ``right`` (by number) are aligned to the right."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(cells(line[n]) for line in lines) for n in range(len(header))]
    return ["  ".join(_aligned(line, widths, right)).rstrip() for line in lines]


def _aligned(line: Sequence[str], widths: Sequence[int], right: Sequence[int]) -> list[str]:
    blanks = [" " * (width - cells(cell)) for cell, width in zip(line, widths, strict=True)]
    return [
        blank + cell if n in right else cell + blank for n, (cell, blank) in enumerate(zip(line, blanks, strict=True))
    ]
