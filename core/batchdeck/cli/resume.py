"""``batchdeck resume``: go on with a run."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from batchdeck import config, lock, settings
from batchdeck.cli.indices import CHOSEN, read_indices
from batchdeck.cli.options import (
    LIMITS,
    Sectioned,
    changes,
    check_price,
    setting_options,
    split_headers,
    whole_path,
)
from batchdeck.cli.run import VIEW, metrics_option, start, view_options
from batchdeck.errors import EngineGone, RunLocked, UsageError
from batchdeck.model import Command, Launch, LockInfo, Reply


def newest_unfinished() -> Path:
    """The newest run that is not done and that no engine holds. Raises ``UsageError`` when there is none."""
    from batchdeck.cli.known import readable

    for run, meta in readable():
        if meta.state != "done" and lock.probe(run) is None:
            return run
    raise UsageError("no run waits to be resumed; 'batchdeck ls' lists them all")


def check_budget(run: Path, given: dict[str, float | None]) -> None:
    """Refuse a limit in dollars for a run of unknown price. Raises ``UsageError``."""
    if given.get("max_cost") is None:
        return
    from batchdeck.store.reader import RunReader

    with RunReader(run, still=True) as reader:
        check_price(settings.apply(reader.meta().config, given))


def check_class(run: Path, error: str) -> None:
    """Refuse a class of which no item failed. Raises ``UsageError`` naming those that there are."""
    from batchdeck.store.reader import RunReader

    with RunReader(run, still=True) as reader:
        there = [one.error_type for one in reader.meta().errors if one.items]
    if error not in there:
        raise UsageError(f"no item of {run} failed of '{error}'; its classes: {', '.join(there) or 'none'}")


async def _ask(info: LockInfo, given: dict[str, float | None], retry: Command | None) -> Reply:
    from batchdeck.control.client import ControlClient

    async with ControlClient(info.endpoint) as client:
        if given:
            changed = await client.command(Command(name="configure", settings=given))
            # A run that goes already needs no more than that.
            goes = retry is None and (await client.snapshot()).state == "running"
            if goes or not changed.ok:
                return changed
        return await client.command(retry if retry is not None else Command(name="resume"))


def ask_live(info: LockInfo, run: Path, given: dict[str, float | None], retry: Command | None = None) -> None:
    """Let an engine that still stands by this run go on, with these settings changed. retry: the command by which
    failed items are tried again.

    Raises ``RunLocked`` when it is at work already and nothing was to be changed.
    """
    try:
        reply = asyncio.run(_ask(info, given, retry))
    except EngineGone:
        reply = Reply(ok=False, message="its engine does not answer")
    if not reply.ok:
        who = f"process {info.pid} on {info.host}" if info.pid else "an engine that starts"
        raise RunLocked(f"{run} is in the hands of {who} ({reply.message}); 'batchdeck watch' shows it")


@click.command(
    cls=Sectioned,
    sections={
        "Limits and budgets, where they change ('off' takes one away)": LIMITS,
        "How it is shown": (*VIEW, "metrics_port"),
    },
)
@click.argument("run", required=False)
@setting_options("concurrency")
@setting_options(*LIMITS)
@click.option("--retry-failed", is_flag=True, help="Try failed items again, too.")
@click.option("--error", metavar="CLASS", help="With --retry-failed: only items that failed of this class.")
@click.option("--rows", metavar="FILE", help="With --retry-failed: of the failed items only those whose index"
              " stands in FILE; - reads standard input.")  # fmt: skip
@click.option("--header", multiple=True, metavar="'NAME: VALUE'", help="A header whose value was not kept.")
@view_options
@metrics_option
def command(
    run: str | None,
    retry_failed: bool,
    error: str | None,
    rows: str | None,
    header: tuple[str, ...],
    metrics_port: int | None,
    **rest: Any,
) -> None:
    """Go on with RUN after a drain, Ctrl+C, a crash or a reboot. What is done is not sent again.

    RUN is a run file, a run's name, or the beginning of one; without it: the newest run that is not done.

    \b
    Examples:
      batchdeck resume
      batchdeck resume prompts-1120-173400 --concurrency 32
      batchdeck resume answers.db --headless --json
      batchdeck resume prompts --retry-failed
      batchdeck resume prompts --retry-failed --error timeout_idle
      batchdeck resume prompts --max-cost 5 --rpm off
    """
    if error is not None and not retry_failed:
        raise UsageError("--error says which failed items are tried again; give --retry-failed with it")
    if rows is not None and not retry_failed:
        raise UsageError("--rows says which failed items are tried again; give --retry-failed with it")
    chosen = list(read_indices(rows)) if rows is not None else None
    if chosen is not None and len(chosen) > CHOSEN:
        raise UsageError(f"--rows takes {CHOSEN:,} items at most, not {len(chosen):,}")
    given, view = changes(rest), {name: rest[name] for name in VIEW}
    path = config.find_run(run) if run else newest_unfinished()
    check_budget(path, given)
    if error is not None:
        check_class(path, error)
    kept, secrets = split_headers(header)
    info = lock.probe(path)
    if info is not None:
        if view["headless"] or view["follow"]:
            raise RunLocked(f"{path} is in the hands of process {info.pid} on {info.host}; 'batchdeck watch' shows it")
        if metrics_port is not None:
            raise UsageError(
                f"--metrics-port is for an engine that starts, and {path} has one; 'batchdeck ctl metrics' prints them"
            )
        retry = Command(name="retry" if error is None else "retry_class", idx=chosen, error=error)
        ask_live(info, path, given, retry if retry_failed else None)
        _attach(path, view)
        return
    launch = Launch(
        path=whole_path(path),
        config=None,
        secrets={name: value for name, value in {**kept, **secrets}.items() if value},
        settings=given,
        retry_failed=retry_failed,
        retry_error=error,
        retry_idx=chosen,
        metrics_port=metrics_port,
    )
    start(launch, **view)


def _attach(path: Path, view: dict[str, Any]) -> None:
    from batchdeck.cli.watch import has_terminal, open_console

    if not view["detach"] and not view["as_json"] and has_terminal():
        open_console(path)
    if view["as_json"]:
        import json

        print(json.dumps({"run": path.stem, "path": str(path)}))
    else:
        print(f"{path} goes on; watch it with: batchdeck watch {path.stem}")
