"""Virtual time: hours of waiting in no time, twice the same, and a clear word when nothing can go on."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchdeck.sim.clock import StuckLoop, VirtualLoop, wall

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def now() -> float:
    return asyncio.get_running_loop().time()


async def workers_at_a_gate(seed: int, count: int) -> list[tuple[int, float]]:
    """Who got through when: ``count`` workers with random work, at most 100 at once, some cut off by a time limit."""
    rng = random.Random(seed)
    gate = asyncio.Semaphore(100)
    log: list[tuple[int, float]] = []

    async def work(number: int) -> None:
        async with gate:
            try:
                async with asyncio.timeout(60):
                    await asyncio.sleep(rng.expovariate(1 / 20))
                    log.append((number, now()))
            except TimeoutError:
                log.append((-number, now()))

    async with asyncio.TaskGroup() as group:
        for number in range(1, count + 1):
            group.create_task(work(number))
    return log


def test_ten_thousand_waits_of_half_an_hour_go_the_same_way_twice() -> None:
    first = run(workers_at_a_gate(1, 10_000))
    assert len(first) == 10_000
    assert first[-1][1] > 1_500, "10,000 waits of 20 s, 100 at once, last half an hour of virtual time"
    assert any(number < 0 for number, _ in first), "some ran into their time limit"
    assert run(workers_at_a_gate(1, 10_000)) == first
    assert run(workers_at_a_gate(2, 1_000)) != run(workers_at_a_gate(3, 1_000))


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20))
@settings(max_examples=60, deadline=None)
def test_everybody_wakes_at_the_second_asked_for_and_in_order(delays: list[float]) -> None:
    async def main() -> list[tuple[float, float]]:
        log: list[tuple[float, float]] = []

        async def sleeper(delay: float) -> None:
            await asyncio.sleep(delay)
            log.append((delay, now()))

        await asyncio.gather(*map(sleeper, delays))
        return log

    log = run(main())
    assert [delay for delay, _ in log] == sorted(delays)
    assert all(woken == pytest.approx(delay, abs=2e-9) for delay, woken in log)


def test_time_begins_at_zero_and_stands_still_while_code_runs() -> None:
    async def main() -> tuple[float, float]:
        began = now()
        for _ in range(1_000):
            await asyncio.sleep(0)
        return began, now()

    assert run(main()) == (0.0, 0.0)


def test_a_loop_that_can_never_go_on_says_who_waits() -> None:
    async def main() -> None:
        await asyncio.sleep(3)
        await asyncio.create_task(asyncio.Event().wait(), name="the one who waits")

    with pytest.raises(StuckLoop, match=r"stuck at 3\.000 s.*the one who waits"):
        run(main())


def test_a_thread_that_calls_in_is_heard() -> None:
    async def main() -> tuple[str, str]:
        loop = asyncio.get_running_loop()
        heard: asyncio.Future[str] = loop.create_future()
        thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(heard.set_result, "from a thread"))
        thread.start()
        said = await heard
        thread.join()
        return said, await asyncio.to_thread(lambda: "from the executor")

    assert run(main()) == ("from a thread", "from the executor")


def test_a_wall_clock_goes_with_the_virtual_one() -> None:
    async def main() -> tuple[float, float]:
        clock = wall(asyncio.get_running_loop(), 1_800_000_000.0)
        before = clock()
        await asyncio.sleep(86_400 * 3)
        return before, clock()

    assert run(main()) == (1_800_000_000.0, 1_800_000_000.0 + 86_400 * 3)
