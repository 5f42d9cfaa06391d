#!/usr/bin/env python3
"""A run of a million items: how fast they are read in, how large the engine gets, how soon the console shows them.

    .venv/bin/python benchmarks/million.py [--items 1000000] [--opens 5]

Linux only: memory is read from /proc. The run is detached and works on a simulator while its input is read, as it would
in earnest; when the input is read it is cancelled, and the console is opened on what there is.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from processes import Terminal, cpu, launched, memory, report, simulator, workshop

from batchdeck import lock
from batchdeck.control.client import ControlClient
from batchdeck.model import Command, Snapshot

WORDS = "Say in one sentence what a person who has never seen it should know about number"
FIRST_WINDOW = """
import sys, time
from batchdeck.store.reader import RunReader
from batchdeck_tui.widgets.rowsource import RowSource
began = time.perf_counter()
with RunReader(sys.argv[1]) as reader:
    items = reader.meta().counts.items
source = RowSource(sys.argv[1])
assert source.get(0) is not None
first = time.perf_counter() - began
began = time.perf_counter()
assert source.get(items - 1) is not None
print(first, time.perf_counter() - began)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--concurrency", type=int, default=10)
    parser.add_argument("--latency-ms", type=float, default=200.0)
    parser.add_argument("--opens", type=int, default=5)
    given = parser.parse_args()
    with workshop() as folder, simulator(f"--latency-ms={given.latency_ms}") as base_url:
        source = folder / "prompts.jsonl"
        with source.open("w", encoding="utf-8") as file:
            for number in range(given.items):
                file.write(f'{{"id": "n{number}", "prompt": "row-{number} {WORDS} {number}?"}}\n')
        size = source.stat().st_size
        with launched(source, base_url, "-c", str(given.concurrency)) as (run, engine):
            began = time.perf_counter()
            last = asyncio.run(ingested(run))
            seconds = time.perf_counter() - began
            figures: dict[str, Any] = {
                "items": last.counts.items,
                "input_mb": round(size / 1e6, 1),
                "ingest_seconds": round(seconds, 2),
                "ingest_rate": round(given.items / seconds),
                "done_meanwhile": last.counts.done,
                "engine_peak_mb": round(memory(engine, "VmHWM"), 1),
                "engine_cpu_seconds": round(cpu(engine), 2),
            }
            assert last.counts.items == given.items, last
            asyncio.run(cancelled(run))
        figures["run_file_mb"] = round(run.stat().st_size / 1e6, 1)
        figures |= opened(run, given.opens)
    show(figures)


async def ingested(run: Path) -> Snapshot:
    """The first snapshot in which the whole input is read."""
    info = lock.probe(run)
    assert info is not None
    async with ControlClient(info.endpoint) as client:
        async for snapshot in client.stream():
            if snapshot.ingest_complete:
                return snapshot
    raise SystemExit("the engine ended before it had read its input")


async def cancelled(run: Path) -> None:
    """End the run, and wait until its engine has folded the WAL back and gone."""
    info = lock.probe(run)
    assert info is not None
    async with ControlClient(info.endpoint) as client:
        await client.command(Command(name="cancel"))
    while lock.probe(run) is not None:
        await asyncio.sleep(0.1)


def opened(run: Path, opens: int) -> dict[str, Any]:
    """How soon rows are there: for a reader of the file, and for a person before a terminal."""
    first, last, paints, sizes = [], [], [], []
    for _ in range(opens):
        done = subprocess.run(
            [sys.executable, "-c", FIRST_WINDOW, str(run)], capture_output=True, text=True, check=True
        )
        one, other = map(float, done.stdout.split())
        first.append(one)
        last.append(other)
        with Terminal(run) as terminal:
            terminal.until(r"row-0\b")
            paints.append(time.perf_counter() - terminal.started)
            terminal.read(1.0)
            sizes.append(memory(terminal.pid))
    return {
        "first_window_ms": round(statistics.median(first) * 1000, 2),
        "last_window_ms": round(statistics.median(last) * 1000, 2),
        "first_paint_seconds": round(statistics.median(paints), 3),
        "first_paints": [round(paint, 3) for paint in paints],
        "console_mb": round(statistics.median(sizes), 1),
    }


def show(figures: dict[str, Any]) -> None:
    rows = [
        ("input", f"{figures['items']:,} lines, {figures['input_mb']:g} MB"),
        ("read in", f"{figures['ingest_seconds']:g} s   {figures['ingest_rate']:,} a second"),
        ("answered meanwhile", f"{figures['done_meanwhile']:,}"),
        ("engine, peak memory", f"{figures['engine_peak_mb']:g} MB"),
        ("engine, CPU", f"{figures['engine_cpu_seconds']:g} s"),
        ("run file", f"{figures['run_file_mb']:g} MB"),
        ("first rows read", f"{figures['first_window_ms']:g} ms; the last ones {figures['last_window_ms']:g} ms"),
        ("first rows painted", f"{figures['first_paint_seconds']:g} s after the console's start"),
        ("console, memory", f"{figures['console_mb']:g} MB"),
    ]
    report("a long run", rows, figures)


if __name__ == "__main__":
    main()
