"""The run screen on runs that live, end, break off and come back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Footer
from textual.widgets._footer import FooterKey

from batchdeck.store.reader import RunReader
from batchdeck_tui.app import BatchdeckApp
from batchdeck_tui.bridge import FASTEST, SLOWEST, RunBridge
from batchdeck_tui.screens.confirm import ConfirmScreen
from batchdeck_tui.screens.run import RunScreen
from batchdeck_tui.screens.runs import RunsScreen
from batchdeck_tui.widgets.charts import Charts
from batchdeck_tui.widgets.detail import DetailPane
from tests.tui.console import engine, page, read, until
from tests.tui.runfile import HOSTILE, make_run, make_samples, settle

ITEMS, SETTLED = 60, 20


@pytest.fixture
def run(home: Path) -> Path:
    (home / "runs").mkdir(parents=True)
    samples, events = make_samples(30)
    return make_run(
        home / "runs" / "reviews.db",
        ITEMS,
        settled=SETTLED,
        failed=(3, 7),
        texts={1: "unmistakable pelican", 2: HOSTILE[0], 4: HOSTILE[1]},
        samples=samples,
        events=events,
    )


@pytest.fixture
def live(run: Path) -> Iterator[Path]:
    with engine(run):
        yield run


@asynccontextmanager
async def console(run: Path, size: tuple[int, int] = (120, 40)) -> AsyncIterator[tuple[Pilot[None], RunScreen]]:
    app = BatchdeckApp(run)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
        screen = app.screen
        assert isinstance(screen, RunScreen)
        await until(pilot, lambda: screen._now is not None, "a first look at the run")
        yield pilot, screen


def state(screen: RunScreen) -> str:
    return screen._now.state if screen._now is not None else ""


def footer(screen: RunScreen) -> set[str]:
    return {key.description for key in screen.query_one(Footer).query(FooterKey) if key.description}


async def test_the_first_words_of_an_answer_stand_in_its_row_while_the_stream_is_open(live: Path) -> None:
    async with console(live) as (pilot, screen):
        await pilot.press(*["down"] * 15)
        await until(pilot, lambda: "its way" in read(screen.table))
        row = next(line for line in read(screen.table).splitlines() if "its way" in line)
        assert "␛[31mon its way" in row
        assert "in flight" in row.replace("_", " ")
        assert "\x1b" not in page(pilot.app)


async def test_keys_turn_the_concurrency_and_the_charts_carry_the_marks(live: Path) -> None:
    async with console(live) as (pilot, screen):
        await until(pilot, lambda: screen.is_live)
        await pilot.press("right_square_bracket")
        await until(pilot, lambda: screen._now.concurrency == 20)  # type: ignore[union-attr]
        await pilot.press("minus")
        await until(pilot, lambda: screen._now.concurrency == 19)  # type: ignore[union-attr]
        await pilot.press("left_square_bracket", "equals_sign")
        await until(pilot, lambda: screen._now.concurrency == 10)  # type: ignore[union-attr]
        with RunReader(live) as reader:
            charts = screen.query_one(Charts)
            await until(pilot, lambda: len(charts.marks()) >= 5, "a mark for each turn of the knob")
            samples = reader.samples()
        drawn = charts.series("throughput")
        assert len(drawn) == len(samples)


async def test_concurrency_never_goes_below_one(run: Path) -> None:
    with engine(run, cap=4):
        async with console(run) as (pilot, screen):
            await until(pilot, lambda: screen.is_live)
            await pilot.press("left_square_bracket")
            await until(pilot, lambda: screen._now.concurrency == 1)  # type: ignore[union-attr]
            await pilot.press("minus")
            await until(pilot, lambda: "the least there is" in page(pilot.app))


async def test_space_pauses_and_goes_on_and_the_footer_says_which(live: Path) -> None:
    async with console(live) as (pilot, screen):
        await until(pilot, lambda: "pause" in footer(screen))
        await pilot.press("space")
        await until(pilot, lambda: state(screen) == "paused")
        await until(pilot, lambda: "go on" in footer(screen) and "pause" not in footer(screen))
        await until(pilot, lambda: "nothing new is sent" in page(pilot.app), "what the engine answered")
        await pilot.press("space")
        await until(pilot, lambda: state(screen) == "running")


async def test_cancel_asks_first_and_the_run_file_tells_the_end(live: Path) -> None:
    async with console(live) as (pilot, screen):
        await until(pilot, lambda: screen.is_live)
        await pilot.press("x")
        await until(pilot, lambda: isinstance(pilot.app.screen, ConfirmScreen))
        assert "10 in flight" in page(pilot.app)
        await pilot.press("enter")  # the safe answer has the focus
        await until(pilot, lambda: pilot.app.screen is screen)
        assert state(screen) == "running"
        await pilot.press("x")
        await until(pilot, lambda: isinstance(pilot.app.screen, ConfirmScreen))
        await pilot.press("y")
        await until(pilot, lambda: not screen.is_live and state(screen) == "cancelled")
        await until(pilot, lambda: "resume" in footer(screen) and "drain" not in footer(screen))


async def test_a_killed_engine_leaves_an_interrupted_run_and_a_new_one_is_picked_up(run: Path) -> None:
    async with console(run) as (pilot, screen):
        assert state(screen) == "interrupted"
        with engine(run) as process:
            await until(pilot, lambda: screen.is_live and state(screen) == "running")
            log = run.with_name(run.name + ".log")
            log.write_text("all is well\nthe kernel said [/no] \x1b]52;c;aGFja2Vk\x07\n")
            process.kill()
            process.wait()
            await until(pilot, lambda: not screen.is_live and state(screen) == "interrupted")
        await until(pilot, lambda: "the kernel said [/no]" in page(pilot.app))
        assert "\x1b" not in page(pilot.app)
        await pilot.press("plus")  # nobody is there to turn it: no error, no traceback
        assert isinstance(pilot.app.screen, RunScreen)
        with engine(run):
            await until(pilot, lambda: screen.is_live and state(screen) == "running")


async def test_a_row_is_repainted_when_it_settles(live: Path) -> None:
    async with console(live) as (pilot, screen):
        await pilot.press(*["down"] * 15)
        await until(pilot, lambda: screen.is_live)
        settle(live, SETTLED, "answered at last")
        await until(pilot, lambda: "answered at last" in read(screen.table))


async def test_search_filters_the_table_and_escape_shows_all(run: Path) -> None:
    async with console(run) as (pilot, screen):
        await pilot.press("slash", *"pelican", "enter")
        await until(pilot, lambda: screen.table.visible_indices() == [1])
        assert "“pelican”  1 row" in page(pilot.app)
        await pilot.press("escape")
        await until(pilot, lambda: len(screen.table.visible_indices()) > 10)


async def test_filter_turns_through_the_states(live: Path) -> None:
    async with console(live, (120, 80)) as (pilot, screen):
        await until(pilot, lambda: screen.is_live)
        await pilot.press("f")
        await until(pilot, lambda: screen.table.visible_indices() == list(range(SETTLED, SETTLED + 10)), "in flight")
        await pilot.press("f")
        await until(pilot, lambda: screen.table.visible_indices()[:1] == [SETTLED], "queued")
        await pilot.press("f")
        await until(pilot, lambda: screen.table.visible_indices() == [i for i in range(SETTLED) if i not in (3, 7)])
        settle(live, SETTLED, "a fresh answer")
        await until(pilot, lambda: SETTLED in screen.table.visible_indices(), "a row that settled under the filter")
        await pilot.press("f")
        await until(pilot, lambda: screen.table.visible_indices() == [3, 7], "failed")
        await pilot.press("F", "escape")
        await until(pilot, lambda: len(screen.table.visible_indices()) == ITEMS)


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_detail_follows_the_cursor_and_streams(live: Path, size: tuple[int, int]) -> None:
    async with console(live, size) as (pilot, screen):
        pane = screen.query_one(DetailPane)
        await pilot.press("down", "enter")
        await until(pilot, lambda: pane.display and "unmistakable pelican" in page(pilot.app))
        await pilot.press("down")
        await until(pilot, lambda: HOSTILE[0] in page(pilot.app), "the answer beside it, markup and all")
        await pilot.press(*["down"] * (SETTLED - 2))
        await until(pilot, lambda: f"The first words [/foo] of row {SETTLED}" in page(pilot.app))
        assert "\x1b" not in page(pilot.app)
        await pilot.press("escape")
        await until(pilot, lambda: not pane.display)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))


async def test_what_an_engine_answers_is_never_markup(live: Path) -> None:
    async with console(live) as (pilot, screen):
        await until(pilot, lambda: "retry" in footer(screen))
        await pilot.press("r")
        await until(pilot, lambda: "queued again [/x]" in page(pilot.app))


async def test_a_click_on_the_footer_pauses(live: Path) -> None:
    async with console(live) as (pilot, screen):
        await until(pilot, lambda: "pause" in footer(screen))
        key = next(key for key in screen.query(FooterKey) if key.description == "pause")
        await pilot.click(key)
        await until(pilot, lambda: state(screen) == "paused")


async def test_charts_can_make_room_for_the_table(run: Path) -> None:
    async with console(run) as (pilot, screen):
        before = screen.table.size.width
        await pilot.press("c")
        await until(pilot, lambda: screen.table.size.width > before)
        await pilot.press("c")
        await until(pilot, lambda: screen.table.size.width == before)


async def test_a_slow_terminal_gets_fewer_snapshots(run: Path) -> None:
    bridge = RunBridge(run, lambda message: None)
    for _ in range(5):
        bridge.painted(0.2)
    assert bridge._interval == SLOWEST
    bridge.painted(0.001)
    assert bridge._interval == FASTEST
