"""What each turn of the concurrency did, as it is told beside the charts."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from batchdeck_tui.turns import change, figures, told, turns
from batchdeck_tui.widgets.linewise import Line
from batchdeck_tui.widgets.turnstrip import lines
from tests.tui.measured import events, samples, stays_of


def text(line: Line) -> str:
    return "".join(part for part, _ in line)


def words(levels: list[tuple[int, int]], width: int = 120, most: int = 9, **more: object) -> list[str]:
    stays = stays_of(samples(levels, **more))  # type: ignore[arg-type]
    return [
        text(line).rstrip() for line in lines(turns(stays.stays(), stays.concurrency, stays.settles_in), width, most)
    ]


def test_a_turn_tells_throughput_latency_and_429s_before_and_after_with_the_change() -> None:
    (said,) = words([(5, 60), (10, 60)], hits={10: 1})
    assert said.startswith("5 → 10  ")
    assert "4.4 → 7.7 items/s +73%" in said
    assert "p50 1.1s → 1.3s +20%" in said
    assert said.endswith("429s 0% → 11%")


def test_the_newest_turn_stands_first_and_figures_stand_below_each_other() -> None:
    said = words([(4, 30), (8, 30), (16, 30), (8, 30)])
    assert [line.split("  ")[0] for line in said] == ["16 → 8", "8 → 16", "4 → 8"]
    assert len({line.index("p50") for line in said}) == 1
    assert len({line.index("%") for line in said}) == 1, "changes, too"
    assert len({line.index("429s") for line in said}) == 1
    assert len(words([(4, 30), (8, 30), (16, 30)], most=1)) == 1


def test_nothing_is_compared_before_the_new_level_has_settled() -> None:
    (said,) = words([(5, 60), (40, 3)])
    assert said.startswith("5 → 40")
    assert "settling …" in said
    assert "items/s" not in said
    assert words([(5, 60)]) == []
    assert words([(5, 1), (10, 1)]) == [], "no level was settled before"


def test_levels_that_were_turned_over_are_one_turn() -> None:
    (said,) = words([(5, 60), (6, 1), (7, 1), (8, 1), (20, 60)])
    assert said.startswith("5 → 20 ")


def test_a_resumed_run_at_the_same_level_is_no_turn() -> None:
    stays = stays_of([*samples([(5, 40)]), *samples([(5, 40)], begun=500.0)])
    assert len(stays.stays()) == 2
    assert turns(stays.stays(), 5) == []


def test_a_turn_beyond_what_the_account_allows_says_what_holds_the_run_now() -> None:
    (said,) = words([(5, 60), (20, 60)], quota=6.0)
    assert said.startswith("5 → 20 ")
    assert "→ 6.0 items/s" in said or "→ 5.9 items/s" in said or "→ 6 items/s" in said
    assert said.endswith("held by RPM")


def test_turns_of_the_engine_are_told_from_a_persons() -> None:
    levels = [(4, 30), (8, 30), (16, 30), (12, 30)]
    stays = stays_of(samples(levels))
    taken = [(event.t, event.value or 0.0) for event in events(levels, by_engine=[8, 12]) if event.kind == "tune"]
    made = turns(stays.stays(), 12, by_engine=taken)
    assert [(turn.concurrency, turn.is_engines) for turn in made] == [(12, True), (16, False), (8, True)]
    assert figures(made[0])[0][0][0] == "a 16 → 12"


def test_better_and_worse_are_inked_and_noise_is_not() -> None:
    def inks(levels: list[tuple[int, int]]) -> list[str]:
        stays = stays_of(samples(levels))
        (turn,) = turns(stays.stays(), stays.concurrency)
        _, items, latency, _ = figures(turn)
        return [items[-1][1], latency[-1][1]]

    assert inks([(4, 60), (12, 60)]) == ["better", "worse"], "more a second, and each takes longer"
    assert inks([(28, 60), (80, 200)]) == ["worse", "worse"]
    assert inks([(12, 60), (4, 60)]) == ["worse", "better"]
    assert inks([(28, 300), (29, 300)])[0] == "label"


@pytest.mark.parametrize("width", [8, 20, 40, 57, 78, 120])
def test_a_line_is_never_wider_than_its_room_and_loses_the_past_first(width: int) -> None:
    levels = [(4, 30), (8, 30), (64, 60), (4, 4)]
    stays = stays_of(samples(levels, hits={64: 2}))
    shown = lines(turns(stays.stays(), 4, 7.0), width, 9)
    assert len(shown) == 3
    assert all(cell_len(text(line)) <= width for line in shown)
    first, last = text(shown[0]), text(shown[-1])
    assert ("settling" in first) == (width >= 20)
    assert ("3.9 → 6.5" in last) == (width >= 57), "the throughput before goes last"
    assert ("1.1s → 1.2s" in last) == (width >= 78)
    assert ("6.5" in last) == (width >= 20)


def test_changes_in_words() -> None:
    assert [told(change(1, after)) for after in (1.93, 0.96, 1.001, 9.9, 13)] == [
        "+93%",
        "-4%",
        "±0%",
        "+890%",
        "×13",
    ]
    assert told(change(0.0, 2.0)) == "", "from nothing to something is no per cent"
    assert told(change(0.0, 0.0)) == "±0%"
