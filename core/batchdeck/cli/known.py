"""The runs known here, read for a list: a file that cannot be read is told apart, and ends nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchdeck.model import RunMeta


def known() -> list[tuple[Path, RunMeta | str]]:
    """Every run file known here, the newest first: what it holds, or why it cannot be read."""
    from batchdeck.config import known_runs

    found = [(path, _read(path)) for path in known_runs()]
    # When a run was made, not when its file last changed: SQLite changes it at odd moments, and the list would jump.
    return sorted(found, key=lambda pair: 0.0 if isinstance(pair[1], str) else -pair[1].created_at)


def _read(path: Path) -> RunMeta | str:
    from batchdeck.errors import StoreError
    from batchdeck.store.reader import RunReader

    try:
        with RunReader(path, still=True) as reader:
            return reader.meta()
    except StoreError as error:
        return str(error)
    except (OSError, ValueError) as error:  # a lock that is not ours to open; a config that does not parse
        return f"{path}: {error}"


def readable() -> Iterator[tuple[Path, RunMeta]]:
    """Those that can be read."""
    for path, found in known():
        if not isinstance(found, str):
            yield path, found
