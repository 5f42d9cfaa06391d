"""A simulated server that can do only so much at once: others wait, or all get slower, and nobody says 429."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchdeck.errors import UsageError
from batchdeck.sim.model import SimModel
from batchdeck.sim.options import SimOptions, build
from batchdeck.sim.service import Service
from batchdeck.tune.knee import Curve, Level, recommend
from tests.core.simulated import Rig, virtually
from tests.core.test_sim_model import ask

ITEMS = 120


def throughput(folder: Path, sim: SimOptions, concurrency: int) -> float:
    """Items a second of a whole run by the real engine, in virtual time."""

    async def main() -> float:
        rig = Rig(folder / f"{concurrency}.db", ITEMS, sim, concurrency=concurrency)
        began = rig.loop.time()
        assert await rig.run() == "done"
        assert rig.tally.by_status == {200: ITEMS}
        return ITEMS / (rig.loop.time() - began)

    found: float = virtually(main)
    return found


@pytest.mark.parametrize("slots", [2, 4, 16])
def test_beyond_its_slots_a_server_queues_and_never_refuses(tmp_path: Path, slots: int) -> None:
    sim = SimOptions(latency_ms=1000, slots=slots)
    below, at, above = (throughput(tmp_path, sim, n) for n in (slots // 2, slots, 3 * slots))
    assert at == pytest.approx(slots, rel=0.1)
    assert below == pytest.approx(slots // 2, rel=0.1)
    assert above == pytest.approx(slots, rel=0.1)


def test_who_waits_for_a_slot_waits_for_its_first_token(tmp_path: Path) -> None:
    model = SimModel(SimOptions(latency_ms=1000, slots=2))
    plans = [model.arrive(ask(f"{n}"), 0.0) for n in range(5)]
    assert [plan.seconds for plan in plans] == [1.0, 1.0, 2.0, 2.0, 3.0]
    assert [int(plan.ttft or 0) for plan in plans] == [0, 0, 1, 1, 2]
    # A second later there is room again for one.
    assert model.arrive(ask("later"), 2.5).seconds == 1.0


def test_throughput_follows_the_law_that_its_options_describe(tmp_path: Path) -> None:
    sim = SimOptions(latency_ms=1000, contention=0.02, coherency=0.002)
    law = Curve(rate=1.0, contention=0.02, coherency=0.002)
    levels = [1, 4, 10, 20, 40]
    found = {n: throughput(tmp_path, sim, n) for n in levels}
    for n in levels[:4]:
        assert found[n] == pytest.approx(law.throughput(n), rel=0.12)
    # What its begin and end cost apart, the knee is where the law has it.
    said = recommend([Level(concurrency=n, throughput=found[n], seconds=10.0) for n in levels], 100, random.Random(1))
    assert said.concurrency is not None
    assert law.throughput(said.concurrency) >= 0.95 * law.throughput(law.best(100))


def test_it_can_be_changed_while_it_runs() -> None:
    model = SimModel(SimOptions(latency_ms=1000, slots=8))
    first = [model.arrive(ask(f"{n}"), 0.0).seconds for n in range(8)]
    model.configure(build({"slots": 2}, model.options), 0.0)
    assert first == [1.0] * 8
    assert model.arrive(ask("more"), 0.5).seconds == pytest.approx(1.5)
    model.configure(build({"slots": None}, model.options), 0.6)
    assert model.arrive(ask("again"), 0.6).seconds == 1.0


def test_errors_take_no_slot() -> None:
    model = SimModel(SimOptions(latency_ms=1000, slots=1, rpm=2))
    assert model.arrive(ask("one"), 0.0).seconds == 1.0
    refused = [model.arrive(ask(f"{n}"), 0.0) for n in range(3)]
    assert {plan.status for plan in refused} == {429}
    assert model.service.begin(1.5, 1.0, 1, 0.0, 0.0).wait == 0


def test_a_server_with_a_hard_limit_refuses_what_may_not_wait() -> None:
    model = SimModel(SimOptions(latency_ms=1000, slots=2, backlog=1))
    plans = [model.arrive(ask(f"{n}"), 0.0) for n in range(5)]
    assert [plan.status for plan in plans] == [200, 200, 200, 429, 429]
    assert [plan.seconds for plan in plans[:3]] == [1.0, 1.0, 2.0]
    said = "Too many requests at once (simulated). Limit: 2 running, 1 waiting. Try again in 1s."
    assert plans[3].refusal is not None
    assert plans[3].refusal.message == said
    assert dict(plans[3].headers)["retry-after"] == "1"
    # two are through a second later and the third runs: one may run and one may wait
    assert [model.arrive(ask(f"then {n}"), 1.0).status for n in range(3)] == [200, 200, 429]


def test_a_hard_limit_need_not_say_when_to_come_again_and_takes_nothing_of_the_quota() -> None:
    model = SimModel(SimOptions(latency_ms=1000, slots=1, backlog=0, rpm=600, burst=1, retry_after=False))
    assert model.arrive(ask("one"), 0.0).status == 200
    refused = [model.arrive(ask(f"{n}"), 0.0) for n in range(3)]
    assert {plan.status for plan in refused} == {429}
    headers = dict(refused[-1].headers)
    assert "retry-after" not in headers
    assert headers["x-ratelimit-remaining-requests"] == "599"


def test_whoever_keeps_to_a_hard_limit_is_never_refused_and_whoever_does_not_is(tmp_path: Path) -> None:
    sim = SimOptions(latency_ms=1000, slots=8, backlog=0, retry_after=False)
    assert throughput(tmp_path, sim, 8) == pytest.approx(8, rel=0.1)

    async def main() -> None:
        rig = Rig(tmp_path / "beyond.db", ITEMS, sim, concurrency=12)
        assert await rig.run() == "done"
        assert rig.tally.by_status[200] == ITEMS
        assert rig.tally.by_status[429] >= 4
        assert rig.engine.counts.rate_limit_hits == rig.tally.by_status[429]

    virtually(main)


def test_it_is_known_how_many_run_and_how_many_wait() -> None:
    model = SimModel(SimOptions(latency_ms=1000, slots=2))
    for n in range(5):
        model.arrive(ask(f"{n}"), 0.0)
    assert [model.service.busy(now) for now in (0.5, 1.5, 2.5, 3.0)] == [(2, 3), (2, 1), (1, 0), (0, 0)]


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0.01, 10)), max_size=60), st.integers(1, 8))
def test_never_more_at_once_than_slots_and_first_come_first_served(
    asked: list[tuple[float, float]], slots: int
) -> None:
    service, now, spans = Service(), 0.0, []
    for gap, seconds in asked:
        now += gap
        busy = service.busy(now)
        assert busy.waiting == sum(1 for begin, _ in spans if begin > now)
        assert busy.running == sum(1 for begin, end in spans if begin <= now < end) <= slots
        share = service.begin(now, seconds, slots, 0.0, 0.0)
        assert share.stretch == 1.0
        spans.append((now + share.wait, now + share.wait + seconds))
    starts = [start for start, _ in spans]
    assert starts == sorted(starts)
    for start in starts:
        assert sum(1 for begin, end in spans if begin <= start < end - 1e-9) <= slots


def test_absurd_values_are_refused() -> None:
    wrong_backlogs = ({"backlog": 3}, {"slots": 1, "backlog": -1})
    for wrong in ({"slots": 0}, {"contention": -0.1}, {"coherency": float("nan")}, {"slots": 2.5}, *wrong_backlogs):
        with pytest.raises(UsageError):
            build(wrong)
