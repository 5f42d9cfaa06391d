"""From input rows to the run file, a chunk at a time, each chunk with the place in the input it reaches up to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from itertools import islice
from typing import Protocol, TypeVar

import msgspec

from batchdeck.errors import InputError
from batchdeck.inputs.base import Input, SourceState
from batchdeck.model import IngestRow, InputRow, Rendered
from batchdeck.store.runfile import storable
from batchdeck.store.writer import Store

CHUNK = 500
T = TypeVar("T")
Offload = Callable[[Callable[[], T]], Awaitable[T]]
"""Runs blocking work: ``asyncio.to_thread`` in the product, at once under virtual time."""


Arrived = Callable[[SourceState], None]
"""Told after each committed chunk how far the input was read."""


class Renders(Protocol):
    """What ingest needs of ``prompts.Prompts``: every row is rendered once, so that a bad one is known at once."""

    def render(self, fields: dict[str, object]) -> Rendered:
        """Raises ``InputError`` with the reason."""


async def ingest(
    source: Input,
    name: str,
    prompts: Renders,
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
    rows: Iterator[InputRow], room: int, name: str, prompts: Renders, state: SourceState
) -> tuple[list[IngestRow], SourceState]:
    chunk: list[IngestRow] = []
    for row in islice(rows, room):
        chunk.append(ingest_row(row, name, prompts))
        state = SourceState(offset=row.offset, line=row.line, index=row.index + 1, fingerprint=state.fingerprint)
    return chunk, state


def ingest_row(row: InputRow, name: str, prompts: Renders) -> IngestRow:
    """A row as the store takes it. A row that cannot be rendered is a bad line."""
    error, label = row.error, ""
    if error is None:
        try:
            label = prompts.render(row.fields).label
        except InputError as problem:
            error = f"{name}:{row.line}: {problem}"
    return IngestRow(
        index=row.index,
        line=row.line,
        data=storable(msgspec.json.encode(row.fields).decode()) if row.fields else "{}",
        label=storable(label),
        custom_id=storable(row.custom_id) if row.custom_id is not None else None,
        error=storable(error) if error is not None else None,
    )
