"""The results table: a million rows at once, live text in place, and nothing that a model says reaches the terminal."""

from __future__ import annotations

import tracemalloc
import unicodedata
from array import array
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual import on
from textual.app import App, ComposeResult

from batchdeck.model import LiveRow, Row
from batchdeck_tui.selection import Selection
from batchdeck_tui.widgets.cells import fit, fit_tail, one_line, wrap
from batchdeck_tui.widgets.charts import Chart
from batchdeck_tui.widgets.columns import gap, layout, row_cells
from batchdeck_tui.widgets.progress import RunHeader
from batchdeck_tui.widgets.results import ResultsTable
from batchdeck_tui.widgets.rowsource import PAGES, RowSource
from tests.tui.console import console, page, read, until
from tests.tui.runfile import HOSTILE, make_run, make_samples, settle


class TableApp(App[None]):
    """Nothing but the table."""

    def __init__(self, source: RowSource | None) -> None:
        super().__init__()
        self.source = source
        self.highlighted: list[int] = []
        self.opened: list[int] = []

    def compose(self) -> ComposeResult:
        yield ResultsTable(self.source, id="table")

    @property
    def table(self) -> ResultsTable:
        return self.query_one(ResultsTable)

    @on(ResultsTable.Highlighted)
    def _highlighted(self, message: ResultsTable.Highlighted) -> None:
        self.highlighted.append(message.idx)

    @on(ResultsTable.Opened)
    def _opened(self, message: ResultsTable.Opened) -> None:
        self.opened.append(message.idx)

    def lines(self) -> list[str]:
        return [self.table.render_line(y).text for y in range(self.table.size.height)]


def live(idx: int, text: str = "", phase: str = "streaming", tokens: int = 3, seconds: float = 1.2) -> LiveRow:
    return LiveRow(idx=idx, phase=phase, text=text, tokens=tokens, seconds=seconds, attempt=1)  # type: ignore[arg-type]


def has_control(text: str) -> bool:
    return any(unicodedata.category(char) in ("Cc", "Cs") or char in "\u202e\u2066\u200d\u200b" for char in text)


async def test_a_run_of_a_million_rows_opens_at_once_and_stays_small(million: Path) -> None:
    app = TableApp(RowSource(million))
    assert app.source is not None
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        assert "prompt 0" in app.lines()[1]
        assert app.source.reads == 1
        tracemalloc.start()
        await pilot.press("G")
        assert app.table.cursor_idx == 999_999
        assert "999999" in app.lines()[-1]
        for idx in range(0, 1_000_000, 5_000):
            assert app.source.get(idx) is not None
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(app.source._pages) <= PAGES
        assert held < 16_000_000, "a row is held only while its page is"
        assert app.source.row_at(1_000_000) is None


async def test_rows_read_well_and_a_state_is_never_told_by_colour_alone(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run.db", 30, settled=6, failed=[2], texts={1: "Bonjour"}, retried={1: 2})
    app = TableApp(RowSource(run))
    async with app.run_test(size=(140, 20)) as pilot:
        silent = msgspec.structs.replace(live(8, "Le chien " * 40), silent=12.3)
        second = msgspec.structs.replace(live(9, phase="waiting"), hedged=True)
        app.table.set_live({6: live(6, phase="waiting"), 7: live(7, "Le renard brun"), 8: silent, 9: second})
        await pilot.pause()
        lines = app.lines()
    assert lines[0].split() == ["#", "state", "prompt", "answer", "tok", "ttft", "time", "tries", "cost"]
    assert "✓ done" in lines[2]
    assert "Bonjour" in lines[2]
    assert lines[2].split()[-2] == "3", "two tries before the good one"
    assert "✗ failed" in lines[3]
    assert "http_500: upstream [/oops] broke" in lines[3]
    assert "… in flight" in lines[7]
    assert "waiting for the first token" in lines[7]
    assert "▶ in flight" in lines[8]
    assert "Le renard brun" in lines[8]
    assert "◌ stalled" in lines[9]
    assert "Le chien ◌ stalled 12s" in lines[9]
    assert "… hedged" in lines[10]
    assert "· queued" in lines[11]


@pytest.mark.parametrize("width", [80, 119, 200])
async def test_what_a_model_or_a_file_says_stays_inside_its_cell(tmp_path: Path, width: int) -> None:
    n = len(HOSTILE)
    run = make_run(
        tmp_path / "run.db", 2 * n, settled=n, texts=dict(enumerate(HOSTILE)), labels=dict(enumerate(HOSTILE))
    )
    app = TableApp(RowSource(run))
    async with app.run_test(size=(width, 30)) as pilot:
        app.table.set_live({n + place: live(n + place, text) for place, text in enumerate(HOSTILE)})
        app.table.highlight = "foo"
        await pilot.pause()
        for y in range(30):
            strip = app.table.render_line(y)
            assert not has_control(strip.text), repr(strip.text)
            assert cell_len(strip.text) == strip.cell_length == width
        assert "[/foo]" in app.lines()[1]
        assert "␛]52;c" in app.lines()[2]


@given(text=st.text(max_size=300), width=st.integers(40, 220), streaming=st.booleans())
def test_every_cell_has_its_columns_width_whatever_it_holds(text: str, width: int, streaming: bool) -> None:
    columns = layout(width, 1_000)
    row = Row(
        idx=7,
        state="done",
        custom_id=None,
        label=text,
        text=text,
        finish_reason=None,
        tokens_in=None,
        tokens_out=10**9,
        ttft=1e7,
        seconds=1e9,
        cost=12345.678,
        error_type=None,
        error=None,
        attempts=123456,
    )
    for column, (cell, _) in zip(
        columns, row_cells(columns, 7, row, live(7, text) if streaming else None), strict=True
    ):
        assert cell_len(cell) == column.width
        assert not has_control(cell)


@pytest.mark.parametrize("items", [0, 1, 5_000, 1_000_000])
def test_columns_fill_every_width_exactly(items: int) -> None:
    for width in range(44, 300):
        columns = layout(width, items)
        assert 2 + sum(column.width for column in columns) + gap(width) * (len(columns) - 1) == width


@given(text=st.text(alphabet="ab 日本\u0301é\U0001f468", max_size=120), width=st.integers(2, 30))
def test_wrapped_lines_fit_and_lose_nothing_but_the_spaces_they_break_at(text: str, width: int) -> None:
    text = one_line(text)
    lines = wrap(text, width)
    assert all(cell_len(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert cell_len(fit(text, width)) == cell_len(fit_tail(text, width)) == width


async def test_a_growing_answer_shows_its_newest_words_and_repaints_only_its_row(tmp_path: Path) -> None:
    app = TableApp(RowSource(make_run(tmp_path / "run.db", 500, settled=0)))
    async with app.run_test(size=(100, 24)) as pilot:
        rows = {idx: live(idx, "Once upon") for idx in range(5)}
        app.table.set_live(rows)
        await pilot.pause()
        painted = app.table.paints
        app.table.set_live(dict(rows))
        await pilot.pause()
        assert app.table.paints == painted, "nothing new, nothing painted"
        app.table.set_live(rows | {400: live(400, "out of view")})
        await pilot.pause()
        assert app.table.paints == painted
        app.table.set_live(rows | {3: live(3, "Once upon " + "a very long time ago " * 9 + "there was an end")})
        await pilot.pause()
        assert app.table.paints == painted + 1
        assert "there was an end" in app.lines()[4]
        assert "…" in app.lines()[4]


async def test_a_committed_answer_takes_the_place_of_the_live_one(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run.db", 500, settled=3)
    app = TableApp(RowSource(run))
    async with app.run_test(size=(100, 24)) as pilot:
        app.table.set_live({3: live(3, "It was a d"), 4: live(4, "other")})
        await pilot.pause()
        settle(run, 3, "It was a dark and stormy night.")
        painted = app.table.paints
        app.table.set_live({4: live(4, "other")})
        app.table.settled(500)
        await pilot.pause()
        assert app.table.paints == painted + 1
        assert "✓ done" in app.lines()[4]
        assert "It was a dark and stormy night." in app.lines()[4]
        settle(run, 499, "far below")
        painted = app.table.paints
        app.table.settled(500)
        await pilot.pause()
        assert app.table.paints == painted, "it is not in view"


async def test_rows_that_are_still_being_read_in_appear_as_they_come(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run.db", 10, settled=0)
    source = RowSource(run)
    source.set_items(0)
    app = TableApp(source)
    async with app.run_test(size=(100, 24)) as pilot:
        await pilot.pause()
        assert "no items yet" in app.lines()[2]
        assert app.table.cursor_idx is None
        app.table.settled(10)
        await pilot.pause()
        assert app.table.visible_indices() == list(range(10))
        assert app.highlighted == [0]


async def test_a_filter_keeps_the_cursor_on_its_row(tmp_path: Path) -> None:
    app = TableApp(RowSource(make_run(tmp_path / "run.db", 300, failed=range(0, 300, 7))))
    async with app.run_test(size=(100, 24)) as pilot:
        app.table.move_to(70)
        app.table.select(Selection(array("q", range(0, 300, 7))))
        await pilot.pause()
        assert app.table.cursor_idx == 70
        assert 70 in app.table.visible_indices()
        assert all(idx % 7 == 0 for idx in app.table.visible_indices())
        app.table.select(Selection(array("q", [3, 90, 200])))
        await pilot.pause()
        assert app.table.cursor_idx == 90, "the next one, as 70 is not among them"
        assert app.table.visible_indices() == [3, 90, 200]
        app.table.select(Selection(array("q")))
        await pilot.pause()
        assert app.table.cursor_idx is None
        assert "no row matches" in app.lines()[2]
        app.table.select(None)
        await pilot.pause()
        assert len(app.table.visible_indices()) == 23


async def test_a_few_lines_and_columns_still_show_rows_and_their_states(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run.db", 30, failed=[1], ending="done", samples=make_samples(20)[0])
    async with console(run, (40, 10)) as (pilot, screen):
        await until(pilot, lambda: len(screen.table.visible_indices()) >= 3)
        await until(pilot, lambda: [line.split()[1] for line in read(screen.table).splitlines()[1:3]] == ["✓", "✗"])
        assert "throughput" not in page(pilot.app)


@pytest.mark.parametrize(("size", "share"), [((120, 36), 1.0), ((160, 48), 0.6), ((200, 60), 0.69)])
async def test_the_table_has_most_of_the_width(tmp_path: Path, size: tuple[int, int], share: float) -> None:
    run = make_run(tmp_path / "run.db", 99, failed=[1], ending="done", samples=make_samples(20)[0])
    async with console(run, size) as (pilot, screen):
        await until(pilot, lambda: "on average" in read(screen.query_one(RunHeader)))
        await until(pilot, lambda: share * size[0] <= screen.table.size.width)
        assert screen.table.size.height >= size[1] // 2
        assert all(chart.size.width >= 24 for chart in screen.query(Chart))


async def test_keys_and_mouse_move_and_open(tmp_path: Path) -> None:
    app = TableApp(RowSource(make_run(tmp_path / "run.db", 300)))
    async with app.run_test(size=(100, 24)) as pilot:
        app.table.focus()
        await pilot.press("j", "down", "j", "k")
        assert app.table.cursor_idx == 2
        await pilot.press("ctrl+f")
        assert app.table.cursor_idx == 24
        assert app.table.visible_indices()[0] == 22
        await pilot.press("pageup", "G", "up")
        assert app.table.cursor_idx == 298
        await pilot.press("g", "enter")
        assert app.opened == [0]
        await pilot.click(ResultsTable, offset=(20, 5))
        assert app.table.cursor_idx == 4
        await pilot.click(ResultsTable, offset=(20, 0))
        assert app.table.cursor_idx == 4, "the header is no row"
        await pilot.double_click(ResultsTable, offset=(20, 6))
        assert app.opened == [0, 5]
        assert app.highlighted[-1] == 5


async def test_what_was_searched_for_is_marked(tmp_path: Path) -> None:
    app = TableApp(RowSource(make_run(tmp_path / "run.db", 3, texts={0: "a needle, a NEEDLE in hay", 1: "hay"})))
    async with app.run_test(size=(120, 10)) as pilot:
        app.table.highlight = "Needle"
        await pilot.pause()
        mark = app.table.ink("match").bgcolor
        marked = [text for text, style, _ in app.table.render_line(1) if style is not None and style.bgcolor == mark]
        assert marked == ["needle", "NEEDLE"]
        app.table.highlight = ""
        await pilot.pause()
        assert not [1 for _, style, _ in app.table.render_line(1) if style is not None and style.bgcolor == mark]


async def test_the_table_follows_the_terminals_size(tmp_path: Path) -> None:
    app = TableApp(RowSource(make_run(tmp_path / "run.db", 300)))
    async with app.run_test(size=(200, 60)) as pilot:
        assert "cost" in app.lines()[0]
        await pilot.resize_terminal(80, 24)
        await pilot.pause()
        header = app.lines()[0]
        assert "cost" not in header
        assert header.split() == ["#", "state", "prompt", "answer", "tok", "time", "try"]
        assert len(app.table.visible_indices()) == 23
