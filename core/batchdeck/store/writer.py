"""The one writer: settlements and jobs in, one commit a turn out.

``ThreadWriter`` is the product's: a turn takes everything that came while the previous fsync ran, so groups form by
themselves and no timer delays a lone row. ``InlineWriter`` does the same on the loop's own clock, with a delay, so that
virtual time has a crash window too.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import msgspec

from batchdeck.errors import StoreError
from batchdeck.model import Counts, ErrorClass, Settlement
from batchdeck.store.runfile import RunFile

log = logging.getLogger("batchdeck.store")
T = TypeVar("T")
RETRY_SECONDS = 1.0


class Commit(msgspec.Struct, frozen=True):
    """What one turn made durable."""

    seq: int
    counts: Counts
    errors: tuple[ErrorClass, ...]
    settlements: tuple[Settlement, ...]


class Listener(Protocol):
    """Who is told, in the loop's thread."""

    def committed(self, commit: Commit) -> None:
        """These settlements are durable now, or a job changed the counters."""

    def trouble(self, message: str | None) -> None:
        """The run file cannot be written (nothing is lost, it is tried again); None: it can again."""

    def broken(self, error: BaseException) -> None:
        """The writer met an error that trying again will not mend."""


class Store(Protocol):
    """What the engine needs of a run file."""

    def listen(self, listener: Listener) -> None: ...

    def settle(self, settlement: Settlement) -> None:
        """Commit as soon as possible; ``Listener.committed`` tells when."""

    def submit(self, job: Callable[[RunFile], T]) -> asyncio.Future[T]:
        """Run a job inside a turn's transaction. It may run again when the commit fails, so it must do nothing else."""

    async def close(self) -> None:
        """Commit what there is, fold the WAL back, close the file."""


class _Job:
    __slots__ = ("future", "result", "run")

    def __init__(self, run: Callable[[RunFile], Any], future: asyncio.Future[Any]) -> None:
        self.run = run
        self.future = future
        self.result: Any = None


def _turn(file: RunFile, settlements: tuple[Settlement, ...], jobs: list[_Job]) -> Commit:
    """One transaction. Raises what SQLite raises, with everything undone."""
    file.begin()
    try:
        if settlements:
            file.settle(settlements)
        for job in jobs:
            job.result = job.run(file)
        file.commit()
    except BaseException:
        file.rollback()
        raise
    return Commit(file.seq, file.counts(), file.errors(), settlements)


def _heard(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()


class ThreadWriter:
    """Owns the run file in a thread of its own."""

    def __init__(self, file: RunFile, loop: asyncio.AbstractEventLoop) -> None:
        self._file = file
        self._loop = loop
        self._listener: Listener | None = None
        self._settlements: deque[Settlement] = deque()
        self._jobs: deque[_Job] = deque()
        self._current: list[_Job] = []
        self._wake = threading.Condition()
        self._called = False
        self._closing = False
        self._broken: BaseException | None = None
        self._closed: asyncio.Future[None] = loop.create_future()
        self._thread = threading.Thread(target=self._work, name="batchdeck-store", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<ThreadWriter {len(self._settlements)} to settle, {len(self._jobs)} jobs>"

    def listen(self, listener: Listener) -> None:
        self._listener = listener

    def settle(self, settlement: Settlement) -> None:
        self._settlements.append(settlement)
        if not self._called:
            # At the end of this loop iteration: woken at once, the thread would take the interpreter away from the
            # slot that is about to send its next request.
            self._called = True
            self._loop.call_soon(self._call)

    def submit(self, job: Callable[[RunFile], T]) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self._loop.create_future()
        # Samples and events are not waited for; a broken writer is told to the listener.
        future.add_done_callback(_heard)
        if self._broken is not None:
            future.set_exception(StoreError(str(self._broken)))
            return future
        with self._wake:
            self._jobs.append(_Job(job, future))
            self._wake.notify()
        return future

    async def close(self) -> None:
        with self._wake:
            self._closing = True
            self._wake.notify()
        await asyncio.shield(self._closed)

    def _work(self) -> None:
        try:
            while self._next_turn():
                pass
            self._file.checkpoint(final=True)
            self._file.close()
            self._tell(self._finish, None)
        except StoreError as error:
            log.error("%s", error)
            self._file.close()
            self._tell(self._break, error)
        except BaseException as error:
            log.exception("the store's writer broke")
            self._tell(self._break, StoreError(f"the run file cannot be written: {error}"))

    def _next_turn(self) -> bool:
        with self._wake:
            while not (self._settlements or self._jobs or self._closing):
                self._wake.wait()
            # The loop appends without the lock; only this thread takes out, so nothing can slip between.
            settlements = tuple(self._settlements.popleft() for _ in range(len(self._settlements)))
            # One job a turn: a chunk of input must not hold up answers for longer than its own commit.
            jobs = self._current = [self._jobs.popleft()] if self._jobs else []
            if not settlements and not jobs:
                return False
        troubled = False
        while True:
            try:
                commit = _turn(self._file, settlements, jobs)
                break
            except sqlite3.OperationalError as error:
                troubled = True
                message = f"the run file cannot be written ({error}); nothing is lost, it is tried again every second"
                log.error("%s", message)
                self._tell(self._troubled, message)
                with self._wake:
                    self._wake.wait_for(lambda: False, timeout=RETRY_SECONDS)
                    if self._closing:
                        raise StoreError(message) from error
        if troubled:
            self._tell(self._troubled, None)
        self._tell(self._committed, commit, jobs)
        self._file.checkpoint()
        return True

    def _call(self) -> None:
        self._called = False
        with self._wake:
            self._wake.notify()

    def _tell(self, what: Callable[..., None], *values: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(what, *values)

    def _committed(self, commit: Commit, jobs: list[_Job]) -> None:
        if self._listener is not None:
            self._listener.committed(commit)
        for job in jobs:
            if not job.future.done():
                job.future.set_result(job.result)

    def _troubled(self, message: str | None) -> None:
        if self._listener is not None:
            self._listener.trouble(message)

    def _finish(self, _: None) -> None:
        if not self._closed.done():
            self._closed.set_result(None)

    def _break(self, error: BaseException) -> None:
        self._broken = error
        for job in (*self._current, *self._jobs):
            if not job.future.done():
                job.future.set_exception(StoreError(str(error)))
        if self._listener is not None:
            self._listener.broken(error)
        if not self._closed.done():
            self._closed.set_result(None)


class InlineWriter:
    """Commits on the loop's clock, ``delay`` seconds after the first thing to commit."""

    def __init__(self, file: RunFile, delay: float = 0.0) -> None:
        self._file = file
        self._delay = delay
        self._listener: Listener | None = None
        self._settlements: list[Settlement] = []
        self._jobs: list[_Job] = []
        self._timer: asyncio.TimerHandle | None = None

    def listen(self, listener: Listener) -> None:
        self._listener = listener

    def settle(self, settlement: Settlement) -> None:
        self._settlements.append(settlement)
        self._arm()

    def submit(self, job: Callable[[RunFile], T]) -> asyncio.Future[T]:
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.append(_Job(job, future))
        self._arm()
        return future

    async def close(self) -> None:
        self._flush()
        self._file.checkpoint(final=True)
        self._file.close()

    def _arm(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._delay, self._flush)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        settlements, self._settlements = tuple(self._settlements), []
        jobs, self._jobs = self._jobs, []
        if not settlements and not jobs:
            return
        commit = _turn(self._file, settlements, jobs)
        if self._listener is not None:
            self._listener.committed(commit)
        for job in jobs:
            if not job.future.done():
                job.future.set_result(job.result)
