"""The lock beside a run file: who holds it runs the run. Freed by the kernel, even after kill -9.

POSIX record locks: the holder must never open the lock file a second time, closing any descriptor of it drops the lock.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path

import msgspec

from batchdeck.config import lock_path
from batchdeck.errors import RunLocked, UsageError
from batchdeck.model import LockInfo

PATIENCE = 10
TRY_SECONDS = 0.05
"""A client that probes holds the lock for some microseconds: only who is refused so often meets an engine."""
_HELD = (errno.EAGAIN, errno.EACCES)


class RunLock:
    """Held from construction to ``release`` or the end of the process."""

    def __init__(self, run: Path) -> None:
        """Waits for up to half a second. Raises ``RunLocked`` when another process holds it."""
        self._path = lock_path(run)
        try:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UsageError(f"the lock file {self._path} cannot be made: {error.strerror}") from error
        try:
            self._take(run)
        except BaseException:
            os.close(self._fd)
            raise

    def _take(self, run: Path) -> None:
        for chance in range(PATIENCE, -1, -1):
            try:
                fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # What a dead holder said of itself must not be taken for ours.
                os.ftruncate(self._fd, 0)
                return
            except OSError as error:
                if error.errno not in _HELD:
                    raise UsageError(f"{self._path} cannot be locked: {error.strerror}") from error
                if not chance:
                    who = _parse(os.pread(self._fd, 65536, 0))
                    holder = f"process {who.pid} on {who.host}" if who else "another engine"
                    raise RunLocked(f"{run} is being run by {holder}; 'batchdeck watch' shows it") from error
            time.sleep(TRY_SECONDS)

    def write(self, info: LockInfo) -> None:
        """Say who holds the lock and where it answers."""
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, msgspec.json.encode(info), 0)

    def release(self) -> None:
        os.ftruncate(self._fd, 0)
        os.close(self._fd)


def probe(run: Path) -> LockInfo | None:
    """Who holds a run's lock now; None when nobody does. Never call it in the process that holds the lock."""
    path = lock_path(run)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        try:
            # A shared lock: two clients that probe at once must not take each other for an engine.
            fcntl.lockf(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _HELD:
                raise
            held = True
        else:
            held = False
        if not held:
            return None
        return _parse(os.pread(fd, 65536, 0)) or LockInfo(host="?", pid=0, endpoint="", api=0, started_at=0.0)
    finally:
        os.close(fd)


def _parse(content: bytes) -> LockInfo | None:
    try:
        return msgspec.json.decode(content, type=LockInfo)
    except msgspec.DecodeError:
        return None
