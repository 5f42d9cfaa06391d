"""The runs known here, read in a thread: an ended run once, and a file that cannot be read is a line that says so."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import msgspec
from rich.cells import cell_len

from batchdeck import labels, lock
from batchdeck.config import known_runs, labels_path, lock_path
from batchdeck.errors import StoreError
from batchdeck.labels import Label
from batchdeck.model import LockInfo, RunMeta
from batchdeck.store.reader import RunReader
from batchdeck_tui.widgets.cells import one_line

LIVE = ("starting", "running", "paused", "draining")
POINTS = 40
"""Of a run's pace: as many as the widest sparkline has cells."""
PACES = 50
"""Runs whose pace is read at one look: a long list is there first, and its sparklines follow."""
PACE_EVERY = 4
"""Looks at a live run for each one at its pace, which changes slowly."""
MANY = 100
WHOLE_EVERY = 4
"""Runs from which on only each fourth look is at all of them, unless a whole one is asked for."""
Stamp = tuple[int, ...]


@dataclass(frozen=True)
class RunLine:
    """One run of the list: its ``meta``, or the ``error`` that kept it from being read.

    ``pace``: items done a second over the run's time, None as long as it was not read.
    """

    path: Path
    meta: RunMeta | None
    error: str = ""
    label: Label = labels.NONE
    pace: tuple[float, ...] | None = None

    @cached_property
    def key(self) -> str:
        """The path as text."""
        return str(self.path)

    @cached_property
    def title(self) -> str:
        """Name and tags, for one line."""
        return one_line(" ".join([self.name, *(f"#{tag}" for tag in self.label.tags)]))

    @cached_property
    def title_cells(self) -> int:
        return cell_len(self.title)

    @property
    def name(self) -> str:
        """What a person calls it, else its file's name."""
        return self.label.name or self.path.stem

    def contains(self, words: str) -> bool:
        """Whether name, tags, model, provider, state or file name contain the words, whatever their case."""
        text = [self.path.stem, self.error, labels.written(self.label)]
        if self.meta is not None:
            config = self.meta.config
            text += [self.meta.run, self.meta.state, config.model, config.provider, config.input]
        return words.casefold() in "\n".join(text).casefold()


class Listing:
    """Remembers what it read by the files' times, so that a folder of ended runs costs some ``stat`` each."""

    def __init__(self) -> None:
        self._read: dict[Path, tuple[Stamp, RunLine]] = {}
        self._real: dict[Path, str] = {}
        """Where each name leads to: to follow links costs more than all else of a look."""
        self._labels: dict[str, Label] = {}
        self._labels_stamp: Stamp | None = None
        self._looks = 0

    @property
    def is_behind(self) -> bool:
        """Whether there are runs whose pace was not read yet."""
        return any(line.meta is not None and line.pace is None for _, line in self._read.values())

    def look(self, *, whole: bool = True) -> list[RunLine]:
        """All runs. Blocks: call it in a thread, one call at a time.

        whole: False may leave it, in a long list, at those that live and those whose pace is still to be read.
        """
        self._looks += 1
        is_whole = whole or len(self._read) < MANY or self._looks % WHOLE_EVERY == 0
        called = self._called()
        read: dict[Path, tuple[Stamp, RunLine]] = {}
        left = PACES
        for path in known_runs() if is_whole else list(self._read):
            known = self._read.get(path)
            if known is None or is_whole or _lives(known[1]) or (left and known[1].pace is None):
                stamp, line = self._look_at(path, paced=left > 0)
                left -= line.pace is not None and (known is None or known[1].pace is not line.pace)
            else:
                stamp, line = known
            label = called.get(self._real[path], labels.NONE)
            read[path] = stamp, line if line.label == label else replace(line, label=label)
        self._read = read
        return [line for _, line in read.values()]

    def _called(self) -> dict[str, Label]:
        file = labels_path()
        stamp = _stamp(str(file))
        if stamp != self._labels_stamp:
            self._labels, self._labels_stamp = labels.read(file), stamp
        return self._labels

    def _look_at(self, path: Path, *, paced: bool) -> tuple[Stamp, RunLine]:
        """paced: read the run's pace, too, where it is not known."""
        real = self._real.get(path) or self._real.setdefault(path, labels.key(path))
        stamp = _stamp(real, f"{real}-wal", f"{real}.lock")
        known = self._read.get(path)
        before = known[1] if known is not None else RunLine(path, None)
        changed = known is None or known[0] != stamp
        is_known = before.meta is None or before.pace is not None or not paced
        if known is not None and not changed and is_known and not self._may_live(before, stamp):
            return known
        try:
            with RunReader(path, still=True) as reader:
                meta, pace = reader.meta(), before.pace
                if pace is None:
                    is_due = paced
                elif meta.state in LIVE:
                    is_due = self._looks % PACE_EVERY == 0
                else:
                    is_due = changed or _lives(before)
                if is_due:
                    pace = tuple(reader.pace(POINTS))
                return stamp, RunLine(path, meta, label=before.label, pace=pace)
        except StoreError as error:
            return stamp, RunLine(path, None, str(error))

    def _may_live(self, line: RunLine, stamp: Stamp) -> bool:
        # Counters change without a word in the files' times. An engine writes into its lock file before all else, and
        # empties it when it ends: only one that is not empty can be held.
        return _lives(line) or (stamp[-1] > 0 and lock.probe(line.path) is not None)


def last_holder(run: Path) -> int | None:
    """The process that held the run's lock last, as far as it left word: one that was killed did not wipe it out."""
    try:
        return msgspec.json.decode(lock_path(run).read_bytes(), type=LockInfo).pid or None
    except (OSError, msgspec.DecodeError):
        return None


def _lives(line: RunLine) -> bool:
    return line.meta is not None and line.meta.state in LIVE


def _stamp(*names: str) -> Stamp:
    """Time and size of each file; of one that is missing or empty nothing, for a reader leaves an empty WAL behind."""
    stamp: list[int] = []
    for name in names:
        try:
            info = os.stat(name)
        except OSError:
            stamp += (0, 0)
            continue
        stamp += (info.st_mtime_ns, info.st_size) if info.st_size else (0, 0)
    return tuple(stamp)
