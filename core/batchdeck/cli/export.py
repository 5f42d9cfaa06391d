"""``batchdeck export``: results out of a run file."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

if TYPE_CHECKING:
    from batchdeck.export import Format

_SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv"}


@click.command()
@click.argument("run")
@click.option(
    "--to", "format", type=click.Choice(["jsonl", "csv"]), help="Format; with -o, its suffix says it. Default: jsonl."
)
@click.option("-o", "--output", metavar="FILE", help="Write this file, whole or not at all. Default: standard output.")
@click.option(
    "--state",
    "states",
    type=click.Choice(["queued", "done", "failed", "skipped"]),
    multiple=True,
    help="Only items in this state; may be given more than once.",
)
@click.option(
    "--rows",
    metavar="FILE",
    help="Only the items whose index stands in FILE, one a line, in that order; - reads standard input.",
)
def command(run: str, format: str | None, output: str | None, states: tuple[str, ...], rows: str | None) -> None:
    """Write the results of RUN (a name from 'batchdeck ls', or a run file) in input order.

    It may be used while the run goes on. JSONL has the exact text; in CSV, cells that a spreadsheet would run as a
    formula get a leading apostrophe, and control characters become visible signs.

    \b
    Examples:
      batchdeck export translate --to jsonl -o answers.jsonl
      batchdeck export run.db -o answers.csv
      batchdeck export translate --state failed | jq -r .error
      seq 0 99 | batchdeck export translate --rows - -o first.jsonl
    """
    from batchdeck.cli.indices import read_indices
    from batchdeck.config import find_run
    from batchdeck.errors import UsageError
    from batchdeck.export import WRITERS, whole_file
    from batchdeck.format import some
    from batchdeck.store.reader import RunReader

    path = find_run(run)
    target = Path(output) if output and output != "-" else None
    write = WRITERS[_format(format, target)]
    if target:
        _check_target(target, path)
    with RunReader(path, still=True) as reader:
        if target and os.path.realpath(target) == os.path.realpath(reader.meta().config.input):
            raise UsageError(f"{target} is what the run was read from; write to another file")
        found = _in_states(reader.results(read_indices(rows) if rows is not None else None), states)
        if target:
            with whole_file(target) as file:
                written = write(found, file)
            click.echo(f"{some(written, 'row')} in {target}", err=True)
            return
        try:
            write(found, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            # The reader has seen enough (``| head``). Python would complain again when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except OSError as error:
            raise OSError(error.errno, error.strerror, "standard output") from error


def _format(given: str | None, target: Path | None) -> Format:
    """Raises ``UsageError`` for a file whose suffix says nothing."""
    from batchdeck.errors import UsageError

    suffix = target.suffix.lower() if target else ".jsonl"
    found = given or _SUFFIXES.get(suffix)
    if found is None:
        raise UsageError(f"'{target}' does not say which format it is to be; give --to jsonl or --to csv")
    return cast("Format", found)


def _check_target(target: Path, run: Path) -> None:
    from batchdeck.config import index_path, is_run_file, lock_path, log_path
    from batchdeck.errors import UsageError

    real = os.path.realpath(target)
    file = os.path.realpath(run)
    beside = [f"{name}{ending}" for name in (file, index_path(run)) for ending in ("", "-wal", "-shm")]
    own: list[str | Path] = [*beside, lock_path(run), log_path(run)]
    if real in [os.path.realpath(file) for file in own]:
        raise UsageError(f"{target} belongs to the run itself; write to another file")
    if is_run_file(target):
        raise UsageError(f"{target} is a run; write to another file")


def _in_states(rows: Iterator[dict[str, Any]], states: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    return (row for row in rows if row["state"] in states) if states else rows
