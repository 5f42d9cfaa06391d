"""The runs known here, read in a thread: an ended run once, and a file that cannot be read is a line that says so."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from batchdeck import lock
from batchdeck.config import known_runs, lock_path
from batchdeck.errors import StoreError
from batchdeck.model import LockInfo, RunMeta
from batchdeck.store.reader import RunReader

Stamp = tuple[int, ...]


@dataclass(frozen=True)
class RunLine:
    """One run of the list: its ``meta``, or the ``error`` that kept it from being read."""

    path: Path
    meta: RunMeta | None
    error: str = ""

    def contains(self, words: str) -> bool:
        """Whether name, model, provider, state or file name contain the words, whatever their case."""
        text = [self.path.stem, self.error]
        if self.meta is not None:
            config = self.meta.config
            text += [self.meta.run, self.meta.state, config.model, config.provider, config.input]
        return words.casefold() in "\n".join(text).casefold()


class Listing:
    """Remembers what it read by the files' times, so that a folder of ended runs costs a ``stat`` each."""

    def __init__(self) -> None:
        self._read: dict[Path, tuple[Stamp, RunLine]] = {}

    def look(self) -> list[RunLine]:
        """All runs, newest first. Blocks: call it in a thread, one call at a time."""
        paths = known_runs()
        self._read = {path: self._look_at(path) for path in paths}
        return [self._read[path][1] for path in paths]

    def _look_at(self, path: Path) -> tuple[Stamp, RunLine]:
        stamp = _stamp(path)
        known = self._read.get(path)
        # A held lock says that an engine writes, and its counters change without a word in the files' times.
        if known is not None and known[0] == stamp and lock.probe(path) is None and not _lives(known[1]):
            return known
        try:
            with RunReader(path) as reader:
                return stamp, RunLine(path, reader.meta())
        except StoreError as error:
            return stamp, RunLine(path, None, str(error))


def last_holder(run: Path) -> int | None:
    """The process that held the run's lock last, as far as it left word: one that was killed did not wipe it out."""
    try:
        return msgspec.json.decode(lock_path(run).read_bytes(), type=LockInfo).pid or None
    except (OSError, msgspec.DecodeError):
        return None


def _lives(line: RunLine) -> bool:
    return line.meta is not None and line.meta.state in ("starting", "running", "paused", "draining")


def _stamp(path: Path) -> Stamp:
    stamp: list[int] = []
    for name in (path, path.with_name(path.name + "-wal")):
        try:
            info = name.stat()
        except OSError:
            continue
        if info.st_size:  # a reader leaves an empty WAL behind, which says nothing
            stamp += [info.st_mtime_ns, info.st_size]
    return tuple(stamp)
