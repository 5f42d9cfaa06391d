"""Why a run waits: each unfinished item under one reason at every moment, and what is told of it, on real runs."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Coroutine
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from batchdeck.engine.ingest import Arrived
from batchdeck.inputs.base import SourceState
from batchdeck.model import Budget, IngestRow, Limits, Percentiles, Quotas, Reason, Sample, Snapshot
from batchdeck.sim.clock import VirtualLoop
from batchdeck.sim.options import SimOptions
from batchdeck.store.reader import RunReader
from batchdeck.store.writer import Store
from batchdeck.transport.base import Request, Sink
from tests.core.simulated import STEADY, Rig, Scripted, ask, good, in_life, prompt_rows, refusal, until, virtually

BREAKERLESS = Budget(max_outage=0)
QUICK = Limits(first_token=4.0, idle=2.0, total=20.0)
FAULTS = {"400": 0.03, "500": 0.08, "503": 0.05, "hang": 0.02, "stall": 0.03, "reset": 0.04, "garbage": 0.03}
Live = Callable[[Rig], Coroutine[Any, Any, None]]


async def passed(rig: Rig, seconds: float) -> None:
    end = rig.loop.time() + seconds
    await until(lambda: rig.loop.time() >= end, step=min(0.25, seconds))


# -- the counts add up


class Storm:
    """A run that meets everything, in sessions on one file: what was wrong at any moment of it is in ``wrong``."""

    def __init__(self, path: Path, seed: int) -> None:
        self.rng = random.Random(seed)
        self.seed = seed
        self.path = path
        self.wrong: list[str] = []
        self.seen: set[Reason] = set()
        self.sessions: list[tuple[float, float]] = []
        self.arrivals: list[tuple[float, int]] = []
        self.settled = 0
        """When the second process began."""
        self.sim = SimOptions(
            seed=seed,
            rpm=self.rng.choice([None, 240, 600]),
            tpm=self.rng.choice([None, 12_000]),
            headers=self.rng.choice(["openai", "anthropic", "none"]),
            shape=self.rng.choice(["bucket", "sliding", "fixed"]),
            ttft_ms=200,
            answer_tokens=12,
            faults=FAULTS,
            down_at=self.rng.choice([None, 12.0]),
            down_for=5.0,
        )
        self.given: dict[str, Any] = {
            "seed": seed,
            "delay": self.rng.choice([0.002, 0.05, 0.4]),
            "read": self.read,
            "limits": QUICK,
            "max_retries": 2,
            "concurrency": self.rng.choice([3, 10, 40]),
            "stream": seed % 3 != 0,
            "price": (1.0, 2.0),
        }

    async def read(self, store: Store, arrived: Arrived) -> None:
        """120 items, one of them a bad line, in lumps."""
        place, _ = await store.submit(lambda file: file.source())
        first = place.index
        while first < 120:
            await asyncio.sleep(self.rng.choice([0.1, 0.7, 2.3]))
            rows = prompt_rows(first, 20)
            if first == 40:
                rows[3] = IngestRow(index=43, line=44, data="{}", label="", error="rows.csv:44: 4 fields instead of 2")
            state = SourceState(index=first + 20)
            await store.submit(lambda file: file.ingest(rows, state, state.index == 120))  # noqa: B023
            self.arrivals.append((self.loop_to_t(asyncio.get_running_loop().time()), state.index))
            arrived(state)
            first += 20

    def loop_to_t(self, at: float) -> float:
        """Engine seconds of the run, as samples have them."""
        base, began = self.sessions[-1]
        return base + at - began

    def look(self, rig: Rig) -> None:
        counts, unfinished = rig.engine.reasons(), rig.engine.counts.unfinished
        self.seen |= set(counts)
        if sum(counts.values()) != unfinished or min(counts.values(), default=1) < 1:
            self.wrong.append(f"{rig.loop.time():.3f} {rig.trace[-1:]}: {counts} of {unfinished}; {rig.engine!r}")

    async def session(self, rig: Rig) -> asyncio.Task[Any]:
        self.sessions.append((rig.engine.counts.seconds, rig.loop.time()))
        return rig.loop.create_task(rig.engine.run())

    async def first(self) -> Path:
        """Steered about, drained, gone on with, and killed."""
        rig = Rig(self.path, 0, self.sim, **self.given)
        rig.probes.append(lambda: self.look(rig))
        run = await self.session(rig)
        steer = rig.engine.steer
        steps: list[tuple[float, Callable[[], object]]] = [
            (1.7, lambda: steer.configure({"rpm": 300, "concurrency": 7})),
            (1.1, steer.pause),
            (1.3, steer.resume),
            (1.9, lambda: steer.configure({"rpm": None, "max_cost": 1000})),
            (2.2, lambda: steer.set_concurrency(30)),
            (1.5, steer.drain),
        ]
        for seconds, step in steps:
            for _ in range(10):
                await asyncio.sleep(seconds / 10)
                self.look(rig)
            step()
            self.look(rig)
        assert await run == "drained"
        run = await self.session(rig)
        await passed(rig, 1.6)
        await steer.retry()
        await passed(rig, self.rng.choice([1.1, 2.7]))
        self.look(rig)
        return rig.crash(self.path.with_name("crashed.db"))

    async def second(self, image: Path) -> Rig:
        """Resumed, and what failed tried again."""
        rig = Rig(image, 0, self.sim, **{**self.given, "seed": self.seed + 1})
        rig.engine.ingest_complete = rig.file.source()[1]
        self.settled = rig.engine.counts.items - rig.engine.counts.unfinished
        rig.probes.append(lambda: self.look(rig))
        run = await self.session(rig)
        assert await run == "done"
        self.look(rig)
        if (await rig.engine.steer.retry()).ok:
            assert await (await self.session(rig)) == "done"
        self.look(rig)
        await rig.close()
        return rig


@pytest.mark.parametrize("seed", range(12))
def test_reasons_add_up_at_every_moment_of_a_stormy_run(tmp_path: Path, seed: int) -> None:
    storm = Storm(tmp_path / "run.db", seed)
    image: Path = virtually(storm.first)
    # What the crash took of the input is read again.
    storm.arrivals = storm.arrivals[: ask(image, "SELECT count(*) FROM items")[0][0] // 20]
    rig: Rig = virtually(lambda: storm.second(image))
    assert storm.wrong == []
    assert {"paused", "stopping", "first_token", "store"} <= storm.seen
    with RunReader(image) as reader:
        samples, counts = reader.samples(), reader.counts()
    assert rig.engine.counts == counts
    over = 0
    for before, sample in pairwise([samples[0], *samples]):
        if sample.at < before.at:
            # What was settled between the last sample and the crash is in none of them.
            over = storm.settled
        over += sample.done + sample.failed
        items = max((count for t, count in storm.arrivals if t <= sample.t + 1e-9), default=0)
        assert sum(sample.waits.values()) == items - over, sample
        assert all(count > 0 for count in sample.waits.values())
        assert sum(sample.held.values()) <= sample.dt + 1e-9
        assert all(seconds > 0 for seconds in sample.held.values())


# -- how many wait


def waiting_curve(rig: Rig, items: int) -> list[tuple[float, int]]:
    """How many items wait from when on, told from the trace alone: sent they no longer do, refused they do again."""
    last = {event[2]: event for event in rig.trace}
    curve, waiting = [(0.0, items)], items
    for event in rig.happened("send", "transient", "rate_limited"):
        at, what, idx, _ = event
        if idx < 0:
            continue
        if what == "send":
            waiting -= 1
        elif last[idx] is not event:
            waiting += 1
        curve.append((at, waiting))
    return curve


def area(curve: list[tuple[float, int]], start: float, end: float) -> float:
    steps = [*curve, (math.inf, 0)]
    return sum(count * max(0.0, min(until_at, end) - max(at, start)) for (at, count), (until_at, _) in pairwise(steps))


@pytest.mark.parametrize("seed", range(3))
def test_the_average_queue_depth_is_the_true_mean_of_what_waited(tmp_path: Path, seed: int) -> None:
    sim = SimOptions(seed=seed, rpm=300, ttft_ms=150, answer_tokens=10, headers="none", faults={"500": 0.1})
    rig, ending = in_life(
        tmp_path / "run.db",
        150,
        lambda rig: passed(rig, 1),
        sim,
        delay=0.0,
        max_retries=1,
        budget=BREAKERLESS,
        seed=seed,
    )
    assert ending == "done"
    assert rig.engine.counts.failed > 0
    assert rig.engine.counts.rate_limit_hits > 0
    curve = waiting_curve(rig, 150)
    with RunReader(rig.path) as reader:
        samples, counts = reader.samples(), reader.counts()
    for sample in samples:
        assert sample.queue_depth * sample.dt == pytest.approx(
            area(curve, sample.t - sample.dt, sample.t), rel=1e-6, abs=1e-6
        )
    assert counts.queue_seconds / counts.seconds == pytest.approx(area(curve, 0, counts.seconds) / counts.seconds, 1e-6)
    assert rig.snapshot().queue_depth == counts.queue_depth


# -- how long it took


def nearest_rank(values: list[float], q: float) -> float:
    return sorted(values)[max(1, math.ceil(q * len(values))) - 1]


@pytest.mark.parametrize("seed", range(3))
def test_percentiles_are_those_of_the_attempts(tmp_path: Path, seed: int) -> None:
    sim = SimOptions(seed=seed, ttft_ms=400, token_rate=40, answer_tokens=30, faults={"stall": 0.05, "500": 0.05})
    rig, ending = in_life(
        tmp_path / "run.db", 300, lambda rig: passed(rig, 1), sim, limits=Limits(idle=2.0), concurrency=50
    )
    assert ending == "done"
    rows = ask(rig.path, "SELECT ttft, seconds FROM attempts WHERE outcome = 'ok'")
    snapshot = rig.snapshot()
    for told, values in ((snapshot.ttft, [row[0] for row in rows]), (snapshot.e2e, [row[1] for row in rows])):
        true = Percentiles(**{f"p{p}": nearest_rank(values, p / 100) for p in (50, 95, 99)})
        assert told is not None
        assert (told.p50, told.p95, told.p99) == pytest.approx((true.p50, true.p95, true.p99), rel=0.02)


# -- every reason has its story


def snapshot_of(path: Path, items: int, seconds: float, sim: SimOptions = STEADY, **given: Any) -> Snapshot:
    """A snapshot so many seconds into a run, which is then given up."""
    taken: list[Snapshot] = []

    async def live(rig: Rig) -> None:
        await passed(rig, seconds)
        taken.append(rig.snapshot())
        rig.engine.steer.cancel()

    in_life(path, items, live, sim, **given)
    return taken[0]


def add_up(snapshot: Snapshot) -> bool:
    return sum(snapshot.waiting.counts.values()) == snapshot.counts.unfinished


def samples_of(path: Path) -> list[Sample]:
    with RunReader(path) as reader:
        return reader.samples()


def test_behind_the_cap_more_concurrency_may_help(tmp_path: Path) -> None:
    snapshot = snapshot_of(tmp_path / "run.db", 500, 30, concurrency=2)
    waiting = snapshot.waiting
    assert waiting.held == "cap"
    assert waiting.counts["cap"] == snapshot.queued
    assert waiting.shares["cap"] > 0.99
    assert waiting.sentence.startswith("held by the cap of 2: 100 % of the time so far")
    assert waiting.sentence.endswith("more concurrency may help")
    assert snapshot.message == "", "that the cap is reached is how it should be"
    assert snapshot.mode == "open"
    assert all(
        sample.held["cap"] == pytest.approx(sample.dt, rel=0.01) for sample in samples_of(tmp_path / "run.db")[:-1]
    )


QUOTAS: list[tuple[str, Reason, dict[str, Any], dict[str, Any], str]] = [
    ("a flag", "rpm", {}, {"quotas": Quotas(rpm=60)}, "RPM"),
    ("headers", "rpm", {"rpm": 60, "headers": "openai"}, {}, "RPM"),
    ("a flag", "tpm", {}, {"quotas": Quotas(tpm=2_000)}, "TPM"),
    ("a flag for input", "tpm", {}, {"quotas": Quotas(input_tpm=600)}, "TPM"),
    ("a flag for output", "tpm", {}, {"quotas": Quotas(output_tpm=900)}, "TPM"),
    ("headers", "tpm", {"tpm": 2_000, "headers": "openai"}, {}, "TPM"),
    ("headers", "tpm", {"input_tpm": 600, "headers": "anthropic"}, {}, "TPM"),
]


@pytest.mark.parametrize(("source", "reason", "sim", "given", "name"), QUOTAS)
def test_held_by_a_minutes_quota(
    tmp_path: Path, source: str, reason: Reason, sim: dict[str, Any], given: dict[str, Any], name: str
) -> None:
    options = SimOptions(seed=2, ttft_ms=200, answer_tokens=12, **sim)
    snapshot = snapshot_of(tmp_path / "run.db", 2_000, 120, options, concurrency=30, **given)
    waiting = snapshot.waiting
    assert waiting.held == reason
    assert waiting.counts[reason] == snapshot.queued
    assert waiting.shares[reason] >= 0.9
    assert waiting.sentence.startswith(
        f"held by {name}: {100 * waiting.shares[reason]:.0f} % of the time in the last minute"
    )
    assert "more concurrency will not help" in waiting.sentence
    assert snapshot.message == waiting.sentence
    assert snapshot.mode == "rate-limited"
    assert {quota.source for quota in snapshot.quotas} == {"flag" if "flag" in source else "header"}
    assert sum(shares for shares in waiting.shares.values()) <= 1.001
    assert add_up(snapshot)


@pytest.mark.parametrize(
    ("sim", "given"),
    [({}, {"quotas": Quotas(rpd=50)}), ({"rpd": 50, "headers": "groq"}, {"provider": "groq"})],
    ids=["flag", "groq"],
)
def test_held_by_the_daily_limit(tmp_path: Path, sim: dict[str, Any], given: dict[str, Any]) -> None:
    options = SimOptions(seed=2, ttft_ms=200, answer_tokens=12, **sim)
    snapshot = snapshot_of(tmp_path / "run.db", 200, 30, options, concurrency=4, **given)
    assert snapshot.counts.done >= 45
    assert snapshot.counts.rate_limit_hits <= 1
    assert snapshot.waiting.held == "daily"
    assert snapshot.waiting.counts == {"daily": snapshot.counts.unfinished}
    assert "daily limit" in snapshot.waiting.sentence
    assert "as far as is known" in snapshot.waiting.sentence
    assert snapshot.waiting.seconds is not None
    # A limit that a person said is known to the hour; what a provider says is asked again every ten minutes.
    assert 0 < snapshot.waiting.seconds <= (600 if sim else 25 * 3600)


def test_held_by_a_429_until_it_is_over(tmp_path: Path) -> None:
    provider = Scripted(lambda number, body: refusal(429, retry_after="60") if number < 4 else good())
    snapshot = snapshot_of(tmp_path / "run.db", 40, 10, transport=provider, concurrency=4)
    assert snapshot.waiting.held == "cooldown"
    assert snapshot.waiting.counts == {"cooldown": 40}
    assert snapshot.waiting.seconds == pytest.approx(53, abs=4)
    assert snapshot.waiting.sentence == f"held by the provider's rate limit for {snapshot.waiting.seconds:.0f} s more"
    assert snapshot.mode == "rate-limited"


def test_what_is_left_waits_to_be_tried_again(tmp_path: Path) -> None:
    """Three items of ten are put off by the server; the others are done meanwhile."""

    def reply(number: int, body: bytes) -> Any:
        return refusal(503, retry_after="40") if number < 3 else good()

    snapshot = snapshot_of(tmp_path / "run.db", 10, 8, transport=Scripted(reply), concurrency=3, budget=BREAKERLESS)
    assert snapshot.waiting.held == "backoff"
    assert snapshot.waiting.counts == {"backoff": 3}
    assert snapshot.waiting.seconds is not None
    assert 30 < snapshot.waiting.seconds < 34
    assert snapshot.message == (
        f"items that failed wait to be tried again, the first of them in {snapshot.waiting.seconds:.0f} s"
    )


def test_while_the_provider_is_down_all_wait_for_it(tmp_path: Path) -> None:
    options = SimOptions(latency_ms=400, down_at=3.0, down_for=60.0)
    snapshot = snapshot_of(tmp_path / "run.db", 500, 12, options)
    assert snapshot.waiting.held == "breaker"
    assert snapshot.waiting.counts["breaker"] >= snapshot.counts.unfinished - 15
    assert snapshot.message.startswith("the provider is down (")
    assert "tried again in" in snapshot.message
    assert snapshot.state == "running"
    assert add_up(snapshot)


def test_near_its_end_a_budget_lets_few_go_at_once(tmp_path: Path) -> None:
    rig, ending = in_life(
        tmp_path / "run.db", 300, lambda rig: passed(rig, 1), SimOptions(latency_ms=2_000, answer_tokens=30),
        budget=Budget(max_tokens=4_000), concurrency=40,
    )  # fmt: skip
    assert ending == "stopped"
    samples = samples_of(rig.path)
    narrow = [sample for sample in samples if sample.held.get("budget", 0.0) > 0.9]
    assert len(narrow) > 3
    assert all(sample.waits["budget"] == sample.queued for sample in narrow if "budget" in sample.waits)


def test_a_slow_disk_is_told_as_such(tmp_path: Path) -> None:
    snapshot = snapshot_of(tmp_path / "run.db", 500, 40.7, SimOptions(latency_ms=50), concurrency=4, delay=1.0)
    assert snapshot.waiting.held == "store"
    assert snapshot.waiting.shares["store"] > 0.8
    assert snapshot.waiting.sentence.startswith("held by the disk: ")
    assert "answers come faster than they can be written" in snapshot.message
    assert snapshot.waiting.counts["store"] == snapshot.counts.unfinished, "those answered, and those behind them"


def test_until_the_input_gives_more_there_is_nothing_to_do(tmp_path: Path) -> None:
    async def read(store: Store, arrived: Arrived) -> None:
        for first in (0, 6):
            state = SourceState(index=first + 6)
            await store.submit(lambda file: file.ingest(prompt_rows(first, 6), state, first == 6))  # noqa: B023
            arrived(state)
            await asyncio.sleep(20.0)

    async def live(rig: Rig) -> None:
        await passed(rig, 0.2)
        before = rig.snapshot()
        assert (before.waiting.held, sum(before.waiting.counts.values())) == ("cap", 6)
        await passed(rig, 10)
        snapshot = rig.snapshot()
        assert (snapshot.waiting.counts, snapshot.counts.items, snapshot.counts.done) == ({}, 6, 6)
        assert snapshot.waiting.held is None

    rig, ending = in_life(tmp_path / "run.db", 0, live, read=read, concurrency=2)
    assert (ending, rig.engine.counts.done) == ("done", 12)


def test_rows_that_are_read_and_not_yet_fetched_wait_for_the_input_or_the_disk(tmp_path: Path) -> None:
    """The first of them are in the run file, and the look-ahead is still on its way through a slow disk."""

    async def read(store: Store, arrived: Arrived) -> None:
        state = SourceState(index=50)
        await store.submit(lambda file: file.ingest(prompt_rows(0, 50), state, True))
        await asyncio.sleep(0.1)
        arrived(state)

    async def live(rig: Rig) -> None:
        await until(lambda: rig.engine.counts.items == 50, step=0.001)
        await passed(rig, 0.05)
        assert rig.snapshot().waiting.counts == {"input": 50}
        await passed(rig, 0.2)
        assert rig.snapshot().waiting.counts == {"store": 50}

    assert in_life(tmp_path / "run.db", 0, live, read=read, delay=0.5)[1] == "done"


def test_paused_then_stopping(tmp_path: Path) -> None:
    async def live(rig: Rig) -> None:
        await passed(rig, 2)
        rig.engine.steer.pause()
        assert rig.snapshot().waiting.counts["paused"] == rig.snapshot().queued
        await passed(rig, 5)
        paused = rig.snapshot()
        assert paused.waiting.counts == {"paused": paused.counts.unfinished}
        assert (paused.waiting.held, paused.message) == ("paused", "paused: nothing new is sent")
        rig.engine.steer.resume()
        await passed(rig, 1)
        rig.engine.steer.drain()
        stopping = rig.snapshot()
        assert stopping.waiting.counts["stopping"] == stopping.queued
        assert stopping.waiting.held == "stopping"
        assert stopping.message.startswith("draining: 10 in flight")

    assert in_life(tmp_path / "run.db", 400, live)[1] == "drained"
    held = [set(sample.held) for sample in samples_of(tmp_path / "run.db")]
    assert {"paused"} in held
    assert any("stopping" in one for one in held)


class SlowToConnect:
    """A provider whose every connection takes two seconds to be made."""

    async def send(self, request: Request, sink: Sink) -> None:
        await asyncio.sleep(2.0)
        sink.sending()
        status, headers, body = good()
        sink.head(status, tuple(headers.items()))
        sink.data(body)

    async def close(self) -> None:
        """Nothing is open."""


def test_in_flight_it_is_told_how_far_each_one_is(tmp_path: Path) -> None:
    snapshot = snapshot_of(tmp_path / "slow.db", 9, 1, transport=SlowToConnect(), concurrency=3)
    assert snapshot.waiting.counts == {"cap": 6, "connecting": 3}
    quiet = SimOptions(ttft_ms=5_000, latency_ms=None)
    snapshot = snapshot_of(tmp_path / "quiet.db", 9, 0.2, quiet, concurrency=3)
    assert snapshot.waiting.counts == {"cap": 6, "first_token": 3}
    snapshot = snapshot_of(tmp_path / "held.db", 9, 5, SimOptions(hold=True), concurrency=3)
    assert snapshot.waiting.counts == {"cap": 6, "streaming": 3}


def test_a_loop_that_is_late_is_this_machine(tmp_path: Path) -> None:
    """The sweep comes 20 times a second; by as much as it is late, this process was what held the run."""

    async def live(rig: Rig) -> None:
        loop = rig.loop
        assert isinstance(loop, VirtualLoop)
        await passed(rig, 5)
        for _ in range(100):
            await asyncio.sleep(0.05)
            # Somebody computes in the engine's loop.
            loop.jump(0.2)
        await asyncio.sleep(0.06)
        snapshot = rig.snapshot()
        assert snapshot.waiting.counts["machine"] == snapshot.queued
        assert snapshot.waiting.shares["machine"] == pytest.approx(20 / 30, abs=0.05)
        assert sum(snapshot.waiting.shares.values()) <= 1.001
        assert snapshot.waiting.sentence.startswith("held by this machine: 6")
        assert add_up(snapshot)
        rig.engine.steer.cancel()

    in_life(tmp_path / "run.db", 2_000, live, concurrency=4)
    samples = samples_of(tmp_path / "run.db")
    assert all(sum(sample.held.values()) <= sample.dt + 1e-9 for sample in samples)
    assert all(seconds > 0 for sample in samples for seconds in sample.held.values())
    assert sum(sample.held.get("machine", 0.0) for sample in samples) > 14


async def test_a_loop_that_is_really_blocked_is_seen(tmp_path: Path) -> None:
    """In real time, with the product's own writer: somebody computes in the engine's loop for a quarter second."""
    rig = Rig(tmp_path / "run.db", 400, SimOptions(latency_ms=20), threaded=True, concurrency=4)
    run = rig.loop.create_task(rig.run())
    while rig.engine.counts.done < 20:
        await asyncio.sleep(0.005)
    end = rig.loop.time() + 0.25
    while rig.loop.time() < end:
        sum(range(1_000))
    while "machine" not in (counts := rig.engine.reasons()):
        assert not run.done()
        await asyncio.sleep(0.005)
    assert sum(counts.values()) == rig.engine.counts.unfinished
    assert await run == "done"
    with RunReader(rig.path) as reader:
        assert sum(sample.held.get("machine", 0.0) for sample in reader.samples()) > 0.1
