"""Reads a whole input without sending anything: what a launch would do with it."""

from __future__ import annotations

from itertools import islice
from typing import Any

import msgspec

from batchdeck.errors import InputError
from batchdeck.inert import inert
from batchdeck.inputs.base import Input, SourceState
from batchdeck.model import InputRow, Rendered
from batchdeck.prompts import Prompts

SHOWN = 20
"""Bad lines that are named; the others are counted."""
SAMPLE_ROWS = 20
SAMPLE_COLUMNS = 60
SAMPLE_VALUE = 200
"""Characters of one value in the sample; a column whose name is longer is not in it."""
SAMPLE_SIZE = 64 * 1024
"""Characters of all names and values in the sample, but for one row."""

_encode = msgspec.json.Encoder().encode


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One of the first rows, to look at: its columns as text, cut; for a bad line ``error`` says why instead."""

    line: int
    values: dict[str, str] = {}
    error: str | None = None


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """``rows``: all of them, good and bad. ``bad``: (line, ``FILE:LINE: reason``) of the first bad ones.

    ``size``: bytes of what is asked for the good ones, without what every request says alike.
    """

    rows: int
    bad: tuple[tuple[int, str], ...]
    bad_count: int
    first: Rendered | None
    columns: tuple[str, ...]
    sample: tuple[Sample, ...]
    size: int


def check(source: Input, prompts: Prompts, limit: int | None = None) -> Checked:
    """Read and render the first ``limit`` rows (None: all), one at a time. Raises ``InputError`` as reading does."""
    rows = bad_count = size = 0
    bad: list[tuple[int, str]] = []
    sample: list[Sample] = []
    room = SAMPLE_SIZE
    first: Rendered | None = None
    for row in islice(source.rows(SourceState()), limit):
        rows += 1
        rendered, error = render_row(row, prompts, source.name)
        first = first or rendered
        if error is not None:
            bad_count += 1
            if len(bad) < SHOWN:
                bad.append((row.line, error))
        if rendered is not None:
            size += len(_encode(rendered.messages if rendered.body is None else rendered.body))
        if room > 0 and len(sample) < SAMPLE_ROWS:
            sample.append(_sample(row))
            room -= sum(len(name) + len(value) for name, value in sample[-1].values.items())
    return Checked(
        rows=rows,
        bad=tuple(bad),
        bad_count=bad_count,
        first=first,
        columns=source.columns,
        sample=tuple(sample),
        size=size,
    )


def render_row(row: InputRow, prompts: Prompts, name: str) -> tuple[Rendered | None, str | None]:
    """What is asked for a row, or ``FILE:LINE: reason`` why nothing can be. ``name``: the input's."""
    if row.error is not None:
        return None, row.error
    try:
        return prompts.render(row.fields), None
    except InputError as error:
        return None, f"{inert(name)}:{row.line}: {inert(str(error))}"


def _sample(row: InputRow) -> Sample:
    names = islice((name for name in row.fields if len(name) <= SAMPLE_VALUE), SAMPLE_COLUMNS)
    return Sample(line=row.line, values={name: _text(row.fields[name]) for name in names}, error=row.error)


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else "" if value is None else _encode(value).decode()
    return text if len(text) <= SAMPLE_VALUE else text[: SAMPLE_VALUE - 1] + "…"
