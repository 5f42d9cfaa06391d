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
        await pilot.press("down")
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
        assert names() == ["tickets", "summaries", "notes"]
        await pilot.press("down")
        kept = {key.value: id(row) for key, row in table.rows.items()}
        make_run(runs / "newest.db", 3, ending="done")
        os.utime(runs / "notes.db", (1_795_000_100, 1_795_000_100))
        os.utime(runs / "newest.db", (1_795_000_200, 1_795_000_200))
        (runs / "tickets.db").unlink()
        await until(pilot, lambda: names() == ["newest", "notes", "summaries"])
        assert table.path == str(runs / "summaries.db")
        assert table.cursor_row == 2
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
