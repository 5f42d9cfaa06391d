"""The tune screen and its keys: on runs that live, on runs that have ended, and before anything was measured."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace
from textual.pilot import Pilot
from textual.widgets import Input

from batchdeck.model import Autotune, Command, Reply, Snapshot, Sweep, Tuning
from batchdeck_tui.advice import Advice, Situation
from batchdeck_tui.messages import SnapshotReady
from batchdeck_tui.screens import tune
from batchdeck_tui.screens.run import RunScreen
from batchdeck_tui.screens.sweep import SweepScreen
from batchdeck_tui.screens.tune import TuneScreen
from batchdeck_tui.widgets.scatterplot import ScatterPlot
from tests.tui.console import console, footer, launched, page, until
from tests.tui.held import held_by_tpm
from tests.tui.measured import events, samples
from tests.tui.runfile import make_run

LEVELS = [(4, 40), (8, 40), (16, 40), (32, 60), (64, 90)]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that was turned up from 4 to 64, whose engine is gone."""
    return make_run(tmp_path / "run.db", 640, settled=220, samples=samples(LEVELS), events=events(LEVELS))


async def opened(pilot: Pilot[None], screen: RunScreen) -> TuneScreen:
    await until(pilot, lambda: "tune" in footer(pilot.app))
    await pilot.press("t")
    await until(pilot, lambda: isinstance(pilot.app.screen, TuneScreen))
    found = pilot.app.screen
    assert isinstance(found, TuneScreen)
    await until(pilot, lambda: found._advice is not None)
    return found


def live(run: Path, **changes: object) -> Snapshot:
    """The run as its engine would tell it."""
    given = {"concurrency": 64, "waiting": held_by_tpm(run).waiting} | changes
    return replace(held_by_tpm(run), **given)


class Engine:
    """Takes the place of the engine that this run has lost, and remembers what it was asked."""

    def __init__(self, screen: RunScreen, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[Command] = []
        monkeypatch.setattr(screen.bridge, "send", self.send)

    async def send(self, command: Command) -> Reply:
        self.asked.append(command)
        return Reply(ok=True, message="done as asked")


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (160, 48), (200, 60), (80, 14)])
async def test_a_run_that_is_over_shows_its_levels_its_knee_and_no_knob(run: Path, size: tuple[int, int]) -> None:
    async with console(run, size) as (pilot, screen):
        found = await opened(pilot, screen)
        await until(pilot, lambda: "is enough (about 11" in page(pilot.app))
        for level in (4, 8, 16, 32, 64):
            assert f" {level} " in page(pilot.app) or size[1] < 24
        assert {"set it", "cap", "sweep", "auto"} & footer(pilot.app) == set()
        await pilot.press("enter", "plus", "a", "s")
        assert pilot.app.screen is found
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is screen)


async def test_news_that_come_while_the_screen_opens_are_not_lost(run: Path) -> None:
    async with console(run, (160, 48)) as (pilot, screen):
        await until(pilot, lambda: "tune" in footer(pilot.app))
        found = TuneScreen(screen, live(run))
        found.hear(live(run, concurrency=8))
        found.measured()
        pilot.app.push_screen(found)
        found.hear(live(run, concurrency=9))
        await until(pilot, lambda: "40/9" in page(pilot.app))
        await until(pilot, lambda: found._advice is not None)


async def test_a_new_user_finds_the_next_level_by_return_alone(tmp_path: Path) -> None:
    prompts = [f"prompt {n}" for n in range(5_000)]
    async with (
        launched(tmp_path, prompts, "-c", "2", latency_ms=60) as (path, sim),
        console(path, (80, 24)) as (pilot, screen),
    ):
        await until(pilot, lambda: screen.is_live)
        await opened(pilot, screen)
        await until(pilot, lambda: "1 level is measured (2)" in page(pilot.app))
        await until(pilot, lambda: "⏎ tries 4" in page(pilot.app) and "set it" in footer(pilot.app))
        await pilot.press("enter")
        await until(pilot, lambda: screen._now is not None and sim.stats()["max_in_flight"] == 4)
        await pilot.press("plus", "right_square_bracket", "minus")
        await until(pilot, lambda: isinstance(screen._now, Snapshot) and screen._now.concurrency == 14)
        await until(pilot, lambda: "14 settles" in page(pilot.app))


async def test_return_sets_what_is_recommended(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with console(run, (120, 36)) as (pilot, screen):
        engine = Engine(screen, monkeypatch)
        found = await opened(pilot, screen)
        screen.on_snapshot_ready(SnapshotReady(live(run)))
        await until(pilot, lambda: found._advice is not None and f"⏎ sets {found._advice.target}" in page(pilot.app))
        assert found._advice is not None
        await pilot.press("enter")
        await until(pilot, lambda: engine.asked == [Command(name="concurrency", value=found._advice.target)])  # type: ignore[union-attr]
        screen.on_snapshot_ready(SnapshotReady(live(run, concurrency=found._advice.target)))
        await until(pilot, lambda: "set it" not in footer(pilot.app), "the run is there already")


async def test_a_hands_the_knob_over_takes_it_back_and_u_undoes(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with console(run, (120, 36)) as (pilot, screen):
        engine = Engine(screen, monkeypatch)
        await opened(pilot, screen)
        hand = held_by_tpm(run).settings | {"concurrency": 64.0}
        screen.on_snapshot_ready(SnapshotReady(live(run, settings=hand)))
        await until(pilot, lambda: "auto" in footer(pilot.app))
        await pilot.press("a")
        await until(pilot, lambda: [one.settings for one in engine.asked] == [{"concurrency": None}])
        tuning = Tuning(is_on=True, phase="climbing", sentence="8 → 16: throughput rose by 80 %")
        auto = live(run, concurrency=40, tuning=tuning, settings=hand | {"concurrency": None})
        screen.on_snapshot_ready(SnapshotReady(auto))
        await until(pilot, lambda: "auto: 8 → 16: throughput rose by 80 %" in page(pilot.app))
        await until(pilot, lambda: "/40 auto" in page(pilot.app))
        await until(pilot, lambda: "the engine turns it by itself; a takes it back" in page(pilot.app))
        await pilot.press("a")
        await until(pilot, lambda: engine.asked[-1].settings == {"concurrency": 40.0})
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is screen and "undo" in footer(pilot.app))
        await until(pilot, lambda: "/40 auto" in page(pilot.app), "the head of the run's own screen says it, too")
        await pilot.press("u")
        await until(pilot, lambda: engine.asked[-1].settings == {"concurrency": None})


async def test_a_on_the_run_screen_is_for_live_runs_only(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with console(run) as (pilot, screen):
        engine = Engine(screen, monkeypatch)
        await until(pilot, lambda: screen._now is not None)
        assert not screen.check_action("autotune", ())
        assert screen.check_action("tune", ())
        screen.on_snapshot_ready(SnapshotReady(live(run)))
        assert screen.check_action("autotune", ())
        await pilot.press("a")
        await until(pilot, lambda: [one.settings for one in engine.asked] == [{"concurrency": None}])


async def test_a_sweep_says_what_it_takes_and_is_started_and_ended_by_s(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with console(run, (80, 24)) as (pilot, screen):
        engine = Engine(screen, monkeypatch)
        await opened(pilot, screen)
        screen.on_snapshot_ready(SnapshotReady(live(run, concurrency=4)))
        await until(pilot, lambda: "sweep" in footer(pilot.app))
        await pilot.press("s")
        await until(pilot, lambda: isinstance(pilot.app.screen, SweepScreen))
        form = pilot.app.screen
        await until(
            pilot, lambda: "10 + 10 + 16 + 32 + 64 = 132 of the 372 items left" in " ".join(page(pilot.app).split())
        )
        assert form.query_one("#sweep-levels", Input).value == "1, 2, 4, 8, 16"
        form.query_one("#sweep-levels", Input).value = "2, 4, x"
        await until(pilot, lambda: "'x' is no concurrency" in page(pilot.app))
        await pilot.press("enter")
        assert pilot.app.screen is form, "nothing is started that cannot be"
        form.query_one("#sweep-levels", Input).value = "2, 4"
        await pilot.press("down", *"20", "enter")
        await until(pilot, lambda: engine.asked == [Command(name="sweep", levels=[(2, 20), (4, 20)])])
        sweep = Sweep(levels=((2, 20), (4, 20)))
        screen.on_snapshot_ready(SnapshotReady(live(run, concurrency=2, sweep=sweep)))
        await until(pilot, lambda: "end sweep" in footer(pilot.app))
        await until(pilot, lambda: "a sweep is under way: 0 of 2 levels are measured" in page(pilot.app))
        await pilot.press("s")
        await until(pilot, lambda: engine.asked[-1] == Command(name="sweep", levels=[]))


async def test_leaving_the_form_of_a_sweep_measures_nothing(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with console(run, (80, 24)) as (pilot, screen):
        engine = Engine(screen, monkeypatch)
        found = await opened(pilot, screen)
        screen.on_snapshot_ready(SnapshotReady(live(run)))
        await until(pilot, lambda: "sweep" in footer(pilot.app))
        await pilot.press("s")
        await until(pilot, lambda: isinstance(pilot.app.screen, SweepScreen))
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is found)
        assert engine.asked == []


async def test_nothing_is_fitted_for_a_key_and_not_more_often_than_there_are_samples(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits: list[Situation] = []

    def counted(of: Situation, rng: object) -> Advice:
        fits.append(of)
        return Advice(sentence="24 is enough", target=24, best=24)

    monkeypatch.setattr(tune, "advise", counted)
    async with console(run, (80, 24)) as (pilot, screen):
        Engine(screen, monkeypatch)
        await until(pilot, lambda: len(screen.stays.visits()) == 5, "all samples are taken in")
        found = await opened(pilot, screen)
        assert len(fits) == 1
        assert len(fits[0].visits) == 5
        await pilot.press(*["plus", "minus", "left_square_bracket"] * 4)
        found._think_again()
        assert len(fits) == 1


async def test_between_two_samples_only_the_head_is_painted(run: Path) -> None:
    async with console(run, (160, 48)) as (pilot, screen):
        found = await opened(pilot, screen)
        screen.on_snapshot_ready(SnapshotReady(live(run)))
        await until(pilot, lambda: "set it" in footer(pilot.app) and "/64" in page(pilot.app))
        await until(pilot, lambda: not found._is_thinking and not found._is_stale)
        plots = list(found.query(ScatterPlot))
        assert len(plots) == 2
        built = [plot.builds for plot in plots]
        for tenth in range(10):
            screen.on_snapshot_ready(SnapshotReady(live(run, rate=9.0 + tenth)))
        await until(pilot, lambda: "18/s" in page(pilot.app) or "18.0/s" in page(pilot.app))
        assert [plot.builds for plot in plots] == built


async def test_before_a_level_is_measured_the_screen_says_what_to_do(tmp_path: Path) -> None:
    fresh = make_run(tmp_path / "fresh.db", 640, settled=0)
    async with console(fresh, (80, 24)) as (pilot, screen):
        await opened(pilot, screen)
        screen.on_snapshot_ready(SnapshotReady(live(fresh, rate=0.0, sweep=None, concurrency=8)))
        await until(pilot, lambda: "three levels make a curve" in page(pilot.app))
        await until(pilot, lambda: "8 settles; s measures several levels in a row" in page(pilot.app))
        await until(pilot, lambda: "waiting for the first level" in page(pilot.app))


async def test_a_run_of_an_older_version_has_no_levels_and_no_failure(tmp_path: Path) -> None:
    old = [replace(sample, held={}, e2e={}, ttft={}) for sample in samples(LEVELS)]
    path = make_run(tmp_path / "old.db", 640, samples=old, events=events(LEVELS), ending="done")
    async with console(path, (80, 24)) as (pilot, screen):
        await opened(pilot, screen)
        await until(pilot, lambda: "no level was measured" in page(pilot.app))


async def test_what_each_turn_did_stands_beside_the_charts(run: Path) -> None:
    async with console(run, (160, 48)) as (pilot, _):
        await until(pilot, lambda: "16 → 32" in page(pilot.app) and "8 → 16" in page(pilot.app))
        assert "6.7 → 10.0/s  +50%" in next(line for line in page(pilot.app).splitlines() if "8 → 16" in line)
    async with console(run, (80, 24)) as (pilot, _):
        await until(pilot, lambda: "32 → 64" in page(pilot.app))
        assert "8 → 16" not in page(pilot.app), "one line, where there is no room for more"


async def test_a_run_that_was_left_to_the_engine_says_so_when_it_is_over(tmp_path: Path) -> None:
    path = make_run(
        tmp_path / "auto.db", 64, samples=samples([(4, 20)]), ending="drained", changes={"concurrency": None}
    )
    async with console(path, (160, 48)) as (pilot, screen):
        await until(pilot, lambda: "concurrency 10 auto" in page(pilot.app))
        assert screen._now is not None
        assert screen._now.config.autotune == Autotune(is_on=True)  # type: ignore[union-attr]
