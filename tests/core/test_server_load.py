"""The server is asked how busy it is beside the run, and left alone when it does not tell."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from batchdeck.engine.serverload import LoadWatch, patience
from batchdeck.errors import TransportError
from batchdeck.providers.presets import PRESETS
from batchdeck.sim.options import SimOptions
from tests.core.simulated import EPOCH, Rig, until, virtually

TOLD = b"vllm:num_requests_running 3\nvllm:num_requests_waiting %d\nvllm:kv_cache_usage_perc 0.5\n"


class Server:
    """Tells what a test says, and keeps when it was asked."""

    def __init__(self, answer: Callable[[int], bytes | None]) -> None:
        self._answer = answer
        self.asked_at: list[float] = []

    async def ask(self) -> bytes:
        self.asked_at.append(asyncio.get_running_loop().time())
        text = self._answer(len(self.asked_at))
        if text is None:
            raise TransportError("connect", "nobody there")
        return text


def watched(folder: Path, server: Server, misses: int, look: Callable[[Rig], Awaitable[None]]) -> None:
    """A run of about a quarter of an hour of virtual time with its server watched, while ``look`` looks on."""

    async def main() -> None:
        rig = Rig(folder / "run.db", 500, SimOptions(latency_ms=2000), concurrency=1)
        watching = asyncio.create_task(LoadWatch(rig.engine, server.ask, rig.wall, misses).run())
        running = asyncio.create_task(rig.run())
        await look(rig)
        rig.engine.steer.cancel()
        assert await running == "cancelled"
        assert rig.snapshot().server is None, "what a server said of a run that is over tells nothing of now"
        watching.cancel()
        await asyncio.wait([watching])
        assert watching.cancelled() or watching.exception() is None

    virtually(main)


def test_the_newest_that_the_server_told_stands_in_the_snapshot(tmp_path: Path) -> None:
    server = Server(lambda number: TOLD % number)

    async def look(rig: Rig) -> None:
        await until(lambda: len(server.asked_at) == 5)
        load = rig.snapshot().server
        assert load is not None
        assert (load.running, load.waiting, load.cache) == (3, 5, 0.5)
        assert load.at == pytest.approx(EPOCH + 8.0, abs=0.1)
        assert [round(at) for at in server.asked_at] == [0, 2, 4, 6, 8]

    watched(tmp_path, server, 3, look)


def test_a_server_that_never_tells_is_given_up_and_that_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "batchdeck.engine")
    server = Server(lambda number: b"<html>" if number == 2 else None)

    async def look(rig: Rig) -> None:
        await asyncio.sleep(300)
        assert len(server.asked_at) == 3
        assert rig.engine.counts.done > 100, "the run went on"
        assert rig.snapshot().server is None

    watched(tmp_path, server, 3, look)
    assert [record.message for record in caplog.records].count("the server does not tell its load at /metrics") == 1


def test_a_server_that_may_be_vllm_is_asked_once_and_its_silence_is_not_worth_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "batchdeck.engine")
    server = Server(lambda number: None)

    async def look(rig: Rig) -> None:
        await asyncio.sleep(100)
        assert len(server.asked_at) == 1

    watched(tmp_path, server, 1, look)
    assert not any("load" in record.message for record in caplog.records)


def test_a_server_that_was_away_is_heard_again(tmp_path: Path) -> None:
    """It misses twice and comes back; then it restarts, which takes it a minute and a half."""
    server = Server(lambda number: None if number in (2, 3) or 5 <= number <= 8 else TOLD % number)

    async def look(rig: Rig) -> None:
        await until(lambda: len(server.asked_at) == 3)
        load = rig.snapshot().server
        assert load is not None
        assert load.waiting == 1, "two misses are not yet silence"
        await until(lambda: len(server.asked_at) == 7)
        assert rig.snapshot().server is None
        await until(lambda: len(server.asked_at) == 9)
        load = rig.snapshot().server
        assert load is not None
        assert load.waiting == 9
        assert server.asked_at[8] - server.asked_at[6] == pytest.approx(120, abs=1), "it was not pestered meanwhile"

    watched(tmp_path, server, 3, look)


def test_a_server_that_does_not_answer_holds_nothing_up(tmp_path: Path) -> None:
    async def never() -> bytes:
        return await asyncio.get_running_loop().create_future()

    async def main() -> None:
        rig = Rig(tmp_path / "run.db", 40, SimOptions(latency_ms=1000), concurrency=4)
        watching = asyncio.create_task(LoadWatch(rig.engine, never, rig.wall).run())
        assert await rig.run() == "done"
        assert rig.loop.time() < 11
        watching.cancel()

    virtually(main)


def test_no_cloud_is_asked() -> None:
    for name, preset in PRESETS.items():
        asked = patience(name, preset.base_url or "https://llm.example/v1")
        assert asked == {"vllm": 3, "sim": 1}.get(name, 0)
    assert patience("custom", "http://10.0.0.7:8000/v1") == 1
    assert patience("openai", "http://10.0.0.7:8000/v1") == 0
