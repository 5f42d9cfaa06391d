"""How often the screen is painted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from batchdeck_tui.frames import FASTEST, SHARE, SLOWEST, Frames


def played(*costs: float) -> Frames:
    """Frames that took so many seconds of CPU each."""
    frames, used = Frames(), 5.0
    frames.began(used)
    for cost in costs:
        used += cost
        frames.began(used)
    return frames


def test_cheap_frames_come_ten_times_a_second_and_dear_ones_twice() -> None:
    assert Frames().interval == FASTEST
    assert played(0.002, 0.002).interval == FASTEST
    assert played(0.3, 0.3).interval == SLOWEST
    assert played(0.3, *[0.002] * 30).interval == FASTEST, "it is quick again as soon as that costs little"


@given(st.floats(0.0, 1.0))
def test_frames_take_no_more_than_their_share_of_a_core_but_twice_a_second_one_comes(cost: float) -> None:
    interval = played(cost, cost, cost).interval
    assert FASTEST <= interval <= SLOWEST
    assert cost / interval <= SHARE * 1.001 or interval == SLOWEST


def test_a_paint_that_comes_late_halves_them_until_paints_are_quick_again() -> None:
    frames = Frames()
    frames.painted(0.2)
    assert frames.interval == 2 * FASTEST
    frames.painted(0.04)
    assert frames.interval == 2 * FASTEST, "not to and fro"
    frames.painted(0.001)
    assert frames.interval == FASTEST
