"""Hostile text is harmless wherever it is shown."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchdeck.inert import MAX_MARKS, inert, inert_lines

JOINER = "\u200d"
"""Kept: it makes one emoji of several, and it moves nothing."""
NASTY = "ab\x1b[]\x07\x9b\x00\x7f\r\n\t\u202e\u2066\u200b\u0301\u0336\ud800\U000e0041é日\U0001f469\u200d"
ANYTHING = st.text(st.characters(), max_size=60) | st.text(st.sampled_from(NASTY), max_size=60)


def steers(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(char) in (
        *("LRE", "RLE", "LRO", "RLO", "PDF"),
        *("LRI", "RLI", "FSI", "PDI"),
    )


@given(ANYTHING)
def test_nothing_in_a_cell_steers_the_terminal(text: str) -> None:
    assert not [char for char in inert(text) if steers(char)]


@given(ANYTHING)
def test_in_a_pane_only_line_breaks_are_left(text: str) -> None:
    assert {char for char in inert_lines(text) if steers(char)} <= {"\n"}


@given(ANYTHING)
def test_harmless_text_stays_harmless(text: str) -> None:
    assert inert(inert(text)) == inert(text)
    assert inert_lines(inert_lines(text)) == inert_lines(text)


@given(ANYTHING)
def test_marks_never_pile_up_on_the_rows_above(text: str) -> None:
    run = 0
    for char in inert(text):
        run = run + 1 if unicodedata.category(char) in ("Mn", "Me") else 0
        assert run <= MAX_MARKS


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), max_size=60))
def test_what_people_write_is_left_alone(text: str) -> None:
    assert inert(text) == text


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b]52;c;aGk=\x07", "␛]52;c;aGk=␇"),
        ("\x9b31mred", "�31mred"),
        ("a\r\nb\nc\rd", "a⏎b⏎c␍d"),
        ("a\tb", "a b"),
        ("\x00\x7f", "␀␡"),
        ("evil\u202etxt.exe", "evil�txt.exe"),
        ("[/foo] [bold]x", "[/foo] [bold]x"),
        (f"\U0001f469{JOINER}\U0001f680", f"\U0001f469{JOINER}\U0001f680"),
        ("e\u0301" + "\u0336" * 50, "e\u0301" + "\u0336" * (MAX_MARKS - 1)),
        ("\ud800", "�"),
    ],
)
def test_what_becomes_of_it(hostile: str, shown: str) -> None:
    assert inert(hostile) == shown


def test_lines_stay_lines_in_a_pane() -> None:
    assert inert_lines("a\r\nb\n\x1b[2Jc") == "a\nb\n␛[2Jc"
