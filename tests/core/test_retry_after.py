"""How long a server asks to be left alone, in all the ways servers say it."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchdeck.retry.after import LONGEST, parse_retry_after

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


@pytest.mark.parametrize("distance", [0, 1, 90, 3600])
def test_an_http_date_is_counted_from_now(distance: int) -> None:
    date = format_datetime(datetime.fromtimestamp(NOW + distance, UTC), usegmt=True)
    assert after(date) == distance
    assert after(date.replace(" GMT", "")) == distance, "a date without a zone is GMT"


def test_a_date_that_has_passed_means_now() -> None:
    assert after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0


@pytest.mark.parametrize(
    "value", ["", "soon", "nan", "inf", "1e9", "0x10", "1,5", "5 s", "١٢", "Wed, 99 Oct 2026 07:28:00 GMT", "1" * 400]
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
