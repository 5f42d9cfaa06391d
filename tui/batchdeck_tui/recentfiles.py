"""Files of prompts that were launched from here, or are known as inputs of runs: the newest first."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from batchdeck.config import known_runs
from batchdeck.errors import BatchdeckError
from batchdeck.store.reader import RunReader
from batchdeck_tui.remembered import recall, remember

MOST = 12
RUNS = 40
"""Runs that are asked for their inputs, the newest ones."""


@dataclass(frozen=True)
class RecentFile:
    """``used_at``: when a run of it was launched last, seconds since the epoch. ``size``: bytes."""

    path: str
    used_at: float
    size: int


def recent_files() -> list[RecentFile]:
    """At most ``MOST``; those that are gone are left out. Blocks: call it in a thread."""
    used = dict(recall().files)
    try:
        runs = known_runs()[:RUNS]
    except (BatchdeckError, OSError):
        runs = []
    for run in runs:
        found = _input_of(run)
        if found is not None:
            used[found[0]] = max(found[1], used.get(found[0], 0.0))
    found_files = (_there(path, used[path]) for path in sorted(used, key=lambda path: used[path], reverse=True))
    recent: list[RecentFile] = []
    for file in found_files:
        if file is not None:
            recent.append(file)
        if len(recent) == MOST:
            break
    return recent


def keep_file(path: str, now: float) -> None:
    """Remember that a run of this file was launched; now: seconds since the epoch. Blocks."""
    files = {**recall().files, os.path.abspath(path): now}
    newest = sorted(files, key=lambda path: files[path], reverse=True)[:MOST]
    remember(files={path: files[path] for path in newest})


def shown_path(path: str) -> str:
    """A path as a person would type it here: beside or below the working folder without that, else from ``~``."""
    for folder, instead in ((os.getcwd(), ""), (os.path.expanduser("~"), "~/")):
        if folder != os.sep and path.startswith(folder + os.sep):
            return instead + path[len(folder) + 1 :]
    return path


def _input_of(run: Path) -> tuple[str, float] | None:
    try:
        with RunReader(run) as reader:
            meta = reader.meta()
    except BatchdeckError:
        return None
    source = meta.config.input
    return (source, meta.created_at) if os.path.isabs(source) else None


def _there(path: str, used_at: float) -> RecentFile | None:
    try:
        return RecentFile(path, used_at, os.path.getsize(path)) if os.path.isfile(path) else None
    except (OSError, ValueError):
        return None
