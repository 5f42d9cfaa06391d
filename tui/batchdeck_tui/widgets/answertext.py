"""The answer of an item as lines: as it is read best, by its fields, or as the model wrote it. Pure."""

from __future__ import annotations

from typing import Literal, NamedTuple

from batchdeck.model import Detail, LiveRow
from batchdeck_tui.format import count, duration, short
from batchdeck_tui.widgets.cells import one_line
from batchdeck_tui.widgets.jsonlines import field_lines, find_json, json_lines
from batchdeck_tui.widgets.markdownlines import markdown_lines
from batchdeck_tui.widgets.styled import Line, Part

Form = Literal["read", "fields", "raw"]
FORMS: tuple[Form, ...] = ("read", "fields", "raw")
MOST = 60_000
"""Longest answer that is laid out otherwise than raw, in characters: a longer one would hold the keys up."""
MOST_MARKDOWN = 12_000
"""The same for Markdown, which takes ten times as long: 60 ms of these."""
_PHASES = {"connecting": "connecting", "waiting": "waiting for the first token", "streaming": "streaming"}


class Laid(NamedTuple):
    """``lines`` None: raw. ``name``: how it is laid out. ``forms``: those that there are for this answer."""

    lines: list[Line] | None
    name: str
    forms: tuple[Form, ...]


def answer_lines(text: str, form: Form, width: int) -> Laid:
    """The answer in a form, or raw where it has none of that."""
    if len(text) > MOST:
        return Laid(None, f"raw: {count(len(text))} characters", ("raw",))
    found = find_json(text)
    forms = FORMS if found is not None else ("read", "raw")
    if form == "fields" and found is not None:
        return Laid(field_lines(found.value, width), "fields", forms)
    if form != "raw" and found is not None and found.is_all:
        return Laid(json_lines(found.text, width), "JSON", forms)
    # around JSON something was said as well: Markdown shows both
    lines = markdown_lines(text, width) if form != "raw" and len(text) <= MOST_MARKDOWN else None
    return Laid(lines, "raw" if lines is None else "Markdown", forms)


def answer_text(detail: Detail) -> str:
    """The item's answer as far as there is one: the good attempt's, else what the last one left."""
    good = [attempt for attempt in detail.attempts if attempt.outcome == "ok"]
    said = good or [attempt for attempt in detail.attempts if attempt.text]
    return said[-1].text if said else ""


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
