"""Where the table goes while it follows: to what is going on, and no oftener than it must."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from batchdeck.model import LiveRow
from batchdeck_tui.following import page_top
from batchdeck_tui.messages import LiveReady
from tests.tui.console import console, launched, read, until
from tests.tui.runfile import make_run


def flying(streaming: Iterable[int], waiting: Iterable[int] = ()) -> list[LiveRow]:
    phases = dict.fromkeys(streaming, "streaming") | dict.fromkeys(waiting, "waiting")
    return [
        LiveRow(idx=idx, phase=phase, text="", tokens=0, seconds=1.0, attempt=1)  # type: ignore[arg-type]
        for idx, phase in sorted(phases.items())
    ]


def test_all_in_flight_stay_in_view_and_the_oldest_comes_to_the_top_when_they_leave_it() -> None:
    assert page_top(flying(range(10)), 0, 20) == 0
    assert page_top(flying(range(10, 20)), 0, 20) == 0, "still in view: nothing is painted anew"
    assert page_top(flying(range(11, 21)), 0, 20) == 10, "one settled row above the oldest"
    assert page_top(flying(range(300, 320)), 0, 20) == 300
    assert page_top(flying([3]), 40, 20) == 2
    assert page_top([], 7, 20) == 7


def test_of_more_than_a_page_those_that_stream_are_shown_and_not_the_newest() -> None:
    assert page_top(flying(range(100, 120), waiting=range(120, 160)), 0, 20) == 100
    # a straggler far behind holds nothing up
    assert page_top(flying([2, *range(500, 520)], waiting=range(520, 560)), 0, 20) == 500
    # they move down: the page stays until half of what it could show has left it, and then jumps
    tops, moves = [500], 0
    for start in range(500, 600):
        tops.append(page_top(flying(range(start, start + 30)), tops[-1], 20))
        moves += tops[-1] != tops[-2]
    assert moves <= 10
    assert page_top(flying([], waiting=range(40, 90)), 0, 20) == 40


@given(st.sets(st.integers(0, 500), min_size=1, max_size=80), st.integers(0, 500), st.integers(1, 60))
def test_the_page_always_shows_something_in_flight(places: set[int], top: int, height: int) -> None:
    found = page_top(flying(places), top, height)
    assert found >= 0
    shown = {idx for idx in places if found <= idx < found + height}
    assert shown
    if max(places) - min(places) < height:
        assert shown == places
    assert page_top(flying(places), found, height) == found, "what was just shown is not left at once"


async def test_a_key_is_not_undone_by_what_was_under_way_when_it_was_pressed(tmp_path: Path) -> None:
    """The news of who is in flight stand in the queue before the message that the cursor was moved."""
    async with console(make_run(tmp_path / "run.db", 60), (100, 24)) as (pilot, screen):
        news = LiveReady({row.idx: row for row in flying(range(10))}, None, list(range(10)), 0)
        await until(pilot, lambda: screen.table.cursor_idx == 0)
        screen.on_live_ready(news)
        assert screen.table.cursor_idx == 9
        await until(pilot, lambda: screen._led == set())
        screen.table.action_edge(0)
        screen.on_live_ready(news)
        assert screen.table.cursor_idx == 0
        await until(pilot, lambda: not screen._following)
        await pilot.press("l")
        await until(pilot, lambda: screen._following)
        screen.on_live_ready(news)
        assert screen.table.cursor_idx == 9


async def test_what_is_in_flight_is_never_said_to_be_queued_while_the_table_follows_it(tmp_path: Path) -> None:
    prompts = [f"prompt {n}" for n in range(200)]
    async with (
        launched(tmp_path, prompts, "--concurrency", "40", hold=True, latency_ms=600) as (run, sim),
        console(run, (100, 24)) as (pilot, screen),
    ):
        said: list[str] = []
        flown: set[int] = set()
        follow, census = screen.table.follow, screen._flights.census

        def taken(flying: Iterable[int]) -> bool:
            """What is in flight by the very word by which the table is led."""
            known = frozenset(flying)
            flown.update(known)
            return census(known)

        def looked(top: int) -> int | None:
            led = follow(top)
            said.extend(
                line for line in read(screen.table).splitlines() if "queued" in line and int(line.split()[0]) in flown
            )
            return led

        screen.table.follow = looked  # type: ignore[method-assign]
        screen._flights.census = taken  # type: ignore[method-assign]
        for wave in range(1, 4):
            await until(pilot, lambda: len(sim.holds) == 40)
            sim.holds.release(None)
            settled = 40 * wave
            await until(pilot, lambda: screen._now is not None and screen._now.counts.done == settled)  # noqa: B023
        assert len(flown) >= 80
        # the page may begin with settled rows: it stays while at least half of what it could show is in flight
        await until(pilot, lambda: read(screen.table).count("in flight") * 2 >= len(screen.table.visible_indices()))
        assert screen.table.visible_indices()[-1] >= 120
        assert said == []
