"""Reading streams as the servers in the field really send them."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchdeck.errors import DecodeError
from batchdeck.model import Answer
from batchdeck.providers.chat import ChatDecoder
from batchdeck.providers.failures import ErrorInAnswer
from batchdeck.providers.sse import Lines


def chunk(content: Any = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    delta = {} if content is None else {"content": content}
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


def stream(*events: dict[str, Any] | str, end: str = "\n\n") -> bytes:
    return "".join(f"data: {event if isinstance(event, str) else json.dumps(event)}{end}" for event in events).encode()


def answer(body: bytes) -> Answer:
    decoder = ChatDecoder()
    decoder.feed(body)
    return decoder.finish()


def error(body: bytes) -> DecodeError:
    with pytest.raises(DecodeError) as failed:
        answer(body)
    return failed.value


PLAIN = stream(chunk("Hel"), chunk("lo"), chunk(finish="stop"), "[DONE]")


@given(st.binary(), st.lists(st.integers(0, 100)))
def test_lines_are_the_same_wherever_the_stream_is_cut(body: bytes, cuts: list[int]) -> None:
    places = sorted({0, *(min(cut, len(body)) for cut in cuts), len(body)})
    lines, whole = Lines(), Lines()
    cut_up = [line for start, end in pairwise(places) for line in lines.feed(body[start:end])]
    assert [*cut_up, lines.finish()] == [*whole.feed(body), whole.finish()]


@pytest.mark.parametrize(
    "body",
    [
        PLAIN.replace(b"\n", b"\r\n"),
        PLAIN.replace(b"data: ", b"data:"),
        PLAIN.replace(b"data: ", b": keep-alive\n\nevent: message\nid: 7\nretry: 10\ndata: "),
        PLAIN.replace(b"\n\n", b"\n"),
        PLAIN.rstrip(b"\n"),
        b"\xef\xbb\xbf\n\n" + PLAIN,
        PLAIN.replace(b"data: [DONE]\n\n", b""),
        stream(chunk("Hel"), chunk("lo"), "[DONE]"),
        PLAIN + stream(chunk("after the end")),
    ],
    ids=[
        "crlf",
        "no-space",
        "comments",
        "single-newline",
        "no-last-newline",
        "bom",
        "no-done",
        "no-finish",
        "afterwards",
    ],
)
def test_the_forms_of_a_stream(body: bytes) -> None:
    assert answer(body).text == "Hello"


def test_an_event_may_be_spread_over_several_data_lines() -> None:
    pretty = json.dumps(chunk("Hello"), indent=1).replace("\n", "\ndata: ")
    assert answer(stream(pretty, chunk(finish="stop"))).text == "Hello"


def test_words_come_as_soon_as_their_line_is_there() -> None:
    decoder = ChatDecoder()
    assert decoder.feed(stream(chunk("Hel"))) == "Hel"
    assert decoder.feed(stream(chunk("lo"))[:-2]) == ""
    assert decoder.feed(b"\n") == "lo"
    assert decoder.tokens == 2


@pytest.mark.parametrize(
    "events",
    [
        (chunk("a"), chunk(finish="stop", usage={"prompt_tokens": 9, "completion_tokens": 2})),
        (chunk("a"), chunk(finish="stop"), {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2}}),
        (
            chunk("a", usage={"prompt_tokens": 9, "completion_tokens": 1}),
            chunk(finish="stop", usage={"prompt_tokens": 9, "completion_tokens": 2}),
        ),
        (chunk("a", usage=None), chunk(finish="stop", x_groq={"usage": {"prompt_tokens": 9, "completion_tokens": 2}})),
        (chunk("a"), chunk(finish="stop", usage={"input_tokens": 9, "output_tokens": 2.0})),
    ],
    ids=["finish-chunk", "own-chunk", "every-chunk", "groq", "other-names"],
)
def test_usage_is_found_wherever_it_stands(events: tuple[dict[str, Any], ...]) -> None:
    found = answer(stream(*events, "[DONE]"))
    assert (found.tokens_in, found.tokens_out) == (9, 2)


def test_cached_tokens_are_read_and_absent_counts_are_unknown() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 5}}
    assert answer(stream(chunk("a"), chunk(finish="stop", usage=usage))).tokens_cached == 5
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_cache_hit_tokens": 4}
    assert answer(stream(chunk("a"), chunk(finish="stop", usage=usage))).tokens_cached == 4
    nothing = answer(PLAIN)
    assert (nothing.tokens_in, nothing.tokens_out, nothing.tokens_cached) == (None, None, None)


def test_hidden_reasoning_is_output_where_only_the_total_holds_it() -> None:
    body = stream(chunk("a", "stop", usage={"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 112}))
    decoder = ChatDecoder(total_holds_reasoning=True)
    decoder.feed(body)
    assert decoder.finish().tokens_out == 102
    assert answer(body).tokens_out == 2


def test_content_may_be_null_or_a_list_of_parts() -> None:
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "Hi"}, "!"]
    assert (
        answer(stream(chunk(parts), {"choices": [{"delta": {"content": None}, "finish_reason": "stop"}]})).text == "Hi!"
    )


def test_reasoning_is_progress_but_not_the_text() -> None:
    decoder = ChatDecoder()
    for name in ("reasoning_content", "reasoning"):
        assert decoder.feed(stream({"choices": [{"delta": {name: "let me think"}}]})) == ""
    assert decoder.tokens == 2
    decoder.feed(PLAIN)
    assert decoder.finish().text == "Hello"


def test_only_the_first_of_several_choices_is_read() -> None:
    other = {"choices": [{"index": 1, "delta": {"content": "NO"}, "finish_reason": "length"}]}
    found = answer(stream(chunk("yes"), other, chunk(finish="stop")))
    assert (found.text, found.finish_reason) == ("yes", "stop")


def test_tool_calls_become_the_text_as_json() -> None:
    first = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}}
    rest = [{"index": 0, "function": {"arguments": part}} for part in ('{"city":', ' "Köln"}')]
    deltas = [{"choices": [{"index": 0, "delta": {"content": None, "tool_calls": [call]}}]} for call in (first, *rest)]
    found = answer(stream(*deltas, chunk(finish="tool_calls"), "[DONE]"))
    [call] = json.loads(found.text)
    assert (call["id"], call["function"]["name"]) == ("call_1", "weather")
    assert json.loads(call["function"]["arguments"]) == {"city": "Köln"}
    assert found.finish_reason == "tool_calls"


def test_a_refusal_is_the_text_when_there_is_no_other() -> None:
    refused = {
        "choices": [{"message": {"role": "assistant", "content": None, "refusal": "I can't."}, "finish_reason": "stop"}]
    }
    assert answer(json.dumps(refused).encode()).text == "I can't."


@pytest.mark.parametrize(
    "raw",
    [b'{"choices":[{"delta":{"content":"a\xffb"}}]}', b'{"choices":[{"delta":{"content":"a\\ud83db"}}]}'],
    ids=["bad-utf-8", "lone-surrogate"],
)
def test_text_that_is_not_unicode_is_repaired(raw: bytes) -> None:
    found = answer(b"data: " + raw + b"\n\n" + stream(chunk(finish="stop")))
    assert found.text == "a\ufffdb"
    found.text.encode()


def test_fields_of_other_shapes_do_not_spoil_an_answer() -> None:
    odd = {"choices": [{"index": "0", "delta": "x"}, {"index": 0, "delta": {"content": "ok", "tool_calls": "?"}}, 7]}
    assert answer(stream(odd, {"choices": None}, chunk(finish="stop", usage="many"))).text == "ok"


@pytest.mark.parametrize(
    ("body", "outcome", "error_type"),
    [
        (stream({"error": {"message": "m", "code": 502}}), "transient", "http_502"),
        (stream({"error": {"message": "m", "code": "429"}}), "rate_limited", "rate_limited"),
        (stream({"error": {"message": "m", "code": "rate_limit_exceeded"}}), "rate_limited", "rate_limited"),
        (stream({"error": {"message": "m", "code": 400}}), "permanent", "http_400"),
        (stream({"error": {"message": "m", "type": "insufficient_quota"}}), "fatal", "quota_exhausted"),
        (stream({"error": {"message": "m", "type": "context_length_exceeded"}}), "permanent", "provider_error"),
        (stream({"error": "m"}), "transient", "provider_error"),
        (stream({"object": "error", "message": "m", "code": 400}), "permanent", "http_400"),
        (
            stream({"choices": [{"error": {"message": "m", "code": 502}, "finish_reason": "error"}]}),
            "transient",
            "http_502",
        ),
        (b'error: {"code": 500, "message": "m"}\n\n', "transient", "http_500"),
        (b'event: error\ndata: {"message": "m"}\n\n', "transient", "provider_error"),
        (b'{"error": {"message": "m", "code": 503}}', "transient", "http_503"),
        (b'[{"error": {"message": "m", "code": 429}}]', "rate_limited", "rate_limited"),
    ],
)
def test_an_error_inside_a_good_answer_keeps_its_meaning(body: bytes, outcome: str, error_type: str) -> None:
    for prefix in (b"", stream(chunk("Hel"))) if not body.startswith((b"{", b"[")) else (b"",):
        failed = error(prefix + body)
        assert isinstance(failed, ErrorInAnswer)
        assert (failed.kind, str(failed)) == ("provider_error", "m")
        assert (failed.failure.outcome, failed.failure.error_type) == (outcome, error_type)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (stream(chunk("Hel")), "truncated"),
        (stream(chunk("Hel")) + b'data: {"choices": [{"del', "truncated"),
        (b'{"choices": [{"message": {"content": "Hel', "truncated"),
        (b"data: [DONE]\n\n", "truncated"),
        (stream(chunk("Hel"), "{oops"), "garbage"),
        (b'{"choices": []}', "garbage"),
        (b'{"id": 1}', "garbage"),
        (b"Service temporarily unavailable", "garbage"),
        (b"data: " + b"[" * 100_000 + b"\n\n", "garbage"),
    ],
)
def test_what_is_no_answer_says_why(body: bytes, kind: str) -> None:
    failed = error(body)
    assert failed.kind == kind
    assert len(str(failed)) < 200


@pytest.mark.parametrize(
    "body",
    [
        b'data: {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 0}}\n\ndata: [DONE]\n\n',
        b'data: {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}\n\ndata: [DONE]\n\n',
        b'data: {"choices": [{"index": 1, "delta": {"content": "x"}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n',
    ],
)
def test_a_stream_that_ends_well_without_an_answer_is_not_an_empty_answer(body: bytes) -> None:
    decoder = ChatDecoder()
    decoder.feed(body)
    with pytest.raises(DecodeError) as failed:
        decoder.finish()
    assert failed.value.kind == "garbage"


def test_a_choice_that_says_nothing_is_no_answer() -> None:
    decoder = ChatDecoder()
    decoder.feed(b'{"choices": [{"index": 0}]}')
    with pytest.raises(DecodeError, match="no choices"):
        decoder.finish()


def test_an_answer_of_no_words_is_one_when_the_server_says_why_it_ended() -> None:
    decoder = ChatDecoder()
    decoder.feed(b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "content_filter"}]}\n\n')
    assert decoder.finish().text == ""
