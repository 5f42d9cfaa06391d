"""Real processes for tests: a simulator, the command line, engines. Each is ended by its own id."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from batchdeck import lock
from batchdeck.control.client import ControlClient
from batchdeck.errors import EngineGone
from batchdeck.model import Command, Reply, Snapshot
from tests.runs.nursery import Forked


class Sim:
    """A ``batchdeck sim`` process."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url

    def stats(self) -> dict[str, Any]:
        return self.call("/sim/stats")

    def call(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.base_url.removesuffix("/v1") + path, data=data, headers={"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)


@contextmanager
def simulator(*options: str) -> Iterator[Sim]:
    read, write = os.pipe()
    with open(os.devnull, "r+b", buffering=0) as nothing, open(write, "wb"):
        process = Forked(["sim", *options], (nothing.fileno(), write, nothing.fileno()))
    with open(read) as said:
        try:
            yield Sim(said.readline().strip())
        finally:
            process.send(signal.SIGTERM)
            process.wait(10)


def batchdeck(*arguments: str, stdin: str | None = None, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, as a person in a pipeline would."""
    given = [*map(str, arguments)]
    into, out, errors = os.pipe(), os.pipe(), os.pipe()
    command = Forked(given, (into[0], out[1], errors[1]))
    for end in (into[0], out[1], errors[1]):
        os.close(end)
    said: dict[int, str] = {}

    def feed() -> None:
        with contextlib.suppress(BrokenPipeError), open(into[1], "w") as pipe:
            pipe.write(stdin or "")

    def drain(end: int) -> None:
        with open(end) as pipe:
            said[end] = pipe.read()

    threads = [
        threading.Thread(target=feed),
        *(threading.Thread(target=drain, args=(end[0],)) for end in (out, errors)),
    ]
    for thread in threads:
        thread.start()
    code = command.wait(timeout)
    for thread in threads:
        thread.join()
    return subprocess.CompletedProcess(given, code, said[out[0]], said[errors[0]])


def launch(source: Path, sim: Sim, db: Path, *options: str) -> Path:
    """Start a detached run and return its run file."""
    done = batchdeck(
        "run", str(source), "--base-url", sim.base_url, "-m", "sim", "--db", str(db), "--detach", "--json", *options
    )
    assert done.returncode == 0, done.stderr
    return Path(json.loads(done.stdout)["path"])


def resume(run: Path, *options: str) -> None:
    done = batchdeck("resume", str(run), "--detach", "--json", *options)
    assert done.returncode == 0, done.stderr


async def wait_for(run: Path, condition: Callable[[Snapshot], bool]) -> Snapshot:
    """Follow a live run's snapshots until one meets the condition."""
    info = lock.probe(run)
    assert info is not None, "no engine holds this run"
    async with ControlClient(info.endpoint) as client:
        async for snapshot in client.stream():
            if condition(snapshot):
                return snapshot
    raise EngineGone("the run ended before the condition was met")


async def command(run: Path, command: Command) -> Reply:
    """Ask something of the engine of a run."""
    info = lock.probe(run)
    assert info is not None, "no engine holds this run"
    async with ControlClient(info.endpoint) as client:
        return await client.command(command)


async def wait_for_end(run: Path) -> Snapshot:
    return await wait_for(run, lambda snapshot: snapshot.state in ("done", "drained", "cancelled", "stopped", "failed"))


def kill(run: Path, number: int = signal.SIGKILL) -> None:
    """Send a signal to the engine of a run and wait until the kernel has freed its lock."""
    info = lock.probe(run)
    assert info is not None, "no engine holds this run"
    os.kill(info.pid, number)
    if number == signal.SIGKILL:
        wait_until_free(run)


def wait_until_free(run: Path) -> None:
    """Block until no process holds the run's lock: the kernel wakes us, nothing is polled."""
    import fcntl

    with open(run.with_name(run.name + ".lock"), "r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_SH)
