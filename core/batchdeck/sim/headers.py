"""What a response says of its account's limits, in the styles of the providers.

- ``openai``: ``x-ratelimit-{limit,remaining,reset}-{requests,tokens}`` of the minute, resets as ``1m30s``. Input and
  output tokens have no name of OpenAI's; they go by ``-input-tokens`` and ``-output-tokens``.
  https://platform.openai.com/docs/guides/rate-limits
- ``groq``: the same names, the requests being those of the day. https://console.groq.com/docs/rate-limits
- ``anthropic``: ``anthropic-ratelimit-*``, resets as points in time. https://docs.claude.com/en/api/rate-limits
- ``none``: nothing.

``retry-after`` is whole seconds with all of them; ``retry-after-ms`` is OpenAI's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime

from batchdeck.model import Meter
from batchdeck.sim.options import Style
from batchdeck.sim.windows import SLACK, Window

Headers = tuple[tuple[str, str], ...]

EPOCH = 1_800_000_000.0
"""The wall clock when a virtual one shows 0."""

_PLAIN: dict[Meter, str] = {
    "requests": "requests",
    "tokens": "tokens",
    "input_tokens": "input-tokens",
    "output_tokens": "output-tokens",
}
_NAMES: dict[Style, dict[Meter, str]] = {
    "openai": _PLAIN,
    "groq": {"requests_day": "requests", "tokens": "tokens"},
    "anthropic": _PLAIN,
    "none": {},
}


def say_limits(style: Style, windows: Mapping[Meter, Window], now_at: float) -> Headers:
    """The state of the windows, as they are advanced. now_at: wall time."""
    found: Headers = ()
    for meter, name in _NAMES[style].items():
        window = windows.get(meter)
        if window is None:
            continue
        limit = str(max(1, int(window.limit)))
        remaining = str(max(0, math.floor(window.remaining + SLACK)))
        if style == "anthropic":
            name = f"anthropic-ratelimit-{name}-{{}}"
            reset = timestamp(now_at + window.reset)
        else:
            name = f"x-ratelimit-{{}}-{name}"
            reset = duration(window.reset)
        found += (
            (name.format("limit"), limit),
            (name.format("remaining"), remaining),
            (name.format("reset"), reset),
        )
    return found


def say_retry_after(style: Style, ms: int) -> Headers:
    """When a refused request may come again."""
    told: Headers = (("retry-after", str(math.ceil(ms / 1000))),)
    return told if style in ("groq", "anthropic") else (*told, ("retry-after-ms", str(ms)))


def duration(seconds: float) -> str:
    """As OpenAI writes them, rounded up: ``450ms``, ``7.66s``, ``1m30s``, ``0s``."""
    ms = math.ceil(seconds * 1000 - SLACK)
    if ms <= 0:
        return "0s"
    if ms < 1000:
        return f"{ms}ms"
    if ms < 60_000:
        return f"{ms / 1000:g}s"
    minutes, seconds_left = divmod(math.ceil(ms / 1000), 60)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}h" if hours else "") + f"{minutes}m{seconds_left}s"


def timestamp(at: float) -> str:
    """RFC 3339 in whole seconds, rounded up: ``2027-01-15T08:00:00Z``."""
    return datetime.fromtimestamp(math.ceil(at - SLACK), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
