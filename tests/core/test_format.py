"""Figures and the progress line as a plain terminal shows them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchdeck import format
from batchdeck.model import Counts, Snapshot, Waiting


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (format.duration(None), "—"),
        (format.duration(0.34), "340ms"),
        (format.duration(0.9999), "1.0s"),
        (format.duration(3.21), "3.2s"),
        (format.duration(59.6), "1m 00s"),
        (format.duration(125), "2m 05s"),
        (format.duration(11_225), "3h 07m"),
        (format.duration(187_200), "2d 4h"),
        (format.ago(59), "now"),
        (format.ago(3_600 * 3), "3h ago"),
        (format.ago(86_400 * 12), "12d ago"),
        (format.count(None), "—"),
        (format.count(1_234_567), "1,234,567"),
        (format.money(None), "—"),
        (format.money(0.00123), "$0.0012"),
        (format.money(0.000001), "<$0.0001"),
        (format.money(1234.5), "$1,234.50"),
        (format.spent(0.0, 3), "—"),
        (format.spent(0.5, 3), "≥ $0.50"),
        (format.spent(0.0, 0), "$0.00"),
        (format.rate(0.05), "3.0/min"),
        (format.rate(0.25), "0.25/s"),
        (format.rate(12_345), "12,345/s"),
        (format.percent(0, 0), "—"),
        (format.percent(0, 5), "0%"),
        (format.percent(1, 1_000_000), "0.1%"),
        (format.percent(999_999, 1_000_000), "99.9%"),
        (format.percent(5, 5), "100%"),
        (format.bar(0, None, 4), "░░░░"),
        (format.bar(5, 8, 4), "██▌░"),
        (format.bar(9, 8, 4), "████"),
    ],
)
def test_figures(shown: str, text: str) -> None:
    assert shown == text


def snapshot(**given: Any) -> Snapshot:
    known: dict[str, Any] = {
        "run": "r",
        "path": "r.db",
        "state": "running",
        "message": "",
        "counts": Counts(items=1_000, done=600, failed=12, rate_limit_hits=3, cost=0.0123),
        "ingest_complete": True,
        "items_expected": 1_000,
        "in_flight": 10,
        "backoff": 0,
        "queued": 378,
        "concurrency": 10,
        "uncommitted": 0,
        "rate": 12.4,
        "tokens_rate": 0.0,
        "eta": 31.0,
        "cooldown": 0.0,
        "ttft": None,
        "e2e": None,
        "errors": (),
        "seq": 1,
        "samples": 1,
        "at": 0.0,
    }
    return Snapshot(**{**known, **given})


def test_a_wide_line_says_it_all() -> None:
    assert format.progress_line(snapshot(), 200) == (
        "████████████▏░░░░░░░ 61.2%  612/1,000  12 failed  eta 31s  12.4/s  in flight 10/10  429 × 3  $0.0123"
    )


def test_a_narrow_line_keeps_what_matters_most() -> None:
    assert format.progress_line(snapshot(), 40) == "████████████▏░░░░░░░ 61.2%  612/1,000"


def test_before_the_input_is_read_the_total_is_a_guess() -> None:
    assert "612/~1,000" in format.progress_line(snapshot(ingest_complete=False), 200)
    assert "612/—" in format.progress_line(snapshot(ingest_complete=False, items_expected=None), 200)


def test_a_run_that_waits_says_why() -> None:
    line = format.progress_line(snapshot(state="paused", message="rate limit\x1b[2J for 4 s"), 200)
    assert "paused" in line
    assert "rate limit␛[2J for 4 s" in line


def test_why_it_is_slow_is_said_last_and_once_where_there_is_room() -> None:
    sentence = "held by TPM: 92 % of the time in the last minute; more concurrency will not help"
    held = snapshot(message=sentence, waiting=Waiting(held="tpm", sentence=sentence))
    wide = format.progress_line(held, 200)
    assert wide.endswith(f"$0.0123  {sentence}")
    assert wide.count("held") == 1
    assert format.progress_line(held, 130).endswith("$0.0123  held by TPM: 92 % of the ti…")
    assert "held" not in format.progress_line(held, 110)


@given(st.integers(0, 200), st.text(max_size=80), st.text(max_size=80))
def test_it_never_wraps(width: int, message: str, sentence: str) -> None:
    held = snapshot(message=message, waiting=Waiting(sentence=sentence))
    assert format.cells(format.progress_line(held, width)) <= width


@given(st.text(), st.integers(0, 20))
def test_clipped_text_fits(text: str, width: int) -> None:
    assert format.cells(format.clip(text, width)) <= width


def test_a_table_is_aligned_also_with_wide_characters() -> None:
    lines = format.table(("NAME", "N"), [("日本", "1"), ("abc", "1,000")], right=(1,))
    assert lines == ["NAME      N", "日本      1", "abc   1,000"]
