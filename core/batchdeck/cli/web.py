"""``batchdeck web``: the console in a browser."""

from __future__ import annotations

import os
import sys

import click

from batchdeck import config
from batchdeck.cli.consoleoptions import console_options


@click.command()
@click.argument("run", required=False)
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="Listen on this port; default: a free one.")
@click.option("--open", "opens", is_flag=True, help="Open the browser on it.")
@console_options
def command(run: str | None, port: int, opens: bool) -> None:
    """Serve the console to a browser on this machine, on RUN or on the list of runs.

    It listens on 127.0.0.1 only, and wants the token of the address that it prints. From another machine: a tunnel, as
    'ssh -L 8420:127.0.0.1:8420 HOST' with '--port 8420' here.

    \b
    Examples:
      batchdeck web --open
      batchdeck web prompts-1120-173400 --port 8420
    """
    words = ["--port", str(port), *(["--open"] if opens else [])]
    words += ["--", str(config.find_run(run))] if run else []
    sys.stdout.flush()
    # The core never imports the console; it is found by name.
    os.execv(sys.executable, [sys.executable, "-m", "batchdeck_tui.webserver", *words])
