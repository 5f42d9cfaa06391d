"""Reads a run file in a thread, one query at a time, and ends a query that nobody waits for any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from batchdeck.store.reader import RunReader

T = TypeVar("T")

ASK_AGAIN = 0.02
"""Seconds between two interrupts: one that falls between two queries is lost."""


class Reading:
    """A ``RunReader`` of its own for questions that may take long. Opened with the first one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reader: RunReader | None = None
        self._turn = asyncio.Lock()

    async def ask(self, question: Callable[[RunReader], T]) -> T:
        """The answer, or ``StoreError``. Cancelling the caller interrupts the query and waits until it has ended."""
        async with self._turn:
            answer = asyncio.ensure_future(asyncio.to_thread(self._answer, question))
            try:
                return await asyncio.shield(answer)
            except asyncio.CancelledError:
                while not answer.done():
                    if self._reader is not None:
                        self._reader.interrupt()
                    await asyncio.wait({answer}, timeout=ASK_AGAIN)
                answer.exception()  # taken, so that asyncio does not report the interrupted query as lost
                raise

    async def close(self) -> None:
        async with self._turn:
            if self._reader is not None:
                self._reader.close()
                self._reader = None

    def _answer(self, question: Callable[[RunReader], T]) -> T:
        if self._reader is None:
            self._reader = RunReader(self._path)
        return question(self._reader)
