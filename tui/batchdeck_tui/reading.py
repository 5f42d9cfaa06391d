"""Asks a run's file, or its index, in a thread, one query at a time; ends one that nobody waits for any more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from batchdeck.errors import StoreError


class Askable(Protocol):
    """What can be asked from any thread, and interrupted from another."""

    def interrupt(self) -> None: ...

    def close(self) -> None: ...


T = TypeVar("T")
R = TypeVar("R", bound=Askable)

ASK_AGAIN = 0.02
"""Seconds between two interrupts: one that falls between two queries is lost."""


class Reading(Generic[R]):
    """A reader of its own for questions that may take long. Opened with the first one."""

    def __init__(self, path: Path, opened: Callable[[Path], R]) -> None:
        self._path = path
        self._opened = opened
        self._reader: R | None = None
        self._closed = False
        self._turn = asyncio.Lock()
        # SQLite crashes when a connection is closed under a query, and a task can be cancelled twice and leave its
        # thread behind: only the thread itself knows that it is done.
        self._busy = threading.Lock()

    async def ask(self, question: Callable[[R], T]) -> T:
        """The answer, or ``StoreError``. Cancelling the caller interrupts the query and waits until it has ended."""
        async with self._turn:
            answer = asyncio.ensure_future(asyncio.to_thread(self._answer, question))
            try:
                return await asyncio.shield(answer)
            except asyncio.CancelledError:
                answer.add_done_callback(_drop)
                while not answer.done():
                    self._interrupt()
                    await asyncio.wait({answer}, timeout=ASK_AGAIN)
                raise

    def close(self) -> None:
        """Interrupt what is asked, and take no more questions."""
        self._closed = True
        while not self._busy.acquire(timeout=ASK_AGAIN):
            self._interrupt()
        try:
            if self._reader is not None:
                self._reader.close()
                self._reader = None
        finally:
            self._busy.release()

    def _interrupt(self) -> None:
        if self._reader is not None:
            self._reader.interrupt()

    def _answer(self, question: Callable[[R], T]) -> T:
        with self._busy:
            if self._closed:
                raise StoreError(f"{self._path}: closed")
            if self._reader is None:
                self._reader = self._opened(self._path)
            return question(self._reader)


def _drop(answer: asyncio.Future[T]) -> None:
    """Take the outcome that nobody waits for, so that asyncio does not report an interrupted query as lost."""
    if not answer.cancelled():
        answer.exception()
