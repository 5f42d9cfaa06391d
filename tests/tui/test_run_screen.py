"""The run screen on runs that live, end, break off and come back. Engine, provider and run file are the real ones."""

from __future__ import annotations

from array import array
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlite_utils import Database
from textual.widgets._footer import FooterKey

from batchdeck.model import Reply, Snapshot
from batchdeck.store.reader import RunReader
from batchdeck_tui.commandline import _talks
from batchdeck_tui.listing import last_holder
from batchdeck_tui.messages import MetaReady, SnapshotReady
from batchdeck_tui.screens.confirm import ConfirmScreen
from batchdeck_tui.screens.rowfilter import Flights
from batchdeck_tui.screens.run import RunScreen
from batchdeck_tui.screens.runs import RunsScreen
from batchdeck_tui.screens.searchbox import SearchBox
from batchdeck_tui.selection import Selection
from batchdeck_tui.widgets.charts import Charts
from batchdeck_tui.widgets.detail import DetailPane
from tests.tui.console import console, footer, kill_engine, launched, page, read, state, until, write
from tests.tui.runfile import HOSTILE, make_run, make_samples

PROMPTS = [f"Review number {n}: is it kind?" for n in range(60)]


@pytest.fixture
def ended(home: Path) -> Path:
    """A run without an engine: twenty answers, two failures, forty still queued."""
    samples, events = make_samples(30)
    (home / "runs").mkdir(parents=True)
    return make_run(
        home / "runs" / "reviews.db",
        60,
        settled=20,
        failed=(3, 7),
        texts={1: "unmistakable pelican", 2: HOSTILE[0], 4: HOSTILE[1]},
        samples=samples,
        events=events,
    )


def snapshot(screen: RunScreen) -> Snapshot:
    assert isinstance(screen._now, Snapshot)
    return screen._now


async def test_the_first_words_stand_in_the_row_while_the_stream_is_open_and_the_answer_when_it_ends(
    tmp_path: Path,
) -> None:
    async with launched(tmp_path, PROMPTS, hold=True) as (run, sim), console(run, (160, 40)) as (pilot, screen):
        await until(pilot, lambda: "in flight" in read(screen.table).splitlines()[1])
        await until(pilot, lambda: "imulated" in read(screen.table).splitlines()[1], "the first words of row 0")
        assert sim.stats()["max_in_flight"] == 10
        sim.holds.release(1)
        await until(pilot, lambda: " done " in read(screen.table), "the answer, committed")
        await until(pilot, lambda: snapshot(screen).counts.done == 1)


async def test_keys_turn_the_providers_load_and_the_charts_carry_the_marks(tmp_path: Path) -> None:
    async with launched(tmp_path, PROMPTS, hold=True) as (run, sim), console(run) as (pilot, screen):
        await until(pilot, lambda: len(sim.holds) == 10)
        await pilot.press("right_square_bracket")
        await until(pilot, lambda: len(sim.holds) == 20, "twenty requests at the provider")
        await pilot.press("equals_sign", "plus", "minus", "left_square_bracket")
        await until(pilot, lambda: snapshot(screen).concurrency == 11)
        await until(pilot, lambda: "→ 11" in page(pilot.app), "what the engine answered")
        charts = screen.query_one(Charts)
        await until(pilot, lambda: [cap for _, cap, _ in charts.marks()] == [20, 21, 22, 21, 11])
        with RunReader(run) as reader:
            await until(pilot, lambda: len(charts.series("cap")) == len(reader.samples()) >= 2)
            assert charts.series("cap") == [(sample.t, sample.concurrency) for sample in reader.samples()]


async def test_concurrency_never_goes_below_one(tmp_path: Path) -> None:
    async with (
        launched(tmp_path, PROMPTS, "--concurrency", "4", hold=True) as (run, _),
        console(run) as (pilot, screen),
    ):
        await until(pilot, lambda: screen.is_live)
        await pilot.press("left_square_bracket")
        await until(pilot, lambda: snapshot(screen).concurrency == 1)
        await pilot.press("minus")
        await until(pilot, lambda: "concurrency is 1" in page(pilot.app))


async def test_a_turn_of_the_cap_is_from_what_the_engine_has_not_from_what_was_shown_last(tmp_path: Path) -> None:
    async with launched(tmp_path, PROMPTS, "--concurrency", "20", hold=True) as (run, sim), console(run) as (p, screen):
        await until(p, lambda: screen.is_live and snapshot(screen).concurrency == 20 and len(sim.holds) == 20)
        old = msgspec.structs.replace(snapshot(screen), concurrency=4)
        screen.on_snapshot_ready(SnapshotReady(old))  # one that was taken before somebody else turned it up
        await p.press("left_square_bracket")
        await until(p, lambda: "20 → 10" in page(p.app))
        assert len(sim.holds) == 20
        write(p, *["left_square_bracket"] * 3, *["plus"] * 2)
        await until(p, lambda: snapshot(screen).concurrency == 3, "never below one, and two more from there")


async def test_space_pauses_and_goes_on_by_key_and_by_mouse(tmp_path: Path) -> None:
    async with launched(tmp_path, PROMPTS, hold=True) as (run, sim), console(run) as (pilot, screen):
        await until(pilot, lambda: "pause" in footer(pilot.app))
        await pilot.press("space")
        await until(pilot, lambda: state(screen) == "paused" and "go on" in footer(pilot.app))
        assert "pause" not in footer(pilot.app)
        await until(pilot, lambda: len(sim.holds) == 10)
        sim.holds.release(None)
        await until(pilot, lambda: snapshot(screen).counts.done == 10 and not len(sim.holds))
        key = next(key for key in screen.query(FooterKey) if key.description == "go on")
        await pilot.click(key)
        await until(pilot, lambda: state(screen) == "running" and len(sim.holds) == 10)


async def test_cancel_asks_first_and_the_run_can_go_on_later(tmp_path: Path) -> None:
    async with launched(tmp_path, PROMPTS, hold=True) as (run, sim), console(run) as (pilot, screen):
        await until(pilot, lambda: len(sim.holds) == 10 and screen.is_live and snapshot(screen).in_flight == 10)
        await pilot.press("x")
        await until(pilot, lambda: isinstance(pilot.app.screen, ConfirmScreen))
        assert "10 in flight" in page(pilot.app)
        await pilot.press("enter")  # the safe answer has the focus
        await until(pilot, lambda: pilot.app.screen is screen)
        assert state(screen) == "running"
        await pilot.press("x")
        await until(pilot, lambda: isinstance(pilot.app.screen, ConfirmScreen))
        await pilot.press("y")
        await until(pilot, lambda: state(screen) == "cancelled")
        await until(pilot, lambda: "resume" in footer(pilot.app) and "drain" not in footer(pilot.app))
        await pilot.press("R")
        await until(pilot, lambda: state(screen) == "running" and len(sim.holds) == 10)


async def test_the_question_goes_when_the_run_ends_before_it_is_answered(tmp_path: Path) -> None:
    async with launched(tmp_path, PROMPTS[:10], hold=True) as (run, sim), console(run) as (pilot, screen):
        await until(pilot, lambda: len(sim.holds) == 10 and screen.is_live)
        await pilot.press("x")
        await until(pilot, lambda: isinstance(pilot.app.screen, ConfirmScreen))
        sim.holds.release(None)
        await until(pilot, lambda: pilot.app.screen is screen)
        assert state(screen) == "done"
        await until(pilot, lambda: "nothing was cancelled" in page(pilot.app))


async def test_the_first_look_at_a_living_run_offers_its_knobs_and_no_resume(tmp_path: Path) -> None:
    async with launched(tmp_path, PROMPTS, hold=True) as (run, _), console(run) as (pilot, screen):
        await until(pilot, lambda: screen.is_live)
        with RunReader(run) as reader:
            screen.on_meta_ready(MetaReady(reader.meta(), ""))  # what its file says, before the engine is heard
        assert screen.check_action("concurrency", (1,))
        assert screen.check_action("drain", ())
        assert not screen.check_action("resume", ())


async def test_an_engine_is_started_once_however_often_it_is_asked_for(ended: Path) -> None:
    async with console(ended) as (pilot, _):
        await until(pilot, lambda: "resume" in footer(pilot.app))
        seen = len(_talks)
        write(pilot, "R", "R", "r", "R")
        await until(pilot, lambda: len(_talks) > seen)
        (talk,) = _talks
        await until(pilot, talk.done)
        assert _talks <= {talk}, "the first was left alone, and no other begun"
        kill_engine(ended)


async def test_bad_lines_are_said_to_have_nothing_to_try_again(ended: Path) -> None:
    db = Database(str(ended))
    db.execute("INSERT INTO counters VALUES ('bad_lines', 2)")
    db.conn.commit()
    db.close()
    async with console(ended) as (pilot, _):
        await until(pilot, lambda: "retry" in footer(pilot.app))
        await pilot.press("r")
        await until(pilot, lambda: "bad line of the input" in page(pilot.app))


async def test_a_killed_engine_leaves_an_interrupted_run_and_resume_goes_on(tmp_path: Path) -> None:
    async with launched(tmp_path, PROMPTS, hold=True) as (run, sim), console(run) as (pilot, screen):
        await until(pilot, lambda: len(sim.holds) == 10 and screen.is_live)
        sim.holds.release(5)
        await until(pilot, lambda: snapshot(screen).counts.done == 5)
        kill_engine(run)
        pid = last_holder(run)
        await until(pilot, lambda: not screen.is_live and state(screen) == "interrupted")
        said = lambda: " ".join(str(screen.query_one("#log").render()).split())  # noqa: E731
        await until(pilot, lambda: f"the engine (process {pid}) ended without a word; R goes on" in said())
        await pilot.press("plus")  # nobody is there to turn it: no error, no traceback
        await until(pilot, lambda: "resume" in footer(pilot.app))
        await pilot.press("R")
        await until(pilot, lambda: screen.is_live and state(screen) == "running" and not screen.has_class("-log"))
        await until(pilot, lambda: len(sim.holds) >= 10)
        sim.holds.release(None)
        await until(pilot, lambda: snapshot(screen).counts.done >= 10)


async def test_a_crashed_engines_last_words_are_shown_and_change_nothing_else(ended: Path) -> None:
    ended.with_name(ended.name + ".log").write_text("all was well\nthe kernel said [/no] \x1b]52;c;aGFja2Vk\x07\n")
    async with console(ended) as (pilot, screen):
        await until(pilot, lambda: "the kernel said [/no] ␛]52" in page(pilot.app))
        assert state(screen) == "interrupted"
        assert "\x1b" not in page(pilot.app)


async def test_how_an_earlier_session_ended_is_not_told_of_the_last_one(ended: Path) -> None:
    ended.with_name(ended.name + ".log").write_text(
        "2026-01-31 06:00:00,000 INFO batchdeck.engine: ended: stopped: the budget is used up\n"
        "2026-01-31 07:00:00,000 INFO batchdeck.engine: resumed: concurrency 20\n"
        "2026-01-31 07:01:00,000 ERROR batchdeck.engine: the ceiling came down\n"
    )
    async with console(ended) as (pilot, screen):
        await until(pilot, lambda: "the ceiling came down" in page(pilot.app))
        assert state(screen) == "interrupted"
        assert "budget" not in page(pilot.app)


async def test_the_table_follows_the_rows_in_flight_until_one_moves_about(tmp_path: Path) -> None:
    async with launched(tmp_path, PROMPTS, hold=True) as (run, sim), console(run, (100, 24)) as (pilot, screen):
        await until(pilot, lambda: len(sim.holds) == 10 and screen.table.cursor_idx == 9)
        sim.holds.release(None)
        await until(pilot, lambda: screen.table.cursor_idx == 19 and 19 in screen.table.visible_indices())
        await pilot.press("home")
        await until(pilot, lambda: len(sim.holds) == 10)
        sim.holds.release(None)
        await until(pilot, lambda: snapshot(screen).counts.done == 20 and snapshot(screen).in_flight == 10)
        assert screen.table.cursor_idx == 0
        await pilot.press("l")
        await until(pilot, lambda: screen.table.cursor_idx == 29)


async def test_search_lists_only_the_rows_that_match_and_escape_shows_all(ended: Path) -> None:
    async with console(ended) as (pilot, screen):
        await pilot.press("slash", *"pelican", "enter")
        await until(pilot, lambda: screen.table.visible_indices() == [1])
        await until(pilot, lambda: "“pelican”  1 row" in page(pilot.app))
        await pilot.press("escape")
        await until(pilot, lambda: len(screen.table.visible_indices()) > 10)


@pytest.mark.parametrize("size", [(80, 24), (160, 40)])
async def test_words_typed_at_once_with_the_search_key_turn_no_knob(tmp_path: Path, size: tuple[int, int]) -> None:
    """In one write: each letter of the word is a command of this screen."""
    async with launched(tmp_path, PROMPTS, hold=True) as (run, sim), console(run, size) as (pilot, screen):
        await until(pilot, lambda: len(sim.holds) == 10 and screen.is_live)
        write(pilot, "slash", *"needlexRrq")
        search = screen.query_one("#search", SearchBox)
        await until(pilot, lambda: search.value == "needlexRrq" and search.has_focus)
        assert pilot.app.screen is screen
        assert state(screen) == "running"
        await until(pilot, lambda: footer(pilot.app) == {"find", "close"}, "only what works while one types")
        screen.door.say(Reply(ok=False, message="a word in between"))
        await until(pilot, lambda: "a word in between" in page(pilot.app))
        assert "needlexRrq" in page(pilot.app), "no toast lies on it"
        write(pilot, "escape", "slash", *"Review", "enter")
        await until(pilot, lambda: "“Review”  60 rows" in page(pilot.app))
        assert screen._opened is None
        await until(pilot, lambda: "drain" in footer(pilot.app) and len(sim.holds) == 10)


async def test_while_the_search_is_open_no_command_is_carried_out_wherever_the_focus_is(ended: Path) -> None:
    async with console(ended) as (pilot, screen):
        await pilot.press("slash", *"peli")
        screen.set_focus(screen.table)
        await pilot.press("f", "x", "R", "q")
        assert not screen._filter
        assert pilot.app.is_running
        await pilot.press("slash", *"pelican", "enter")
        await until(pilot, lambda: "“pelican”  1 row" in page(pilot.app))


async def test_filter_turns_through_the_states_and_follows_them(tmp_path: Path) -> None:
    async with launched(tmp_path, PROMPTS[:30], hold=True) as (run, sim), console(run, (160, 48)) as (pilot, screen):
        await until(pilot, lambda: len(sim.holds) == 10 and screen.is_live)
        await pilot.press("f")
        await until(pilot, lambda: screen.table.visible_indices() == list(range(10)), "in flight")
        sim.holds.release(3)
        await until(pilot, lambda: len(screen.table.visible_indices()) == 10 and 12 in screen.table.visible_indices())
        await pilot.press("f")
        await until(pilot, lambda: screen.table.visible_indices() == list(range(13, 30)), "queued, none in flight")
        sim.holds.release(4)
        await until(pilot, lambda: screen.table.visible_indices() == list(range(17, 30)), "four less")
        await pilot.press("f")
        await until(pilot, lambda: len(screen.table.visible_indices()) == 7, "done")
        sim.holds.release(2)
        await until(pilot, lambda: len(screen.table.visible_indices()) == 9, "rows that settled under the filter")
        await pilot.press("f")
        await until(pilot, lambda: "no row matches" in read(screen.table), "failed")
        await pilot.press("F", "escape")
        await until(pilot, lambda: len(screen.table.visible_indices()) == 30)


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_detail_follows_the_cursor_through_hostile_answers(ended: Path, size: tuple[int, int]) -> None:
    async with console(ended, size) as (pilot, screen):
        pane = screen.query_one(DetailPane)
        await pilot.press("down", "enter")
        await until(pilot, lambda: pane.display and "unmistakable pelican" in page(pilot.app))
        await pilot.press("down")
        await until(pilot, lambda: HOSTILE[0] in page(pilot.app), "markup, as it was said")
        await pilot.press("down", "down")
        await until(pilot, lambda: "␛]52;c;aGFja2Vk" in page(pilot.app))
        assert "\x1b" not in page(pilot.app)
        await pilot.press("escape")
        await until(pilot, lambda: not pane.display)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))


async def test_detail_of_a_row_in_flight_streams_and_ends_as_it_was_kept(tmp_path: Path) -> None:
    async with launched(tmp_path, PROMPTS, hold=True) as (run, sim), console(run, (160, 48)) as (pilot, screen):
        pane = screen.query_one(DetailPane)
        await until(pilot, lambda: len(sim.holds) == 10)
        await pilot.press("enter")
        await until(pilot, lambda: "imulated" in read(pane), "the stream in the pane")
        assert "attempts" not in read(pane) or "200" not in read(pane)
        sim.holds.release(None)
        await until(pilot, lambda: "done" in read(pane) and "200" in read(pane), "the kept answer and its attempt")


async def test_nothing_that_is_said_is_markup(ended: Path) -> None:
    async with console(ended) as (pilot, screen):
        screen.door.say(Reply(ok=False, message="the engine said [/x] and [bold"))
        await until(pilot, lambda: "said [/x] and [bold" in page(pilot.app))


async def test_retrying_an_ended_run_shows_why_it_cannot_be(ended: Path) -> None:
    db = Database(str(ended))
    db.execute("UPDATE run SET config = json_set(config, '$.headers.x-team', '${TEAM_TOKEN}')")
    db.conn.commit()
    db.close()
    async with console(ended) as (pilot, _):
        await until(pilot, lambda: "retry" in footer(pilot.app))
        await pilot.press("r")  # the header's variable is not set here
        await until(pilot, lambda: "TEAM_TOKEN" in page(pilot.app))


async def test_charts_can_make_room_for_the_table(ended: Path) -> None:
    async with console(ended) as (pilot, screen):
        await until(pilot, lambda: "on average" in page(pilot.app) and "http_500" in page(pilot.app))
        await pilot.pause()
        before = screen.table.size.area
        await pilot.press("c")
        await until(pilot, lambda: screen.table.size.area > before)
        await pilot.press("c")
        await until(pilot, lambda: screen.table.size.area == before)


@given(
    queued=st.sets(st.integers(0, 60)),
    flights=st.lists(st.frozensets(st.integers(0, 60), max_size=8), min_size=1, max_size=6),
)
def test_queued_rows_are_those_of_the_file_without_any_seen_in_flight_since_it_was_asked(
    queued: set[int], flights: list[frozenset[int]]
) -> None:
    told = Flights()
    file = Selection(array("q", sorted(queued)))
    told.answered(told.ask())
    for count, now in enumerate(flights):
        left = told.census(now)
        assert left == (count > 0 and not flights[count - 1] <= now)
        assert list(told.queued(file).rows) == sorted(queued - frozenset().union(*flights[: count + 1]))
    told.answered(told.ask())
    assert list(told.queued(file).rows) == sorted(queued - flights[-1]), (
        "a new answer of the file is right about the others"
    )
