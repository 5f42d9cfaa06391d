"""A power cut is part of the plan: kill -9 at any moment, resume, and every item is there exactly once."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from batchdeck.model import Command
from batchdeck.store.reader import RunReader
from tests.runs.processes import command, kill, launch, resume, simulator, wait_for, wait_for_end, wait_until_free

CAP = 10


def settled(run: Path) -> dict[int, tuple[Any, ...]]:
    """What the run file holds as done: index → (attempt that answered, attempts in all)."""
    with sqlite3.connect(f"file:{run}?mode=ro", uri=True) as db:
        rows = db.execute(
            "SELECT idx, result_attempt, (SELECT count(*) FROM attempts a WHERE a.idx = i.idx) FROM items i"
            " WHERE state = 'done'"
        ).fetchall()
    db.close()
    return {row[0]: row[1:] for row in rows}


async def test_ten_kills_and_nothing_is_lost_or_paid_twice(tmp_path: Path) -> None:
    items, kills, rng = 3_000, 10, random.Random(20)
    source = tmp_path / "prompts.txt"
    source.write_text("".join(f"Say something about number {n}.\n" for n in range(items)))
    with simulator("--latency-ms", "100", "--fault", "500=0.02") as sim:
        run = launch(source, sim, tmp_path / "run.db", "-c", str(CAP))
        done = 0
        for _ in range(kills):
            moment = done + rng.randrange(1, 60)
            await wait_for(run, lambda snapshot, moment=moment: snapshot.counts.done >= moment)  # type: ignore[misc]
            kill(run)
            with RunReader(run) as reader:
                assert reader.meta().state == "interrupted"
            before = settled(run)
            resume(run)
            await wait_for(run, lambda snapshot: snapshot.in_flight > 0)
            after = settled(run)
            assert all(after[idx] == was for idx, was in before.items())
            done = len(after)
        await command(run, Command(name="concurrency", value=200))
        await wait_for_end(run)
        wait_until_free(run)
        stats = sim.stats()
    with RunReader(run) as reader:
        meta = reader.meta()
        results = list(reader.results())
    assert meta.state == "done"
    assert [row["index"] for row in results] == list(range(items))
    assert all(row["state"] == "done" and row["text"] for row in results)
    assert meta.counts.done == items
    assert stats["requests"] <= items + meta.counts.retries + 2 * CAP * kills


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6])
async def test_a_kill_while_the_input_is_read(tmp_path: Path, share: float) -> None:
    items = 50_000
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(f'{{"custom_id": "id-{n}", "prompt": "Number {n}?"}}\n' for n in range(items)))
    with simulator("--latency-ms", "20") as sim:
        run = launch(source, sim, tmp_path / "run.db", "-c", "4")
        cut = await wait_for(run, lambda snapshot: snapshot.counts.items >= share * items)
        kill(run)
        before = settled(run)
        with RunReader(run) as reader:
            partial = reader.meta()
            assert partial.state == "interrupted"
            assert not partial.ingest_complete
            assert cut.counts.items <= partial.counts.items < items
        resume(run)
        await wait_for(run, lambda snapshot: snapshot.ingest_complete)
        kill(run)
    with RunReader(run) as reader:
        assert reader.meta().counts.items == items
        assert [row.custom_id for row in reader.window(items - 3, 3)] == [f"id-{n}" for n in range(items - 3, items)]
    with sqlite3.connect(f"file:{run}?mode=ro", uri=True) as db:
        count, low, high, ids = db.execute(
            "SELECT count(*), min(idx), max(idx), count(DISTINCT custom_id) FROM inputs"
        ).fetchone()
    db.close()
    assert (count, low, high, ids) == (items, 0, items - 1, items)
    after = settled(run)
    assert all(after[idx] == was for idx, was in before.items())
