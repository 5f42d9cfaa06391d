"""The only module that talks to a run: follows its engine while one lives, and its file when none does."""

from __future__ import annotations

import asyncio
import importlib
import re
import time
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

from textual.message import Message

from batchdeck import lock
from batchdeck.config import log_path
from batchdeck.errors import BatchdeckError, EngineGone, StoreError
from batchdeck.format import some
from batchdeck.inert import inert
from batchdeck.model import Command, Counts, Detail, Event, Reply, Snapshot
from batchdeck.store.index import Query, RunIndex
from batchdeck.store.reader import RunReader
from batchdeck_tui.commandline import call, call_said
from batchdeck_tui.following import page_top
from batchdeck_tui.frames import FASTEST, Frames
from batchdeck_tui.messages import LiveReady, MetaReady, NewSamples, RowsSettled, SnapshotReady, Unreadable
from batchdeck_tui.reading import Reading
from batchdeck_tui.selection import Selection

REST = 2.0
"""Seconds that a terminal which falls behind is left to catch up, at most."""
PROBE = 1.0
"""Seconds between two looks whether an engine has come (back)."""
COPYING = 0.3
"""Seconds that a search waits for the index to be brought up to date; what is not in it by then is found later."""
LOG_LINES = 5
LOG_BYTES = 8192
if TYPE_CHECKING:
    from batchdeck.control.client import ControlClient

_STARTED = re.compile(r" INFO batchdeck\.engine: (?:started|resumed): ")


class Found(NamedTuple):
    """Rows that match. ``missing``: rows that were not looked at yet."""

    rows: Selection
    missing: int = 0


def _lines(rows: Iterable[int]) -> bytes:
    return "".join(f"{idx}\n" for idx in rows).encode()


def _found(index: RunIndex, query: Query) -> Found:
    rows = index.select(query)
    return Found(Selection(rows, sorted=query.is_ascending), index.items - index.copied)


class RunBridge:
    """One run, followed. ``post`` gets the messages; call everything from the event loop's own thread.

    is_behind: whether the terminal has yet to take what was painted last; nothing is handed on while it has.
    """

    def __init__(
        self, path: Path, post: Callable[[Message], object], is_behind: Callable[[], bool] = lambda: False
    ) -> None:
        self.path = path
        self._post = post
        self._is_behind = is_behind
        self._client: ControlClient | None = None
        self._file = Reading(path, RunReader)
        self._search = Reading(path, RunReader)
        self._index = Reading(path, RunIndex)
        self._frames = Frames()
        self._is_due = False
        """Whether a person did something, and waits to see it."""
        self._snapshot: Snapshot | None = None
        self._ticked = asyncio.Event()
        self._sampled = asyncio.Event()
        self._settled: tuple[int, int] | None = None
        self._last_t = -1.0
        self._last_event = 0
        self._visible: Sequence[int] = ()
        self._opened: int | None = None
        self._census = False
        self._following = False
        self._known = _identity(path)
        """Device and inode of the run file when it was seen first."""
        self._is_gone = False

    def __repr__(self) -> str:
        how = "engine" if self._client else "file"
        return f"<RunBridge {self.path.name} from its {how}, {self._frames}>"

    async def watch(self) -> None:
        """Follow the run until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._watch_file())
                await self._watch_engine()
        finally:
            self._file.close()
            self._search.close()
            self._index.close()

    async def _watch_engine(self) -> None:
        await self._tell_file()
        told = True
        while True:
            info = await asyncio.to_thread(lock.probe, self.path)
            if info is not None and info.endpoint and await self._follow(info.endpoint):
                told = False
                await asyncio.sleep(FASTEST)
                continue
            if info is not None or not told:
                # Held by an engine that is not heard here (it starts, it ends, or is on another host): its file
                # still tells how far it is.
                await self._tell_file()
                told = info is None
            await asyncio.sleep(PROBE)

    async def _watch_file(self) -> None:
        """Say when the run file is gone: what was opened before goes on answering as if nothing were."""
        while True:
            self._tell_gone(await asyncio.to_thread(_identity, self.path))
            await asyncio.sleep(PROBE)

    def _tell_gone(self, now: tuple[int, int] | None) -> None:
        self._known = self._known or now
        was_gone, self._is_gone = self._is_gone, self._known is not None and now != self._known
        if self._is_gone and not was_gone:
            what = "The run file was deleted or moved away" if now is None else "Another file took the run file's place"
            self._post(Unreadable(f"{what}; what stands here is the last that it said"))

    def look(self, visible: Sequence[int], opened: int | None, census: bool, following: bool = False) -> None:
        """What the screen shows: its rows in view, the row in the detail pane, and whether it lists all in flight.

        following: the view goes where rows are in flight. It lists all items then, row by row.
        """
        self._visible, self._opened, self._census = visible, opened, census
        self._following = following and census

    def painted(self, seconds: float) -> None:
        """How long the last paint took: a console with much else to do gets fewer snapshots."""
        self._frames.painted(seconds)

    @property
    def is_calm(self) -> bool:
        """Whether few snapshots are to be handed on."""
        return self._frames.is_calm

    @is_calm.setter
    def is_calm(self, is_calm: bool) -> None:
        self._frames.is_calm = is_calm

    async def send(self, command: Command) -> Reply:
        """A command to the live engine, and its answer; never raises for an engine that is gone."""
        if self._client is None:
            return Reply(ok=False, message="no engine is working on this run; R resumes it")
        try:
            reply = await self._client.command(command)
            self._is_due = True
            return reply
        except EngineGone as error:
            return Reply(ok=False, message=str(error))

    async def detail(self, idx: int) -> Detail | None:
        """All that the file knows of one item. Raises ``StoreError``."""
        return await self._file.ask(lambda reader: reader.detail(idx))

    async def select(self, query: Query) -> Found:
        """The settled rows that match. Cancel it for a newer search. Raises ``StoreError``."""
        if query == Query(state=query.state):
            state = cast("Literal['queued', 'done', 'failed', 'skipped'] | None", query.state)
            rows = await self._search.ask(lambda reader: reader.select(state))
            return Found(Selection(rows))
        loop = asyncio.get_running_loop()
        end = loop.time() + COPYING
        while await self._index.ask(lambda index: index.catch_up()) and loop.time() < end:
            pass
        return await self._index.ask(lambda index: _found(index, query))

    async def copy(self) -> None:
        """Bring the index up to date, in steps between which a search has its turn. Raises ``StoreError``."""
        while await self._index.ask(lambda index: index.catch_up()):
            pass

    async def next_match(self, words: str, idx: int, step: int) -> int | None:
        """The next row with these words (step 1) or the one before (-1), of all rows. Raises ``StoreError``."""
        await self.copy()
        return await self._index.ask(lambda index: index.next_match(words, idx, step))

    async def events(self, after: int) -> list[Event]:
        """What happened after the event of this number, oldest first. Raises ``StoreError``."""
        return await self._file.ask(lambda reader: reader.events(after))

    async def export(self, target: Path, rows: array[int] | None) -> str:
        """Write these rows (None: all) to a file, as the command line does it. Returns its sentence.

        Raises ``BatchdeckError``.
        """
        arguments = ["export", str(self.path), "--output", str(target.absolute())]
        if rows is None:
            return await call_said(arguments)
        return await call_said([*arguments, "--rows", "-"], await asyncio.to_thread(_lines, rows))

    async def idx_of(self, custom_id: str) -> int | None:
        """The item of this id. Raises ``StoreError``."""
        return await self._index.ask(lambda index: index.idx_of(custom_id))

    async def _follow(self, endpoint: str) -> bool:
        """Hand on what the engine says until it ends; False when it never said a word."""
        self._snapshot = None
        client_module = await asyncio.to_thread(importlib.import_module, "batchdeck.control.client")
        client_class: type[ControlClient] = client_module.ControlClient
        async with client_class(endpoint) as client, asyncio.TaskGroup() as group:
            beside = [group.create_task(self._follow_live(client)), group.create_task(self._follow_samples())]
            self._client = client
            try:
                await self._follow_stream(client)
            finally:
                self._client = None
                for task in beside:
                    task.cancel()
        self._post(LiveReady({}, None, [] if self._census else None))
        return self._snapshot is not None

    async def _follow_stream(self, client: ControlClient) -> None:
        loop = asyncio.get_running_loop()
        last = float("-inf")
        rest = 0.0
        skipped: Snapshot | None = None
        try:
            async for snapshot in client.stream():
                since = loop.time() - last
                if self._is_behind():
                    # As long again as the terminal takes for this one: half its time is left for what a key paints.
                    rest, skipped = min(REST, 2 * since), snapshot
                    continue
                # A snapshot that is a little early is not held back for a whole tick.
                if since < (rest if self._is_due else max(rest, self._frames.interval - FASTEST / 4)):
                    skipped = snapshot
                    continue
                last, rest, skipped, self._is_due = loop.time(), 0.0, None, False
                self._frames.began(time.thread_time())
                self._hand_on(snapshot)
        except EngineGone:
            # It vanished or said goodbye: the lock tells which, and the caller asks it.
            pass
        if skipped is not None:
            self._hand_on(skipped)

    def _hand_on(self, snapshot: Snapshot) -> None:
        before, self._snapshot = self._snapshot, snapshot
        self._post(SnapshotReady(snapshot))
        self._tell_settled(snapshot.counts.items, snapshot.seq)
        if before is None or before.samples != snapshot.samples:
            self._sampled.set()
        self._ticked.set()

    async def _follow_samples(self) -> None:
        while True:
            await self._sampled.wait()
            self._sampled.clear()
            try:
                await self._tell_samples()
            except StoreError as error:
                self._post(Unreadable(str(error)))

    async def _follow_live(self, client: ControlClient) -> None:
        """At each tick the rows in flight that somebody looks at; nothing is asked while none are."""
        shown = False
        while True:
            await self._ticked.wait()
            self._ticked.clear()
            if not (self._snapshot and self._snapshot.in_flight) and not shown:
                continue
            try:
                message = await self._ask_live(client)
            except EngineGone:
                continue  # the stream ends too, and decides
            shown = bool(message.rows or message.opened or message.census)
            self._post(message)

    async def _ask_live(self, client: ControlClient) -> LiveReady:
        opened, top = None, None
        visible: Sequence[int] = tuple(self._visible)
        all_rows = (await client.live()).rows if self._census else None
        rows = {row.idx: row for row in all_rows or ()}
        if rows and visible and self._following:
            # the text is for the page that will be shown, not for the one that these rows are about to leave
            top = page_top([rows[idx] for idx in sorted(rows)], visible[0], len(visible))
            visible = range(top, top + len(visible))
        if visible:
            shown = set(visible)
            # one that is in flight no more between the two answers has settled
            rows = {idx: row for idx, row in rows.items() if idx not in shown}
            rows |= {row.idx: row for row in (await client.live(visible)).rows}
        if self._opened is not None:
            opened = next(iter((await client.live([self._opened], full=True)).rows), None)
        return LiveReady(rows, opened, None if all_rows is None else sorted(rows), top)

    async def _tell_file(self) -> None:
        try:
            meta, seq = await self._file.ask(lambda reader: (reader.meta(), reader.seq()))
            log = await asyncio.to_thread(_log_tail, self.path) if meta.state in ("interrupted", "failed") else ""
            self._post(MetaReady(meta, log))
            self._tell_settled(meta.counts.items, seq)
            await self._tell_samples()
        except StoreError as error:
            self._post(Unreadable(str(error)))

    async def _tell_samples(self) -> None:
        after, known = self._last_t, self._last_event
        samples, events = await self._file.ask(lambda reader: (reader.samples(after), reader.events(known)))
        if samples:
            self._last_t = samples[-1].t
        if events:
            self._last_event = events[-1].id
        self._post(NewSamples(samples, events))

    def _tell_settled(self, items: int, seq: int) -> None:
        if self._settled != (items, seq):
            self._settled = (items, seq)
            self._post(RowsSettled(items))


async def resume(
    run: Path,
    *,
    retry_failed: bool = False,
    options: Mapping[str, str] | None = None,
    error: str | None = None,
    idx: Sequence[int] | None = None,
) -> Reply:
    """Start an engine on a run again, as the command line does it; never raises for one that cannot start.

    options: settings that change with it, by their names, as a person wrote them. error, idx: with
    ``retry_failed``, only items that failed of this class, only these.
    """
    arguments = ["resume", str(run), "--detach", "--json"]
    # joined to its option, no value is ever taken for an option of its own
    arguments += [f"--{name.replace('_', '-')}={text}" for name, text in (options or {}).items()]
    arguments += ["--retry-failed"] if retry_failed else []
    arguments += [f"--error={error}"] if error is not None else []
    arguments += ["--rows=-"] if idx is not None else []
    try:
        counts, classes = await asyncio.to_thread(_counts, run)
        if retry_failed and 0 < counts.failed <= counts.bad_lines:
            return Reply(ok=False, message="No failed item can be tried again: their input lines are bad, mend those")
        failed = await asyncio.to_thread(_failed, run, idx) if idx is not None else 0
        if idx is not None and not failed:
            return Reply(ok=False, message="None of the marked rows has failed")
        await call(arguments, _lines(idx or ()))
    except BatchdeckError as refused:
        return Reply(ok=False, message=str(refused))
    if error is not None:
        return Reply(ok=True, message=f"{some(classes.get(error, 0), 'failed item')} of {inert(error)} go again")
    if idx is not None:
        return Reply(ok=True, message=f"{some(failed, 'failed item')} go again")
    return Reply(ok=True, message="Failed items are tried again" if retry_failed else "The run goes on")


def _counts(run: Path) -> tuple[Counts, dict[str, int]]:
    """With how many items failed of each class."""
    with RunReader(run) as reader:
        return reader.counts(), {error.error_type: error.items for error in reader.errors()}


def _failed(run: Path, idx: Sequence[int]) -> int:
    """How many of these items have failed."""
    with RunReader(run) as reader:
        return sum(
            row.state == "failed" for start in range(0, len(idx), 500) for row in reader.rows(idx[start : start + 500])
        )


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from another of the same name; None when there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _log_tail(run: Path) -> str:
    """The last lines of the engine's log, none from before its last start: how an earlier one ended tells nothing."""
    try:
        with log_path(run).open("rb") as log:
            log.seek(max(0, log.seek(0, 2) - LOG_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    starts = [place for place, line in enumerate(lines) if _STARTED.search(line)]
    lines = lines[starts[-1] if starts else 0 :]
    return "\n".join(line for line in lines[-LOG_LINES:] if line.strip())
