"""Reads an answer of the chat completions protocol, streamed or not, as tolerantly as the servers in the field ask for.

What differs between servers, and is read all the same: usage on the finish chunk or on one of its own or on every one;
JSON where a stream was asked for, and the reverse; content as a list of parts; an error in the middle of a 200 stream;
no ``[DONE]``. Of several choices only the first is read.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from batchdeck.errors import DecodeError
from batchdeck.model import Answer
from batchdeck.providers.failures import ErrorInAnswer, clean, failure_inside
from batchdeck.providers.redact import LiveText, Redaction
from batchdeck.providers.sse import Lines, field
from batchdeck.providers.wire import UNPARSED, Choice, Chunk, decode, decode_loosely, read_usage, text_of_parts

BOM = b"\xef\xbb\xbf"
NOTHING = Redaction()
MAX_JOINED = 64
"""``data:`` lines that one event may be spread over."""


class ChatDecoder:
    """A ``providers.base.Decoder``. Whether the body is JSON or events is seen from its first byte."""

    def __init__(self, *, redact: Redaction = NOTHING, total_holds_reasoning: bool = False) -> None:
        """redact: what must stand neither in an error nor in the text that ``feed`` returns.

        total_holds_reasoning: see ``presets.Preset``.
        """
        self.tokens = 0
        self._redact = redact
        self._live = LiveText(redact)
        self._total_holds_reasoning = total_holds_reasoning
        self._start: bytes | None = b""
        """What came before the form was known, None from then on."""
        self._json: list[bytes] | None = None
        self._beginning = b""
        self._lines = Lines()
        self._joined: list[bytes] = []
        self._error_event = False
        self._events = 0
        self._done = False
        self._text: list[str] = []
        self._refusal: list[str] = []
        self._calls: dict[int, dict[str, Any]] = {}
        self._finish_reason: str | None = None
        self._model: str | None = None
        self._usage: dict[str, Any] = {}

    @property
    def is_complete(self) -> bool:
        return self._done

    def feed(self, chunk: bytes) -> str:
        if self._start is not None:
            chunk = self._sniff(chunk)
        if self._json is not None:
            self._json.append(chunk)
            return ""
        text = ""
        for line in self._lines.feed(chunk):
            if line:
                text += self._data(line[5:].strip()) if line.startswith(b"data:") else self._other(line)
            elif self._joined or self._error_event:
                self._end_event()
        shown = self._live.feed(text)
        return shown + self._live.flush() if self._done else shown

    def finish(self) -> Answer:
        if self._json is not None:
            self._whole(b"".join(self._json))
            return self.partial()
        if last := self._lines.finish():
            self.feed(last + b"\n")
        if not self._done and self._finish_reason is None:
            if self._beginning and not self._events and not self._joined:
                raise DecodeError("garbage", f"neither JSON nor an event stream: {self._quote(self._beginning)}")
            raise DecodeError("truncated", "the stream ended before the answer was complete")
        if not self._events:
            raise DecodeError("truncated", "the stream held no answer")
        if not self.tokens and self._finish_reason is None:
            raise DecodeError("garbage", f"the stream holds no choices with an answer: {self._quote(self._beginning)}")
        return self.partial()

    def partial(self) -> Answer:
        text = "".join(self._text) or "".join(self._refusal)
        if not text and self._calls:
            text = msgspec.json.encode([self._calls[index] for index in sorted(self._calls)]).decode()
        tokens_in, tokens_out, cached = read_usage(self._usage, self._total_holds_reasoning)
        return Answer(
            text=self._redact.text(text),
            finish_reason=self._finish_reason,
            model=self._model,
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            tokens_cached=cached,
        )

    def _sniff(self, chunk: bytes) -> bytes:
        """Decide between JSON and events; returns the bytes to go on with."""
        start = (self._start or b"") + chunk
        if BOM.startswith(start[:3]) and len(start) < 3:
            self._start = start
            return b""
        start = start.removeprefix(BOM).lstrip()
        if not start:
            self._start = b""
            return b""
        self._start = None
        self._beginning = start[: 300 + 4 * self._redact.longest]
        if start[:1] in b"{[":
            self._json = []
        return start

    def _other(self, line: bytes) -> str:
        """A line that is not ``data:``: comments and unknown fields say nothing, errors come in several forms."""
        if line.startswith(b"{") and b'"error"' in line:
            return self._data(line)
        name, value = field(line)
        if name == b"event":
            self._error_event = value == b"error"
        elif name == b"error":
            # llama.cpp's form of an error in mid-stream
            self._error_event = True
            return self._data(value)
        return ""

    def _end_event(self) -> None:
        self._error_event = False
        if self._joined:
            raise self._garbage(b"\n".join(self._joined))

    def _data(self, payload: bytes) -> str:
        if self._done or not payload:
            return ""
        if payload == b"[DONE]":
            self._done = True
            return ""
        if self._joined:
            self._joined.append(payload)
            payload = b"\n".join(self._joined)
        if self._error_event:
            self._raise_error(payload)
        try:
            chunk = decode(payload)
        except UNPARSED:
            loose = decode_loosely(payload)
            if loose is None:
                return self._join(payload)
            chunk = loose
        self._joined.clear()
        self._events += 1
        return self._take(chunk, payload)

    def _join(self, payload: bytes) -> str:
        """An event may be spread over several ``data:`` lines: wait for the rest, up to the blank line."""
        if not self._joined:
            self._joined.append(payload)
        if len(self._joined) > MAX_JOINED:
            raise self._garbage(payload)
        return ""

    def _whole(self, body: bytes) -> None:
        try:
            chunk = decode(body)
        except UNPARSED as error:
            loose = decode_loosely(body)
            if loose is None:
                if "truncated" in str(error):
                    raise DecodeError("truncated", "the JSON ended before the answer was complete") from error
                raise self._garbage(body) from error
            chunk = loose
        self._take(chunk, body)
        if not any(
            choice.delta or choice.message or choice.text or choice.finish_reason for choice in chunk.choices or ()
        ):
            raise DecodeError("garbage", f"the answer holds no choices: {self._quote(body)}")

    def _take(self, chunk: Chunk, payload: bytes) -> str:
        if chunk.error or chunk.object == "error":
            self._raise_error(payload)
        if chunk.model.__class__ is str:
            self._model = chunk.model or self._model
        if chunk.usage is not None or chunk.x_groq is not None:
            self._count(chunk)
        text = ""
        for choice in chunk.choices or ():
            if choice.index in (0, None):
                text += self._choice(choice)
        return text

    def _count(self, chunk: Chunk) -> None:
        usage = chunk.usage
        if usage is None and isinstance(chunk.x_groq, dict):
            usage = chunk.x_groq.get("usage")
        if isinstance(usage, dict):
            self._usage = usage

    def _choice(self, choice: Choice) -> str:
        if choice.error:
            raise ErrorInAnswer(failure_inside(choice.error, self._redact.hidden))
        if choice.finish_reason is not None:
            self._finish_reason = str(choice.finish_reason) or None
        delta = choice.delta or choice.message
        if delta is None:
            return self._add(self._text, choice.text)
        if delta.reasoning_content or delta.reasoning:
            self.tokens += 1
        if isinstance(delta.tool_calls, list) and delta.tool_calls:
            self.tokens += 1
            self._call(delta.tool_calls)
        if delta.refusal:
            return self._add(self._text, delta.content) + self._add(self._refusal, delta.refusal)
        return self._add(self._text, delta.content)

    def _add(self, pieces: list[str], content: Any) -> str:
        if content.__class__ is not str:
            content = text_of_parts(content)
        piece: str = content
        if piece:
            self.tokens += 1
            pieces.append(piece)
        return piece

    def _call(self, calls: list[Any]) -> None:
        """Put the pieces of tool calls together; a stream tells by ``index`` where each belongs."""
        for place, call in enumerate(calls):
            if not isinstance(call, dict):
                continue
            index = call["index"] if isinstance(call.get("index"), int) else place
            empty = {"id": None, "type": "function", "function": {"name": "", "arguments": ""}}
            whole = self._calls.setdefault(index, empty)
            function = call.get("function")
            if isinstance(call.get("id"), str) and call["id"]:
                whole["id"] = call["id"]
            if isinstance(function, dict):
                for name in ("name", "arguments"):
                    piece = function.get(name)
                    if piece is not None:
                        whole["function"][name] += piece if isinstance(piece, str) else json.dumps(piece)

    def _raise_error(self, payload: bytes) -> None:
        try:
            found = json.loads(payload)
        except UNPARSED:
            found = payload.decode("utf-8", "replace")
        if isinstance(found, list) and found:
            found = found[0]
        if isinstance(found, dict) and found.get("error"):
            found = found["error"]
        raise ErrorInAnswer(failure_inside(found, self._redact.hidden))

    def _garbage(self, payload: bytes) -> DecodeError:
        return DecodeError("garbage", f"the answer does not parse: {self._quote(payload)}")

    def _quote(self, payload: bytes) -> str:
        # no secret may be cut before it was looked for
        start = payload[: 300 + 4 * self._redact.longest].decode("utf-8", "replace")
        return clean(start, self._redact.hidden)[:120]
