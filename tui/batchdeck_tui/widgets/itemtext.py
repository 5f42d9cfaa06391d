"""What the detail pane says of an item, as styled lines. Pure."""

from __future__ import annotations

from typing import Any

import msgspec
from rich.cells import cell_len

from batchdeck.model import AttemptRow, Detail, ItemState, LiveRow
from batchdeck_tui.format import count, duration, money, short
from batchdeck_tui.widgets.cells import fit, many_lines, one_line, wrap
from batchdeck_tui.widgets.columns import GLYPHS

Part = tuple[str, str]
Line = tuple[Part, ...]
PRETTY = 200_000
"""Longest answer that is laid out anew when it is JSON."""
_PHASES = {"connecting": "connecting", "waiting": "waiting for the first token", "streaming": "streaming"}
_OUTCOMES = {"ok": "done", "rate_limited": "retried", "cancelled": "label"}


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


def prompt_lines(detail: Detail, width: int, most: int | None = None) -> tuple[list[Line], int]:
    """The input's fields; the rendered prompt first where no field says it.

    Returns the first ``most`` lines (None: all), the only ones that are filtered and wrapped, and about how many more
    there are.
    """
    if detail.error is not None:
        return [((text, "failed"),) for text in wrap(one_line(detail.error), width)], 0
    values = {name: _plain(value) for name, value in _fields(detail.data).items()}
    lines: list[Line] = []
    start = detail.label[:60].rstrip("…")
    if start and not any(start in value.replace("\n", " ") or start in value for value in values.values()):
        lines += [((text, "text"),) for text in wrap(one_line(detail.label), width)]
    alone = len(values) == 1 and not lines
    longest = max((cell_len(one_line(name)) for name in values), default=0)
    more = 0
    for name, value in values.items():
        key = "" if alone else fit(one_line(name), min(24, width // 3, longest)) + "  "
        room = None if most is None else max(0, most - len(lines))
        shown, unseen = _paragraphs(value, max(8, width - cell_len(key)), room)
        more += unseen
        for number, line in enumerate(shown):
            lines.append(((key if number == 0 else " " * cell_len(key), "label"), *line) if key else line)
    return lines, more


def answer_text(detail: Detail) -> str:
    """The item's answer as far as there is one: the good attempt's, else what the last one left."""
    good = [attempt for attempt in detail.attempts if attempt.outcome == "ok"]
    said = good or [attempt for attempt in detail.attempts if attempt.text]
    text = said[-1].text if said else ""
    if text.lstrip()[:1] in ("{", "[") and len(text) <= PRETTY:
        try:
            return msgspec.json.format(text.encode("utf-8", "replace"), indent=2).decode("utf-8", "replace")
        except (msgspec.DecodeError, RecursionError):
            return text
    return text


def answer_note(detail: Detail | None, live: LiveRow | None) -> Part:
    """What stands beside the answer's title."""
    if live is not None:
        phase = _PHASES.get(live.phase, "answered, being saved")
        figures = f"{count(live.tokens)} tokens · {duration(live.seconds)}{' · hedged' if live.hedged else ''}"
        if live.silent is not None:
            return f"attempt {live.attempt} · stalled {duration(live.silent)} · {figures}", "retried"
        return f"attempt {live.attempt} · {phase} · {figures}", "in_flight"
    attempts = detail.attempts if detail is not None else ()
    # A hedged request is cancelled after the good answer.
    last = next((one for one in reversed(attempts) if one.outcome == "ok"), attempts[-1] if attempts else None)
    if last is None:
        return "not sent yet", "label"
    if last.outcome != "ok":
        return ("partial" if last.text else "none"), "label"
    # an answer that was cut short is still an answer, and looks like a whole one
    whole = last.finish_reason in (None, "stop", "end_turn", "stop_sequence", "eos", "tool_calls")
    facts = [one_line(last.model or ""), f"{short(last.tokens_out)} tokens", duration(last.seconds)]
    reason = one_line(last.finish_reason or "done")
    finish = f"✓ {reason}" if whole else f"! ended by {reason}"
    return " · ".join([finish, *(fact for fact in facts if fact)]), "label" if whole else "retried"


def attempt_lines(attempts: tuple[AttemptRow, ...], width: int) -> list[Line]:
    """The ledger: a line an attempt, and its error below it."""
    if not attempts:
        return []
    columns = [("#", 3), ("outcome", 13), ("status", 6), ("ttft", 7), ("time", 7), ("in", 6), ("out", 6)]
    columns += [("sends", 6), ("cost", 9)] if width >= 72 else []
    if width < 52:
        columns = [column for column in columns if column[0] not in ("in", "ttft")]
    title = " ".join(fit(name, size, right=name not in ("outcome",)) for name, size in columns)
    lines: list[Line] = [((fit(title, width), "label"),)]
    for attempt in attempts:
        values = {
            "#": str(attempt.number),
            "status": str(attempt.status) if attempt.status is not None else "—",
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
        lines.append(tuple(parts))
        if attempt.error or attempt.error_type:
            said = ": ".join(one_line(part) for part in (attempt.error_type, attempt.error) if part)
            style = "label" if attempt.outcome in ("rate_limited", "cancelled") else "failed"
            lines += [(("    ", "text"), (text, style)) for text in wrap(said, max(8, width - 4))[:6]]
    return lines


def _fields(data: str) -> dict[str, Any]:
    try:
        decoded = msgspec.json.decode(data.encode("utf-8", "replace"))
    except (msgspec.DecodeError, RecursionError):
        return {"input": data}
    return decoded if isinstance(decoded, dict) else {"input": decoded}


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(one, dict) and "role" in one for one in value):
        return "\n".join(f"{one['role']}: {_plain(one.get('content', ''))}" for one in value)
    if isinstance(value, (dict, list)):
        return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _paragraphs(text: str, width: int, most: int | None) -> tuple[list[Line], int]:
    # a character takes a cell at least, but for combining ones, of which a text has few
    head = text if most is None else text[: 2 * most * width + 1]
    lines = [line for paragraph in many_lines(head).split("\n") for line in wrap(paragraph, width)]
    if most is None:
        most = len(lines)
    unseen = len(lines) - most + _at_most(text, len(head), width) if len(lines) > most or len(head) < len(text) else 0
    return [((line, "text"),) for line in lines[:most]], unseen


def _at_most(text: str, start: int, width: int) -> int:
    """About how many lines the text takes from there on."""
    return text.count("\n", start) + (len(text) - start) // width
