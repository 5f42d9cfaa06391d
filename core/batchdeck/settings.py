"""What can be changed while a run goes: one table for the command line, the control API and the console.

A setting travels as a number, or None for *no limit* (of the concurrency: *auto*); how a person writes it is ``parse``,
how it is shown ``show``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from batchdeck.errors import UsageError
from batchdeck.model import RunConfig

Kind = Literal["cap", "count", "money", "errors", "moment", "seconds", "share"]
OFF = ("off", "none", "no")
ON, ON_SHARE = "on", 0.05
"""What a share is when it is just turned on."""
AUTO = "auto"
_UNITS = {"k": 1e3, "m": 1e6, "g": 1e9}
_SPANS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0}
_DIGITS = r"\d+(?:\.\d+)?"
_SPAN = re.compile(rf"(?:({_DIGITS})d)?(?:({_DIGITS})h)?(?:({_DIGITS})m)?(?:({_DIGITS})s)?", re.ASCII)
_NUMBER = re.compile(r"(?:\d{1,15}|\d{1,3}(?:,\d{3})+)(?:\.\d{1,6})?", re.ASCII)
"""A comma only parts thousands: ``2,50`` must not become 250 dollars."""


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One knob. ``field``: where ``RunConfig`` holds it. ``whole``: no parts of one; ``required``: that, too, and it
    cannot be taken off."""

    name: str
    field: tuple[str, ...]
    kind: Kind
    title: str
    does: str
    least: float = 1
    most: float = 1e12
    whole: bool = False
    required: bool = False


SETTINGS: dict[str, Setting] = {
    setting.name: setting
    for setting in (
        Setting(name="concurrency", field=("concurrency",), kind="cap", title="concurrency",
                does="requests in flight at once; auto: the engine finds how many pay", most=10_000, whole=True),
        Setting(name="min_concurrency", field=("autotune", "least"), kind="count", title="auto at least",
                does="the engine turns the concurrency no lower", most=10_000, whole=True),
        Setting(name="max_concurrency", field=("autotune", "most"), kind="count", title="auto at most",
                does="the engine turns the concurrency no higher", most=10_000, whole=True),
        Setting(name="rpm", field=("quotas", "rpm"), kind="count", title="requests a minute",
                does="never send more requests a minute"),
        Setting(name="tpm", field=("quotas", "tpm"), kind="count", title="tokens a minute",
                does="never use more tokens a minute, in and out"),
        Setting(name="input_tpm", field=("quotas", "input_tpm"), kind="count", title="input tokens a minute",
                does="never send more tokens a minute"),
        Setting(name="output_tpm", field=("quotas", "output_tpm"), kind="count", title="output tokens a minute",
                does="never have more tokens a minute written"),
        Setting(name="rpd", field=("quotas", "rpd"), kind="count", title="requests a day",
                does="never send more requests in 24 hours", whole=True),
        Setting(name="tpd", field=("quotas", "tpd"), kind="count", title="tokens a day",
                does="never use more tokens in 24 hours", whole=True),
        Setting(name="max_cost", field=("budget", "max_cost"), kind="money", title="cost at most",
                does="stop before the run costs more US dollars", least=0.0, most=1e9),
        Setting(name="max_tokens_total", field=("budget", "max_tokens"), kind="count", title="tokens at most",
                does="stop before the run uses more tokens in all", whole=True),
        Setting(name="max_errors", field=("budget", "max_errors"), kind="errors", title="errors at most",
                does="stop at so many failed items, or at their share of those settled", least=0.0, most=1e9),
        Setting(name="deadline", field=("budget", "deadline_at"), kind="moment", title="deadline",
                does="stop at this time", least=0.0, most=2e11),
        Setting(name="max_outage", field=("budget", "max_outage"), kind="seconds", title="outage at most",
                does="stop when the provider is down for longer; 0: let items fail instead of waiting", least=0.0,
                most=1e9),
        Setting(name="hedge", field=("hedge",), kind="share", title="hedging",
                does="second requests for stragglers, at most this share of the others; on: 5%", least=0.001, most=0.5),
        Setting(name="priority", field=("priority",), kind="count", title="priority",
                does="weight among the runs that share the account", most=100, required=True),
    )
}  # fmt: skip


def parse(name: str, text: str, now_at: float) -> float | None:
    """What a person wrote for a setting: ``500``, ``90k``, ``$2.50``, ``5%``, ``2h30m``, ``17:30``, ``off``.

    now_at: wall time; a deadline may be a time from now, a time of day or an ISO date. Raises ``UsageError``.
    """
    setting = _known(name)
    text = text.strip()
    if setting.kind == "cap" and text.lower() == AUTO:
        return None
    if text.lower() in OFF and setting.kind != "cap":
        return check(name, None)
    readers = {"cap": _number, "count": _number, "money": _money, "errors": _errors, "seconds": _span, "share": _share}
    if setting.kind == "share" and text.lower() == ON:
        return ON_SHARE
    if setting.kind == "moment" and re.fullmatch(r"\d{4}|\d{8}", text, re.ASCII):
        # 1730 seconds, or half past five? 20260131 seconds, or a day?
        raise UsageError(f"{_option(name)}: '{text}' can be read in two ways; write 17:30 or 2h30m, or 2026-01-31")
    value = _moment(text, now_at) if setting.kind == "moment" else readers[setting.kind](text)
    if value is None:
        raise UsageError(f"{_option(name)}: '{text[:40]}' is not {_EXAMPLES[setting.kind]}")
    if setting.kind == "moment" and value <= now_at:
        raise UsageError(f"{_option(name)}: {text[:40]} is over already")
    if setting.kind == "errors" and 0 < value < 1 and not text.endswith("%"):
        raise UsageError(f"{_option(name)}: '{text[:40]}' is no number of items; for a share write {show(name, value)}")
    return check(name, value)


def check(name: str, value: float | None) -> float | None:
    """The value of a setting as a config keeps it, to 6 digits after the point. Raises ``UsageError`` for one that
    cannot be."""
    setting = _known(name)
    if value is None:
        if setting.required:
            raise UsageError(f"{_option(name)} cannot be taken off")
        return None
    if not setting.least <= value <= setting.most:  # neither is true of NaN
        if setting.kind == "moment":
            last = datetime.fromtimestamp(setting.most).astimezone()
            raise UsageError(f"{_option(name)}: it must be a time up to {last:%Y-%m-%d}")
        least, most, shown = _plain(setting.least), _plain(setting.most), f"{value:g}"
        if setting.kind == "share":
            least, most, shown = (f"{_plain(100 * share)}%" for share in (setting.least, setting.most, value))
        raise UsageError(f"{_option(name)} is {shown}; it must be {least} to {most}")
    value = round(float(value), 8 if setting.kind == "errors" else 6)
    if (setting.whole or setting.required) and value != int(value):
        raise UsageError(f"{_option(name)} is {value:g}; it is a whole number")
    if setting.kind == "errors" and value >= 1 and value != int(value):
        raise UsageError(f"{_option(name)} is {value:g}; it is a whole number, or a share such as 5%")
    return value


def apply(config: RunConfig, changes: Mapping[str, float | None]) -> RunConfig:
    """The config with these settings. Raises ``UsageError``, before anything is changed."""
    for name, given in changes.items():
        value, setting = check(name, given), _known(name)
        if setting.kind == "cap":
            config = _tuned(config, value)
            continue
        first, *rest = setting.field
        whole = int(value) if (setting.required or first == "autotune") and value is not None else value
        inner = msgspec.structs.replace(getattr(config, first), **{rest[0]: whole}) if rest else whole
        config = msgspec.structs.replace(config, **{first: inner})
        ceiling = config.autotune.ceiling
        if name == "max_concurrency" or (name == "min_concurrency" and (value or 0) > (ceiling or math.inf)):
            # Said later than what was turned by hand.
            config = msgspec.structs.replace(config, autotune=msgspec.structs.replace(config.autotune, ceiling=None))
    least, most = config.autotune.least, config.autotune.most
    if least is not None and most is not None and least > most:
        raise UsageError(f"--min-concurrency {least} is more than --max-concurrency {most}")
    return config


def _tuned(config: RunConfig, cap: float | None) -> RunConfig:
    """A fixed concurrency, or None: the engine's to find, from where it stands. Either way a new beginning: no ceiling
    of earlier is left."""
    autotune = msgspec.structs.replace(config.autotune, is_on=cap is None, ceiling=None)
    return msgspec.structs.replace(
        config, autotune=autotune, concurrency=config.concurrency if cap is None else int(cap)
    )


def read(config: RunConfig) -> dict[str, float | None]:
    """All settings of a config."""
    found: dict[str, float | None] = {}
    for name, setting in SETTINGS.items():
        if setting.kind == "cap":
            found[name] = None if config.autotune.is_on else config.concurrency
            continue
        value = config
        for part in setting.field:
            value = getattr(value, part)
        found[name] = value  # type: ignore[assignment]
    return found


def show(name: str, value: float | None) -> str:
    """A setting as a person reads it, and as ``parse`` takes it back: ``500``, ``$2.50``, ``5%``, ``off``."""
    if value is None:
        return AUTO if _known(name).kind == "cap" else "off"
    match _known(name).kind:
        case "money":
            return f"${value:,.2f}" if value == round(value, 2) else f"${_plain(value)}"
        case "errors":
            return f"{_plain(100 * value)}%" if 0 < value < 1 else _plain(value)
        case "share":
            return f"{_plain(100 * value)}%"
        case "moment":
            return f"{datetime.fromtimestamp(value).astimezone():%Y-%m-%d %H:%M:%S}"
        case "seconds":
            return _span_text(value)
    return _plain(value)


def _plain(value: float) -> str:
    """``1,234.5``: all digits that count, never an exponent."""
    text = f"{value:,.6f}"
    return text.rstrip("0").rstrip(".")


def _span_text(seconds: float) -> str:
    """``2h30m``, ``90d``, ``0s``"""
    parts, left = [], seconds
    for unit, size in _SPANS.items():
        whole = left if unit == "s" else left // size
        left = round(left - whole * size, 6)
        if whole:
            parts.append(f"{_plain(whole).replace(',', '')}{unit}")
    return "".join(parts) or "0s"


_EXAMPLES = {
    "cap": "a number such as 40, or auto",
    "count": "a number such as 500, 90k or 2m",
    "money": "an amount such as 2.50",
    "errors": "a number such as 50, or a share such as 5%",
    "moment": "a time such as 2h30m, 17:30 or 2026-01-31T06:00",
    "seconds": "a time such as 90s, 15m or 2h",
    "share": "a share such as 2%, or on",
}


def _known(name: str) -> Setting:
    setting = SETTINGS.get(name)
    if setting is None:
        raise UsageError(f"there is no setting '{name[:40]}'; there are {', '.join(SETTINGS)}")
    return setting


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _number(text: str) -> float | None:
    text = text.replace("_", "").lower()
    scale = _UNITS.get(text[-1:], 1.0)
    text = text[:-1] if scale != 1.0 else text
    return float(text.replace(",", "")) * scale if _NUMBER.fullmatch(text) else None


def _money(text: str) -> float | None:
    return _number(text.removeprefix("$").lstrip())


def _errors(text: str) -> float | None:
    if not text.endswith("%"):
        return _number(text)
    share = _number(text[:-1].strip())
    # all of them is no limit that could ever be passed
    return share / 100 if share is not None and share < 100 else None


def _share(text: str) -> float | None:
    share = _number(text[:-1].strip()) if text.endswith("%") else None
    return None if share is None else share / 100


def _span(text: str) -> float | None:
    text = text.replace(" ", "").lower()
    if re.fullmatch(_DIGITS, text, re.ASCII):
        return float(text)
    # after other parts a number needs its unit: 1h30 could be read in two ways
    match = _SPAN.fullmatch(text)
    if not match or not text:
        return None
    return sum(float(part) * seconds for part, seconds in zip(match.groups(), _SPANS.values(), strict=True) if part)


def _moment(text: str, now_at: float) -> float | None:
    clock = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", text, re.ASCII)
    if clock:
        now = datetime.fromtimestamp(now_at).astimezone()
        then = now.replace(hour=int(clock[1]), minute=int(clock[2]), second=0, microsecond=0)
        return (then if then > now else then + timedelta(days=1)).timestamp()
    span = _span(text)
    if span is not None:
        return now_at + span
    try:
        return datetime.fromisoformat(text).astimezone().timestamp()
    except (ValueError, OverflowError, OSError):  # the last two: before or after all time that the clock knows
        return None
