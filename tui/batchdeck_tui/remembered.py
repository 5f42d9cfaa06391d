"""What the console keeps from one session to the next: one small file in the data folder, 0600, that may be lost."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from batchdeck.config import home
from batchdeck.errors import BatchdeckError


class Remembered(msgspec.Struct, frozen=True, kw_only=True):
    """``columns``: those of the results table that are shown or hidden otherwise than at first, by name. ``widths``:
    cells of those that were made wider or narrower. ``theme``: its name, empty for the first one. ``habits``: those of
    ``habits.HABITS`` that were turned. ``form``: how answers are laid out, of ``answertext.FORMS``. ``runs_by``: the
    column by which the list of runs is ordered, empty for none; ``runs_down``: the largest first. ``files``: of prompts
    that were launched, and when, in seconds since the epoch."""

    theme: str = ""
    columns: dict[str, bool] = {}
    widths: dict[str, int] = {}
    habits: dict[str, bool] = {}
    form: str = ""
    runs_by: str = ""
    runs_down: bool = False
    files: dict[str, float] = {}


def recall() -> Remembered:
    """What was kept; what cannot be read is as if nothing had been."""
    try:
        return msgspec.json.decode(_path().read_bytes(), type=Remembered)
    except (OSError, msgspec.DecodeError, BatchdeckError):
        return Remembered()


def remember(**changes: Any) -> str:
    """Keep these of the fields. Returns what hindered it, empty when nothing did: no reason to stop anybody's work."""
    kept = msgspec.structs.replace(recall(), **changes)
    try:
        path = _path()
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600 by its contract
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(kept), indent=2))
            os.replace(draft, path)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(draft)
            raise
    except (OSError, BatchdeckError) as error:
        return str(error)
    return ""


def _path() -> Path:
    return home() / "console.json"
