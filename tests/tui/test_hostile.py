"""A corpus of texts that steer terminals, spreadsheets and markup: nothing of it does anything outside of its cells."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
import unicodedata
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.cells import cell_len

from batchdeck.cli.export import command as export
from batchdeck.cli.ls import command as ls
from batchdeck.cli.show import command as show
from batchdeck.errors import BatchdeckError
from batchdeck.inert import inert
from batchdeck_tui.screens.run import RunScreen
from batchdeck_tui.screens.runs import RunsScreen
from batchdeck_tui.widgets.errors import ErrorList
from tests.hostile import CORPUS
from tests.tui.console import console, page, read, until
from tests.tui.runfile import make_run
from tests.tui.test_tmux import BATCHDECK, pytestmark, terminal

__all__ = ["pytestmark"]
TEXTS = list(CORPUS.values())
_FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠]")


def harmless(text: str, breaks: bool = False) -> bool:
    """Whether nothing in it moves a cursor or turns the direction of what follows."""
    for char in text:
        if breaks and char == "\n":
            continue
        if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp"):
            return False
        if unicodedata.bidirectional(char) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"):
            return False
    return True


@pytest.fixture
def run(home: Path) -> Path:
    """Each text as prompt and as answer of an item, as its id, and as the error of an attempt before the good one."""
    (home / "runs").mkdir(parents=True)
    path = make_run(
        home / "runs" / "hostile.db", len(TEXTS),
        texts=dict(enumerate(TEXTS)), labels={n: text.replace("\n", " ") for n, text in enumerate(TEXTS)},
        data={n: {"text": text, text[:20] or "x": 1} for n, text in enumerate(TEXTS)},
        retried=dict.fromkeys(range(len(TEXTS)), 1), ending="done",
    )  # fmt: skip
    db = sqlite3.connect(path)
    with db:
        for number, text in enumerate(TEXTS):
            safe = text.encode("utf-8", "replace").decode()
            db.execute("UPDATE inputs SET custom_id = ? WHERE idx = ?", (f"{safe} {number}", number))
            db.execute(
                "UPDATE attempts SET error = ?, model = ?, finish_reason = ? WHERE idx = ? AND outcome != 'ok'",
                (safe, safe, safe, number),
            )
            db.execute(
                "INSERT INTO errors VALUES (?, 3, 0, ?, 0) ON CONFLICT DO NOTHING", (f"{safe[:40]} {number}", safe)
            )
            db.execute("INSERT INTO events (t, at, kind, detail) VALUES (?, 0, ?, ?)", (number, safe[:12], safe))
    db.close()
    return path


async def test_a_real_terminal_shows_every_row_in_its_columns(run: Path, tmp_path: Path) -> None:
    async with terminal(tmp_path) as tmux:
        await tmux.do("resize-window", "-t", "c", "-x", "160", "-y", str(len(TEXTS) + 12))
        await tmux.type(f"{BATCHDECK} watch hostile")
        screen = await tmux.shows("done", "prompt", f" {len(TEXTS) - 1} ✓")
        lines = screen.splitlines()
        top = next(number for number, line in enumerate(lines) if "# state" in line)
        at = {name: lines[top].index(name) for name in ("state", "tok", "tries")} if "tries" in lines[top] else {}
        title = lines[0]
        for number, name in enumerate(CORPUS):
            line = lines[top + 1 + number]
            found = re.match(r" *(\d+) ✓ done ", line)
            assert found, (name, line)
            assert int(found[1]) == number
            # where the table ends the terminal draws the charts' side: at the same cell in every line
            assert cell_len(line) <= 160, name
        assert at or "try" in lines[top]
        # each of them in the detail as well, and the frame around it stays as it is
        await tmux.press("Enter", "z")
        for _ in CORPUS:
            await tmux.press("J")
        await tmux.shows(f"#{len(TEXTS) - 1}")
        after = (await tmux.screen()).splitlines()
        assert after[0] == title
        assert "help" in after[-1] or "help" in after[-2]
        assert (await tmux.do("display-message", "-p", "-t", "c", "#{alternate_on} #{pane_title}")).startswith("1 ")
        assert "owned" not in await tmux.do("display-message", "-p", "-t", "c", "#{pane_title}")
        assert "hacked" not in await tmux.do("show-buffer")
        await tmux.press("q")
        await tmux.shows("shell>")


async def test_every_screen_of_the_console_is_inert(run: Path) -> None:
    async with console(run, (80, 24)) as (pilot, screen):
        app = pilot.app

        def inert_page() -> str:
            shown = page(app)
            assert harmless(shown, breaks=True)
            assert all(cell_len(line) == 80 for line in shown.splitlines())
            return shown

        await until(pilot, lambda: "✓ done" in inert_page())
        await pilot.press("enter", "z")
        for number in range(len(TEXTS)):
            await until(pilot, lambda: screen.pane.detail is not None and screen.pane.detail.idx == number)  # noqa: B023
            for _ in range(3):
                lines = screen.pane.line_texts()
                assert all(harmless(line) for line in lines), number
                await pilot.press("v")
            if number % 10 == 0:
                inert_page()
            await pilot.press("J")
        await pilot.press("escape")
        assert harmless(read(screen.query_one(ErrorList)), breaks=True)
        for key in ("e", "E", "o", "?"):
            before = app.screen
            await pilot.press(key)
            await until(pilot, lambda: app.screen is not before)  # noqa: B023
            await pilot.pause()
            inert_page()
            await pilot.press("escape")
            await until(pilot, lambda: isinstance(app.screen, RunScreen))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, RunsScreen))
        await until(pilot, lambda: "hostile" in inert_page())


def test_the_command_line_is_inert(run: Path, tmp_path: Path) -> None:
    for command, arguments in [
        (ls, []),
        (show, ["hostile"]),
        *((show, ["hostile", "--item", str(number)]) for number in range(len(TEXTS))),
    ]:
        said = CliRunner().invoke(command, arguments)
        assert said.exit_code == 0, said.exception
        assert harmless(said.output, breaks=True), arguments
    for name, text in CORPUS.items():
        # what a person typed, or a script passed on, in a line of error
        with pytest.raises(BatchdeckError) as refused:
            show.main([text.replace("\0", "")], standalone_mode=False)
        assert harmless(inert(str(refused.value))), name


_TURNING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]")
"""What moves a cursor, or turns the direction of what follows. Lines may break: a cell is quoted."""


def test_a_table_runs_nothing_and_lines_of_json_are_exact(run: Path) -> None:
    as_json = CliRunner().invoke(export, ["hostile", "--to", "jsonl"])
    assert as_json.exit_code == 0
    assert [json.loads(line)["text"] for line in as_json.output.splitlines()] == TEXTS
    assert harmless(as_json.output, breaks=True)
    as_table = CliRunner().invoke(export, ["hostile", "--to", "csv"])
    rows = list(csv.DictReader(io.StringIO(as_table.output.lstrip("\ufeff"), newline="")))
    assert len(rows) == len(TEXTS)
    for name, row in zip(CORPUS, rows, strict=True):
        for cell in row.values():
            assert not _FORMULA.match(cell) or re.fullmatch(r"[+-]?[\d.]+", cell), (name, cell)
            assert not _TURNING.search(cell), name
