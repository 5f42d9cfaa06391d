"""How answers are laid out: Markdown, JSON and its fields, what two attempts differ in, and the keys for that."""

from __future__ import annotations

import json
import sqlite3
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from batchdeck.model import AttemptRow
from batchdeck_tui.remembered import recall
from batchdeck_tui.screens.diffview import DiffPane, DiffScreen
from batchdeck_tui.widgets.answertext import MOST, answer_lines
from batchdeck_tui.widgets.attempttext import headers_that_matter, timing_bar
from batchdeck_tui.widgets.difftext import diff_lines
from batchdeck_tui.widgets.jsonlines import field_lines, find_json, json_lines
from batchdeck_tui.widgets.markdownlines import markdown_lines
from batchdeck_tui.widgets.styled import Line, wrapped
from tests.tui.console import console, page, read, until
from tests.tui.runfile import HOSTILE, make_run

REPORT = """# Findings

The **first** point uses `code` and [a page](http://example.org/x).
It goes on in a second line.

- one
- two
  - deeper

1. first
2. second

> quoted

```python
def f(x):
    return x
```

| name | score |
|------|-------|
| pelican | 3 |
"""
WORDS = st.sampled_from(
    ["pelican", "**bold**", "`code`", "_x_", "|", "-", "1.", ">", "#", "```", "\n", "\n\n", "  ", *HOSTILE]
)


def texts(lines: list[Line] | None) -> list[str]:
    assert lines is not None
    return ["".join(text for text, _ in line) for line in lines]


def test_markdown_is_laid_out_for_reading() -> None:
    shown = [line.rstrip() for line in texts(markdown_lines(REPORT, 60))]
    assert shown == [
        "Findings", "",
        "The first point uses code and a page (http://example.org/x).", "It goes on in a second line.", "",
        "• one", "• two", "  • deeper", "",
        "1. first", "2. second", "",
        "▌ quoted", "",
        "  python", "  def f(x):", "      return x", "",
        "name    │ score", "────────┼──────", "pelican │ 3",
    ]  # fmt: skip
    styled = {part for line in markdown_lines(REPORT, 60) or [] for part in line}
    assert {("Findings", "title"), ("first", "strong"), ("code", "code"), ("a page", "link")} <= styled


@given(st.lists(WORDS | st.text(max_size=8), max_size=40).map(" ".join), st.integers(20, 90))
def test_whatever_is_written_it_fits_and_is_inert_and_no_word_is_lost(text: str, width: int) -> None:
    for laid in (answer_lines(text, "read", width).lines, answer_lines(text, "fields", width).lines):
        for line in texts(laid) if laid is not None else []:
            assert cell_len(line) <= width
            assert all(unicodedata.category(char) not in ("Cc", "Cf", "Cs") for char in line)
        if laid is not None and "```" not in text and "|" not in text:
            assert "".join(texts(laid)).count("pelican") >= text.count("pelican")


def test_what_is_nested_too_deep_for_the_parser_is_shown_raw() -> None:
    deep = "> " * 200 + "the bottom"
    assert markdown_lines(deep, 80) is None
    assert answer_lines(deep, "read", 80).name == "raw"
    assert answer_lines("x " * MOST, "read", 80).forms == ("raw",)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"mood": "good"}', {"mood": "good"}),
        ('Here it is:\n```json\n{"mood": [1, 2]}\n```\nThat is all.', {"mood": [1, 2]}),
        ("  [1]  ", [1]),
        ('{"mood": ', None),
        ("no JSON {here}", None),
        ("[" * 100_000, None),
    ],
)
def test_json_is_found_also_behind_a_fence(text: str, value: Any) -> None:
    found = find_json(text)
    assert (found.value if found is not None else None) == value


def test_what_is_said_around_json_is_shown_and_its_figures_are_as_they_were_written() -> None:
    text = '# Report\n\n```json\n{"example": 1.10}\n```\n\nThe conclusion is 42.'
    shown = " ".join(texts(answer_lines(text, "read", 60).lines))
    assert "Report" in shown
    assert "1.10" in shown
    assert "The conclusion is 42." in shown
    assert texts(answer_lines(text, "fields", 60).lines) == ["example  1.1"]
    assert "".join(texts(answer_lines('{"a": 1.10, "a": 1e3}', "read", 60).lines)) == '{  "a": 1.10,  "a": 1e3}'


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=12),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
        max_leaves=12,
    ).filter(lambda value: isinstance(value, (dict, list))),
    st.integers(24, 80),
)
def test_json_reads_the_same_indented_and_each_field_has_its_line(value: Any, width: int) -> None:
    laid = json_lines(json.dumps(value), width)
    assert all(cell_len(line) <= width for line in texts(laid))
    if json.dumps(value).isprintable() and width > 60 and not any(" " in text for text in texts(laid)):
        assert json.loads("".join(texts(laid))) == value
    assert all(cell_len(line) <= width for line in texts(field_lines(value, width)))


def test_fields_show_the_text_that_a_program_gets() -> None:
    shown = texts(field_lines({"a": {"b": [1, "two\nlines"]}, "e": "", "n": None, "o": {}}, 40))
    assert [line.split() for line in shown] == [
        ["a.b[0]", "1"], ["a.b[1]", "two"], ["lines"], ["e", "(empty)"], ["n", "null"], ["o", "{}"],
    ]  # fmt: skip


@given(st.lists(st.tuples(st.text("ab \u65e5", max_size=9), st.sampled_from("xyz")), max_size=8), st.integers(2, 30))
def test_styled_text_is_wrapped_like_plain_text_and_keeps_its_styles(parts: list[tuple[str, str]], width: int) -> None:
    lines = wrapped(parts, width)
    assert all(cell_len("".join(text for text, _ in line)) <= width for line in lines)
    flat = [(char, name) for text, name in parts for char in text if char != " "]
    assert [(char, name) for line in lines for text, name in line for char in text if char != " "] == flat


@given(st.lists(st.sampled_from(["same line", "one two", "one three", "", "gone"]), max_size=9), st.data())
def test_a_difference_holds_both_texts(old: list[str], data: st.DataObject) -> None:
    new = data.draw(st.lists(st.sampled_from(["same line", "one two", "new", "one three"]), max_size=9))
    for width in (40, 120):
        lines = diff_lines("\n".join(old), "\n".join(new), width)
        assert all(cell_len(text) <= width for text in texts(lines))
        changed = [line for line in lines if any(name in ("gone", "new") and text.strip() for text, name in line)]
        assert bool(changed) == ("\n".join(old) != "\n".join(new))
    below = texts(diff_lines("\n".join(old), "\n".join(new), 40))
    assert sorted(line[2:] for line in below if line[0] in " -") == sorted(old or [""])
    assert sorted(line[2:] for line in below if line[0] in " +") == sorted(new or [""])


def test_what_would_take_the_parser_of_markdown_long_is_left_raw() -> None:
    assert markdown_lines("![" * 1_001, 80) is None
    assert markdown_lines("[a] " * 600, 80) is not None


def test_where_comparing_words_would_take_long_lines_are_told_as_gone_and_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batchdeck_tui.widgets.difftext.MOST_WORDS", 10)
    lines = diff_lines("one two\nred fox\n", "one six\nred dog\n", 40)
    assert [[name for text, name in line if text.strip() and text not in ("- ", "+ ")] for line in lines[:4]] == [
        ["text", "gone"], ["text", "new"], ["gone"], ["new"],
    ]  # fmt: skip


def test_headers_tell_whom_to_ask_and_what_is_left_and_no_more() -> None:
    headers = {
        "x-request-id": "req_1",
        "date": "today",
        "retry-after": "2",
        "x-ratelimit-remaining-tokens": "88\x1b[31m",
    }
    told = headers_that_matter(headers)
    assert "x-request-id req_1" in told
    assert "retry-after 2" in told
    assert "x-ratelimit-remaining-tokens 88␛[31m" in told
    assert "today" not in told


def attempt(number: int, at: float, seconds: float, ttft: float | None, connect: float | None) -> AttemptRow:
    return AttemptRow(
        id=number, number=number, outcome="ok" if ttft else "transient", status=200 if ttft else None, error_type=None,
        error=None, text="", finish_reason=None, model=None, tokens_in=None, tokens_out=None, tokens_cached=None,
        cost=None, started_at=at, ttft=ttft, itl=None, seconds=seconds, sends=1, headers={}, connect=connect,
    )  # fmt: skip


def test_a_bar_shows_what_an_attempt_waited_for() -> None:
    refused, answered = attempt(1, 100.0, 2.0, None, 1.0), attempt(2, 104.0, 6.0, 3.0, 1.0)

    def bar(one: AttemptRow, width: int = 20) -> str:
        return "".join(text for text, _ in timing_bar(one, 100.0, 10.0, width)).strip()

    assert bar(refused) == "--▒▒"
    assert bar(answered) == "········--░░░░██████"
    assert bar(attempt(3, 100.0, 10.0, 0.001, 0.0)) == "░" + 19 * "█", "a first token that comes at once is seen"
    assert bar(attempt(4, 100.0, 10.0, 9.999, None)) == 19 * "░" + "█"


@given(
    st.floats(0, 100), st.floats(0, 100), st.none() | st.floats(0, 1), st.none() | st.floats(0, 1), st.integers(1, 200)
)
def test_a_bar_fits_whatever_was_measured(
    start: float, seconds: float, ttft: float | None, connect: float | None, width: int
) -> None:
    first = None if ttft is None else ttft * seconds
    opened = None if connect is None else connect * (seconds if first is None else first)
    one = attempt(1, 1e9 + start, seconds, first, opened)
    line = timing_bar(one, 1e9, max(start + seconds, 1e-6), width)
    text = "".join(text for text, _ in line[1:])
    assert 1 <= len(text) <= max(8, width)
    assert ("▒" in text) == (first is None)
    assert ("░" in text) == (first is not None)


async def test_one_reads_an_answer_in_every_form_copies_and_compares(home: Path) -> None:
    (home / "runs").mkdir(parents=True)
    answer = '```json\n{"mood": "good",\n "why": "it pours\\nwell"}\n```'
    run = make_run(home / "runs" / "reviews.db", 12, texts={0: answer, 1: "# Title\n\nfinal words"}, retried={1: 2})
    db = sqlite3.connect(run)
    with db:
        db.execute("UPDATE attempts SET text = 'first ' || number || ' words' WHERE idx = 1 AND outcome != 'ok'")
    db.close()
    async with console(run, (120, 40)) as (pilot, screen):
        assert not screen.check_action("form", ())
        await pilot.press("enter")
        await until(pilot, lambda: "· JSON" in page(pilot.app) and '"mood": "good"' in page(pilot.app))
        await pilot.press("v")
        await until(pilot, lambda: "· fields" in page(pilot.app) and "it pours" in read(screen.pane))
        assert '"mood"' not in read(screen.pane)
        await pilot.press("v")
        await until(pilot, lambda: "```json" in read(screen.pane))
        assert recall().form == "raw"
        await pilot.press("Y")
        await until(pilot, lambda: pilot.app.clipboard.startswith("Translate into French"))
        await pilot.press("z")
        await until(pilot, lambda: screen.pane.region.height > 25 and not screen.table.display)
        await pilot.press("D")
        await until(pilot, lambda: "two attempts with a text are needed" in page(pilot.app))
        await pilot.press("J")
        await until(pilot, lambda: "#1" in page(pilot.app) and "# Title" in read(screen.pane), "raw, as it was left")
        await pilot.press("v")
        await until(pilot, lambda: "· Markdown" in page(pilot.app) and "# Title" not in read(screen.pane))
        await pilot.press("D")
        await until(pilot, lambda: isinstance(pilot.app.screen, DiffScreen))
        pane = pilot.app.screen.query_one(DiffPane)
        await until(pilot, lambda: "- first 2 words" in read(pane) and "+ # Title" in read(pane))
        await pilot.press("h")
        await until(pilot, lambda: "- first 1 words" in read(pane))
        await pilot.press("H")
        await until(pilot, lambda: "- first 1 words" in read(pane) and "+ first 2 words" in read(pane))
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is screen)
        await pilot.press("K", "z")
        await until(pilot, lambda: screen.table.display and screen.table.cursor_idx == 0)
        await pilot.press("escape")
        await until(pilot, lambda: not screen.check_action("form", ()))
