"""The runs known here, read for a list: a file that cannot be read is told apart, and ends nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchdeck.model import RunMeta


def known() -> Iterator[tuple[Path, RunMeta | str]]:
    """Every run file known here, the newest first: what it holds, or why it cannot be read."""
    from batchdeck.config import known_runs
    from batchdeck.errors import StoreError
    from batchdeck.store.reader import RunReader

    for path in known_runs():
        try:
            with RunReader(path, still=True) as reader:
                yield path, reader.meta()
        except StoreError as error:
            yield path, str(error)
        except (OSError, ValueError) as error:  # a lock that is not ours to open; a config that does not parse
            yield path, f"{path}: {error}"


def readable() -> Iterator[tuple[Path, RunMeta]]:
    """Those that can be read."""
    for path, found in known():
        if not isinstance(found, str):
            yield path, found
