"""``batchdeck _engine``: the body of a detached engine process. Not for people."""

from __future__ import annotations

import sys

import click


@click.command(hidden=True)
@click.argument("launch_fd", type=int)
@click.argument("ready_fd", type=int)
def command(launch_fd: int, ready_fd: int) -> None:
    """Started by ``spawn.spawn`` with two pipes."""
    from batchdeck.daemon import engine_main

    sys.exit(engine_main(launch_fd, ready_fd))
