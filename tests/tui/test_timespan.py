"""What the charts have in view, what the cursor reads there, and that nothing measured is ever hidden."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from batchdeck.metrics.histogram import Histogram
from batchdeck.model import Event, Sample
from batchdeck.tune.recent import Recent
from batchdeck_tui.widgets.chart import Chart, curves_of
from batchdeck_tui.widgets.chartgrid import MARGIN, Reading
from batchdeck_tui.widgets.chartkinds import ALL, FEW, Kind
from batchdeck_tui.widgets.chartshead import lines, told
from batchdeck_tui.widgets.history import KEPT, KEPT_MARKS, LATENCIES, SERIES, History, by_column
from batchdeck_tui.widgets.plot import Frame, frame_of, paint
from batchdeck_tui.widgets.timespan import WINDOWS, View
from tests.tui.held import held_by_tpm
from tests.tui.runfile import HOSTILE, make_samples

QUIET: Sample = make_samples(2)[0][1]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("at"), st.floats(-10, 9_000)),
        st.tuples(st.just("pan"), st.sampled_from([-1, 1])),
        st.tuples(st.just("zoom"), st.sampled_from([-1, 1])),
        st.tuples(st.just("size"), st.sampled_from(WINDOWS)),
        st.tuples(st.just("live"), st.none()),
    ),
    max_size=12,
)


def history_of(samples: Sequence[Sample], events: Sequence[Event] = ()) -> History:
    history = History()
    history.extend(samples, events)
    history.time(samples)
    return history


def drawn(kind: Kind, history: History, span: tuple[float, float], width: int, height: int) -> tuple[Frame, list[str]]:
    """The frame of a chart, and for each of its columns the inks that it shows."""
    curves = curves_of(kind, history, span)
    frame = frame_of(curves, span, width, height, floor=kind.floor, say=kind.say, margin=MARGIN)
    assert frame is not None
    rows = [[ink for text, ink in line for _ in text] for line in paint(frame, curves, [])[:-1]]
    columns = [" ".join(row[frame.margin + column] for row in rows) for column in range(frame.columns)]
    return frame, columns


# The view


@given(steps=STEPS, began=st.floats(0, 50), seconds=st.floats(1, 8_000))
def test_the_view_is_always_of_the_run_and_the_cursor_in_it(
    steps: list[tuple[str, float]], began: float, seconds: float
) -> None:
    view, last = View(), began + seconds
    for name, value in steps:
        if name == "at":
            view = view.at(value, began, last)
        elif name == "pan":
            view = view.panned(int(value), began, last)
        elif name == "zoom":
            view = view.zoomed(int(value), began, last)
        elif name == "size":
            view = view.sized(value, began, last)
        else:
            view = view.live()
        first, end = view.span(began, last)
        assert began <= first < end <= last
        assert view.window is None or end - first <= view.window + 1e-6
        assert view.cursor is None or first - 1e-6 <= view.cursor <= end + 1e-6
        last += 1.0
        if view.end is not None:
            assert view.span(began, last) == (first, end), "what is held stays, whatever comes"
        elif view.window is not None or view.cursor is None:
            assert view.span(began, last)[1] == last
    assert view.live().is_live


def test_pan_stops_at_both_ends_and_begins_to_read_there() -> None:
    view = View(60.0)
    earlier = view.panned(-1, 0.0, 300.0)
    assert earlier.span(0.0, 300.0) == (210.0, 270.0)
    assert earlier.cursor == 270.0
    for _ in range(20):
        earlier = earlier.panned(-1, 0.0, 300.0)
    assert earlier.span(0.0, 300.0) == (0.0, 60.0)
    for _ in range(20):
        earlier = earlier.panned(1, 0.0, 300.0)
    assert earlier.span(0.0, 300.0) == (240.0, 300.0)
    assert View().panned(-1, 0.0, 300.0) == View(), "of the whole run there is nothing earlier"
    assert View(600.0).panned(-1, 0.0, 300.0) == View(600.0)


def test_zoom_goes_to_the_next_span_that_is_another() -> None:
    assert View().zoomed(-1, 0.0, 9_000.0).window == 3_600.0
    assert View().zoomed(-1, 0.0, 300.0).window == 60.0
    assert View(60.0).zoomed(1, 0.0, 300.0).window is None
    assert View(60.0).zoomed(-1, 0.0, 300.0).window == 60.0
    assert View().zoomed(1, 0.0, 300.0).window is None
    around = View(cursor=100.0).zoomed(-1, 0.0, 300.0)
    assert around.span(0.0, 300.0) == (70.0, 130.0)


# Nothing is hidden


@given(
    seconds=st.integers(2, 400), place=st.floats(0, 0.999), hits=st.integers(1, 900), others=st.integers(0, 3),
    width=st.integers(12, 160), window=st.sampled_from(WINDOWS),
)  # fmt: skip
def test_one_429_is_seen_in_its_column_and_read_there(
    seconds: int, place: float, hits: int, others: int, width: int, window: float | None
) -> None:
    at = int(place * seconds)
    samples = [
        msgspec.structs.replace(
            QUIET, t=n + 1.0, rate_limit_hits=hits if n == at else others * (n % 7 == 3) * hits // 4
        )
        for n in range(seconds)
    ]
    history = history_of(samples)
    t = at + 1.0
    # wherever the view is held, as long as the spike is in it
    last = samples[-1].t
    span = View(window).at(t, 0.0, last).panned(1, 0.0, last).at(t, 0.0, last).span(0.0, last)
    (hits_kind,) = (kind for kind in ALL if kind.name == "hits")
    frame, columns = drawn(hits_kind, history, span, width, 5)
    column = frame.column(t)
    assert "hits" in columns[column]
    found = history.within("hits", *frame.times(column))
    assert found is not None
    assert found[1] >= hits


@given(
    spike=st.integers(0, 299), name=st.sampled_from([name for name in (*SERIES, *LATENCIES) if name != "at"]),
    columns=st.integers(2, 120), first=st.integers(0, 150), seconds=st.integers(20, 300),
)  # fmt: skip
def test_the_least_and_the_greatest_of_every_series_survive(
    spike: int, name: str, columns: int, first: int, seconds: int
) -> None:
    samples, _ = make_samples(300)
    odd = msgspec.structs.replace(
        samples[spike], done=900, tokens_out=90_000, cost=5.0, in_flight=800.0, concurrency=900, queued=99_999,
        rate_limit_hits=77, ttft={400: 60}, e2e={500: 60},
    )  # fmt: skip
    history = history_of([*samples[:spike], odd, *samples[spike + 1 :]])
    points = history.between(name, first, first + seconds)
    kept = by_column(points, first, first + seconds, columns)
    for column in range(columns):
        low, high = first + column * seconds / columns, first + (column + 1) * seconds / columns
        values = [value for t, value in points if low + 1e-6 < t < high - 1e-6]
        if values:
            left = [value for t, value in kept if low - 1e-6 <= t <= high + 1e-6]
            assert max(left) >= max(values)
            assert min(left) <= min(values)


def test_a_day_of_every_series_stays_small_with_its_spikes() -> None:
    history = History()
    for second in range(1, 40_001):
        spike = second == 4_000
        sample = msgspec.structs.replace(
            QUIET, t=float(second), at=1e9 + second, rate_limit_hits=9 * spike, tokens_out=70_000 if spike else 900,
            queued=99_999 if spike else 10, ttft={60: 1}, e2e={300 if spike else 90: 1},
        )  # fmt: skip
        history.extend([sample], [])
        history.time([sample])
    for name in (*SERIES, *LATENCIES):
        assert len(history.series[name].points) <= KEPT + 1
    assert (4_000.0, 9.0) in history.series["hits"].points
    assert (4_000.0, 70_000.0) in history.series["tokens"].points
    assert (4_000.0, 99_999.0) in history.series["queue"].points
    slowest = max(value for _, value in history.series["e2e_p95"].points)
    assert slowest == pytest.approx(1.02**300, rel=0.02)
    for number in range(2 * KEPT_MARKS):
        history.extend([], [Event(id=number, t=float(number), at=0.0, kind="pause", detail="")])
    assert len(history.told) == KEPT_MARKS
    assert history.wall_clock(4_000.0) == pytest.approx(1e9 + 4_000)


# What is read


@pytest.mark.parametrize("columns", [2, 17, 40, 91])
def test_a_column_and_its_times_are_each_others(columns: int) -> None:
    frame = Frame(100.0, 400.0, 1.0, {}, 0, columns, 4)
    for column in range(columns):
        first, last = frame.times(column)
        assert frame.column((first + last) / 2) == column
        assert column == 0 or frame.times(column - 1)[1] == pytest.approx(first)
    assert frame.column(0.0) == 0
    assert frame.column(1e9) == columns - 1


def test_a_mark_is_told_on_the_column_where_it_stands() -> None:
    for columns in range(10, 90):
        frame = Frame(0.0, 300.0, 1.0, {}, 0, columns, 4)
        for t in range(0, 300, 7):
            mark = round(t / 300 * (columns - 1))
            spans = frame.times(mark), frame.mark_times(mark)
            assert min(first for first, _ in spans) <= t <= max(last for _, last in spans)


def test_between_two_samples_the_next_one_holds_and_a_latency_not_for_ever() -> None:
    history = history_of([
        msgspec.structs.replace(QUIET, t=10.0, dt=1.0, done=4, failed=0, e2e={50: 4}, ttft={}),
        msgspec.structs.replace(QUIET, t=60.0, dt=50.0, done=100, failed=0, e2e={}, ttft={}),
    ])  # fmt: skip
    assert history.within("throughput", 20.0, 21.0) == (2.0, 2.0)
    assert history.within("throughput", 9.5, 61.0) == (2.0, 4.0)
    assert history.within("throughput", 70.0, 71.0) == (2.0, 2.0)
    assert history.within("e2e_p95", 5.0, 6.0) is not None
    assert history.within("e2e_p95", 20.0, 21.0) is None
    assert history.within("ttft_p50", 10.0, 10.0) is None
    assert history.next_sample(10.0, 1) == history.nearest_sample(44.0) == 60.0
    assert history.next_sample(60.0, 1) == 60.0
    assert history.next_sample(60.0, -1) == history.nearest_sample(-5.0) == 10.0
    assert History().nearest_sample(3.0) == History().next_sample(3.0, 1) == 3.0
    assert History().wall_clock(3.0) is None


def test_recent_latencies_are_those_of_ten_seconds_merged() -> None:
    samples, _ = make_samples(40)
    recent = Recent()
    every = Histogram()
    for number, sample in enumerate(samples):
        ttft, e2e = recent.add(sample)
        few = Histogram()
        for one in samples[max(0, number - 9) : number + 1]:
            few.fill(one.e2e)
        every.fill(sample.e2e)
        assert e2e == few.percentiles()
        assert (ttft is None) == (not any(one.ttft for one in samples[max(0, number - 9) : number + 1]))
    assert recent.overall[1] == every.percentiles()
    assert Recent().overall == (None, None)
    assert recent.add(msgspec.structs.replace(samples[-1], t=9_999.0, e2e={}, ttft={})) == (None, None)


@pytest.mark.parametrize("kind", [*FEW, *ALL], ids=lambda kind: kind.name)
def test_every_chart_has_words_for_now_for_the_end_and_for_nothing(kind: Kind) -> None:
    samples, events = make_samples(90)
    history = history_of(samples, events)
    empty = history_of([QUIET])
    assert set(kind.inks) <= set(Chart.INKS)
    for source in (history, empty):
        assert source.last is not None
        here = {name: source.within(name, 30.0, 60.0) for name in (*SERIES, *LATENCIES)}
        for words in (
            kind.figures(source.last, source),
            kind.summary(source.last, source),
            kind.here(here.get, history),
            kind.here({}.get, history),
        ):
            assert all(words)
            assert cell_len(words[-1]) <= 14
            assert cell_len(words[0]) >= cell_len(words[-1])


def test_a_pause_is_no_line_in_the_chart_of_latency() -> None:
    samples, _ = make_samples(300)
    paused = [msgspec.structs.replace(one, ttft={}, e2e={}) if 100 < one.t <= 200 else one for one in samples]
    history = history_of(paused)
    ((begun, ended),) = history.gaps["e2e_p50"]
    assert 105 <= begun <= 111  # an answer counts for ten seconds
    assert 200 < ended <= 203
    (kind,) = (kind for kind in ALL if kind.name == "e2e")
    frame, columns = drawn(kind, history, (0.0, 300.0), 80, 8)
    inside = columns[frame.column(begun) + 1 : frame.column(ended)]
    assert len(inside) > 15
    assert all(set(column.split()) == {"axis"} for column in inside)
    assert all("e2e_p95" in columns[frame.column(t)] for t in (20.0, 95.0, begun, ended, 290.0))
    _, columns = drawn(kind, history, (120.0, 190.0), 80, 8)
    assert all(set(column.split()) == {"axis"} for column in columns)


def test_a_sum_of_prices_that_are_not_all_known_is_a_lower_bound() -> None:
    samples, _ = make_samples(60)
    history = history_of([msgspec.structs.replace(one, cost=0.5) for one in samples])
    (kind,) = (kind for kind in ALL if kind.name == "cost")
    assert history.last is not None
    for unpriced, sign in ((0, "$"), (3, "≥ $")):
        history.unpriced = unpriced
        here = {"cost": history.within("cost", 30.0, 31.0)}
        for words in (kind.figures(history.last, history), kind.summary(history.last, history),
                      kind.here(here.get, history)):  # fmt: skip
            assert all(said.startswith(sign) for said in words)


def test_what_was_done_is_told_as_far_as_there_is_room() -> None:
    made = [Event(id=n, t=1.0, at=0.0, kind=kind, detail=detail) for n, (kind, detail) in enumerate(
        [("concurrency", "10 → 20"), ("settings", HOSTILE[1]), ("tune", "20 → 12: " + HOSTILE[5] * 40)]
    )]  # fmt: skip
    assert told(made[:1], 60) == "│ concurrency: 10 → 20"
    assert told(made[:2], 200).startswith("◆ settings: ")
    assert told(made[:2], 200).endswith("│ concurrency: 10 → 20")
    assert told([], 60) == ""
    for width in (0, 1, 8, 30, 80, 200):
        said = told(made, width)
        assert cell_len(said) <= max(6, width)
        assert not any(char in said for char in "\x1b\x07\u202e")


@pytest.mark.parametrize("width", [20, 80, 200])
def test_the_head_is_two_lines_that_fit(width: int) -> None:
    view = held_by_tpm(Path("reviews.db"))
    made = [Event(id=1, t=1.0, at=0.0, kind="settings", detail=HOSTILE[3] * 9)]
    for reading in (Reading("whole run", True), Reading("10 minutes", False, 4_000.0, 1.8e9, made)):
        two = lines(view, reading, width)
        assert len(two) == 2
        assert width < 80 or all(sum(cell_len(text) for text, _ in line) <= width for line in two)
