"""How the console behaves for its person: ASCII, motion, bell, mouse, and what of it is there again next time."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.widgets import OptionList

from batchdeck_tui.app import BatchdeckApp
from batchdeck_tui.frames import SLOWEST
from batchdeck_tui.habits import HABITS, Habits
from batchdeck_tui.plain import plain
from batchdeck_tui.remembered import recall
from batchdeck_tui.screens.preferences import PreferencesScreen
from batchdeck_tui.widgets.cells import one_line
from tests.tui.console import console, launched, page, until
from tests.tui.runfile import make_run, make_samples
from tests.tui.test_app import terminal

_ESCAPES = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][0-9A-B]|[@-_])")


@given(st.text())
def test_ascii_is_as_wide_as_what_it_stands_for(text: str) -> None:
    shown = one_line(text)
    assert plain(shown).isascii()
    assert cell_len(plain(shown)) == cell_len(shown)


def test_signs_letters_and_plots_stay_readable_in_ascii() -> None:
    assert plain("✓ done · ✗ failed → ▶ in flight") == "+ done . X failed > > in flight"
    assert plain("Größe: naïve café, 日本") == "Gro?e: naive cafe, ????"
    assert plain("⠀⠁⡇⣿") == " .:#"
    assert plain("╭─┐│█") == "+-+|#"


def test_what_is_said_at_the_start_counts_more_than_what_is_remembered(home: Path) -> None:
    assert [name for name in HABITS if Habits({})[name]] == ["mouse"]
    assert Habits({"TERM": "linux"})["ascii"], "its font has few glyphs"
    assert Habits({}).turn("bell") == ""
    assert Habits({})["bell"]
    assert not Habits({"BATCHDECK_BELL": "0"})["bell"]
    Habits({"TERM": "linux"}).turn("ascii")
    assert not Habits({"TERM": "linux"})["ascii"], "who turned it off has another font"


async def test_a_habit_is_turned_seen_at_once_and_remembered(home: Path) -> None:
    (home / "runs").mkdir(parents=True)
    samples, events = make_samples(30)
    run = make_run(
        home / "runs" / "reviews.db", 40, settled=40, texts={0: "naïve 日本"}, samples=samples, events=events
    )
    async with console(run, (100, 30)) as (pilot, screen):
        app = screen.app
        assert isinstance(app, BatchdeckApp)
        await until(pilot, lambda: "✓ done" in page(app) and "naïve" in page(app))
        await pilot.press("comma")
        await until(pilot, lambda: isinstance(app.screen, PreferencesScreen))
        await pilot.press("space")
        await until(pilot, lambda: page(app).isascii())
        assert "naive ????" in page(app)
        await pilot.press("down", "enter")
        assert app.animation_level == "none"
        assert recall().habits == {"ascii": True, "calm": True}
        await pilot.press("up")
        await pilot.click(OptionList, offset=(5, 0))
        await until(pilot, lambda: "naïve" in page(app))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is screen)
        screen.look()
        assert screen.bridge._frames.interval == SLOWEST


@pytest.mark.parametrize("options", [("--ascii", "--bell", "--notify", "--no-mouse"), ()], ids=["all", "none"])
async def test_options_of_the_command_line_reach_the_terminal(
    home: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    prompts = [f"naïve 日本 {number}" for number in range(4)]

    def watched(run: Path) -> bytes:
        """All that the terminal was sent."""
        with terminal(str(run), *options) as opened:
            opened.wait_for(b"running")
            opened.wait_for(b"4 of 4")
            if options:
                opened.wait_for(b"\x1b]9;reviews done: 4 done, 0 failed\x07")
            os.write(opened.master, b"q")
            assert opened.end() == 0
            return opened.seen

    async with launched(tmp_path, prompts, ttft_ms=1_500, token_rate=50, answer_tokens=10) as (run, _):
        seen = await asyncio.to_thread(watched, run)
    shown = _ESCAPES.sub(b"", seen)
    assert (b"\x07" in shown) == bool(options), "the bell"
    assert shown.partition(b"The run")[0].isascii() == bool(options)
    assert (b"\x1b[?1000h" in seen) != bool(options), "the mouse"
