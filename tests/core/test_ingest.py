"""Rows on their way into the run file: from pipes that are slow, endless or broken, and from files of huge rows."""

from __future__ import annotations

import asyncio
import json
import os
import pty
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from batchdeck.engine.ingest import CHUNK_BYTES, CHUNK_ROWS, Ingest
from batchdeck.errors import InputError
from batchdeck.inputs.base import Input, SourceState
from batchdeck.inputs.open import open_input
from batchdeck.model import RunConfig
from batchdeck.prompts import Prompts
from batchdeck.store.runfile import RunFile
from batchdeck.store.writer import ThreadWriter
from tests.core.simulated import ask

CONFIG = RunConfig(name="r", input="-", input_format="jsonl", model="m", provider="sim")


class Rows:
    """What has arrived in a run file, to be waited for."""

    def __init__(self, ingest: Ingest) -> None:
        self.ingest = ingest
        self.places: list[SourceState] = []
        self._changed = asyncio.Event()

    def read(self) -> asyncio.Task[None]:
        return asyncio.create_task(self.ingest.read(self._arrived))

    def _arrived(self, place: SourceState) -> None:
        self.places.append(place)
        self._changed.set()

    async def reach(self, index: int) -> None:
        async with asyncio.timeout(20):
            while not self.places or self.places[-1].index < index:
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def into(path: Path, source: Input, limit: int | None = None) -> AsyncIterator[Rows]:
    file = RunFile.create(path, "r", CONFIG, "", source.size, 0.0)
    store = ThreadWriter(file, asyncio.get_running_loop())
    ingest = Ingest(source, "-", Prompts(None, None, source.columns), limit, store)
    try:
        yield Rows(ingest)
    finally:
        ingest.close()
        await store.close()


@contextmanager
def pipe(first: bytes) -> Iterator[tuple[Input, int]]:
    """Standard input with its first bytes, and where more can be written to it."""
    outside, inside = os.pipe()
    os.write(inside, first)
    with os.fdopen(outside, "rb", buffering=0) as raw, os.fdopen(inside, "wb", buffering=0):
        yield open_input("-", "jsonl", stdin=raw), inside


def lines(*numbers: int) -> bytes:
    return b"".join(b'{"prompt":"%d"}\n' % n for n in numbers)


def kept(path: Path) -> list[str]:
    return [json.loads(data)["prompt"] for (data,) in ask(path, "SELECT data FROM inputs ORDER BY idx")]


def is_complete(path: Path) -> bool:
    return bool(ask(path, "SELECT ingest_complete FROM source")[0][0])


async def test_rows_of_a_slow_pipe_do_not_wait_for_a_full_chunk(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    with pipe(lines(0, 1, 2)) as (source, inside):
        async with into(path, source) as rows:
            reading = rows.read()
            await rows.reach(3)
            os.write(inside, lines(3))
            await rows.reach(4)
            assert not is_complete(path)
            reading.cancel()
    assert kept(path) == ["0", "1", "2", "3"]


async def test_the_end_is_found_when_it_comes(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    outside, inside = os.pipe()
    os.write(inside, lines(0))
    with os.fdopen(outside, "rb", buffering=0) as raw:
        async with into(path, open_input("-", stdin=raw)) as rows:
            reading = rows.read()
            await rows.reach(1)
            assert not is_complete(path)
            os.close(inside)
            await asyncio.wait_for(reading, 20)
            assert is_complete(path)
    assert kept(path) == ["0"]


async def test_a_limit_is_the_end_of_a_pipe_that_has_none(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    with pipe(lines(*range(3))) as (source, _):
        async with into(path, source, limit=3) as rows:
            await asyncio.wait_for(rows.read(), 20)
            assert is_complete(path)
    assert kept(path) == ["0", "1", "2"]


async def test_a_run_that_was_drained_and_goes_on_reads_its_pipe_on(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    with pipe(lines(0, 1)) as (source, inside):
        async with into(path, source, limit=5) as rows:
            drained = rows.read()
            await rows.reach(2)
            drained.cancel()
            with pytest.raises(asyncio.CancelledError):
                await drained
            os.write(inside, lines(2, 3, 4))
            await asyncio.wait_for(rows.read(), 20)
    assert kept(path) == ["0", "1", "2", "3", "4"]


async def test_what_came_before_a_pipe_broke_is_kept(tmp_path: Path) -> None:
    """A terminal that hangs up: its last bytes are there, and then an error instead of an end."""
    path = tmp_path / "run.db"
    master, slave = pty.openpty()
    os.write(slave, lines(0, 1))
    os.close(slave)
    with os.fdopen(master, "rb", buffering=0) as raw:
        async with into(path, open_input("-", stdin=raw)) as rows:
            with pytest.raises(InputError, match="stdin: cannot be read"):
                await asyncio.wait_for(rows.read(), 20)
            assert not is_complete(path)
    assert kept(path) == ["0", "1"]


async def test_a_chunk_is_bounded_in_bytes_and_in_rows(tmp_path: Path) -> None:
    path, prompts = tmp_path / "run.db", tmp_path / "prompts.jsonl"
    lengths = [1_500_000] * 5 + [CHUNK_BYTES + 1] + [10] * (2 * CHUNK_ROWS)
    prompts.write_text("".join(json.dumps({"prompt": "x" * length}) + "\n" for length in lengths))
    async with into(path, open_input(prompts)) as rows:
        await asyncio.wait_for(rows.read(), 60)
    ends = [0, *(place.index for place in rows.places)]
    chunks = [lengths[begin:end] for begin, end in pairwise(ends)]
    assert [length for chunk in chunks for length in chunk] == lengths
    assert all(len(chunk) <= CHUNK_ROWS for chunk in chunks)
    assert all(len(chunk) == 1 or sum(chunk) <= CHUNK_BYTES for chunk in chunks)


async def test_a_reader_that_breaks_is_an_error_and_no_hang(tmp_path: Path) -> None:
    class Broken:
        name, format, columns, size = "p", "text", ("text",), None

        def fingerprint(self) -> str:
            return ""

        def rows(self, start: SourceState) -> Iterator[None]:
            raise ZeroDivisionError("a bug")

    async with into(tmp_path / "run.db", Broken()) as rows:  # type: ignore[arg-type]
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(rows.read(), 20)
