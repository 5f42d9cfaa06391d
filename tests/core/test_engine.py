"""A whole run under virtual time: every item settles once, and the ledger, the counters and the provider agree."""

from __future__ import annotations

import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchdeck.errors import InputError
from batchdeck.inputs.base import SourceState
from batchdeck.model import Budget, IngestRow, Limits
from batchdeck.sim.options import SimOptions
from batchdeck.store.reader import RunReader
from tests.core.simulated import Rig, Scripted, ask, good, prompt_rows, recount, refusal, until, virtually

FAULTS = {"500": 0.08, "503": 0.05, "hang": 0.02, "stall": 0.04, "reset": 0.05, "truncate": 0.05, "garbage": 0.05}
QUICK = Limits(first_token=4.0, idle=2.0, total=20.0)
STORMY = SimOptions(seed=3, rpm=300, answer_tokens=15, faults=FAULTS, headers="none")


def stormy_run(path: Path, *, seed: int = 1, stream: bool = True, items: int = 150) -> tuple[Rig, str]:
    async def main() -> tuple[Rig, str]:
        rig = Rig(path, items, STORMY, seed=seed, delay=0.02, limits=QUICK, stream=stream, max_retries=2)
        return rig, await rig.run()

    result: tuple[Rig, str] = virtually(main)
    return result


@pytest.fixture(scope="module")
def stormy(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    """A run that has met every fault and a quota."""
    rig, ending = stormy_run(tmp_path_factory.mktemp("stormy") / "run.db")
    assert ending == "done"
    return rig


def test_one_seed_gives_one_event_log(stormy: Rig, tmp_path: Path) -> None:
    first = stormy
    second, _ = stormy_run(tmp_path / "second.db")
    assert len(first.trace) > 350
    assert first.trace == second.trace
    ledger = (
        "SELECT idx, number, outcome, error_type, text, started_at, seconds, ttft, connect FROM attempts ORDER BY id"
    )
    assert ask(first.path, ledger) == ask(second.path, ledger)
    assert ask(first.path, "SELECT * FROM samples") == ask(second.path, "SELECT * FROM samples")
    other, _ = stormy_run(tmp_path / "other.db", seed=2, items=40)
    assert other.trace != first.trace[: len(other.trace)]


@pytest.mark.parametrize("stream", [True, False])
def test_every_item_settles_once_and_the_books_balance(stormy: Rig, tmp_path: Path, stream: bool) -> None:
    rig = stormy if stream else stormy_run(tmp_path / "run.db", stream=False)[0]
    with RunReader(rig.path) as reader:
        results = list(reader.results())
        counts, samples, errors = reader.counts(), reader.samples(), reader.errors()
    assert [row["index"] for row in results] == list(range(150))
    assert {row["state"] for row in results} == {"done", "failed"}
    assert all(row["text"].startswith("[simulated]") for row in results if row["state"] == "done")
    ended = Counter(event[2] for event in rig.happened("done"))
    assert set(ended.values()) == {1}

    counted = recount(rig.path)
    assert {name: getattr(counts, name) for name in counted} == counted
    for name in ("done", "failed", "attempts", "rate_limit_hits", "tokens_in", "tokens_out"):
        assert sum(getattr(sample, name) for sample in samples) == getattr(counts, name), name
    assert sum(sample.dt for sample in samples) == pytest.approx(counts.seconds)
    assert rig.engine.journal.samples == len(samples)

    strange = "connect NOT BETWEEN 0 AND coalesce(ttft, seconds) OR (sends > 0 AND connect IS NULL)"
    assert ask(rig.path, f"SELECT count(*) FROM attempts WHERE {strange}") == [(0,)]

    tally = rig.tally
    assert counts.sends == counts.attempts == tally.requests
    assert counts.rate_limit_hits == tally.by_status[429] > 0
    assert counts.done == tally.complete
    assert (counts.tokens_in, counts.tokens_out) == (tally.tokens_in, tally.tokens_out)
    outcomes = dict(ask(rig.path, "SELECT outcome, count(*) FROM attempts GROUP BY outcome"))
    # Garbage in a stream is left at once: the simulator counts it as a client that went away.
    silent = tally.faults["hang"] + tally.faults["stall"]
    assert outcomes["transient"] == sum(tally.faults.values()) + tally.gone - silent
    assert outcomes["ok"] == counts.done
    assert counts.attempts == counts.done + outcomes["transient"] + outcomes["rate_limited"]
    assert counts.retries == outcomes["transient"] - counts.failed
    by_type = dict(ask(rig.path, "SELECT error_type, count(*) FROM attempts WHERE outcome != 'ok' GROUP BY error_type"))
    assert {error.error_type: error.attempts for error in errors} == by_type
    assert sum(error.items for error in errors) == counts.failed
    assert tally.max_in_flight <= 10


def test_the_ledger_keeps_what_came_of_broken_answers(stormy: Rig) -> None:
    rig = stormy
    broken = ask(
        rig.path,
        "SELECT error_type, text, raw, ttft, number FROM attempts"
        " WHERE error_type IN ('truncated', 'reset', 'timeout_idle')",
    )
    assert {row[0] for row in broken} == {"truncated", "reset", "timeout_idle"}
    for _, text, raw, ttft, number in broken:
        assert text.startswith("[sim")
        assert b'"content"' in zlib.decompress(raw)
        assert ttft > 0
        assert number >= 1
    refused = ask(rig.path, "SELECT headers, error, text FROM attempts WHERE status = 429")
    assert all("retry-after-ms" in headers and "Rate limit" in error and not text for headers, error, text in refused)
    numbers = ask(rig.path, "SELECT count(*) = max(number) FROM attempts GROUP BY idx")
    assert all(complete for (complete,) in numbers)


def test_a_row_is_done_only_after_its_commit(tmp_path: Path) -> None:
    async def main() -> None:
        rig = Rig(tmp_path / "run.db", 40, SimOptions(latency_ms=50), delay=0.3)
        seen: list[bool] = []
        with RunReader(rig.path) as reader:
            rig.probes.append(lambda: seen.append(rig.engine.counts.done == len(reader.select("done"))))
            assert await rig.run() == "done"
        assert len(seen) > 80
        assert all(seen)

    virtually(main)


def test_answers_that_wait_for_the_disk_hold_the_slots(tmp_path: Path) -> None:
    async def main() -> None:
        rig = Rig(tmp_path / "run.db", 300, SimOptions(seed=2, ttft_ms=40, token_rate=400), delay=2.0)
        engine = rig.engine
        sent_while: list[int] = []
        most = [0]

        def probe() -> None:
            most[0] = max(most[0], engine.gate.in_flight + engine.uncommitted)
            if rig.trace[-1][1] == "send":
                sent_while.append(engine.uncommitted)

        rig.probes.append(probe)
        run = rig.loop.create_task(rig.run())
        await until(lambda: engine.uncommitted >= 10 and not engine.gate.in_flight)
        assert "the disk" in rig.snapshot().message
        assert {row.phase for row in engine.steer.live(range(300), full=False).rows} == {"store"}
        assert await run == "done"
        assert max(sent_while) < 10
        assert most[0] < 2 * 10

    virtually(main)


def test_memory_does_not_grow_with_the_number_of_items(tmp_path: Path) -> None:
    async def main() -> None:
        rig = Rig(
            tmp_path / "run.db", 20_000, SimOptions(latency_ms=100, answer_tokens=1), concurrency=200, stream=False
        )
        engine = rig.engine
        most: Counter[str] = Counter()

        def probe() -> None:
            most["flights"] = max(most["flights"], len(engine.flights))
            most["ready"] = max(most["ready"], engine.queue.ready)
            most["heap"] = max(most["heap"], engine.queue.backoff)

        rig.probes.append(probe)
        run = rig.loop.create_task(rig.run())
        await until(lambda: engine.counts.done > 2_000, step=0.1)
        engine.steer.drain()
        assert await run == "drained"
        assert engine.counts.done == rig.tally.requests < 4_000
        assert most["flights"] <= 2 * 200
        assert most["ready"] <= 3 * 200
        assert most["heap"] == 0
        assert rig.tally.max_in_flight == 200

    virtually(main)


def test_the_backoff_heap_stays_small_when_everything_waits(tmp_path: Path) -> None:
    async def main() -> None:
        overloaded = Scripted(lambda number, body: refusal(503, retry_after="20"))
        rig = Rig(tmp_path / "run.db", 60, SimOptions(), transport=overloaded, concurrency=5, max_retries=1,
                  budget=Budget(max_outage=0))  # fmt: skip
        most = [0]
        rig.probes.append(lambda: most.append(max(most.pop(), rig.engine.queue.backoff)))
        assert await rig.run() == "done"
        assert 3 * 5 < most[0] <= 4 * 5
        assert rig.engine.counts.failed == 60
        assert len(overloaded.sent_at) == 60 * 2

    virtually(main)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), moment=st.floats(0.0, 8.0), delay=st.sampled_from([0.0, 0.02, 0.4]))
def test_a_crash_at_any_moment_repeats_at_most_two_caps(
    tmp_path_factory: pytest.TempPathFactory, seed: int, moment: float, delay: float
) -> None:
    folder, cap, items = tmp_path_factory.mktemp("crash"), 4, 40
    sim = SimOptions(
        seed=seed, rpm=400, burst=0.05, ttft_ms=200, answer_tokens=8, faults={"500": 0.1, "stall": 0.05, "reset": 0.1}
    )

    async def crash() -> tuple[Rig, Path]:
        rig = Rig(folder / "run.db", items, sim, seed=seed, delay=delay, concurrency=cap, limits=QUICK)
        run = rig.loop.create_task(rig.engine.run())
        await rig.loop.create_task(_sleep(moment, run))
        return rig, rig.crash(folder / "image.db")

    async def go_on(image: Path) -> Rig:
        rig = Rig(image, items, sim, seed=seed + 1, concurrency=cap, limits=QUICK)
        assert await rig.run() == "done"
        return rig

    first, image = virtually(crash)
    committed = {idx for (idx,) in ask(image, "SELECT idx FROM items WHERE state != 'queued'")}
    kept = recount(image)["attempts"]
    assert first.tally.requests - kept <= 2 * cap
    second = virtually(lambda: go_on(image))
    assert committed.isdisjoint(event[2] for event in second.happened("send"))
    with RunReader(image) as reader:
        assert [row["index"] for row in reader.results() if row["state"] != "queued"] == list(range(items))
        counts = reader.counts()
    assert {name: getattr(counts, name) for name in recount(image)} == recount(image)
    served = first.tally.requests + second.tally.requests
    assert served <= items + counts.retries + counts.rate_limit_hits + 2 * cap


async def _sleep(seconds: float, run: Any) -> None:
    await until(lambda: run.done() or run.get_loop().time() >= seconds, step=0.013)


def test_a_line_that_cannot_be_sent_fails_alone(tmp_path: Path) -> None:
    rows = prompt_rows(0, 5)
    rows[1] = IngestRow(index=1, line=2, data="{}", label="", error="prompts.jsonl:2: not JSON")
    rows[3] = IngestRow(index=3, line=4, data='{"other": 1}', label="")

    async def main() -> None:
        rig = Rig(tmp_path / "run.db", 0, SimOptions(latency_ms=10), rows=rows)
        assert await rig.run() == "done"
        assert rig.engine.counts.done == 3
        assert rig.tally.requests == 3

    virtually(main)
    with RunReader(tmp_path / "run.db") as reader:
        bad = [(row.idx, row.state, row.error_type, row.attempts) for row in reader.window(0, 5) if row.error]
        assert bad == [(1, "failed", "bad_input", 0), (3, "failed", "bad_input", 1)]


def test_an_error_object_inside_an_answer_is_taken_at_its_word(tmp_path: Path) -> None:
    """OpenRouter and llama.cpp say 429 or 400 inside a 200 stream; neither is a broken answer to be asked for again."""

    def reply(number: int, body: bytes) -> Any:
        if number == 0:
            return (
                200,
                {"content-type": "text/event-stream"},
                b'data: {"error": {"code": 400, "message": "too long"}}\n\n',
            )
        if number == 1:
            return 200, {"content-type": "text/event-stream"}, b'data: {"error": {"code": 429, "message": "slow"}}\n\n'
        return good()

    async def main() -> None:
        rig = Rig(tmp_path / "run.db", 2, SimOptions(), transport=Scripted(reply), concurrency=1)
        assert await rig.run() == "done"
        assert (rig.engine.counts.done, rig.engine.counts.failed, rig.engine.counts.rate_limit_hits) == (1, 1, 1)

    virtually(main)
    outcomes = ask(tmp_path / "run.db", "SELECT idx, outcome, error FROM attempts ORDER BY id")
    assert outcomes == [(0, "permanent", "too long"), (1, "rate_limited", "slow"), (1, "ok", None)]


def test_rows_that_come_in_while_it_runs_are_all_sent(tmp_path: Path) -> None:
    async def read(store: Any, arrived: Any) -> None:
        for first in range(0, 100, 20):
            state = SourceState(offset=first + 20, index=first + 20)
            await store.submit(lambda file: file.ingest(prompt_rows(first, 20), state, first == 80))  # noqa: B023
            arrived(state)
            await rigs[0].loop.create_task(_pause(rigs[0], 3.0))

    rigs: list[Rig] = []

    async def main() -> None:
        rigs.append(Rig(tmp_path / "run.db", 0, SimOptions(latency_ms=100), read=read))
        assert await rigs[0].run() == "done"

    virtually(main)
    sent = [event[2] for event in rigs[0].happened("send")]
    assert sent == list(range(100))
    assert rigs[0].engine.input_offset == 100


async def _pause(rig: Rig, seconds: float) -> None:
    end = rig.loop.time() + seconds
    await until(lambda: rig.loop.time() >= end, step=0.1)


def test_an_input_that_breaks_off_lets_what_is_in_flight_end(tmp_path: Path) -> None:
    async def read(store: Any, arrived: Any) -> None:
        state = SourceState(offset=20, index=20)
        await store.submit(lambda file: file.ingest(prompt_rows(0, 20), state, False))
        arrived(state)
        await _pause(rigs[0], 0.5)
        raise InputError("prompts.jsonl: cannot be read (Input/output error)")

    rigs: list[Rig] = []

    async def main() -> None:
        rigs.append(Rig(tmp_path / "run.db", 0, SimOptions(latency_ms=400), read=read, concurrency=4))
        assert await rigs[0].run() == "failed"

    virtually(main)
    engine = rigs[0].engine
    assert "Input/output error" in engine.message
    assert (engine.counts.done, rigs[0].tally.complete, rigs[0].tally.gone) == (8, 8, 0)
    assert engine.gate.in_flight == 0
    with RunReader(tmp_path / "run.db") as reader:
        meta = reader.meta()
        assert (meta.state, meta.ingest_complete) == ("failed", False)


def test_a_run_that_was_done_can_be_opened_again(tmp_path: Path) -> None:
    async def main() -> None:
        rig = Rig(tmp_path / "run.db", 10, SimOptions(latency_ms=10))
        assert await rig.run() == "done"
        again = Rig(tmp_path / "run.db", 10, SimOptions(latency_ms=10))
        assert await again.run() == "done"
        assert again.tally.requests == 0
        assert again.engine.counts.done == 10

    virtually(main)


def test_a_hostile_answer_can_be_stored(tmp_path: Path) -> None:
    """Lone surrogates, NUL, ESC, and token counts that no integer column takes."""
    body = (
        b'{"choices": [{"index": 0, "message": {"content": "a\\ud83db\\u0000c\\u001b]52;c;x"}, "finish_reason":'
        b' "\\ude00"}], "model": "\\ud800", "usage": {"prompt_tokens": 999999999999999999999, "completion_tokens": -4}}'
    )
    headers = {"content-type": "application/json", "server": "caf\udce9", "x-request-id": "r-1"}

    async def main() -> None:
        rig = Rig(tmp_path / "run.db", 3, SimOptions(), transport=Scripted(lambda number, sent: (200, headers, body)))
        assert await rig.run() == "done"

    virtually(main)
    with RunReader(tmp_path / "run.db") as reader:
        detail = reader.detail(0)
        assert detail is not None
        (attempt,) = detail.attempts
        assert attempt.text == "a�b\0c\x1b]52;c;x"
        assert attempt.headers["x-request-id"] == "r-1"
        assert attempt.tokens_in is None
        assert b"\\ud83d" in reader.raw(attempt.id)


def test_errors_are_counted_by_class_with_one_example(tmp_path: Path) -> None:
    def reply(number: int, body: bytes) -> Any:
        return refusal(404, f"model {number} is not there") if number % 2 else good()

    async def main() -> None:
        rig = Rig(tmp_path / "run.db", 10, SimOptions(), transport=Scripted(reply), concurrency=1)
        assert await rig.run() == "done"
        (error,) = rig.snapshot().errors
        assert (error.error_type, error.attempts, error.items) == ("http_404", 5, 5)
        assert (error.example, error.example_idx) == ("model 1 is not there", 1)

    virtually(main)
