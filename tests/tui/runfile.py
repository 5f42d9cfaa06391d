"""Real run files for the console's tests: the real schema, filled with plain SQL."""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from sqlite_utils import Database

from batchdeck.metrics.histogram import Histogram
from batchdeck.model import Event, RunConfig, Sample
from batchdeck.settings import apply
from batchdeck.store.migrations import migrate

HOSTILE = (
    "[/foo] [bold red]markup[/]",
    "\x1b[31mred\x1b[0m and \x1b]52;c;aGFja2Vk\x07 and \x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\",
    "bidi \u202etxt.exe\u202c and \u2066isolate\u2069",
    "zero\u200bwidth\u200d\u2060\ufeff joined a\u200db",
    "Z" + "\u0300\u0301\u0302\u0303\u0304\u0305" * 12 + "algo",
    "family "
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"
    " and \U0001f469\U0001f3fd\u200d\U0001f680 \u2764\ufe0f",
    "tabs\tand\nnew lines\r\nand \r carriage \x00 NUL \x7f \x9b31m",
    "日本語のとても長い文章" * 12,
    "\u3164\u115f fillers \u00ad soft",
    "\ud7ff \U000e0041 tag \ufff9 annotation",
)
WORDS = (
    "the",
    "quick",
    "brown",
    "fox",
    "reviews",
    "every",
    "sentence",
    "twice",
    "before",
    "it",
    "answers",
    "so",
    "lost",
)

_KEPT = """
INSERT INTO errors SELECT error_type, count(*), sum(outcome = 'permanent'), error, idx FROM attempts
WHERE error_type IS NOT NULL GROUP BY error_type;
INSERT INTO counters SELECT 'attempts', count(*) FROM attempts;
INSERT INTO counters SELECT 'retries', count(*) FROM attempts WHERE number > 1;
INSERT INTO counters SELECT 'rate_limit_hits', count(*) FROM attempts WHERE status = 429;
INSERT INTO counters SELECT 'tokens_in', coalesce(sum(tokens_in), 0) FROM attempts;
INSERT INTO counters SELECT 'tokens_out', coalesce(sum(tokens_out), 0) FROM attempts;
INSERT INTO counters SELECT 'cost', coalesce(sum(cost), 0) FROM attempts;
INSERT INTO counters SELECT 'seconds', coalesce(max(t), 0) FROM samples;
"""
"""What the writer keeps with each commit."""
_COUNTING = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n LIMIT ?)"


def make_run(
    path: Path,
    n: int,
    *,
    settled: int | None = None,
    failed: Iterable[int] = (),
    texts: Mapping[int, str] | None = None,
    labels: Mapping[int, str] | None = None,
    data: Mapping[int, Mapping[str, Any]] | None = None,
    retried: Mapping[int, int] | None = None,
    samples: Iterable[Sample] = (),
    events: Iterable[Event] = (),
    ending: str | None = None,
    message: str = "",
    changes: Mapping[str, float | None] | None = None,
    bare: bool = False,
) -> Path:
    """A run of ``n`` items of which the first ``settled`` (default all) have an outcome.

    retried: attempts answered 429 before the last one, by index. ending: how it ended; None, its engine is gone.
    message: what the engine said of it at last. changes: settings of its config. bare: only queued rows, a million a
    second.
    """
    rng = random.Random(7)
    settled = 0 if bare else n if settled is None else settled
    failed, texts, labels, data, retried = set(failed), texts or {}, labels or {}, data or {}, retried or {}
    db = Database(str(path))
    db.conn.execute("PRAGMA journal_mode = WAL")
    migrate(db)
    config = RunConfig(
        name=path.stem, input="prompts.jsonl", input_format="jsonl", model="gpt-5-mini", provider="openai"
    )
    with db.conn:
        db.conn.execute(
            "INSERT INTO run (id, run, created_at, updated_at, config, intent, ending, message)"
            " VALUES (1, ?, 1795000000.0, 1795000100.0, ?, 'run', ?, ?)",
            (path.stem, msgspec.json.encode(apply(config, changes or {})).decode(), ending, message),
        )
        db.conn.execute("INSERT INTO source VALUES (1, 'test', 100, 100, ?, ?, 1)", (n, n))
        if bare:
            db.conn.execute(f"INSERT INTO items (idx, position) {_COUNTING} SELECT i, i FROM n", (n,))
            db.conn.execute(
                f"INSERT INTO inputs {_COUNTING} SELECT i, i + 1, NULL, 'prompt ' || i, '{{}}', NULL FROM n", (n,)
            )
        else:
            db.conn.executemany(
                "INSERT INTO items (idx, position, state, result_attempt, seq) VALUES (?, ?, ?, ?, ?)",
                (_item(i, settled, i in failed) for i in range(n)),
            )
            db.conn.executemany(
                "INSERT INTO inputs VALUES (?, ?, ?, ?, ?, NULL)",
                ((i, i + 1, f"id-{i}", *_label(i, labels, data)) for i in range(n)),
            )
        for i in range(min(n, settled)):
            db.conn.executemany(
                f"INSERT INTO attempts VALUES ({', '.join('?' * 26)})",
                _attempts(i, i in failed, texts.get(i), retried.get(i, 0), rng),
            )
        _insert(db, "samples", samples)
        _insert(db, "events", events)
        counters = {"items": n, "done": min(n, settled) - len(failed), "failed": len(failed)}
        db.conn.executemany("INSERT INTO counters VALUES (?, ?)", counters.items())
        db.conn.executescript(_KEPT)
    db.close()
    return path


def settle(path: Path, idx: int, text: str) -> None:
    """Commit an answer for a queued item, as the writer would."""
    db = Database(str(path))
    with db.conn:
        db.conn.executemany(
            f"INSERT INTO attempts VALUES ({', '.join('?' * 26)})", _attempts(idx, False, text, 0, random.Random(idx))
        )
        db.conn.execute(
            "UPDATE items SET state = 'done', result_attempt = ?, seq = (SELECT max(seq) + 1 FROM items) WHERE idx = ?",
            (10 * idx + 9, idx),
        )
    db.close()


def make_samples(seconds: int, seed: int = 3) -> tuple[list[Sample], list[Event]]:
    """A run that is turned up from 10 to 20 in the middle, and meets a rate limit after three quarters."""
    rng = random.Random(seed)
    samples: list[Sample] = []
    queued, turned, limited = seconds * 14, seconds // 2, 3 * seconds // 4
    for second in range(seconds):
        cap = 10 if second < turned else 20
        held = limited <= second < limited + 4
        hits = rng.randrange(3, 9) if second == limited else rng.randrange(2) if second > limited else 0
        done = 0 if held else max(0, round(rng.gauss(cap * 0.8, 1.5)))
        failed = int(rng.random() < 0.05)
        queued = max(0, queued - done - failed)
        samples.append(
            Sample(
                t=second + 1.0,
                at=1795000000.0 + second,
                dt=1.0,
                done=done,
                failed=failed,
                attempts=done + failed + hits,
                rate_limit_hits=hits,
                tokens_in=done * 40,
                tokens_out=done * 110,
                cost=done * 0.0004,
                in_flight=2.0 if held else cap - rng.random(),
                in_flight_max=cap,
                concurrency=cap,
                queued=queued,
                backoff=hits,
                cooldown=1.0 if held else 0.0,
                held={"cooldown": 1.0} if held else {"cap": 1.0},
                e2e=_spread(1.1 + 0.012 * cap, done, second),
                ttft=_spread(0.3, done, second),
            )
        )
    events = [
        Event(id=1, t=0.0, at=1795000000.0, kind="started", detail="10 at once", value=10.0),
        Event(id=2, t=float(turned), at=1795000000.0 + turned, kind="concurrency", detail="10 → 20", value=20.0),
    ]
    return samples, events


def _spread(around: float, count: int, second: int) -> dict[int, int]:
    """As many latencies around a value, always the same ones, by bucket."""
    rng = random.Random(second)
    found = Histogram()
    for _ in range(count):
        found.add(around * rng.uniform(0.6, 1.6))
    return found.buckets


def _item(i: int, settled: int, failed: bool) -> tuple[int, int, str, int | None, int]:
    if i >= settled:
        return i, i, "queued", None, 0
    return i, i, "failed" if failed else "done", 10 * i + 9, i + 1


def _label(i: int, labels: Mapping[int, str], data: Mapping[int, Mapping[str, Any]]) -> tuple[str, str]:
    label = labels.get(i, f"Translate into French: {' '.join(WORDS[(i + k) % len(WORDS)] for k in range(8))}")
    return label[:200], json.dumps(data.get(i, {"prompt": label}))


def _attempts(idx: int, failed: bool, text: str | None, retries: int, rng: random.Random) -> list[tuple[Any, ...]]:
    rows = [_attempt(idx, number, 429, "rate_limited", "", rng) for number in range(1, retries + 1)]
    if failed:
        rows.append(_attempt(idx, retries + 1, 500, "permanent", "", rng, last=True))
    else:
        said = text if text is not None else " ".join(rng.choice(WORDS) for _ in range(rng.randrange(8, 60)))
        rows.append(_attempt(idx, retries + 1, 200, "ok", said, rng, last=True))
    return rows


def _attempt(
    idx: int, number: int, status: int, outcome: str, text: str, rng: random.Random, *, last: bool = False
) -> tuple[Any, ...]:
    good = status == 200
    error = {429: ("rate_limited", "Rate limit reached for requests"), 500: ("http_500", "upstream [/oops] broke")}
    kind, message = error.get(status, (None, None))
    return (
        10 * idx + (9 if last else number),
        idx,
        0,
        0,
        number,
        "hash",
        outcome,
        status,
        kind,
        message,
        text,
        "stop" if good else None,
        "gpt-5-mini" if good else None,
        rng.randrange(20, 90) if good else None,
        rng.randrange(40, 300) if good else None,
        0 if good else None,
        rng.uniform(0.0001, 0.002) if good else None,
        1795000000.0 + number,
        rng.uniform(0.1, 0.9) if good else None,
        0.01 if good else None,
        rng.uniform(0.9, 14.0),
        1,
        "{}",
        "zlib",
        zlib.compress(text.encode("utf-8", "replace")),
        0.05,
    )


def _insert(db: Database, table: str, rows: Iterable[Any]) -> None:
    for row in rows:
        values = [json.dumps(value) if isinstance(value, dict) else value for value in msgspec.structs.astuple(row)]
        names = ", ".join(row.__struct_fields__)
        db.conn.execute(f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(values))})", values)
