"""A plan as the bytes of an OpenAI chat completion, each with the time at which it is due.

Protocol: https://platform.openai.com/docs/api-reference/chat and .../chat-streaming. Shared by the server and the
in-process transport, so that both say the same. ``created`` is a constant: a simulation has no date.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from batchdeck.sim.headers import Headers
from batchdeck.sim.model import MODELS, Plan
from batchdeck.sim.refusals import Refusal
from batchdeck.sim.service import Busy

CREATED = 1_767_225_600
"""2026-01-01, the date of everything simulated."""
HELD_AFTER = 8
"""Tokens that a held stream sends before it waits."""
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_DONE = b"data: [DONE]\n\n"
_GARBAGE_EVENT = b'data: {"id": "chatcmpl-sim", "choices": [{"index": 0, "delta": {"content": \n\n'
_GARBAGE_BODY = b"<html><head><title>502 Bad Gateway</title></head><body>not JSON (simulated)</body></html>"

Ending = Literal["complete", "close", "reset", "silence"]
"""``close``: the connection closes before the promised length. ``silence``: nothing more until the client goes."""
_ENDINGS: dict[str, Ending] = {"reset": "reset", "truncate": "close", "stall": "silence"}


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """A response to play: ``chunks[i]`` is due ``at[i]`` seconds after the request's arrival, then ``ending``.

    ``length``: the Content-Length to promise, None for a chunked stream. A script without chunks sends not even a head.
    ``hold``: before which chunk to wait when answers are held, None for what is never held.
    """

    status: int
    headers: Headers
    at: tuple[float, ...]
    chunks: tuple[bytes, ...]
    ending: Ending = "complete"
    length: int | None = None
    hold: int | None = None


def script(plan: Plan) -> Script:
    """How a plan goes over the wire."""
    if plan.fault == "hang":
        return Script(status=plan.status, headers=(), at=(), chunks=(), ending="silence")
    if plan.refusal is not None:
        return _whole(plan, error_body(plan.refusal))
    return _streamed(plan) if plan.stream else _unstreamed(plan)


def error_body(refusal: Refusal) -> bytes:
    return msgspec.json.encode({"error": refusal})


def models_body() -> bytes:
    """The answer to ``GET /v1/models``."""
    return msgspec.json.encode({"object": "list", "data": [_model(name) for name in MODELS]})


def model_body(name: str) -> bytes:
    """The answer to ``GET /v1/models/NAME``."""
    return msgspec.json.encode(_model(name))


def metrics_body(busy: Busy, slots: int) -> bytes:
    """How busy a server with slots is, as vLLM tells it at ``GET /metrics``; each slot has its share of the cache."""
    told = (
        ("num_requests_running", "Number of requests in model execution batches.", busy.running),
        ("num_requests_waiting", "Number of requests waiting to be processed.", busy.waiting),
        ("kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.", min(1.0, busy.running / slots)),
    )
    lines = [
        f"# HELP vllm:{name} {does}\n# TYPE vllm:{name} gauge\n"
        f'vllm:{name}{{engine="0",model_name="{MODELS[0]}"}} {float(value)}\n'
        for name, does, value in told
    ]
    return "".join(lines).encode()


def usage(plan: Plan) -> dict[str, int]:
    return {
        "prompt_tokens": plan.tokens_in,
        "completion_tokens": plan.tokens_out,
        "total_tokens": plan.tokens_in + plan.tokens_out,
    }


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "batchdeck"}


def _headers(plan: Plan, content_type: str) -> Headers:
    return (("content-type", content_type), ("x-request-id", plan.id), *plan.headers)


def _whole(plan: Plan, body: bytes) -> Script:
    """A JSON body in one piece, at the time when the plan is over."""
    headers = _headers(plan, "application/json")
    return Script(status=plan.status, headers=headers, at=(plan.seconds,), chunks=(body,), length=len(body))


def _unstreamed(plan: Plan) -> Script:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": plan.text, "refusal": None},
        "logprobs": None,
        "finish_reason": plan.finish_reason,
    }
    body = msgspec.json.encode(
        {
            "id": plan.id,
            "object": "chat.completion",
            "created": CREATED,
            "model": plan.model,
            "choices": [choice],
            "usage": usage(plan),
            "system_fingerprint": "fp_simulated",
        }
    )
    if plan.fault == "garbage":
        return _whole(plan, _GARBAGE_BODY)
    whole = _whole(plan, body)
    if plan.fault is None:
        return msgspec.structs.replace(whole, hold=0)
    return msgspec.structs.replace(whole, chunks=(body[: len(body) // 2],), ending=_ENDINGS[plan.fault])


def _streamed(plan: Plan) -> Script:
    """One event a token, then the finish reason, the usage where it was asked for, and the end mark."""
    event = _Events(plan)
    encode = msgspec.json.encode
    chunks = [event.delta(b'{"content":' + encode(piece) + b"}") for piece in plan.pieces]
    chunks[0] = event.delta(b'{"role":"assistant","content":""}') + chunks[0]
    end = event.delta(b"{}", encode(plan.finish_reason))
    if plan.include_usage:
        end += event.usage(encode(usage(plan)))
    chunks.append(end + _DONE)
    at = (*plan.times, plan.seconds)
    headers = _headers(plan, "text/event-stream; charset=utf-8")
    ending: Ending = "complete"
    half = max(1, len(plan.pieces) // 2)
    if plan.fault == "garbage":
        chunks[half] = _GARBAGE_EVENT
    elif plan.fault is not None:
        at, chunks = at[:half], chunks[:half]
        ending = "complete" if plan.fault == "truncate" else _ENDINGS[plan.fault]
    hold = min(HELD_AFTER, len(chunks) - 1)
    return Script(status=plan.status, headers=headers, at=at, chunks=tuple(chunks), ending=ending, hold=hold)


class _Events:
    """Server-sent events of one answer; what is the same in all of them is encoded once."""

    def __init__(self, plan: Plan) -> None:
        encode = msgspec.json.encode
        self._head = (
            b'data: {"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b,'
            b'"system_fingerprint":"fp_simulated","choices":['
        ) % (encode(plan.id), CREATED, encode(plan.model))
        self._tail = b'],"usage":null}\n\n' if plan.include_usage else b"]}\n\n"

    def delta(self, delta: bytes, finish_reason: bytes = b"null") -> bytes:
        choice = b'{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}' % (delta, finish_reason)
        return self._head + choice + self._tail

    def usage(self, usage: bytes) -> bytes:
        return self._head + b'],"usage":%b}\n\n' % usage
