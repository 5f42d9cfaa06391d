"""The four charts: their points are the samples table, a spike is never lost, and they draw only what is new."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from batchdeck.model import Event, Sample
from batchdeck.store.reader import RunReader
from batchdeck_tui.widgets.charts import Chart, Charts
from batchdeck_tui.widgets.history import KEPT, History, Point, by_column, thin
from batchdeck_tui.widgets.plot import Curve, ceiling, draw, stepped
from tests.tui.runfile import make_run, make_samples

NAMES = ("throughput", "in_flight", "cap", "queue", "hits")


class ChartsApp(App[None]):
    def compose(self) -> ComposeResult:
        yield Charts()

    @property
    def charts(self) -> Charts:
        return self.query_one(Charts)

    @property
    def builds(self) -> int:
        return sum(chart.builds for chart in self.query(Chart))

    def text(self) -> str:
        return "\n".join(chart.render_line(y).text for chart in self.query(Chart) for y in range(chart.size.height))


async def drawn(pilot: Pilot[None]) -> None:
    """Charts are drawn one after the other."""
    await pilot.pause()
    while cast("ChartsApp", pilot.app).charts.is_drawing:
        await pilot.pause()


async def test_each_charts_points_are_the_samples_table(tmp_path: Path) -> None:
    samples, events = make_samples(90)
    with RunReader(make_run(tmp_path / "run.db", 10, samples=samples, events=events)) as reader:
        read, happened = reader.samples(), reader.events()
    app = ChartsApp()
    async with app.run_test(size=(120, 30)) as pilot:
        app.charts.extend(read[:60], happened)
        app.charts.extend(read[60:], [])
        await drawn(pilot)
        assert app.charts.series("throughput") == [(s.t, (s.done + s.failed) / s.dt) for s in samples]
        assert app.charts.series("in_flight") == [(s.t, s.in_flight) for s in samples]
        assert app.charts.series("cap") == [(s.t, float(s.concurrency)) for s in samples]
        assert app.charts.series("queue") == [(s.t, float(s.queued)) for s in samples]
        assert app.charts.series("hits") == [(s.t, float(s.rate_limit_hits)) for s in samples]
        assert app.charts.marks() == [(45.0, 20.0, "concurrency")]
        app.charts.reset()
        await drawn(pilot)
        assert app.charts.series("hits") == app.charts.marks() == []
        assert "waiting for the first sample" in app.text()


def test_the_rest_of_a_second_in_which_a_run_ends_is_no_burst() -> None:
    samples, _ = make_samples(3)
    last = msgspec.structs.replace(samples[-1], t=samples[-1].t + 0.004, dt=0.004, done=4, failed=0, tokens_out=40)
    history = History()
    history.extend([*samples, last], [])
    assert history.series["throughput"].points[-1] == (last.t, 8.0)
    assert history.series["tokens"].points[-1] == (last.t, 80.0)


@pytest.mark.parametrize("size", [(80, 6), (80, 24), (160, 48), (200, 60), (40, 30)])
async def test_charts_read_well_at_any_size(size: tuple[int, int]) -> None:
    app = ChartsApp()
    samples, events = make_samples(120)
    async with app.run_test(size=size) as pilot:
        await drawn(pilot)
        assert app.text().count("waiting") == 4
        app.charts.extend(samples, events)
        await drawn(pilot)
        for chart in app.query(Chart):
            lines = [chart.render_line(y).text for y in range(chart.size.height)]
            assert all(cell_len(line) == chart.size.width for line in lines)
            assert lines[-1].split()[0] == "0:00"
            assert lines[-1].split()[-1] == "2:00"
            assert any("│" in line for line in lines), "the change of concurrency is marked"
            assert any("→ 20" in line for line in lines)
            assert any("⠀" < char <= "⣿" for line in lines for char in line)


async def test_charts_are_built_again_only_for_a_new_sample_or_size() -> None:
    app = ChartsApp()
    samples, events = make_samples(60)
    async with app.run_test(size=(120, 30)) as pilot:
        app.charts.extend(samples[:50], events)
        await drawn(pilot)
        built = app.builds
        app.charts.extend([], [])
        app.charts.extend(samples[:50], events)
        app.charts.refresh()
        await drawn(pilot)
        assert app.builds == built
        app.charts.extend(samples[50:51], [])
        await drawn(pilot)
        assert app.builds == built + 4
        await pilot.resize_terminal(140, 30)
        await drawn(pilot)
        assert app.builds == built + 8


def test_a_day_of_samples_stays_small_and_its_one_429_in_sight() -> None:
    quiet = make_samples(1)[0][0]
    history = History()
    for second in range(1, 86_400):
        hits = 9 if second == 4_000 else 0
        history.extend([msgspec.structs.replace(quiet, t=float(second), rate_limit_hits=hits)], [])
    points = history.series["hits"].points
    assert len(points) <= KEPT + 1
    assert (4_000.0, 9.0) in points
    assert history.hits == 9
    lines = draw([Curve("hits", points, stems=True)], [], (0, 86_400), 80, 10)
    assert any(ink == "hits" for line in lines for _, ink in line)


@given(values=st.lists(st.floats(0, 1e6), min_size=1, max_size=400), columns=st.integers(1, 60))
def test_thinning_keeps_the_least_and_the_greatest_in_order(values: list[float], columns: int) -> None:
    points: list[Point] = [(float(t), value) for t, value in enumerate(values)]
    for kept in (by_column(points, 0.0, float(len(values)), columns), thin(points, 4)):
        assert kept == sorted(kept)
        assert set(kept) <= set(points)
        assert max(value for _, value in kept) == max(values)
        assert min(value for _, value in kept) == min(values)
    assert len(by_column(points, 0.0, float(len(values)), columns)) <= 2 * columns + 1


@pytest.mark.parametrize("values", [[0.0], [0.0, 0.0], [1e12, 0.0, 1.0], [0.001], [3.0] * 500, list(range(999))])
def test_odd_series_are_drawn_to_the_size_asked_for(values: list[float]) -> None:
    points = [(float(t + 1), float(value)) for t, value in enumerate(values)]
    for width, height in ((3, 2), (19, 5), (80, 15)):
        lines = draw([Curve("x", points, fill=True)], [(1.0, 5.0, "concurrency")], (0.0, points[-1][0]), width, height)
        assert len(lines) in (0, height)
        assert all(sum(cell_len(text) for text, _ in line) == width for line in lines)
    assert ceiling(max(values)) >= max(values)


def test_the_caption_of_a_crowd_of_marks_is_the_newest() -> None:
    points = [(float(t), 10.0) for t in range(100)]
    marks = [(50.0 + n, 11.0 + n, "concurrency") for n in range(3)]
    lines = draw([Curve("x", points)], marks, (0.0, 100.0), 60, 8)
    top = "".join(text for text, _ in lines[0])
    assert "11 → 13" in top
    assert "→ 12" not in top


def test_a_key_that_is_held_down_leaves_one_mark_and_not_a_wall() -> None:
    points = [(float(t), 10.0) for t in range(100)]
    held = [(20.0 + t, 11.0 + t, "concurrency") for t in range(40)]
    lines = draw([Curve("x", points)], [*held, (90.0, 4.0, "concurrency")], (0.0, 100.0), 60, 8)
    captions = "".join(text for text, _ in lines[0]).split("│")[1:]
    assert [caption.strip() for caption in captions] == ["11 → 50", "→ 4"]
    assert sum(len(text) for text, ink in lines[3] if ink == "mark") == 2


def test_turns_that_no_person_took_are_told_from_a_persons() -> None:
    history = History()
    turned = ((20.0, 20.0, "concurrency"), (50.0, 12.0, "tune"), (80.0, 8.0, "sweep"))
    for n, (t, value, kind) in enumerate(turned):
        history.extend([], [Event(id=n, t=t, at=0.0, kind=kind, detail="why", value=value)])
    points = [(float(t), 10.0) for t in range(100)]
    lines = draw([Curve("x", points)], history.marks, (0.0, 100.0), 60, 8)
    top = "".join(text for text, _ in lines[0])
    assert "│→ 20 " in top
    assert "╎a→12 " in top
    assert "╎s→8 " in top
    inks = {ink for line in lines[:-1] for text, ink in line if "│" in text or "╎" in text}
    assert inks == {"mark", "auto"}


def test_the_cap_is_a_step_and_never_a_slope() -> None:
    assert stepped([(1.0, 10.0), (2.0, 10.0), (9.0, 20.0), (10.0, 5.0)]) == [
        (1.0, 10.0), (2.0, 10.0), (9.0, 10.0), (9.0, 20.0), (10.0, 20.0), (10.0, 5.0),
    ]  # fmt: skip
    assert stepped([]) == []
    lines = draw([Curve("cap", [(0.0, 2.0), (100.0, 20.0)], steps=True)], [], (0.0, 100.0), 60, 12)
    inked = [sum(len(text) for text, ink in line if ink == "cap") for line in lines[:-1]]
    assert max(inked) > 50, "flat until it was turned"
    assert sorted(inked)[-2] <= 2, "and then straight up"


async def test_an_ended_run_is_summed_up_and_tells_of_nothing_that_is_over() -> None:
    app = ChartsApp()
    samples, events = make_samples(60)
    async with app.run_test(size=(160, 30)) as pilot:
        app.charts.extend(samples, events)
        await drawn(pilot)
        assert f"{round(samples[-1].in_flight)} of 20" in app.text()
        app.charts.ended = True
        await drawn(pilot)
        average = sum(sample.done + sample.failed for sample in samples) / 60
        assert f"{average:.1f}/s · " in app.text()
        assert "on average" in app.text()
        assert "20 at most" in app.text()
        assert f"{max(sample.queued for sample in samples)} at most · {samples[-1].queued} left" in app.text()
        assert f"{sum(sample.rate_limit_hits for sample in samples)} in all" in app.text()
        assert " of 20" not in app.text()
        assert " now" not in app.text()


def test_events_of_other_kinds_are_no_marks() -> None:
    history = History()
    event = Event(id=1, t=3.0, at=0.0, kind="pause", detail="", value=None)
    history.extend([], [event, msgspec.structs.replace(event, kind="concurrency", value=4.0)])
    assert history.marks == [(3.0, 4.0, "concurrency")]


def test_the_queue_is_the_mean_of_what_waited_where_it_was_taken() -> None:
    first, second, third = make_samples(3)[0]
    history = History()
    taken = msgspec.structs.replace(second, queue_depth=12.5)
    empty = msgspec.structs.replace(third, queue_depth=0.0, waits={"streaming": 4})
    history.extend([first, taken, empty], [])
    assert [depth for _, depth in history.series["queue"].points] == [float(first.queued), 12.5, 0.0]


async def test_changed_limits_an_outage_and_a_learned_quota_are_noted_beside_the_marks() -> None:
    app = ChartsApp()
    samples, events = make_samples(60)
    kinds = ((10.0, "settings"), (40.0, "quota"), (41.0, "breaker"), (50.0, "pause"))
    more = [Event(id=9 + n, t=t, at=0.0, kind=kind, detail="", value=None) for n, (t, kind) in enumerate(kinds)]
    async with app.run_test(size=(160, 40)) as pilot:
        app.charts.extend(samples, [*events, *more])
        await drawn(pilot)
        assert app.charts.notes() == [(10.0, "settings"), (40.0, "quota"), (41.0, "breaker")]
        assert app.charts.marks() == [(30.0, 20.0, "concurrency")], "turns of the cap, and nothing else"
        for chart in app.query(Chart):
            top = chart.render_line(1).text
            assert "◆" in top
            assert "!" in top, "of two in one place the outage"
            assert "◇" not in top
            assert "→ 20" in top
        assert "┊" in app.text()
        built = app.builds
        app.charts.extend([], more)
        await drawn(pilot)
        assert app.builds == built


def test_notes_hide_nothing_that_was_measured() -> None:
    points = [(float(t), 10.0) for t in range(100)]
    notes = [(float(t), "settings") for t in range(0, 100, 10)]
    with_notes = draw([Curve("x", points, fill=True)], [], (0.0, 100.0), 60, 8, notes=notes)
    without = draw([Curve("x", points, fill=True)], [], (0.0, 100.0), 60, 8)
    for noted, bare in zip(with_notes[1:], without[1:], strict=True):
        noted_text, bare_text = ("".join(text for text, _ in line) for line in (noted, bare))
        assert all(char in (kept, "┊") and (char == kept or kept in " \u2800")
                   for char, kept in zip(noted_text, bare_text, strict=True))  # fmt: skip


def test_a_sample_without_length_is_no_division_by_zero() -> None:
    sample: Sample = msgspec.structs.replace(make_samples(1)[0][0], dt=0.0)
    history = History()
    history.extend([sample], [])
    assert history.series["throughput"].points == [(1.0, 0.0)]
