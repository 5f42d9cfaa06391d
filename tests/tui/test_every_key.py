"""Every key that the help names is pressed, and does what it says. A key without its line here fails."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec.structs import replace
from textual.pilot import Pilot
from textual.widget import Widget
from textual.widgets import Input, Static

from batchdeck.model import Command, Reply, Sweep
from batchdeck_tui.app import BatchdeckApp
from batchdeck_tui.commands import TITLES, VERBS, Scope, verbs
from batchdeck_tui.messages import SnapshotReady
from batchdeck_tui.remembered import remember
from batchdeck_tui.screens.run import RunScreen
from batchdeck_tui.screens.tune import TuneScreen
from batchdeck_tui.widgets.chartgrid import ChartGrid
from batchdeck_tui.widgets.charts import Charts
from batchdeck_tui.widgets.errors import ErrorList
from tests.tui.console import console, page, until
from tests.tui.held import held_by_tpm
from tests.tui.measured import events, samples
from tests.tui.runfile import make_run

LEVELS = [(4, 40), (8, 40), (16, 40), (32, 60), (64, 90)]
SIZE = (160, 48)


class Stage:
    """A console on a run file, an engine that remembers what it is asked, and what the keys may have changed."""

    def __init__(self, pilot: Pilot[None], run: Path, prompts: Path) -> None:
        self.pilot = pilot
        self.prompts = prompts
        self.app = cast("BatchdeckApp", pilot.app)
        self.file = run
        self.asked: list[Command] = []
        self._run = cast("RunScreen", pilot.app.screen)

    async def send(self, command: Command) -> Reply:
        self.asked.append(command)
        return Reply(ok=True, message="done as asked")

    @property
    def screen(self) -> Any:
        return self.app.screen

    @property
    def notices(self) -> object:
        return [notice.message for notice in self.app._notifications]

    def text(self, query: str) -> str:
        return str(self.screen.query_one(query, Static).render())

    @property
    def run(self) -> RunScreen:
        return self._run

    def stands(self, scope: Scope) -> bool:
        """Whether the screen of this scope is there already."""
        return getattr(self.screen, "SCOPE", "") == scope

    @property
    def grid(self) -> ChartGrid:
        return self.app.screen.query_one(ChartGrid)

    def live(self, **changes: Any) -> None:
        """The engine says how the run is now."""
        self.run.on_snapshot_ready(SnapshotReady(replace(held_by_tpm(self.file), **changes)))


Effect = Callable[[Stage], object]


@dataclass(frozen=True)
class Press:
    """``effect``: what the key changes. ``before``: keys and other things that make the key apply; ``after``: keys that
    clear up."""

    effect: Effect
    before: tuple[str | Callable[[Stage], Any], ...] = ()
    after: tuple[str, ...] = ()


def asks(stage: Stage) -> object:
    return len(stage.asked)


def shown(stage: Stage) -> object:
    return type(stage.screen).__name__


def told(stage: Stage) -> Callable[[], object]:
    """The detail pane has read its item."""
    return lambda: stage.run.pane.detail is not None and stage.run.pane.detail.idx == stage.run.table.cursor_idx


def listed(stage: Stage) -> Callable[[], object]:
    """The list of runs was read."""
    return lambda: stage.screen._lines


def filled(stage: Stage) -> Callable[[], object]:
    """A file is named, and what stands in it is known."""
    stage.screen.query_one("#file", Input).value = str(stage.prompts)
    return lambda: stage.screen._columns


def opens(*before: str | Callable[[Stage], Any]) -> Press:
    return Press(shown, before, ("escape",))


def live(**changes: Any) -> Callable[[Stage], None]:
    return lambda stage: stage.live(**changes)


def focus(kind: type[Widget]) -> Callable[[Stage], None]:
    def put(stage: Stage) -> None:
        stage.screen.query_one(kind).focus()

    return put


TURNS = {f"concurrency({by})": Press(asks, (live(),)) for by in (1, -1, 10, -10)}
FROM_RUN: dict[Scope, str] = {
    "columns": "o", "events": "e", "charts": "C", "tune": "t", "limits": "L", "preferences": ",", "diff": "D",
    "runs": "escape", "launch": "escape", "choice": "escape",
}  # fmt: skip
"""The key that leads from a run's screen to another, or on the way there."""
FURTHER: dict[Scope, str] = {"runs": "n", "launch": "ctrl+r"}
"""The key that leads on from the list of runs and from the form."""
KEYS: dict[Scope, dict[str, Press]] = {
    "run": {
        **TURNS,
        "tune": opens(),
        "autotune": Press(asks, (live(),)),
        "limits": opens(),
        "rpm(1)": Press(asks, (live(),)),
        "rpm(-1)": Press(asks, (live(),)),
        "undo": Press(asks, (live(settings=held_by_tpm(Path("r")).settings | {"rpm": 300.0}), "}")),
        "pause": Press(asks, (live(),)),
        "unpause": Press(asks, (live(state="paused"),)),
        "drain": Press(asks, (live(),)),
        "cancel": Press(shown, (live(),), ("escape",)),
        "resume": Press(asks, (live(state="stopped"),)),
        "retry": Press(asks, (live(),)),
        "open": Press(lambda stage: stage.run.has_class("-detail"), (), ("escape",)),
        "form": Press(lambda stage: stage.run.pane.form, ("g", "enter", told)),
        "zoom": Press(lambda stage: stage.run.has_class("-zoomed"), (), ("z",)),
        "step(1)": Press(lambda stage: stage.run.table.cursor_idx),
        "step(-1)": Press(lambda stage: stage.run.table.cursor_idx),
        "unfold": Press(lambda stage: len(stage.run.pane.line_texts()), (told,)),
        "copy_prompt": Press(lambda stage: stage.app.clipboard, (told,)),
        "diff": Press(shown, ("J", told), ("escape", "escape")),
        "search": Press(lambda stage: stage.run.is_searching, (), ("escape",)),
        "match(1)": Press(lambda stage: stage.run.table.cursor_idx, ("/", *"answer", "enter", "escape")),
        "match(-1)": Press(lambda stage: stage.run.table.cursor_idx),
        "goto": Press(lambda stage: stage.run.is_searching, (), ("escape",)),
        "filter": Press(lambda stage: stage.run._filter),
        "filter(-1)": Press(lambda stage: stage.run._filter),
        "columns": opens(),
        "mark": Press(lambda stage: set(stage.run.table.marks)),
        "mark_all": Press(lambda stage: set(stage.run.table.marks)),
        "unmark": Press(lambda stage: set(stage.run.table.marks)),
        "export": opens(),
        "copy": Press(lambda stage: stage.app.clipboard, ("g",)),
        "events": opens(),
        "window": Press(lambda stage: stage.run.query_one(Charts).window),
        "follow": Press(lambda stage: stage.run._following, ("j",)),
        "charts": Press(lambda stage: stage.run.has_class("-no-charts"), (), ("c",)),
        "all_charts": opens(),
        "back": Press(lambda stage: stage.run.has_class("-detail"), ("enter",)),
        "detach": Press(lambda stage: stage.app._exit),
    },
    "errors": {
        "choose": Press(lambda stage: stage.run._filter, (live(), focus(ErrorList), "down"), ("escape",)),
        "retry": Press(asks, (live(), focus(ErrorList))),
        "export": Press(shown, (live(), focus(ErrorList)), ("escape",)),
    },
    "diff": {
        "turn(-1)": Press(lambda stage: stage.screen.pair),
        "turn(1)": Press(lambda stage: stage.screen.pair),
        "turn_right(-1)": Press(lambda stage: stage.screen.pair),
        "turn_right(1)": Press(lambda stage: stage.screen.pair),
        "back": Press(shown, (), ("escape",)),
    },
    "runs": {
        "open": Press(shown, (listed,), ("escape",)),
        "launch": opens(listed),
        "label": opens(listed),
        "duplicate": opens(listed),
        "export": opens(listed),
        "delete": opens(listed),
        "order(1)": Press(lambda stage: stage.screen._by, (listed,)),
        "turn": Press(lambda stage: stage.screen._down),
        "search": Press(lambda stage: stage.screen.is_searching, (), ("escape",)),
        "back": Press(lambda stage: stage.screen._words, ("/", *"rev", "enter")),
        "resume": Press(lambda stage: stage.notices, (listed,)),
        "quit": Press(lambda stage: stage.app._exit),
    },
    "launch": {
        "start": Press(lambda stage: stage.text("#summary")),
        "recent": opens(),
        "columns": Press(shown, (filled,), ("escape",)),
        "models": Press(lambda stage: (shown(stage), stage.text("#note")), (), ("escape",)),
        "fold": Press(lambda stage: stage.screen.form.is_open),
        "copy": Press(lambda stage: stage.app.clipboard, (filled,)),
        "app.focus_next": Press(lambda stage: stage.screen.focused),
        "back": Press(shown),
    },
    "choice": {
        "move(1)": Press(lambda stage: stage.screen._list.highlighted),
        "move(-1)": Press(lambda stage: stage.screen._list.highlighted),
        "take": Press(shown),
        "leave": Press(shown),
    },
    "columns": {
        "turn": Press(lambda stage: stage.run.table.chosen, ("down", "down")),
        "width(1)": Press(lambda stage: stage.run.table.chosen, ("home", *["down"] * 4)),
        "width(-1)": Press(lambda stage: stage.run.table.chosen),
        "order": Press(lambda stage: stage.run.table.order),
        "reset": Press(lambda stage: stage.run.table.chosen),
        "close": Press(shown),
    },
    "events": {
        "kind(1)": Press(lambda stage: stage.screen._kind),
        "kind(-1)": Press(lambda stage: stage.screen._kind),
        "back": Press(shown),
    },
    "charts": {
        **TURNS,
        "move(-1)": Press(lambda stage: stage.grid.cursor),
        "move(1)": Press(lambda stage: stage.grid.cursor, ("h", "h")),
        "leap(-1)": Press(lambda stage: stage.grid.cursor, ("N",)),
        "leap(1)": Press(lambda stage: stage.grid.cursor),
        "span(1)": Press(lambda stage: stage.grid.span, ("4",)),
        "span(2)": Press(lambda stage: stage.grid.span),
        "span(3)": Press(lambda stage: stage.grid.view, ("1",)),
        "span(4)": Press(lambda stage: stage.grid.view, ("1",)),
        "zoom(-1)": Press(lambda stage: stage.grid.span),
        "zoom(1)": Press(lambda stage: stage.grid.span),
        "pan(-1)": Press(lambda stage: stage.grid.span, ("1",)),
        "pan(1)": Press(lambda stage: stage.grid.span),
        "enlarge": Press(lambda stage: stage.grid.alone),
        "next(1)": Press(lambda stage: stage.grid.focused),
        "next(-1)": Press(lambda stage: stage.grid.focused),
        "live": Press(lambda stage: stage.grid.view, ("1", "H")),
        "back": Press(shown),
        "detach": Press(lambda stage: stage.app._exit),
    },
    "tune": {
        **TURNS,
        "set": Press(asks, (live(),)),
        "sweep": Press(shown, (live(concurrency=4),), ("escape",)),
        "end_sweep": Press(asks, (live(sweep=Sweep(levels=((2, 20),)), concurrency=2),)),
        "autotune": Press(asks, (live(),)),
        "back": Press(shown),
        "detach": Press(lambda stage: stage.app._exit),
    },
    "limits": {
        "app.focus_next": Press(lambda stage: stage.screen.focused),
        "apply": Press(shown),
        "leave": Press(shown),
    },
    "preferences": {
        "turn": Press(lambda stage: stage.app.habits["ascii"]),
        "app.change_theme": Press(shown, (), ("escape",)),
        "close": Press(shown),
    },
    "app": {
        "help": Press(shown, (), ("escape",)),
        "preferences": opens(),
        "command_palette": opens(),
    },
}


def test_no_key_of_the_help_is_without_its_line() -> None:
    named = {scope: {verb.action for verb in verbs(scope)} for scope in TITLES}
    named["app"].remove("suspend_process")  # only a shell can take the console back: test_tmux does it
    assert {scope: set(pressed) for scope, pressed in KEYS.items()} == named
    assert len(VERBS) == sum(len(verbs(scope)) for scope in TITLES)


@pytest.mark.parametrize("scope", KEYS)
async def test_every_key_does_something(home: Path, scope: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "runs").mkdir(parents=True)
    texts = {number: f"answer number {number}" for number in range(40)}
    run = make_run(
        home / "runs" / "reviews.db", 60, settled=40, failed=(3, 7), texts=texts, retried={1: 2},
        data={0: {"review": "a prompt that goes on and on " * 200, "stars": 5}},
        samples=samples(LEVELS), events=events(LEVELS),
    )  # fmt: skip
    db = sqlite3.connect(run)
    with db:
        db.execute("UPDATE attempts SET text = 'words of ' || number WHERE idx = 1 AND outcome != 'ok'")
    db.close()
    files = [home / f"{name}.jsonl" for name in ("prompts", "others")]
    for file in files:
        file.write_text('{"review": "It pours well."}\n')
    remember(files={str(file): 1.0 for file in files})
    async with console(run, SIZE) as (pilot, screen):
        stage = Stage(pilot, run, files[0])
        monkeypatch.setattr(screen.bridge, "send", stage.send)
        await until(pilot, lambda: screen.stays.visits() and "answer number" in page(stage.app))
        for action, press in KEYS[scope].items():
            verb = next(verb for verb in verbs(scope) if verb.action == action)
            for key in verb.keys.split(","):
                await pressed(stage, scope, press, key, f"{scope}: {key} ({verb.title})")


async def pressed(stage: Stage, scope: Scope, press: Press, key: str, what: str) -> None:
    pilot = stage.pilot
    while scope in FROM_RUN and not stage.stands(scope):
        before = stage.screen
        if before is stage.run:
            stage.live()
            if scope == "diff":
                await pilot.press("g", "j", "enter")
                await until(pilot, told(stage))
        await pilot.press(FROM_RUN[scope] if before is stage.run else FURTHER[before.SCOPE])
        await until(pilot, lambda: stage.screen is not before, scope)  # noqa: B023
        if stage.stands("runs"):
            await until(pilot, listed(stage))
    for step in press.before:
        if callable(step):
            waits_for = step(stage)
            await pilot.pause()
            if waits_for is not None:
                await until(pilot, waits_for)
        else:
            await pilot.press(step)
    screen = stage.screen
    if isinstance(screen, TuneScreen):
        await until(pilot, lambda: screen._advice is not None)
    before = press.effect(stage)
    await pilot.press(key)
    await until(pilot, lambda: press.effect(stage) != before, what)
    for step in press.after:
        await pilot.press(step)
