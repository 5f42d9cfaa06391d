"""What ``batchdeck bench`` found: as one value for ``--json``, as lines for a person, and as an exit code."""

from __future__ import annotations

import random

import msgspec

from batchdeck.cli.sweeps import count_lines, level_lines, plot_lines, verdict_lines
from batchdeck.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_SOME_FAILED, EXIT_STOPPED
from batchdeck.inert import inert
from batchdeck.model import Launch, Measured, Summary, Sweep
from batchdeck.tune.knee import Recommendation
from batchdeck.tune.sweep import fastest, recommended


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


def reported(launch: Launch, summary: Summary, sweep: Sweep | None, most: int) -> Report:
    """most: the highest concurrency that is recommended."""
    measured = sweep.measured if sweep is not None else ()
    advice = recommended(measured, most, random.Random(0))
    best = fastest(measured) if len({one.concurrency for one in measured}) > 1 else None
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
        message=summary.message or (sweep.sentence if sweep is not None else "nothing was measured"),
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


def followed(report: Report, summary: Summary, launch: Launch, *, is_read: bool) -> list[str]:
    """What a person does next. is_read: whether all of the input is in the run file."""
    lines = [] if report.is_complete else [f"not all was measured: {inert(report.message)}"]
    left = summary.items - summary.done - summary.failed - summary.skipped
    lines.append(f"{summary.done:,} answers are kept in {inert(report.path)}")
    assert launch.config is not None
    # An input that came through a pipe and was not read to its end cannot be read on by another process.
    if (left and is_read) or (not is_read and launch.config.input != "-"):
        best = report.optimal or report.fastest
        how = f" -c {best}" if best is not None else ""
        what = f"the other {left:,} items" if is_read else "the rest of the input"
        lines.append(f"go on with {what}: batchdeck resume {inert(report.path)}{how}")
    return lines
