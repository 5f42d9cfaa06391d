"""A real run file with the real schema, as a run leaves it, filled with plain SQL."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from sqlite_utils import Database

from batchdeck.model import RunConfig
from batchdeck.store.migrations import migrate

CREATED = 1_790_000_000.0
CONFIG = RunConfig(name="translate", input="prompts.jsonl", input_format="jsonl", model="m-1", provider="openai")


def item(text: str = "", *, state: str = "done", **given: Any) -> dict[str, Any]:
    """One item: its answer, and what else is to be known of it (``input``, ``custom_id``, ``error_type`` …)."""
    return {"text": text, "state": state, **given}


def make_run(
    path: Path, items: Sequence[dict[str, Any]], *, config: RunConfig = CONFIG, ending: str | None = "done"
) -> Path:
    """Write a run file: one attempt for each item that is done or failed, none for the others."""
    db = Database(path)
    migrate(db)
    with db.conn:
        db.execute(
            "INSERT INTO run (id, run, created_at, updated_at, config, intent, ending)"
            " VALUES (1, ?, ?, ?, ?, 'run', ?)",
            [path.stem, CREATED, CREATED + 60, msgspec.json.encode(config).decode(), ending],
        )
        db.execute("INSERT INTO source VALUES (1, 'f', 100, 100, ?, ?, 1)", [len(items), len(items)])
        for idx, one in enumerate(items):
            _insert(db, idx, one)
        for name, value in _counters(items).items():
            db.execute("INSERT INTO counters VALUES (?, ?)", [name, value])
        for name in sorted({one["error_type"] for one in items if one.get("error_type")}):
            _insert_error(db, name, [(n, one) for n, one in enumerate(items) if one.get("error_type") == name])
    db.close()
    return path


def _insert(db: Database, idx: int, one: dict[str, Any]) -> None:
    data = one.get("data", json.dumps(one.get("input", {"text": f"prompt {idx}"})))
    db.execute(
        "INSERT INTO inputs VALUES (?, ?, ?, ?, ?, ?)",
        [idx, idx + 1, one.get("custom_id"), f"prompt {idx}", data, one.get("bad_line")],
    )
    attempt = idx + 1 if one["state"] in ("done", "failed") and "bad_line" not in one else None
    db.execute("INSERT INTO items VALUES (?, 0, ?, ?, 0, ?, ?)", [idx, idx, one["state"], attempt, idx + 1])
    if attempt is None:
        return
    done = one["state"] == "done"
    values = {
        "id": attempt,
        "idx": idx,
        "revision": 0,
        "number": 1,
        "request_hash": "h",
        "outcome": "ok" if done else "permanent",
        "status": 200 if done else 400,
        "error_type": one.get("error_type"),
        "error": one.get("error"),
        "text": one["text"],
        "finish_reason": "stop" if done else None,
        "model": "m-1",
        "tokens_in": 10 if done else None,
        "tokens_out": 5 if done else None,
        "cost": 0.001 if done else None,
        "started_at": CREATED,
        "ttft": 0.25 if done else None,
        "seconds": 1.5,
        "sends": 1,
        "headers": "{}",
        "codec": "none",
    }
    db.table("attempts").insert(values)


def _insert_error(db: Database, name: str, failed: list[tuple[int, dict[str, Any]]]) -> None:
    example_idx, example = failed[0]
    values = [name, len(failed), len(failed), example.get("error", ""), example_idx]
    db.execute("INSERT INTO errors VALUES (?, ?, ?, ?, ?)", values)


def _counters(items: Sequence[dict[str, Any]]) -> dict[str, float]:
    states = [one["state"] for one in items]
    done = states.count("done")
    return {
        "items": len(items),
        "done": done,
        "failed": states.count("failed"),
        "attempts": done + states.count("failed"),
        "tokens_in": 10 * done,
        "tokens_out": 5 * done,
        "cost": 0.001 * done,
        "seconds": 60.0,
    }
