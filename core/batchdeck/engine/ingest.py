"""From input rows to the run file, a chunk at a time, each chunk with the place in the input it reaches up to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from itertools import islice
from typing import TypeVar

import msgspec

from batchdeck.inputs.base import Input, SourceState
from batchdeck.inputs.check import render_row
from batchdeck.model import IngestRow, InputRow
from batchdeck.prompts import Prompts
from batchdeck.store.runfile import storable
from batchdeck.store.writer import Store

CHUNK = 500
T = TypeVar("T")
Offload = Callable[[Callable[[], T]], Awaitable[T]]
"""Runs blocking work: ``asyncio.to_thread`` in the product, at once under virtual time."""


Arrived = Callable[[SourceState], None]
"""Told after each committed chunk how far the input was read."""


async def ingest(
    source: Input,
    name: str,
    prompts: Prompts,
    store: Store,
    state: SourceState,
    limit: int | None,
    offload: Offload[tuple[list[IngestRow], SourceState]],
    arrived: Arrived,
) -> None:
    """Read ``source`` from ``state`` to its end. ``arrived`` is called after each commit."""
    rows = source.rows(state)
    complete = False
    while not complete:
        room = CHUNK if limit is None else min(CHUNK, limit - state.index)
        chunk: list[IngestRow] = []
        if room > 0:
            before = state
            chunk, state = await offload(lambda: _chunk(rows, room, name, prompts, before))  # noqa: B023
        complete = len(chunk) < CHUNK
        await store.submit(lambda file: file.ingest(chunk, state, complete))  # noqa: B023
        arrived(state)


def _chunk(
    rows: Iterator[InputRow], room: int, name: str, prompts: Prompts, state: SourceState
) -> tuple[list[IngestRow], SourceState]:
    chunk: list[IngestRow] = []
    for row in islice(rows, room):
        chunk.append(ingest_row(row, name, prompts))
        state = SourceState(offset=row.offset, line=row.line, index=row.index + 1, fingerprint=state.fingerprint)
    return chunk, state


def ingest_row(row: InputRow, name: str, prompts: Prompts) -> IngestRow:
    """A row as the store takes it. A row that cannot be rendered is a bad line."""
    rendered, error = render_row(row, prompts, name)
    return IngestRow(
        index=row.index,
        line=row.line,
        data=storable(msgspec.json.encode(row.fields).decode()) if row.fields else "{}",
        label=storable(rendered.label) if rendered is not None else "",
        custom_id=storable(row.custom_id) if row.custom_id is not None else None,
        error=storable(error) if error is not None else None,
    )
