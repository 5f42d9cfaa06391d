"""The chat completions protocol as it stands on the wire: the fields that are read, and how to read them loosely."""

from __future__ import annotations

import json
from typing import Any

import msgspec

UNPARSED = (msgspec.MsgspecError, ValueError, RecursionError)
"""What a JSON parser raises for bytes that it cannot read."""


class Delta(msgspec.Struct, gc=False):
    """A ``delta`` of a stream, or the ``message`` of a whole answer. Fields are checked when used: servers differ."""

    content: Any = None
    refusal: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    tool_calls: Any = None


class Choice(msgspec.Struct, gc=False):
    index: Any = None
    delta: Delta | None = None
    message: Delta | None = None
    text: Any = None
    """Of the older ``/completions``."""
    finish_reason: Any = None
    error: Any = None


class Chunk(msgspec.Struct, gc=False):
    choices: list[Choice] | None = None
    model: Any = None
    usage: Any = None
    x_groq: Any = None
    error: Any = None
    object: Any = None


decode = msgspec.json.Decoder(Chunk).decode


def decode_loosely(payload: bytes) -> Chunk | None:
    """What the typed decoder refuses and still can be read: bad UTF-8, lone surrogates, NaN, fields of other shapes."""
    try:
        found = without_surrogates(json.loads(payload.decode("utf-8", "replace")))
    except UNPARSED:
        return None
    if isinstance(found, list) and found:
        found = found[0]
    if not isinstance(found, dict):
        return None
    choices = [loose for loose in map(_loose_choice, _list(found.get("choices"))) if loose is not None]
    rest = {name: found.get(name) for name in ("model", "usage", "x_groq", "error", "object")}
    return Chunk(choices=choices, **rest)


def _loose_choice(choice: Any) -> Choice | None:
    if not isinstance(choice, dict):
        return None
    deltas = {
        name: Delta(**{part: choice[name].get(part) for part in Delta.__struct_fields__})
        for name in ("delta", "message")
        if isinstance(choice.get(name), dict)
    }
    rest = {name: choice.get(name) for name in ("index", "text", "finish_reason", "error")}
    return Choice(**deltas, **rest)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def without_surrogates(value: Any) -> Any:
    """Lone surrogates as U+FFFD: they can be written neither to a database nor to a terminal."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, list):
        return [without_surrogates(entry) for entry in value]
    if isinstance(value, dict):
        return {name: without_surrogates(entry) for name, entry in value.items()}
    return value


def text_of_parts(content: Any) -> str:
    """Content as a list of parts (Mistral's thinking models): the text among them; anything else is no text."""
    if isinstance(content, str):
        return content
    texts = [
        part if isinstance(part, str) else part.get("text") for part in _list(content) if isinstance(part, str | dict)
    ]
    return "".join(text for text in texts if isinstance(text, str))


def read_usage(usage: dict[str, Any], total_holds_reasoning: bool = False) -> tuple[int | None, int | None, int | None]:
    """Tokens in, out and cached, as the server counted them. OpenAI's ``prompt_tokens`` include the cached ones."""
    tokens_in = _count(usage.get("prompt_tokens", usage.get("input_tokens")))
    tokens_out = _count(usage.get("completion_tokens", usage.get("output_tokens")))
    details = usage.get("prompt_tokens_details")
    cached = _count(details.get("cached_tokens")) if isinstance(details, dict) else None
    if cached is None:
        cached = _count(usage.get("prompt_cache_hit_tokens"))
    total = _count(usage.get("total_tokens"))
    if total_holds_reasoning and None not in (total, tokens_in, tokens_out):
        tokens_out = max(tokens_out or 0, (total or 0) - (tokens_in or 0))
    return tokens_in, tokens_out, cached


def _count(value: Any) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else None
