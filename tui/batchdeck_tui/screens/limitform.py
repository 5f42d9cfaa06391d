"""What the form of limits makes of the texts in it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from batchdeck import settings
from batchdeck.errors import UsageError
from batchdeck.model import Meter, RunMeta, Snapshot
from batchdeck_tui.format import brief, count, duration, percent, spent
from batchdeck_tui.widgets.waiting import left

Values = Mapping[str, float | None]
"""Settings by their names in ``batchdeck.settings``; None: no limit."""

NOTHING = {"concurrency": settings.AUTO}
"""What an empty field says, where that is not ``off``."""

_METERS: dict[str, Meter] = {
    "rpm": "requests",
    "tpm": "tokens",
    "input_tpm": "input_tokens",
    "output_tpm": "output_tokens",
    "rpd": "requests_day",
    "tpd": "tokens_day",
}


@dataclass(frozen=True)
class Change:
    """What a person changed: as values, and as it was written."""

    values: dict[str, float | None]
    texts: dict[str, str]


def values_of(now: Snapshot | RunMeta) -> dict[str, float | None]:
    """All settings as they are: the engine's word while there is one, else the run file's."""
    known = now.settings if isinstance(now, Snapshot) else settings.read(now.config)
    return {name: known.get(name) for name in settings.SETTINGS}


def read(
    texts: Mapping[str, str], shown: Mapping[str, str], values: Values, now_at: float
) -> tuple[Change, dict[str, str]]:
    """The changes among the texts, and what is wrong with the others, by name.

    shown: the texts that stood there at first. One that still reads so is no change, as a text shows less than a value
    may hold. now_at: wall time, for a deadline that is written as a time from now.
    """
    change, wrong = Change({}, {}), {}
    for name, text in texts.items():
        text = text.strip() or NOTHING.get(name, "off")
        if text == shown[name]:
            continue
        try:
            value = settings.parse(name, text, now_at)
        except UsageError as error:
            # here a setting is known by its title, not by its option
            wrong[name] = str(error).replace(f"--{name.replace('_', '-')}", settings.SETTINGS[name].title, 1)
            continue
        if value != values.get(name):
            change.values[name] = value
            change.texts[name] = text
    return change, wrong


def beside(name: str, now: Snapshot | RunMeta) -> str:
    """What the run has used of a limit so far, in a few words; empty where nothing is known."""
    counts = now.counts
    match name:
        case "max_cost":
            return f"{spent(counts.cost, counts.unpriced)} spent" if counts.cost else ""
        case "max_tokens_total":
            used = counts.tokens_in + counts.tokens_out
            return f"{brief(used)} used" if used else ""
        case "max_errors":
            settled = counts.done + counts.failed
            return f"{count(counts.failed)} failed, {percent(counts.failed, settled)}" if settled else ""
    if not isinstance(now, Snapshot):
        return ""
    match name:
        case "concurrency":
            return f"{now.in_flight} of {now.concurrency} in flight"
        case "deadline":
            return f"ETA {duration(now.eta)}" if now.eta is not None and now.state == "running" else ""
        case "priority":
            return f"{now.shared_by} runs share it" if now.shared_by > 1 else ""
    known = next((state for state in now.quotas if state.meter == _METERS.get(name)), None)
    if known is None:
        return ""
    remaining = left(known)
    of = "" if remaining is None else f"{brief(max(0, round(remaining)))} left of "
    return f"{of}{brief(known.limit)}, {known.source}"


def turned(rpm: float, by: int) -> float:
    """Requests a minute, a tenth more (``by`` 1) or fewer (-1); always another whole number, and never below 1."""
    return float(max(rpm + 1, round(rpm * 1.1)) if by > 0 else max(1, min(rpm - 1, round(rpm * 0.9))))


def base_rpm(now: Snapshot, known: Values) -> float | None:
    """Where a turn of the requests a minute starts: the limit that is set, the account's, or what the run does now."""
    limit = known.get("rpm")
    if limit is None:
        limit = next((state.limit for state in now.quotas if state.meter == "requests"), None)
    return limit if limit is not None else float(round(now.rate * 60)) or None


def saying(change: Values) -> str:
    """A change in words: ``rpm 500, max cost off``."""
    return ", ".join(f"{name.replace('_', ' ')} {settings.show(name, value)}" for name, value in change.items())
