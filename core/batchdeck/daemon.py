"""The engine's process: lock, run file, control socket, readiness, signals, and the end.

``host`` is what runs inside a detached engine, and also what ``--headless`` runs in the foreground.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Protocol

import msgspec

from batchdeck import config as places
from batchdeck import labels, settings
from batchdeck.control.server import ControlServer, metrics_socket
from batchdeck.engine.engine import Engine
from batchdeck.engine.ingest import Ingest, unwaited
from batchdeck.engine.serverload import ANSWER_SECONDS, LoadWatch, patience
from batchdeck.engine.sharing import Sharing
from batchdeck.engine.slots import ProviderSlots
from batchdeck.engine.snapshots import Snapshots, summarize
from batchdeck.errors import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_SOME_FAILED,
    EXIT_STOPPED,
    BatchdeckError,
    TransportError,
    UsageError,
)
from batchdeck.inputs.base import Input
from batchdeck.inputs.open import open_input
from batchdeck.limits.account import account_id
from batchdeck.limits.shared import SharedPool
from batchdeck.lock import RunLock
from batchdeck.model import API_VERSION, Launch, LockInfo, Ready, RunConfig, Snapshot, Summary
from batchdeck.process import allow_open_files
from batchdeck.prompts import Prompts
from batchdeck.providers.connect import Connection, connect
from batchdeck.providers.vllm import metrics_url
from batchdeck.store.runfile import RunFile
from batchdeck.store.writer import Store, ThreadWriter
from batchdeck.transport.httpx_transport import HttpxTransport
from batchdeck.transport.page import Page

log = logging.getLogger("batchdeck.daemon")

WALL = time.time  # noqa: TID251 - the one place where the product's wall clock is chosen
LINGER_SECONDS = 2.0
KEY_HEADERS = ("authorization", "x-api-key", "api-key")
"""Whoever sends another key is another account."""
TICK_SECONDS = 0.2
OWN_FILES = 64
"""Open files that an engine needs beside one for each request."""


class Watcher(Protocol):
    """Who looks on in the foreground."""

    async def tick(self, snapshot: Snapshot, store: Store) -> None:
        """Called five times a second, and once at the end."""


def exit_code(summary: Summary) -> int:
    """What a run that has ended tells the shell."""
    if summary.state == "done":
        return EXIT_SOME_FAILED if summary.failed else EXIT_OK
    if summary.state == "stopped":
        return EXIT_STOPPED
    return EXIT_INTERRUPTED if summary.state in ("drained", "cancelled") else EXIT_FAILED


def engine_main(launch_fd: int, ready_fd: int) -> int:
    """The body of a detached engine process. Its log goes to standard error, which the launcher pointed at a file."""
    with os.fdopen(launch_fd, "rb") as pipe:
        launch = msgspec.json.decode(pipe.read(), type=Launch)
    os.umask(0o077)
    write_log(logging.StreamHandler(sys.stderr))

    def say(ready: Ready) -> None:
        # The launcher may be gone already; then there is nobody to tell.
        with os.fdopen(ready_fd, "wb", buffering=0) as pipe, contextlib.suppress(BrokenPipeError):
            pipe.write(msgspec.json.encode(ready) + b"\n")

    said: list[Ready] = []

    def ready(word: Ready) -> None:
        said.append(word)
        say(word)

    try:
        summary = run_loop(host(launch, ready))
    except BatchdeckError as error:
        log.error("%s", error)
        if not said:
            say(Ready(ok=False, error=str(error), exit_code=error.exit_code))
        return error.exit_code
    log.info("ended: %s", summary.state)
    return exit_code(summary)


def write_log(handler: logging.Handler) -> None:
    """Send the engine log to ``handler``."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", handlers=[handler]
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # A log on a full disk must not put tracebacks on the terminal.
    logging.raiseExceptions = False


def run_loop(main: Coroutine[Any, Any, Summary]) -> Summary:
    """Run the host on the engine's loop."""
    # The store's thread must not keep an answer waiting for Python's usual 5 ms.
    sys.setswitchinterval(0.0005)
    factory = None
    if sys.platform != "win32":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


async def host(launch: Launch, ready: Callable[[Ready], None], watcher: Watcher | None = None) -> Summary:
    """Run one run from lock to ending. ``watcher``: given in the foreground, where the process ends with the run.

    Raises ``BatchdeckError`` before ``ready`` was called when the run cannot start; nothing new is left behind then.
    """
    loop = asyncio.get_running_loop()
    run = Path(os.path.realpath(launch.path))
    if not run.parent.is_dir():
        raise UsageError(f"{run.parent} is not a folder")
    with contextlib.ExitStack() as held:
        # Before there is a lock or a run file: a port that is taken must not leave a run behind.
        metrics = None if launch.metrics_port is None else held.enter_context(metrics_socket(launch.metrics_port))
        lock = RunLock(run)
        held.callback(lock.release)
        async with _opened(launch, run) as (engine, snapshots, store):
            info = LockInfo(
                host=socket.gethostname(),
                pid=os.getpid(),
                endpoint=str(places.socket_path(run)),
                api=API_VERSION,
                started_at=WALL(),
            )
            server = ControlServer(engine, snapshots.take, info)
            await server.listen(Path(info.endpoint))
            if metrics is not None:
                await server.listen_metrics(metrics)
            lock.write(info)
            places.register(run)
            leave = asyncio.Event()
            with _signals(engine, loop, leave, foreground=watcher is not None):
                try:
                    ready(Ready(ok=True, endpoint=info.endpoint))
                    if launch.retry_failed:
                        # Nothing runs yet: this only puts the items back into the queue.
                        await engine.steer.retry(launch.retry_idx, launch.retry_error)
                    if launch.sweep:
                        begun = engine.sweeping.begin(launch.sweep, warm_up=launch.warm_up, drains=True)
                        if not begun.ok:
                            raise UsageError(begun.message)
                    if watcher is not None:
                        await _watched(engine, snapshots, store, watcher)
                    else:
                        await _live(engine, server, leave)
                finally:
                    await server.close()
            return summarize(snapshots.take(), engine.errors)


async def _live(engine: Engine, server: ControlServer, leave: asyncio.Event) -> None:
    """Work, and stay for as long as somebody watches: they may want failed items tried again."""
    while True:
        await engine.run()
        while not engine.wanted.is_set():
            if server.quiet > LINGER_SECONDS or leave.is_set():
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    await engine.wanted.wait()


async def _watched(engine: Engine, snapshots: Snapshots, store: Store, watcher: Watcher) -> None:
    """Work under somebody's eyes. When they cannot be shown anything any more (``| head``), it drains."""
    work = asyncio.create_task(engine.run())
    try:
        while not work.done():
            tick = asyncio.create_task(watcher.tick(snapshots.take(), store))
            # While the disk is full a tick that asks for rows may not come back before the run has ended.
            await asyncio.wait([tick, work], return_when=asyncio.FIRST_COMPLETED)
            if not tick.done():
                tick.cancel()
                break
            tick.result()
            await asyncio.wait([work], timeout=TICK_SECONDS)
        if engine.store_trouble is None:
            await watcher.tick(snapshots.take(), store)
    finally:
        if not work.done():
            engine.steer.drain()
        await work


@contextlib.contextmanager
def _signals(
    engine: Engine, loop: asyncio.AbstractEventLoop, leave: asyncio.Event, *, foreground: bool
) -> Iterator[None]:
    """The first signal drains, a second one cuts off; after the ending one makes the engine leave its watchers.

    A detached engine ignores that its terminal went away.
    """
    asked = 0

    def stop(name: str) -> None:
        nonlocal asked
        asked += 1
        if engine.is_ending:
            leave.set()
            return
        log.info("%s: %s", name, "draining" if asked == 1 else "cutting off")
        if asked == 1:
            engine.steer.drain()
        else:
            engine.steer.cancel()

    watched = [signal.SIGINT, signal.SIGTERM] + ([signal.SIGHUP] if foreground else [])
    for number in watched:
        loop.add_signal_handler(number, stop, signal.Signals(number).name)
    if not foreground:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        for number in watched:
            loop.remove_signal_handler(number)


@contextlib.asynccontextmanager
async def _opened(launch: Launch, run: Path) -> AsyncIterator[tuple[Engine, Snapshots, ThreadWriter]]:
    """All parts of a run, opened in an order that leaves nothing behind when one of them refuses."""
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:
        file = None if launch.config is not None else RunFile.open(run)
        if file is not None:
            stack.callback(file.close)
        name, config = file.run() if file is not None else (run.stem, launch.config)
        assert config is not None
        config = settings.apply(config, launch.settings)
        # A pipe may be slow to give its first line, and Ctrl+C must not wait for it.
        source = await unwaited(lambda: _source(run, config, file))
        # Without a source all rows are in the run file, each judged by the input's columns when it was read.
        prompts = Prompts(config.prompt, config.system, source.columns if source is not None else ())
        connection = await stack.enter_async_context(connect(config, launch.secrets, os.environ))
        await asyncio.to_thread(connection.provider.warm)
        if file is None:
            assert source is not None
            file = RunFile.create(run, name, config, source.fingerprint(), source.size, WALL())
            stack.callback(file.close)
            _unlabel(run)
        transport = HttpxTransport(connect_timeout=config.limits.connect)
        stack.push_async_callback(transport.close)
        counts, errors, seq, samples = file.counts(), file.errors(), file.seq, file.samples()
        store = ThreadWriter(file, loop)
        stack.push_async_callback(store.close)
        slots = ProviderSlots(config, prompts, connection, transport, WALL)
        reading = Ingest(source, config.input, prompts, config.limit, store) if source is not None else None
        if reading is not None:
            stack.callback(reading.close)
        engine = Engine(
            name,
            config,
            store,
            slots,
            counts=counts,
            errors=errors,
            seq=seq,
            samples=samples,
            wall=WALL,
            rng=random.Random(),
            ingest=reading.read if reading is not None else None,
            most=allow_open_files() - OWN_FILES,
        )
        size = source.size if source is not None else None
        if launch.settings:
            engine.steer.keep(config)
        if config.managed is None:
            await stack.enter_async_context(_shared(engine, connection))
        await stack.enter_async_context(_load_watched(engine, connection))
        yield engine, Snapshots(engine, str(run), WALL, loop.time, size), store


@contextlib.asynccontextmanager
async def _shared(engine: Engine, connection: Connection) -> AsyncIterator[None]:
    """While open, the account's quota is shared with the other runs of this machine. A run goes on alone without it."""
    keys = [value for name, value in connection.headers if name in KEY_HEADERS]
    try:
        home = places.home()
        account = account_id(connection.base_url, "\n".join(keys), home)
        pool = SharedPool(home / "quota.db", account, wall=WALL, priority=engine.config.priority)
    except BatchdeckError as error:
        log.warning("the quota is not shared with other runs: %s", error)
        yield
        return
    sharing = Sharing(engine, pool)
    await sharing.lease()
    leasing = asyncio.create_task(sharing.run())
    try:
        yield
    finally:
        leasing.cancel()
        try:
            await asyncio.wait([leasing])
            await sharing.leave()
        finally:
            await asyncio.to_thread(pool.close)


@contextlib.asynccontextmanager
async def _load_watched(engine: Engine, connection: Connection) -> AsyncIterator[None]:
    """While open, the server is asked how busy it is, if it is one that may tell."""
    misses = patience(engine.config.provider, connection.base_url)
    try:
        page = Page(metrics_url(connection.base_url), connection.headers, ANSWER_SECONDS) if misses else None
    except TransportError:
        page = None  # a proxy that cannot be used: the run's own requests tell of it
    if page is None:
        yield
        return
    watching = asyncio.create_task(LoadWatch(engine, page.get, WALL, misses).run())
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.wait([watching])
        await page.close()


def _unlabel(run: Path) -> None:
    """A name and tags at this path are of a run that was there before, and was deleted by hand."""
    try:
        labels.change(places.labels_path(), run, lambda _: labels.NONE)
    except BatchdeckError as error:
        log.warning("%s", error)


def _source(run: Path, config: RunConfig, file: RunFile | None) -> Input | None:
    """The input to read on from, None when it is read. Raises ``UsageError`` when it cannot be gone on with."""
    state, complete = file.source() if file is not None else (None, False)
    if complete:
        return None
    if state is not None and config.input == "-":
        raise UsageError(
            f"{run}: its input came from standard input and was cut short after {state.index} items;"
            " launch a new run with the whole input"
        )
    source = open_input(config.input, config.input_format)
    if state is not None and source.fingerprint() != state.fingerprint:
        raise UsageError(
            f"{config.input} has changed since the run began to read it (it reached item {state.index});"
            " put the old file back, or launch a new run"
        )
    return source
