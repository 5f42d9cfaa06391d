"""What the tune screen says: what to set, why, and what to do while too little is known."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import msgspec

from batchdeck.model import Measured, Sweep
from batchdeck.tune.levels import HALF
from batchdeck_tui.advice import Advice, Situation, advise
from tests.tui.measured import SERVER, samples, stays_of

Levels = list[tuple[int, int]]


def situation(levels: Levels, *, is_live: bool = True, later: float = 0.0, **more: object) -> Situation:
    stays = stays_of(samples(levels, **more))  # type: ignore[arg-type]
    return Situation(
        visits=stays.visits(),
        stays=stays.stays(),
        concurrency=stays.concurrency,
        settles_in=None if stays.is_settled else stays.settles_in,
        now=float(sum(seconds for _, seconds in levels)) + later,
        is_live=is_live,
    )


def advice(levels: Levels, **more: object) -> Advice:
    return advise(situation(levels, **more), random.Random(7))  # type: ignore[arg-type]


def but(of: Situation, **changes: Any) -> Situation:
    return replace(of, **changes)


def measured(concurrency: int) -> Measured:
    pace = SERVER.throughput(concurrency)
    return Measured(
        concurrency=concurrency, items=40, seconds=40 / pace, throughput=pace, tokens_rate=90 * pace, done=40, failed=0,
        attempts=40, retries=0, rate_limit_hits=0, queue_depth=9.0, success=1.0,
    )  # fmt: skip


def test_who_measured_nothing_yet_is_told_what_to_wait_for_and_what_to_do() -> None:
    said = advise(Situation(is_live=True), random.Random(7))
    assert "waiting for the first level" in said.sentence
    assert "turn + or - and wait some seconds" in said.hint
    assert said.target is None
    said = advice([(4, 2)])
    assert "waiting for the first level" in said.sentence
    assert said.hint.startswith("4 settles, some ")


def test_return_leads_from_level_to_level_until_there_is_a_curve() -> None:
    levels: Levels = [(4, 30)]
    said = advice(levels)
    assert (said.sentence.split(":")[0], said.hint, said.target) == ("1 level is measured (4)", "⏎ tries 8", 8)
    assert advice([*levels, (8, 2)]).target is None, "nothing is tried while a level settles"
    said = advice([*levels, (8, 30)])
    assert said.sentence == "2 levels are measured (4, 8): one more makes a curve"
    assert said.target == 16
    assert said.best is None
    said = advice([*levels, (8, 30), (16, 30)])
    assert said.recommendation is not None
    assert said.recommendation.curve is not None
    assert said.target == said.best == said.recommendation.concurrency


def test_levels_that_are_too_near_each_other_lead_to_one_further_away() -> None:
    said = advice([(10, 30), (11, 30), (12, 30)])
    assert "10, 11, 12 are too near" in said.sentence
    assert said.target == 24


def test_the_highest_that_may_be_set_leads_downwards() -> None:
    said = advise(but(situation([(12, 30)]), most=16), random.Random(7))
    assert said.target == 16
    said = advise(but(situation([(16, 30)]), most=16), random.Random(7))
    assert said.target == 8


def test_the_knee_is_what_to_set_with_its_reason() -> None:
    said = advice([(4, 60), (8, 60), (16, 60), (32, 90), (64, 120)])
    assert said.target is not None
    assert 20 <= said.target <= 28
    assert "is enough" in said.sentence
    assert "twice as many would give -" in said.sentence
    assert said.hint == f"⏎ sets {said.target}"
    rough = advice([(4, 20), (8, 20), (40, 120), (16, 20), (22, 60)])
    assert rough.recommendation is not None
    assert (rough.recommendation.low or 0) <= 22 <= (rough.recommendation.high or 0)
    assert rough.hint == f"22 may be as good; ⏎ sets {rough.target}"
    there = advice([(4, 60), (8, 60), (16, 60), (32, 90), (64, 120), (said.target, 60)])
    if there.target == said.target:
        assert there.hint == "the run stands there now"


def test_a_run_that_its_quota_holds_is_told_how_many_that_takes_and_not_to_go_higher() -> None:
    said = advice([(24, 30)], quota=6.0)
    assert said.target == said.best == 13, "what is in flight on average"
    assert said.sentence.startswith("13 is enough: RPM holds the run at 6")
    said = advice([(2, 30), (4, 30), (24, 40), (6, 30)], quota=6.0)
    assert said.target is not None
    assert said.target <= 13
    assert "RPM allowed no more at 24" in said.sentence


def test_a_quota_of_long_ago_or_one_that_was_passed_since_is_forgotten() -> None:
    levels: Levels = [(2, 30), (4, 30), (24, 40), (6, 30)]
    assert "RPM" not in advice(levels, quota=6.0, later=2 * HALF).sentence
    one, two = situation([(24, 30)], quota=6.0), stays_of(samples([(40, 60)], begun=40.0))
    passed = but(one, visits=two.visits(), stays=[*one.stays, *two.stays()], now=100.0, concurrency=40)
    assert "RPM" not in advise(passed, random.Random(7)).sentence


def test_levels_of_a_sweep_make_a_curve_where_the_run_itself_measured_none() -> None:
    sweep = Sweep(levels=((1, 40), (4, 40), (16, 40), (64, 40)), measured=tuple(map(measured, (1, 4, 16, 64))))
    of = but(situation([(4, 30)]), sweep=sweep)
    said = advise(of, random.Random(7))
    assert said.sentence == "a sweep is under way: 4 of 4 levels are measured"
    assert said.hint == "s ends it"
    assert said.target is None
    over = but(of, sweep=msgspec.structs.replace(sweep, is_over=True))
    said = advise(over, random.Random(7))
    assert said.best is not None
    assert 20 <= said.best <= 28


def test_of_a_run_that_is_over_there_is_a_sentence_and_nothing_to_do() -> None:
    said = advice([(4, 60), (8, 60), (16, 60), (32, 90)], is_live=False)
    assert "enough" in said.sentence
    assert said.hint == ""
    assert "no level was measured" in advise(Situation(), random.Random(7)).sentence


def test_the_same_measurements_give_the_same_words() -> None:
    of = situation([(4, 30), (8, 30), (16, 30), (32, 60)])
    assert advise(of, random.Random(7)) == advise(of, random.Random(7))
