"""The scatter of throughput against concurrency and the table of levels, as text."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from rich.cells import cell_len

from batchdeck.model import Measured
from batchdeck.tune.knee import Recommendation, recommend
from batchdeck.tune.levels import HALF, Visit, fitting
from batchdeck_tui.widgets.leveltable import Row, rows, table
from batchdeck_tui.widgets.linewise import Line
from batchdeck_tui.widgets.scatter import BAND, LatencyScene, Scene, draw
from tests.tui.measured import samples, stays_of
from tests.tui.test_advice import measured

LEVELS = [(4, 40), (8, 40), (16, 40), (32, 60), (64, 90)]


def visits(levels: list[tuple[int, int]] | None = None) -> list[Visit]:
    return list(stays_of(samples(levels or LEVELS, hits={64: 3})).visits())


def found(seen: list[Visit]) -> Recommendation:
    return recommend(fitting(seen, 200.0), 10_000, random.Random(7))


def scene(**more: object) -> Scene:
    seen = visits()
    advice = found(seen)
    given: dict[str, object] = {"visits": seen, "found": advice, "best": advice.concurrency, "now": (32, 11.0),
                                "at": 270.0} | more  # fmt: skip
    return Scene(**given)  # type: ignore[arg-type]


def cells(of: Scene, width: int = 80, height: int = 20) -> list[list[tuple[str, str]]]:
    return [[(char, ink) for text, ink in line for char in text] for line in draw(of, width, height)]


def place(of: Scene, glyph: str, **size: int) -> list[tuple[int, int]]:
    """(column, row from below) of a glyph."""
    drawn = cells(of, **size)[:-1]
    return sorted(
        (x, len(drawn) - 1 - y) for y, row in enumerate(drawn) for x, (char, _) in enumerate(row) if char == glyph
    )


@pytest.mark.parametrize("size", [(80, 9), (80, 14), (44, 12), (78, 40), (200, 50)])
def test_the_plot_has_exactly_its_size_with_points_curve_knee_and_now(size: tuple[int, int]) -> None:
    lines = draw(scene(), *size)
    assert len(lines) == size[1]
    assert all(sum(cell_len(text) for text, _ in line) == size[0] for line in lines)
    inks = {ink.removesuffix(BAND) for line in lines for _, ink in line}
    assert inks >= {"point", "curve", "beyond", "knee", "now", "axis"}
    assert any(ink.endswith(BAND) for line in lines for _, ink in line), "how sure the knee is"
    assert "best " in "".join(text for text, _ in lines[0])


def test_points_lie_where_their_figures_say() -> None:
    points = place(scene(now=None), "●")
    assert len(points) == 5
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    heights = [y for _, y in points]
    assert heights[0] < heights[1] < heights[2], "throughput rises"
    assert heights[4] < max(heights), "and falls beyond the knee"


def test_short_old_held_and_swept_levels_and_the_present_one_look_different() -> None:
    short = visits([(4, 40), (8, 8)])
    assert len(place(Scene(visits=short, at=48.0), "•")) == 1
    assert len(place(Scene(visits=short, at=48.0 + 2 * HALF), "∙")) == 2
    stays = stays_of(samples([(24, 40)], quota=6.0)).stays()
    assert len(place(Scene(held=stays), "○")) == 1
    assert len(place(Scene(swept=[measured(4), measured(16)]), "◇")) == 2
    assert len(place(Scene(now=(9, 3.0)), "◆")) == 1
    names = [meaning for _, _, meaning in Scene(visits=short, held=stays, now=(9, 3.0), at=48.0).legend]
    assert names == ["a level", "a short look", "held by a limit", "now"]


def test_the_latency_of_each_level_rises_above_its_median() -> None:
    seen = LatencyScene(visits=visits(), swept=[measured(48)], best=24)
    medians, tails = place(seen, "●"), place(seen, "▴")
    assert len(medians) == 5, "a sweep that tells no latency adds none"
    assert medians[-1][1] > medians[0][1]
    assert max(y for _, y in tails) > max(y for _, y in medians)
    assert [means for _, _, means in seen.legend] == ["p50", "p95"]
    assert LatencyScene().is_empty


def test_nothing_to_draw_and_no_room_are_no_failure() -> None:
    assert draw(Scene(), 80, 20) == []
    assert draw(scene(), 8, 20) == []
    assert draw(scene(), 80, 2) == []
    assert Scene().is_empty
    alone = Scene(visits=visits([(1, 40)]), now=(1, 0.0))
    assert len(draw(alone, 40, 8)) == 8


def test_the_axis_names_round_concurrencies() -> None:
    axis = "".join(text for text, _ in draw(scene(), 80, 20)[-1]).split()
    numbers = [int(word) for word in axis]
    assert numbers[0] == 0
    assert len(numbers) >= 4
    assert len({high - low for low, high in pairwise(numbers)}) == 1


# The table


def text(line: Line) -> str:
    return "".join(part for part, _ in line)


def test_each_level_tells_its_throughput_latencies_and_429s() -> None:
    levels = rows(visits(), [], [], 32)
    title, *lines = table(levels, 32, 24, 100, 20)
    assert text(title).split() == ["level", "seconds", "items/s", "tok/s", "p50", "p95", "p99", "TTFT", "429s"]
    assert [text(line).split()[0] for line in lines] == ["4", "8", "16", "32", "64"]
    fourth, last = text(lines[3]), text(lines[4])
    assert "◆ now" in fourth
    assert last.split()[-1] == "25%"
    assert len({len(text(line)) for line in lines}) == 1


def test_a_level_that_is_not_measured_yet_stands_there_without_figures() -> None:
    here = next(row for row in rows(visits(), [], [], 20) if row.concurrency == 20)
    assert here == Row(concurrency=20)
    assert "—" in text(table([here], 20, None, 100, 9)[1])


def test_what_a_limit_held_or_a_sweep_measured_fills_in_where_the_run_itself_tells_nothing() -> None:
    held = stays_of(samples([(24, 40)], quota=6.0)).stays()
    swept: list[Measured] = [measured(4), measured(48)]
    levels = {row.concurrency: row for row in rows(visits(), held, swept, 0)}
    assert (levels[4].of, levels[24].of, levels[48].of) == ("", "held", "sweep")
    lines = [text(line) for line in table(list(levels.values()), 0, None, 100, 20)]
    assert any("○ held" in line for line in lines)
    assert any("◇ sweep" in line for line in lines)


@pytest.mark.parametrize("width", [24, 40, 60, 78, 100])
def test_columns_go_before_figures_are_cut(width: int) -> None:
    lines = table(rows(visits(), [], [], 32), 32, 24, width, 20)
    assert "items/s" in text(lines[0]) or width < 40
    if width >= 40:
        assert all(cell_len(text(line)) <= width for line in lines)


def test_of_many_levels_those_stay_that_matter_now() -> None:
    many = visits([(n, 15) for n in (3, 9, 4, 5, 6, 7, 8, 10, 11, 12)])
    lines = table(rows(many, [], [], 3), 3, 9, 100, 7)
    shown = [int(text(line).split()[0]) for line in lines[1:-1]]
    assert shown == sorted(shown)
    assert {3, 9, 12} <= set(shown), "the present, the best, the newest"
    assert text(lines[-1]) == "and 5 more levels"
