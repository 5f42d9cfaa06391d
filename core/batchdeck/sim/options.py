"""What a simulated provider is like: given on the command line, kept in a run's ``managed`` options, changed live."""

from __future__ import annotations

import math
from typing import Any, Literal

import msgspec

from batchdeck.errors import UsageError

FAULTS = {
    "500": "status 500",
    "503": "status 503",
    "400": "status 400",
    "401": "status 401, as for a refused key",
    "quota": "status 429 'insufficient_quota': the account is out of money",
    "hang": "nothing is sent until the client goes",
    "stall": "the answer begins, then nothing more is sent until the client goes",
    "reset": "the connection is reset in the middle of the answer",
    "truncate": "the answer ends early: a stream without its end mark, a body shorter than its Content-Length",
    "garbage": "status 200 and a body that does not parse",
}
"""Every fault by name, in the order in which they are drawn."""


Shape = Literal["bucket", "sliding", "fixed"]
"""How a minute is counted (``windows``)."""
Style = Literal["openai", "groq", "anthropic", "none"]
"""How the headers tell it (``headers``)."""


class SimOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of a simulated provider. Raises ``UsageError`` for a value out of range.

    Every ``*_at`` is seconds after the provider's start, also when it is set while it runs.
    """

    seed: int = 0
    latency_ms: float | None = None
    """The whole response takes exactly this long; None: drawn from the two below."""
    ttft_ms: float = 300.0
    """Median of the time to first token (lognormal)."""
    token_rate: float = 60.0
    """Median of tokens a second within one answer (lognormal)."""
    answer_tokens: float = 40.0
    """Median length of an answer (lognormal)."""
    slots: int | None = None
    """Answers that are made at once, others wait for one of them to end; None: any number."""
    backlog: int | None = None
    """How many may wait for a slot; a request beyond that is refused with a 429. None: any number."""
    contention: float = 0.0
    """How much slower each other answer that is being made makes one, as a share of its own time."""
    coherency: float = 0.0
    """The same for each pair of them, which in the end makes more at once worse than fewer."""
    rpm: float | None = None
    """Requests a minute that the account may send; None: any number."""
    tpm: float | None = None
    """Tokens a minute, prompt and answer together."""
    input_tpm: float | None = None
    """Tokens of prompts a minute."""
    output_tpm: float | None = None
    """Tokens of answers a minute."""
    rpd: float | None = None
    """Requests a day: 24 hours from the start, then the next."""
    tpd: float | None = None
    """Tokens a day, prompt and answer together."""
    shape: Shape = "bucket"
    """How a minute is counted: a bucket that refills, the last 60 s, or one minute after the other."""
    burst: float = 0.1
    """Of a bucket: how much of a minute's quota may be used at once; it refills continuously."""
    window_offset: float = 0.0
    """Of fixed minutes: seconds from the start until one begins."""
    headers: Style = "openai"
    """Whose headers tell the quota's state; ``none``: no header does."""
    retry_after: bool = True
    """Whether a 429 says how long to wait."""
    stranger: float = 0.0
    """Share of the minute quotas that somebody else on the account uses."""
    shrink_at: float | None = None
    """When the whole quota shrinks; None: never."""
    shrink_to: float = 0.5
    """To what share of itself."""
    down_at: float | None = None
    """When an outage begins; None: never."""
    down_for: float = 60.0
    """Its seconds."""
    down: Literal["503", "refuse"] = "503"
    """What a request meets then: status 503, or no connection."""
    out_of_money_at: float | None = None
    """When the account is out of money, so that every request is refused with ``insufficient_quota``; None: never."""
    out_of_money_for: float = 60.0
    """For how many seconds."""
    faults: dict[str, float] = {}
    """Share of requests that end in each fault, by its name in ``FAULTS``."""
    require_key: str | None = None
    """Name of the environment variable with the key that clients must send; the key itself is never kept."""
    hold: bool = False
    """An answer sends its first words, then waits until it is released."""
    echo: bool = False
    """Answer with the whole prompt instead of a few of its words."""

    def __post_init__(self) -> None:
        _check("latency_ms", self.latency_ms, least=0)
        _check("ttft_ms", self.ttft_ms, least=0)
        _check("token_rate", self.token_rate, above=0)
        _check("answer_tokens", self.answer_tokens, least=1)
        _check("slots", self.slots, least=1, most=100_000)
        _check("backlog", self.backlog, least=0, most=100_000)
        if self.backlog is not None and self.slots is None:
            raise UsageError("backlog is how many wait for a slot; it needs slots")
        _check("contention", self.contention, least=0, most=1)
        _check("coherency", self.coherency, least=0, most=1)
        for name in ("rpm", "tpm", "input_tpm", "output_tpm", "rpd", "tpd"):
            _check(name, getattr(self, name), above=0)
        for name in ("window_offset", "shrink_at", "down_at", "down_for", "out_of_money_at", "out_of_money_for"):
            _check(name, getattr(self, name), least=0)
        _check("burst", self.burst, above=0, most=1)
        _check("shrink_to", self.shrink_to, above=0, most=1)
        _check("stranger", self.stranger, least=0, below=1)
        for name, rate in self.faults.items():
            if name not in FAULTS:
                raise UsageError(f"unknown fault '{name}'; there are {', '.join(FAULTS)}")
            _check(f"the rate of fault {name}", rate, least=0, most=1)
        if sum(self.faults.values()) > 1 + 1e-9:
            raise UsageError(f"the fault rates add up to {sum(self.faults.values()):g}, more than 1")


def _check(
    name: str,
    value: float | None,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
) -> None:
    if value is None:
        return
    if (
        not math.isfinite(value)
        or (least is not None and value < least)
        or (above is not None and value <= above)
        or (most is not None and value > most)
        or (below is not None and value >= below)
    ):
        low = f"at least {least:g}" if least is not None else f"above {above:g}"
        high = f" and at most {most:g}" if most is not None else f" and below {below:g}" if below is not None else ""
        raise UsageError(f"{name} is {value:g}; it must be {low}{high}")


def build(given: dict[str, Any], base: SimOptions | None = None) -> SimOptions:
    """Options from JSON or command-line values laid over ``base``. Raises ``UsageError``."""
    known = {} if base is None else msgspec.structs.asdict(base)
    try:
        return msgspec.convert({**known, **given}, SimOptions)
    except msgspec.ValidationError as error:
        raise UsageError(f"simulator options: {error}") from error


def parse_faults(given: tuple[str, ...]) -> dict[str, float]:
    """``("500=0.1", "hang=0.01")`` as a dict. Raises ``UsageError``."""
    faults: dict[str, float] = {}
    for text in given:
        name, mark, rate = text.partition("=")
        try:
            value = float(rate)
        except ValueError:
            mark = ""
            value = 0.0
        if not mark:
            raise UsageError(f"--fault {text}: write it as NAME=RATE with a rate from 0 to 1, e.g. --fault 500=0.05")
        if name in faults:
            raise UsageError(f"--fault {name} is given twice")
        faults[name] = value
    return faults
