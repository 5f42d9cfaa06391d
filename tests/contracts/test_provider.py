"""What every provider keeps, whichever protocol it speaks. A further one joins by adding itself to ``CASES``."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchdeck.errors import DecodeError, UsageError
from batchdeck.model import Answer, Rendered, RunConfig
from batchdeck.providers.base import Decoder, Provider
from batchdeck.providers.openai import OpenAIChat
from batchdeck.providers.presets import PRESETS

KEY = "sk-canary-0123456789"
PIECES = ("Grüße", " aus ", "Köln", " 🚀", "!", "\n", '"q"', " \\ end")
TEXT = "".join(PIECES)
TOKENS = (31, 8)
NOW = 1_800_000_000.0


@dataclass(frozen=True)
class Case:
    """A provider, and its protocol as a server speaks it."""

    name: str
    make: Callable[[tuple[str, ...]], Provider]
    streamed: Callable[[], bytes]
    """A whole stream of ``PIECES``, with ``TOKENS`` in and out."""
    whole: Callable[[], bytes]
    broken_off: Callable[[], bytes]
    """A stream that ends, at an end of line, after the first two pieces."""
    error: Callable[[str, str], bytes]
    """message, code → the body of a non-2xx answer."""
    error_in_stream: Callable[[str], bytes]
    """A stream of the first piece, then an error with this message."""


def _event(delta: dict[str, Any] | None, finish: str | None = None, **more: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
    chunk = {"id": "c-1", "object": "chat.completion.chunk", "model": "m-2026", "choices": choices, **more}
    return b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n"


def _usage() -> dict[str, Any]:
    return {"prompt_tokens": TOKENS[0], "completion_tokens": TOKENS[1], "total_tokens": sum(TOKENS)}


def _chat_streamed() -> bytes:
    pieces = [_event({"content": piece}) for piece in PIECES]
    end = [_event({}, "stop"), _event(None, usage=_usage()), b"data: [DONE]\n\n"]
    return b"".join([_event({"role": "assistant", "content": ""}), *pieces, *end])


def _chat_whole() -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}
    return json.dumps({"object": "chat.completion", "model": "m-2026", "choices": [choice], "usage": _usage()}).encode()


def _chat_error(message: str, code: str) -> bytes:
    return json.dumps({"error": {"message": message, "type": "error", "code": code}}).encode()


def _chat_error_in_stream(message: str) -> bytes:
    return _event({"content": PIECES[0]}) + b"data: " + _chat_error(message, "server_error") + b"\n\n"


CASES = [
    Case(
        name=name,
        make=lambda redact, quirks=quirks: OpenAIChat(quirks, redact=redact, environ={}),  # type: ignore[misc]
        streamed=_chat_streamed,
        whole=_chat_whole,
        broken_off=lambda: _event({"content": PIECES[0]}) + _event({"content": PIECES[1]}),
        error=_chat_error,
        error_in_stream=_chat_error_in_stream,
    )
    for name, quirks in PRESETS.items()
]


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


@pytest.fixture
def provider(case: Case) -> Provider:
    return case.make((KEY,))


def config(**changed: Any) -> RunConfig:
    settings = {"name": "r", "input": "-", "input_format": "jsonl", "model": "m", "provider": "custom", **changed}
    return RunConfig(**settings)


def read(decoder: Decoder, body: bytes, cuts: list[int] | None = None) -> tuple[str, Answer]:
    """The live text and the answer, with the body cut at these places."""
    places = sorted({0, *(cut % (len(body) + 1) for cut in cuts or ()), len(body)})
    live = "".join(decoder.feed(body[start:end]) for start, end in pairwise(places))
    return live, decoder.finish()


# -- what is said


@pytest.mark.parametrize("stream", [True, False])
def test_a_request_carries_what_the_run_asks_for(provider: Provider, stream: bool) -> None:
    rendered = Rendered(messages=[{"role": "user", "content": "Grüße?"}])
    settings = config(model="m-1", max_tokens=77, params={"temperature": 0.5, "seed": 3}, stream=stream)
    body = json.loads(provider.body(rendered, settings))
    assert "Grüße?" in json.dumps(body, ensure_ascii=False)
    assert body["model"] == "m-1"
    assert [value for name, value in body.items() if "max" in name] == [77]
    assert (body["temperature"], body["seed"]) == (0.5, 3)
    assert body.get("stream", False) is stream
    assert provider.path(rendered).startswith("/")


def test_the_key_travels_in_a_header_and_the_users_headers_win(provider: Provider) -> None:
    settings = config(headers={"X-Team": "nlp", "User-Agent": "mine"})
    headers = provider.headers(settings, KEY, {"X-Secret": "s3cret"})
    assert any(KEY in value for _, value in headers)
    as_sent = dict(headers)
    assert len(as_sent) == len(headers), "no header is sent twice"
    assert (as_sent["x-team"], as_sent["x-secret"], as_sent["user-agent"]) == ("nlp", "s3cret", "mine")
    assert as_sent["content-type"] == "application/json"


@pytest.mark.parametrize("bad", ["two\nlines", "carriage\rreturn", "nul\0", "snow ☃"])
def test_a_header_cannot_carry_another_request(provider: Provider, bad: str) -> None:
    for secrets, key in (({"x-a": f"value-{bad}"}, None), ({}, f"key-{bad}")):
        with pytest.raises(UsageError) as refused:
            provider.headers(config(), key, secrets)
        assert bad not in str(refused.value), "the value may be a secret"


# -- what is read


def test_a_stream_gives_text_live_and_an_answer(case: Case, provider: Provider) -> None:
    decoder = provider.decoder("text/event-stream", True)
    live, answer = read(decoder, case.streamed())
    assert live == answer.text == TEXT
    assert decoder.tokens == len(PIECES)
    assert (answer.tokens_in, answer.tokens_out) == TOKENS
    assert (answer.finish_reason, answer.model) == ("stop", "m-2026")


@given(cuts=st.lists(st.integers(0, 10_000), max_size=30))
@pytest.mark.parametrize("case", CASES[:1] + CASES[-1:], ids=lambda case: case.name)
@pytest.mark.parametrize("form", ["streamed", "whole"])
def test_where_the_network_cuts_a_body_makes_no_difference(case: Case, form: str, cuts: list[int]) -> None:
    provider = case.make(())
    body = case.streamed() if form == "streamed" else case.whole()
    assert read(provider.decoder("", True), body, cuts) == read(provider.decoder("", True), body)


def test_bytes_may_come_one_at_a_time(case: Case, provider: Provider) -> None:
    body = case.streamed()
    live, answer = read(provider.decoder("text/event-stream", True), body, list(range(len(body))))
    assert live == answer.text == TEXT


@pytest.mark.parametrize(("asked", "served"), [(False, "whole"), (True, "whole"), (False, "streamed")])
def test_what_was_served_counts_and_not_what_was_asked_for(
    case: Case, provider: Provider, asked: bool, served: str
) -> None:
    body = case.whole() if served == "whole" else case.streamed()
    for content_type in ("application/json", "text/event-stream", "text/plain", ""):
        _, answer = read(provider.decoder(content_type, asked), body)
        assert answer.text == TEXT
        assert (answer.tokens_in, answer.tokens_out) == TOKENS


def test_an_answer_that_breaks_off_is_truncated_and_its_text_is_kept(case: Case, provider: Provider) -> None:
    for body in (case.broken_off(), case.broken_off() + b"data: {"):
        decoder = provider.decoder("text/event-stream", True)
        with pytest.raises(DecodeError) as failed:
            read(decoder, body)
        assert failed.value.kind == "truncated"
        assert decoder.partial().text == PIECES[0] + PIECES[1]


@pytest.mark.parametrize("body", [b"", b"   \r\n", b"\xef\xbb\xbf"])
def test_an_empty_body_is_truncated(provider: Provider, body: bytes) -> None:
    decoder = provider.decoder("text/event-stream", True)
    with pytest.raises(DecodeError) as failed:
        read(decoder, body)
    assert failed.value.kind == "truncated"
    assert decoder.partial().text == ""


@pytest.mark.parametrize(
    "body", [b"<html>hello</html>", b"data: {not json}\n\n", b'{"choices": [}', b"[1, 2", b"\x00\xff"]
)
def test_a_body_that_is_none_is_garbage_and_never_a_crash(provider: Provider, body: bytes) -> None:
    decoder = provider.decoder("text/event-stream", True)
    with pytest.raises(DecodeError) as failed:
        read(decoder, body)
    assert failed.value.kind in ("garbage", "truncated")
    assert decoder.partial().text == ""


@given(body=st.binary(max_size=200))
@pytest.mark.parametrize("case", CASES[:1], ids=lambda case: case.name)
def test_any_bytes_give_an_answer_or_a_decode_error(case: Case, body: bytes) -> None:
    for form in (body, b"data: " + body + b"\n\n", b'{"choices":[{"delta":{"content":"' + body):
        decoder = case.make(()).decoder("", True)
        try:
            read(decoder, form)
        except DecodeError:
            assert isinstance(decoder.partial(), Answer)


def test_an_error_in_the_middle_of_a_stream_is_the_providers(case: Case, provider: Provider) -> None:
    decoder = provider.decoder("text/event-stream", True)
    with pytest.raises(DecodeError) as failed:
        read(decoder, case.error_in_stream(f"upstream died, key {KEY}"))
    assert failed.value.kind == "provider_error"
    assert "upstream died" in str(failed.value)
    assert KEY not in str(failed.value)
    assert decoder.partial().text == PIECES[0]


# -- what failures mean


@pytest.mark.parametrize(
    ("status", "code", "outcome", "error_type"),
    [
        (400, "context_length_exceeded", "permanent", "http_400"),
        (401, "invalid_api_key", "fatal", "auth"),
        (402, "", "fatal", "quota_exhausted"),
        (403, "", "fatal", "auth"),
        (404, "model_not_found", "permanent", "http_404"),
        (408, "", "transient", "http_408"),
        (409, "", "transient", "http_409"),
        (413, "", "permanent", "http_413"),
        (422, "", "permanent", "http_422"),
        (425, "", "transient", "http_425"),
        (429, "rate_limit_exceeded", "rate_limited", "rate_limited"),
        (429, "insufficient_quota", "fatal", "quota_exhausted"),
        (500, "", "transient", "http_500"),
        (503, "", "transient", "http_503"),
        (529, "", "transient", "http_529"),
    ],
)
def test_each_status_has_its_consequence(
    case: Case, provider: Provider, status: int, code: str, outcome: str, error_type: str
) -> None:
    failure = provider.failure(status, (), case.error("what went wrong", code), NOW)
    assert (failure.outcome, failure.error_type) == (outcome, error_type)
    assert failure.message == "what went wrong"


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_may_say_how_long_to_wait(case: Case, provider: Provider, status: int) -> None:
    body = case.error("busy", "")
    assert provider.failure(status, (("retry-after", "7"),), body, NOW).retry_after == 7.0
    assert provider.failure(status, (("retry-after-ms", "250"),), body, NOW).retry_after == 0.25
    assert provider.failure(status, (), body, NOW).retry_after is None


def test_the_key_never_stands_in_a_message(case: Case, provider: Provider) -> None:
    for body in (
        case.error(f"Bad key {KEY}. Try again.", ""),
        f"oops {KEY}".encode(),
        f"<title>{KEY}</title>".encode(),
    ):
        for status in (401, 429, 500):
            assert KEY not in provider.failure(status, (), body, NOW).message


def test_a_message_is_one_short_harmless_line(case: Case, provider: Provider) -> None:
    message = provider.failure(500, (), case.error("a\n\x1b[31mb\r\n" + "x" * 10_000, ""), NOW).message
    assert len(message) <= 500
    assert not any(char in message for char in "\n\r\x1b")


@pytest.mark.parametrize(
    "body", [b"", b"<!doctype html><html><head><title>502 Bad Gateway</title>" + b"<p>x</p>" * 999, b"upstream timeout"]
)
def test_a_proxys_error_without_an_error_object_is_told_in_short(provider: Provider, body: bytes) -> None:
    failure = provider.failure(502, (("content-type", "text/html"),), body, NOW)
    assert failure.outcome == "transient"
    assert failure.message.startswith("HTTP 502")
    assert len(failure.message) < 200
    assert "<p>" not in failure.message


def test_an_answer_without_counts_has_no_cost(provider: Provider) -> None:
    cost = provider.cost(Answer(text="x"), config(model="no-such-model"))
    assert cost in ((0.0,) if provider.name == "local" else (None,))
