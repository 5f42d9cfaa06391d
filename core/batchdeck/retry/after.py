"""How long a server asks to be left alone: ``Retry-After`` (RFC 9110, 10.2.3) and OpenAI's ``retry-after-ms``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from email.utils import parsedate_to_datetime

LONGEST = 86_400.0
"""A day, in seconds. Daily quotas do ask for hours; what goes beyond is a server's mistake and is cut to a day."""

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?|[+-]?\.[0-9]+", re.ASCII)


def parse_retry_after(headers: Iterable[tuple[str, str]], now_at: float) -> float | None:
    """Seconds from now, between 0 and ``LONGEST``; None when nothing readable was said.

    headers: names in any case. now_at: wall time, for the form that is an HTTP date. The milliseconds win, they are the
    finer of the two; a past date or a negative number means now.
    """
    said = {name.lower(): value for name, value in headers if name.lower() in ("retry-after", "retry-after-ms")}
    milliseconds = _number(said.get("retry-after-ms", ""))
    if milliseconds is not None:
        return _within(milliseconds / 1000.0)
    value = said.get("retry-after", "")
    seconds = _number(value)
    if seconds is None:
        seconds = _until(value, now_at)
    return None if seconds is None else _within(seconds)


def _within(seconds: float) -> float:
    return min(max(seconds, 0.0), LONGEST)


def _number(value: str) -> float | None:
    value = value.strip()
    return float(value) if len(value) < 40 and _NUMBER.fullmatch(value) else None


def _until(value: str, now_at: float) -> float | None:
    try:
        # A date without a zone comes back naive and would be read as local time; HTTP dates are always GMT.
        date = parsedate_to_datetime(value.strip())
        if date.tzinfo is None:
            date = parsedate_to_datetime(value.strip() + " +0000")
        return date.timestamp() - now_at
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
