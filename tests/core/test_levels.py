"""What a run's samples tell of each concurrency: only what has settled, only what the cap held, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
import pytest

from batchdeck.metrics.histogram import Histogram
from batchdeck.model import Sample
from batchdeck.tune.levels import HALF, MOST_WAIT, REMEMBERED, REMEMBERED_STAYS, Stays, fitting, merged


def sample(
    t: float,
    concurrency: int,
    *,
    done: int | None = None,
    latency: float | None = 1.0,
    held: Mapping[str, float] | None = None,
    hits: int = 0,
) -> Sample:
    """A second in which each place gave one answer, and the cap held the run; latency None: as an older engine."""
    done = concurrency if done is None else done
    answers = Histogram()
    for _ in range(done if latency is not None else 0):
        answers.add(latency or 0.0)
    return Sample(
        t=t, at=0.0, dt=1.0, done=done, failed=0, attempts=done + hits, rate_limit_hits=hits, tokens_in=0,
        tokens_out=10 * done, cost=0.0, in_flight=float(concurrency), in_flight_max=concurrency,
        concurrency=concurrency, queued=100, backoff=0, cooldown=0.0, held={"cap": 1.0} if held is None else dict(held),
        e2e=answers.buckets,
    )  # fmt: skip


def fed(*parts: Iterable[Sample]) -> Stays:
    stays = Stays()
    for part in parts:
        for one in part:
            stays.add(one)
    return stays


def seconds(first: int, last: int, concurrency: int, **more: object) -> list[Sample]:
    return [sample(float(t), concurrency, **more) for t in range(first, last + 1)]  # type: ignore[arg-type]


def test_a_turn_is_left_to_work_its_way_through_before_it_counts() -> None:
    # answers take 4 s: what was sent before the turn comes back until 4 s after it, the slow ones until 6 s
    stays = fed(seconds(1, 30, 10, latency=4.0), seconds(31, 36, 20, latency=4.0, done=10))
    assert [visit.concurrency for visit in stays.visits()] == [10]
    assert not stays.is_settled
    assert stays.settles_in == pytest.approx(1.0, abs=0.1)
    for late in seconds(37, 50, 20, latency=4.0, done=20):
        stays.add(late)
    assert stays.is_settled
    assert stays.settles_in == 0.0
    first, second = stays.visits()
    assert (first.concurrency, first.throughput) == (10, 10.0)
    assert (second.concurrency, second.throughput) == (20, 20.0), "no second of the ten that came before"
    assert second.began >= 37.0


def test_what_failed_is_no_throughput() -> None:
    """A level whose items fail fast must not look like one that answers fast."""
    quick = [msgspec.structs.replace(one, done=2, failed=60) for one in seconds(1, 30, 32)]
    (visit,) = fed(quick).visits()
    assert visit.throughput == pytest.approx(2.0)


def test_a_run_that_has_only_begun_is_not_taken_for_one_that_answers_nothing() -> None:
    # ten seconds until the first answer: they tell how long it takes, not what the level can do
    stays = fed(seconds(1, 10, 4, done=0), seconds(11, 15, 4, latency=10.0))
    assert stays.visits() == ()
    for late in seconds(16, 40, 4, latency=10.0):
        stays.add(late)
    (visit,) = stays.visits()
    assert visit.throughput == 4.0
    assert fed(seconds(1, int(MOST_WAIT) + 5, 4, done=0)).visits()[0].throughput == 0.0, "in the end silence counts"


def test_a_level_that_answers_slower_than_the_one_before_is_waited_for() -> None:
    stays = fed(seconds(1, 20, 10, latency=1.0), seconds(21, 60, 40, latency=8.0))
    assert stays.visits()[1].began >= 21 + 1.5 * 8


def test_a_key_that_is_held_down_keeps_what_is_known_of_the_latency() -> None:
    turning = [sample(30.0 + n, 10 + n, done=0) for n in range(1, 6)]
    stays = fed(seconds(1, 30, 10, latency=6.0), turning, seconds(36, 38, 15, done=0))
    assert not stays.is_settled, "9 s after the last turn, not 2"
    assert stays.settles_in == pytest.approx(6.0, abs=0.2)


def test_only_seconds_that_the_cap_held_tell_of_a_level() -> None:
    stays = fed(
        seconds(1, 20, 10),
        seconds(21, 40, 10, done=2, held={"rpm": 0.7, "cap": 0.3}),
        seconds(41, 60, 10, done=1, held={}),
    )
    (visit,) = stays.visits()
    assert visit.throughput == 10.0
    assert visit.is_bound
    (stay,) = stays.stays()
    assert stay.throughput == pytest.approx((17 * 10 + 20 * 2) / 37), "what a turn did counts what held it, too"
    assert stay.held["rpm"] == pytest.approx(14.0)
    assert not stay.is_bound


def test_a_paused_run_and_its_last_answers_tell_nothing_of_a_turn() -> None:
    paused = seconds(21, 40, 10, done=0, held={"paused": 1.0})
    last = seconds(41, 50, 10, done=1, held={})
    assert fed(seconds(1, 20, 10), paused, last).stays() == fed(seconds(1, 20, 10)).stays()


def test_another_session_settles_anew_and_is_a_visit_of_its_own() -> None:
    stays = fed(seconds(1, 20, 10), seconds(120, 140, 10))
    first, second = stays.visits()
    assert first.concurrency == second.concurrency == 10
    assert first.ended == 20.0
    assert second.began >= 121.5, "it begins with nothing in flight"


def test_samples_that_come_twice_count_once() -> None:
    once = seconds(1, 20, 10)
    assert fed(once, once, once[5:]).visits() == fed(once).visits()


def test_memory_does_not_grow_with_the_turns_of_a_run() -> None:
    stays = Stays()
    for n in range(REMEMBERED + 50):
        for one in seconds(10 * n + 1, 10 * n + 10, 5 + n % 2):
            stays.add(one)
    assert len(stays.visits()) == REMEMBERED + 1
    assert len(stays.stays()) == REMEMBERED_STAYS + 1
    assert stays.visits()[-1].ended == 10 * (REMEMBERED + 50), "the newest stay"


def test_what_was_measured_long_ago_weighs_less() -> None:
    stays = fed(seconds(1, 20, 10), seconds(21, 40, 20))
    now = 40.0 + HALF
    old, new = fitting(stays.visits(), now)
    assert new.seconds == pytest.approx(stays.visits()[1].seconds / 2)
    assert old.seconds < stays.visits()[0].seconds / 2


def test_all_stays_at_one_level_are_one_with_the_percentiles_of_all_its_answers() -> None:
    stays = fed(seconds(1, 20, 10), seconds(21, 40, 20, hits=5), seconds(41, 58, 10, latency=3.0, hits=10))
    low, high = merged(stays.visits())
    assert (low.concurrency, high.concurrency) == (10, 20)
    first, _, third = stays.visits()
    assert low.seconds == first.seconds + third.seconds
    assert low.items == first.items + third.items
    assert low.refused == pytest.approx(10 * third.seconds / (low.items + 10 * third.seconds))
    assert high.refused == pytest.approx(5 / 25)
    assert low.e2e is not None
    assert first.e2e is not None
    assert low.e2e.p50 == first.e2e.p50, "most answers were fast"
    assert low.e2e.p95 == pytest.approx(3.0, rel=0.02)


def test_an_older_run_without_latencies_has_levels_without_them() -> None:
    (visit,) = fed(seconds(1, 20, 10, latency=None)).visits()
    assert visit.throughput == 10.0
    assert visit.e2e is None
    assert visit.ttft is None
