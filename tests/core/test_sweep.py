"""What a measured sweep is judged by: speedup, efficiency, the fastest level, and lines that can be read."""

from __future__ import annotations

import random
from typing import Any

import pytest

from batchdeck.cli.benchplan import Plan, fitted, planned
from batchdeck.cli.benchreport import exit_code, reported, shown
from batchdeck.cli.sweeps import Levels, count_lines, level_lines, plot_lines, printed, verdict_lines
from batchdeck.errors import UsageError
from batchdeck.model import Launch, Measured, Percentiles, Summary, Sweep
from batchdeck.process import resident
from batchdeck.tune.sweep import compared, fastest, recommended, sentence


def level(concurrency: int, items: int, seconds: float, **given: Any) -> Measured:
    failed = given.get("failed", 0)
    return Measured(**{
        "concurrency": concurrency, "items": items, "seconds": seconds, "throughput": (items - failed) / seconds,
        "tokens_rate": 40 * items / seconds, "done": items - failed, "failed": failed, "attempts": items, "retries": 0,
        "rate_limit_hits": 0, "queue_depth": 2.5, "success": 1 - failed / items, **given,
    })  # fmt: skip


STEADY = [level(1, 40, 20.0), level(4, 40, 5.0), level(10, 40, 2.5)]
"""Half a second each."""


def test_speedup_is_over_one_at_a_time_and_efficiency_its_share() -> None:
    one, four, ten = compared(STEADY)
    assert (one.speedup, one.efficiency) == (1.0, 1.0)
    assert (four.speedup, four.efficiency) == (4.0, 1.0)
    assert (ten.speedup, ten.efficiency) == (8.0, 0.8)
    # in whatever order they were measured
    assert [other.speedup for other in compared(STEADY[::-1])] == [8.0, 4.0, 1.0]
    assert [other.speedup for other in compared(STEADY[1:])] == [None, None]


def test_each_number_of_items_is_compared_with_as_many_one_at_a_time() -> None:
    """A table has several: ten items at ten must not look better for what two hundred took one at a time."""
    mixed = [level(1, 10, 6.0), level(10, 10, 1.0), level(1, 200, 100.0), level(10, 200, 10.5), level(10, 190, 10.0)]
    speedups = [one.speedup for one in compared(mixed)]
    assert speedups == pytest.approx([1.0, 6.0, 1.0, 100 / 10.5, 9.5])


def test_the_fastest_level_is_the_one_with_the_most_good_answers() -> None:
    assert fastest([]) is None
    assert fastest([level(4, 10, 1.0, failed=10)]) is None
    assert fastest(compared(STEADY)).concurrency == 10  # type: ignore[union-attr]
    # to fail fast is no throughput
    broken = [level(4, 40, 5.0), level(32, 40, 1.0, failed=38)]
    assert fastest(broken).concurrency == 4  # type: ignore[union-attr]
    # as fast with fewer at once
    assert fastest([level(8, 40, 5.0), level(4, 40, 5.0)]).concurrency == 4  # type: ignore[union-attr]


def test_the_recommendation_goes_by_good_answers_and_says_when_it_cannot() -> None:
    rng = random.Random(1)
    bent = [level(n, 200, 200 * (1 + 0.1 * (n - 1)) / n, failed=0) for n in (1, 4, 16, 64)]
    advice = recommended(bent, 64, rng)
    assert advice.concurrency is not None
    assert advice.verdict in ("known", "unsure")
    failing = [*bent[:3], level(64, 200, 5.0, failed=195)]
    assert recommended(failing, 64, rng).concurrency < 64  # type: ignore[operator]
    short = recommended([level(1, 4, 1.0), level(4, 4, 0.5), level(10, 10, 3.0)], 64, rng)
    assert short.concurrency is None
    assert short.sentence.endswith("(2 levels of less than 2 s not counted: give more items)")


def test_a_level_is_said_in_one_sentence() -> None:
    one, four, ten = compared([*STEADY[:2], level(10, 40, 2.5, failed=2, rate_limit_hits=3)])
    assert sentence(one) == "1 at once: 40 items in 20.00 s, 2/s"
    assert sentence(four) == "4 at once: 40 items in 5.00 s, 8/s, 4.00× one at a time"
    assert sentence(ten).endswith("15.2/s, 7.60× one at a time; 3 rate-limit hits; 2 failed")


def test_the_tables_align_and_unknown_is_shown_as_unknown() -> None:
    some = Percentiles(p50=0.2, p95=0.45, p99=1.2)
    lines = level_lines(
        compared([
            level(1, 40, 20.0, e2e=some, ttft=some, memory=61_400_000),
            level(10, 40, 2.5, failed=4, errors={"http_500": 7, "bad\x1b[31m": 1}, retries=3, rate_limit_hits=2),
        ])
    )  # fmt: skip
    assert lines[1].split() == [
        "sequential", "40", "20.00s", "2.0/s", "1.00×", "100%", "200ms", "450ms", "1.2s", "200ms"
    ]  # fmt: skip
    assert lines[2].split() == ["10", "40", "2.50s", "14.4/s", "7.20×", "72%", "—", "—", "—", "—"]
    assert lines[5].split()[:6] == ["sequential", "100%", "0", "0", "2.5", "61"]
    assert "90%" in lines[6]
    assert "7 × http_500, 1 × bad␛[31m" in lines[6]
    assert "\x1b" not in "".join(lines)


def test_the_table_of_counts_has_a_row_for_each_number_of_items() -> None:
    levels = compared([level(cap, items, items / cap) for items in (10, 50) for cap in (1, 4, 10)])
    head, ten, fifty = count_lines(levels)
    assert head.split() == ["ITEMS", "SEQUENTIAL", "4", "AT", "ONCE", "SPEEDUP", "10", "AT", "ONCE", "SPEEDUP"]
    assert ten.split() == ["10", "10.00s", "2.50s", "4.00×", "1.00s", "10.00×"]
    assert fifty.split() == ["50", "50.00s", "12.50s", "4.00×", "5.00s", "10.00×"]
    # cut short: what was not measured is unknown
    assert count_lines(levels[:5])[2].split() == ["50", "50.00s", "12.50s", "4.00×", "—", "—"]


def test_the_plot_is_of_good_answers_and_needs_two_levels() -> None:
    bars = [line.count("█") for line in plot_lines(STEADY)[1:]]
    assert bars == [6, 24, 48]
    assert plot_lines(STEADY[:1]) == []
    assert plot_lines([]) == []
    assert plot_lines([level(1, 4, 1.0, failed=4), level(4, 4, 1.0, failed=4)]) == []
    assert "█" not in plot_lines([level(1, 4, 1.0), level(4, 4, 1.0, failed=4)])[2]


def test_everything_can_be_drawn_in_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [*level_lines(compared(STEADY)), *plot_lines(STEADY), *verdict_lines(compared(STEADY), "try 15 …")]
    printed(lines, ascii_only=True)
    assert capsys.readouterr().out.isascii()
    printed(lines, ascii_only=False)
    assert "█" in capsys.readouterr().out


def test_the_plan_follows_the_options() -> None:
    def plan(*args: Any, table: bool = False) -> tuple[tuple[int, int], ...]:
        return planned(*args, table=table).levels

    assert plan(None, None, None, None) == ((1, 50), (4, 50), (10, 50))
    assert plan("simple", None, None, None) == ((1, 8), (4, 8))
    assert plan("large", None, None, None) == ((10, 150),)
    assert plan("rate-limited", None, 20, 8) == ((8, 20),)
    assert plan("benchmark", None, None, 3) == ((1, 50), (3, 50))
    assert plan("benchmark", None, None, 32) == ((1, 50), (4, 50), (32, 50))
    assert plan(None, (1, 128), None, None) == ((1, 128), (128, 128))
    table = plan(None, None, None, None, table=True)
    assert sum(items for _, items in table) == 1_080
    assert table[:4] == ((1, 10), (4, 10), (10, 10), (1, 50))
    with pytest.raises(UsageError, match="128 at once needs 128 items"):
        plan(None, (1, 128), 100, None)


def test_a_plan_is_fitted_to_the_input_or_refused() -> None:
    plan = Plan(levels=((1, 50), (4, 50)), fewer=True)
    assert fitted(plan, 101, "x") == (plan, True)
    assert fitted(plan, 100, "x") == (plan, False)
    assert fitted(plan, 99, "x") == (Plan(levels=((1, 49), (4, 49)), fewer=True), True)
    for there in (8, 1, 0):
        with pytest.raises(UsageError, match=f"x has {there} items"):
            fitted(plan, there, "x")
    with pytest.raises(UsageError, match="--batch-size 49 would fit"):
        fitted(Plan(levels=plan.levels, fewer=False), 99, "x")


@pytest.mark.parametrize(("given", "levels"), [("1,4,10", (1, 4, 10)), ("sequential, 4", (1, 4)), ("7", (7,))])
def test_levels_are_read(given: str, levels: tuple[int, ...]) -> None:
    assert Levels().convert(given, None, None) == levels


def summary(state: Any) -> Summary:
    return Summary(
        run="x", state=state, items=100, done=80, failed=0, skipped=0, attempts=80, retries=0, rate_limit_hits=0,
        seconds=27.5, tokens_in=1, tokens_out=1, cost=None, message="", path="x.db", errors=(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("state", "measured", "code"),
    [
        ("drained", 3, 0), ("done", 3, 0), ("drained", 2, 130), ("cancelled", 1, 130), ("stopped", 1, 4),
        ("done", 2, 1), ("failed", 0, 1),
    ],
)  # fmt: skip
def test_the_exit_code_says_how_it_went(state: str, measured: int, code: int) -> None:
    launch = Launch(path="x.db", config=None, sweep=((1, 40), (4, 40), (10, 40)))
    sweep = Sweep(levels=launch.sweep, measured=compared(STEADY[:measured]), is_over=True, sentence="so far")
    report = reported(launch, summary(state), sweep, 100)
    assert exit_code(report) == code
    assert report.message == "so far"
    assert shown(report, table=True, plot=True)
    assert report.fastest == (None if measured < 2 else STEADY[measured - 1].concurrency)


def test_items_that_failed_are_told_by_the_exit_code() -> None:
    launch = Launch(path="x.db", config=None, sweep=((4, 40),))
    sweep = Sweep(levels=launch.sweep, measured=(level(4, 40, 5.0, failed=1),), is_over=True)
    assert exit_code(reported(launch, summary("drained"), sweep, 100)) == 3


def test_a_process_knows_its_memory() -> None:
    held = resident()
    assert held is not None
    assert 1 << 20 < held < 1 << 40
