"""``batchdeck resume``: go on with a run."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from batchdeck import config, lock
from batchdeck.cli.options import split_headers, whole_path
from batchdeck.cli.run import start, view_options
from batchdeck.errors import EngineGone, RunLocked, UsageError
from batchdeck.model import Command, Launch, LockInfo, Reply


def newest_unfinished() -> Path:
    """The newest run that is not done and that no engine holds. Raises ``UsageError`` when there is none."""
    from batchdeck.cli.known import readable

    for run, meta in readable():
        if meta.state != "done" and lock.probe(run) is None:
            return run
    raise UsageError("no run waits to be resumed; 'batchdeck ls' lists them all")


async def _ask(info: LockInfo, commands: list[Command]) -> Reply:
    from batchdeck.control.client import ControlClient

    reply = Reply(ok=False, message="nothing asked")
    async with ControlClient(info.endpoint) as client:
        for one in commands:
            reply = await client.command(one)
    return reply


def ask_live(info: LockInfo, run: Path, concurrency: int | None, retry_failed: bool) -> None:
    """Let an engine that still stands by this run go on. Raises ``RunLocked`` when it is at work already."""
    commands = [] if concurrency is None else [Command(name="concurrency", value=concurrency)]
    commands.append(Command(name="retry" if retry_failed else "resume"))
    try:
        reply = asyncio.run(_ask(info, commands))
    except EngineGone:
        reply = Reply(ok=False, message="its engine does not answer")
    if not reply.ok:
        raise RunLocked(
            f"{run} is in the hands of process {info.pid} on {info.host} ({reply.message}); 'batchdeck watch' shows it"
        )


@click.command()
@click.argument("run", required=False)
@click.option("--concurrency", "-c", type=click.IntRange(1, 10_000), help="Another concurrency than before.")
@click.option("--retry-failed", is_flag=True, help="Try failed items again, too.")
@click.option("--header", multiple=True, metavar="'NAME: VALUE'", help="A header whose value was not kept.")
@view_options
def command(run: str | None, concurrency: int | None, retry_failed: bool, header: tuple[str, ...], **view: Any) -> None:
    """Go on with RUN after a drain, Ctrl+C, a crash or a reboot. What is done is not sent again.

    RUN is a run file, a run's name, or the beginning of one; without it: the newest run that is not done.

    \b
    Examples:
      batchdeck resume
      batchdeck resume prompts-1120-173400 --concurrency 32
      batchdeck resume answers.db --headless --json
      batchdeck resume prompts --retry-failed
    """
    path = config.find_run(run) if run else newest_unfinished()
    kept, secrets = split_headers(header)
    info = lock.probe(path)
    if info is not None:
        if view["headless"] or view["follow"]:
            raise RunLocked(f"{path} is in the hands of process {info.pid} on {info.host}; 'batchdeck watch' shows it")
        ask_live(info, path, concurrency, retry_failed)
        _attach(path, view)
        return
    launch = Launch(
        path=whole_path(path),
        config=None,
        secrets={name: value for name, value in {**kept, **secrets}.items() if value},
        concurrency=concurrency,
        retry_failed=retry_failed,
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
