"""The file in which a run's index may stand: told from any other of its name, which is never written to, or deleted."""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

INDEX_ID = 0x42444B49
"""SQLite's application id of an index."""
HEAD = 100
"""Bytes of the head of a SQLite file."""
_NAMES = {"copied", "figures", "texts"}


def is_index(file: Path) -> bool:
    """Whether a file is such a copy, or is to be one: told by its head (the file format of SQLite, section 1.3), one of
    the first version by its tables. A link is none."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        is_regular, head = stat.S_ISREG(os.fstat(descriptor).st_mode), os.pread(descriptor, HEAD, 0)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return is_regular and _is_ours(file, head)


def _is_ours(file: Path, head: bytes) -> bool:
    return not head or _has_our_head(head) or _is_of_before(file, head)


def _is_of_before(file: Path, head: bytes) -> bool:
    """The first version had no id."""
    if not head.startswith(b"SQLite format 3\0") or (head[60:64], head[68:72]) != ((1).to_bytes(4), bytes(4)):
        return False
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as db:
            return {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")} == _NAMES
    except sqlite3.Error:
        return False


def _has_our_head(head: bytes) -> bool:
    return head.startswith(b"SQLite format 3\0") and head[68:72] == INDEX_ID.to_bytes(4)


def claim(file: Path) -> bool:
    """Whether the copy may stand in this file: it is one already, or empty, or made here; and for its owner alone."""
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    except OSError:
        return False
    try:
        found, head = os.fstat(descriptor), os.pread(descriptor, HEAD, 0)
        if not stat.S_ISREG(found.st_mode) or not _is_ours(file, head):
            return False
        if found.st_mode & 0o077:
            os.fchmod(descriptor, 0o600)
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)


def discard(file: Path) -> None:
    """Delete a copy. It holds nothing that the run file does not."""
    if is_index(file):
        for ending in ("-wal", "-shm", ""):
            Path(f"{file}{ending}").unlink(missing_ok=True)


def identity(file: Path) -> tuple[int, int] | None:
    """Device and inode, which tell it from another file of its name; None: there is none."""
    try:
        found = file.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def temporary() -> Path:
    """Where SQLite has its temporary files (its documentation, Temporary Files, section 5)."""
    named = [os.environ.get(name, "") for name in ("SQLITE_TMPDIR", "TMPDIR")]
    return Path(next(filter(os.path.isdir, (*named, "/var/tmp", "/usr/tmp", "/tmp")), "."))


def free(folder: Path) -> int:
    """Bytes that are free in this folder; none where nobody says."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return 0
    return found.f_bavail * found.f_frsize
