"""``batchdeck ls``: the runs known here."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from batchdeck.labels import Label
    from batchdeck.model import RunMeta

_HEADER = ("RUN", "STATE", "DONE", "FAILED", "TOTAL", "", "RATE", "COST", "WHEN")
_RIGHT = (2, 3, 4, 5, 6, 7, 8)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON array; an unreadable file has 'path' and 'error'.")
def command(as_json: bool) -> None:
    """List the runs known here, the newest first: those in the data folder, and those made with --db elsewhere.

    \b
    Examples:
      batchdeck ls
      batchdeck ls --json | jq -r '.[] | select(.state == "interrupted") | .path'
    """
    runs, unreadable = _known()
    if as_json:
        from batchdeck.cli.show import without_secrets
        from batchdeck.export import inert_json

        labels = _labels(runs)
        good = [
            {**without_secrets(run), "label": label.name, "tags": label.tags}
            for run, label in zip(runs, labels, strict=True)
        ]
        bad = [{"path": str(path), "error": reason} for path, reason in unreadable]
        click.echo(inert_json([*good, *bad]))
        return
    for line in _lines(runs, unreadable, datetime.now(tz=UTC).timestamp()):
        click.echo(line)


def _known() -> tuple[list[RunMeta], list[tuple[Path, str]]]:
    from batchdeck.cli.known import known

    runs: list[RunMeta] = []
    unreadable: list[tuple[Path, str]] = []
    for path, found in known():
        if isinstance(found, str):
            unreadable.append((path, found))
        else:
            runs.append(found)
    return runs, unreadable


def _labels(runs: list[RunMeta]) -> list[Label]:
    from batchdeck import labels
    from batchdeck.config import known_labels

    known = known_labels()
    return [known.get(labels.key(Path(run.path)), labels.NONE) for run in runs]


def _lines(runs: list[RunMeta], unreadable: list[tuple[Path, str]], now: float) -> list[str]:
    from batchdeck.format import table
    from batchdeck.inert import inert
    from batchdeck.labels import written

    stems = Counter(Path(run.path).stem for run in runs)
    # Two runs of one name go by their paths: what stands in the list must find its run.
    named = [(Path(run.path).stem if stems[Path(run.path).stem] == 1 else run.path, run) for run in runs]
    rows = [_row(name, run, now) for name, run in named]
    labels = _labels(runs)
    header: tuple[str, ...] = _HEADER
    if any(labels):
        header = (*_HEADER, "LABEL")
        rows = [(*row, inert(written(label))) for row, label in zip(rows, labels, strict=True)]
    lines = table(header, rows, _RIGHT) if runs else []
    lines += [f"unreadable: {inert(reason)}" for _, reason in unreadable]
    return lines or ["no runs yet; 'batchdeck run prompts.jsonl --provider … --model …' makes one"]


def _row(name: str, run: RunMeta, now: float) -> tuple[str, ...]:
    from batchdeck.format import ago, count, percent, rate, spent
    from batchdeck.inert import inert

    counts = run.counts
    settled = counts.done + counts.failed + counts.skipped
    about = "" if run.ingest_complete or run.items_expected is None else "~"
    return (
        inert(name),
        run.state,
        count(counts.done),
        count(counts.failed),
        about + count(run.items_expected),
        percent(settled, run.items_expected),
        rate(run.rate) if run.rate else "—",
        spent(counts.cost, counts.unpriced),
        ago(now - run.updated_at),
    )
