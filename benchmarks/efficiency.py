#!/usr/bin/env python3
"""How close a run comes to the ideal: items that take exactly 50 ms each, 10 at a time.

    .venv/bin/python benchmarks/efficiency.py [--items 1000] [--concurrency 10] [--rounds 5]

The simulator is a process of its own, every round is a fresh `batchdeck run --headless`, streamed and not in turn. The
time is the summary's ``seconds``; the ideal is items × latency / concurrency.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import urllib.request
from pathlib import Path
from typing import Any

from processes import batchdeck, report, simulator, workshop

KINDS = {"streamed": "--stream", "not streamed": "--no-stream"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=1_000)
    parser.add_argument("--concurrency", type=int, default=10)
    parser.add_argument("--latency-ms", type=float, default=50.0)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    with workshop() as folder, simulator(f"--latency-ms={given.latency_ms}") as base_url:
        source = folder / "prompts.jsonl"
        source.write_text("".join(json.dumps({"prompt": f"Prompt {n}"}) + "\n" for n in range(given.items)))
        for number in range(given.rounds):
            for kind, option in KINDS.items():
                seconds[kind].append(one_round(folder, source, base_url, given, f"{number}-{kind[:3]}", option))
        stats = json.load(urllib.request.urlopen(base_url.removesuffix("/v1") + "/sim/stats", timeout=10))
    assert stats["max_in_flight"] <= given.concurrency, f"the cap was exceeded: {stats}"
    assert stats["requests"] == stats["complete"] == given.items * given.rounds * len(KINDS), stats
    show(given, seconds)


def one_round(folder: Path, source: Path, base_url: str, given: Any, name: str, option: str) -> float:
    summary = batchdeck(
        "run", str(source), "--base-url", base_url, "-m", "sim", "-c", str(given.concurrency), option, "--headless",
        "--json", "--quiet", "--db", str(folder / f"{name}.db"),
    )  # fmt: skip
    assert summary["done"] == given.items, summary
    return float(summary["seconds"])


def show(given: Any, seconds: dict[str, list[float]]) -> None:
    ideal = math.ceil(given.items / given.concurrency) * given.latency_ms / 1000
    figures: dict[str, Any] = {"items": given.items, "concurrency": given.concurrency, "ideal": ideal}
    rows = [("ideal", f"{ideal:.3f} s")]
    for kind, all_seconds in seconds.items():
        median = statistics.median(all_seconds)
        figures[kind.replace(" ", "_")] = {
            "seconds": all_seconds, "median": median, "ratio": round(median / ideal, 4),
        }  # fmt: skip
        spread = f"{min(all_seconds):.3f} … {max(all_seconds):.3f}"
        rows.append((kind, f"{median:.3f} s   × {median / ideal:.3f}   ({spread}, {len(all_seconds)} rounds)"))
    report(f"{given.items} items of {given.latency_ms:g} ms, {given.concurrency} at a time", rows, figures)


if __name__ == "__main__":
    main()
