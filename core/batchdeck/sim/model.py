"""The simulated provider's mind: decides everything about a response the moment its request arrives.

No I/O and no clock: the caller hands in ``now`` and carries the ``Plan`` out. An answer's text, latency and fault
depend only on the seed, on the request's content, and on how many times this same content was let in before; so one
seed gives the same answers whatever the order of arrival. Only the quota depends on time.
"""

from __future__ import annotations

import hashlib
import math
import random
from itertools import accumulate
from typing import Any

import msgspec

from batchdeck.sim.answers import MARK, compose, count_tokens, cut, text_of
from batchdeck.sim.options import FAULTS, SimOptions
from batchdeck.sim.quota import Headers, Quota

MODELS = ("simulated", "simulated-mini")
"""What ``/v1/models`` lists. Any other name is answered too."""
_TTFT_SPREAD = 0.4
_RATE_SPREAD = 0.25
_LENGTH_SPREAD = 0.6
_LONGEST = 8
"""An answer is at most this many times the median length."""


class Refusal(msgspec.Struct, frozen=True):
    """An error body as OpenAI sends it."""

    message: str
    type: str
    code: str | None = None
    param: str | None = None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One response, decided. Times are seconds after the request's arrival.

    ``pieces[i]`` is due at ``times[i]``, the last one at ``seconds``, when an unstreamed response is sent too.
    ``fault`` names what goes wrong (``options.FAULTS``). ``refusal`` is the body of a status other than 200.
    """

    id: str
    status: int
    headers: Headers = ()
    seconds: float = 0.0
    fault: str | None = None
    refusal: Refusal | None = None
    model: str = ""
    stream: bool = False
    include_usage: bool = False
    times: tuple[float, ...] = ()
    pieces: tuple[str, ...] = ()
    finish_reason: str = "stop"
    tokens_in: int = 0
    tokens_out: int = 0

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def ttft(self) -> float | None:
        return self.times[0] if self.times else None


_FAULTY: dict[str, tuple[int, Refusal]] = {
    "500": (500, Refusal("The server had an error while processing your request (simulated).", "server_error")),
    "503": (503, Refusal("The engine is currently overloaded, please try again later (simulated).", "server_error")),
    "400": (400, Refusal("The request was refused (simulated).", "invalid_request_error")),
    "401": (401, Refusal("Incorrect API key provided (simulated).", "invalid_request_error", "invalid_api_key")),
    "quota": (
        429,
        Refusal(
            "You exceeded your current quota, please check your plan and billing details (simulated).",
            "insufficient_quota",
            "insufficient_quota",
        ),
    ),
}


class SimModel:
    """One simulated account. Not thread safe; ``now`` may be any clock that does not go back."""

    def __init__(self, options: SimOptions | None = None, *, key: str | None = None, now: float = 0.0) -> None:
        """key: what clients must send as their bearer token; None: anything goes."""
        self.options = options or SimOptions()
        self.key = key
        self._seen: dict[int, int] = {}
        self._refused = 0
        self._quota = self._fresh_quota(now)

    def __repr__(self) -> str:
        return f"<SimModel seed={self.options.seed} prompts={len(self._seen)} {self._quota}>"

    def configure(self, options: SimOptions, now: float) -> None:
        """Take new options from now on. The quota's buckets start full again if it changed."""
        old, self.options = self.options, options
        if (old.rpm, old.tpm, old.burst) != (options.rpm, options.tpm, options.burst):
            self._quota = self._fresh_quota(now)

    def receive(self, raw: bytes, now: float, authorization: str | None = None) -> Plan:
        """Decide on a request body as it came from the wire."""
        try:
            body = msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            body = None
        return self.arrive(body, now, authorization)

    def arrive(self, body: Any, now: float, authorization: str | None = None) -> Plan:
        """Decide on a request. body: its JSON, decoded; authorization: that header's value."""
        if self.key is not None and authorization != f"Bearer {self.key}":
            return self._refuse(401, _FAULTY["401"][1])
        complaint = _complaint(body)
        if complaint is not None:
            return self._refuse(400, complaint, self._quota.headers(now))
        content = _content_hash(body)
        turn = self._seen.get(content, 0)
        plan = self._draw(body, content, turn)
        wait, short = self._quota.admit(plan.tokens_in + plan.tokens_out, now)
        headers = self._quota.headers(now)
        if wait > 0:
            return self._limit(wait, short, headers)
        self._seen[content] = turn + 1
        return msgspec.structs.replace(plan, headers=headers) if headers else plan

    def _draw(self, body: dict[str, Any], content: int, turn: int) -> Plan:
        """The answer to this content on its ``turn``-th time, with its latency and its fault."""
        options = self.options
        rng = random.Random(f"{options.seed}/{content}/{turn}")
        fault = self._fault(rng.random())
        ttft = rng.lognormvariate(0, _TTFT_SPREAD) * options.ttft_ms / 1000
        rate = rng.lognormvariate(0, _RATE_SPREAD) * options.token_rate
        length = min(rng.lognormvariate(0, _LENGTH_SPREAD), _LONGEST) * options.answer_tokens
        prompt = text_of(body["messages"][-1].get("content"))
        text = MARK + prompt if options.echo else compose(prompt, length, rng)
        pieces = cut(text)
        most = body.get("max_completion_tokens") or body.get("max_tokens")
        cut_short = most is not None and most < len(pieces)
        if cut_short:
            pieces = pieces[:most]
        times = self._times(len(pieces), ttft, rate, rng)
        answer = Plan(
            id=f"chatcmpl-sim-{content:016x}-{turn}",
            status=200,
            seconds=times[-1],
            fault=fault,
            model=body["model"],
            stream=bool(body.get("stream")),
            include_usage=bool((body.get("stream_options") or {}).get("include_usage")),
            times=times,
            pieces=tuple(pieces),
            finish_reason="length" if cut_short else "stop",
            tokens_in=sum(count_tokens(text_of(message.get("content"))) for message in body["messages"]),
            tokens_out=len(pieces),
        )
        if fault not in _FAULTY:
            return answer
        status, refusal = _FAULTY[fault]
        late = options.latency_ms / 1000 if options.latency_ms is not None else ttft
        seconds = late if status >= 500 else 0.0
        return msgspec.structs.replace(answer, status=status, refusal=refusal, seconds=seconds, times=(), pieces=())

    def _fault(self, chance: float) -> str | None:
        if self.options.faults:
            for name in FAULTS:
                chance -= self.options.faults.get(name, 0.0)
                if chance < 0:
                    return name
        return None

    def _times(self, count: int, ttft: float, rate: float, rng: random.Random) -> tuple[float, ...]:
        """When each of ``count`` tokens is due: uneven gaps around the rate, or all of it within a fixed latency."""
        gaps = [0.5 + rng.random() for _ in range(count - 1)]
        if self.options.latency_ms is None:
            scale = 1 / rate
        else:
            whole = self.options.latency_ms / 1000
            ttft = whole * (0.1 + 0.4 * rng.random()) if gaps else whole
            scale = (whole - ttft) / sum(gaps) if gaps else 0.0
        times = list(accumulate((gap * scale for gap in gaps), initial=ttft))
        if self.options.latency_ms is not None:
            times[-1] = self.options.latency_ms / 1000
        return tuple(times)

    def _limit(self, wait: float, short: str, headers: Headers) -> Plan:
        limit = self.options.rpm if short == "requests" else self.options.tpm
        ms = max(1, math.ceil(wait * 1000))
        refusal = Refusal(
            f"Rate limit reached for {short} per min (simulated). Limit: {limit:g}. Try again in {ms / 1000:g}s.",
            short,
            "rate_limit_exceeded",
        )
        told = (("retry-after", str(math.ceil(ms / 1000))), ("retry-after-ms", str(ms)))
        return self._refuse(429, refusal, told + headers)

    def _refuse(self, status: int, refusal: Refusal, headers: Headers = ()) -> Plan:
        self._refused += 1
        return Plan(id=f"req-sim-{self._refused}", status=status, refusal=refusal, headers=headers)

    def _fresh_quota(self, now: float) -> Quota:
        return Quota(self.options.rpm, self.options.tpm, self.options.burst, now)


def _content_hash(body: dict[str, Any]) -> int:
    """Identity of what is asked; whether the answer is streamed does not change it."""
    content = {name: value for name, value in body.items() if name not in ("stream", "stream_options")}
    packed = msgspec.json.encode(content, order="sorted")
    return int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest(), "big")


def _complaint(body: Any) -> Refusal | None:
    """What is wrong with a request, None if nothing is."""

    def bad(message: str, param: str | None = None) -> Refusal:
        return Refusal(message, "invalid_request_error", None, param)

    if not isinstance(body, dict):
        return bad("We could not parse the JSON body of your request.")
    if not isinstance(body.get("model"), str) or not body["model"]:
        return bad("you must provide a model parameter", "model")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        return bad("Missing required parameter: 'messages'.", "messages")
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            return bad(f"Missing required parameter: 'messages[{index}].role'.", "messages")
        if not isinstance(message.get("content"), str | list | None):
            return bad(f"Invalid type for 'messages[{index}].content'.", "messages")
    for name in ("max_tokens", "max_completion_tokens"):
        most = body.get(name)
        if most is not None and (not isinstance(most, int) or isinstance(most, bool) or most < 1):
            return bad(f"Invalid value for '{name}': expected a whole number of at least 1.", name)
    if not isinstance(body.get("stream_options"), dict | None):
        return bad("Invalid type for 'stream_options'.", "stream_options")
    if body.get("n") not in (None, 1):
        return bad("This simulator gives one choice: 'n' must be 1.", "n")
    return None
