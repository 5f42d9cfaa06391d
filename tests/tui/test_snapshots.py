"""What the console looks like: pictures of every screen in states that are the same on every machine and every day.

A picture that changed on purpose is drawn anew with ``pytest tests/tui/test_snapshots.py --snapshot-update``; look at
it before keeping it.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path, PurePath
from typing import ClassVar

import pytest
from msgspec.structs import replace
from textual.pilot import Pilot
from textual.widgets import Input, Select

from batchdeck.model import Tuning, Waiting
from batchdeck.settings import SETTINGS
from batchdeck_tui import app
from batchdeck_tui.app import BatchdeckApp
from batchdeck_tui.messages import SnapshotReady
from batchdeck_tui.plan import CUSTOM
from batchdeck_tui.screens.confirm import ConfirmScreen
from batchdeck_tui.screens.help import HelpScreen
from batchdeck_tui.screens.launch import LaunchScreen
from batchdeck_tui.screens.limits import LimitsScreen
from batchdeck_tui.screens.run import RunScreen
from batchdeck_tui.screens.sweep import SweepScreen
from batchdeck_tui.widgets.charts import Charts
from batchdeck_tui.widgets.entry import Template
from batchdeck_tui.widgets.errors import ErrorList
from tests.tui.console import footer, page, read, until
from tests.tui.held import held_by_tpm
from tests.tui.measured import events as measured_events
from tests.tui.measured import samples as measured_samples
from tests.tui.runfile import HOSTILE, make_run, make_samples

NOW = 1_795_000_400.0
SMALL, LARGE, HUGE = (80, 24), (160, 48), (200, 60)
LEVELS = [(4, 60), (8, 50), (16, 60), (64, 90), (32, 60)]
"""(concurrency, seconds) of a run that was tuned."""
Prepare = Callable[[Pilot[None]], Awaitable[None]]
Draw = Callable[[tuple[int, int], Prepare, Path | None], bool]


class StillApp(BatchdeckApp):
    """The console with its clock stopped and nothing that blinks or glides; its pictures load no font."""

    # relative paths are looked up beside the class that is run
    CSS_PATH: ClassVar[list[str | PurePath] | None] = [
        Path(app.__file__).parent / sheet for sheet in BatchdeckApp.CSS_PATH or ()
    ]

    def __init__(self, run: Path | None) -> None:
        super().__init__(run, wall=lambda: NOW)
        self.animation_level = "none"

    def export_screenshot(self, *, title: str | None = None, simplify: bool = False) -> str:
        for field in self.screen.query(Input):
            field.cursor_blink = False
            field._cursor_visible = field.has_focus
        svg = super().export_screenshot(title=title, simplify=simplify)
        return re.sub(r"\s*(@font-face\s*\{[^}]*\}|<!--.*?-->)", "", svg)


@pytest.fixture
def draw(snap_compare: Callable[..., bool], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Draw:
    """Whether the console looks as it did, once it has been prepared."""
    monkeypatch.chdir(tmp_path)
    for name in ("NO_COLOR", "COLORTERM", "TERM"):
        monkeypatch.delenv(name, raising=False)

    def compare(size: tuple[int, int], prepare: Prepare, run: Path | None = None) -> bool:
        return snap_compare(StillApp(run), terminal_size=size, run_before=prepare)

    return compare


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of run files: one that ended, one that broke off, one that never began, and a file that is no run."""
    folder = tmp_path_factory.mktemp("runs")
    samples, events = make_samples(90)
    failed = (3, 17, 21, 118)
    retried = {2: 2, 5: 2, 6: 4, 30: 3, 119: 5}  # as many 429s as the samples tell of
    hostile = dict(enumerate(HOSTILE, start=4))
    labels = {3: HOSTILE[0], 9: HOSTILE[1], 11: HOSTILE[7]}
    make_run(
        folder / "reviews.db", 640, failed=failed, texts=hostile, labels=labels, retried=retried,
        samples=samples, events=events, ending="done",
    )  # fmt: skip
    make_run(folder / "tickets.db", 640, settled=220, failed=failed, retried=retried, samples=samples, events=events)
    make_run(folder / "glossary.db", 40, settled=0)
    make_run(
        folder / "levels.db", 2_500, settled=40, samples=measured_samples(LEVELS, hits={64: 1}),
        events=measured_events(LEVELS, by_engine=[32]), ending="drained",
    )  # fmt: skip
    (folder / "notes.db").write_bytes(b"no database at all " * 80)
    return folder


@pytest.fixture
def runs(made: Path, home: Path) -> Path:
    """The folder of this test's runs."""
    shutil.copytree(made, home / "runs")
    for age, name in enumerate(("reviews.db", "tickets.db", "glossary.db", "levels.db", "notes.db")):
        os.utime(home / "runs" / name, (NOW - 60 - age, NOW - 60 - age))
    return home / "runs"


def at(*sizes: tuple[int, int]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("size", sizes, ids=["x".join(map(str, size)) for size in sizes])


async def opened(pilot: Pilot[None], *, drawn: bool = True) -> RunScreen:
    """Wait until the run's screen shows all that its file tells."""
    await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen))
    screen = pilot.app.screen
    assert isinstance(screen, RunScreen)
    await until(pilot, lambda: screen._now is not None and screen.table.visible_indices())
    if drawn:
        # on the screen, not only told: what lies below a dialog is painted no more
        await until(pilot, lambda: screen.query_one(Charts).series("cap") and page(pilot.app).count("│→ 20 ") == 4)
        await until(pilot, lambda: "✗ http_500 " in page(pilot.app))
    else:
        await until(pilot, lambda: not screen.query_one(Charts).display)
    await pilot.pause()
    return screen


@at(SMALL, LARGE, HUGE)
def test_a_run_that_ended(draw: Draw, runs: Path, size: tuple[int, int]) -> None:
    async def prepare(pilot: Pilot[None]) -> None:
        await opened(pilot)

    assert draw(size, prepare, runs / "reviews.db")


@at(SMALL, LARGE)
def test_a_run_whose_engine_was_killed_with_its_last_words(draw: Draw, runs: Path, size: tuple[int, int]) -> None:
    (runs / "tickets.db.log").write_text(
        "12:00:01 the run begins\n12:01:31 the kernel said [/no] \x1b]52;c;aGFja2Vk\x07\n"
    )

    async def prepare(pilot: Pilot[None]) -> None:
        await opened(pilot)
        await until(pilot, lambda: "the kernel said" in page(pilot.app))

    assert draw(size, prepare, runs / "tickets.db")


@at(SMALL)
def test_a_run_that_never_began_gives_its_room_to_the_table(draw: Draw, runs: Path, size: tuple[int, int]) -> None:
    async def prepare(pilot: Pilot[None]) -> None:
        await opened(pilot, drawn=False)

    assert draw(size, prepare, runs / "glossary.db")


@at(SMALL, LARGE)
def test_the_detail_of_a_hostile_answer(draw: Draw, runs: Path, size: tuple[int, int]) -> None:
    async def prepare(pilot: Pilot[None]) -> None:
        await opened(pilot)
        await pilot.press(*["down"] * 5, "enter")
        await until(pilot, lambda: "␛]52;c;" in page(pilot.app))

    assert draw(size, prepare, runs / "reviews.db")


@at(SMALL, LARGE)
def test_the_rows_that_failed_of_one_class(draw: Draw, runs: Path, size: tuple[int, int]) -> None:
    async def prepare(pilot: Pilot[None]) -> None:
        screen = await opened(pilot)
        await until(pilot, lambda: "http_500" in read(screen.query_one(ErrorList)))
        await pilot.press("tab", "down", "enter")
        await until(pilot, lambda: screen.table.visible_indices() == [3, 17, 21, 118])

    assert draw(size, prepare, runs / "reviews.db")


@at(SMALL, LARGE)
def test_the_list_of_runs(draw: Draw, runs: Path, size: tuple[int, int]) -> None:
    async def prepare(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "unreadable" in page(pilot.app))

    assert draw(size, prepare, None)


@at(SMALL)
def test_no_runs_yet(draw: Draw, size: tuple[int, int]) -> None:
    async def prepare(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "No runs yet" in page(pilot.app))

    assert draw(size, prepare, None)


@at(SMALL, LARGE)
def test_the_launch_form_shows_the_first_request(draw: Draw, tmp_path: Path, size: tuple[int, int]) -> None:
    (tmp_path / "reviews.csv").write_text("id,text\n1,The [/soup] was cold\n2,Lovely\n3,Never again\n")

    async def prepare(pilot: Pilot[None]) -> None:
        await pilot.press("n")
        await until(pilot, lambda: isinstance(pilot.app.screen, LaunchScreen))
        screen = pilot.app.screen
        screen.query_one("#provider", Select).value = CUSTOM
        screen.query_one("#prompt", Template).text = "Is this kind? {{text}}"
        said = {"file": "reviews.csv", "base_url": "http://127.0.0.1:8000/v1", "model": "my-model"}
        for name, value in said.items():
            screen.query_one(f"#{name}", Input).value = value
        await until(pilot, lambda: "Is this kind? The [/soup] was cold" in page(pilot.app))
        await until(pilot, lambda: "reading" not in page(pilot.app))

    assert draw(size, prepare, None)


@at(SMALL, LARGE)
def test_help_over_a_run(draw: Draw, runs: Path, size: tuple[int, int]) -> None:
    async def prepare(pilot: Pilot[None]) -> None:
        await opened(pilot)
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(pilot.app.screen, HelpScreen) and "In a run" in page(pilot.app))

    assert draw(size, prepare, runs / "reviews.db")


@at(SMALL, LARGE)
def test_a_question_before_what_cannot_be_taken_back(draw: Draw, runs: Path, size: tuple[int, int]) -> None:
    async def prepare(pilot: Pilot[None]) -> None:
        await opened(pilot)
        question = "Cancel the run? 10 in flight are dropped; they may be billed. R goes on later."
        pilot.app.push_screen(ConfirmScreen(question, yes="Cancel the run", no="Let it run"))
        await until(pilot, lambda: "Let it run" in page(pilot.app))

    assert draw(size, prepare, runs / "reviews.db")


async def held(pilot: Pilot[None], run: Path) -> RunScreen:
    """The run's screen, as its engine would have it drawn."""
    screen = await opened(pilot)
    screen.on_snapshot_ready(SnapshotReady(held_by_tpm(run)))
    await until(pilot, lambda: "held by TPM" in page(pilot.app) and "undo" not in footer(pilot.app))
    await until(pilot, lambda: "drain" in footer(pilot.app))
    await pilot.pause()
    return screen


@at(SMALL, LARGE)
def test_a_run_that_its_tokens_a_minute_hold(draw: Draw, runs: Path, size: tuple[int, int]) -> None:
    async def prepare(pilot: Pilot[None]) -> None:
        await held(pilot, runs / "tickets.db")

    assert draw(size, prepare, runs / "tickets.db")


@at(SMALL, LARGE)
def test_the_form_of_limits(draw: Draw, runs: Path, size: tuple[int, int]) -> None:
    async def prepare(pilot: Pilot[None]) -> None:
        await held(pilot, runs / "tickets.db")
        await pilot.press("L")
        await until(pilot, lambda: isinstance(pilot.app.screen, LimitsScreen) and "tokens a minute" in page(pilot.app))
        await pilot.press(*["tab"] * list(SETTINGS).index("rpm"), *"5oo")
        await until(pilot, lambda: "requests a minute: '5oo' is not" in page(pilot.app))

    assert draw(size, prepare, runs / "tickets.db")


@at(SMALL)
def test_the_form_of_limits_of_a_run_that_its_budget_stopped(draw: Draw, runs: Path, size: tuple[int, int]) -> None:
    why = "the budget of $5.00 is used up; raise it (L, or --max-cost) and resume"
    run = make_run(runs / "spent.db", 640, settled=220, ending="stopped", message=why, changes={"max_cost": 5.0})

    async def prepare(pilot: Pilot[None]) -> None:
        await opened(pilot, drawn=False)
        await pilot.press("L")
        await until(pilot, lambda: isinstance(pilot.app.screen, LimitsScreen) and "is used up" in page(pilot.app))
        pilot.app.screen.query_one("#max_cost", Input).focus()
        await until(pilot, lambda: "costs more" in page(pilot.app))

    assert draw(size, prepare, run)


async def tuning(pilot: Pilot[None], run: Path, drawn: str, **changes: object) -> None:
    """The tune screen, as the run's engine would have it drawn."""
    await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen) and pilot.app.screen._now is not None)
    screen = pilot.app.screen
    assert isinstance(screen, RunScreen)
    await until(pilot, lambda: screen.query_one(Charts).series("cap") or screen.has_class("-bare"))
    if changes:
        screen.on_snapshot_ready(SnapshotReady(replace(held_by_tpm(run, 320.0), **changes)))
    await pilot.press("t")
    await until(pilot, lambda: drawn in page(pilot.app))
    await until(pilot, lambda: ("sweep" in footer(pilot.app)) == bool(changes))
    await until(pilot, lambda: "throughput by concurrency" in page(pilot.app))
    await pilot.pause()


AUTO = Tuning(is_on=True, phase="probing", sentence="16 → 32: throughput rose by 11%, trying more")


@at(SMALL, (120, 36), LARGE)
def test_the_tune_screen_of_a_run_that_tunes_itself(draw: Draw, runs: Path, size: tuple[int, int]) -> None:
    async def prepare(pilot: Pilot[None]) -> None:
        said = {"concurrency": 32, "in_flight": 31, "rate": 10.9, "tuning": AUTO, "waiting": Waiting(), "quotas": ()}
        await tuning(pilot, runs / "levels.db", "best 2", **said)

    assert draw(size, prepare, runs / "levels.db")


@at(SMALL, LARGE)
def test_the_tune_screen_of_a_run_that_ended(draw: Draw, runs: Path, size: tuple[int, int]) -> None:
    async def prepare(pilot: Pilot[None]) -> None:
        await tuning(pilot, runs / "levels.db", "best 2")

    assert draw(size, prepare, runs / "levels.db")


@at(SMALL)
def test_the_tune_screen_before_anything_was_measured(draw: Draw, runs: Path, size: tuple[int, int]) -> None:
    async def prepare(pilot: Pilot[None]) -> None:
        said = {"concurrency": 8, "in_flight": 8, "rate": 0.0, "waiting": Waiting(), "quotas": (), "tokens_rate": 0.0}
        await tuning(pilot, runs / "glossary.db", "waiting for the first level", **said)

    assert draw(size, prepare, runs / "glossary.db")


@at(SMALL)
def test_the_form_of_a_sweep(draw: Draw, runs: Path, size: tuple[int, int]) -> None:
    async def prepare(pilot: Pilot[None]) -> None:
        said = {"concurrency": 8, "in_flight": 8, "rate": 6.1, "waiting": Waiting(), "quotas": ()}
        await tuning(pilot, runs / "levels.db", "best 2", **said)
        await pilot.press("s")
        await until(pilot, lambda: isinstance(pilot.app.screen, SweepScreen) and "kept as a result" in page(pilot.app))

    assert draw(size, prepare, runs / "levels.db")


@at(SMALL, LARGE)
def test_what_each_turn_did_beside_the_charts(draw: Draw, runs: Path, size: tuple[int, int]) -> None:
    async def prepare(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "64 → 32" in page(pilot.app) and "╎" in page(pilot.app))
        await pilot.pause()

    assert draw(size, prepare, runs / "levels.db")


def test_the_pictures_tell_nothing_of_a_machine_and_load_nothing() -> None:
    pictures = sorted(Path(__file__, "..", "__snapshots__", "test_snapshots").resolve().glob("*.svg"))
    assert len(pictures) >= 15
    for picture in pictures:
        svg = picture.read_text(encoding="utf-8")
        # the last two stand in what is pictured
        hosts = {"http://www.w3.org", "http://127.0.0.1", "http://evil"}
        assert set(re.findall(r"https?://[\w.-]+", svg)) <= hosts
        for private in ("/tmp", "/home", "/root", "/Users", str(Path.cwd()), "\x1b"):
            assert private not in svg, f"{picture.name} holds {private!r}"
