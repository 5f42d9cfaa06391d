"""Attempts as a slot would hand them over, for tests that write a run file themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from batchdeck.inputs.base import SourceState
from batchdeck.model import Answer, Failure, IngestRow, RunConfig, Sample, Settled, Settlement, Timings, WorkOrder
from batchdeck.store.runfile import RunFile

CONFIG = RunConfig(name="r", input="rows.jsonl", input_format="jsonl", model="m", provider="sim")

SAMPLE = Sample(
    t=1.0, at=1e9, dt=1.0, done=1, failed=0, attempts=1, rate_limit_hits=0, tokens_in=5, tokens_out=7, cost=0.25,
    in_flight=1.0, in_flight_max=2, concurrency=10, queued=3, backoff=0, cooldown=0.0,
)  # fmt: skip


def rows(first: int, count: int, **given: Any) -> list[IngestRow]:
    return [IngestRow(index=n, line=n + 1, data=f'{{"text": "row {n}"}}', label=f"row {n}", **given) for n in
            range(first, first + count)]  # fmt: skip


def create(path: Path, items: int) -> RunFile:
    """A new run file with so many good rows, its input read to the end."""
    file = RunFile.create(path, path.stem, CONFIG, "print", 1_000, 1e9)
    file.begin()
    file.ingest(rows(0, items), SourceState(offset=items * 10, line=items, index=items, fingerprint="print"), True)
    file.commit()
    return file


def settlement(idx: int, number: int = 1, *, text: str = "fine", **given: Any) -> Settlement:
    """An attempt at an item, good unless ``failure`` is given."""
    outcome: Literal["done", "failed"] | None = given.pop("outcome", "done")
    order = WorkOrder(idx=idx, variant=0, revision=0, number=number, path="/c", body=b"{}", stream=True)
    answer = Answer(text=text, finish_reason="stop", model="m-1", tokens_in=5, tokens_out=7)
    settled = {"status": 200, "answer": answer, "raw": b"raw " * 50, "cost": 0.25, **given}
    timings = Timings(started_at=1e9 + idx, seconds=2.0, ttft=0.5, itl=0.01)
    return Settlement(settled=Settled(order=order, timings=timings, **settled), outcome=outcome)


def failed(idx: int, number: int = 1, *, error_type: str = "http_400", final: bool = True) -> Settlement:
    """A refused attempt; ``final``: its item fails of it."""
    limited = error_type == "rate_limited"
    failure = Failure(
        outcome="rate_limited" if limited else "permanent" if final else "transient",
        error_type=error_type,
        message=f"{error_type} for {idx}",
    )
    return settlement(
        idx, number, answer=None, cost=None, status=429 if limited else 400, failure=failure,
        outcome="failed" if final else None,
    )  # fmt: skip


def settle(file: RunFile, *settlements: Settlement) -> None:
    """One committed transaction."""
    file.begin()
    file.settle(settlements)
    file.commit()
