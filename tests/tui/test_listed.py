"""Columns that one chooses and finds again, rows that one marks, and what is done with them."""

from __future__ import annotations

import asyncio
import csv
import json
import sqlite3
import stat
from array import array
from pathlib import Path

import pytest

from batchdeck.config import home as data_folder
from batchdeck.errors import StoreError
from batchdeck.store.reader import RunReader
from batchdeck_tui.bridge import Found
from batchdeck_tui.remembered import Remembered, recall, remember
from batchdeck_tui.screens.columnsview import ColumnsScreen
from batchdeck_tui.screens.exportform import ExportScreen, proposed
from batchdeck_tui.screens.run import RunScreen
from batchdeck_tui.selection import Selection
from batchdeck_tui.widgets.charts import Charts
from batchdeck_tui.widgets.columns import AS_AT_FIRST, NAMES, gap, layout
from batchdeck_tui.widgets.results import MARK
from tests.runs.processes import wait_for_end, wait_until_free
from tests.tui.console import console, launched, page, read, until
from tests.tui.runfile import make_run, make_samples


@pytest.fixture
def ended(home: Path) -> Path:
    (home / "runs").mkdir(parents=True)
    samples, events = make_samples(30)
    return make_run(
        home / "runs" / "reviews.db", 60, settled=43, failed=(3, 7, 11), texts={1: "a pelican", 30: "=cmd()"},
        samples=samples, events=events,
    )  # fmt: skip


def title(screen: RunScreen) -> list[str]:
    return read(screen.table).splitlines()[0].split()


# -- columns


@pytest.mark.parametrize("width", [40, 59, 60, 80, 100, 120, 200])
def test_whatever_is_chosen_the_columns_fill_the_line(width: int) -> None:
    chosen = AS_AT_FIRST
    for name in (*NAMES, *NAMES[::-1], "prompt", "tok"):
        chosen = chosen.turned(name).widened(name, 3, 8)
        columns = layout(width, 1_000, chosen)
        assert sum(column.width for column in columns) + gap(width) * (len(columns) - 1) == width - 2
        assert columns[0].name == "#"
        assert {"prompt", "answer"} & {column.name for column in columns}
        assert [column.name for column in columns] == [name for name in NAMES if name in {c.name for c in columns}]


async def test_columns_are_shown_hidden_and_widened_and_found_again(ended: Path) -> None:
    async with console(ended, (140, 40)) as (pilot, screen):
        assert "ttft" in title(screen)
        await pilot.press("o")
        await until(pilot, lambda: isinstance(pilot.app.screen, ColumnsScreen))
        await pilot.press(*["down"] * NAMES.index("ttft"), "space")
        await until(pilot, lambda: "ttft" not in title(screen))
        await pilot.press(*["up"] * (NAMES.index("ttft") - NAMES.index("id")), "space", "plus", "plus", "minus")
        await until(pilot, lambda: "id" in title(screen))
        assert "id-5" in read(screen.table)
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is screen)
    kept = recall()
    assert (kept.columns, kept.widths) == ({"ttft": False, "id": True}, {"id": 13})
    assert stat.S_IMODE((data_folder() / "console.json").stat().st_mode) == 0o600
    async with console(ended, (140, 40)) as (pilot, screen):
        assert "ttft" not in title(screen)
        assert "id" in title(screen)
        await pilot.press("o", "0", "escape")
        await until(pilot, lambda: "ttft" in title(screen))
    assert recall() == Remembered()


async def test_the_rows_are_ordered_from_the_list_of_columns(ended: Path) -> None:
    async with console(ended, (140, 40)) as (pilot, screen):
        await pilot.press("o", *["down"] * NAMES.index("tok"), "enter")
        await until(pilot, lambda: "tok↓" in title(screen))
        await pilot.press("o")
        await until(pilot, lambda: "tok↑" in title(screen))
        await pilot.press("q")
        await until(pilot, lambda: pilot.app.screen is screen)
        assert "by tok ↑" in page(pilot.app)


def test_what_was_kept_may_be_lost_or_damaged(home: Path) -> None:
    assert recall() == Remembered()
    assert remember(widths={"id": 20}) == ""
    assert recall().widths == {"id": 20}
    (data_folder() / "console.json").write_text("{ no json")
    assert recall() == Remembered()
    (data_folder() / "console.json").unlink()
    (data_folder() / "console.json").mkdir()
    assert recall() == Remembered()
    assert "console.json" in remember(widths={})


# -- marks


async def test_rows_are_marked_one_by_one_and_all_at_once(ended: Path) -> None:
    async with console(ended, (140, 40)) as (pilot, screen):
        await pilot.press("m", "down", "m")
        await until(pilot, lambda: screen.table.marks == {0, 2})
        assert [line[0] for line in read(screen.table).splitlines()[1:5]] == [MARK, " ", MARK, " "]
        assert screen.table.cursor_idx == 3, "on to the next"
        await pilot.press("home", "m")
        await until(pilot, lambda: screen.table.marks == {2})
        await pilot.press("f", "f", "f", "f")
        await until(pilot, lambda: screen.table.visible_indices() == [3, 7, 11])
        await pilot.press("asterisk")
        await until(pilot, lambda: screen.table.marks == {2, 3, 7, 11})
        await until(pilot, lambda: "4 rows marked" in page(pilot.app))
        await pilot.press("asterisk")
        await until(pilot, lambda: screen.table.marks == {2})
        await pilot.press("M")
        await until(pilot, lambda: not screen.table.marks)


async def test_only_the_marked_rows_are_tried_again(tmp_path: Path) -> None:
    """A provider that refuses everything: of twelve items that failed two go again."""
    prompts = [f"number {n}" for n in range(12)]
    async with (
        # slowly enough for a console to come while the engine is there
        launched(tmp_path, prompts, "--max-retries", "0", "--rpm", "300", faults={"400": 1.0}) as (run, _),
        console(run, (140, 40)) as (pilot, screen),
    ):
        await until(pilot, lambda: screen.is_live and screen._now is not None and screen._now.counts.failed == 12)
        await pilot.press("home", "down", "m", "down", "m", "r")
        await until(pilot, lambda: "2 failed items go again" in page(pilot.app))
        await until(pilot, lambda: screen._now is not None and screen._now.counts.attempts == 14)
    with RunReader(run) as reader:
        assert [row.attempts for row in reader.window(0, 12)] == [1, 2, 1, 2, *[1] * 8]


async def test_of_a_run_that_is_over_only_the_marked_rows_are_tried_again(tmp_path: Path) -> None:
    prompts = [f"number {n}" for n in range(12)]
    async with launched(tmp_path, prompts, "--max-retries", "0", faults={"400": 1.0}) as (run, _):
        await wait_for_end(run)
        await asyncio.to_thread(wait_until_free, run)
        async with console(run, (140, 40)) as (pilot, screen):
            await until(pilot, lambda: screen._now is not None and screen._now.state == "done")
            await pilot.press("home", "down", "m", "down", "m")
            await until(pilot, lambda: "2 rows marked   for r y E   M unmarks" in page(pilot.app))
            await pilot.press("r")
            await until(pilot, lambda: screen._now is not None and screen._now.counts.attempts == 14)
            await until(pilot, lambda: not screen.table.marks)
            await until(pilot, lambda: "M unmarks" not in page(pilot.app))
    with RunReader(run) as reader:
        assert [row.attempts for row in reader.window(0, 12)] == [1, 2, 1, 2, *[1] * 8]


async def test_marks_never_start_what_is_still_queued(ended: Path) -> None:
    async with console(ended, (140, 40)) as (pilot, screen):
        await until(pilot, lambda: screen._now is not None)
        await pilot.press("m", "r")
        await until(pilot, lambda: "R resumes the run; then r" in page(pilot.app))
        assert screen.table.marks == {0}


async def test_rows_that_have_not_failed_start_nothing(home: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "done.db", 20, settled=20, failed=(3,), ending="done")
    async with console(run, (140, 40)) as (pilot, screen):
        await until(pilot, lambda: screen._now is not None)
        await pilot.press("m", "r")
        await until(pilot, lambda: "None of the marked rows has failed" in page(pilot.app))
        assert screen.table.marks == {0}


async def test_an_item_is_shown_though_rows_settle_faster_than_it_is_read(ended: Path) -> None:
    async with console(ended, (140, 40)) as (pilot, screen):
        await pilot.press("home", "enter")
        await until(pilot, lambda: screen.pane.detail is not None)
        read_once, gate, asked = screen.bridge.detail, asyncio.Event(), []

        async def slowly(idx: int) -> object:
            asked.append(idx)
            await gate.wait()
            gate.clear()
            if idx == 1:
                raise StoreError("the disk is slow, and broke")
            return await read_once(idx)

        screen.bridge.detail = slowly  # type: ignore[method-assign, assignment]
        screen.open_detail(1)
        await until(pilot, lambda: asked == [1])
        screen.open_detail(2)
        gate.set()
        await until(pilot, lambda: asked == [1, 2])
        screen._load_detail(2)  # rows settle meanwhile
        gate.set()
        await until(pilot, lambda: screen.pane.detail is not None and screen.pane.detail.idx == 2)
        assert asked == [1, 2, 2], "shown before it is looked at again"
        gate.set()


async def test_what_is_exported_of_a_filter_was_looked_for_in_all_rows(ended: Path, tmp_path: Path) -> None:
    """A large run's index takes its time; what is listed by then is not all."""
    async with console(ended, (140, 40)) as (pilot, screen):
        await pilot.press("f", "f", "f", "f")
        await until(pilot, lambda: screen.table.visible_indices() == [3, 7, 11])
        assert screen._found is not None
        screen._found = Found(Selection(array("q", [3])), 57)
        screen._list_as_flown()
        await export(pilot, screen, str(tmp_path / "failed.csv"), "3 rows in")


@pytest.mark.parametrize("size", [(80, 24), (140, 40)])
async def test_a_state_that_no_key_leads_to_can_be_turned_on_from(ended: Path, size: tuple[int, int]) -> None:
    async with console(ended, size) as (pilot, screen):
        await pilot.press("slash", *"state:skipped", "enter")
        await until(pilot, lambda: "skipped" in page(pilot.app) and not screen.table.visible_indices())
        await pilot.press("f")
        await until(pilot, lambda: screen._filter.state == "in_flight")


async def test_a_share_is_one_of_what_is_listed(ended: Path) -> None:
    async with console(ended, (140, 40)) as (pilot, screen):
        await pilot.press("f", "f", "f", "f")
        await until(pilot, lambda: screen.table.visible_indices() == [3, 7, 11])
        await pilot.press(":", "5", "0", "%", "enter")
        await until(pilot, lambda: screen.table.cursor_idx == 7)


async def test_an_item_that_leaves_the_list_is_still_read_and_the_cursor_keeps_its_place(ended: Path) -> None:
    async with console(ended, (140, 40)) as (pilot, screen):
        await pilot.press("f", "f", "f", "f")
        await until(pilot, lambda: screen.table.source is not None and screen.table.source.count == 3)
        rows = [screen.table.source.idx_at(place) for place in range(3)]
        screen.table.select(Selection(array("q", reversed(rows)), sorted=False))
        await pilot.press("home", "down", "enter")
        await until(pilot, lambda: screen._opened == rows[1])
        # it settles, and is listed no more
        screen.table.select(Selection(array("q", [rows[2], rows[0]]), sorted=False))
        await pilot.pause()
        assert screen.table.cursor_idx == rows[0], "the place, and not the top"
        assert screen._opened == rows[1]
        await pilot.press("up")
        await until(pilot, lambda: screen._opened == rows[2])


async def test_the_scrollbar_ends_following_as_the_wheel_does(ended: Path) -> None:
    async with console(ended, (140, 30)) as (pilot, screen):
        assert screen._following
        await pilot.click(screen.table, offset=(screen.table.outer_size.width - 1, 15))
        await until(pilot, lambda: not screen._following)


async def test_nothing_is_offered_that_hides_parts_of_our_screens(ended: Path) -> None:
    async with console(ended, (140, 30)) as (pilot, screen):
        titles = [command.title for command in pilot.app.get_system_commands(screen)]
        assert not {"Maximize", "Minimize"} & set(titles)
        assert len(titles) == len(set(titles))


async def test_after_a_search_in_the_detail_alone_its_keys_scroll_it(ended: Path) -> None:
    async with console(ended, (140, 30)) as (pilot, screen):
        await pilot.press("home", "enter", "z", "slash", "escape")
        await until(pilot, lambda: not screen.is_searching)
        assert screen.focused is screen.pane
        await pilot.press("j", "j")
        assert screen._opened == 0


# -- export


async def export(pilot, screen: RunScreen, name: str, said: str) -> None:  # type: ignore[no-untyped-def]
    await pilot.press("E")
    await until(pilot, lambda: isinstance(pilot.app.screen, ExportScreen))
    pilot.app.screen.query_one("#file").value = name
    await pilot.press("enter")
    await until(pilot, lambda: said in page(pilot.app))


async def test_what_is_marked_what_is_listed_or_everything_is_exported(ended: Path, tmp_path: Path) -> None:
    async with console(ended, (200, 40)) as (pilot, screen):
        everything = tmp_path / "all.jsonl"
        await export(pilot, screen, str(everything), "60 rows in")
        assert len(everything.read_text().splitlines()) == 60
        await pilot.press("f", "f", "f", "f")
        await until(pilot, lambda: screen.table.visible_indices() == [3, 7, 11])
        listed = tmp_path / "failed.csv"
        await export(pilot, screen, str(listed), "3 rows in")
        assert [row["index"] for row in csv.DictReader(listed.open())] == ["3", "7", "11"]
        await pilot.press("escape", "home", "down", "m", ":", "3", "0", "enter")
        await until(pilot, lambda: screen.table.cursor_idx == 30)
        await pilot.press("m")
        marked = tmp_path / "marked.jsonl"
        await export(pilot, screen, str(marked), "2 rows in")
        assert [json.loads(line)["index"] for line in marked.read_text().splitlines()] == [1, 30]


async def test_an_export_that_cannot_be_says_why(ended: Path, tmp_path: Path) -> None:
    async with console(ended, (140, 40)) as (pilot, screen):
        await pilot.press("E")
        await until(pilot, lambda: isinstance(pilot.app.screen, ExportScreen))
        box = pilot.app.screen.query_one("#file")
        box.value = "results.doc"  # type: ignore[attr-defined]
        await until(pilot, lambda: "ends with .jsonl or .csv" in page(pilot.app))
        box.value = str(ended)  # type: ignore[attr-defined]
        await until(pilot, lambda: "ends with .jsonl or .csv" in page(pilot.app))
        await pilot.press("enter")
        assert isinstance(pilot.app.screen, ExportScreen)
        for odd, said in (("~zz", "home directory"), ("x" * 300 + ".csv", "too long"), (str(tmp_path), "ends with")):
            box.value = odd  # type: ignore[attr-defined]
            await until(pilot, lambda said=said: said in page(pilot.app))  # type: ignore[misc]
            await pilot.press("enter")
            assert isinstance(pilot.app.screen, ExportScreen)
        box.value = str(tmp_path / "none" / "there.csv")  # type: ignore[attr-defined]
        await pilot.press("enter")
        await until(pilot, lambda: "cannot be written" in page(pilot.app))
        await pilot.press("E")
        await until(pilot, lambda: isinstance(pilot.app.screen, ExportScreen))
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is screen)


async def test_a_file_is_written_over_only_when_that_is_meant(ended: Path, tmp_path: Path) -> None:
    there = tmp_path / "there.csv"
    there.write_text("dear")
    async with console(ended, (140, 40)) as (pilot, screen):
        await pilot.press("E")
        await until(pilot, lambda: isinstance(pilot.app.screen, ExportScreen))
        pilot.app.screen.query_one("#file").value = str(there)  # type: ignore[attr-defined]
        await until(pilot, lambda: "is there already" in page(pilot.app))
        await pilot.press("enter")
        await until(pilot, lambda: "Write over it?" in page(pilot.app))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, ExportScreen))
        assert there.read_text() == "dear"
        await pilot.press("enter")
        await until(pilot, lambda: "Write over it?" in page(pilot.app))
        await pilot.press("y")
        await until(pilot, lambda: "60 rows in" in page(pilot.app))
        assert pilot.app.screen is screen
    assert there.read_text().count("\n") > 60


def test_what_is_proposed_is_a_name_that_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for expected in ("prompts.jsonl", "prompts-answers.jsonl", "prompts-answers-2.jsonl", "prompts-answers-3.jsonl"):
        assert proposed("prompts") == expected
        Path(expected).touch()


# -- the clipboard


async def test_answers_are_copied_to_the_terminals_clipboard(ended: Path) -> None:
    async with console(ended, (140, 40)) as (pilot, screen):
        await pilot.press("down", "y")
        await until(pilot, lambda: "copied 9 characters of row 1" in page(pilot.app))
        assert pilot.app.clipboard == "a pelican"
        await pilot.press("m", ":", "3", "0", "enter")
        await until(pilot, lambda: screen.table.cursor_idx == 30)
        await pilot.press("m", "y")
        await until(pilot, lambda: "15 characters of 2 rows" in page(pilot.app))
        assert pilot.app.clipboard == "a pelican\n\n=cmd()"
        await pilot.press("M", ":", "5", "9", "enter", "y")
        await until(pilot, lambda: "there is no answer to copy yet" in page(pilot.app))


# -- the log of events


async def test_the_log_of_events_is_read_filtered_and_follows(ended: Path) -> None:
    async with console(ended, (120, 30)) as (pilot, screen):
        await pilot.press("e")
        await until(pilot, lambda: "10 → 20" in page(pilot.app))
        assert "2 events" in page(pilot.app)
        with sqlite3.connect(ended) as db:
            db.execute("INSERT INTO events VALUES (9, 31.0, 1.795e9, 'pause', 'a\x1b]52;c;x\x07 [red]word', NULL)")
        await until(pilot, lambda: "3 events" in page(pilot.app), "one that came later")
        assert "␛]52;c;x␇ [red]word" in page(pilot.app)
        assert "\x1b" not in page(pilot.app)
        await pilot.press("f")
        await until(pilot, lambda: "1 of 3 events: concurrency" in page(pilot.app))
        assert "10 at once" not in page(pilot.app)
        await pilot.press("F")
        await until(pilot, lambda: "10 at once" in page(pilot.app))
        await pilot.press("e")
        await until(pilot, lambda: pilot.app.screen is screen)


# -- the time that the charts show


async def test_w_turns_through_the_time_that_the_charts_show(ended: Path) -> None:
    async with console(ended, (140, 40)) as (pilot, screen):
        charts = screen.query_one(Charts)
        shown = [charts.window]
        for _ in range(4):
            await pilot.press("w")
            shown.append(charts.window)
        assert shown == [None, 3_600.0, 600.0, 60.0, None]
        await until(pilot, lambda: "the whole run" in page(pilot.app))
