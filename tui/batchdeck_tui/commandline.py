"""Has the command line do what needs more than a look: plan, launch and resume run in ``python -m batchdeck``.

So the console loads no engine, and does exactly what the person could have typed.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from batchdeck.errors import BatchdeckError

_ERRNO = re.compile(r"\[Errno \d+\] ")
_talks: set[asyncio.Future[tuple[bytes, bytes]]] = set()
"""Processes that are heard to their end: the event loop itself would forget them."""


class CommandFailed(BatchdeckError):
    """The command line refused; the message is its last line."""


async def call(arguments: Sequence[str], given: bytes = b"") -> dict[str, Any]:
    """The JSON object that ``python -m batchdeck ARGUMENTS`` prints; raises ``CommandFailed`` with its error line.
    given: what it reads.

    Cancelling the caller ends the process, unless it starts an engine (``--detach``): that is left to finish, as one
    killed on its way may have started the engine or not.
    """
    process, output, errors = await _talk(arguments, given)
    printed = _object(output)
    if printed is not None and (process.returncode == 0 or "error" not in printed):
        return printed
    if printed is not None:
        raise CommandFailed(str(printed["error"]))
    raise _failed(process, errors)


async def call_said(arguments: Sequence[str], given: bytes = b"") -> str:
    """The same for a command that prints no JSON: its last line. given: what it reads."""
    process, _, errors = await _talk(arguments, given)
    if process.returncode != 0:
        raise _failed(process, errors)
    return _last_line(errors)


def _failed(process: asyncio.subprocess.Process, errors: bytes) -> CommandFailed:
    said = _last_line(errors)
    return CommandFailed(said or f"batchdeck ended with exit code {process.returncode} and no word why")


async def _talk(arguments: Sequence[str], given: bytes = b"") -> tuple[asyncio.subprocess.Process, bytes, bytes]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "batchdeck",
        *arguments,
        stdin=asyncio.subprocess.PIPE if given else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    talk = asyncio.ensure_future(process.communicate(given or None))
    _talks.add(talk)
    talk.add_done_callback(_talks.discard)
    try:
        output, errors = await (asyncio.shield(talk) if "--detach" in arguments else talk)
    except asyncio.CancelledError:
        if process.returncode is None and "--detach" not in arguments:
            process.kill()
            await process.wait()
        raise
    return process, output, errors


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
    said = lines[-1].removeprefix("Error: ").removeprefix("batchdeck: ") if lines else ""
    return _ERRNO.sub("", said)
