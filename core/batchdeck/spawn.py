"""The launcher's side of an engine process: start it by exec in a session of its own, wait until it answers."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import threading
from pathlib import Path

import msgspec

from batchdeck import config as places
from batchdeck import lock
from batchdeck.errors import BatchdeckError, UsageError
from batchdeck.model import Launch, Ready
from batchdeck.providers.managed import START_TIMEOUT

READY_SECONDS = START_TIMEOUT + 30.0
"""An engine is ready when the provider that it brings along is."""
LOG_TAIL = 5


def spawn(launch: Launch, *, stdin: bool = False) -> Ready:
    """Start an engine process for a run and wait until it answers.

    stdin: hand this process's standard input on, because it is the run's input. Raises ``BatchdeckError`` with what
    the engine said when it could not start.
    """
    run, log = Path(launch.path), places.log_path(Path(launch.path))
    is_new = launch.config is not None and not log.exists()
    fd = _open_log(log)
    launch_read, launch_write = os.pipe()
    ready_read, ready_write = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "batchdeck", "_engine", str(launch_read), str(ready_write)],
            stdin=None if stdin else subprocess.DEVNULL,
            stdout=fd,
            stderr=fd,
            pass_fds=(launch_read, ready_write),
            start_new_session=True,
        )
    finally:
        for used in (fd, launch_read, ready_write):
            os.close(used)
    with os.fdopen(launch_write, "wb") as pipe, contextlib.suppress(BrokenPipeError):
        pipe.write(msgspec.json.encode(launch))
    try:
        ready = _read_ready(ready_read)
    except BatchdeckError:
        # Whoever asked is told that there is no engine: then there must be none.
        process.terminate()
        raise
    if ready is None:
        process.wait()
        raise BatchdeckError(f"the engine did not start: {' / '.join(log_tail(run)) or 'it said nothing'}")
    if not ready.ok:
        process.wait()
        if is_new and ready.exit_code == UsageError.exit_code and not run.exists() and lock.probe(run) is None:
            # A launch that was refused is no run: what is wrong is told here, and nothing of it stays.
            log.unlink(missing_ok=True)
        error = UsageError(ready.error) if ready.exit_code == UsageError.exit_code else BatchdeckError(ready.error)
        error.exit_code = ready.exit_code
        raise error
    # Where this process becomes the console, an engine that has ended would stand as a zombie until that is left.
    threading.Thread(target=process.wait, name="end of the engine", daemon=True).start()
    return ready


def _open_log(log: Path) -> int:
    try:
        return os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    except OSError as error:
        raise UsageError(f"the engine's log {log} cannot be written: {error.strerror}") from error


def _read_ready(fd: int) -> Ready | None:
    """The engine's one line, None when it ended without one."""
    content = b""
    with os.fdopen(fd, "rb", buffering=0) as pipe:
        while not content.endswith(b"\n"):
            if not select.select([pipe], [], [], READY_SECONDS)[0]:
                raise BatchdeckError(f"the engine did not answer within {READY_SECONDS:.0f} s")
            piece = pipe.read(65536)
            if not piece:
                break
            content += piece
    try:
        return msgspec.json.decode(content, type=Ready)
    except msgspec.DecodeError:
        return None


def log_tail(run: Path, lines: int = LOG_TAIL) -> list[str]:
    """The last lines of a run's engine log."""
    path = places.log_path(run)
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 8192))
        return file.read().decode("utf-8", "replace").splitlines()[-lines:]
