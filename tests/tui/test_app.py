"""The console as a process: its terminal, its signals, its commands."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from textual.color import Color
from textual.command import CommandPalette
from textual.theme import Theme

from batchdeck import lock
from batchdeck_tui.__main__ import report
from batchdeck_tui.app import BatchdeckApp
from batchdeck_tui.commands import VERBS, palette
from batchdeck_tui.outlet import CUT, Outlet
from batchdeck_tui.remembered import recall, remember
from batchdeck_tui.screens.chartsview import ChartsScreen
from batchdeck_tui.screens.choice import ChoiceScreen
from batchdeck_tui.screens.columnsview import ColumnsScreen
from batchdeck_tui.screens.diffview import DiffScreen
from batchdeck_tui.screens.eventlog import EventsScreen
from batchdeck_tui.screens.help import HelpScreen
from batchdeck_tui.screens.launch import LaunchScreen
from batchdeck_tui.screens.limits import LimitsScreen
from batchdeck_tui.screens.preferences import PreferencesScreen
from batchdeck_tui.screens.run import RunScreen
from batchdeck_tui.screens.runs import RunsScreen
from batchdeck_tui.screens.tune import TuneScreen
from batchdeck_tui.theme import DARK, THEMES
from batchdeck_tui.widgets.errors import ErrorList
from tests.tui.console import launched, page, until
from tests.tui.runfile import make_run

CONSOLE = [sys.executable, "-m", "batchdeck_tui"]
LEFT = b"\x1b[?1049l"
"""How a program leaves the alternate screen."""


class Terminal:
    """A pseudo-terminal with the console in it."""

    def __init__(self, *arguments: str, size: tuple[int, int] = (24, 80)) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        self.process = subprocess.Popen(
            [*CONSOLE, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"},
        )
        os.close(slave)
        self.seen = b""

    def wait_for(self, what: bytes) -> None:
        """Read until these bytes were printed."""
        while what not in self.seen:
            assert select.select([self.master], [], [], 60)[0], f"{what!r} never came"
            self.seen += self._read()

    def let_fill(self) -> None:
        """Return when it holds all that it takes without being read."""
        held, same = 0, 0
        while not held or same < 100:
            select.select([], [], [], 0.01)
            now = struct.unpack("i", fcntl.ioctl(self.master, termios.FIONREAD, b"\0" * 4))[0]
            held, same = now, same + 1 if now == held else 0

    def end(self) -> int:
        """All that is still printed, and the exit code."""
        while select.select([self.master], [], [], 60)[0]:
            piece = self._read()
            if not piece:
                break
            self.seen += piece
        return self.process.wait(60)

    def _read(self) -> bytes:
        try:
            return os.read(self.master, 65536)
        except OSError:  # Linux says EIO when nobody holds the other end any more
            return b""


@contextmanager
def terminal(*arguments: str, size: tuple[int, int] = (24, 80)) -> Iterator[Terminal]:
    opened = Terminal(*arguments, size=size)
    try:
        yield opened
    finally:
        opened.process.kill()
        opened.process.wait()
        os.close(opened.master)


@pytest.mark.parametrize("arguments", [(), ("no-such.db",)])
def test_without_a_terminal_one_line_says_so(arguments: tuple[str, ...]) -> None:
    ended = subprocess.run([*CONSOLE, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert "needs a terminal" in ended.stderr
    assert not ended.stdout


def test_a_file_that_is_no_run_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "notes.db").write_bytes(b"nothing of the kind " * 60)
    with terminal(str(tmp_path / "notes.db")) as opened:
        assert opened.end() == 2
        assert b"not a" in opened.seen
        assert b"Traceback" not in opened.seen


def _quit(opened: Terminal) -> None:
    os.write(opened.master, b"q")


def _signal(number: int) -> Callable[[Terminal], None]:
    return lambda opened: opened.process.send_signal(number)


@pytest.mark.parametrize(
    "leave", [_quit, _signal(signal.SIGTERM), _signal(signal.SIGHUP)], ids=["q", "SIGTERM", "SIGHUP"]
)
async def test_leaving_restores_the_terminal_and_the_run_goes_on(
    tmp_path: Path, leave: Callable[[Terminal], None]
) -> None:
    async with launched(tmp_path, ["one", "two"], hold=True) as (run, _):
        with terminal(str(run)) as opened:
            opened.wait_for(b"reviews")
            opened.wait_for(b"running")
            leave(opened)
            assert opened.end() == 0
        assert LEFT in opened.seen
        after = opened.seen.rpartition(LEFT)[2]
        assert b"Come back with: batchdeck watch reviews" in after
        assert b"Traceback" not in opened.seen
        assert lock.probe(run) is not None


async def test_a_terminal_that_is_not_read_is_left_without_what_it_has_missed(tmp_path: Path) -> None:
    prompts = [f"prompt {n} " * 9 for n in range(2_000)]
    async with launched(tmp_path, prompts, "--concurrency", "50", echo=True) as (run, _):
        with terminal(str(run), size=(36, 120)) as opened:
            opened.wait_for(b"running")
            opened.let_fill()
            before = len(opened.seen)
            _quit(opened)
            assert opened.end() == 0
        assert LEFT in opened.seen
        # What the terminal held and a frame or two (some 40 KB each here); the backlog would be thirty of them.
        assert len(opened.seen) - before < 200_000


def test_output_that_is_given_up_is_cut_and_what_comes_next_is_whole() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as sink, os.fdopen(writing, "w") as source:
        outlet = Outlet(source)
        writer = threading.Thread(target=lambda: [outlet.write("frame " * 100_000), outlet.write("farewell")])
        writer.start()
        seen = sink.read(1_000)
        assert outlet.is_writing, "a pipe holds a tenth of it"
        outlet.drop()
        while not seen.endswith(b"farewell"):
            seen += sink.read1()
        writer.join()
    assert not outlet.is_writing
    assert len(seen) < 200_000
    assert seen.endswith(CUT + b"farewell")


async def test_a_late_wake_up_of_a_socket_is_no_news_but_anything_else_is(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(report)
    done: asyncio.Future[None] = loop.create_future()
    done.set_result(None)
    loop.call_soon(done.set_result, None)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not caplog.records
    loop.call_soon(lambda: done.set_result(None))
    loop.call_soon([].pop)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [type((record.exc_info or (None, None))[1]) for record in caplog.records] == [
        asyncio.InvalidStateError,
        IndexError,
    ]


def test_a_terminal_that_is_gone_ends_the_console(home: Path) -> None:
    (home / "runs").mkdir(parents=True)
    run = make_run(home / "runs" / "reviews.db", 5)
    opened = Terminal(str(run))
    try:
        opened.wait_for(b"interrupted")
        os.close(opened.master)
        opened.process.send_signal(signal.SIGHUP)
        opened.process.wait(60)
    finally:
        opened.process.kill()
        opened.process.wait()


def test_a_terminal_that_goes_without_a_word_ends_the_console_too(home: Path) -> None:
    """No signal comes: the console is of another session than the terminal, as under some servers and containers."""
    opened = Terminal()
    try:
        opened.wait_for(b"No runs yet")
        os.close(opened.master)
        opened.process.wait(60)
    finally:
        opened.process.kill()
        opened.process.wait()


def test_no_color_means_none(home: Path) -> None:
    with terminal("--no-color") as opened:
        opened.wait_for(b"No runs yet")
        _quit(opened)
        assert opened.end() == 0
    assert b"\x1b[38;2;" in opened.seen  # greys stay
    colours = {tuple(code.split(b";")[2:5]) for code in opened.seen.split(b"\x1b[") if code.startswith(b"38;2;")}
    assert all(len({part.partition(b"m")[0] for part in colour}) == 1 for colour in colours)


def test_every_command_can_be_carried_out() -> None:
    homes = {
        "app": BatchdeckApp,
        "run": RunScreen,
        "tune": TuneScreen,
        "runs": RunsScreen,
        "errors": ErrorList,
        "limits": LimitsScreen,
        "columns": ColumnsScreen,
        "events": EventsScreen,
        "charts": ChartsScreen,
        "launch": LaunchScreen,
        "preferences": PreferencesScreen,
        "diff": DiffScreen,
        "choice": ChoiceScreen,
    }
    for verb in VERBS:
        node, action = homes[verb.scope], verb.action.partition("(")[0]
        if action.startswith("app."):
            node, action = BatchdeckApp, action.removeprefix("app.")
        assert hasattr(node, f"action_{action}"), verb
    shown = [(verb.scope, verb.keys, verb.action) for verb in VERBS]
    assert len(set(shown)) == len(shown)


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
async def test_a_theme_is_there_again_next_time(home: Path, theme: Theme) -> None:
    async with BatchdeckApp().run_test() as pilot:
        pilot.app.theme = theme.name
        await until(pilot, lambda: recall().theme == theme.name or theme is DARK)
    app = BatchdeckApp()
    async with app.run_test() as pilot:
        assert app.theme == theme.name
        await until(pilot, lambda: "No runs yet" in page(app))


async def test_a_theme_that_is_gone_is_no_reason_not_to_open(home: Path) -> None:
    remember(theme="of an older batchdeck")
    app = BatchdeckApp()
    async with app.run_test() as pilot:
        await until(pilot, lambda: "No runs yet" in page(app))
        assert app.theme == DARK.name


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
def test_text_can_be_read_on_every_background(theme: Theme) -> None:
    """Contrast as the Web Content Accessibility Guidelines have it, 1.4.3: 4.5 to 1; 7 to 1 where it is promised."""
    least = 7.0 if "contrast" in theme.name else 4.5
    for ink in (theme.foreground, theme.primary, theme.error, theme.warning):
        for ground in (theme.background, theme.surface, theme.panel):
            assert ink is not None
            assert ground is not None
            assert contrast(Color.parse(ink), Color.parse(ground)) >= (least if ink == theme.foreground else 3.0)


def contrast(one: Color, other: Color) -> float:
    def luminance(color: Color) -> float:
        parts = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in color.normalized]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


async def test_help_names_every_key_of_the_screen(home: Path) -> None:
    app = BatchdeckApp()
    async with app.run_test(size=(120, 260)) as pilot:
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(app.screen, HelpScreen))
        await until(pilot, lambda: all(verb.title in page(app) for verb in VERBS))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, RunsScreen))


async def test_the_palette_offers_what_applies_and_carries_it_out(tmp_path: Path) -> None:
    async with launched(tmp_path, [f"prompt {n}" for n in range(30)], hold=True) as (run, _):
        app = BatchdeckApp(run)
        async with app.run_test(size=(120, 40), notifications=True) as pilot:
            await until(pilot, lambda: isinstance(app.screen, RunScreen) and app.screen.is_live)
            screen = app.screen
            assert isinstance(screen, RunScreen)
            offered = {command.title for command in palette(screen)}
            assert {"Pause", "Concurrency +10", "Drain", "Search", "Detail of the row"} <= offered
            assert not {"Go on", "Resume", "Retry failed items", "New run"} & offered
            await pilot.press("ctrl+p")
            await until(pilot, lambda: isinstance(app.screen, CommandPalette))
            await pilot.press(*"pause", "enter")
            await until(pilot, lambda: screen._now is not None and screen._now.state == "paused")


async def test_ctrl_c_says_how_to_leave_and_ends_nothing(home: Path) -> None:
    app = BatchdeckApp()
    async with app.run_test(size=(100, 30), notifications=True) as pilot:
        await pilot.press("ctrl+c")
        await until(pilot, lambda: "q leaves the console" in page(app))
