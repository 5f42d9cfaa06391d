#!/usr/bin/env python3
"""What the console costs beside a busy run and beside none, how soon it paints and how soon it answers a key.

    .venv/bin/python benchmarks/console.py [--concurrency 1000] [--seconds 10] [--rounds 5]

Linux only. The console runs on a pseudo-terminal of 160 by 48 that is read at once, over a run that streams 20 tokens a
second an answer from the simulator. The loop's lag is how late a beat every 5 ms is, in a console of its own; where
engine and simulator take all cores, what the scheduler makes it wait is part of it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

from processes import Terminal, batchdeck, cpu, launched, memory, report, simulator, workshop

PRESSES = 10
ITEMS = 60_000
"""Few enough to be read in before anything is measured, and more than are answered meanwhile."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--concurrency", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with workshop() as folder, simulator("--token-rate=20", "--answer-tokens=80") as base_url:
        source = folder / "prompts.txt"
        source.write_text("".join(f"row-{number} says a few words\n" for number in range(ITEMS)))
        with launched(source, base_url, "-c", str(given.concurrency)) as (run, engine):
            with Terminal(run) as terminal:
                terminal.until("in flight +[1-9]")
                terminal.read(6.0)  # by then the input is read in, and all of them stream
                figures = watched(terminal, engine, given.seconds)
                figures["key_seconds"] = round(statistics.median(pressed(terminal, given.concurrency)), 3)
                figures["console_mb"] = round(memory(terminal.pid), 1)
            beats = folder / "beats.json"
            with Terminal(run, beats=beats) as terminal:
                terminal.until("in flight +[1-9]")
                terminal.read(3.0 + given.seconds)
            lag = json.loads(beats.read_text())
        figures |= {"lag_p50": round(lag["p50"], 4), "lag_p99": round(lag["p99"], 4)}
        figures |= quiet(run, given.seconds, given.rounds)
    figures = {"concurrency": given.concurrency, **figures}
    rows = [
        ("console, CPU", f"{figures['console_cpu']:.1%} of a core"),
        ("engine, CPU", f"{figures['engine_cpu']:.1%} of a core"),
        ("written to the terminal", f"{figures['kb_per_second']:,} KB/s"),
        ("the loop's lag, p50 and p99", f"{figures['lag_p50'] * 1000:.1f} and {figures['lag_p99'] * 1000:.1f} ms"),
        ("from ] to the new cap on the screen", f"{figures['key_seconds'] * 1000:.0f} ms (median of {PRESSES})"),
        ("console, memory", f"{figures['console_mb']:g} MB"),
        ("first paint of a run that is over", f"{figures['paint_seconds'] * 1000:.0f} ms (median of {given.rounds})"),
        ("its first row", f"{figures['row_seconds'] * 1000:.0f} ms"),
        ("console, CPU, with nothing to show", f"{figures['idle_cpu']:.2%} of a core"),
    ]
    report(f"the console beside {given.concurrency} answers that stream", rows, figures)


def watched(terminal: Terminal, engine: int, seconds: float) -> dict[str, Any]:
    """Shares of a core and bytes a second, over some seconds in which nobody presses a key."""
    began, console, other, size = time.perf_counter(), cpu(terminal.pid), cpu(engine), len(terminal.output)
    terminal.read(seconds)
    passed = time.perf_counter() - began
    return {
        "console_cpu": round((cpu(terminal.pid) - console) / passed, 4),
        "engine_cpu": round((cpu(engine) - other) / passed, 4),
        "kb_per_second": round((len(terminal.output) - size) / passed / 1000, 1),
    }


def pressed(terminal: Terminal, cap: int) -> list[float]:
    """Seconds from a key to its effect on the screen: engine asked, cap changed, next snapshot painted."""
    seconds = []
    for number in range(PRESSES):
        terminal.press("]["[number % 2])
        seconds.append(terminal.until(rf"/{cap + 10 * (1 - number % 2)}\b"))
        terminal.read(0.5)
    return seconds


def quiet(run: Path, seconds: float, rounds: int) -> dict[str, float]:
    """How soon a run that is over stands on the screen, from the command on, and what a look at it costs then."""
    batchdeck("show", str(run), "--json")
    painted, rows, shares = [], [], []
    for _ in range(rounds):
        with Terminal(run) as terminal:
            terminal.until("concurrency")
            painted.append(time.perf_counter() - terminal.started)
            if b"row-0" not in terminal.output:
                terminal.until(r"row-\d")
            rows.append(time.perf_counter() - terminal.started)
            terminal.read(3.0)
            began, before = time.perf_counter(), cpu(terminal.pid)
            terminal.read(seconds / 2)
            shares.append((cpu(terminal.pid) - before) / (time.perf_counter() - began))
    found = {"paint_seconds": painted, "row_seconds": rows, "idle_cpu": shares}
    return {name: round(statistics.median(figures), 4) for name, figures in found.items()}


if __name__ == "__main__":
    main()
