"""What a simulated provider says when it does not answer, in OpenAI's words and shapes."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from batchdeck.model import Meter


class Refusal(msgspec.Struct, frozen=True):
    """An error body as OpenAI sends it."""

    message: str
    type: str
    code: str | None = None
    param: str | None = None


FAULTY: dict[str, tuple[int, Refusal]] = {
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
"""Status and body of the faults that are told."""

_METERS: dict[Meter, tuple[str, str]] = {
    "requests": ("requests per min", "RPM"),
    "tokens": ("tokens per min", "TPM"),
    "input_tokens": ("input tokens per min", "ITPM"),
    "output_tokens": ("output tokens per min", "OTPM"),
    "requests_day": ("requests per day", "RPD"),
    "tokens_day": ("tokens per day", "TPD"),
}


def too_many(meter: Meter, limit: float, ms: int | None) -> Refusal:
    """The quota is used up. ms: after how many to try again, None to keep it to oneself."""
    again = "" if ms is None else f" Try again in {ms / 1000:g}s."
    return _over(meter, f"Rate limit reached for {_METERS[meter][0]} (simulated). Limit: {limit:g}.{again}")


def too_large(meter: Meter, limit: float, amount: float) -> Refusal:
    """One request is more than the whole quota: no waiting helps."""
    name, short = _METERS[meter]
    return _over(
        meter,
        f"Request too large for sim on {name} ({short}): Limit {math.floor(limit)}, Requested {math.ceil(amount)}."
        " The input or output tokens must be reduced in order to run successfully (simulated).",
    )


def too_busy(slots: int, backlog: int, ms: int | None) -> Refusal:
    """All slots are taken and no more may wait for one. ms: as for ``too_many``."""
    waiting = f", {backlog} waiting" if backlog else ""
    again = "" if ms is None else f" Try again in {ms / 1000:g}s."
    message = f"Too many requests at once (simulated). Limit: {slots} running{waiting}.{again}"
    return Refusal(message, "requests", "rate_limit_exceeded")


def _over(meter: Meter, message: str) -> Refusal:
    return Refusal(message, "requests" if meter.startswith("requests") else "tokens", "rate_limit_exceeded")


def complaint(body: Any) -> Refusal | None:
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
