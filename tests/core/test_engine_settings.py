"""Limits turned while a run goes: they take effect at once, are never exceeded from then on, and are kept."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Coroutine
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from batchdeck import settings
from batchdeck.model import Budget, IngestRow, Quotas, RunConfig
from batchdeck.sim.options import SimOptions
from batchdeck.store.reader import RunReader
from tests.core.simulated import EPOCH, STEADY, Reply, Rig, Scripted, ask, good, in_life, prompt_rows, until, virtually

Live = Callable[[Rig], Coroutine[Any, Any, None]]


def events(path: Path, kind: str) -> list[str]:
    with RunReader(path) as reader:
        return [event.detail for event in reader.events() if event.kind == kind]


def config_of(path: Path) -> RunConfig:
    with RunReader(path) as reader:
        return reader.meta().config


def sends(rig: Rig, after: float = -1.0) -> list[float]:
    return [event[0] for event in rig.happened("send") if event[0] > after]


def most_in(times: list[float], seconds: float) -> int:
    """The most of these that lie within so many seconds."""
    return max((bisect_right(times, at + seconds - 1e-9) - n for n, at in enumerate(times)), default=0)


# -- all or none


def test_several_are_set_at_once_and_kept_for_a_resume(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    deadline = EPOCH + 5_000

    async def live(rig: Rig) -> None:
        await until(lambda: rig.engine.counts.done >= 40)
        reply = rig.engine.steer.configure(
            {"concurrency": 32, "rpm": 600, "max_cost": 2.5, "max_errors": 0.05, "deadline": deadline, "priority": 3}
        )
        assert reply.ok
        assert reply.message == (
            "rpm off → 600, max cost off → $2.50, max errors off → 5%, "
            f"deadline off → {settings.show('deadline', deadline)}, priority 1 → 3, concurrency 10 → 32"
        )
        assert rig.engine.gate.cap == 32
        snapshot = rig.snapshot()
        assert {name: value for name, value in snapshot.settings.items() if value is not None} == {
            "concurrency": 32, "rpm": 600, "max_cost": 2.5, "max_errors": 0.05, "deadline": deadline, "priority": 3,
        }  # fmt: skip
        assert snapshot.budget.max_cost == 2.5
        assert [(quota.meter, quota.limit, quota.source) for quota in snapshot.quotas] == [("requests", 600, "flag")]
        await until(lambda: rig.engine.counts.done >= 80)
        rig.engine.steer.drain()

    rig, ending = in_life(path, 300, live, price=(1.0, 1.0))
    assert ending == "drained"
    assert len(events(path, "settings")) == 1
    assert events(path, "settings")[0].startswith("rpm off → 600, max cost off → $2.50")
    assert events(path, "concurrency") == ["10 → 32"]

    kept = config_of(path)
    assert kept == rig.engine.config
    assert (kept.concurrency, kept.quotas.rpm, kept.budget.max_cost, kept.priority) == (32, 600, 2.5, 3)
    given = {name: getattr(kept, name) for name in RunConfig.__struct_fields__}
    again, ending = in_life(path, 0, lambda rig: until(lambda: rig.engine.is_over), **given)
    assert (ending, again.engine.counts.done) == ("done", 300)
    assert most_in(sends(again), 60.0) <= 600
    assert again.loop.time() > (300 - 120) / 10 * 0.9, "it goes by the limit that was set in the session before"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"rpm": 0}, "--rpm is 0; it must be 1 to 1,000,000,000,000"),
        ({"priority": None}, "--priority cannot be taken off"),
        ({"concurrency": 2.5}, "--concurrency is 2.5; it is a whole number"),
        ({"max_cost": -1}, "--max-cost is -1; it must be 0 to"),
        ({"max_errors": 1.5}, "--max-errors is 1.5; it is a whole number, or a share"),
        ({"tmp": 5}, "there is no setting 'tmp'"),
        ({"max_cost": float("nan")}, "--max-cost is nan; it must be"),
    ],
)
def test_when_one_is_wrong_none_is_set(tmp_path: Path, wrong: dict[str, float | None], words: str) -> None:
    path = tmp_path / "run.db"

    async def live(rig: Rig) -> None:
        await until(lambda: rig.engine.counts.done >= 5)
        before = rig.engine.config
        reply = rig.engine.steer.configure({"tpm": 50_000, "concurrency": 20, **wrong})
        assert not reply.ok
        assert reply.message.startswith(words)
        assert rig.engine.config is before
        assert rig.engine.gate.cap == 10
        assert rig.snapshot().quotas == ()

    assert in_life(path, 30, live)[1] == "done"
    assert events(path, "settings") == events(path, "concurrency") == []
    assert config_of(path).quotas == Quotas()


def test_what_changes_nothing_says_so_and_leaves_no_mark(tmp_path: Path) -> None:
    async def live(rig: Rig) -> None:
        reply = rig.engine.steer.configure({"rpm": 500, "concurrency": 10, "tpm": None})
        assert (reply.ok, reply.message) == (True, "nothing changes by that")

    in_life(tmp_path / "run.db", 20, live, quotas=Quotas(rpm=500))
    assert events(tmp_path / "run.db", "settings") == []


# -- requests a minute


@pytest.mark.parametrize(("before", "rpm"), [(None, 60), (1_200, 120), (None, 600), (90, 30)])
def test_a_lower_rpm_counts_within_a_second_and_is_never_exceeded(
    tmp_path: Path, before: float | None, rpm: int
) -> None:
    moment: list[float] = []

    async def live(rig: Rig) -> None:
        await asyncio.sleep(12.0)
        moment.append(rig.loop.time())
        assert rig.engine.steer.configure({"rpm": rpm}).ok
        await asyncio.sleep(1.0)
        assert rig.engine.waits.held == "rpm"
        await asyncio.sleep(200.0)
        rig.engine.steer.drain()

    rig, _ = in_life(tmp_path / "run.db", 4_000, live, concurrency=20, quotas=Quotas(rpm=before))
    after = sends(rig, moment[0])
    assert most_in(after, 60.0) <= rpm
    assert most_in(after, 1.0) <= max(2, rpm / 60 + 1 + 0.01 * rpm)
    # In the first second no more goes than in any other.
    assert bisect_right(after, moment[0] + 1.0) <= max(2, rpm / 60 + 1 + 0.01 * rpm)
    # It is a limit, not a brake: what it allows is used.
    assert len(after) >= 0.95 * rpm * 200 / 60
    if before is not None:
        assert most_in(sends(rig), 60.0) <= before


def test_a_limit_taken_off_holds_no_longer(tmp_path: Path) -> None:
    async def live(rig: Rig) -> None:
        await asyncio.sleep(30.0)
        assert rig.engine.counts.done <= 31
        reply = rig.engine.steer.configure({"rpm": None, "tpm": 1_000_000})
        assert reply.message == "rpm 60 → off, tpm off → 1,000,000"
        await asyncio.sleep(2.2)
        assert rig.engine.counts.done >= 70
        assert rig.engine.waits.held == "cap"
        assert [quota.meter for quota in rig.snapshot().quotas] == ["tokens"]

    assert in_life(tmp_path / "run.db", 200, live, quotas=Quotas(rpm=60))[1] == "done"


def test_a_flag_that_is_taken_off_leaves_what_the_provider_says(tmp_path: Path) -> None:
    """The provider allows 300 a minute and says so; the person asked for 60, and then no more."""
    sim = SimOptions(latency_ms=400, answer_tokens=4, rpm=300, headers="openai")

    async def live(rig: Rig) -> None:
        await asyncio.sleep(30.0)
        assert [(quota.limit, quota.source) for quota in rig.snapshot().quotas] == [(60, "flag")]
        rig.engine.steer.configure({"rpm": None})
        await asyncio.sleep(30.0)
        assert [(quota.limit, quota.source) for quota in rig.snapshot().quotas] == [(300, "header")]

    rig, ending = in_life(tmp_path / "run.db", 600, live, sim, quotas=Quotas(rpm=60), concurrency=40)
    assert ending == "done"
    assert len([at for at in sends(rig) if at < 30.0]) <= 31
    assert most_in(sends(rig, 60.0), 60.0) > 250
    assert rig.tally.by_status[429] <= 2


def test_limits_can_be_turned_while_it_is_paused_or_over(tmp_path: Path) -> None:
    path = tmp_path / "run.db"

    async def live(rig: Rig) -> None:
        await asyncio.sleep(2.0)
        rig.engine.steer.pause()
        assert rig.engine.steer.configure({"rpm": 60, "concurrency": 3}).ok
        await asyncio.sleep(10.0)
        assert rig.engine.gate.in_flight == 0
        before = len(sends(rig))
        rig.engine.steer.resume()
        await asyncio.sleep(5.0)
        assert 1 <= len(sends(rig)) - before <= 7
        rig.engine.steer.drain()
        await until(lambda: rig.engine.is_over)

    async def main() -> None:
        rig = Rig(path, 200, STEADY)
        run = rig.loop.create_task(rig.engine.run())
        await live(rig)
        assert await run == "drained"
        assert rig.engine.steer.configure({"rpm": None}).ok
        assert rig.engine.steer.resume().ok
        began = rig.loop.time()
        assert await rig.run() == "done"
        assert rig.loop.time() - began < 200 * 0.4 / 3 + 5

    virtually(main)
    assert config_of(path).quotas == Quotas()
    assert config_of(path).concurrency == 3


# -- large requests


def counted(number: int, body: bytes) -> Reply:
    """An answer of two tokens that counts its prompt as most models do."""
    status, headers, content = good()
    answer = msgspec.json.decode(content)
    answer["usage"]["prompt_tokens"] = len(body) // 4
    return status, headers, msgspec.json.encode(answer)


def prompts(*sizes: int) -> list[IngestRow]:
    """Rows whose prompts have about so many tokens."""
    return [
        IngestRow(
            index=n, line=n + 1, data=msgspec.json.encode({"prompt": f"#{n} " + "word " * (4 * size // 5)}).decode(),
            label=f"#{n}",
        )
        for n, size in enumerate(sizes)
    ]  # fmt: skip


@pytest.mark.parametrize("meter", ["tpm", "input_tpm", "tpd"])
def test_an_item_larger_than_the_limit_fails_and_the_rest_goes_on(tmp_path: Path, meter: str) -> None:
    path = tmp_path / "run.db"
    sizes = [20] * 10 + [9_000] + [20] * 10 + [6_000] + [20] * 5
    quotas = Quotas(**{meter: 5_000 if meter != "tpd" else 8_000})
    rig, ending = in_life(
        path, 0, lambda rig: asyncio.sleep(0.1), rows=prompts(*sizes), transport=Scripted(counted),
        quotas=quotas, max_tokens=50,
    )  # fmt: skip
    assert ending == "done"
    large = {10, 21} if meter != "tpd" else {10}
    assert rig.engine.errors[0].error_type == "request_too_large"
    assert (rig.engine.counts.failed, rig.engine.counts.done) == (len(large), 27 - len(large))
    rows = ask(path, "SELECT idx, error_type, error, sends FROM attempts WHERE outcome != 'ok'")
    assert {row[0] for row in rows} == large
    assert {(row[1], row[3]) for row in rows} == {("request_too_large", 0)}
    window = "day" if meter == "tpd" else "minute"
    assert all(row[2].startswith("the prompt has about ") and row[2].endswith(f" a {window}") for row in rows)
    assert not {event[2] for event in rig.happened("send")} & large
    assert rig.loop.time() < 200


def test_a_large_request_at_the_head_is_not_overtaken_and_goes(tmp_path: Path) -> None:
    """2,000 tokens a minute: the one with 1,500 waits most of a minute, and all the small ones behind it, in order."""
    sizes = [15] * 8 + [1_500] + [15] * 30 + [1_200] + [15] * 30
    rig, ending = in_life(
        tmp_path / "run.db", 0, lambda rig: asyncio.sleep(0.1), rows=prompts(*sizes),
        transport=Scripted(counted), quotas=Quotas(tpm=2_000), max_tokens=5, concurrency=16,
    )  # fmt: skip
    assert (ending, rig.engine.counts.done) == ("done", len(sizes))
    order = [event[2] for event in rig.happened("send")]
    assert order == sorted(order)
    assert rig.loop.time() < 240
    with RunReader(rig.path) as reader:
        assert sum(sample.held.get("tpm", 0.0) for sample in reader.samples()) > 30


def test_a_limit_lowered_below_what_waits_at_the_head_fails_it(tmp_path: Path) -> None:
    """The request that waits was chosen under the old limit; it must not hold the run for ever."""

    async def live(rig: Rig) -> None:
        await until(lambda: rig.engine.waits.held == "tpm" and len(sends(rig)) == 4)
        assert rig.engine.steer.configure({"tpm": 500}).ok

    rig, ending = in_life(
        tmp_path / "run.db", 0, live, rows=prompts(*[15] * 4, 1_500, 1_400, *[15] * 6),
        transport=Scripted(counted), quotas=Quotas(tpm=2_000), max_tokens=5,
    )  # fmt: skip
    assert ending == "done"
    assert rig.engine.counts.unfinished == 0
    with RunReader(rig.path) as reader:
        assert [row.error_type for row in reader.rows([4, 5])] == ["request_too_large"] * 2
    assert rig.engine.counts.failed == 2
    assert rig.loop.time() < 300


def test_no_small_request_waits_behind_more_than_those_before_it(tmp_path: Path) -> None:
    """Items that come back from a fault go again first; among the fresh ones the order is that of the input."""
    sim = SimOptions(seed=4, latency_ms=300, answer_tokens=4, faults={"500": 0.15})
    rig, ending = in_life(
        tmp_path / "run.db", 0, lambda rig: asyncio.sleep(0.1), sim, rows=prompt_rows(0, 150), quotas=Quotas(rpm=240),
        max_retries=9,
    )  # fmt: skip
    assert ending == "done"
    first: dict[int, float] = {}
    for at, _, idx, _ in rig.happened("send"):
        first.setdefault(idx, at)
    assert list(first) == sorted(first)
    assert all(later >= earlier for earlier, later in pairwise(first.values()))
    assert most_in(sends(rig), 60.0) <= 240


# -- raised before it has stopped


def test_a_budget_that_is_raised_while_the_run_drains_lets_it_go_on(tmp_path: Path) -> None:
    async def live(rig: Rig) -> None:
        await until(lambda: rig.engine.counts.done >= 5)
        assert rig.engine.steer.configure({"deadline": EPOCH + rig.loop.time()}).ok
        assert (rig.engine.state, rig.engine.is_ending) == ("draining", False)
        refused = rig.engine.steer.resume()
        assert (refused.ok, rig.engine.state) == (False, "draining")
        raised = rig.engine.steer.configure({"deadline": None})
        assert (raised.ok, rig.engine.state) == (True, "running")
        assert "the run goes on" in raised.message

    rig, ending = in_life(tmp_path / "run.db", 40, live)
    assert (ending, rig.engine.counts.done) == ("done", 40)


def test_what_a_person_drained_is_not_taken_back_by_a_budget(tmp_path: Path) -> None:
    async def live(rig: Rig) -> None:
        await until(lambda: rig.engine.counts.done >= 5)
        rig.engine.steer.configure({"deadline": EPOCH + rig.loop.time()})
        rig.engine.steer.drain()
        rig.engine.steer.configure({"deadline": None})
        assert rig.engine.state == "draining"

    assert in_life(tmp_path / "run.db", 40, live)[1] == "stopped"


def test_too_many_items_in_backoff_are_not_called_a_slow_disk(tmp_path: Path) -> None:
    """With four times the cap waiting to be tried again no new item starts: that is their backoff, not the disk."""
    held: set[str | None] = set()

    async def live(rig: Rig) -> None:
        rig.probes.append(lambda: held.add(rig.engine.waits.held))
        await until(lambda: rig.engine.queue.backoff + rig.engine.gate.in_flight >= 16)
        await asyncio.sleep(0.5)
        assert rig.engine.waits.held in ("backoff", "cap")
        assert rig.engine.reasons().get("store", 0) <= 4

    failing = SimOptions(latency_ms=50, answer_tokens=2, faults={"500": 0.85})
    _, ending = in_life(
        tmp_path / "run.db", 400, live, failing, concurrency=4, max_retries=8, budget=Budget(max_outage=0)
    )
    assert ending == "done"
    assert "backoff" in held
