"""From input rows to the run file, a chunk at a time, each chunk with the place in the input it reaches up to.

Reading may wait for as long as the other end of a pipe likes. So it is done in daemon threads of its own, not in the
loop's executor, which a process waits for before it ends.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import threading
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import NamedTuple, TypeVar

import msgspec

from batchdeck.errors import InputError
from batchdeck.inputs.base import Input, SourceState
from batchdeck.inputs.check import render_row
from batchdeck.model import IngestRow, InputRow
from batchdeck.prompts import Prompts
from batchdeck.store.runfile import storable
from batchdeck.store.writer import Store

log = logging.getLogger("batchdeck.ingest")

CHUNK_ROWS = 500
CHUNK_BYTES = 4 * 1024 * 1024
"""A chunk holds no more than this and these, but for a single row that is larger."""
LINGER_SECONDS = 0.1
"""How long rows that are there wait for others to be committed with."""

T = TypeVar("T")
Arrived = Callable[[SourceState], Awaitable[None] | None]
"""Told after each committed chunk how far the input was read. What it returns is waited for before reading on."""


class Ingest:
    """Reads one input into one run file. Engines are started again; the input is read on from where it stood."""

    def __init__(self, source: Input, name: str, prompts: Prompts, limit: int | None, store: Store) -> None:
        self._source = source
        self._name = name
        self._prompts = prompts
        self._limit = limit
        self._store = store
        self._feed: Feed | None = None

    async def read(self, arrived: Arrived) -> None:
        """Read to the end. ``arrived`` is called after each commit. Raises ``InputError`` when it cannot be read."""
        place, _ = await self._store.submit(lambda file: file.source())
        feed = self._feed_from(place)
        complete = False
        while not complete:
            try:
                rows, place, complete = await feed.take()
            except InputError:
                self._feed = None
                raise
            await self._store.submit(lambda file: file.ingest(rows, place, complete))  # noqa: B023
            rest = arrived(place)
            if rest is not None and not complete:
                await rest

    def close(self) -> None:
        """Read no further. A thread that waits for its input is left to wait."""
        if self._feed is not None:
            self._feed.close()

    def _feed_from(self, place: SourceState) -> Feed:
        if self._feed is None or self._feed.taken != place:
            self.close()
            self._feed = Feed(self._source, self._name, self._prompts, self._limit, place)
        return self._feed


class Chunk(NamedTuple):
    """``place``: what the rows reach up to. ``complete``: the input, or its limit, ends there."""

    rows: list[IngestRow]
    place: SourceState
    complete: bool


class Feed:
    """The rows of an input from ``place`` on, read by a thread that is at most a chunk ahead."""

    def __init__(self, source: Input, name: str, prompts: Prompts, limit: int | None, place: SourceState) -> None:
        self.taken = place
        """Up to where rows were taken out."""
        self._source = source
        self._name = name
        self._prompts = prompts
        self._left = None if limit is None else max(0, limit - place.index)
        self._loop = asyncio.get_running_loop()
        self._some = asyncio.Event()
        self._enough = asyncio.Event()
        self._room = threading.Condition()
        self._rows: list[IngestRow] = []
        self._bytes = 0
        self._place = place
        self._ended = False
        self._error: BaseException | None = None
        self._closed = False
        threading.Thread(target=self._work, args=(place,), name="batchdeck-ingest", daemon=True).start()

    async def take(self) -> Chunk:
        """A full chunk, or what came within ``LINGER_SECONDS``, or the end. Nothing is lost when this is cancelled."""
        await self._some.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                await self._enough.wait()
        with self._room:
            if self._error is not None and not self._rows:
                raise self._error
            rows, self._rows, self._bytes = self._rows, [], 0
            self.taken = self._place
            if not self._ended:
                self._some.clear()
                self._enough.clear()
            self._room.notify()
            return Chunk(rows, self.taken, self._ended and self._error is None)

    def close(self) -> None:
        with self._room:
            self._closed = True
            self._room.notify()

    def _work(self, start: SourceState) -> None:
        try:
            for row in islice(self._source.rows(start), self._left):
                place = SourceState(
                    offset=row.offset, line=row.line, index=row.index + 1, fingerprint=start.fingerprint
                )
                if not self._put(ingest_row(row, self._name, self._prompts), place):
                    return
        except InputError as error:
            self._end(error)
        except BaseException as error:
            log.exception("reading the input broke")
            self._end(error)
        else:
            self._end(None)

    def _put(self, row: IngestRow, place: SourceState) -> bool:
        """Add a row when there is room. False: no more rows are wanted."""
        with self._room:
            while not self._closed and not self._has_room(len(row.data)):
                self._tell(self._enough)
                self._room.wait()
            if self._closed:
                return False
            self._rows.append(row)
            self._bytes += len(row.data)
            self._place = place
            if len(self._rows) == 1:
                self._tell(self._some)
            if not self._has_room(1):
                self._tell(self._enough)
        return True

    def _has_room(self, size: int) -> bool:
        return not self._rows or (len(self._rows) < CHUNK_ROWS and self._bytes + size <= CHUNK_BYTES)

    def _end(self, error: BaseException | None) -> None:
        with self._room:
            self._ended = True
            self._error = error
            self._tell(self._some)
            self._tell(self._enough)

    def _tell(self, event: asyncio.Event) -> None:
        """Wake the loop; it is open for as long as nobody has closed the feed."""
        if not self._closed:
            self._loop.call_soon_threadsafe(event.set)


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


async def unwaited(work: Callable[[], T]) -> T:
    """What blocking ``work`` returns or raises. When this is cancelled, the work is left to itself."""
    done: concurrent.futures.Future[T] = concurrent.futures.Future()

    def run() -> None:
        done.set_running_or_notify_cancel()
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised where it is awaited
            done.set_exception(error)

    threading.Thread(target=run, name="batchdeck-open", daemon=True).start()
    return await asyncio.wrap_future(done)
