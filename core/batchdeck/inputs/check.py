"""Reads a whole input without sending anything: what a launch would do with it."""

from __future__ import annotations

from itertools import islice

import msgspec

from batchdeck.errors import InputError
from batchdeck.inert import inert
from batchdeck.inputs.base import Input, SourceState
from batchdeck.model import InputRow, Rendered
from batchdeck.prompts import Prompts

SHOWN = 20
"""Bad lines that are named; the others are counted."""


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """``rows``: all of them, good and bad. ``bad``: (line, ``FILE:LINE: reason``) of the first bad ones."""

    rows: int
    bad: tuple[tuple[int, str], ...]
    bad_count: int
    first: Rendered | None
    columns: tuple[str, ...]


def check(source: Input, prompts: Prompts, limit: int | None = None) -> Checked:
    """Read and render the first ``limit`` rows (None: all), one at a time. Raises ``InputError`` as reading does."""
    rows = bad_count = 0
    bad: list[tuple[int, str]] = []
    first: Rendered | None = None
    for row in islice(source.rows(SourceState()), limit):
        rows += 1
        rendered, error = render_row(row, prompts, source.name)
        first = first or rendered
        if error is not None:
            bad_count += 1
            if len(bad) < SHOWN:
                bad.append((row.line, error))
    return Checked(rows=rows, bad=tuple(bad), bad_count=bad_count, first=first, columns=source.columns)


def render_row(row: InputRow, prompts: Prompts, name: str) -> tuple[Rendered | None, str | None]:
    """What is asked for a row, or ``FILE:LINE: reason`` why nothing can be. ``name``: the input's."""
    if row.error is not None:
        return None, row.error
    try:
        return prompts.render(row.fields), None
    except InputError as error:
        return None, f"{inert(name)}:{row.line}: {inert(str(error))}"
