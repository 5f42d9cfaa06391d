"""Deletes a run: its file and what lies beside it, while nobody works on it."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from batchdeck.config import forget, index_path, lock_path, log_path, socket_path
from batchdeck.errors import BatchdeckError, RunLocked, UsageError
from batchdeck.lock import RunLock, probe
from batchdeck.store.indexfile import is_index
from batchdeck.store.reader import RunReader


@dataclass(frozen=True)
class Doomed:
    """A run that can be deleted. ``items``: how many it has; ``size``: bytes of all its files; ``identity``: what tells
    its file from another of the same name. ``link``: whether ``path`` only leads to it, and is all that would go."""

    path: Path
    items: int
    size: int
    identity: tuple[int, int]
    link: bool


def examine(path: Path) -> Doomed:
    """What would go with this run.

    Raises ``StoreError`` for a file that is no run, ``RunLocked`` for one that an engine holds.
    """
    with RunReader(path, still=True) as reader:
        items = reader.counts().items
    info = probe(path)
    if info is not None:
        raise RunLocked(f"{path} is being run by process {info.pid} on {info.host}; drain or cancel it first")
    link = path.is_symlink()
    size = sum(_size(name) for name in ([path] if link else _files(path)))
    found = path.stat()
    return Doomed(path, items, size, (found.st_dev, found.st_ino), link)


def remove(doomed: Doomed) -> str:
    """Delete it, holding its lock. A link goes alone: what it leads to is somebody else's to delete.

    Returns what stayed of it elsewhere, in the list of runs or in the labels, as a sentence; empty: nothing did. Raises
    ``RunLocked`` when an engine came in between, ``UsageError`` when another file did, and ``BatchdeckError`` for what
    cannot be deleted.
    """
    try:
        if doomed.link:
            doomed.path.unlink()
            return ""
        return _remove_file(doomed)
    except OSError as error:
        raise BatchdeckError(f"{doomed.path} cannot be deleted: {error.strerror}") from error


def _remove_file(doomed: Doomed) -> str:
    path = doomed.path
    lock = RunLock(path)
    try:
        found = path.stat()
        if (found.st_dev, found.st_ino) != doomed.identity:
            raise UsageError(f"{path} is not the file any more that it was; nothing is deleted")
        for name in _files(path):
            name.unlink(missing_ok=True)
    finally:
        lock.release()
    with suppress(BatchdeckError, OSError):
        socket_path(path).unlink()
    try:
        forget(path)
    except BatchdeckError as error:
        return str(error)
    return ""


def _files(path: Path) -> list[Path]:
    """All names that belong to a run, in the order in which they go: a log that outlives its database would be taken
    for the log of the next one of that name, and the lock is held until the end."""
    run = Path(os.path.realpath(path))
    index = index_path(run)
    ours = [_with(index, "-wal"), _with(index, "-shm"), index] if is_index(index) else []
    return [_with(run, "-wal"), _with(run, "-shm"), *ours, run, log_path(run), lock_path(run)]


def _with(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0
