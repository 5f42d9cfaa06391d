"""The screen of all charts: its keys, its mouse, its sizes; of runs that live and of runs that have ended."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from textual.pilot import Pilot

from batchdeck.model import Command, Event, Reply, Sample
from batchdeck_tui.commands import palette
from batchdeck_tui.messages import NewSamples, SnapshotReady
from batchdeck_tui.screens.chartsview import ChartsScreen
from batchdeck_tui.screens.run import RunScreen
from batchdeck_tui.widgets.chart import CURSOR, Chart
from batchdeck_tui.widgets.chartgrid import ChartGrid
from batchdeck_tui.widgets.charts import Charts
from tests.tui.console import console, footer, launched, page, read, until
from tests.tui.held import held_by_tpm
from tests.tui.runfile import make_run, make_samples

SECONDS = 1_200
SPIKE = 700
"""Second in which the one great burst of 429s came."""


def told(seconds: int = SECONDS) -> tuple[list[Sample], list[Event]]:
    samples, events = make_samples(seconds)
    samples = [msgspec.structs.replace(sample, rate_limit_hits=55 if sample.t == SPIKE else 0) for sample in samples]
    changed = Event(id=3, t=0.75 * seconds, at=samples[0].at + 0.75 * seconds, kind="settings", detail="rpm 500 → 300")
    return samples, [*events, changed]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that was turned up from 10 to 20 after ten minutes, and has ended after twenty."""
    samples, events = told()
    return make_run(tmp_path / "run.db", 640, samples=samples, events=events, ending="done")


async def opened(pilot: Pilot[None], screen: RunScreen) -> tuple[ChartsScreen, ChartGrid]:
    history = screen.query_one(Charts).history
    await until(pilot, lambda: history.last is not None and history.timed == history.last.t)
    await pilot.press("C")
    await until(pilot, lambda: isinstance(pilot.app.screen, ChartsScreen))
    found = pilot.app.screen
    assert isinstance(found, ChartsScreen)
    await until(pilot, lambda: found._stands)
    await still(pilot, found.grid)
    return found, found.grid


async def still(pilot: Pilot[None], grid: ChartGrid) -> None:
    """Wait until every plot in view is built."""
    history = grid.history
    await until(
        pilot,
        lambda: all(
            one.fits(history, grid.span) for one in grid.charts if one.display and grid.region.overlaps(one.region)
        ),
        "plots are built",
    )
    await pilot.pause()


def title(grid: ChartGrid, name: str) -> str:
    return grid.query_one(f"#chart-{name}", Chart).render_line(0).text.strip()


def builds(grid: ChartGrid) -> int:
    return sum(chart.builds for chart in grid.charts)


@pytest.mark.parametrize("size", [(80, 24), (160, 48), (200, 60), (120, 18), (50, 20)])
async def test_a_run_that_has_ended_shows_all_charts_from_its_file(run: Path, size: tuple[int, int]) -> None:
    async with console(run, size) as (pilot, screen):
        _, grid = await opened(pilot, screen)
        assert len(grid.charts) == 8
        for chart in grid.charts:
            lines = read(chart).splitlines()
            assert any("⠀" < char <= "⣿" for line in lines[1:] for char in line), chart.kind.name
            assert "→ 20" in lines[1]
            assert not chart.has_axis or lines[-1].split()[-1] == "20:00"
        assert any(chart.has_axis for chart in grid.charts)
        assert "of all" in title(grid, "ttft") or "p95" in title(grid, "ttft")
        assert title(grid, "hits") == "rate-limit hits  55 in all"
        assert title(grid, "cost").startswith("cost  $")
        assert "whole run" in page(pilot.app)
        assert " cap " not in page(pilot.app), "nothing to turn"
        assert "live" not in footer(pilot.app), "and nowhere to go back to"
        if size[1] >= 24:
            assert all(chart.region.bottom < size[1] for chart in grid.charts), "all of them are in view"
        await pilot.press("plus", "right_square_bracket")
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is screen)


async def test_the_cursor_reads_every_chart_and_nothing_is_drawn_again(run: Path) -> None:
    async with console(run, (160, 48)) as (pilot, screen):
        _, grid = await opened(pilot, screen)
        built = builds(grid)
        await pilot.press("left")
        assert grid.cursor == SECONDS, "it begins at the newest sample"
        await pilot.press("left")
        second = grid.cursor
        assert second is not None
        frame = grid.focused.frame
        assert frame is not None
        assert frame.column(second) == frame.columns - 2
        await pilot.press("h", "right", "l")
        assert grid.cursor == SECONDS
        for chart in grid.charts:
            where = [line.find(CURSOR) for line in read(chart).splitlines()]
            assert chart.frame is not None
            assert set(where) <= {-1, chart.frame.margin + chart.frame.columns - 1}
        await until(pilot, lambda: "┃ 20:00" in page(pilot.app))
        assert "$" in title(grid, "cost")
        assert title(grid, "cost").endswith("by then")
        assert builds(grid) == built


async def test_a_spike_is_read_in_its_column(run: Path) -> None:
    async with console(run, (80, 24)) as (pilot, screen):
        _, grid = await opened(pilot, screen)
        frame = grid.focused.frame
        assert frame is not None
        await pilot.press("left", *["left"] * (frame.columns - 1 - frame.column(SPIKE)))
        assert grid.cursor is not None
        assert frame.column(grid.cursor) == frame.column(SPIKE)
        assert "55" in title(grid, "hits")
        await pilot.press("right", "right")
        assert "55" not in title(grid, "hits")


async def test_n_leads_from_mark_to_mark_and_says_what_was_done(run: Path) -> None:
    async with console(run, (120, 40)) as (pilot, screen):
        _, grid = await opened(pilot, screen)
        await pilot.press("N")
        assert grid.cursor == 900.0
        await until(pilot, lambda: "◆ settings: rpm 500 → 300" in page(pilot.app))
        await pilot.press("N")
        assert grid.cursor == 600.0
        await until(pilot, lambda: "│ concurrency: 10 → 20" in page(pilot.app))
        await pilot.press("N")
        await until(pilot, lambda: "No mark stands before the cursor" in page(pilot.app))
        await pilot.press("n")
        assert grid.cursor == 900.0


async def test_zoom_pan_and_back_to_the_newest(run: Path) -> None:
    async with console(run, (120, 40)) as (pilot, screen):
        _, grid = await opened(pilot, screen)
        for key, seconds in (("2", 600.0), ("1", 60.0)):
            await pilot.press(key)
            assert grid.span == (SECONDS - seconds, SECONDS)
        await still(pilot, grid)
        assert read(grid.charts[0]).splitlines()[-1].split()[0] == "19:00"
        await until(pilot, lambda: "last minute" in page(pilot.app))
        await pilot.press("shift+left")
        assert grid.span == (1_110.0, 1_170.0)
        await pilot.press("H")
        assert grid.span == (1_080.0, 1_140.0)
        assert grid.cursor == 1_140.0
        await until(pilot, lambda: "live" in footer(pilot.app))
        await pilot.press("L")
        assert grid.span == (1_110.0, 1_170.0)
        await pilot.press("shift+right", "shift+right", "shift+right")
        assert grid.span == (1_140.0, 1_200.0)
        await pilot.press("0")
        assert grid.view.is_live
        assert grid.cursor is None
        await pilot.press("Z")
        assert grid.window == 600.0
        await pilot.press("Z")
        assert grid.window is None
        await pilot.press("3")
        assert grid.span == (0.0, SECONDS)
        await pilot.press("4", "z")
        assert grid.window == 600.0
        await pilot.press("left", "left", "end")
        assert grid.view.is_live
        assert grid.window == 600.0


async def test_one_chart_alone_and_all_of_them_again(run: Path) -> None:
    async with console(run, (80, 24)) as (pilot, screen):
        found, grid = await opened(pilot, screen)
        assert grid.focused.kind.name == "throughput"
        assert title(grid, "throughput").startswith("▸ ")
        await pilot.press("tab", "tab")
        assert grid.focused.kind.name == "in_flight"
        await pilot.press("shift+tab")
        assert grid.focused.kind.name == "tokens"
        await pilot.press("enter")
        await still(pilot, grid)
        assert [chart.kind.name for chart in grid.charts if chart.display] == ["tokens"]
        assert grid.focused.size.height >= 20
        await pilot.press("shift+tab", "shift+tab")
        await still(pilot, grid)
        assert [chart.kind.name for chart in grid.charts if chart.display] == ["cost"]
        assert grid.focused.kind.name == "cost"
        await pilot.press("left", "left", "escape")
        assert pilot.app.screen is found
        assert grid.alone is None
        assert all(chart.display for chart in grid.charts)
        assert grid.cursor is not None
        await pilot.press("m")
        assert grid.alone is not None
        await pilot.press("m", "C")
        await until(pilot, lambda: pilot.app.screen is screen)


async def test_the_mouse_reads_and_a_click_stays(run: Path) -> None:
    async with console(run, (160, 48)) as (pilot, screen):
        _, grid = await opened(pilot, screen)
        queue = grid.query_one("#chart-queue", Chart)
        built = builds(grid)
        await pilot.hover(queue, offset=(30, 4))
        await until(pilot, lambda: grid.cursor is not None)
        hovered = grid.cursor
        assert "waiting" in title(grid, "queue")
        assert title(grid, "cost").endswith("by then")
        assert not grid.view.cursor
        await pilot.hover("ChartsHead")
        await until(pilot, lambda: grid.cursor is None)
        await pilot.click(queue, offset=(30, 4))
        await pilot.hover("ChartsHead")
        await until(pilot, lambda: grid.view.cursor == hovered)
        assert grid.focused is queue
        assert builds(grid) == built
        await pilot.hover(queue, offset=(1, 4))
        await pilot.pause()
        assert grid.cursor == hovered, "the labels of the axis are no moment"


async def test_beside_the_table_the_mouse_reads_too(run: Path) -> None:
    async with console(run, (160, 48)) as (pilot, screen):
        charts = screen.query_one(Charts)
        await until(pilot, lambda: charts.series("cap"))
        chart = charts.query(Chart).first()
        # what was laid out first may be painted once more, for the samples that have come since
        await until(pilot, lambda: chart.fits(charts.history, charts.span) and not charts.is_drawing)
        built = chart.builds
        await pilot.hover(chart, offset=(20, 3))
        await until(pilot, lambda: charts.cursor is not None)
        # one is painted after another
        await until(pilot, lambda: CURSOR in read(charts.query_one("#chart-hits", Chart)))
        await pilot.hover("#header")
        await until(pilot, lambda: charts.cursor is None)
        await until(pilot, lambda: CURSOR not in read(charts.query_one("#chart-hits", Chart)))
        assert chart.builds == built


async def test_new_samples_move_what_follows_and_nothing_that_is_held(tmp_path: Path) -> None:
    samples, events = told(400)
    run = make_run(tmp_path / "run.db", 640, settled=220, samples=samples[:300], events=events[:1])
    async with console(run, (120, 40)) as (pilot, screen):
        _, grid = await opened(pilot, screen)
        await pilot.press("1")
        await still(pilot, grid)
        built = builds(grid)
        screen.on_new_samples(NewSamples(samples[300:301], []))
        await until(pilot, lambda: grid.span == (241.0, 301.0))
        await still(pilot, grid)
        assert builds(grid) == built + 8
        await pilot.press("left", "left", "left")
        await pilot.press("shift+left")
        await still(pilot, grid)
        held, built = grid.span, builds(grid)
        screen.on_new_samples(NewSamples(samples[301:303], []))
        await until(pilot, lambda: grid.history.timed == 303.0)
        await pilot.pause()
        assert grid.span == held
        assert builds(grid) == built, "what is held is not drawn again"
        screen.on_new_samples(NewSamples([], events[1:]))
        await until(pilot, lambda: builds(grid) == built + 8, "a mark may stand in it")
        await pilot.press("0")
        assert grid.span == (243.0, 303.0)


async def test_the_knob_is_beside_the_charts(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Command] = []

    async def send(command: Command) -> Reply:
        asked.append(command)
        return Reply(ok=True, message="done as asked")

    async with console(run, (80, 24)) as (pilot, screen):
        monkeypatch.setattr(screen.bridge, "send", send)
        found, grid = await opened(pilot, screen)
        screen.on_snapshot_ready(SnapshotReady(held_by_tpm(run)))
        await until(pilot, lambda: "+- cap" in page(pilot.app))
        assert "in flight 40/64" in page(pilot.app)
        assert "· live" in page(pilot.app)
        assert not grid.ended
        await pilot.press("plus", "minus", "right_square_bracket", "left_square_bracket")
        await until(pilot, lambda: [command.by for command in asked] == [1, -1, 10, -10])
        await pilot.press("left")
        await until(pilot, lambda: "· held" in page(pilot.app))
        assert {"All charts", "Zoom in", "Live again", "Concurrency +1"} - {one.title for one in palette(found)} == {
            "All charts"
        }
        assert "All charts" in {one.title for one in palette(screen)}


async def test_before_the_first_sample_every_key_does_no_harm(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run.db", 40, settled=0)
    async with console(run, (80, 24)) as (pilot, screen):
        await pilot.press("C")
        await until(pilot, lambda: isinstance(pilot.app.screen, ChartsScreen) and pilot.app.screen._stands)
        await until(pilot, lambda: page(pilot.app).count("waiting for the first sample") == 8)
        for key in ("left", "right", "H", "L", "z", "Z", "1", "4", "n", "N", "0", "m", "tab", "m", "shift+tab"):
            await pilot.press(key)
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is screen)


async def test_a_live_run_is_followed(tmp_path: Path) -> None:
    prompts = [f"prompt {n}" for n in range(5_000)]
    async with (
        launched(tmp_path, prompts, "-c", "4", latency_ms=60) as (path, _),
        console(path, (120, 40)) as (pilot, screen),
    ):
        await until(pilot, lambda: screen.is_live and screen.query_one(Charts).series("cap"))
        _, grid = await opened(pilot, screen)
        begun = grid.history.timed
        await pilot.press("right_square_bracket")
        await until(pilot, lambda: grid.history.timed >= begun + 2 and grid.marks())
        await until(pilot, lambda: "│" in read(grid.query_one("#chart-hits", Chart)))
        await until(pilot, lambda: "p50" in title(grid, "e2e"))
        await until(pilot, lambda: " of 14" in title(grid, "in_flight"))
        assert grid.history is screen.query_one(Charts).history
