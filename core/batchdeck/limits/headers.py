"""What a provider says of its limits in the headers of a response. Pure; nothing here raises, whatever is said.

Names, units and resets differ from provider to provider; ``tests/core/test_limit_headers.py`` holds them as their
documentation and real responses show them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from batchdeck.model import Meter
from batchdeck.moments import number, seconds_until

MINUTE, HOUR, DAY, MONTH = 60.0, 3600.0, 86_400.0, 2_592_000.0
LONGEST_FIELD = 1_000
MOST_ITEMS = 16


class Reading(msgspec.Struct, frozen=True):
    """One meter as one response told it.

    limit: a minute or a day, by ``meter``. remaining: what would be taken at once, never scaled: of a limit that is
    counted by the second it is a second's. reset: seconds from now until the whole limit is there again, >= 0, cut to a
    day (two for the day meters).
    """

    meter: Meter
    limit: float | None
    remaining: float | None
    reset: float | None


class _Slot(NamedTuple):
    """Headers that belong together: the limit, what remains and the reset of one meter."""

    name: str
    meter: Meter
    window: float
    """Seconds; 0: the names do not tell."""


class _Told(NamedTuple):
    limit: float | None
    remaining: float | None
    reset: float | None


_FIELDS = ("limit", "remaining", "reset")
_KINDS: dict[str, Meter] = {
    "requests": "requests",
    "req": "requests",
    "tokens": "tokens",
    "project-tokens": "tokens",
    "input-tokens": "input_tokens",
    "output-tokens": "output_tokens",
}
_WINDOWS = {
    "": 0.0,
    "-second": 1.0,
    "-per-second": 1.0,
    "-minute": MINUTE,
    "-per-minute": MINUTE,
    "-hour": HOUR,
    "-day": DAY,
    "-per-day": DAY,
}
_DAYS: dict[Meter, Meter] = {"requests": "requests_day", "tokens": "tokens_day"}
_BARE = _Slot("bare", "requests", 0.0)


def _names() -> dict[str, tuple[_Slot, int]]:
    """Every known header, with the slot and the field that it tells."""
    names: dict[str, tuple[_Slot, int]] = {}

    def add(pattern: str, slot: _Slot) -> None:
        names.update({pattern.format(field): (slot, index) for index, field in enumerate(_FIELDS)})

    for kind, meter in _KINDS.items():
        for suffix, window in _WINDOWS.items():
            add("x-ratelimit-{}-" + kind + suffix, _Slot(kind + suffix, meter, window))
        add("anthropic-ratelimit-" + kind + "-{}", _Slot("anthropic-" + kind, meter, MINUTE))
    for name in ("x-ratelimit-{}", "ratelimit-{}"):
        add(name, _BARE)
    # Together: tokens beside the bare requests. Its "-dynamic" headers are left out: they say whom Together blames for
    # a refusal (429 or 503), not what it refuses.
    add("x-tokenlimit-{}", _Slot("tokenlimit", "tokens", 1.0))
    # Mistral counts tokens as the size of a request; its limit a month has no meter here.
    size = _Slot("bysize", "tokens", MINUTE)
    for name in ("ratelimitbysize-{}", "x-ratelimitbysize-{}", "x-ratelimitbysize-{}-minute"):
        add(name, size)
    # Fireworks
    add("x-ratelimit-{}-tokens-prompt", _Slot("prompt", "input_tokens", 1.0))
    add("x-ratelimit-{}-tokens-generated", _Slot("generated", "output_tokens", 1.0))
    return names


_NAMES = _names()


def read_limits(headers: Iterable[tuple[str, str]], now_at: float, provider: str = "") -> tuple[Reading, ...]:
    """At most one reading a meter; where several limits of one meter are told, what holds under all of them.

    headers: names in any case, of a header that comes twice the last counts. now_at: wall time. provider: a name of
    ``providers.presets``, since equal headers mean another unit with some.
    """
    said: dict[_Slot, list[str]] = {}
    state = policy = ""
    for name, value in headers:
        name = name.lower()
        known = _NAMES.get(name)
        if known is not None:
            said.setdefault(known[0], ["", "", ""])[known[1]] = value
        elif name == "ratelimit":
            state = f"{state},{value}" if state else value
        elif name == "ratelimit-policy":
            policy = f"{policy},{value}" if policy else value
    found: dict[Meter, Reading] = {}
    windows = _windows(policy)
    for slot, (limit, remaining, reset) in said.items():
        told = _Told(_amount(limit), _amount(remaining), seconds_until(reset, now_at))
        _add(found, slot.meter, slot.window or _window(slot, told, provider, windows), told)
    for window, told in _standard(state, policy):
        _add(found, "requests", window or _window(_BARE, told, provider, windows), told)
    return tuple(found.values())


def _add(found: dict[Meter, Reading], meter: Meter, window: float, told: _Told) -> None:
    """Take in what was told of one window, as far as there is a meter for it."""
    limit, remaining, reset = told
    if limit is not None and limit <= 0:
        return  # Azure says -1 for what it does not know
    if remaining is not None and remaining < 0:
        remaining = None if limit is None else 0.0
    if limit is None and remaining is None:
        return
    if window > DAY or (window == DAY and meter not in _DAYS):
        return
    if window == DAY:
        meter = _DAYS[meter]
    elif window > MINUTE:
        if remaining is None:
            return
        limit = None  # an hour's limit is neither a minute's nor a day's, but what remains of it is true
    elif limit is not None:
        limit *= MINUTE / window
    if reset is not None:
        reset = min(max(reset, 0.0), 2 * DAY if window == DAY else DAY)
        if reset == 0 and remaining is not None and remaining < 1:
            reset = None  # nothing left, and all of it there at once: both cannot be true (Azure's tokens)
    reading = Reading(meter, limit, remaining, reset)
    found[meter] = _both(found[meter], reading) if meter in found else reading


def _both(one: Reading, other: Reading) -> Reading:
    """Two limits of one meter: the reset is that of the one of which less remains."""
    remaining = _least(one.remaining, other.remaining)
    reset = one.reset if remaining == one.remaining else other.reset
    return Reading(one.meter, _least(one.limit, other.limit), remaining, reset)


def _window(slot: _Slot, told: _Told, provider: str, windows: dict[float, float]) -> float:
    """The seconds that a limit is counted over, where its names do not tell."""
    limit, _, reset = told
    if provider == "together":
        return 1.0
    if slot is _BARE:
        if limit is not None and limit in windows:
            return windows[limit]
        if reset is None or reset <= 1.5 * MINUTE:
            return MINUTE
        return HOUR if reset <= 1.1 * HOUR else DAY if reset <= 2 * DAY else MONTH
    if slot.meter != "requests":
        return MINUTE
    # A minute's quota is there again within about a minute, whoever the provider is.
    if provider == "groq" or (provider == "openai" and _is_daily(told)) or (reset is not None and reset > 10 * MINUTE):
        return DAY
    return MINUTE


def _is_daily(told: _Told) -> bool:
    """OpenAI sends a day's requests under the names of a minute's (low tiers: ``10000``, ``9999``, ``8.64s``).

    Its buckets fill evenly, so that what was used and the time to its return tell the window; ``remaining`` is rounded
    down, and the request that was just answered took a whole one.
    """
    limit, remaining, reset = told
    if limit is None or remaining is None or reset is None or limit <= 0:
        return False
    used = limit - remaining
    return used > 0 and 0.98 * max(1.0, used - 1) <= reset * limit / DAY <= 1.02 * used


def _amount(text: str) -> float | None:
    """A count; of a list (``100, 100;w=60``) the first, which is the one in force."""
    plain = number(text)
    if plain is None and len(text) <= LONGEST_FIELD:
        plain = number(text.split(",", 1)[0].split(";", 1)[0])
    return plain


def _least(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else min(one, other)


# -- the IETF's fields: draft-ietf-httpapi-ratelimit-headers, in the forms of its versions 03 to 06, 07, and 08 on


def _items(field: str) -> list[tuple[str, dict[str, str]]]:
    """``"name";r=50;t=30, …`` as names and parameters."""
    found = []
    for item in field[:LONGEST_FIELD].split(",")[:MOST_ITEMS]:
        head, *parameters = item.split(";")
        pairs = (parameter.partition("=") for parameter in parameters)
        found.append((head.strip(), {name.strip().lower(): value.strip() for name, _, value in pairs}))
    return found


def _policies(field: str) -> Iterator[tuple[str, float | None, float]]:
    """Name, quota and window (0: not told) of each policy that counts requests."""
    for head, parameters in _items(field) if field else ():
        if parameters.get("qu", '"requests"').strip('"') == "requests":
            quota = number(parameters.get("q", head))
            window = number(parameters.get("w", "")) or 0.0
            yield head, quota, window if window >= 1 else 0.0


def _windows(field: str) -> dict[float, float]:
    """Windows by quota, for the headers that name only the quota."""
    return {quota: window for _, quota, window in _policies(field) if quota is not None and window}


def _standard(state: str, policy: str) -> Iterator[tuple[float, _Told]]:
    """Window (0: not told) and state of each policy that has a name."""
    if "=" in state.partition(";")[0]:
        flat = {name.strip(): number(value) for name, _, value in (head.partition("=") for head, _ in _items(state))}
        yield 0.0, _Told(flat.get("limit"), flat.get("remaining"), flat.get("reset"))
        return
    policies = {head: (quota, window) for head, quota, window in _policies(policy)}
    states = {head: (number(has.get("r", "")), number(has.get("t", ""))) for head, has in _items(state)}
    for head in dict.fromkeys((*policies, *states)):
        # A bare number is the older form of a policy, whose state is told in other headers.
        if number(head) is None:
            quota, window = policies.get(head, (None, 0.0))
            yield window, _Told(quota, *states.get(head, (None, None)))
