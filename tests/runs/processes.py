"""Real processes for tests: a simulator, the command line, engines. Each is ended by its own id."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from batchdeck import lock
from batchdeck.control.client import ControlClient
from batchdeck.errors import EngineGone
from batchdeck.model import Command, Reply, Snapshot


class Sim:
    """A ``batchdeck sim`` process."""

    def __init__(self, process: subprocess.Popen[str], base_url: str) -> None:
        self.process = process
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
    process = subprocess.Popen(
        [sys.executable, "-m", "batchdeck", "sim", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield Sim(process, process.stdout.readline().strip())
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


def batchdeck(*arguments: str, stdin: str | None = None, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, as a person in a pipeline would."""
    return subprocess.run(
        [sys.executable, "-m", "batchdeck", *map(str, arguments)],
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


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
