"""What an error answer means, in the words of ``model.Failure``: try again, wait, give the item up, or stop the run.

The shapes read here are those that servers of the OpenAI protocol really send: ``{"error": {…}}``, ``{"error": "…"}``,
``{"message": …}``, ``{"detail": …}`` (FastAPI), each also inside a list (Gemini), HTML pages of proxies, nothing.
"""

from __future__ import annotations

import json
import re
from typing import Any

from batchdeck.errors import DecodeError
from batchdeck.inert import inert
from batchdeck.model import AttemptOutcome, Failure
from batchdeck.retry.after import parse_retry_after, retry_delay_inside

LONGEST_MESSAGE = 500
SHORTEST_SECRET = 4
"""Shorter values are not redacted: they would also strike out innocent text."""

_BILLING = frozenset(
    (
        "insufficient_quota",
        "billing_hard_limit_reached",
        "billing_not_active",
        "insufficient_balance",
        "payment_required",
    )
)
_REFUSED_KEY = frozenset(("invalid_api_key", "api_key_invalid", "authentication_error", "invalid_authentication"))
_RATE = frozenset(
    ("rate_limit_exceeded", "rate_limit_error", "rate_limited", "too_many_requests", "resource_exhausted")
)
_REQUEST = frozenset(
    (
        "invalid_request_error",
        "context_length_exceeded",
        "content_filter",
        "invalid_argument",
        "exceed_context_size_error",
    )
)
# Gemini and xAI answer a refused key with 400; anchored, because a message may quote the prompt further on.
_BAD_KEY_TEXT = re.compile(r"(incorrect|invalid) api key|api key (not valid|expired)", re.IGNORECASE)
# OpenAI and Groq, 429 or 413. From the first word to the last number: a prompt quoted in a message begins later.
_TOO_LARGE = re.compile(
    r"Request too large for .{1,300} on [a-z ]{1,60} \([A-Z]{2,6}\): Limit ([0-9]{1,15}), Requested ([0-9]{1,15})\b"
)
_TRANSIENT = (408, 409, 425, 498)
"""498 is Groq's word for a full flex tier."""


class ErrorInAnswer(DecodeError):
    """An error object inside a 200 answer, with what it means."""

    def __init__(self, failure: Failure) -> None:
        super().__init__("provider_error", failure.message)
        self.failure = failure


def failure(
    status: int, headers: tuple[tuple[str, str], ...], body: bytes, now_at: float, redact: tuple[str, ...] = ()
) -> Failure:
    """The meaning of a non-2xx answer. redact: values that must not stand in the message."""
    error = _error_object(body)
    message = clean(_message(error) or _describe(status, headers, body), redact)
    if 300 <= status < 400:
        message = clean(_redirect(status, headers), redact)
    outcome, error_type = _classify(status, error, message)
    retry_after = parse_retry_after(headers, now_at) if outcome in ("rate_limited", "transient") else None
    if retry_after is None and outcome == "rate_limited":
        retry_after = retry_delay_inside(body)
    return Failure(outcome=outcome, error_type=error_type, message=message, retry_after=retry_after)


def failure_inside(error: Any, redact: tuple[str, ...] = ()) -> Failure:
    """The meaning of an error object that came inside a 200 answer, where only its own code can tell its class."""
    message = clean(_message(error) or "the provider reported an error without a message", redact)
    status = _status_inside(error)
    if status is not None:
        outcome, error_type = _classify(status, error, message)
        return Failure(outcome=outcome, error_type=error_type, message=message)
    names = _names(error)
    if names & _BILLING:
        return Failure(outcome="fatal", error_type="quota_exhausted", message=message)
    if _is_too_large(names, message):
        return Failure(outcome="permanent", error_type="request_too_large", message=message)
    if names & _RATE:
        return Failure(outcome="rate_limited", error_type="rate_limited", message=message)
    outcome = "permanent" if names & _REQUEST else "transient"
    return Failure(outcome=outcome, error_type="provider_error", message=message)


def clean(message: str, redact: tuple[str, ...] = ()) -> str:
    """One harmless line of at most ``LONGEST_MESSAGE`` characters, without the values of ``redact``."""
    for secret in redact:
        if len(secret) >= SHORTEST_SECRET:
            message = message.replace(secret, "[redacted]")
    line = inert(" ".join(message.split()))
    return line if len(line) <= LONGEST_MESSAGE else line[: LONGEST_MESSAGE - 1] + "…"


def _classify(status: int, error: Any, message: str) -> tuple[AttemptOutcome, str]:
    names = _names(error)
    if status == 402 or (400 <= status < 500 and names & _BILLING):
        return "fatal", "quota_exhausted"
    if status == 403 and _is_about_content(error, names):
        return "permanent", "http_403"
    if status in (401, 403) or (status == 400 and (names & _REFUSED_KEY or _BAD_KEY_TEXT.match(message))):
        return "fatal", "auth"
    if status in (413, 429) and _is_too_large(names, message):
        return "permanent", "request_too_large"
    if status == 429:
        return "rate_limited", "rate_limited"
    if status in _TRANSIENT or 500 <= status < 600:
        return "transient", f"http_{status}"
    return "permanent", f"http_{status}"


def _is_too_large(names: set[str], message: str) -> bool:
    """One request alone is more than the limit lets through in its whole window, so that no waiting helps."""
    said = _TOO_LARGE.match(message) if names & _RATE else None
    return said is not None and int(said[2]) > int(said[1])


def _is_about_content(error: Any, names: set[str]) -> bool:
    """A 403 that speaks of one input (OpenRouter's moderation), not of the key."""
    about = error.get("metadata") if isinstance(error, dict) else None
    flagged = isinstance(about, dict) and ("flagged_input" in about or "reasons" in about)
    return flagged or any("moderation" in name or "content_policy" in name for name in names)


def _error_object(body: bytes) -> Any:
    """The object or string that describes the error, None when the body is not JSON of a known shape."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if isinstance(parsed, list) and parsed:
        parsed = parsed[0]
    if not isinstance(parsed, dict):
        return parsed if isinstance(parsed, str) else None
    inner = parsed.get("error")
    if isinstance(inner, str):
        # xAI and some proxies: the message as "error", its class beside it
        return {"message": inner, "code": parsed.get("code"), "type": parsed.get("type")}
    return inner if isinstance(inner, dict) else parsed


def _message(error: Any) -> str:
    if isinstance(error, str):
        return error
    if not isinstance(error, dict):
        return ""
    for name in ("message", "detail", "error", "title"):
        value = error.get(name)
        if isinstance(value, str) and value.strip():
            return _with_upstream(value, error)
        if isinstance(value, dict | list) and value:
            return _details(value)
    return ""


def _with_upstream(message: str, error: dict[str, Any]) -> str:
    """OpenRouter says "Provider returned error" and puts what the provider said into ``metadata.raw``."""
    about = error.get("metadata")
    raw = about.get("raw") if isinstance(about, dict) else None
    return f"{message}: {raw}" if isinstance(raw, str) and raw and raw not in message else message


def _details(value: Any) -> str:
    """FastAPI's list of what is wrong with which field."""
    entries = value if isinstance(value, list) else [value]
    said = []
    for entry in entries[:5]:
        if isinstance(entry, dict) and isinstance(entry.get("msg"), str):
            where = entry.get("loc")
            path = ".".join(map(str, where)) if isinstance(where, list) else ""
            said.append(f"{path}: {entry['msg']}" if path else entry["msg"])
        else:
            said.append(entry if isinstance(entry, str) else json.dumps(entry)[:200])
    return "; ".join(said)


def _names(error: Any) -> set[str]:
    if not isinstance(error, dict):
        return set()
    values = (error.get("code"), error.get("type"), error.get("status"))
    return {value.lower() for value in values if isinstance(value, str)}


def _status_inside(error: Any) -> int | None:
    """``code`` as an HTTP status: an int with llama.cpp and OpenRouter, a string elsewhere."""
    if not isinstance(error, dict):
        return None
    for value in (error.get("code"), error.get("status")):
        number = (
            int(value) if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) == 3 else value
        )
        if isinstance(number, int) and not isinstance(number, bool) and 400 <= number < 600:
            return number
    return None


def _describe(status: int, headers: tuple[tuple[str, str], ...], body: bytes) -> str:
    hint = "; is the base URL right? It usually ends in /v1" if status in (404, 405) else ""
    start = body.lstrip()[:1]
    if not start:
        return f"HTTP {status} with an empty body{hint}"
    kind = next((value for name, value in headers if name == "content-type"), "")
    if start == b"<" or "html" in kind:
        title = re.search(rb"<title[^>]*>([^<]{1,200})", body, re.IGNORECASE)
        page = f" titled '{title[1].decode('utf-8', 'replace').strip()}'" if title else ""
        return f"HTTP {status} with an HTML page{page} instead of an answer{hint}"
    return f"HTTP {status}: {body[: 4 * LONGEST_MESSAGE].decode('utf-8', 'replace')}{hint}"


def _redirect(status: int, headers: tuple[tuple[str, str], ...]) -> str:
    target = next((value for name, value in headers if name == "location"), "")
    where = f" to {target}" if target else ""
    return f"HTTP {status}: the server redirects{where}; redirects are not followed, mend the base URL"
