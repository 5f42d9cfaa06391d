"""``python -m batchdeck_tui [RUN_FILE] [--no-color] [--home DIR]``: the console; the command line calls ``main``."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import select
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchdeck.errors import EXIT_USAGE, BatchdeckError
from batchdeck.model import ENDINGS
from batchdeck.store.reader import RunReader

if TYPE_CHECKING:
    from batchdeck_tui.app import BatchdeckApp

SWITCHES = (
    ("ascii", "BATCHDECK_ASCII", "1"),
    ("reduced-motion", "BATCHDECK_REDUCED_MOTION", "1"),
    ("bell", "BATCHDECK_BELL", "1"),
    ("notify", "BATCHDECK_NOTIFY", "1"),
    ("no-mouse", "BATCHDECK_MOUSE", "0"),
)
"""Options, each with what it says in the environment."""
WEB = "textual.drivers.web_driver:WebDriver"
"""What textual-serve has Textual draw with: packets to a pipe, and no terminal."""
LOOK = 1.0
"""Seconds between two looks whether the terminal is still there."""
FAREWELL = 3
"""Seconds that leaving may take after a signal: a terminal that is gone takes no more bytes."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the console; returns the exit code. Leaving it is no failure, whatever the run does."""
    options = _parse(arguments)
    is_served = os.environ.get("TEXTUAL_DRIVER") == WEB
    if not is_served and not all(
        stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)
    ):
        print(
            "batchdeck: the console needs a terminal; without one use 'batchdeck run --headless' or 'batchdeck show'",
            file=sys.stderr,
        )
        return EXIT_USAGE
    if options.home is not None:
        os.environ["BATCHDECK_HOME"] = options.home
    if options.no_color:
        os.environ["NO_COLOR"] = "1"  # Textual reads it when the app is made
    for option, variable, value in SWITCHES:
        if getattr(options, option.replace("-", "_")):
            os.environ[variable] = value
    if options.run is not None:
        try:
            RunReader(options.run).close()
        except BatchdeckError as error:
            print(f"batchdeck: {error}", file=sys.stderr)
            return EXIT_USAGE
    gc.disable()  # until the first frame is out: what is loaded for it stays, and looking through it takes a tenth
    from batchdeck_tui.app import BatchdeckApp

    app = BatchdeckApp(options.run)
    asyncio.run(_show(app))
    if not is_served and app.watched is not None and _goes_on(app.watched):
        print(f"The run goes on. Come back with: batchdeck watch {_name(app.watched)}")
    return app.return_code or 0


async def _show(app: BatchdeckApp) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(report)

    def leave() -> None:
        signal.alarm(FAREWELL)
        app.exit()

    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, leave)
    mind(sys.stdin.fileno(), leave)
    await app.run_async(mouse=app.habits["mouse"])


def mind(terminal: int, leave: Callable[[], None]) -> None:
    """Have ``leave`` called when the terminal is gone. Mostly SIGHUP tells, but not a console that leads no session of
    that terminal: its input would be at its end for ever, and be read again and again."""
    loop, poll = asyncio.get_running_loop(), select.poll()
    poll.register(terminal, 0)  # asks for nothing but what is told in any case: a hang-up, an error

    def look() -> None:
        if poll.poll(0):
            leave()
        else:
            loop.call_later(LOOK, look)

    look()


def report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Say what failed in a callback, as asyncio does, but for one thing that is no failure.

    anyio wakes the reader of a Unix socket with ``loop.add_reader(…, future.set_result, None)``: a socket that became
    readable in the very turn in which its reader was cancelled finds the future done.
    """
    is_late = isinstance(context.get("exception"), asyncio.InvalidStateError)
    if not (is_late and str(context.get("message")).startswith("Exception in callback Future.set_result(None)")):
        loop.default_exception_handler(context)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m batchdeck_tui", description="The console of batchdeck.")
    parser.add_argument("run", nargs="?", type=Path, metavar="RUN_FILE", help="open this run; without: the list")
    parser.add_argument("--no-color", action="store_true", help="shapes and weights only")
    for option, variable, _ in SWITCHES:
        parser.add_argument(f"--{option}", action="store_true", help=f"as {variable} in the environment")
    parser.add_argument("--home", metavar="DIR", help="where runs are kept, as BATCHDECK_HOME")
    return parser.parse_args(arguments)


def _goes_on(run: Path) -> bool:
    """Whether it has an engine, and not one that stands by for a moment after its end."""
    try:
        with RunReader(run) as reader:
            return reader.meta().state not in (*ENDINGS, "interrupted")
    except BatchdeckError:
        return False  # deleted meanwhile, say


def _name(run: Path) -> str:
    """What 'batchdeck watch' takes: the run's name, or its path when it lies elsewhere."""
    from batchdeck.config import runs_folder

    path = Path(os.path.realpath(run))
    return path.stem if path.parent == Path(os.path.realpath(runs_folder())) else str(run)


if __name__ == "__main__":
    sys.exit(main())
