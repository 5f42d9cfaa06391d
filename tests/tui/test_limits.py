"""Limits and budgets changed from the console: by form, by key, back again, and by two people at once."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.pilot import Pilot
from textual.widgets import Input

from batchdeck.model import Command, Snapshot
from batchdeck.settings import SETTINGS, show
from batchdeck.store.reader import RunReader
from batchdeck_tui.bridge import RunBridge
from batchdeck_tui.messages import SnapshotReady
from batchdeck_tui.screens.limitform import base_rpm, beside, read, saying, turned, values_of
from batchdeck_tui.screens.limits import LimitsScreen
from batchdeck_tui.screens.run import RunScreen
from batchdeck_tui.widgets.charts import Charts
from batchdeck_tui.widgets.waiting import WaitingStrip
from tests.tui import console as console_module
from tests.tui.console import console, footer, launched, page, state, until, write
from tests.tui.held import held_by_tpm
from tests.tui.runfile import make_run, make_samples
from tests.tui.test_bridge import Told, watching

replace = msgspec.structs.replace
NOW = 1_795_000_000.0
HELD = held_by_tpm(Path("translate.db"))
RPM = list(SETTINGS).index("rpm")
"""Fields above it in the form."""
PROMPTS = [f"Review number {n}: is it kind?" for n in range(60)]


def snapshot(screen: RunScreen) -> Snapshot:
    assert isinstance(screen._now, Snapshot)
    return screen._now


async def form(pilot: Pilot[None]) -> LimitsScreen:
    await pilot.press("L")
    await until(pilot, lambda: isinstance(pilot.app.screen, LimitsScreen) and "concurrency" in page(pilot.app))
    screen = pilot.app.screen
    assert isinstance(screen, LimitsScreen)
    return screen


def field(screen: LimitsScreen, name: str) -> Input:
    return screen.query_one(f"#{name}", Input)


# What the form makes of its texts


def test_only_what_was_changed_is_sent_and_what_is_wrong_is_said() -> None:
    values = values_of(HELD)
    shown = {name: show(name, value) for name, value in values.items()}
    texts = shown | {"rpm": " 500 ", "tpm": "90k", "max_cost": "", "max_errors": "5%", "deadline": "2h"}
    change, wrong = read(texts, shown, values, NOW)
    assert change.values == {"rpm": 500.0, "max_cost": None, "max_errors": 0.05, "deadline": NOW + 7_200}
    assert change.texts == {"rpm": "500", "max_cost": "off", "max_errors": "5%", "deadline": "2h"}
    assert not wrong
    change, wrong = read(shown | {"rpm": "many", "concurrency": "off", "tpd": "1m"}, shown, values, NOW)
    assert change.values == {"tpd": 1e6}
    assert list(wrong) == ["concurrency", "rpm"]
    assert wrong["rpm"].startswith("requests a minute: 'many' is not a number"), "as the form names it"
    assert wrong["concurrency"] == "concurrency: 'off' is not a number such as 40, or auto"
    assert "'off' is not a number such as 40, or auto" in wrong["concurrency"]
    for left_to_the_engine in ("auto", "", "Auto"):
        change, wrong = read(shown | {"concurrency": left_to_the_engine}, shown, values, NOW)
        assert change.values == {"concurrency": None}
        assert not wrong


@given(st.dictionaries(st.sampled_from([n for n, s in SETTINGS.items() if not s.required]), st.floats(1, 1e9)))
def test_a_form_that_nobody_wrote_in_changes_nothing(settings: dict[str, float]) -> None:
    """A cost of $0.12345 is shown as $0.12, and stays what it is."""
    view = replace(HELD, settings=HELD.settings | settings)
    shown = {name: show(name, value) for name, value in values_of(view).items()}
    change, wrong = read(shown, shown, values_of(view), NOW)
    assert not change.values
    assert not wrong


def test_beside_each_limit_stands_what_the_run_has_used_of_it(tmp_path: Path) -> None:
    said = {name: beside(name, HELD) for name in SETTINGS}
    assert said["concurrency"] == "40 of 64 in flight"
    assert said["rpm"] == "88 left of 500, header"
    assert said["tpm"] == "90k, flag"
    assert said["max_cost"] == "$0.22 spent"
    assert said["max_tokens_total"] == "32.4k used"
    assert said["max_errors"] == "4 failed, 1.8%"
    assert said["deadline"] == "ETA 51s"
    assert beside("deadline", replace(HELD, state="paused")) == "", "a pause has no end to be foreseen"
    assert said["tpd"] == said["priority"] == ""
    assert beside("priority", replace(HELD, shared_by=3)) == "3 runs share it"
    with RunReader(make_run(tmp_path / "run.db", 20, failed=(3,))) as reader:
        ended = reader.meta()
    assert beside("max_errors", ended) == "1 failed, 5.0%"
    assert beside("rpm", ended) == beside("concurrency", ended) == ""


@given(st.floats(1, 1e9))
def test_a_turn_of_the_rpm_is_a_tenth_and_always_another_whole_number(rpm: float) -> None:
    up, down = turned(rpm, 1), turned(rpm, -1)
    assert up > rpm
    assert down < rpm or down == 1
    assert down >= 1
    assert up == int(up) or up == rpm + 1
    assert abs(up - 1.1 * rpm) <= 1
    assert abs(down - 0.9 * rpm) <= 1


def test_a_turn_starts_from_the_flag_then_the_account_then_the_pace() -> None:
    assert base_rpm(HELD, {"rpm": 300.0}) == 300
    assert base_rpm(HELD, {}) == 500
    assert base_rpm(replace(HELD, quotas=()), {}) == round(8.2 * 60)
    assert base_rpm(replace(HELD, quotas=(), rate=0.0), {}) is None
    assert (turned(500, 1), turned(500, -1), turned(1, -1), turned(1, 1)) == (550, 450, 1, 2)
    assert saying({"rpm": 550.0, "max_cost": None}) == "rpm 550, max cost off"


# The form, drawn


@pytest.fixture
def still(tmp_path: Path) -> Path:
    samples, events = make_samples(30)
    return make_run(tmp_path / "run.db", 640, settled=220, samples=samples, events=events)


async def test_mistakes_are_said_while_one_types_and_nothing_is_sent(still: Path) -> None:
    async with console(still, (80, 24)) as (pilot, screen):
        await until(pilot, lambda: "limits" in footer(pilot.app))
        screen.on_snapshot_ready(SnapshotReady(held_by_tpm(still)))
        opened = await form(pilot)
        await pilot.press(*["down"] * RPM, *"[x]")
        await until(pilot, lambda: "requests a minute: '[x]' is not a number" in page(pilot.app))
        await pilot.press("up")
        await until(pilot, lambda: "requests a minute: '[x]' is not" in page(pilot.app), "still wrong")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: field(opened, "rpm").has_focus)
        assert pilot.app.screen is opened
        field(opened, "rpm").value = "off"
        await until(pilot, lambda: "never send more requests a minute" in page(pilot.app), "what the field does")
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is screen)
        assert not screen._replaced


async def test_a_field_nobody_wrote_in_shows_what_somebody_else_changed(still: Path) -> None:
    async with console(still, (80, 24)) as (pilot, screen):
        await until(pilot, lambda: "limits" in footer(pilot.app))
        before = held_by_tpm(still)
        screen.on_snapshot_ready(SnapshotReady(before))
        opened = await form(pilot)
        field(opened, "rpm").value = "77"
        elsewhere = before.settings | {"rpm": 300.0, "tpm": 45_000.0}
        screen.on_snapshot_ready(SnapshotReady(replace(before, settings=elsewhere)))
        await until(pilot, lambda: field(opened, "tpm").value == "45,000")
        assert field(opened, "rpm").value == "77", "what a person typed stays"
        assert opened.typed[0].values == {"rpm": 77.0}


async def test_news_that_come_while_the_form_opens_are_not_lost(still: Path) -> None:
    async with console(still, (80, 24)) as (pilot, screen):
        await until(pilot, lambda: "limits" in footer(pilot.app))
        before = held_by_tpm(still)
        screen.on_snapshot_ready(SnapshotReady(before))
        opened = LimitsScreen(before, lambda: NOW)
        opened.hear(replace(before, settings=before.settings | {"rpm": 300.0}))
        pilot.app.push_screen(opened)
        await until(pilot, lambda: opened.is_current and "deadline" in page(pilot.app))
        await until(pilot, lambda: field(opened, "rpm").value == "300")
        assert not opened.typed[0].values


async def test_keys_typed_in_the_form_turn_no_knob_of_the_screen_below(still: Path) -> None:
    async with console(still, (80, 24)) as (pilot, screen):
        await until(pilot, lambda: "limits" in footer(pilot.app))
        screen.on_snapshot_ready(SnapshotReady(held_by_tpm(still)))
        opened = await form(pilot)
        write(pilot, *["tab"] * RPM, *"5q?x}")
        await until(pilot, lambda: field(opened, "rpm").value == "5q?x}")
        assert pilot.app.screen is opened
        write(pilot, "escape")
        await until(pilot, lambda: pilot.app.screen is screen)
        assert pilot.app.is_running


@pytest.mark.parametrize("size", [(80, 24), (80, 12), (160, 48)])
async def test_every_field_and_both_buttons_can_be_reached_at_any_height(still: Path, size: tuple[int, int]) -> None:
    async with console(still, size) as (pilot, screen):
        await until(pilot, lambda: screen.check_action("limits", ()))
        opened = await form(pilot)
        for name in SETTINGS:
            at = field(opened, name)
            await until(pilot, lambda at=at: at.has_focus and opened.region.contains_region(at.region))  # type: ignore[misc]
            await pilot.press("down")
        await until(pilot, lambda: "Resume with these" in page(pilot.app) and "Leave" in page(pilot.app))


@pytest.mark.parametrize(("ending", "offered"), [("done", False), ("stopped", True), (None, True)])
async def test_limits_of_a_run_that_is_done_cannot_be_changed(
    tmp_path: Path, ending: str | None, offered: bool
) -> None:
    run = make_run(tmp_path / "run.db", 8, ending=ending)
    async with console(run) as (pilot, screen):
        await until(pilot, lambda: "find" in footer(pilot.app) and ("limits" in footer(pilot.app)) == offered)
        assert bool(screen.check_action("limits", ())) == offered
        for action in ("rpm", "undo"):
            assert not screen.check_action(action, ())


async def test_a_run_that_ends_under_the_form_says_what_can_still_be_done(still: Path) -> None:
    async with console(still, (80, 24)) as (pilot, screen):
        await until(pilot, lambda: "limits" in footer(pilot.app))
        going = held_by_tpm(still)
        screen.on_snapshot_ready(SnapshotReady(going))
        opened = await form(pilot)
        await until(pilot, lambda: "Apply (^s)" in page(pilot.app))
        screen.on_snapshot_ready(SnapshotReady(replace(going, state="stopped", message="the budget is used up")))
        await until(pilot, lambda: "Resume with these (^s)" in page(pilot.app), "not cut to the width of Apply")
        screen.on_snapshot_ready(SnapshotReady(replace(going, state="done")))
        await until(pilot, lambda: "nothing left to limit" in page(pilot.app) and "Resume" not in page(pilot.app))
        field(opened, "rpm").value = "77"
        await pilot.press("ctrl+s")
        assert pilot.app.screen is opened
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is screen)
        assert not screen._starting


# On engines that live


async def test_the_form_changes_several_limits_at_once_and_u_takes_them_back(tmp_path: Path) -> None:
    options = ("--rpm", "6000", "--price", "3/15")
    async with launched(tmp_path, PROMPTS, *options, hold=True) as (run, _), console(run) as (pilot, screen):
        await until(pilot, lambda: screen.is_live and snapshot(screen).in_flight == 10)
        assert "undo" not in footer(pilot.app)
        opened = await form(pilot)
        assert field(opened, "rpm").value == "6,000"
        field(opened, "rpm").value = "1.2k"
        field(opened, "max_cost").value = "$2.50"
        field(opened, "concurrency").value = "12"
        await pilot.press("ctrl+s")
        await until(pilot, lambda: snapshot(screen).settings["rpm"] == 1_200)
        assert snapshot(screen).budget.max_cost == 2.5
        assert snapshot(screen).concurrency == 12
        await until(pilot, lambda: "of $2.50" in page(pilot.app) and "undo" in footer(pilot.app))
        await until(pilot, lambda: screen.query_one(Charts).notes(), "a mark on the charts")
        await pilot.press("u")
        await until(pilot, lambda: snapshot(screen).settings["rpm"] == 6_000)
        assert snapshot(screen).budget.max_cost is None
        assert snapshot(screen).concurrency == 10
        await until(pilot, lambda: "undo" not in footer(pilot.app))
        await pilot.press("u")
        assert snapshot(screen).settings["rpm"] == 6_000


async def test_keys_turn_the_requests_a_minute_by_a_tenth_each(tmp_path: Path) -> None:
    async with launched(tmp_path, PROMPTS, "--rpm", "5000", hold=True) as (run, _), console(run) as (pilot, screen):
        await until(pilot, lambda: screen.is_live)
        await pilot.press("right_curly_bracket")
        await until(pilot, lambda: snapshot(screen).settings["rpm"] == 5_500)
        await until(pilot, lambda: "5,500" in page(pilot.app), "what the engine answered")
        write(pilot, *["right_curly_bracket"] * 2, *["left_curly_bracket"] * 2)
        # each from what the one before made of it: 6050, 6655, 5990, 5391
        await until(pilot, lambda: snapshot(screen).settings["rpm"] == 5_391)
        await pilot.press("u", "u")
        await until(pilot, lambda: snapshot(screen).settings["rpm"] == 6_655)


async def test_without_a_pace_or_a_limit_a_turn_says_where_to_set_one(tmp_path: Path) -> None:
    async with launched(tmp_path, PROMPTS, hold=True) as (run, _), console(run) as (pilot, screen):
        await until(pilot, lambda: screen.is_live)
        await pilot.press("left_curly_bracket")
        await until(pilot, lambda: "L sets a limit" in page(pilot.app))
        assert snapshot(screen).settings["rpm"] is None


async def test_what_one_console_changes_the_other_shows(tmp_path: Path) -> None:
    told = Told()
    async with (
        launched(tmp_path, PROMPTS, hold=True) as (run, _),
        console(run) as (pilot, screen),
        watching(other := RunBridge(run, told.post)),
    ):
        await until(pilot, lambda: screen.is_live and other._client is not None)
        opened = await form(pilot)
        reply = await other.send(Command(name="configure", settings={"tpm": 60_000.0, "max_cost": 3.0}))
        assert reply.ok, reply.message
        await until(pilot, lambda: field(opened, "tpm").value == "60,000")
        write(pilot, *["down"] * RPM, *"400", "ctrl+s")  # at once: what was typed is applied, however late it lands

        def is_heard() -> bool:
            snapshots = [one.snapshot for one in told if isinstance(one, SnapshotReady)]
            return bool(snapshots) and snapshots[-1].settings["rpm"] == 400.0

        await told.wait_for(is_heard)
        await until(pilot, lambda: "of $3.00" in page(pilot.app))
        assert snapshot(screen).settings["tpm"] == 60_000.0, "what the other set is left alone"


async def test_u_leaves_alone_what_somebody_else_changed_since(tmp_path: Path) -> None:
    told = Told()
    async with (
        launched(tmp_path, PROMPTS, "--price", "3/15", hold=True) as (run, _),
        console(run) as (pilot, screen),
        watching(other := RunBridge(run, told.post)),
    ):
        await until(pilot, lambda: screen.is_live and other._client is not None)
        opened = await form(pilot)
        field(opened, "max_cost").value = "9"
        field(opened, "tpm").value = "50k"
        await pilot.press("ctrl+s")
        await until(pilot, lambda: snapshot(screen).budget.max_cost == 9.0)
        reply = await other.send(Command(name="configure", settings={"max_cost": 2.0}))
        assert reply.ok, reply.message
        await until(pilot, lambda: screen._values["max_cost"] == 2.0)
        await pilot.press("u")
        await until(pilot, lambda: snapshot(screen).settings["tpm"] is None)
        assert snapshot(screen).budget.max_cost == 2.0, "what the other cut is not raised again"
        await until(pilot, lambda: "undo" not in footer(pilot.app))


async def test_a_run_that_its_budget_stopped_is_raised_and_resumed_in_one_go(tmp_path: Path) -> None:
    async with (
        launched(tmp_path, PROMPTS, "--max-tokens-total", "400", latency_ms=5) as (run, _),
        console(run, (100, 30)) as (pilot, screen),
    ):
        await until(pilot, lambda: state(screen) == "stopped" and "limits" in footer(pilot.app))
        await until(pilot, lambda: "budget" in page(pilot.app))
        opened = await form(pilot)
        await until(pilot, lambda: "Resume with these" in page(pilot.app))
        field(opened, "max_tokens_total").value = "off"
        await pilot.press("ctrl+s")
        await until(pilot, lambda: state(screen) == "done")
        assert screen._now is not None
        assert screen._now.counts.done == len(PROMPTS)
    with RunReader(run) as reader:
        assert reader.meta().config.budget.max_tokens is None


async def test_the_strip_of_a_living_run_counts_every_unfinished_item(tmp_path: Path) -> None:
    async with launched(tmp_path, PROMPTS, hold=True) as (run, sim), console(run, (120, 30)) as (pilot, screen):
        await until(pilot, lambda: len(sim.holds) == 10 and screen.is_live)
        await until(pilot, lambda: sum(snapshot(screen).waiting.counts.values()) == 60)
        await until(pilot, lambda: "cap 50" in console_module.read(screen.query_one(WaitingStrip)))
