"""What is typed into the search line of a run, and the rows that come of it."""

from __future__ import annotations

from array import array
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.pilot import Pilot

from batchdeck.errors import UsageError
from batchdeck_tui.asking import Asked, asked, asked_safely, written
from batchdeck_tui.screens.rowfilter import RowFilter
from batchdeck_tui.screens.run import RunScreen
from batchdeck_tui.selection import Selection
from batchdeck_tui.widgets.columns import ORDERED
from tests.tui.console import console, page, read, until
from tests.tui.runfile import make_run, make_samples


@pytest.fixture
def ended(home: Path) -> Path:
    """Sixty items: forty answers of which some were tried again, three failures, the rest queued."""
    (home / "runs").mkdir(parents=True)
    samples, events = make_samples(30)
    return make_run(
        home / "runs" / "reviews.db", 60, settled=43, failed=(3, 7, 11), retried={5: 2, 6: 1},
        texts={1: "unmistakable pelican", 30: "another pelican", 20: "time>5s is no bound here"},
        samples=samples, events=events,
    )  # fmt: skip


# -- the line


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("", Asked()),
        ("two  words", Asked("two  words")),
        ("a: b, c > d", Asked("a: b, c > d")),
        ("time>5s", Asked(ranges=(("seconds", 5.0, None),))),
        ("time>=1m30s pelican", Asked("pelican", ranges=(("seconds", 90.0, None),))),
        ("ttft<300ms tok>10", Asked(ranges=(("ttft", None, 0.3), ("tokens", 11, None)))),
        ("tok>10 tok<20", Asked(ranges=(("tokens", 11, 19),))),
        ("time:1..5", Asked(ranges=(("seconds", 1.0, 5.0),))),
        ("tries:2", Asked(ranges=(("tries", 2, 2),))),
        ("cost>$0.01", Asked(ranges=(("cost", 0.01, None),))),
        ("finish:length kind words", Asked("kind words", finish_reason="length")),
        ("state:in-flight", Asked(state="in_flight")),
        ("error:http_500 state:failed", Asked(state="failed", error_type="http_500")),
        ('"time>5s"', Asked("time>5s")),
        ('"hello" tries>0', Asked("hello", ranges=(("tries", 1, None),))),
        ('tries>0 "two  words tok>5"', Asked("two  words tok>5", ranges=(("tries", 1, None),))),
        ('"say state:failed please" state:failed', Asked("say state:failed please", state="failed")),
        ("xtok>5 tok>5", Asked("xtok>5", ranges=(("tokens", 6, None),))),
        ("tok<1234567", Asked(ranges=(("tokens", None, 1_234_566),))),
        ("tok>5.5", Asked(ranges=(("tokens", 6, None),))),
        ("tok<=5.5 tries<2.5", Asked(ranges=(("tokens", None, 5), ("tries", None, 2)))),
        ("tok>99999999999999999999", Asked(ranges=(("tokens", 10**15, None),))),
        ("cost>0.0000001", Asked(ranges=(("cost", 1e-7, None),))),
        ("time>1234567.25s", Asked(ranges=(("seconds", 1_234_567.25, None),))),
    ],
)
def test_bounds_are_told_from_words(line: str, meant: Asked) -> None:
    assert asked(line) == meant
    again = asked(written(meant.words, meant.finish_reason, meant.ranges))
    assert again == meant._replace(state=None, error_type=None), "what stands in the line when it is opened again"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("time>soon", "time>soon: 'soon' is not a time such as"),
        ("tok>many", "'many' is not a number"),
        ("state:lost", "a state is queued, in_flight, done, failed, skipped"),
    ],
)
def test_a_bound_that_says_nothing_is_told_in_a_sentence(line: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        asked(line)
    assert said in str(caught.value)


@given(st.text(max_size=40))
def test_whatever_is_typed_is_words_or_a_bound_and_comes_back_as_it_was(text: str) -> None:
    found = asked_safely(text)
    if found is None or found.state or found.error_type:
        return
    line = written(found.words, found.finish_reason, found.ranges)
    if '"' not in text:
        assert asked_safely(line) == found


def test_a_filter_says_all_of_itself_and_is_typed_again_as_it_was() -> None:
    wanted = RowFilter(state="done").asking(asked("finish:stop time>2s pelican")).ordered("seconds")
    assert str(wanted) == "done  ·  ended by stop  ·  time>2s  ·  “pelican”  ·  by time ↓"
    assert wanted.asking(asked(wanted.line)) == wanted
    assert RowFilter().asking(asked("state:failed")).turned(1) == RowFilter(state=None)


def test_a_column_orders_the_largest_first_then_the_other_way_then_not_at_all() -> None:
    first = RowFilter().ordered("cost")
    assert (first.order, first.descending) == ("cost", True)
    assert first.ordered("cost").descending is False
    assert first.ordered("cost").ordered("cost") == RowFilter()
    assert first.ordered("prompt").descending is False
    assert RowFilter().ordered("idx").descending
    assert RowFilter().ordered("idx").ordered("idx") == RowFilter()


# -- a selection


@given(st.permutations(range(12)), st.frozensets(st.integers(0, 20)), st.booleans())
def test_a_selection_knows_where_each_row_stands(rows: list[int], left_out: frozenset[int], is_sorted: bool) -> None:
    rows = sorted(rows[:7]) if is_sorted else rows[:7]
    selection = Selection(array("q", rows), sorted=is_sorted)
    for idx in range(25):
        assert selection.place(idx) == (rows.index(idx) if idx in rows else None)
    kept = selection.without(left_out)
    assert list(kept.rows) == [idx for idx in rows if idx not in left_out]
    assert [kept.place(idx) for idx in kept.rows] == list(range(len(kept)))


# -- on the screen


async def find(pilot: Pilot[None], line: str) -> None:
    await pilot.press("slash", "ctrl+u", *(_KEYS.get(character, character) for character in line), "enter")


_KEYS = {" ": "space", ">": "greater_than_sign", "<": "less_than_sign", "_": "underscore"}


async def test_rows_are_found_by_how_they_went(ended: Path) -> None:
    async with console(ended, (140, 40)) as (pilot, screen):
        await find(pilot, "tries>1")
        await until(pilot, lambda: screen.table.visible_indices() == [5, 6])
        assert "tries>=2  2 rows" in page(pilot.app)
        await find(pilot, "state:failed error:http_500")
        await until(pilot, lambda: screen.table.visible_indices() == [3, 7, 11])
        await pilot.press("escape")
        await find(pilot, "time>soon")
        await until(pilot, lambda: "'soon' is not a time" in page(pilot.app))
        assert screen.is_searching, "the line stays open to be mended"


async def test_a_click_on_a_title_orders_the_rows_and_escape_puts_them_back(ended: Path) -> None:
    async with console(ended, (140, 40)) as (pilot, screen):
        title = read(screen.table).splitlines()[0]
        await pilot.press("down", "down")
        await pilot.click("#table", offset=(title.index("time"), 0))
        await until(pilot, lambda: "time↓" in read(screen.table).splitlines()[0])
        await until(pilot, lambda: screen.table.visible_indices()[:1] != [0])
        assert screen.table.cursor_idx == 2, "the cursor stays on its row"
        with_time = [row.seconds for row in map(screen.table.source.get, range(43)) if row is not None]  # type: ignore[union-attr]
        assert with_time == sorted(with_time, reverse=True, key=lambda seconds: seconds or 0.0)
        await pilot.click("#table", offset=(title.index("time"), 0))
        await until(pilot, lambda: "time↑" in read(screen.table).splitlines()[0])
        await pilot.press("escape")
        await until(pilot, lambda: screen.table.visible_indices()[:3] == [0, 1, 2])
        assert "↑" not in read(screen.table).splitlines()[0]


async def test_n_and_shift_n_go_from_match_to_match(ended: Path) -> None:
    async with console(ended, (140, 30)) as (pilot, screen):
        await pilot.press("n")
        await until(pilot, lambda: "nothing was searched for yet" in page(pilot.app))
        await find(pilot, "pelican")
        await until(pilot, lambda: screen.table.visible_indices() == [1, 30])
        await pilot.press("n")
        assert screen.table.cursor_idx == 30
        await pilot.press("n")
        assert screen.table.cursor_idx == 1, "round the end"
        await pilot.press("escape")
        await until(pilot, lambda: len(screen.table.visible_indices()) > 2)
        await pilot.press("n")
        await until(pilot, lambda: screen.table.cursor_idx == 30)
        await pilot.press("N")
        await until(pilot, lambda: screen.table.cursor_idx == 1)


async def test_a_row_is_gone_to_by_number_share_and_id(ended: Path) -> None:
    async def go(pilot: Pilot[None], screen: RunScreen, text: str, idx: int) -> None:
        await pilot.press(":", *text, "enter")
        await until(pilot, lambda: screen.table.cursor_idx == idx, f"{text} leads to {idx}")

    async with console(ended, (140, 30)) as (pilot, screen):
        await go(pilot, screen, "41", 41)
        await go(pilot, screen, "50%", 30)
        await go(pilot, screen, "id-7", 7)
        await pilot.press(":", *"999", "enter")
        await until(pilot, lambda: "there is no row “999”; the last one is 59" in page(pilot.app))
        await find(pilot, "pelican")
        await until(pilot, lambda: screen.table.visible_indices() == [1, 30])
        await pilot.press(":", "2", "enter")
        await until(pilot, lambda: "row 2 is not among those listed" in page(pilot.app))


def test_every_column_can_be_ordered_by() -> None:
    assert len(set(ORDERED.values())) == len(ORDERED) == 9
