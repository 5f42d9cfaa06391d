"""The head of the run screen, the errors beside the charts, and how figures are written."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.app import App, ComposeResult
from textual.widget import Widget

from batchdeck.model import Counts, ErrorClass, Percentiles, RunConfig, RunMeta, Snapshot
from batchdeck_tui.format import ago, clock, count, duration, money, percent, rate, short, spent
from batchdeck_tui.widgets.errors import ErrorList
from batchdeck_tui.widgets.progress import RunHeader, lines
from tests.tui.runfile import HOSTILE

replace = msgspec.structs.replace
COUNTS = Counts(
    items=5_000,
    done=1_234,
    failed=31,
    attempts=1_400,
    rate_limit_hits=37,
    tokens_in=1_234_567,
    tokens_out=345_678,
    cost=0.1234,
    seconds=754.0,
)
RUNNING = Snapshot(
    run="translate-reviews",
    path="run.db",
    state="running",
    message="",
    counts=COUNTS,
    ingest_complete=True,
    items_expected=5_000,
    in_flight=18,
    backoff=12,
    queued=3_717,
    concurrency=20,
    uncommitted=0,
    rate=12.34,
    tokens_rate=1_234.0,
    eta=245.0,
    cooldown=0.0,
    ttft=Percentiles(p50=0.31, p95=1.2, p99=2.0),
    e2e=Percentiles(p50=2.1, p95=5.0, p99=9.0),
    errors=(),
    seq=1,
    samples=1,
    at=0.0,
)
ENDED = RunMeta(
    run="old-run",
    path="run.db",
    state="done",
    message="",
    config=RunConfig(name="old", input="a.jsonl", input_format="jsonl", model="gpt-5-mini", provider="openai"),
    counts=replace(COUNTS, done=4_969),
    ingest_complete=True,
    items_expected=5_000,
    created_at=0.0,
    updated_at=0.0,
    rate=0.0,
)
ERRORS = (
    ErrorClass(error_type="rate_limited", attempts=37, items=0, example="Rate limit reached", example_idx=3),
    ErrorClass(error_type="http_500", attempts=12, items=31, example="upstream [/foo] \x1b[31mbroke", example_idx=4),
)


class HeadApp(App[None]):
    def compose(self) -> ComposeResult:
        yield RunHeader()
        yield ErrorList()

    @property
    def head(self) -> RunHeader:
        return self.query_one(RunHeader)


def text_of(widget: Widget) -> str:
    return "\n".join(widget.render_line(y).text for y in range(widget.size.height))


@pytest.mark.parametrize("width", [80, 120, 160, 200])
async def test_the_head_says_how_it_goes_at_any_width(width: int) -> None:
    app = HeadApp()
    async with app.run_test(size=(width, 24)) as pilot:
        app.head.show(RUNNING)
        await pilot.pause()
        text = text_of(app.head)
        assert app.head.size.height == (4 if width < 150 else 3)
        for said in ("▶ running", "translate-reviews", "12:34", "ETA 4m 05s", "25.3%", "1,265 of 5,000", "✗ 31 failed"):
            assert said in text
        for said in (
            "12.3/s",
            "1.2k tok/s",
            "in flight 18/20",
            "queued 3,717",
            "12 in backoff",
            "429s 37",
            "cost $0.12",
        ):
            assert said in text
        for said in ("tokens 1.2M in", "346k out", "ttft 310ms · p95 1.2s", "e2e 2.1s · p95 5.0s"):
            assert said in text


def plain(view: Snapshot | RunMeta, width: int = 100) -> str:
    return "\n".join("".join(text for text, _ in line) for line in lines(view, width))


def test_what_is_unknown_is_never_shown_as_zero() -> None:
    early = replace(RUNNING, counts=Counts(items=7), items_expected=None, ingest_complete=False, ttft=None, eta=None)
    text = plain(early)
    assert "reading the input" in text
    assert "0 of —" in text
    assert "cost —" in text
    assert "ttft —" in text
    assert "ETA —" in text
    assert "cost ≥ $0.12" in plain(replace(RUNNING, counts=replace(COUNTS, unpriced=3)))
    assert "cost —" in plain(replace(RUNNING, counts=replace(COUNTS, unpriced=3, cost=0.0)))
    assert "of ~9,000" in plain(replace(RUNNING, ingest_complete=False, items_expected=9_000))


def test_streams_that_are_silent_are_counted_beside_those_in_flight() -> None:
    assert "in flight 18/20 · 3 stalled" in plain(replace(RUNNING, stalled=3))
    assert "stalled" not in plain(RUNNING)


def test_second_requests_are_told_with_what_they_cost() -> None:
    hedged = replace(COUNTS, hedges=12, hedge_wins=9, hedge_tokens=1_450, hedge_cost=0.03)
    assert "hedges 12 · 9 won · +$0.0300" in plain(replace(RUNNING, counts=hedged), 160)
    lower = replace(hedged, hedge_guesses=3)
    assert "hedges 12 · 9 won · +$0.0300 or more" in plain(replace(ENDED, counts=lower), 160)
    unpriced = replace(lower, hedge_cost=0.0)
    assert "hedges 12 · 9 won · +1.4k tok or more" in plain(replace(RUNNING, counts=unpriced), 160)
    assert "hedges" not in plain(RUNNING, 160)


def test_a_rate_limit_that_holds_the_run_is_said() -> None:
    assert "held by rate limit, 4 s" in plain(replace(RUNNING, cooldown=4.2), 80)
    assert "held" not in plain(RUNNING)


def test_the_last_second_is_not_counted_in_milliseconds() -> None:
    assert "ETA <1s" in plain(replace(RUNNING, eta=0.123))
    assert "ETA 1.2s" in plain(replace(RUNNING, eta=1.2))


def test_an_ended_run_tells_its_average_and_its_message() -> None:
    text = plain(ENDED)
    assert "✓ done" in text
    assert "100%" in text
    assert "6.6/s on average" in text
    why = "the provider refused the key (401): check OPENAI_API_KEY, then resume the run with batchdeck resume old-run"
    stopped = plain(replace(ENDED, state="stopped", message=why), 80)
    assert "■ stopped" in stopped
    assert " ".join(stopped.splitlines()[-2:]) == why


async def test_only_lines_that_read_differently_are_painted_again() -> None:
    app = HeadApp()
    async with app.run_test(size=(80, 24)) as pilot:
        app.head.show(RUNNING)
        await pilot.pause()
        painted = app.head.paints
        app.head.show(replace(RUNNING, seq=99, samples=7, at=12.0))
        await pilot.pause()
        assert app.head.paints == painted
        app.head.show(replace(RUNNING, in_flight=19))
        await pilot.pause()
        # the bar counts what is in flight too, but a nineteenth request does not make it longer
        assert app.head.paints == painted + 1


@settings(max_examples=60)
@given(
    name=st.text(max_size=90),
    message=st.sampled_from((*HOSTILE, "")),
    state=st.sampled_from(("starting", "running", "paused", "draining", "stopped", "interrupted", "failed")),
    done=st.integers(0, 10**9),
    failed=st.integers(0, 10**9),
    expected=st.none() | st.integers(0, 2 * 10**9),
    width=st.integers(76, 240),
)
def test_no_line_is_wider_than_the_terminal(
    name: str, message: str, state: str, done: int, failed: int, expected: int | None, width: int
) -> None:
    counts = replace(COUNTS, done=done, failed=failed, cost=1e5, tokens_in=10**12)
    view = replace(RUNNING, run=name, message=message, state=state, counts=counts, items_expected=expected)
    for line in lines(view, width):
        text = "".join(text for text, _ in line)
        assert "\x1b" not in text
        assert cell_len(text) <= width


async def test_errors_are_listed_by_class_with_an_example() -> None:
    app = HeadApp()
    async with app.run_test(size=(80, 24)) as pilot:
        widget = app.query_one(ErrorList)
        await pilot.pause()
        assert text_of(widget).strip() == "no errors"
        widget.show(ERRORS)
        await pilot.pause()
        rows = text_of(widget).splitlines()
        assert rows[1].split()[:4] == ["✗", "rate_limited", "37", "0"]
        assert rows[2].split()[:4] == ["✗", "http_500", "12", "31"]
        assert "upstream [/foo] ␛[31mbroke" in rows[2]
        widget.styles.max_height = 3
        widget.show(tuple(replace(ERRORS[1], error_type=f"http_{code}") for code in range(500, 520)))
        await pilot.pause()
        assert "and 19 more classes" in text_of(widget).splitlines()[-1]


def test_figures_are_written_as_people_read_them() -> None:
    assert [duration(s) for s in (None, 0, 0.34, 0.9996, 3.24, 9.96, 59.7, 125, 11_220, 190_800)] == [
        "—", "0ms", "340ms", "1.0s", "3.2s", "10s", "1m 00s", "2m 05s", "3h 07m", "2d 5h",
    ]  # fmt: skip
    assert [clock(s) for s in (None, 7, 754, 11_229)] == ["—", "0:07", "12:34", "3:07:09"]
    assert [ago(s) for s in (None, 3, 300, 7_300, 900_000)] == ["—", "now", "5m ago", "2h ago", "10d ago"]
    assert [short(n) for n in (None, 0, 7.44, 987, 12_345, 999_960, 1_234_567)] == [
        "—", "0", "7.4", "987", "12.3k", "1.0M", "1.2M",
    ]  # fmt: skip
    assert [count(n) for n in (None, 0, 1_234_567)] == ["—", "0", "1,234,567"]
    assert [rate(r) for r in (None, 0, 0.05, 0.25, 12.34, 4_321)] == [
        "—",
        "0/s",
        "3.0/min",
        "0.25/s",
        "12.3/s",
        "4.3k/s",
    ]
    assert [money(m) for m in (None, 0, 0.00001, 0.0012, 0.12, 1234.5)] == [
        "—", "$0.00", "<$0.0001", "$0.0012", "$0.12", "$1,234.50",
    ]  # fmt: skip
    assert [spent(0.5, 0), spent(0.5, 3), spent(0.0, 3)] == ["$0.50", "≥ $0.50", "—"]
    assert [percent(0, 10), percent(1, 10**6), percent(999_999, 10**6), percent(10, 10)] == [
        "0%",
        "0.1%",
        "99.9%",
        "100%",
    ]
    assert percent(3, None) == percent(0, 0) == "—"


@given(st.floats(0, 1e11))
def test_a_duration_fits_its_column(seconds: float) -> None:
    assert len(duration(seconds)) <= 8
    assert len(short(seconds)) <= 5
