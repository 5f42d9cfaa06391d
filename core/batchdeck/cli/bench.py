"""``batchdeck bench``: which concurrency is best, measured on part of an input."""

from __future__ import annotations

import logging
import os
import random
import sys
from collections.abc import Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import click
import msgspec

from batchdeck import config as places
from batchdeck.cli.options import Sectioned, checked_text, new_run_path, whole_path
from batchdeck.cli.run import SECTIONS, VIEW, build_config, dry_run
from batchdeck.cli.run import command as run
from batchdeck.cli.sweeps import (
    BATCH,
    LEVELS,
    MOST,
    Levels,
    count_lines,
    level_lines,
    plot_lines,
    printed,
    verdict_lines,
)
from batchdeck.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_SOME_FAILED, EXIT_STOPPED, UsageError
from batchdeck.inert import inert
from batchdeck.model import Launch, Measured, Ready, RunConfig, Snapshot, Summary
from batchdeck.store.writer import Store
from batchdeck.tune.knee import Recommendation
from batchdeck.tune.sweep import fastest, recommended, sentence

MODES: dict[str, tuple[tuple[int, ...], int]] = {
    "simple": ((1, 4), 8),
    "large": ((10,), 150),
    "rate-limited": ((5,), 50),
    "benchmark": (LEVELS, BATCH),
}
"""Levels, and items a level."""
COUNTS = (10, 50, 100, 200)
BUILT_IN = 1_200
"""Prompts of ours, for a simulated provider."""
SIM: dict[str, Any] = {"latency_ms": 500}
SIM_LIMITED: dict[str, Any] = {"latency_ms": 500, "rpm": 300, "burst": 0.05}
"""As the account of ``--mode rate-limited`` is simulated."""
_OTHERS = ("input", "concurrency", "min_concurrency", "max_concurrency", "dry_run", *VIEW)
"""What ``run`` takes and this does not: the levels are the concurrency."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """``levels``: (concurrency, items). ``fewer``: whether a level may have fewer items when the input is short."""

    levels: tuple[tuple[int, int], ...]
    fewer: bool

    @property
    def items(self) -> int:
        return sum(items for _, items in self.levels)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What ``--json`` prints. ``planned``: (concurrency, items); a level that was not finished is not in ``levels``.

    ``optimal``: the concurrency found from the measurements, None when they are too few to say. ``fastest``: of those
    measured. ``warm_up``: items that went first and are in no level.
    """

    run: str
    path: str
    state: str
    is_complete: bool
    planned: tuple[tuple[int, int], ...]
    levels: tuple[Measured, ...]
    warm_up: int
    fastest: int | None
    optimal: int | None
    recommendation: Recommendation
    done: int
    failed: int
    attempts: int
    cost: float | None
    message: str


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
            print(f"{clear}{said[:100]}", end="", file=sys.stderr)
        sys.stderr.flush()

    @property
    def measured(self) -> tuple[Measured, ...]:
        sweep = self.last.sweep if self.last is not None else None
        return sweep.measured if sweep is not None else ()

    @property
    def ending(self) -> str:
        sweep = self.last.sweep if self.last is not None else None
        return sweep.sentence if sweep is not None else "nothing was measured"


def planned(
    mode: str | None, levels: Sequence[int] | None, batch: int | None, most: int | None, *, table: bool
) -> Plan:
    """The levels that the options ask for. Raises ``UsageError``."""
    if table:
        if mode or levels or batch or most:
            raise UsageError("--table has levels and numbers of items of its own; give it alone")
        return Plan(levels=tuple((cap, items) for items in COUNTS for cap in LEVELS), fewer=False)
    own, items = MODES[mode or "benchmark"]
    if levels is None and most is not None:
        # The mode's highest level is so many instead.
        levels = [*(cap for cap in own[:-1] if cap < most), most]
    elif levels is not None and most is not None and max(levels) > most:
        raise UsageError(f"--levels goes up to {max(levels):,}, and --max-concurrent allows {most:,}")
    caps = levels or own
    return Plan(levels=tuple((cap, batch or items) for cap in caps), fewer=batch is None)


def fitted(plan: Plan, there: int, name: str) -> tuple[Plan, bool]:
    """The plan as far as the input goes, and whether an item is left to warm up with. Raises ``UsageError``.

    there: items that can be sent; counted up to one more than the plan takes.
    """
    if there >= plan.items:
        return plan, there > plan.items
    each = (there - 1) // len(plan.levels)
    if plan.fewer and each >= 1:
        return Plan(levels=tuple((cap, each) for cap, _ in plan.levels), fewer=True), True
    mend = f"; --batch-size {each} would fit" if each >= 1 and len({items for _, items in plan.levels}) == 1 else ""
    raise UsageError(
        f"{name} has {there:,} items to send, and {len(plan.levels)} levels take {plan.items:,}{mend}"
        " (every item is sent once only)"
    )


def counted(config: RunConfig, most: int) -> int:
    """How many items of the input can be sent, up to ``most``. No more is read than that takes."""
    from batchdeck.inputs.base import SourceState
    from batchdeck.inputs.check import render_row
    from batchdeck.inputs.open import open_input
    from batchdeck.prompts import Prompts

    source = open_input(config.input, config.input_format)
    prompts = Prompts(config.prompt, config.system, source.columns)
    rows = islice(source.rows(SourceState()), config.limit)
    good = (row for row in rows if render_row(row, prompts, source.name)[1] is None)
    return sum(1 for _ in islice(good, most))


def write_prompts() -> Path:
    """A list of our own, for a provider that makes its answers up."""
    from batchdeck.cli.demo import prompts

    folder = places.home() / "bench"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"prompts-{BUILT_IN}.jsonl"
    rows = prompts(BUILT_IN)
    for number, row in enumerate(rows):
        # The demo's pairs come to an end; no prompt is to be asked twice.
        row["prompt"] += f" (No. {number + 1})"
    path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    return path


def carry_out(launch: Launch, *, quiet: bool) -> tuple[Summary, Watching]:
    """Measure in the foreground, until the run is drained."""
    from batchdeck.daemon import host, run_loop, write_log

    watching = Watching(quiet=quiet)
    write_log(logging.FileHandler(places.log_path(Path(launch.path)), delay=True))

    def ready(word: Ready) -> None:
        if not quiet:
            first = ", after one item that is not measured" if launch.warm_up else ""
            caps = ", ".join(f"{items:,} at {cap:,}" for cap, items in launch.sweep[:12])
            print(f"run file: {inert(launch.path)}\nmeasuring {caps} at once{first}", file=sys.stderr, flush=True)

    return run_loop(host(launch, ready, watching)), watching


def reported(launch: Launch, summary: Summary, watching: Watching, most: int) -> Report:
    measured = watching.measured
    advice = recommended(measured, most, random.Random(0))
    best = fastest(measured)
    return Report(
        run=summary.run,
        path=summary.path,
        state=summary.state,
        is_complete=tuple((one.concurrency, one.items) for one in measured) == launch.sweep,
        planned=launch.sweep,
        levels=measured,
        warm_up=int(launch.warm_up),
        fastest=best.concurrency if best is not None else None,
        optimal=advice.concurrency,
        recommendation=advice,
        done=summary.done,
        failed=summary.failed,
        attempts=summary.attempts,
        cost=summary.cost,
        message=summary.message or ("" if summary.state == "done" else watching.ending),
    )


def exit_code(report: Report) -> int:
    """0 when all levels were measured and no item failed."""
    if report.state == "stopped":
        return EXIT_STOPPED
    if report.is_complete:
        return EXIT_SOME_FAILED if any(one.failed for one in report.levels) else EXIT_OK
    return EXIT_INTERRUPTED if report.state in ("drained", "cancelled") else EXIT_FAILED


def shown(report: Report, *, table: bool, plot: bool) -> list[str]:
    """The report in lines."""
    measured = report.levels
    if not measured:
        return ["no level was measured to its end"]
    lines = [*count_lines(measured), ""] if table else []
    lines += level_lines(measured)
    bars = plot_lines(measured) if plot else []
    return [*lines, *([""] if bars else []), *bars, "", *verdict_lines(measured, report.recommendation.sentence)]


def followed(report: Report, summary: Summary, launch: Launch) -> list[str]:
    """What a person does next."""
    lines = [] if report.is_complete else [f"not all was measured: {inert(report.message)}"]
    left = summary.items - summary.done - summary.failed - summary.skipped
    lines.append(f"{summary.done:,} answers are kept in {inert(report.path)}")
    assert launch.config is not None
    if left and launch.config.input != "-":
        best = report.optimal or report.fastest
        how = f" -c {best}" if best is not None else ""
        lines.append(f"go on with the other {left:,} items: batchdeck resume {inert(report.path)}{how}")
    return lines


@click.command(
    cls=Sectioned,
    sections={
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
    _check_files(plan)
    stem = given["input"] or "sim"
    if given["input"] is None:
        given = _simulated(given)
    config, secrets = build_config({**given, "dry_run": False})
    if given["strict"]:
        dry_run(config, show=False, as_json=False, strict=True)
    warm_up = False
    if config.input != "-":
        wanted = plan.items
        plan, warm_up = fitted(plan, counted(config, wanted + 1), inert(Path(config.input).name))
        if plan.items < wanted and not given["quiet"]:
            print(f"the input is short: {plan.levels[0][1]:,} items a level", file=sys.stderr)
    now = datetime.now().astimezone()
    name = "stdin" if stem == "-" else Path(stem).name
    path = Path(given["db"]) if given["db"] else new_run_path(given["name"], f"bench-{name}", now)
    if path.exists():
        raise UsageError(f"{path} exists already; a sweep makes a run file of its own")
    launch = Launch(
        path=whole_path(path),
        config=msgspec.structs.replace(config, name=path.stem),
        secrets=secrets,
        metrics_port=given["metrics_port"],
        sweep=plan.levels,
        warm_up=warm_up,
    )
    os.umask(0o077)
    summary, watching = carry_out(launch, quiet=given["quiet"])
    report = reported(launch, summary, watching, given["max_concurrent"] or MOST)
    if given["as_json"]:
        print(msgspec.json.encode(report).decode(), flush=True)
    else:
        printed(shown(report, table=given["table"], plot=not given["no_plot"]), ascii_only=given["ascii_only"])
    if not given["quiet"]:
        print("\n".join(followed(report, summary, launch)), file=sys.stderr)
    sys.exit(exit_code(report))


def _simulated(given: dict[str, Any]) -> dict[str, Any]:
    """The same with prompts of our own, and a simulated account to fit where none is described."""
    if given["provider"] != "sim" or given["base_url"]:
        raise UsageError("name an INPUT; only 'batchdeck bench --provider sim' brings prompts of its own")
    options = SIM_LIMITED if given["mode"] == "rate-limited" else SIM
    own = given["sim_option"] or tuple(f"{name}={value}" for name, value in options.items())
    return {**given, "input": str(write_prompts()), "sim_option": own}


def _check_files(plan: Plan) -> None:
    from batchdeck.daemon import OWN_FILES
    from batchdeck.process import allow_open_files

    most = allow_open_files() - OWN_FILES
    top = max(cap for cap, _ in plan.levels)
    if top > most:
        raise UsageError(f"{top:,} at once is more than this process may open files for ({most:,}): ulimit -n")
