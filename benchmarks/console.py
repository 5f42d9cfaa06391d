#!/usr/bin/env python3
"""What the console costs beside a busy run, and how soon it answers a key.

    .venv/bin/python benchmarks/console.py [--concurrency 200] [--seconds 10]

Linux only. The console runs on a pseudo-terminal that is read at once, over a run that streams from the simulator.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

from processes import Terminal, cpu, launched, memory, report, simulator, workshop

PRESSES = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--concurrency", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=10.0)
    given = parser.parse_args()
    with workshop() as folder, simulator("--token-rate=20", "--answer-tokens=80") as base_url:
        source = folder / "prompts.txt"
        source.write_text("".join(f"row-{number} says a few words\n" for number in range(1_000_000)))
        with (
            launched(source, base_url, "-c", str(given.concurrency)) as (run, engine),
            Terminal(run) as terminal,
        ):
            terminal.until("in flight +[1-9]")
            terminal.read(3.0)
            figures = watched(terminal, engine, given.seconds)
            figures["key_seconds"] = round(statistics.median(pressed(terminal, given.concurrency)), 3)
            figures["console_mb"] = round(memory(terminal.pid), 1)
    figures = {"concurrency": given.concurrency, **figures}
    rows = [
        ("console, CPU", f"{figures['console_cpu']:.1%} of a core"),
        ("engine, CPU", f"{figures['engine_cpu']:.1%} of a core"),
        ("written to the terminal", f"{figures['kb_per_second']:,} KB/s"),
        ("from ] to the new cap on the screen", f"{figures['key_seconds'] * 1000:.0f} ms (median of {PRESSES})"),
        ("console, memory", f"{figures['console_mb']:g} MB"),
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


if __name__ == "__main__":
    main()
