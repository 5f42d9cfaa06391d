"""How long a server asks to be left alone, in all the ways servers say it."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchdeck.providers.failures import failure, failure_inside
from batchdeck.retry.after import LONGEST, LONGEST_BODY, parse_retry_after, retry_delay_inside

NOW = 1_800_000_000.0


def after(value: str, name: str = "retry-after") -> float | None:
    return parse_retry_after(((name, value),), NOW)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("0", 0.0), ("3", 3.0), (" 3 ", 3.0), ("2.5", 2.5), (".5", 0.5), ("+1", 1.0), ("-4", 0.0), ("3600", 3600.0)],
)
def test_seconds(value: str, seconds: float) -> None:
    assert after(value) == seconds


def test_milliseconds_are_finer_and_win() -> None:
    assert after("1500", "retry-after-ms") == 1.5
    assert parse_retry_after((("retry-after", "2"), ("Retry-After-Ms", "1500")), NOW) == 1.5
    assert parse_retry_after((("Retry-After", "2"), ("retry-after-ms", "soon")), NOW) == 2.0


def test_azure_says_zero_milliseconds_beside_the_real_seconds() -> None:
    assert parse_retry_after((("retry-after", "1"), ("retry-after-ms", "0")), NOW) == 1.0
    assert after("0", "retry-after-ms") == 0.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("1m30s", 90.0), ("450ms", 0.45), ("7.66s", 7.66), ("1h2m3s", 3723.0), ("1d2h", LONGEST), ("0s", 0.0)],
)
def test_a_duration(value: str, seconds: float) -> None:
    assert after(value) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (f"{NOW + 40:.0f}", "retry-after"),
        (f"{(NOW + 40) * 1000:.0f}", "retry-after"),
        (f"{(NOW + 40) * 1000:.0f}", "retry-after-ms"),
        ("2027-01-15T08:00:40Z", "retry-after"),
        ("2027-01-15T09:00:40.000+01:00", "retry-after"),
    ],
)
def test_a_point_in_time_is_counted_from_now(value: str, name: str) -> None:
    assert after(value, name) == 40.0


def test_an_epoch_that_has_passed_means_now() -> None:
    assert after("1445412480") == after("1445412480000") == after("2015-10-21T07:28:00Z") == 0.0


@pytest.mark.parametrize("distance", [0, 1, 90, 3600])
def test_an_http_date_is_counted_from_now(distance: int) -> None:
    date = format_datetime(datetime.fromtimestamp(NOW + distance, UTC), usegmt=True)
    assert after(date) == distance
    assert after(date.replace(" GMT", "")) == distance, "a date without a zone is GMT"


def test_a_date_that_has_passed_means_now() -> None:
    assert after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0


@pytest.mark.parametrize(
    "value",
    [
        "",
        "soon",
        "nan",
        "inf",
        "1e9",
        "0x10",
        "1,5",
        "5 s",
        "١٢",
        "Wed, 99 Oct 2026 07:28:00 GMT",
        "1" * 400,
        "1s1m",
        "s",
        "1.s",
        "-1s",
        "1m 30s",
        "2026-13-01T00:00:00Z",
        "2026-01-01T00:00:00+99:00",
    ],
)
def test_nonsense_is_as_if_nothing_was_said(value: str) -> None:
    assert after(value) is None


def test_a_days_quota_is_believed_and_a_century_is_not() -> None:
    assert after("80000") == 80_000.0
    assert after("3000000000") == LONGEST
    assert after("Fri, 31 Dec 9999 23:59:59 GMT") == LONGEST


def test_nothing_said() -> None:
    assert parse_retry_after((("date", "x"),), NOW) is None


@given(st.text(), st.sampled_from(["retry-after", "retry-after-ms"]))
def test_whatever_is_said_gives_a_sane_wait_or_none(value: str, name: str) -> None:
    seconds = after(value, name)
    assert seconds is None or (math.isfinite(seconds) and 0.0 <= seconds <= LONGEST)


# -- what the body of a refusal says, where no header does

OPENAI = (
    "Rate limit reached for gpt-4o in organization org-1 on tokens per min (TPM): Limit 30000, Used 29871,"
    " Requested 3960. Please try again in {}. Visit https://platform.openai.com/account/rate-limits to learn more."
)
GEMINI = {
    "error": {
        "code": 429,
        "message": "You exceeded your current quota, please check your plan and billing details.",
        "status": "RESOURCE_EXHAUSTED",
        "details": [
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaValue": "10"}]},
            {"@type": "type.googleapis.com/google.rpc.Help", "links": []},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.074824224s"},
        ],
    }
}


def body(message: str, **more: object) -> bytes:
    return json.dumps({"error": {"message": message, **more}}).encode()


@pytest.mark.parametrize(
    ("said", "seconds"), [("7.66s", 7.66), ("1m30s", 90.0), ("450ms", 0.45), ("2m59.56s", 179.56), ("99d", LONGEST)]
)
def test_openai_and_groq_say_it_in_their_message(said: str, seconds: float) -> None:
    message = OPENAI.format(said)
    bodies = [
        {"error": {"message": message}},
        {"error": message},
        {"message": message},
        [{"error": {"message": message}}],
    ]
    for each in bodies:
        assert retry_delay_inside(json.dumps(each).encode()) == pytest.approx(seconds)


def test_gemini_says_it_in_the_details() -> None:
    for said in (GEMINI, [GEMINI]):
        assert retry_delay_inside(json.dumps(said).encode()) == 34.074824224
    assert retry_delay_inside(body("Quota exceeded. Please retry in 58.934310785s.")) == 58.934310785


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"Please try again in 5s",
        b"[]",
        b"null",
        b"[[[",
        b'[" in ", ' + b"[" * (LONGEST_BODY - 99),
        b'{"retryDelay": "34s"}',
        b'{"error": {"details": "retryDelay"}}',
        b'{"error": {"details": [7, null, {"@type": 1, "retryDelay": "3s"}, {"@type": "Other", "retryDelay": "3s"}]}}',
        b'{"error": {"details": [{"@type": "x/google.rpc.RetryInfo", "retryDelay": "soon"}]}}',
        b'{"error": {"details": [{"@type": "x/google.rpc.RetryInfo", "retryDelay": {"seconds": 3}}]}}',
        body("Rate limit reached. Please try again in a while."),
        body("Rate limit reached. Please try again in " + "9" * 500 + "s"),
        body("Please try again in 5s", padding="x" * LONGEST_BODY),
    ],
)
def test_a_body_that_says_nothing_readable(raw: bytes) -> None:
    assert retry_delay_inside(raw) is None


@given(st.binary() | st.text().map(lambda text: body("Please try again in " + text)))
def test_whatever_the_body_is_the_delay_is_sane_or_none(raw: bytes) -> None:
    seconds = retry_delay_inside(raw)
    assert seconds is None or (math.isfinite(seconds) and 0.0 <= seconds <= LONGEST)


def test_a_429_takes_its_delay_from_the_body_only_where_the_headers_gave_none() -> None:
    raw = json.dumps(GEMINI).encode()
    assert failure(429, (), raw, NOW).retry_after == 34.074824224
    assert failure(429, (("retry-after", "2"),), raw, NOW).retry_after == 2.0
    assert failure(429, (("retry-after", "soon"),), body(OPENAI.format("7.66s")), NOW).retry_after == 7.66
    assert failure(400, (), raw, NOW).retry_after is None


# -- a request that is larger than the limit: no waiting helps

TOO_LARGE = [
    (429, "Request too large for gpt-4o in organization org-1 on tokens per min (TPM): Limit 30000, Requested 342389."
          " The input or output tokens must be reduced in order to run successfully."),
    (429, "Request too large for gpt-4.1-2025-04-14 (for limit gpt-4.1) in organization org-1 on tokens per min (TPM):"
          " Limit 30000, Requested 37313. The input or output tokens must be reduced in order to run successfully."),
    (429, "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 45000."),
    (413, "Request too large for model `llama-3.3-70b-versatile` in organization `org_1` service tier `on_demand` on"
          " tokens per minute (TPM): Limit 12000, Requested 14137, please reduce your message size and try again."),
]  # fmt: skip


@pytest.mark.parametrize(("status", "message"), TOO_LARGE)
def test_a_request_larger_than_the_limit_is_given_up(status: int, message: str) -> None:
    error = {"message": message, "type": "tokens", "code": "rate_limit_exceeded"}
    found = failure(status, (("retry-after", "2"),), json.dumps({"error": error}).encode(), NOW)
    assert (found.outcome, found.error_type, found.retry_after) == ("permanent", "request_too_large", None)
    inside = failure_inside(error)
    assert (inside.outcome, inside.error_type) == ("permanent", "request_too_large")


@pytest.mark.parametrize(
    "message",
    [
        OPENAI.format("7.66s"),
        "This request would exceed your organization's rate limit of 30,000 input tokens per minute (org: 1).",
        "Rate limit reached while answering: Request too large for x on tokens per min (TPM): Limit 1, Requested 2",
        "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 2000.",
        "Request too large for us today",
    ],
)
def test_an_ordinary_refusal_is_waited_out(message: str) -> None:
    found = failure(429, (), body(message, code="rate_limit_exceeded"), NOW)
    assert (found.outcome, found.error_type) == ("rate_limited", "rate_limited")


def test_the_words_alone_without_the_providers_own_code_do_not_give_an_item_up() -> None:
    assert failure(429, (), body(TOO_LARGE[0][1]), NOW).outcome == "rate_limited"
