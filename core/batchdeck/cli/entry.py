"""The command line as a whole: from what any verb raises to one line and an exit code."""

from __future__ import annotations

import io
import os
import sys

import click

from batchdeck.cli import root
from batchdeck.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, BatchdeckError
from batchdeck.inert import inert


def run() -> int:
    """Carry out what the process's arguments ask for, and return its exit code. Lets ``KeyboardInterrupt`` through."""
    # Closed by whoever started us (``>&-``), they are not there at all.
    sys.stdout, sys.stderr = sys.stdout or open(os.devnull, "w"), sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal without Unicode gets question marks, not a traceback.
            stream.reconfigure(errors="replace")
    try:
        code = root(standalone_mode=False)
        sys.stdout.flush()
    except click.UsageError as error:
        error.show()
        return EXIT_USAGE
    except click.ClickException as error:
        return _say(error.format_message(), EXIT_USAGE)
    except BatchdeckError as error:
        return _say(str(error), error.exit_code)
    except click.Abort:
        return _say("interrupted", EXIT_INTERRUPTED)
    except BrokenPipeError:
        # Whoever read the output has seen enough.
        _discard_output()
        return EXIT_FAILED
    except OSError as error:
        _discard_output()
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        return _say(f"{where}{error.strerror or error}", EXIT_FAILED)
    return code if isinstance(code, int) else 0


def _say(message: str, code: int) -> int:
    print(f"batchdeck: {inert(message)}", file=sys.stderr)
    return code


def _discard_output() -> None:
    """Python would flush what is left once more when it ends, and fail once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
