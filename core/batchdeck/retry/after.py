"""How long a server asks to be left alone: ``Retry-After`` (RFC 9110, 10.2.3), ``retry-after-ms``, or in its error."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from batchdeck.moments import EPOCH_MS, duration, number, seconds_until

LONGEST = 86_400.0
"""A day, in seconds. Daily quotas do ask for hours; what goes beyond is a server's mistake and is cut to a day."""
LONGEST_BODY = 65_536
"""Bytes of an error that is read for a delay; real ones have about a thousand."""
LONGEST_MESSAGE = 2_000
MOST_DETAILS = 32

# OpenAI and Groq: "Please try again in 1m30s. Visit …"; Gemini: "Please retry in 58.934310785s."
_AGAIN = re.compile(r"\bplease (?:try again|retry) in ((?:[0-9]{1,12}(?:\.[0-9]{1,12})?(?:ms|[dhms]))+)", re.IGNORECASE)


def parse_retry_after(headers: Iterable[tuple[str, str]], now_at: float) -> float | None:
    """Seconds from now, between 0 and ``LONGEST``; None when nothing readable was said.

    headers: names in any case. now_at: wall time, for the forms that are a date or an epoch. The milliseconds win, they
    are the finer of the two, unless they are 0 (Azure sends that beside the real seconds); what is past means now.
    """
    said = {name.lower(): value for name, value in headers if name.lower() in ("retry-after", "retry-after-ms")}
    seconds = seconds_until(said.get("retry-after", ""), now_at)
    milliseconds = number(said.get("retry-after-ms", ""))
    if milliseconds is not None and (milliseconds != 0 or seconds is None):
        seconds = milliseconds / 1000.0 - (now_at if milliseconds >= EPOCH_MS else 0.0)
    return None if seconds is None else _within(seconds)


def retry_delay_inside(body: bytes) -> float | None:
    """The delay that an error's body names, between 0 and ``LONGEST``; None when there is none.

    Gemini puts it into ``error.details`` as a ``google.rpc.RetryInfo`` and sends no header; OpenAI and Groq say it in
    their message as well.
    """
    if len(body) > LONGEST_BODY or not (b"retryDelay" in body or b" in " in body):
        return None
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if isinstance(parsed, list):
        parsed = parsed[0] if parsed else None
    if not isinstance(parsed, dict):
        return None
    inner = parsed.get("error")
    error = inner if isinstance(inner, dict) else parsed
    seconds = _retry_info(error)
    if seconds is None:
        seconds = _try_again(inner if isinstance(inner, str) else error.get("message"))
    return None if seconds is None else _within(seconds)


def _retry_info(error: dict[str, Any]) -> float | None:
    details = error.get("details")
    for detail in details[:MOST_DETAILS] if isinstance(details, list) else ():
        kind, delay = (detail.get("@type"), detail.get("retryDelay")) if isinstance(detail, dict) else (None, None)
        if isinstance(kind, str) and kind.endswith("RetryInfo") and isinstance(delay, str):
            return duration(delay)
    return None


def _try_again(message: Any) -> float | None:
    found = _AGAIN.search(message[:LONGEST_MESSAGE]) if isinstance(message, str) else None
    return duration(found[1]) if found else None


def _within(seconds: float) -> float:
    return min(max(seconds, 0.0), LONGEST)
