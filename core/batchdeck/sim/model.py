"""The simulated provider's mind: decides everything about a response the moment its request arrives.

No I/O and no clock: the caller hands in ``now`` and carries the ``Plan`` out. An answer's text, latency and fault
depend only on the seed, on the request's content, and on how many times this same content was let in before; so one
seed gives the same answers whatever the order of arrival. Only the quota, outages and how busy the server is depend on
time.
"""

from __future__ import annotations

import hashlib
import math
import random
from itertools import accumulate
from typing import Any

import msgspec

from batchdeck.sim.answers import MARK, compose, count_tokens, cut, text_of
from batchdeck.sim.headers import EPOCH, Headers, say_retry_after
from batchdeck.sim.options import FAULTS, SimOptions
from batchdeck.sim.quota import Quota, Verdict
from batchdeck.sim.refusals import FAULTY, Refusal, complaint, too_busy, too_large, too_many
from batchdeck.sim.service import Busy, Service

MODELS = ("simulated", "simulated-mini")
"""What ``/v1/models`` lists. Any other name is answered too."""
_TTFT_SPREAD = 0.4
_RATE_SPREAD = 0.25
_LENGTH_SPREAD = 0.6
_LONGEST = 8
"""An answer is at most this many times the median length."""
_OF_QUOTA = (
    "rpm", "tpm", "input_tpm", "output_tpm", "rpd", "tpd", "shape", "burst", "window_offset", "stranger", "shrink_at",
    "shrink_to",
)  # fmt: skip
"""Options that make another quota."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One response, decided. Times are seconds after the request's arrival.

    ``pieces[i]`` is due at ``times[i]``, the last one at ``seconds``, when an unstreamed response is sent too.
    ``fault`` names what goes wrong (``options.FAULTS``). ``refusal`` is the body of a status other than 200.
    ``admitted``: whether the quota let it in, to an answer or to a fault.
    """

    id: str
    status: int
    headers: Headers = ()
    seconds: float = 0.0
    fault: str | None = None
    refusal: Refusal | None = None
    admitted: bool = False
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


class SimModel:
    """One simulated account. Not thread safe; ``now`` may be any clock that does not go back."""

    def __init__(
        self, options: SimOptions | None = None, *, key: str | None = None, now: float = 0.0, epoch: float = EPOCH
    ) -> None:
        """key: what clients must send as their bearer token; None: anything goes. now, epoch: as ``begin``."""
        self.options = options or SimOptions()
        self.key = key
        self._seen: dict[int, int] = {}
        self._refused = 0
        self.service = Service()
        self.begin(now, epoch)

    def __repr__(self) -> str:
        return f"<SimModel seed={self.options.seed} prompts={len(self._seen)} {self.quota}>"

    def begin(self, now: float, epoch: float = EPOCH) -> None:
        """The provider starts now, with an unused quota. epoch: wall time when ``now`` is 0."""
        self._start = now
        self._epoch = epoch
        self.quota = Quota.of(self.options, now, now, epoch)

    def configure(self, options: SimOptions, now: float) -> None:
        """Take new options from now on. The quota is unused again if it changed."""
        old, self.options = self.options, options
        self.quota.style = options.headers
        if any(getattr(old, name) != getattr(options, name) for name in _OF_QUOTA):
            self.quota = Quota.of(options, now, self._start, self._epoch)

    def is_down(self, now: float) -> bool:
        """Whether there is an outage now."""
        return self._is_during(self.options.down_at, self.options.down_for, now)

    def is_unreachable(self, now: float) -> bool:
        """Whether nobody listens now: no request is to be handed in."""
        return self.options.down == "refuse" and self.is_down(now)

    def admits(self, authorization: str | None) -> bool:
        """Whether that header's value holds the key, where one must be sent."""
        return self.key is None or authorization == f"Bearer {self.key}"

    def receive(self, raw: bytes, now: float, authorization: str | None = None) -> Plan:
        """Decide on a request body as it came from the wire."""
        try:
            body = msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            body = None
        return self.arrive(body, now, authorization)

    def arrive(self, body: Any, now: float, authorization: str | None = None) -> Plan:
        """Decide on a request. body: its JSON, decoded; authorization: that header's value."""
        if self.is_down(now):
            return self._refuse(*FAULTY["503"], seconds=self._late(self.options.ttft_ms / 1000))
        if not self.admits(authorization):
            return self._refuse(401, FAULTY["401"][1])
        if self._is_during(self.options.out_of_money_at, self.options.out_of_money_for, now):
            return self._refuse(*FAULTY["quota"])
        wrong = complaint(body)
        if wrong is not None:
            return self._refuse(400, wrong, self.quota.headers(now))
        full = self._full(now)
        if full is not None:
            return full
        content = _content_hash(body)
        turn = self._seen.get(content, 0)
        plan = self._draw(body, content, turn)
        verdict = self.quota.admit(plan.tokens_in, now, plan.tokens_out)
        headers = self.quota.headers(now)
        if verdict.wait > 0:
            return self._limit(verdict, headers)
        self._seen[content] = turn + 1
        plan = self._serve(plan, now)
        return msgspec.structs.replace(plan, headers=headers) if headers else plan

    def load(self, now: float) -> tuple[Busy, int] | None:
        """How many run and wait, and the slots there are; None without slots."""
        slots = self.options.slots
        return None if slots is None else (self.service.busy(now), slots)

    def _full(self, now: float) -> Plan | None:
        """The refusal when all slots are taken and no more may wait for one."""
        slots, backlog = self.options.slots, self.options.backlog
        if slots is None or backlog is None:
            return None
        wait = self.service.wait_for_place(now, slots + backlog)
        if wait <= 0:
            return None
        ms, told = self._again(wait)
        return self._refuse(429, too_busy(slots, backlog, ms), told + self.quota.headers(now))

    def _serve(self, plan: Plan, now: float) -> Plan:
        """The same answer in the time that it takes on a server as busy as this one."""
        options = self.options
        if options.slots is None and not options.contention and not options.coherency:
            return plan
        wait, stretch = self.service.begin(now, plan.seconds, options.slots, options.contention, options.coherency)
        return msgspec.structs.replace(
            plan,
            times=tuple(wait + at * stretch for at in plan.times),
            seconds=wait + plan.seconds * stretch,
        )

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
            admitted=True,
            model=body["model"],
            stream=bool(body.get("stream")),
            include_usage=bool((body.get("stream_options") or {}).get("include_usage")),
            times=times,
            pieces=tuple(pieces),
            finish_reason="length" if cut_short else "stop",
            tokens_in=sum(count_tokens(text_of(message.get("content"))) for message in body["messages"]),
            tokens_out=len(pieces),
        )
        if fault not in FAULTY:
            return answer
        status, refusal = FAULTY[fault]
        seconds = self._late(ttft) if status >= 500 else 0.0
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

    def _limit(self, verdict: Verdict, headers: Headers) -> Plan:
        meter, limit = verdict.meter or "requests", verdict.limit
        if math.isinf(verdict.wait):
            return self._refuse(429, too_large(meter, limit, verdict.amount), headers)
        ms, told = self._again(verdict.wait)
        return self._refuse(429, too_many(meter, limit, ms), told + headers)

    def _again(self, wait: float) -> tuple[int | None, Headers]:
        """When to try again, in milliseconds and as headers, if that is told."""
        if not self.options.retry_after:
            return None, ()
        ms = max(1, math.ceil(wait * 1000))
        return ms, say_retry_after(self.options.headers, ms)

    def _refuse(self, status: int, refusal: Refusal, headers: Headers = (), seconds: float = 0.0) -> Plan:
        self._refused += 1
        return Plan(id=f"req-sim-{self._refused}", status=status, refusal=refusal, headers=headers, seconds=seconds)

    def _late(self, ttft: float) -> float:
        """When a server that struggles says so."""
        return ttft if self.options.latency_ms is None else self.options.latency_ms / 1000

    def _is_during(self, at: float | None, seconds: float, now: float) -> bool:
        return at is not None and at <= now - self._start < at + seconds


def _content_hash(body: dict[str, Any]) -> int:
    """Identity of what is asked; whether the answer is streamed does not change it."""
    content = {name: value for name, value in body.items() if name not in ("stream", "stream_options")}
    packed = msgspec.json.encode(content, order="sorted")
    return int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest(), "big")
