"""``batchdeck ctl``: steer a live run from any terminal."""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from batchdeck import config as places
from batchdeck import lock, settings
from batchdeck.cli.indices import CHOSEN
from batchdeck.cli.options import changes, setting_options
from batchdeck.cli.resume import check_budget
from batchdeck.cli.sweeps import BATCH, LEVELS, Levels
from batchdeck.control.client import ControlClient
from batchdeck.errors import EXIT_FAILED, EngineGone, UsageError
from batchdeck.inert import inert
from batchdeck.model import Command, LockInfo, Reply, RunMeta

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


def common(function: F) -> F:
    """What every command here takes."""
    function = click.option("--json", "as_json", is_flag=True, help="The answer as one JSON object.")(function)
    return click.argument("run", required=False)(function)


def chosen(run: str | None) -> Path:
    """The run that is meant; without a name the only one that is live. Raises ``UsageError``."""
    if run:
        return places.find_run(run)
    live = [path for path in places.known_runs() if lock.probe(path) is not None]
    if len(live) == 1:
        return live[0]
    if not live:
        raise UsageError("no run is going; name one that has ended, or start one with 'batchdeck run'")
    raise UsageError(f"{len(live)} runs are going; say which one: {', '.join(path.stem for path in live[:10])}")


def _engine(path: Path) -> LockInfo | None:
    """The engine of a run, None when there is none. Raises ``EngineGone`` for one that cannot be asked from here."""
    info = lock.probe(path)
    if info is not None and not info.endpoint:
        raise EngineGone(f"{path} is held by an engine that does not answer yet; try again")
    return info


def _meta(path: Path) -> RunMeta:
    from batchdeck.store.reader import RunReader

    with RunReader(path, still=True) as reader:
        reader.refuse_newer()
        return reader.meta()


def _ask(info: LockInfo, ask: Callable[[ControlClient], Awaitable[T]]) -> T:
    async def asked() -> T:
        async with ControlClient(info.endpoint) as client:
            return await ask(client)

    return asyncio.run(asked())


def steer(run: str | None, command: Command, as_json: bool) -> None:
    """Send a command, say what became of it, and end the process with 1 when it was not carried out."""
    path = chosen(run)
    answer(_sent(path, command), as_json)


def _sent(path: Path, command: Command) -> Reply:
    info = _engine(path)
    if info is None:
        return Reply(ok=False, message=_nobody(path))
    return _ask(info, lambda client: client.command(command))


def _nobody(path: Path) -> str:
    state = _meta(path).state
    how = "" if state == "done" else f"; 'batchdeck resume {shlex.quote(str(path))}' goes on with it"
    return f"no engine works on {path.stem}, which is {state}{how}"


def answer(reply: Reply, as_json: bool) -> None:
    if as_json:
        _print_json(reply)
    else:
        prefix, stream = ("", sys.stdout) if reply.ok else ("batchdeck: ", sys.stderr)
        print(f"{prefix}{inert(reply.message)}", file=stream)
    if not reply.ok:
        sys.exit(EXIT_FAILED)


def _print_json(value: Any) -> None:
    from batchdeck.export import inert_json

    print(inert_json(value).decode())


@click.group()
def command() -> None:
    """Steer a run that is going, from any terminal: RUN is a name from 'batchdeck ls', the beginning of one, or a run
    file. Without it: the only run that is going.

    Each command answers in one sentence, and with exit code 0 when it was carried out, else 1.

    \b
    Examples:
      batchdeck ctl status
      batchdeck ctl config --concurrency 32 --rpm 500
      batchdeck ctl config translate --tpm off --max-cost 5
      batchdeck ctl pause translate
      batchdeck ctl status translate --json | jq .waiting
    """


@command.command()
@common
@setting_options(*settings.SETTINGS)
def config(run: str | None, as_json: bool, **given: Any) -> None:
    """Change limits and budgets of RUN while it goes; without options: show them. 'off' takes a limit away.

    What is changed is kept in the run file, so a resume goes on with it.

    \b
    Examples:
      batchdeck ctl config
      batchdeck ctl config --concurrency 32 --rpm 500
      batchdeck ctl config translate --tpm off --deadline 2h
      batchdeck ctl config translate --max-errors 5%
    """
    changed = changes(given)
    path = chosen(run)
    if changed:
        check_budget(path, changed)
        answer(_sent(path, Command(name="configure", settings=changed)), as_json)
        return
    from batchdeck.cli.status import setting_lines

    info = _engine(path)
    now = settings.read(_meta(path).config) if info is None else _ask(info, ControlClient.snapshot).settings
    if as_json:
        _print_json(now)
    else:
        print("\n".join(setting_lines(now)))


@command.command()
@common
def pause(run: str | None, as_json: bool) -> None:
    """Send nothing new for RUN; what is in flight goes on to its end.

    \b
    Examples:
      batchdeck ctl pause
      batchdeck ctl pause translate
    """
    steer(run, Command(name="pause"), as_json)


@command.command()
@common
def resume(run: str | None, as_json: bool) -> None:
    """Go on with RUN after a pause ('batchdeck resume' goes on with one that has no engine any more).

    \b
    Examples:
      batchdeck ctl resume
      batchdeck ctl resume translate
    """
    steer(run, Command(name="resume"), as_json)


@command.command()
@common
def drain(run: str | None, as_json: bool) -> None:
    """End RUN in order: what is in flight goes on to its end, nothing new is sent.

    \b
    Examples:
      batchdeck ctl drain
      batchdeck ctl drain translate && batchdeck export translate --to csv -o answers.csv
    """
    steer(run, Command(name="drain"), as_json)


@command.command()
@common
def cancel(run: str | None, as_json: bool) -> None:
    """End RUN at once: what is in flight is cut off, what is done is kept.

    \b
    Examples:
      batchdeck ctl cancel
      batchdeck ctl cancel translate
    """
    steer(run, Command(name="cancel"), as_json)


@command.command()
@common
@click.option("--item", "items", type=click.IntRange(min=0), multiple=True, metavar="N",
              help="Only item N (its index, counted from 0); can be given again.")  # fmt: skip
@click.option("--error", metavar="CLASS", help="Only items that failed of this class, as 'batchdeck show' names it.")
def retry(run: str | None, as_json: bool, items: tuple[int, ...], error: str | None) -> None:
    """Try the failed items of RUN again: all of them, those of one class of errors, or those named.

    \b
    Examples:
      batchdeck ctl retry
      batchdeck ctl retry translate --item 41 --item 97
      batchdeck ctl retry translate --error timeout_idle
    """
    if len(items) > CHOSEN:
        raise UsageError(f"--item is given {len(items):,} times; {CHOSEN:,} at most")
    steer(run, Command(name="retry" if error is None else "retry_class", idx=list(items) or None, error=error), as_json)


@command.command()
@common
@click.option(
    "--levels", type=Levels(), default=LEVELS, metavar="N,N,…", help="Concurrencies to measure; default: 1,4,10."
)
@click.option("--batch-size", type=click.IntRange(1, 1_000_000), metavar="N",
              help="Items a level; default: 50, or as many as the highest level.")  # fmt: skip
@click.option("--then", type=click.IntRange(1, 10_000), metavar="N",
              help="Go on with this concurrency; default: the one before.")  # fmt: skip
@click.option("--stop", is_flag=True, help="End the sweep under way.")
def sweep(
    run: str | None, as_json: bool, levels: tuple[int, ...], batch_size: int | None, then: int | None, stop: bool
) -> None:
    """Measure RUN at several concurrencies, one after the other, with its own next items; then it goes on.

    'batchdeck ctl status' shows how far it is and what was measured.

    \b
    Examples:
      batchdeck ctl sweep
      batchdeck ctl sweep translate --levels 1,8,32 --batch-size 100
      batchdeck ctl sweep --stop
    """
    items = batch_size or max(BATCH, *levels)
    asked = [] if stop else [(level, items) for level in levels]
    steer(run, Command(name="sweep", levels=asked, value=then), as_json)


@command.command()
@common
def status(run: str | None, as_json: bool) -> None:
    """Show how RUN stands and why it waits: counts, reasons, quotas, budgets. One that has ended is read from its file.

    With --json: the engine's whole snapshot; from a file what 'batchdeck show --json' tells.

    \b
    Examples:
      batchdeck ctl status
      batchdeck ctl status translate --json | jq .waiting.sentence
    """
    path = chosen(run)
    info = _engine(path)
    if info is None:
        from batchdeck.cli.show import without_secrets
        from batchdeck.cli.status import file_lines

        meta = _meta(path)
        if as_json:
            _print_json(without_secrets(meta))
        else:
            print("\n".join([*file_lines(meta), "", _nobody(path)]))
        return
    from batchdeck.cli.status import live_lines

    now = _ask(info, ControlClient.snapshot)
    if as_json:
        _print_json(now)
    else:
        print("\n".join(live_lines(now)))


@command.command()
@common
def metrics(run: str | None, as_json: bool) -> None:
    """Print what Prometheus would scrape from RUN: items, reasons, quotas, tokens, cost, latencies.

    'batchdeck run --metrics-port' serves the same on loopback. With --json: the engine's whole snapshot instead.

    \b
    Examples:
      batchdeck ctl metrics
      batchdeck ctl metrics translate > /var/lib/node_exporter/translate.prom
      batchdeck ctl metrics translate --json | jq .rate
    """
    from batchdeck.inert import inert_lines

    path = chosen(run)
    info = _engine(path)
    if info is None:
        raise EngineGone(_nobody(path))
    if as_json:
        _print_json(_ask(info, ControlClient.snapshot))
        return
    text = _ask(info, ControlClient.metrics)
    # For a file it stays as it is; a terminal gets nothing that could steer it.
    sys.stdout.write(inert_lines(text) if sys.stdout.isatty() else text)
