#!/usr/bin/env python3
"""A finished run of a million rows in the console: how soon it opens, turns a page, filters, finds and orders.

    .venv/bin/python benchmarks/rows.py [--items 1000000] [--rounds 3]

Linux only: memory is read from /proc. The run file is written with plain SQL in the real schema, about 1.1 KB an item.
All times are from a key (the return that ends a search) on a pseudo-terminal of 160 by 48 to what it shows. The index
is there by then: a console makes it in the background when it opens a large run.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from processes import Terminal, memory, report, workshop
from sqlite_utils import Database

from batchdeck.config import index_path
from batchdeck.model import RunConfig
from batchdeck.store.index import RunIndex
from batchdeck.store.migrations import migrate

BATCH = 20_000
FAILS, CUT = 97, 31
"""One in so many items failed; of the others one in so many was cut short."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with workshop() as folder:
        run = folder / "million.db"
        write(run, given.items)
        figures: dict[str, Any] = {"items": given.items, "run_file_mb": round(run.stat().st_size / 1e6)}
        began = time.perf_counter()
        with RunIndex(run) as index:
            while index.catch_up():
                pass
        figures["index_seconds"] = round(time.perf_counter() - began, 2)
        figures["index_mb"] = round(index_path(run).stat().st_size / 1e6)
        rounds = [looked(run, given.items) for _ in range(given.rounds)]
    figures |= {name: round(statistics.median(one[name] for one in rounds), 4) for name in rounds[0]}
    rows = [(name.replace("_", " "), f"{value:,}") for name, value in figures.items()]
    report(f"the console on {given.items:,} rows (medians of {given.rounds}; seconds, MB)", rows, figures)


def looked(run: Path, items: int) -> dict[str, float]:
    """One console, by its keys."""
    failed = -(-items // FAILS)
    with Terminal(run) as terminal:
        terminal.until(r"row-0\b")
        found = {"open": time.perf_counter() - terminal.started}
        terminal.read(2.0)  # it looks for an engine, and tells itself of the samples

        def pressed(keys: str, pattern: str, typed: str = "") -> float:
            if typed:
                terminal.press(typed)
                terminal.read(0.6)
            terminal.press(keys)
            seconds = terminal.until(pattern)
            terminal.read(0.3)
            return seconds

        def all_again() -> None:
            terminal.press("\x1b")  # only what changed is painted: it may be next to nothing
            terminal.read(1.0)

        # a page has about forty rows: these are in the middle of the following ones
        found["page_down"] = statistics.median(pressed("\x1b[6~", rf"row-{61 + 41 * page}\b") for page in range(5))
        found["last_row"] = pressed("G", rf"row-{items - 1}\b")
        found["filter_failed"] = pressed("F", rf"{_spaced(failed)} rows")
        found["filter_done"] = pressed("F", rf"{_spaced(items - failed)} rows")
        all_again()
        found["search_rare"] = pressed("\r", "1 row ", f"/row-{items * 7 // 9} ")
        found["search_common"] = pressed("\r", rf"{_spaced(items)} rows", "/row-")
        found["search_bounds"] = pressed("\r", r"[0-9] rows  ", "/time>8s finish:length")
        all_again()
        found["go_to"] = pressed("\r", rf"row-{items // 2}\b", f":{items // 2}")
        found["console_mb"] = memory(terminal.pid)
    return found


def _spaced(number: int) -> str:
    return f"{number:,}".replace(",", "\u202f")


def write(path: Path, items: int) -> None:
    """Items that are settled, with words in prompt and answer."""
    rng = random.Random(1)
    words = ["".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(2, 9))) for _ in range(5_000)]
    raw = rng.randbytes(300)
    config = RunConfig(name=path.stem, input="p.jsonl", input_format="jsonl", model="m", provider="openai")
    db = Database(str(path))
    db.conn.execute("PRAGMA journal_mode = WAL")
    db.conn.execute("PRAGMA synchronous = OFF")
    migrate(db)

    def text(length: int) -> str:
        start = rng.randrange(len(words) - length)
        return " ".join(words[start : start + length])

    with db.conn:
        db.conn.execute(
            "INSERT INTO run (id, run, created_at, updated_at, config, intent, ending, message)"
            " VALUES (1, ?, 1.79e9, 1.79e9, ?, 'run', 'done', '')",
            (path.stem, msgspec.json.encode(config).decode()),
        )
        db.conn.execute("INSERT INTO source VALUES (1, 'none', 1, 1, ?, ?, 1)", (items, items))
        for first in range(0, items, BATCH):
            _insert(db, range(first, min(items, first + BATCH)), text, rng, raw)
        failed = -(-items // FAILS)
        counters = {"items": items, "done": items - failed, "failed": failed, "attempts": items}
        db.conn.executemany("INSERT INTO counters VALUES (?, ?)", counters.items())
    db.close()


def _insert(db: Database, rows: range, text: Callable[[int], str], rng: random.Random, raw: bytes) -> None:
    prompts = {idx: f"row-{idx} {text(15)}" for idx in rows}
    db.conn.executemany(
        "INSERT INTO items (idx, position, state, result_attempt, seq) VALUES (?, ?, ?, ?, ?)",
        ((idx, idx, "failed" if idx % FAILS == 0 else "done", idx + 1, idx + 1) for idx in rows),
    )
    db.conn.executemany(
        "INSERT INTO inputs VALUES (?, ?, ?, ?, ?, NULL)",
        ((idx, idx + 1, f"id-{idx}", prompts[idx], f'{{"prompt": "{prompts[idx]}"}}') for idx in rows),
    )
    db.conn.executemany(
        "INSERT INTO attempts (id, idx, revision, number, request_hash, outcome, status, error_type, error, text,"
        " finish_reason, model, tokens_in, tokens_out, cost, started_at, ttft, seconds, sends, headers, codec, raw)"
        f" VALUES (?, ?, 0, 1, {', '.join('?' * 14)}, 1, '{{}}', 'zlib-1', ?)",
        _attempts(rows, text, rng, raw),
    )


def _attempts(rows: range, text: Callable[[int], str], rng: random.Random, raw: bytes) -> Iterator[tuple[Any, ...]]:
    for idx in rows:
        is_failed = idx % FAILS == 0
        yield (
            idx + 1, idx, f"{idx:040d}", "permanent" if is_failed else "ok", 500 if is_failed else 200,
            "http_500" if is_failed else None, "upstream broke" if is_failed else None,
            "" if is_failed else text(40), None if is_failed else "length" if idx % CUT == 0 else "stop", "m",
            rng.randrange(20, 90), rng.randrange(20, 300), rng.random() * 0.01, 1.79e9 + idx / 100, rng.random(),
            9 * rng.random(), raw,
        )  # fmt: skip


if __name__ == "__main__":
    main()
