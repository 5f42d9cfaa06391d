"""What the form of a sweep proposes, takes and refuses."""

from __future__ import annotations

import pytest

from batchdeck.errors import UsageError
from batchdeck_tui.screens.sweepform import planned, proposed, read, said


@pytest.mark.parametrize(
    ("here", "left", "most", "levels"),
    [
        (4, 3_000, 10_000, [1, 2, 4, 8, 16]),
        (1, 3_000, 10_000, [1, 2, 4, 8]),
        (24, 3_000, 10_000, [4, 8, 16, 32, 64]),
        (24, 3_000, 40, [4, 8, 16, 32]),
        (24, 100, 10_000, [4, 8]),
        (3, 0, 10_000, [1]),
        (100, 10**6, 10_000, [16, 32, 64, 128, 256]),
    ],
)
def test_the_levels_proposed_lie_around_the_present_one_and_have_items(
    here: int, left: int, most: int, levels: list[int]
) -> None:
    assert proposed(here, left, most) == levels


def test_a_level_takes_as_many_items_as_it_needs_or_as_a_person_says() -> None:
    assert read("1, 2 4;8, 8", "", 500, 10_000) == [(1, 10), (2, 10), (4, 16), (8, 32)]
    assert read("4", " 25 ", 500, 10_000) == [(4, 25)]
    assert planned([1, 64], None) == [(1, 10), (64, 256)]


@pytest.mark.parametrize(
    ("levels", "each", "why"),
    [
        ("", "", "name the levels"),
        ("4, many", "", "'many' is no concurrency"),
        ("4, -8", "", "'-8' is no concurrency"),
        ("0, 4", "", "a level is 1 to 64 here"),
        ("65", "", "a level is 1 to 64 here"),
        ("4", "0", "'0' is no number of items"),
        ("4", "ten", "'ten' is no number of items"),
        ("1, 2, 4", "400", "takes 1,200 items, and 500 are left"),
        (" ".join(map(str, range(1, 25))), "1", "20 levels at most"),
        ("٤", "", "is no concurrency"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_words(levels: str, each: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        read(levels, each, 500, 64)


def test_it_says_what_it_takes_before_it_begins() -> None:
    plan = planned([1, 2, 4], None)
    assert said(plan, 3_000, 2.0) == (
        "takes 10 + 10 + 16 = 36 of the 3,000 items left, about 38s; every answer is kept as a result"
    )
    assert said([(4, 20)], 30, None) == "takes 20 of the 30 items left; every answer is kept as a result"
