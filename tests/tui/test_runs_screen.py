"""The list of runs: what a person sees who starts the console with no run in mind."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from batchdeck import lock
from batchdeck_tui.app import BatchdeckApp
from batchdeck_tui.commandline import _talks
from batchdeck_tui.listing import Listing
from batchdeck_tui.screens.confirm import ConfirmScreen
from batchdeck_tui.screens.exportform import ExportScreen
from batchdeck_tui.screens.labelform import LabelScreen
from batchdeck_tui.screens.launch import LaunchScreen
from batchdeck_tui.screens.run import RunScreen
from batchdeck_tui.screens.runs import RunsScreen
from tests.tui.console import footer, kill_engine, launched, page, until, write
from tests.tui.runfile import make_run


@pytest.fixture
def runs(home: Path) -> Path:
    """A folder with an ended run, one that broke off, and a file that is no run."""
    folder = home / "runs"
    folder.mkdir(parents=True)
    make_run(folder / "tickets.db", 40)
    db = sqlite3.connect(folder / "tickets.db")
    db.execute("UPDATE run SET ending = 'done'")
    db.commit()
    db.close()
    make_run(folder / "summaries.db", 40, settled=14, failed=(2,))
    (folder / "notes.db").write_bytes(b"no database at all " * 80)
    for age, name in enumerate(("tickets.db", "summaries.db", "notes.db")):
        os.utime(folder / name, (1_795_000_000 - age, 1_795_000_000 - age))
    return folder


@asynccontextmanager
async def console(size: tuple[int, int] = (120, 30)) -> AsyncIterator[tuple[Pilot[None], RunsScreen]]:
    app = BatchdeckApp(wall=lambda: 1_795_000_400.0)
    async with app.run_test(size=size, notifications=True) as pilot:
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        yield pilot, screen


def line(pilot: Pilot[None], name: str) -> str:
    """The line of a run, or nothing."""
    return next((line for line in page(pilot.app).splitlines() if name in line), "")


@pytest.mark.parametrize("size", [(80, 24), (120, 30), (200, 60)])
async def test_each_run_says_how_it_is(runs: Path, size: tuple[int, int]) -> None:
    async with console(size) as (pilot, _):
        await until(pilot, lambda: "done" in line(pilot, "tickets"))
        assert "100%" in line(pilot, "tickets")
        assert "5m ago" in line(pilot, "tickets")
        assert "↯ interrupted" in line(pilot, "summaries")
        assert "35.0%" in line(pilot, "summaries")
        assert "unreadable" in line(pilot, "notes")
        assert "1 interrupted" in page(pilot.app)


async def test_an_empty_list_says_how_to_begin(home: Path) -> None:
    async with console((80, 24)) as (pilot, screen):
        await until(pilot, lambda: "No runs yet" in page(pilot.app) and screen.has_class("-empty"))
        assert "batchdeck demo" in page(pilot.app)
        await pilot.press("n")
        await until(pilot, lambda: isinstance(pilot.app.screen, LaunchScreen))
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is screen)


async def test_enter_opens_a_run_and_a_broken_file_says_why_not(runs: Path) -> None:
    async with console() as (pilot, screen):
        await until(pilot, lambda: line(pilot, "notes"))
        await pilot.press("end", "enter")
        await until(pilot, lambda: "not a database" in page(pilot.app).split("notes")[-1])
        assert pilot.app.screen is screen
        await pilot.press("home", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen))
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is screen)


async def test_the_list_filters_as_one_types(runs: Path) -> None:
    async with console() as (pilot, _):
        await until(pilot, lambda: line(pilot, "notes"))
        await pilot.press("slash", *"interr")
        await until(pilot, lambda: line(pilot, "summaries") and not line(pilot, "tickets"))
        await pilot.press("enter", "escape")
        await until(pilot, lambda: line(pilot, "tickets"))


async def test_words_typed_at_once_with_the_search_key_are_typed_and_carry_nothing_out(runs: Path) -> None:
    async with console() as (pilot, screen):
        await until(pilot, lambda: line(pilot, "notes"))
        write(pilot, "slash", *"numbers", "escape", "slash", *"quiRn")
        search = screen.query_one("#search", Input)
        await until(pilot, lambda: search.value == "quiRn")
        assert pilot.app.screen is screen
        assert pilot.app.is_running
        assert footer(pilot.app) >= {"find", "close"}
        assert not footer(pilot.app) & {"open", "new run", "filter", "quit", "help", "resume"}


async def test_one_run_is_started_once_however_often_it_is_asked_for(runs: Path) -> None:
    async with console() as (pilot, _):
        await until(pilot, lambda: line(pilot, "summaries"))
        await until(pilot, lambda: "resume" in footer(pilot.app))
        seen = len(_talks)
        write(pilot, "R", "R", "R")
        await until(pilot, lambda: "Starting the engine" in page(pilot.app))
        await until(pilot, lambda: len(_talks) > seen)
        assert len(_talks) == seen + 1
        await until(pilot, lambda: not _talks)
        kill_engine(runs / "summaries.db")


async def test_runs_change_places_and_come_and_go_with_their_rows_kept_and_the_cursor_on_its_run(runs: Path) -> None:
    async with console() as (pilot, screen):
        await until(pilot, lambda: line(pilot, "notes"))
        table = screen.table
        names = lambda: [str(table.get_row_at(row)[0]).strip() for row in range(table.row_count)]  # noqa: E731
        assert names() == ["summaries", "tickets", "notes"], "what broke off stands on top"
        await pilot.press("end")
        kept = {key.value: id(row) for key, row in table.rows.items()}
        make_run(runs / "newest.db", 3, ending="done")
        make_run(runs / "newer.db", 5, ending="done")
        os.utime(runs / "newer.db", (1_795_000_100, 1_795_000_100))
        os.utime(runs / "newest.db", (1_795_000_200, 1_795_000_200))
        (runs / "tickets.db").unlink()
        await until(pilot, lambda: names() == ["summaries", "newest", "newer", "notes"])
        assert table.path == str(runs / "notes.db")
        assert table.cursor_row == 3
        now = {key.value: id(row) for key, row in table.rows.items()}
        assert {name for name in now if now[name] == kept.get(name)} == {
            str(runs / "notes.db"),
            str(runs / "summaries.db"),
        }
        assert "3/3" in line(pilot, "newest")
        assert "unreadable" in line(pilot, "notes")


async def test_a_living_run_is_seen_to_live_and_to_die_and_is_brought_back(tmp_path: Path) -> None:
    prompts = [f"prompt {n}" for n in range(30)]
    async with launched(tmp_path, prompts, hold=True) as (run, sim), console() as (pilot, screen):
        await until(pilot, lambda: "▶ running" in line(pilot, "reviews"))
        await until(pilot, lambda: len(sim.holds) == 10)
        assert "resume" not in footer(pilot.app)
        kill_engine(run)
        await until(pilot, lambda: "↯ interrupted" in line(pilot, "reviews"))
        await until(pilot, lambda: "resume" in footer(pilot.app))
        await pilot.press("R")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen) and pilot.app.screen.is_live)
        assert lock.probe(run) is not None
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is screen and "▶ running" in line(pilot, "reviews"))


def test_an_ended_run_is_read_once_and_again_when_its_file_changes(runs: Path) -> None:
    listing = Listing()
    first = {line.path.stem: line for line in listing.look()}
    second = {line.path.stem: line for line in listing.look()}
    assert second["tickets"] is first["tickets"]
    db = sqlite3.connect(runs / "tickets.db")
    db.execute("UPDATE run SET ending = 'cancelled'")
    db.commit()
    db.close()
    third = {line.path.stem: line for line in listing.look()}
    assert third["tickets"].meta is not None
    assert third["tickets"].meta.state == "cancelled"


async def test_a_run_is_named_found_exported_duplicated_and_at_last_deleted(runs: Path, tmp_path: Path) -> None:
    async with console() as (pilot, screen):
        await until(pilot, lambda: line(pilot, "tickets") and "▁" not in line(pilot, "notes"))
        await pilot.press("down", "e")
        await until(pilot, lambda: isinstance(pilot.app.screen, LabelScreen))
        write(pilot, *"Weekly", "tab", *"de nightly", "enter")
        await until(pilot, lambda: "Weekly #de #nightly" in line(pilot, "Weekly"))
        await pilot.press("slash", *"#night", "enter")
        await until(pilot, lambda: line(pilot, "Weekly") and not line(pilot, "summaries"))
        await pilot.press("E")
        await until(pilot, lambda: isinstance(pilot.app.screen, ExportScreen))
        field = pilot.app.screen.query_one(Input)
        assert field.value == "tickets.jsonl"
        field.value = str(tmp_path / "out.csv")
        await pilot.press("enter")
        await until(pilot, lambda: (tmp_path / "out.csv").exists() and "40 rows" in page(pilot.app))
        await pilot.press("c")
        await until(pilot, lambda: isinstance(pilot.app.screen, LaunchScreen))
        await until(pilot, lambda: "gpt-5-mini" in page(pilot.app))
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is screen)
        await pilot.press("D")
        await until(pilot, lambda: "Delete Weekly? 40 items" in page(pilot.app))
        await pilot.press("n")
        assert (runs / "tickets.db").exists()
        await pilot.press("D")
        await until(pilot, lambda: isinstance(pilot.app.screen, ConfirmScreen))
        await pilot.press("y")
        await until(pilot, lambda: not list(runs.glob("tickets*")) and not line(pilot, "Weekly"))
        await pilot.press("escape")
        await until(pilot, lambda: line(pilot, "summaries"))


async def test_the_order_is_turned_by_key_and_by_a_click_on_a_title_and_kept(runs: Path) -> None:
    async with console() as (pilot, screen):
        await until(pilot, lambda: line(pilot, "notes"))
        names = lambda: [str(screen.table.get_row_at(row)[0]).strip() for row in range(3)]  # noqa: E731
        assert names() == ["summaries", "tickets", "notes"]
        await pilot.press("o")
        await until(pilot, lambda: "by run ↑" in page(pilot.app) and " run↑" in page(pilot.app))
        await pilot.press("O")
        await until(pilot, lambda: names() == ["tickets", "summaries", "notes"])
        head = page(pilot.app).splitlines()[1].index("failed")
        await pilot.click(screen.table, offset=(head, 0))
        await until(pilot, lambda: "faile↓" in page(pilot.app) and names()[0] == "summaries")
        await pilot.click(screen.table, offset=(head, 0))
        await until(pilot, lambda: names()[0] == "tickets")
    async with console() as (pilot, _):
        await until(pilot, lambda: "faile↑" in page(pilot.app))
