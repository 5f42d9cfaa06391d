"""The ledger of an item as lines: each attempt with its times on one scale, and what its server said. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from batchdeck.model import AttemptRow
from batchdeck_tui.format import duration, money, short
from batchdeck_tui.widgets.cells import fit, one_line, wrap
from batchdeck_tui.widgets.styled import Line, Part

_OUTCOMES = {"ok": "done", "rate_limited": "retried", "cancelled": "label"}
QUEUED, CONNECTED, FIRST, STREAMED, SILENT = "·", "-", "░", "█", "▒"
LEGEND = (
    f"{QUEUED} queued  {CONNECTED} connecting  {FIRST} to the first token  {STREAMED} streaming  {SILENT} no token came"
)
_TELLING = re.compile(r"request-?id|retry-after|ratelimit-(remaining|reset)|processing|cf-ray|x-served|openai-version")
"""Headers that tell what one asks a provider about, or what the account had left."""
MOST_HEADERS = 8


def attempt_lines(attempts: Sequence[AttemptRow], width: int) -> list[Line]:
    """A line an attempt, below it when it was under way, its error, and the headers that matter."""
    if not attempts:
        return []
    columns = [("#", 3), ("outcome", 13), ("status", 6), ("ttft", 7), ("time", 7), ("in", 6), ("out", 6)]
    columns += [("sends", 6), ("cost", 9)] if width >= 72 else []
    if width >= 82:
        columns.insert(3, ("connect", 8))
    if width < 52:
        columns = [column for column in columns if column[0] not in ("in", "ttft")]
    title = " ".join(fit(name, size, right=name not in ("outcome",)) for name, size in columns)
    began = min(attempt.started_at for attempt in attempts)
    whole = max(max(attempt.started_at + attempt.seconds for attempt in attempts) - began, 1e-6)
    lines: list[Line] = [((fit(title, width), "label"),)]
    for attempt in attempts:
        lines.append(_figures(attempt, columns))
        lines.append(timing_bar(attempt, began, whole, width - 4))
        if attempt.error or attempt.error_type:
            said = ": ".join(one_line(part) for part in (attempt.error_type, attempt.error) if part)
            style = "label" if attempt.outcome in ("rate_limited", "cancelled") else "failed"
            lines += [(("    ", "text"), (text, style)) for text in wrap(said, max(8, width - 4))[:6]]
        told = headers_that_matter(attempt.headers)
        if told:
            lines += [(("    ", "text"), (text, "label")) for text in wrap(told, max(8, width - 4))[:4]]
    lines.append((("    " + fit(LEGEND, max(0, width - 4)), "label"),))
    return lines


def _figures(attempt: AttemptRow, columns: Sequence[tuple[str, int]]) -> Line:
    values = {
        "#": str(attempt.number),
        "status": str(attempt.status) if attempt.status is not None else "—",
        "connect": duration(attempt.connect),
        "ttft": duration(attempt.ttft),
        "time": duration(attempt.seconds),
        "in": short(attempt.tokens_in),
        "out": short(attempt.tokens_out),
        "sends": str(attempt.sends),
        "cost": money(attempt.cost),
    }
    parts: list[Part] = []
    for name, size in columns:
        if name == "outcome":
            outcome = fit(attempt.outcome.replace("_", " "), size)
            parts.append((outcome + " ", _OUTCOMES.get(attempt.outcome, "failed")))
        else:
            parts.append((fit(values[name], size, right=True) + " ", "text" if name == "#" else "number"))
    return tuple(parts)


def timing_bar(attempt: AttemptRow, began: float, whole: float, width: int) -> Line:
    """When the attempt was under way, of the seconds from the first attempt's start (``began``) on that all of them
    took. Waiting for the first token and streaming have a cell at least, connecting has only as many as it took."""
    cells = max(8, width)
    start = min(cells - 1, int((attempt.started_at - began) / whole * cells))
    size = max(1, min(cells - start, round(attempt.seconds / whole * cells)))
    seconds = max(attempt.seconds, 1e-9)
    connecting = min(size - 1, round(size * (attempt.connect or 0.0) / seconds))
    if attempt.ttft is None:
        stretches = [(SILENT * (size - connecting), "retried")]
    else:
        first = max(connecting + 1, min(size, round(size * attempt.ttft / seconds)))
        if first == size > connecting + 1 and attempt.ttft < attempt.seconds:
            first -= 1
        stretches = [(FIRST * (first - connecting), "waited"), (STREAMED * (size - first), "in_flight")]
    stretches = [(QUEUED * start, "rule"), (CONNECTED * connecting, "rule"), *stretches]
    return (("    ", "text"), *((text, name) for text, name in stretches if text))


def headers_that_matter(headers: dict[str, str]) -> str:
    """Those by which a request is found again at its provider, and what they say of the account."""
    told = [(name, value) for name, value in sorted(headers.items()) if _TELLING.search(name.lower())]
    return " · ".join(f"{one_line(name)} {one_line(value)}" for name, value in told[:MOST_HEADERS])
