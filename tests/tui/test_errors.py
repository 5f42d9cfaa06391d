"""The list of errors as a knob: a class, chosen by key or by mouse, lists the rows that failed of it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from textual import on
from textual.app import App, ComposeResult

from batchdeck.model import ErrorClass
from batchdeck_tui.bridge import resume
from batchdeck_tui.screens.rowfilter import RowFilter
from batchdeck_tui.widgets.columns import blame
from batchdeck_tui.widgets.errors import ErrorList
from tests.tui.console import console, footer, kill_engine, launched, page, read, until
from tests.tui.runfile import make_run


class ListApp(App[None]):
    def __init__(self) -> None:
        super().__init__()
        self.chosen: list[str] = []

    def compose(self) -> ComposeResult:
        yield ErrorList()

    @on(ErrorList.Chosen)
    def _chosen(self, message: ErrorList.Chosen) -> None:
        self.chosen.append(message.error.error_type)


def classes(*codes: int) -> tuple[ErrorClass, ...]:
    return tuple(
        ErrorClass(error_type=f"http_{code}", attempts=3, items=1, example="no", example_idx=code) for code in codes
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "reviews.db", 60, failed=(3, 7, 50), retried={5: 4}, ending="done")


async def test_a_click_or_a_key_on_a_class_lists_its_rows_and_once_more_all(run: Path) -> None:
    async with console(run, (120, 40)) as (pilot, screen):
        errors = screen.query_one(ErrorList)
        await until(pilot, lambda: "http_500" in read(errors))
        assert [line.split()[1] for line in read(errors).splitlines()[1:]] == ["http_500", "rate_limited"]
        await pilot.click(errors, offset=(8, 1))
        await until(pilot, lambda: screen.table.visible_indices() == [3, 7, 50])
        assert "✗ http_500  3 rows" in page(pilot.app)
        assert screen.table.has_focus, "the rows are what was asked for"
        await pilot.press("tab", "enter")
        await until(pilot, lambda: len(screen.table.visible_indices()) > 3)
        await pilot.press("tab")
        await until(pilot, lambda: "only these" in footer(pilot.app))
        await pilot.press("enter")
        await until(pilot, lambda: screen.table.visible_indices() == [3, 7, 50])
        await pilot.press("escape")
        await until(pilot, lambda: len(screen.table.visible_indices()) > 3)


async def test_a_class_that_no_item_failed_of_says_so_and_lists_nothing(run: Path) -> None:
    async with console(run, (120, 40)) as (pilot, screen):
        errors = screen.query_one(ErrorList)
        await until(pilot, lambda: "rate_limited" in read(errors))
        await pilot.click(errors, offset=(8, 2))
        await until(pilot, lambda: "No item failed of rate_limited" in page(pilot.app))
        assert len(screen.table.visible_indices()) > 3


async def test_classes_out_of_view_are_reached_and_the_cursor_stays_on_its_class() -> None:
    app = ListApp()
    async with app.run_test(size=(80, 12)) as pilot:
        errors = app.query_one(ErrorList)
        await pilot.press("tab", "enter")
        assert not errors.has_focus, "no errors, nothing to choose"
        errors.styles.max_height = 4
        errors.show(classes(*range(500, 506)))
        await pilot.pause()
        await pilot.press("tab", "down", "enter")
        assert "and 4 more classes" in read(errors).splitlines()[-1]
        errors.show(classes(504, 505, 503, 502, 500, 501))
        await pilot.press("enter")
        await pilot.press(*["down"] * 9, "enter")
        assert "http_501" in read(errors).splitlines()[-1]
        await pilot.press(*["up"] * 9, "enter")
        await pilot.click(errors, offset=(5, 3))
        assert "http_503" in read(errors), "the last line unfolds"
        await pilot.click(errors, offset=(5, 0))
        await pilot.pause()
        assert app.chosen == ["http_501", "http_501", "http_501", "http_504"]


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """A run whose only failures are two lines that are no JSON."""
    run = make_run(tmp_path / "bad.db", 20, ending="done")
    with sqlite3.connect(run) as db:
        for idx in (3, 7):
            why = f"/a/folder/with/a/long/name/prompts.jsonl:{idx + 1}: expected a value: line {idx}"
            db.execute("UPDATE inputs SET error = ? WHERE idx = ?", (why, idx))
            db.execute("UPDATE items SET state = 'failed', result_attempt = NULL WHERE idx = ?", (idx,))
            db.execute("INSERT OR IGNORE INTO errors VALUES ('bad_input', 0, 2, ?, 3)", (why,))
        db.execute("UPDATE counters SET value = 2 WHERE name = 'failed'")
        db.execute("INSERT INTO counters VALUES ('bad_lines', 2)")
    db.close()
    return run


async def test_a_bad_line_says_what_is_wrong_before_where(bad: Path) -> None:
    async with console(bad, (160, 48)) as (pilot, screen):
        await until(pilot, lambda: "bad_input: expected a value" in read(screen.table))
        await until(pilot, lambda: "expected a value" in read(screen.query_one(ErrorList)))
        assert "folder" not in page(pilot.app)
    assert blame("bad_input", "C:\\in.jsonl:14: not JSON") == "not JSON :14"
    assert blame("bad_input", "nothing there") == "nothing there"
    assert blame("http_500", "proxy:8080: broke") == "proxy:8080: broke"


async def test_bad_lines_are_not_said_to_be_tried_again(bad: Path) -> None:
    reply = await resume(bad, retry_failed=True)
    assert not reply.ok
    assert "No failed item can be tried again" in reply.message


def test_one_filter_takes_the_place_of_another_and_words_stay() -> None:
    listed = RowFilter(state="done", words="kind").of_class("http_500")
    assert (listed.state, listed.error_type, listed.words) == (None, "http_500", "kind")
    assert listed.asks_file
    assert str(listed) == "✗ http_500  ·  “kind”"
    assert listed.of_class("http_500") == RowFilter(words="kind")
    assert listed.turned(1) == RowFilter(state="in_flight", words="kind")


async def test_a_class_goes_again_by_its_key_whether_an_engine_lives_or_not(tmp_path: Path) -> None:
    prompts = [f"prompt {n}" for n in range(12)]
    # slowly enough for a console to come while the engine is there
    failing = launched(tmp_path, prompts, "--max-retries", "0", "--rpm", "300", faults={"400": 1.0})
    async with failing as (run, _), console(run, (120, 40)) as (pilot, screen):
        errors = screen.query_one(ErrorList)
        await until(pilot, lambda: "http_400" in read(errors) and "done" in page(pilot.app))
        await until(pilot, lambda: screen.is_live)
        errors.focus()
        await until(pilot, lambda: "retry class" in footer(pilot.app))
        await pilot.press("r")
        await until(pilot, lambda: "12 failed items of http_400 go again" in page(pilot.app))
        await until(pilot, lambda: errors._errors[0].attempts == 24 and errors._errors[0].items == 12)
        kill_engine(run)
        await until(pilot, lambda: not screen.is_live)
        errors.focus()
        await pilot.press("r")
        await until(pilot, lambda: errors._errors[0].attempts == 36 and errors._errors[0].items == 12)
        errors.focus()
        await pilot.press("E")
        await until(pilot, lambda: "12 rows that failed of http_400" in page(pilot.app))
