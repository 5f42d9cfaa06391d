"""Has the command line do what needs more than a look: plan, launch and resume run in ``python -m batchdeck``.

So the console loads no engine, and does exactly what the person could have typed.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from batchdeck.errors import BatchdeckError


class CommandFailed(BatchdeckError):
    """The command line refused; the message is its last line."""


async def call(arguments: Sequence[str]) -> dict[str, Any]:
    """The JSON object that ``python -m batchdeck ARGUMENTS`` prints; raises ``CommandFailed`` with its error line.

    Cancelling the caller ends the process.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "batchdeck",
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await process.communicate()
    except asyncio.CancelledError:
        if process.returncode is None:
            process.kill()
            await process.wait()
        raise
    printed = _object(output)
    if printed is not None and (process.returncode == 0 or "error" not in printed):
        return printed
    if printed is not None:
        raise CommandFailed(str(printed["error"]))
    raise CommandFailed(_last_line(errors) or f"batchdeck ended with exit code {process.returncode} and no word why")


def _object(output: bytes) -> dict[str, Any] | None:
    """The JSON object in the output: all of it, or its last line."""
    for text in (output, output.strip().rpartition(b"\n")[2]):
        try:
            printed = msgspec.json.decode(text)
        except msgspec.DecodeError:
            continue
        if isinstance(printed, dict):
            return printed
    return None


def _last_line(errors: bytes) -> str:
    lines = [line.strip() for line in errors.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1].removeprefix("Error: ") if lines else ""
