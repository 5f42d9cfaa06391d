"""The promises of the console, one by one: what it shows is what the provider served and what the run file holds."""

from __future__ import annotations

import asyncio
import html
import re
import sqlite3
import sys
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from textual._compositor import CompositorUpdate
from textual.app import App

from batchdeck import lock
from batchdeck.model import Snapshot
from batchdeck_tui.app import BatchdeckApp
from batchdeck_tui.screens.run import RunScreen
from batchdeck_tui.widgets.charts import Chart, Charts
from batchdeck_tui.widgets.detail import DetailPane
from batchdeck_tui.widgets.errors import ErrorList
from batchdeck_tui.widgets.progress import RunHeader
from tests.tui.console import batchdeck, console, footer, launched, page, read, state, until

PROMPTS = [f"Review number {n}: is it kind?" for n in range(60)]
HOSTILE = "[/foo]\x1b[31m\x1b]52;c;aGFja2Vk\x07 and [bold red]this[/]"
INERT = "[simulated] [/foo]␛[31m␛]52;c;aGFja2Vk␇ and [bold red]this[/]"


def snapshot(screen: RunScreen) -> Snapshot:
    assert isinstance(screen._now, Snapshot)
    return screen._now


def select(run: Path, query: str) -> list[Any]:
    """What any SQLite browser would read in the run file."""
    with sqlite3.connect(f"{run.as_uri()}?mode=ro", uri=True) as db:
        rows = db.execute(query).fetchall()
    db.close()
    return rows


def wired(app: App[Any]) -> str:
    """All that a terminal would be sent to paint the screen anew."""
    update = app.screen._compositor.render_update(full=True, screen_stack=app._background_screens)
    assert isinstance(update, CompositorUpdate)
    return update.render_segments(app.console)


def pictured(app: App[Any]) -> str:
    """The text in an exported screenshot."""
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", app.export_screenshot())
    return html.unescape("\n".join(texts)).replace("\xa0", " ")


async def test_knobs_turn_what_the_provider_measures_and_all_four_charts_carry_both_marks(tmp_path: Path) -> None:
    async with launched(tmp_path, PROMPTS, hold=True) as (run, sim), console(run, (200, 60)) as (pilot, screen):
        charts = screen.query_one(Charts)
        await until(pilot, lambda: len(sim.holds) == 10 and sim.stats()["max_in_flight"] == 10)
        await until(pilot, lambda: {cap for _, cap in charts.series("cap")} == {10.0}, "a sample at the old cap")
        await pilot.press("right_square_bracket")
        await until(pilot, lambda: sim.stats()["max_in_flight"] == 20 and len(sim.holds) == 20)
        await until(pilot, lambda: [cap for _, cap in charts.series("cap")].count(20.0) >= 2, "samples at the new cap")

        await pilot.press("left_square_bracket")
        await until(pilot, lambda: snapshot(screen).concurrency == 10)
        assert len(sim.holds) == 20, "what is open is not cut off"
        sim.holds.release(10)
        await until(pilot, lambda: snapshot(screen).counts.done == 10 and snapshot(screen).in_flight == 10)
        assert len(sim.holds) == 10, "nothing new was sent for the ten that ended"
        sim.holds.release(5)
        await until(pilot, lambda: snapshot(screen).counts.done == 15 and len(sim.holds) == 10)
        assert sim.stats()["max_in_flight"] == 20
        assert sim.stats()["requests"] == 25

        await until(pilot, lambda: [cap for _, cap, _ in charts.marks()] == [20.0, 10.0])
        drawn = list(screen.query(Chart))
        assert len(drawn) == 4
        await until(pilot, lambda: all("→ 20 " in read(chart) and "→ 10 " in read(chart) for chart in drawn))
        await until(
            pilot,
            lambda: (
                charts.marks()
                == select(run, "SELECT t, value, kind FROM events WHERE kind = 'concurrency' ORDER BY id")
            ),
        )


async def test_429s_and_chart_points_are_what_the_provider_served_and_the_run_file_holds(tmp_path: Path) -> None:
    # a provider whose headers tell of its quota would not be sent too much
    quota: dict[str, Any] = {"latency_ms": 30, "rpm": 900, "burst": 0.02, "headers": "none"}
    async with (
        launched(tmp_path, PROMPTS[:40], **quota) as (run, sim),
        console(run, (160, 48)) as (pilot, screen),
    ):
        await until(pilot, lambda: screen.is_live)
        await pilot.press("plus")
        charts, errors = screen.query_one(Charts), screen.query_one(ErrorList)
        await until(pilot, lambda: state(screen) == "done")
        samples = "SELECT t, {} FROM samples ORDER BY t"
        await until(pilot, lambda: charts.series("hits") == select(run, samples.format("rate_limit_hits")))
        assert charts.series("throughput") == select(run, samples.format("(done + failed) / max(dt, 0.5)"))
        assert charts.series("in_flight") == select(run, samples.format("in_flight"))
        assert charts.series("cap") == select(run, samples.format("concurrency"))
        assert charts.series("queue") == select(run, samples.format("queue_depth"))
        marks = select(run, "SELECT t, value, kind FROM events WHERE kind = 'concurrency' ORDER BY id")
        assert charts.marks() == marks
        assert [cap for _, cap, _ in marks] == [11.0]

        served = sim.stats()["by_status"]["429"]
        assert served > 0
        assert screen._now is not None
        assert screen._now.counts.rate_limit_hits == served
        assert sum(hits for _, hits in charts.series("hits")) == served
        assert re.search(rf"\b429s {served}\b", read(screen.query_one(RunHeader)))
        assert re.search(rf"rate-limit hits +{served} in all", page(pilot.app))
        assert re.search(rf"rate_limited +{served} +0 ", read(errors)), "tried again, and no item failed of it"
        assert screen._now.counts.done == 40
        assert screen._now.counts.failed == 0


async def test_an_answer_of_markup_and_escape_sequences_is_shown_and_does_nothing(tmp_path: Path) -> None:
    async with (
        launched(tmp_path, [HOSTILE, "tame"], echo=True, hold=True) as (run, sim),
        console(run, (160, 48)) as (pilot, screen),
    ):
        pane = screen.query_one(DetailPane)
        await until(pilot, lambda: len(sim.holds) == 2)
        sim.holds.release(None)
        await until(pilot, lambda: INERT[:30] in read(screen.table), "the table")
        await pilot.press("home", "enter")
        await until(pilot, lambda: INERT in read(pane) and "200" in read(pane), "the detail pane")
        for text in (read(screen.table), read(pane), page(pilot.app), pilot.app.export_screenshot()):
            assert "\x1b" not in text
            assert "\x07" not in text
        assert INERT in pictured(pilot.app)
        sent = wired(pilot.app)
        assert "]52;c;" in sent
        assert "\x1b]" not in sent
        assert "\x07" not in sent
        assert "\x1b[31m" not in sent


async def test_a_million_items_open_at_once_and_only_rows_in_view_are_read(
    million: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    connect = sqlite3.connect

    def listened(*arguments: Any, **options: Any) -> sqlite3.Connection:
        db: sqlite3.Connection = connect(*arguments, **options)
        db.set_trace_callback(asked.append)
        return db

    monkeypatch.setattr(sqlite3, "connect", listened)
    async with console(million, (120, 40)) as (pilot, screen):
        source = screen._source
        assert source is not None
        await until(pilot, lambda: "1,000,000" in read(screen.query_one(RunHeader)))
        assert "prompt 0 " in read(screen.table).splitlines()[1]
        assert source.reads <= 3, "once for the first paint, and again for what the file tells"
        before = source.reads
        for _ in range(20):
            await pilot.press("pagedown")
        await until(pilot, lambda: screen.table.cursor_idx in screen.table.visible_indices())
        cursor = screen.table.cursor_idx or 0
        assert re.search(rf" {cursor} +· queued +prompt {cursor} ", read(screen.table))
        assert source.reads - before <= cursor // 128 + 2, "a page of rows once, as it comes into view"
        before = source.reads
        await pilot.press("end")
        await until(pilot, lambda: re.search("999999 +· queued", read(screen.table)))
        await pilot.press("home")
        await until(pilot, lambda: "prompt 0 " in read(screen.table))
        assert source.reads - before <= 4
    monkeypatch.undo()
    # The index beside the run is another matter: it is made of all rows once, in the background.
    own = [query for query in asked if not re.search(r"\b(run|main)\.", query)]
    queries = {query for query in own if query.lstrip().upper().startswith(("SELECT", "WITH"))}
    assert any("prompt" not in query and "FROM items" in query for query in queries)
    with sqlite3.connect(f"{million.as_uri()}?mode=ro", uri=True) as db:
        for query in queries:
            assert not re.search(r"\boffset\b|count\(\*\) from (items|inputs)", query, re.IGNORECASE), query
            plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {query}")]
            assert not [step for step in plan if re.match(r"SCAN (i|n|a|items|inputs|attempts)\b", step)], query
    db.close()


async def test_the_run_goes_on_without_the_console_and_watch_finds_it(tmp_path: Path) -> None:
    async with launched(tmp_path, PROMPTS[:12], hold=True) as (run, sim):
        app = BatchdeckApp(run)
        async with app.run_test(size=(120, 40)) as pilot:
            await until(
                pilot, lambda: len(sim.holds) == 10 and isinstance(app.screen, RunScreen) and app.screen.is_live
            )
            await pilot.press("q")
        assert app.return_code == 0
        assert lock.probe(run) is not None
        watching = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "batchdeck", "watch", "reviews", "--json", stdout=asyncio.subprocess.PIPE
        )
        assert watching.stdout is not None
        first = msgspec.json.decode(await watching.stdout.readline(), type=Snapshot)
        assert (first.run, first.state, first.in_flight) == ("reviews", "running", 10)
        sim.model.configure(msgspec.structs.replace(sim.model.options, hold=False), 0.0)
        sim.holds.release(None)
        *_, last = (await watching.stdout.read()).splitlines()
        assert await watching.wait() == 0
        ended = msgspec.json.decode(last, type=Snapshot)
        assert (ended.state, ended.counts.done, ended.counts.failed) == ("done", 12, 0)
        assert sim.stats()["by_status"] == {"200": 12}
        shown = await batchdeck("show", "reviews", "--json")
        assert shown["state"] == "done"


async def test_drain_stops_orderly_and_resume_ends_the_run_with_nothing_sent_twice(tmp_path: Path) -> None:
    async with launched(tmp_path, PROMPTS[:30], hold=True) as (run, sim), console(run) as (pilot, screen):
        await until(pilot, lambda: len(sim.holds) == 10 and screen.is_live)
        await pilot.press("d")
        await until(pilot, lambda: state(screen) == "draining")
        sim.holds.release(None)
        await until(pilot, lambda: state(screen) == "drained" and "resume" in footer(pilot.app))
        assert select(run, "SELECT state, count(*) FROM items GROUP BY state") == [("done", 10), ("queued", 20)]
        sim.model.configure(msgspec.structs.replace(sim.model.options, hold=False, latency_ms=10), 0.0)
        await pilot.press("R")
        await until(pilot, lambda: state(screen) == "done")
        assert select(run, "SELECT state, count(*) FROM items GROUP BY state") == [("done", 30)]
        assert sim.stats()["requests"] == 30


async def test_failed_items_are_listed_by_class_and_retried_when_the_provider_is_well_again(tmp_path: Path) -> None:
    faulty: dict[str, Any] = {"latency_ms": 10, "faults": {"400": 1.0}}
    async with launched(tmp_path, PROMPTS[:12], **faulty) as (run, sim), console(run, (160, 48)) as (pilot, screen):
        await until(pilot, lambda: state(screen) == "done" and "retry" in footer(pilot.app))
        assert screen._now is not None
        assert screen._now.counts.failed == 12
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(f"{sim.root_url}/sim/options", json={"faults": {"400": 0}})
            assert answer.status_code == 200
        await pilot.press("r")
        await until(pilot, lambda: screen._now is not None and screen._now.counts.done == 12)
        assert screen._now.counts.failed == 0
        await until(pilot, lambda: state(screen) == "done")
        await until(pilot, lambda: read(screen.table).count("✓ done") == 12)
        assert sim.stats()["by_status"] == {"200": 12, "400": 12}
        await until(pilot, lambda: "retry" not in footer(pilot.app))
