"""Moments and durations as servers write them in headers and bodies. Nothing here raises, whatever the text is.

Units are seconds; ``now_at`` is wall time, for the forms that name a point in time.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

LONGEST_TEXT = 64
"""Characters. No form is longer, and no parser below sees more."""
EPOCH = 1e9
"""From here on a number is a point in time (2001), no server asks for 30 years of patience."""
EPOCH_MS = 1e12

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?|[+-]?\.[0-9]+", re.ASCII)
_PART = r"(?:([0-9]+(?:\.[0-9]+)?){})?"
# Go's time.Duration (OpenAI, Groq), with days; protobuf's Duration in JSON (Gemini) is its "s" alone.
_DURATION = re.compile("".join(_PART.format(unit) for unit in ("d", "h", "m", "s", "ms", "[uµμ]s", "ns")), re.ASCII)
_UNITS = (86_400.0, 3600.0, 60.0, 1.0, 1e-3, 1e-6, 1e-9)
_TIMESTAMP = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}", re.ASCII)


def number(text: str) -> float | None:
    """A plain decimal number, finite; no exponent, no ``nan``."""
    text = text.strip()
    return float(text) if len(text) < 40 and _NUMBER.fullmatch(text) else None


def duration(text: str) -> float | None:
    """``450ms``, ``7.66s``, ``1m30s``, ``1h2m3s``, ``1d2h``."""
    text = text.strip()
    found = _DURATION.fullmatch(text) if 0 < len(text) <= LONGEST_TEXT else None
    if found is None:
        return None
    return sum(float(part) * unit for part, unit in zip(found.groups(), _UNITS, strict=True) if part is not None)


def seconds_until(text: str, now_at: float) -> float | None:
    """Seconds from now, negative for what is over; None for what cannot be read.

    Reads seconds, a duration, an epoch in seconds or milliseconds, RFC 3339 and the dates of HTTP (RFC 9110, 5.6.7).
    """
    text = text.strip()
    if len(text) > LONGEST_TEXT:
        return None
    plain = number(text)
    if plain is not None:
        if plain >= EPOCH_MS:
            return plain / 1000.0 - now_at
        return plain - now_at if plain >= EPOCH else plain
    span = duration(text)
    return span if span is not None else _until_date(text, now_at)


def _until_date(text: str, now_at: float) -> float | None:
    from email.utils import parsedate_to_datetime  # a mail library; the console reads durations, and no dates

    try:
        date = datetime.fromisoformat(text) if _TIMESTAMP.match(text) else parsedate_to_datetime(text)
        # A date without a zone comes back naive and would be read as local time; servers mean GMT.
        return (date if date.tzinfo is not None else date.replace(tzinfo=UTC)).timestamp() - now_at
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
