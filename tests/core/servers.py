"""Servers with a knee, for autotune: the real engine under virtual time, at a fixed concurrency or at its own.

Slots and store are light ones, since a hundred runs of ten thousand answers each are wanted: a slot sleeps for as long
as the simulator's own rules say, and what would go to the run file is only counted.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from batchdeck.engine.attempt import Flight
from batchdeck.engine.engine import Engine
from batchdeck.model import (
    Answer,
    Autotune,
    Counts,
    Failure,
    Item,
    Quotas,
    RunConfig,
    Settled,
    Settlement,
    Timings,
    WorkOrder,
)
from batchdeck.sim.clock import VirtualLoop, wall
from batchdeck.sim.options import SimOptions
from batchdeck.sim.quota import Quota
from batchdeck.sim.service import Service
from batchdeck.store.writer import Commit, Listener
from tests.core.simulated import EPOCH

Kind = Literal["slots", "slower", "refusing", "limited"]
KINDS: tuple[Kind, ...] = ("slots", "slower", "refusing", "limited")
MINUTES = {4: 50.0, 16: 25.0, 64: 12.0, 300: 20.0}
"""By knee: how long a run is, so that it is some thousand answers."""
MOVES = {4: 16, 16: 64, 64: 16, 300: 64}
"""Where a knee moves to in mid-run."""
TTFT, TOKEN_RATE, TOKENS = 2.0, 8.0, 24.0
"""Medians: an answer takes about five seconds."""
EACH = 5.4
"""Seconds of an answer on an idle server, on average."""


@dataclass(frozen=True)
class Case:
    """``slots``: so many answers are made at once, others queue. ``slower``: the more the slower, in the end worse.
    ``refusing``: as slots, but what does not fit is answered 429. ``limited``: a rate that keeps so many busy.

    knee: the concurrency that pays. then: what it is in the second half. fixed: a concurrency, instead of autotune.
    """

    kind: Kind
    knee: int
    seed: int
    then: int | None = None
    fixed: int | None = None
    slow: float = 1.0
    """How many times as long answers take: a wide server would give too many to simulate."""

    def __str__(self) -> str:
        moves = f" then {self.then}" if self.then else ""
        return f"{self.kind} {self.knee}{moves} seed {self.seed}"

    @property
    def halves(self) -> list[tuple[float, float]]:
        """(end, length) in seconds."""
        first = 60.0 * MINUTES[self.knee]
        # Where it was slow before, it takes longer to see that it no longer is.
        second = [] if self.then is None else [60.0 * max(MINUTES[self.knee], MINUTES[self.then] * self.slow)]
        return [(first, first), *((first + length, length) for length in second)]


@dataclass
class Outcome:
    """Of the last third of each half: items a second. ``latencies``: of all answers, (when it ended, seconds)."""

    rates: list[float]
    latencies: list[tuple[float, float]]
    refused: int
    turns: list[tuple[float, str]] = field(default_factory=list)

    def p95(self, first: float, last: float) -> float:
        seen = sorted(seconds for at, seconds in self.latencies if first <= at < last)
        return seen[math.ceil(0.95 * len(seen)) - 1]


class Server:
    """How long each answer takes, and whether there is one."""

    def __init__(self, case: Case) -> None:
        self._rng = random.Random(case.seed)
        self._kind = case.kind
        self._service = Service()
        self._quota: Quota | None = None
        self._slow = case.slow
        self.move(case.knee, 0.0)

    def move(self, knee: int, now: float) -> None:
        self._knee = knee
        self._contention = self._coherency = 0.0
        self._slots: int | None = knee
        if self._kind == "slower":
            self._slots = None
            self._contention = 0.3 / knee
            self._coherency = (1.0 - self._contention) / knee**2
        elif self._kind == "limited":
            self._slots = None
            options = SimOptions(rpm=60.0 * knee / EACH / self._slow, headers="none", retry_after=False)
            self._quota = Quota.of(options, now, 0.0, EPOCH)

    def answer(self, now: float) -> tuple[float, float, int] | None:
        """Seconds to the first token and to the end, and tokens; None: refused."""
        rng = self._rng
        ttft = self._slow * TTFT * rng.lognormvariate(0, 0.4)
        gap = self._slow / (TOKEN_RATE * rng.lognormvariate(0, 0.25))
        tokens = max(1, round(TOKENS * min(8.0, rng.lognormvariate(0, 0.6))))
        if self._quota is not None and self._quota.admit(10, now, tokens).wait > 0:
            return None
        seconds = ttft + (tokens - 1) * gap
        if self._kind == "refusing" and self._service.wait_for_place(now, self._knee) > 0:
            return None
        wait, stretch = self._service.begin(now, seconds, self._slots, self._contention, self._coherency)
        return wait + ttft * stretch, wait + seconds * stretch, tokens


class LightSlots:
    """Orders without a body, carried out by sleeping."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._wall = wall(self._loop, EPOCH)
        self.latencies: list[tuple[float, float]] = []
        self.refused = 0

    def order(self, item: Item, number: int) -> WorkOrder:
        return WorkOrder(idx=item.idx, variant=0, revision=0, number=number, path="", body=b"x", stream=True)

    def flight(self, order: WorkOrder) -> Flight:
        return Flight(order, None, RunConfig(name="", input="", input_format=None, model="", provider="sim").limits,  # type: ignore[arg-type]
                      self._loop, self._wall)  # fmt: skip

    async def fly(self, flight: Flight) -> Settled:
        now = self._loop.time()
        flight.deadline = math.inf
        answer = self._server.answer(now)
        if answer is None:
            await asyncio.sleep(0.05)
            self.refused += 1
            failure = Failure(outcome="rate_limited", error_type="rate_limited", message="too many")
            return self._settled(flight, None, failure)
        first, seconds, tokens = answer
        await asyncio.sleep(seconds)
        flight.first_at = flight.started + first
        self.latencies.append((self._loop.time(), seconds))
        return self._settled(flight, Answer(text="", tokens_in=10, tokens_out=tokens), None)

    def _settled(self, flight: Flight, answer: Answer | None, failure: Failure | None) -> Settled:
        ttft = None if flight.first_at is None else flight.first_at - flight.started
        return Settled(
            order=flight.order,
            timings=Timings(started_at=flight.started_at, seconds=self._loop.time() - flight.started, ttft=ttft),
            status=200 if failure is None else 429,
            answer=answer,
            failure=failure,
        )

    def price(self, settled: Settled) -> Settled:
        return settled


class LightFile:
    """What the engine asks of a run file, with an input that never ends."""

    def pull(self, after: int, before: int, limit: int) -> tuple[list[Item], bool]:
        if after >= 1 << 40:
            return [], True
        places = range(after + 1, after + 1 + limit)
        return [Item(idx=n, variant=0, position=n, revision=0, data="", attempts=0) for n in places], False

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *values: None


class LightStore:
    """Commits at the next turn of the loop."""

    def __init__(self, items: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._file = LightFile()
        self._counts = Counts(items=items)
        self._waiting: list[Settlement] = []
        self._seq = 0

    def listen(self, listener: Listener) -> None:
        self._listener = listener

    def settle(self, settlement: Settlement) -> None:
        self._waiting.append(settlement)
        if len(self._waiting) == 1:
            self._loop.call_soon(self._commit)

    def _commit(self) -> None:
        settled, self._waiting = tuple(self._waiting), []
        self._seq += 1
        counts = self._counts
        self._counts = msgspec.structs.replace(
            counts,
            done=counts.done + sum(one.outcome == "done" for one in settled),
            failed=counts.failed + sum(one.outcome == "failed" for one in settled),
            attempts=counts.attempts + len(settled),
            rate_limit_hits=counts.rate_limit_hits + sum(one.settled.status == 429 for one in settled),
        )
        self._listener.committed(Commit(self._seq, self._counts, (), settled))

    def submit(self, job: Callable[[Any], Any]) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self._loop.create_future()
        self._loop.call_soon(lambda: future.set_result(job(self._file)))
        return future

    async def close(self) -> None:
        """Nothing is open."""


def play(case: Case) -> Outcome:
    """One run of endless items, from start to drain."""
    return asyncio.Runner(loop_factory=VirtualLoop).run(_play(case))


async def _play(case: Case) -> Outcome:
    loop = asyncio.get_running_loop()
    server = Server(case)
    slots = LightSlots(server)
    config = RunConfig(
        name="r", input="-", input_format="text", model="m", provider="sim",
        concurrency=case.fixed or 10, autotune=Autotune(is_on=case.fixed is None), quotas=Quotas(),
    )  # fmt: skip
    turns: list[tuple[float, str]] = []

    def trace(at: float, what: str, idx: int, detail: str) -> None:
        if what == "tune":
            turns.append((at, detail))

    engine = Engine(
        "r", config, LightStore(1 << 40), slots, counts=Counts(items=1 << 40), errors=(), seq=0, samples=0,
        wall=wall(loop, EPOCH), rng=random.Random(case.seed), ingest=None, trace=trace,
    )  # fmt: skip
    run = asyncio.create_task(engine.run())
    rates = []
    for half, (end, length) in enumerate(case.halves):
        if half and case.then is not None:
            server.move(case.then, loop.time())
        await asyncio.sleep(end - length / 3 - loop.time())
        before = engine.counts.done
        await asyncio.sleep(end - loop.time())
        rates.append((engine.counts.done - before) / (length / 3))
    engine.steer.cancel()
    for flight in engine.flights.values():
        if flight.task is not None:
            flight.task.cancel()
    run.cancel()
    await asyncio.wait([run])
    return Outcome(rates, slots.latencies, slots.refused, turns)
