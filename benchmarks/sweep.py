#!/usr/bin/env python3
"""What a measured sweep says at a provider whose answers take exactly so long: speedup over one at a time.

    .venv/bin/python benchmarks/sweep.py [--latency-ms 250] [--rounds 3]

The simulator is a process of its own and answers over HTTP, streamed; every round is a fresh `batchdeck bench --table`
and `batchdeck bench --levels 1,4 --batch-size 8`. Shown are the medians of the rounds, beside what is published of the
tool to beat and the ideal: `n` items at `c` at once in `ceil(n / c)` turns are `n / ceil(n / c)` times as fast.
"""

from __future__ import annotations

import argparse
import math
import statistics
from pathlib import Path
from typing import Any

from processes import batchdeck, report, simulator, workshop

PUBLISHED = {(8, 4): 3.2, (10, 10): 6.6, (50, 10): 7.7, (100, 10): 8.6, (200, 10): 9.1}
"""Speedup by (items, concurrency)."""
BAR = {(8, 4): 3.2, (200, 4): 3.9, (10, 10): 6.6, (50, 10): 7.7, (100, 10): 8.6, (200, 10): 9.7}
PUBLISHED_EFFICIENCY = 0.77
MEMORY_BAR = 1.2
"""At 10 over one at a time."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--latency-ms", type=float, default=250.0)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    found: dict[tuple[int, int], list[dict[str, Any]]] = {}
    with workshop() as folder, simulator(f"--latency-ms={given.latency_ms}") as base_url:
        source = folder / "prompts.txt"
        source.write_text("".join(f"Prompt {n}\n" for n in range(1_200)))
        for number in range(given.rounds):
            for name, options in (("simple", ["--levels", "1,4", "--batch-size", "8"]), ("table", ["--table"])):
                for level in one_sweep(folder, source, base_url, f"{name}{number}", options):
                    found.setdefault((level["items"], level["concurrency"]), []).append(level)
    show(given, found)


def one_sweep(folder: Path, source: Path, base_url: str, name: str, options: list[str]) -> list[dict[str, Any]]:
    told = batchdeck(
        "bench", str(source), "--base-url", base_url, "-m", "sim", "--db", str(folder / f"{name}.db"), *options,
        "--json", "--quiet",
    )  # fmt: skip
    assert told["is_complete"], told["message"]
    levels: list[dict[str, Any]] = told["levels"]
    assert all(level["success"] == 1 for level in levels)
    return levels


def show(given: Any, found: dict[tuple[int, int], list[dict[str, Any]]]) -> None:
    """Medians. A speedup is of one round: its level over one at a time in the same round."""
    rows, figures = [], []
    missed = 0
    for (items, cap), levels in sorted(found.items()):
        speedups = [level["speedup"] for level in levels]
        median = statistics.median(speedups)
        bar, published = BAR.get((items, cap)), PUBLISHED.get((items, cap))
        missed += bar is not None and median < bar
        said = f"{median:5.2f}×  ({min(speedups):.2f} … {max(speedups):.2f})   {100 * median / cap:3.0f} %"
        said += f"   ideal {items / math.ceil(items / cap):5.2f}×"
        said += f"   bar {bar:.1f}×" if bar else ""
        said += f"   published {published:.1f}×" if published else ""
        rows.append((f"{items} items at {cap}", said))
        figures.append({
            "items": items, "concurrency": cap, "speedup": median, "speedups": speedups,
            "seconds": statistics.median(level["seconds"] for level in levels), "bar": bar, "published": published,
        })  # fmt: skip
    memory = {
        cap: statistics.median(level["memory"] for level in found[200, cap] if level["memory"]) for cap in (1, 10)
    }
    ratio = memory[10] / memory[1]
    missed += ratio > MEMORY_BAR
    efficiency = statistics.median(level["efficiency"] for level in found[200, 10])
    rows.append(("efficiency", f"{efficiency:.0%} at 10 on 200 items   published {PUBLISHED_EFFICIENCY:.0%}"))
    rows.append(("memory", f"{memory[1] / 1e6:.1f} MB, at 10 {memory[10] / 1e6:.1f} MB: × {ratio:.3f}   bar × 1.2"))
    rows.append(("bars missed", str(missed)))
    report(
        f"answers of {given.latency_ms:g} ms, medians of {given.rounds} rounds",
        rows,
        {"latency_ms": given.latency_ms, "levels": figures, "memory_ratio": ratio, "missed": missed},
    )


if __name__ == "__main__":
    main()
