"""Every screen at three sizes, in light and in dark: its words, and the colours that it is made of.

A page that changed on purpose is written anew with ``pytest tests/tui/test_every_screen.py --snapshot-update``. Of each
size the words are kept once, since the theme must not change them.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.cells import cell_len
from syrupy.assertion import SnapshotAssertion
from textual._context import visible_screen_stack
from textual.pilot import Pilot
from textual.widgets import Input

from batchdeck_tui.app import BatchdeckApp
from batchdeck_tui.messages import SnapshotReady
from batchdeck_tui.screens.diffview import DiffScreen
from batchdeck_tui.screens.run import RunScreen
from batchdeck_tui.theme import DARK, LIGHT
from tests.tui.console import page, until
from tests.tui.held import held_by_tpm
from tests.tui.test_snapshots import NOW, made, runs

__all__ = ["made", "runs"]
SIZES = (80, 24), (120, 36), (200, 60)
SCREENS: dict[str, tuple[str, ...]] = {
    "run": (),
    "run, live": ("live",),
    "run, a detail": ("down", "down", "enter"),
    "run, a search": ("/", *"review", "enter"),
    "charts": ("C",),
    "tune": ("t",),
    "tune, a sweep": ("live", "t", "s"),
    "limits": ("live", "L"),
    "columns": ("o",),
    "events": ("e",),
    "export": ("E",),
    "difference": ("g", *["down"] * 5, "enter", "D"),
    "cancel": ("live", "x"),
    "runs": ("escape",),
    "runs, a name": ("escape", "e"),
    "runs, delete": ("escape", "D"),
    "launch": ("escape", "n"),
    "preferences": (",",),
    "help": ("?",),
}


@pytest.fixture(autouse=True)
def same_everywhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Times of day, and the folder that a file is written to."""
    monkeypatch.chdir("/")
    for name in ("NO_COLOR", "COLORTERM", "TERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def words(app: BatchdeckApp) -> str:
    return "\n".join(line.rstrip() for line in page(app).splitlines())


def colours(app: BatchdeckApp) -> list[str]:
    """Each pair of ink and paper with how many cells it has, the most frequent first."""
    visible_screen_stack.set(app._background_screens)
    cells: Counter[str] = Counter()
    for strip in app.screen._compositor.render_strips(app.size):
        for text, style, _ in strip:
            if style is not None and text:
                ink, paper = (
                    colour.get_truecolor().hex if colour is not None else "none"
                    for colour in (style.color, style.bgcolor)
                )
                # under blanks no ink is seen
                pair = (
                    f"{ink if text.strip() else '       '} on {paper}{' bold' if style.bold and text.strip() else ''}"
                )
                cells[pair] += len(text)
    return [f"{count:6} {pair}" for pair, count in sorted(cells.items(), key=lambda one: (-one[1], one[0]))]


async def still(pilot: Pilot[None], app: BatchdeckApp) -> str:
    """The words on the screen, once they stay the same for a while: charts are drawn one after the other."""
    before, same = "", 0
    while same < 4:
        await pilot.pause(0.03)
        for field in app.screen.query(Input):
            field.cursor_blink, field._cursor_visible = False, field.has_focus
        now = words(app)
        before, same = now, same + 1 if now == before else 0
    return before


@pytest.mark.parametrize("name", SCREENS)
async def test_a_screen_looks_as_it_did(runs: Path, name: str, snapshot: SnapshotAssertion) -> None:
    with contextlib.closing(sqlite3.connect(runs / "reviews.db")) as db, db:
        db.execute("UPDATE attempts SET text = 'red and a link' WHERE idx = 5 AND outcome != 'ok'")
    app = BatchdeckApp(runs / "reviews.db", wall=lambda: NOW)
    app.animation_level = "none"
    async with app.run_test(size=SIZES[-1], notifications=False) as pilot:
        await until(pilot, lambda: isinstance(app.screen, RunScreen) and "✗ http_500 " in page(app))
        run = app.screen
        assert isinstance(run, RunScreen)
        await until(pilot, lambda: page(app).count("│→ 20 ") == 4)
        for key in SCREENS[name]:
            if key == "live":
                run.on_snapshot_ready(SnapshotReady(held_by_tpm(run.path)))
            else:
                await pilot.press(key)
            await still(pilot, app)
        assert name != "difference" or isinstance(app.screen, DiffScreen)
        for width, height in SIZES:
            await pilot.resize_terminal(width, height)
            shown = {}
            for theme in (DARK, LIGHT):
                app.theme = theme.name
                await pilot.pause()
                shown[theme.name] = await still(pilot, app)
                assert all(cell_len(line) <= width for line in shown[theme.name].splitlines())
                if not app._background_screens:  # what shines through a dialog may have the focus still, or no more
                    assert colours(app) == snapshot(name=f"{width}x{height} {theme.name}")
            assert shown[DARK.name] == shown[LIGHT.name]
            assert shown[DARK.name] == snapshot(name=f"{width}x{height}")
