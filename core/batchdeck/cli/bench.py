"""``batchdeck bench``: which concurrency is best, measured on part of an input."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from batchdeck import config as places
from batchdeck.cli.benchplan import MODES, check_files, counted, fitted, planned, simulated
from batchdeck.cli.benchreport import exit_code, followed, reported, shown
from batchdeck.cli.options import Sectioned, checked_text, new_run_path, whole_path
from batchdeck.cli.run import SECTIONS, VIEW, build_config
from batchdeck.cli.run import command as run
from batchdeck.cli.sweeps import MOST, Levels, printed
from batchdeck.errors import UsageError
from batchdeck.format import clip
from batchdeck.inert import inert
from batchdeck.model import Launch, Ready, Snapshot, Summary
from batchdeck.store.writer import Store
from batchdeck.tune.sweep import sentence

_OTHERS = ("input", "concurrency", "min_concurrency", "max_concurrency", "dry_run", *VIEW)
"""What ``run`` takes and this does not: the levels are the concurrency."""


class Watching:
    """Tells of a sweep under way: a line for each level that is measured, and on a terminal one that moves."""

    def __init__(self, *, quiet: bool) -> None:
        self.last: Snapshot | None = None
        self._quiet = quiet
        self._in_place = sys.stderr.isatty()
        self._told = 0

    async def tick(self, snapshot: Snapshot, store: Store) -> None:
        self.last = snapshot
        sweep = snapshot.sweep
        if self._quiet or sweep is None:
            return
        new, self._told = sweep.measured[self._told :], len(sweep.measured)
        clear = "\r\x1b[2K" if self._in_place else ""
        for one in new:
            print(f"{clear}{sentence(one)}", file=sys.stderr)
        if self._in_place:
            said = "" if sweep.is_over else inert(snapshot.waiting.sentence or sweep.sentence)
            width = shutil.get_terminal_size((100, 24)).columns - 1
            print(f"{clear}{clip(said, width)}", end="", file=sys.stderr)
        sys.stderr.flush()


def carry_out(launch: Launch, *, quiet: bool) -> tuple[Summary, Snapshot | None]:
    """Measure in the foreground, until the run is drained."""
    from batchdeck.daemon import host, run_loop, write_log

    watching = Watching(quiet=quiet)
    write_log(logging.FileHandler(places.log_path(Path(launch.path)), delay=True))

    def ready(word: Ready) -> None:
        if not quiet:
            first = ", after one item that is not measured" if launch.warm_up else ""
            caps = ", ".join(f"{items:,} items at {cap:,}" for cap, items in launch.sweep)
            if len(launch.sweep) > 6:
                caps = f"{len(launch.sweep)} levels, {sum(items for _, items in launch.sweep):,} items"
            print(f"run file: {inert(launch.path)}\nmeasuring {caps}{first}", file=sys.stderr, flush=True)

    summary = run_loop(host(launch, ready, watching))
    return summary, watching.last


@click.command(
    cls=Sectioned,
    sections={
        "What is measured": ("levels", "mode", "batch_size", "max_concurrent", "table"),
        **{title: names for title, names in SECTIONS.items() if "kept" not in title},
        "Where it is kept and how it is shown": (
            "db", "name", "as_json", "no_plot", "ascii_only", "quiet", "metrics_port",
        ),
    },
    params=[option for option in run.params if option.name not in _OTHERS],
)  # fmt: skip
@click.argument("input", required=False)
@click.option("--levels", type=Levels(), metavar="N,N,…",
              help="Concurrencies to measure, in this order; 'sequential' is 1. Default: 1,4,10.")  # fmt: skip
@click.option("--mode", type=click.Choice(list(MODES)),
              help="simple: 8 items one at a time, then 8 at 4. large: 150 at 10. rate-limited: 50 at 5."
              " benchmark (the default): 50 each one at a time, at 4 and at 10.")  # fmt: skip
@click.option("--batch-size", type=click.IntRange(1, 1_000_000), metavar="N",
              help="Items a level; default: the mode's, or fewer where the input is short.")  # fmt: skip
@click.option("--max-concurrent", type=click.IntRange(1, MOST), metavar="N",
              help="The mode's highest level is this instead, and no higher one is recommended.")  # fmt: skip
@click.option("--table", is_flag=True,
              help="10, 50, 100 and 200 items, each one at a time, at 4 and at 10: 1,080 items.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print all figures as one JSON object.")
@click.option("--no-plot", is_flag=True, help="Tables only.")
@click.option("--ascii", "ascii_only", is_flag=True, help="Draw with ASCII characters only.")
@click.option("--quiet", is_flag=True, help="No progress on standard error.")
def command(**given: Any) -> None:
    """Measure which concurrency is best, on the first items of INPUT (without INPUT: with --provider sim).

    Each level sends the next items of the input, waits until all of them are settled, and takes its figures from the
    first request to the last answer. Nothing is paid for twice: every answer is kept in a run file, and
    'batchdeck resume' goes on with the rest of the input. Where an item is left over, one goes first and is not
    measured, so that no level pays for the first connection.

    Ctrl+C ends it: what is in flight is finished and kept, and what was measured is shown.

    \b
    Examples:
      batchdeck bench --provider sim
      batchdeck bench prompts.jsonl --provider openai -m gpt-4o-mini
      batchdeck bench prompts.jsonl --provider vllm -m my-model --levels 1,8,32,128 --batch-size 200
      batchdeck bench prompts.jsonl --provider groq -m llama-3.1-8b-instant --mode simple --json
      batchdeck bench --provider sim --table

    \b
    Exit codes: 0 all measured, 1 failed, 2 usage, 3 some items failed,
    4 stopped (refused key, used-up budget, provider down), 130 interrupted.
    """
    checked_text(given)
    plan = planned(given["mode"], given["levels"], given["batch_size"], given["max_concurrent"], table=given["table"])
    check_files(plan)
    stem = given["input"] or "sim"
    if given["input"] is None:
        given = simulated(given)
    config, secrets = build_config({**given, "dry_run": False})
    if given["strict"]:
        from batchdeck.cli.dryrun import dry_run

        dry_run(config, show=False, as_json=False, strict=True)
    warm_up = False
    if config.input != "-":
        wanted = plan.items
        there, name = counted(config, wanted + 1), inert(Path(config.input).name)
        plan, warm_up = fitted(plan, there, name)
        if plan.items < wanted and not given["quiet"]:
            print(f"{name} has {there:,} items to send: {plan.levels[0][1]:,} a level", file=sys.stderr)
    now = datetime.now().astimezone()
    stem = "stdin" if stem == "-" else Path(stem).name
    path = Path(given["db"]) if given["db"] else new_run_path(given["name"], f"bench-{stem}", now)
    if path.exists():
        raise UsageError(f"{path} exists already; a sweep makes a run file of its own")
    # A server of ours is started as wide as it will be asked; what is left goes on at no more than usual.
    top = max(cap for cap, _ in plan.levels)
    cap = top if config.managed is not None else min(top, config.concurrency)
    launch = Launch(
        path=whole_path(path),
        config=msgspec.structs.replace(config, name=path.stem, concurrency=cap),
        secrets=secrets,
        metrics_port=given["metrics_port"],
        sweep=plan.levels,
        warm_up=warm_up,
    )
    os.umask(0o077)
    summary, last = carry_out(launch, quiet=given["quiet"])
    report = reported(launch, summary, last.sweep if last is not None else None, given["max_concurrent"] or MOST)
    if given["as_json"]:
        print(msgspec.json.encode(report).decode(), flush=True)
    else:
        printed(shown(report, table=given["table"], plot=not given["no_plot"]), ascii_only=given["ascii_only"])
    if not given["quiet"]:
        print(
            "\n".join(followed(report, summary, launch, is_read=last is not None and last.ingest_complete)),
            file=sys.stderr,
        )
    sys.exit(exit_code(report))
