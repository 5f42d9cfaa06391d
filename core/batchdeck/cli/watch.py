"""``batchdeck watch``: the console on a run, or its snapshots as JSON lines."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import NoReturn

import click

from batchdeck import config
from batchdeck.cli.consoleoptions import console_options
from batchdeck.errors import UsageError


def has_terminal() -> bool:
    """The console reads standard input and draws on standard error: nothing may be redirected."""
    return sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()


def open_console(run: Path | None) -> NoReturn:
    """Be the console from here on. The core knows nothing of it but its name; a second interpreter would take a tenth
    of the time to the first paint."""
    console = importlib.import_module("batchdeck_tui.__main__")
    sys.exit(console.main(["--", str(run)] if run else []))


def newest_run() -> Path:
    """The newest run with an engine, else the newest of all. Raises ``UsageError`` when there is none."""
    from batchdeck import lock
    from batchdeck.cli.known import readable

    newest: Path | None = None
    for run, _ in readable():
        if lock.probe(run) is not None:
            return run
        newest = newest or run
    if newest is None:
        raise UsageError("there are no runs yet; 'batchdeck demo' makes one")
    return newest


async def _stream(run: Path) -> None:
    from batchdeck import lock
    from batchdeck.control.client import ControlClient
    from batchdeck.export import inert_json
    from batchdeck.model import ENDINGS
    from batchdeck.store.reader import RunReader

    info = lock.probe(run)
    if info is None:
        with RunReader(run, still=True) as reader:
            print(inert_json(reader.meta()).decode(), flush=True)
        return
    async with ControlClient(info.endpoint) as client:
        async for snapshot in client.stream():
            print(inert_json(snapshot).decode(), flush=True)
            if snapshot.state in ENDINGS:
                # The engine stays while somebody listens; without this the two would wait for each other.
                return


@click.command()
@click.argument("run", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print snapshots as JSON lines, ten a second, instead.")
@console_options
def command(run: str | None, as_json: bool) -> None:
    """Open the console on RUN: a run file, a run's name, or the beginning of one.

    Without RUN: the newest run that is going. Detaching (q) never stops a run.

    \b
    Examples:
      batchdeck watch
      batchdeck watch prompts-1120-173400
      batchdeck watch --ascii --no-mouse
      batchdeck watch --json | jq .rate
    """
    path = config.find_run(run) if run else newest_run()
    if as_json:
        import asyncio  # the console is another process: for it nothing is loaded here that it does not need

        asyncio.run(_stream(path))
        return
    if not has_terminal():
        raise UsageError("the console needs a terminal; 'batchdeck watch --json' prints snapshots")
    open_console(path)
