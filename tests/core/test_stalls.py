"""Streams that begin and then fall silent: seen while it lasts, counted, and told to whoever looks."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchdeck.cli.status import live_lines
from batchdeck.model import Limits, Snapshot
from batchdeck.retry.stall import GAPS, LEAST, first_look, patience
from batchdeck.sim.clock import VirtualLoop
from batchdeck.sim.options import SimOptions
from batchdeck.store.reader import RunReader
from batchdeck.transport.base import Request, Sink
from tests.core.simulated import Rig, ask, in_life, until, virtually
from tests.core.test_engine_waiting import passed
from tests.core.test_prometheus import NOW, one, scrape

SSE = (("content-type", "text/event-stream"),)
END = b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'


def token(text: str = "word ") -> bytes:
    return b'data: {"choices": [{"index": 0, "delta": {"content": "' + text.encode() + b'"}}]}\n\n'


class Streams:
    """A provider whose streams have the gaps that a test says, one after the other; the last one is followed by the
    end. A gap below 0 is one with a comment in its middle."""

    def __init__(self, *gaps: list[float]) -> None:
        self._gaps = gaps
        self.sent = 0

    async def send(self, request: Request, sink: Sink) -> None:
        gaps = self._gaps[min(self.sent, len(self._gaps) - 1)]
        self.sent += 1
        sink.sending()
        await asyncio.sleep(0.3)
        sink.head(200, SSE)
        sink.data(token())
        for gap in gaps:
            await asyncio.sleep(abs(gap) / 2)
            if gap < 0:
                sink.data(b": still thinking\n\n")
            await asyncio.sleep(abs(gap) / 2)
            sink.data(token())
        sink.data(END)

    async def close(self) -> None:
        """Nothing is open."""


# -- the rule


@given(st.integers(0, 5_000), st.floats(0, 600), st.none() | st.floats(0, 10), st.floats(0.1, 600))
def test_a_stall_is_seen_before_the_idle_timeout_and_after_a_moment(
    tokens: int, streamed: float, usual: float | None, idle: float
) -> None:
    seconds = patience(tokens, streamed, usual, idle)
    assert first_look(idle) <= seconds <= idle / 2
    assert seconds >= min(GAPS * (usual or 0.0), idle / 2)


def test_a_slow_stream_may_be_silent_for_longer() -> None:
    assert patience(40, 0.39, 0.02, 60) == LEAST, "a fast one: the least"
    assert patience(11, 5.0, None, 60) == pytest.approx(10.0), "half a second a token"
    assert patience(2, 3.0, None, 60) == LEAST, "one gap tells nothing"
    assert patience(2, 3.0, 0.4, 60) == pytest.approx(8.0), "but the run knows its own"
    assert patience(100, 300.0, None, 60) == 30.0


def test_streams_whose_gaps_are_chance_do_not_stall() -> None:
    """A hundred thousand exponential gaps of three quarters of a second, and none is a stall."""
    rng = random.Random(5)
    for _ in range(100):
        streamed = 0.0
        for tokens in range(1, 1_000):
            gap = rng.expovariate(1 / 0.75)
            assert gap < patience(tokens, streamed, 0.75, 600)
            streamed += gap


# -- on real runs


def test_a_stalled_stream_is_seen_and_is_none_when_it_goes_on(tmp_path: Path) -> None:
    provider = Streams([0.1] * 10 + [12.0] + [0.1] * 5, [0.1] * 300)

    async def live(rig: Rig) -> None:
        await until(lambda: rig.snapshot().in_flight == 2)
        await passed(rig, 5.0)
        assert rig.snapshot().stalled == 0, "silent for less than five seconds"
        await until(lambda: rig.snapshot().stalled == 1)
        assert rig.loop.time() == pytest.approx(1.3 + LEAST, abs=0.1)
        (row,) = rig.engine.steer.live([0], full=False).rows
        assert row.silent == pytest.approx(LEAST, abs=0.1)
        assert rig.engine.steer.live([1], full=False).rows[0].silent is None
        assert "in flight 2 of 2, 1 stalled" in "\n".join(live_lines(rig.snapshot()))
        await until(lambda: rig.snapshot().stalled == 0)
        assert rig.loop.time() == pytest.approx(13.3, abs=0.1)
        assert rig.engine.steer.live([0], full=False).rows[0].silent is None

    rig, ending = in_life(tmp_path / "run.db", 2, live, transport=provider, concurrency=2)
    assert ending == "done"
    with RunReader(rig.path) as reader:
        assert reader.counts().stalls == 1, "it counts, though it went on"
        samples = reader.samples()
    assert [sample.stalled for sample in samples if sample.t < 6] == [0] * 5 + [0]
    assert {sample.stalled for sample in samples if 8 < sample.t < 13} == {1}
    assert samples[-1].stalled == 0


def test_comments_show_that_a_server_is_alive(tmp_path: Path) -> None:
    rig, ending = in_life(
        tmp_path / "run.db", 1, lambda rig: passed(rig, 1), transport=Streams([0.1, -8.0, 0.1]), concurrency=1
    )
    assert (ending, rig.engine.counts.stalls) == ("done", 0)


def test_one_that_waits_for_its_first_token_is_no_stalled_stream(tmp_path: Path) -> None:
    seen: list[int] = []

    async def live(rig: Rig) -> None:
        for _ in range(30):
            await passed(rig, 1)
            seen.append(rig.snapshot().stalled)
        rig.engine.steer.cancel()

    rig, _ = in_life(tmp_path / "run.db", 4, live, SimOptions(faults={"hang": 1.0}), concurrency=4)
    assert rig.tally.faults["hang"] == 4
    assert (set(seen), rig.engine.counts.stalls) == ({0}, 0)


@pytest.mark.parametrize("seed", range(3))
def test_every_stall_of_the_provider_is_counted_and_nothing_else(tmp_path: Path, seed: int) -> None:
    sim = SimOptions(seed=seed, ttft_ms=400, answer_tokens=30, faults={"stall": 0.08, "hang": 0.03, "reset": 0.03})
    snapshots: list[Snapshot] = []

    async def live(rig: Rig) -> None:
        while not rig.engine.is_over:
            await passed(rig, 0.5)
            snapshots.append(rig.snapshot())

    rig, ending = in_life(
        tmp_path / "run.db", 300, live, sim, limits=Limits(first_token=8, idle=20), concurrency=25, max_retries=9
    )
    assert ending == "done"
    assert rig.engine.counts.stalls == rig.tally.faults["stall"] > 10
    timed_out = ask(rig.path, "SELECT count(*) FROM attempts WHERE error_type = 'timeout_idle'")[0][0]
    assert rig.engine.counts.stalls == timed_out
    most = max(snapshot.stalled for snapshot in snapshots)
    assert 2 <= most <= 25
    assert all(snapshot.stalled <= snapshot.in_flight for snapshot in snapshots)
    with RunReader(rig.path) as reader:
        assert max(sample.stalled for sample in reader.samples()) >= most
    assert snapshots[-1].stalled == 0


def test_what_was_not_read_while_the_loop_slept_is_no_silence(tmp_path: Path) -> None:
    """A laptop that was shut for a minute: what came meanwhile is read when it wakes."""

    async def main() -> None:
        rig = Rig(tmp_path / "run.db", 3, SimOptions(), transport=Streams([0.1] * 200), concurrency=3)
        run = rig.loop.create_task(rig.run())
        await asyncio.sleep(5.02)
        assert isinstance(rig.loop, VirtualLoop)
        rig.loop.jump(30.0)
        assert await run == "done"
        assert rig.engine.counts.stalls == 0

    virtually(main)


def test_a_scrape_and_a_status_tell_of_stalls() -> None:
    stalled = msgspec.structs.replace(NOW, stalled=3, counts=msgspec.structs.replace(NOW.counts, stalls=41))
    found = scrape(stalled)
    assert one(found, "batchdeck_stalled") == 3
    assert one(found, "batchdeck_stalls_total") == 41
    assert "  in flight 24 of 24, 3 stalled (41 so far)" in list(live_lines(stalled))
    assert "  in flight 24 of 24" in list(live_lines(NOW))
