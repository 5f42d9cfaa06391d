"""``batchdeck demo``: a batch to look at, with no key and no network."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from batchdeck import config as places
from batchdeck.cli.options import new_run_path, whole_path
from batchdeck.cli.run import start, view_options
from batchdeck.model import Launch, RunConfig

SIM = {"seed": 7, "ttft_ms": 450, "token_rate": 45, "rpm": 510, "burst": 0.1}
"""Wide enough at 24 in flight to run into the quota, so that the demo shows what a rate limit looks like."""
COUNT = 500
LOCAL_COUNT = 40
TASKS = (
    "Summarise in one sentence why {} matters.",
    "Explain {} to a ten-year-old.",
    "Name three common mistakes with {}.",
    "Write a haiku about {}.",
    "Translate into French: I would like to learn more about {}.",
    "Give one surprising fact about {}.",
    "What should a beginner read first about {}?",
    "Write a product tagline for a tool that helps with {}.",
    "Is {} worth the effort for a small team? Answer yes or no, then say why.",
    "Write an SQL query that counts rows about {}.",
)
TOPICS = (
    "rate limiting", "queueing theory", "backpressure", "SQLite", "idempotency", "sourdough baking", "tidal power",
    "photosynthesis", "terminal graphics", "unit testing", "garbage collection", "the Silk Road", "bicycle repair",
    "jazz harmony", "vector search", "tokenisation", "seismology", "chess strategy", "typography", "coffee roasting",
    "beekeeping", "code review", "data cleaning", "number theory", "volcanology", "compiler design", "fermentation",
    "map making", "clockmaking", "glaciology", "semantic versioning", "load shedding", "long division", "solar power",
    "origami", "river ecology", "technical writing", "feature flagging", "the monsoon", "cryptography", "pottery",
    "lighthouse keeping", "bird migration", "time zone handling", "pattern matching", "bridge building",
    "paper making", "log rotation", "railway signalling", "stargazing",
)  # fmt: skip


def prompts(count: int) -> list[dict[str, Any]]:
    """The demo's rows: every pair of task and topic once, tasks in turn."""
    rows = []
    for number in range(count):
        topic = TOPICS[number // len(TASKS) % len(TOPICS)]
        rows.append({"custom_id": f"demo-{number:03d}", "prompt": TASKS[number % len(TASKS)].format(topic)})
    return rows


def write_prompts(count: int) -> Path:
    folder = places.home() / "demo"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"prompts-{count}.jsonl"
    path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in prompts(count)))
    return path


@click.command()
@click.option("--local", is_flag=True, help="A small real model instead of the simulator (needs batchdeck[local]).")
@view_options
def command(local: bool, **view: Any) -> None:
    """See a batch run: 500 prompts, a simulated provider with a rate limit, about a minute.

    \b
    Examples:
      batchdeck demo
      batchdeck demo --headless --json
      batchdeck demo --local
    """
    source = write_prompts(LOCAL_COUNT if local else COUNT)
    path = new_run_path(None, "demo-local" if local else "demo", datetime.now().astimezone())
    config = RunConfig(
        name=path.stem,
        input=str(source),
        input_format="jsonl",
        model="smollm2" if local else "sim-small",
        provider="local" if local else "sim",
        max_tokens=64 if local else None,
        concurrency=4 if local else 24,
        managed={} if local else dict(SIM),
    )
    start(Launch(path=whole_path(path), config=config), **view)
