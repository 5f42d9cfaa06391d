"""The life of one request, from a ``WorkOrder`` to a ``Settled``. Knows nothing of store, limits or control."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Literal

import msgspec

from batchdeck.errors import DecodeError, TransportError
from batchdeck.model import HEDGED, Answer, Failure, Limits, LiveRow, Settled, Timings, Wall, WorkOrder
from batchdeck.providers.base import Decoder, Provider
from batchdeck.providers.failures import ErrorInAnswer
from batchdeck.retry.stall import first_look
from batchdeck.transport.base import Request, Transport

RAW_LIMIT = 8 << 20
"""Bytes of one response that the ledger keeps; decoding goes on past them."""
ANSWER_LIMIT = 64 << 20
"""Bytes of one response that are taken at all."""
END_GRACE = 1.0
"""Seconds that a body may stay open after its end mark."""
TIMEOUTS = {
    "first_token": ("timeout_first_token", "no token came within {:g} s"),
    "idle": ("timeout_idle", "the stream was silent for {:g} s"),
    "total": ("timeout_total", "the request took longer than {:g} s"),
}
BEATEN = Failure(outcome="cancelled", error_type=HEDGED, message="another request for the same item took its place")
Phase = Literal["connecting", "waiting", "streaming", "store"]


class Flight:
    """One attempt in the air: the engine's view of it, and the sink its bytes arrive at."""

    __slots__ = (
        "_decoder", "_limits", "_loop", "_provider", "_quiet", "abort", "beside", "body", "deadline", "deadline_kind",
        "error", "first_at", "has_stalled", "headers", "heard_at", "is_stalled", "last_at", "look_at", "on_head",
        "order", "phase", "raw", "received", "sends", "sent_at", "started", "started_at", "status", "task", "text",
    )  # fmt: skip

    def __init__(
        self, order: WorkOrder, provider: Provider, limits: Limits, loop: asyncio.AbstractEventLoop, wall: Wall
    ) -> None:
        self.order = order
        self.started = loop.time()
        self.started_at = wall()
        self.phase: Phase = "connecting"
        self.text: list[str] = []
        self.raw = bytearray()
        self.received = 0
        self.status: int | None = None
        self.headers: tuple[tuple[str, str], ...] = ()
        self.sends = 0
        self.sent_at: float | None = None
        """When it went out, on a connection that stood by then; the last time, of one that was sent again."""
        self.first_at: float | None = None
        self.last_at: float | None = None
        self.beside = 1
        """How many were in flight when it was sent, itself among them."""
        self.heard_at: float | None = None
        """When the newest byte came, of a stream that has begun."""
        self.look_at = math.inf
        """When it is worth a look, since it has been silent for so long."""
        self.is_stalled = self.has_stalled = False
        """Whether its silence is a stall now; whether one was."""
        self.abort: str | None = None
        self.error: DecodeError | None = None
        self.task: asyncio.Task[None] | None = None
        self.on_head: Callable[[int, tuple[tuple[str, str], ...]], None] | None = None
        """Told status and headers as soon as they are there: what they say of the account is old when the body ends."""
        self._provider = provider
        self._limits = limits
        self._quiet = first_look(limits.idle)
        self._loop = loop
        self._decoder: Decoder | None = None
        self.deadline = 0.0
        self.deadline_kind = ""
        # An answer in one piece has no first token: only its whole time is limited.
        self._set_deadline("first_token", self.started + (limits.first_token if order.stream else limits.total))

    def __repr__(self) -> str:
        return f"<Flight {self.order.idx} #{self.order.number} {self.phase}>"

    @property
    def tokens(self) -> int:
        return self._decoder.tokens if self._decoder is not None else 0

    @property
    def streamed(self) -> float:
        """Seconds from the first token to the newest one."""
        return self.last_at - self.first_at if self.first_at is not None and self.last_at is not None else 0.0

    @property
    def idle(self) -> float:
        """The limit of its silence."""
        return self._limits.idle

    @property
    def quiet(self) -> float:
        """Seconds of silence below which nothing is unusual."""
        return self._quiet

    def stall(self) -> None:
        """Its silence is a stall, until another byte comes."""
        self.is_stalled = self.has_stalled = True

    def live(self, now: float, tail: int | None, *, hedged: bool = False) -> LiveRow:
        """What is to be seen of it now; ``tail``: this many characters of its text at most, None: all."""
        text = "" if tail == 0 else "".join(self.text)
        return LiveRow(
            idx=self.order.idx,
            phase=self.phase,
            text=text if tail is None else text[-tail:] if tail else "",
            tokens=self.tokens,
            seconds=now - self.started,
            attempt=self.order.number,
            ttft=self.first_at - self.started if self.first_at is not None else None,
            silent=now - self.heard_at if self.is_stalled and self.heard_at is not None else None,
            hedged=hedged,
        )

    def stop(self, why: str) -> None:
        """Cut the request off: ``why`` is ``cancelled``, ``hedged`` or the kind of a time limit. Its task settles it at
        once. One that its task has not taken up yet is not sent at all.
        """
        if self.abort is None:
            self.abort = why
            if self.task is not None:
                self.task.cancel()

    def _set_deadline(self, kind: str, at: float) -> None:
        total = self.started + self._limits.total
        self.deadline, self.deadline_kind = (total, "total") if total <= at else (at, kind)

    # -- the sink

    def sending(self) -> None:
        self.sends += 1
        self.sent_at = self._loop.time()
        self.phase = "waiting"

    def head(self, status: int, headers: tuple[tuple[str, str], ...]) -> None:
        self.status = status
        self.headers = headers
        if 200 <= status < 300:
            content_type = next((value for name, value in headers if name == "content-type"), "")
            self._decoder = self._provider.decoder(content_type, self.order.stream)
        if self.on_head is not None:
            self.on_head(status, headers)

    def data(self, chunk: bytes) -> None:
        self.received += len(chunk)
        if len(self.raw) < RAW_LIMIT:
            self.raw += chunk[: RAW_LIMIT - len(self.raw)]
        if self.received > ANSWER_LIMIT:
            raise DecodeError("too_large", f"the answer is larger than {ANSWER_LIMIT >> 20} MiB")
        if self._decoder is None:
            return
        before = self._decoder.tokens
        new = self._decoder.feed(chunk)
        now = self._loop.time()
        if new or self._decoder.tokens > before:
            if self.first_at is None:
                self.first_at = now
                self.phase = "streaming"
            self.last_at = now
            if new:
                self.text.append(new)
        if self._decoder.is_complete:
            # Servers end a body right after its end mark; one that does not is not waited for.
            self._set_deadline("end", now + END_GRACE)
            self.is_stalled, self.look_at = False, math.inf
        elif self.first_at is not None:
            # Any byte shows that the server is alive: some send comments while a model thinks.
            self._set_deadline("idle", now + self._limits.idle)
            self.is_stalled, self.heard_at, self.look_at = False, now, now + self._quiet

    # -- the end

    def settle(self, failure: Failure | None, answer: Answer | None) -> Settled:
        self.phase = "store"
        self.is_stalled, self.look_at = False, math.inf
        ended = self._loop.time()
        ttft = self.first_at - self.started if self.first_at is not None else None
        tokens = (answer.tokens_out if answer else None) or self.tokens
        connect = self.sent_at - self.started if self.sent_at is not None else None
        itl = None
        if self.first_at is not None and self.last_at is not None and tokens > 1 and self.last_at > self.first_at:
            itl = (self.last_at - self.first_at) / (tokens - 1)
        return Settled(
            order=self.order,
            timings=Timings(
                started_at=self.started_at, seconds=ended - self.started, ttft=ttft, itl=itl, connect=connect
            ),
            status=self.status,
            headers=self.headers,
            raw=bytes(self.raw),
            raw_cut=self.received > RAW_LIMIT,
            answer=answer,
            failure=failure,
            sends=self.sends,
            stalled=self.has_stalled,
        )

    def partial(self) -> Answer | None:
        return self._decoder.partial() if self._decoder is not None else None

    def finish(self) -> Answer:
        if self._decoder is None:
            raise DecodeError("garbage", "the response has no status")
        return self._decoder.finish()

    def broken(self, failure: Failure) -> Settled:
        """The request broke off. An answer that was whole by then is an answer: it is paid for."""
        try:
            return self.settle(None, self.finish())
        except DecodeError:
            return self.settle(failure, self.partial())

    def aborted(self) -> Failure:
        kind = self.abort or "cancelled"
        if kind == "cancelled":
            return Failure(
                outcome="cancelled", error_type="cancelled", message="cancelled before the answer was complete"
            )
        if kind == HEDGED:
            return BEATEN
        if kind == "end":
            return Failure(outcome="transient", error_type="truncated", message="the answer did not end")
        error_type, message = TIMEOUTS[kind]
        return Failure(outcome="transient", error_type=error_type, message=message.format(getattr(self._limits, kind)))


async def fly(
    flight: Flight, transport: Transport, url: str, headers: tuple[tuple[str, str], ...], provider: Provider, wall: Wall
) -> Settled:
    """Carry one request out. Always returns; only a cancellation that is not the engine's own passes through."""
    if flight.abort is not None:
        return flight.settle(flight.aborted(), None)
    task = asyncio.current_task()
    assert task is not None
    flight.task = task
    request = Request(url=url, headers=headers, body=flight.order.body)
    try:
        await transport.send(request, flight)
        if flight.status is not None and 200 <= flight.status < 300:
            return flight.settle(None, flight.finish())
        failure = provider.failure(flight.status or 0, flight.headers, bytes(flight.raw), wall())
        return flight.settle(failure, None)
    except asyncio.CancelledError:
        if flight.abort is None:
            raise
        task.uncancel()
        return flight.broken(flight.aborted())
    except ErrorInAnswer as error:
        return flight.settle(error.failure, flight.partial())
    except TransportError as error:
        failure = Failure(outcome="transient", error_type=error.kind, message=str(error))
        if error.kind == "connect_timeout":
            failure = msgspec.structs.replace(failure, error_type="timeout_connect")
        return flight.broken(failure)
    except DecodeError as error:
        outcome: Literal["permanent", "transient"] = "permanent" if error.kind == "too_large" else "transient"
        failure = Failure(outcome=outcome, error_type=error.kind, message=str(error))
        return flight.settle(failure, flight.partial())
    finally:
        flight.task = None
