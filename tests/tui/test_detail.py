"""The detail pane: prompt, whole answer, ledger; a stream that grows in place; hostile text that does nothing."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.app import App, ComposeResult
from textual.geometry import Offset
from textual.selection import Selection

from batchdeck.model import Detail, LiveRow
from batchdeck.store.reader import RunReader
from batchdeck_tui.widgets.answertext import answer_note, answer_text
from batchdeck_tui.widgets.detail import DetailPane
from batchdeck_tui.widgets.prompttext import prompt_lines
from batchdeck_tui.widgets.wrapped import Wrapped
from tests.tui.runfile import HOSTILE, make_run


class DetailApp(App[None]):
    def compose(self) -> ComposeResult:
        yield DetailPane()

    @property
    def pane(self) -> DetailPane:
        return self.query_one(DetailPane)

    def shown(self) -> list[str]:
        return [self.pane.render_line(y).text for y in range(self.pane.size.height)]


def detail_of(run: Path, idx: int) -> Detail:
    with RunReader(run) as reader:
        detail = reader.detail(idx)
    assert detail is not None
    return detail


def live(idx: int, text: str) -> LiveRow:
    return LiveRow(idx=idx, phase="streaming", text=text, tokens=len(text.split()), seconds=1.5, attempt=2)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(
        tmp_path / "run.db",
        12,
        settled=10,
        failed=[5],
        retried={4: 2},
        texts={0: '{"mood": "good", "why": ["[/fast]"]}', 4: "Whole answer.\n\nIn two paragraphs."},
        labels={4: "Summarise this: It pours well"},
        data={
            3: {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]},
            4: {"review": "It pours well. " * 40, "stars": 5, "meta": {"verified": True}},
        },
    )


async def test_an_item_tells_its_whole_story(run: Path) -> None:
    app = DetailApp()
    async with app.run_test(size=(100, 60)) as pilot:
        app.pane.show(detail_of(run, 4))
        await pilot.pause()
        text = "\n".join(app.shown())
        assert app.shown()[0].split() == ["#4", "✓", "done", "id-4", "line", "5"]
        for said in ("Summarise this", "stars", '"verified": true', "Whole answer.", "In two paragraphs."):
            assert said in text
        ledger = [line.split() for line in text.split("attempts ─")[1].splitlines()[1:]]
        assert ledger[0] == ["#", "outcome", "status", "connect", "ttft", "time", "in", "out", "sends", "cost"]
        assert ledger[1][:4] == ["1", "rate", "limited", "429"]
        assert next(line for line in ledger if line[0] == "3")[:3] == ["3", "ok", "200"]
        bars = [line for line in text.splitlines() if {"░", "▒"} & set(line) and "to the first" not in line]
        assert [bar.rstrip().lstrip(" ·-")[:1] for bar in bars] == ["▒", "▒", "░"], "no token came of the first two"
        assert "█" in bars[2]
        starts = [len(bar.strip()) - len(bar.strip().lstrip("·")) for bar in bars]
        assert starts == sorted(starts), "on one scale"
        assert "rate_limited: Rate limit reached for requests" in text


async def test_messages_and_json_are_laid_out_for_reading(run: Path) -> None:
    app = DetailApp()
    async with app.run_test(size=(100, 40)) as pilot:
        app.pane.show(detail_of(run, 3))
        await pilot.pause()
        assert any(line.strip().endswith("user: Hello") for line in app.shown())
        app.pane.show(detail_of(run, 0))
        await pilot.pause()
        assert " {" in [line.rstrip() for line in app.shown()]
        assert '   "mood": "good",' in [line.rstrip() for line in app.shown()]
        app.pane.show(None)
        await pilot.pause()
        assert "no row is selected" in app.shown()[0]


async def test_a_stream_that_fell_silent_is_said_to_be_stalled(run: Path) -> None:
    app = DetailApp()
    async with app.run_test(size=(100, 40)) as pilot:
        app.pane.show(detail_of(run, 11))
        app.pane.stream(msgspec.structs.replace(live(11, "Once upon"), silent=12.3))
        await pilot.pause()
        assert "attempt 2 · stalled 12s · 2 tokens" in "\n".join(app.shown())
        app.pane.stream(msgspec.structs.replace(live(11, "Once upon"), hedged=True))
        await pilot.pause()
        assert "streaming · 2 tokens · 1.5s · hedged" in "\n".join(app.shown())


def test_a_request_that_was_cancelled_after_the_answer_is_not_the_answer(run: Path) -> None:
    detail = detail_of(run, 4)
    good = detail.attempts[-1]
    beaten = msgspec.structs.replace(good, number=9, outcome="cancelled", error_type="hedged", text="Whole an")
    hedged = msgspec.structs.replace(detail, attempts=(*detail.attempts, beaten))
    assert answer_text(hedged).startswith("Whole answer.")
    assert answer_note(hedged, None) == answer_note(detail, None)


async def test_a_failed_item_says_why(run: Path) -> None:
    app = DetailApp()
    async with app.run_test(size=(80, 30)) as pilot:
        app.pane.show(detail_of(run, 5))
        await pilot.pause()
        text = "\n".join(app.shown())
        assert "✗ failed" in text
        assert "http_500: upstream [/oops] broke" in text


@pytest.mark.parametrize("text", HOSTILE)
async def test_hostile_answers_and_prompts_are_only_text(tmp_path: Path, text: str) -> None:
    run = make_run(tmp_path / "run.db", 2, texts={0: text}, labels={0: text}, data={0: {text: text}})
    app = DetailApp()
    async with app.run_test(size=(60, 30)) as pilot:
        for streaming in (None, live(0, text)):
            app.pane.show(detail_of(run, 0))
            app.pane.stream(streaming)
            await pilot.pause()
            for y in range(30):
                strip = app.pane.render_line(y)
                assert not any(unicodedata.category(char) in ("Cc", "Cs") for char in strip.text)
                assert not set(strip.text) & set("\u202e\u2066\u200b\u200d")
                assert cell_len(strip.text) == strip.cell_length == 60


async def test_an_answer_grows_in_place_and_the_end_stays_in_view(run: Path) -> None:
    app = DetailApp()
    async with app.run_test(size=(60, 16)) as pilot:
        app.pane.show(detail_of(run, 11))
        said = ""
        for number in range(25):
            said += f"sentence {number}.\n"
            app.pane.stream(live(11, said))
            await pilot.pause()
        assert any("sentence 24." in line for line in app.shown())
        assert "▶ in flight" in app.shown()[0]

        app.pane.focus()
        await pilot.press("pageup")
        above = app.pane.scroll_offset.y
        app.pane.stream(live(11, said + "one more\n"))
        await pilot.pause()
        assert app.pane.scroll_offset.y == above, "who reads further up is left in peace"
        await pilot.press("G")
        app.pane.stream(live(11, said + "one more\nand the last\n"))
        await pilot.pause()
        assert any("and the last" in line for line in app.shown())
        assert app.pane.text.endswith("and the last\n")


async def test_when_the_stream_ends_the_committed_answer_stands_there(run: Path) -> None:
    app = DetailApp()
    async with app.run_test(size=(80, 40)) as pilot:
        app.pane.show(detail_of(run, 4))
        app.pane.stream(live(4, "Whole ans"))
        await pilot.pause()
        assert app.pane.text == "Whole ans"
        app.pane.stream(None)
        await pilot.pause()
        assert app.pane.text == "Whole answer.\n\nIn two paragraphs."


async def test_another_items_prompt_never_stands_above_an_answer(run: Path) -> None:
    app = DetailApp()
    async with app.run_test(size=(80, 40)) as pilot:
        app.pane.show(detail_of(run, 4))
        app.pane.stream(live(11, "about something else"))
        await pilot.pause()
        assert "Summarise" not in "\n".join(app.shown())
        app.pane.show(detail_of(run, 5))
        await pilot.pause()
        assert "about something else" not in "\n".join(app.shown())


async def test_a_long_prompt_is_folded_until_it_is_asked_for(run: Path) -> None:
    app = DetailApp()
    async with app.run_test(size=(60, 18)) as pilot:
        app.pane.show(detail_of(run, 4))
        app.pane.focus()
        await pilot.pause()
        folded = app.pane.line_texts()
        assert any("more lines (p)" in line for line in folded)
        app.pane.unfold()
        assert len(app.pane.line_texts()) > len(folded)
        assert not any("more lines (p)" in line for line in app.pane.line_texts())


async def test_a_prompt_of_200000_characters_is_laid_out_once_while_its_answer_grows(tmp_path: Path) -> None:
    words = "a review that goes on and on " * 7_000
    app = DetailApp()
    run = make_run(tmp_path / "run.db", 1, settled=0, labels={0: words}, data={0: {"review": words, "stars": 5}})
    async with app.run_test(size=(80, 30)) as pilot:
        detail = detail_of(run, 0)
        app.pane.show(detail)
        await pilot.pause()
        laid = app.pane.layouts
        for number in range(20):
            app.pane.stream(live(0, "word " * number))
            await pilot.pause()
            app.pane.show(detail_of(run, 0))
        assert app.pane.layouts == laid
        folded = app.pane.line_texts()
        about = int(next(line for line in folded if "more lines (p)" in line).split()[1].replace(",", ""))
        app.pane.unfold()
        assert abs(about / len(app.pane.line_texts()) - 1) < 0.1
        assert app.pane.layouts == laid + 1


@given(st.text(alphabet="ab \n日", max_size=400), st.integers(8, 40), st.integers(0, 12))
def test_the_lines_before_the_fold_are_those_of_the_whole_prompt(text: str, width: int, most: int) -> None:
    detail = Detail(
        idx=0, state="queued", custom_id=None, line=1, label="", data=json.dumps({"a": text}), error=None, attempts=()
    )
    whole, none = prompt_lines(detail, width)
    first, more = prompt_lines(detail, width, most)
    assert none == 0
    assert first == whole[:most]
    assert (more > 0) == (len(whole) > most)


async def test_text_can_be_selected_with_the_mouse(run: Path) -> None:
    app = DetailApp()
    async with app.run_test(size=(80, 40)) as pilot:
        app.pane.show(detail_of(run, 4))
        await pilot.pause()
        row = next(y for y, line in enumerate(app.pane.line_texts()) if "Whole answer." in line)
        selection = Selection(Offset(1, row), Offset(6, row))
        assert app.pane.get_selection(selection) == ("Whole", "\n")
        app.screen.selections = {app.pane: selection}
        await pilot.pause()
        look = app.screen.get_component_rich_style("screen--selection", partial=True)
        line = app.pane.render_line(row + 1)
        assert [text for text, style, _ in line if style and style.bgcolor == look.bgcolor] == ["Whole"]
        assert line.cell_length == 80


@given(pieces=st.lists(st.text(alphabet="ab \n\r日\u0301", max_size=30), max_size=12), width=st.integers(4, 40))
def test_a_text_that_came_in_pieces_is_wrapped_like_one_that_came_at_once(pieces: list[str], width: int) -> None:
    grown, whole, said = Wrapped(), Wrapped(), ""
    for piece in pieces:
        said += piece
        grown.set(said, width)
    whole.set(said, width)
    assert grown.lines == whole.lines
    assert all(cell_len(line) <= width for line in whole.lines)
