"""``… | batchdeck run -``: prompts are sent as they come, and a pipe that stays open keeps no process alive."""

from __future__ import annotations

import json
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from batchdeck.model import Command
from batchdeck.store.reader import RunReader
from tests.runs.processes import Sim, command, simulator, wait_for

PATIENCE = 30.0


@contextmanager
def piped(sim: Sim, db: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """``batchdeck run -`` whose standard input stays open."""
    endpoint = ["--base-url", sim.base_url, "-m", "sim", "--db", str(db)]
    process = subprocess.Popen(
        [sys.executable, "-m", "batchdeck", "run", "-", *endpoint, *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        yield process
    finally:
        for stream in (process.stdin, process.stdout, process.stderr):
            stream.close()
        process.kill()
        process.wait()


def ask(process: subprocess.Popen[bytes], prompt: str) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps({"prompt": prompt}).encode() + b"\n")


def answered(process: subprocess.Popen[bytes]) -> int:
    """The index of the next row on standard output."""
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], PATIENCE)[0], "no row was printed"
    return int(json.loads(process.stdout.readline())["index"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_each_prompt_is_answered_when_it_is_typed_and_a_signal_ends_the_run(tmp_path: Path, number: int) -> None:
    db = tmp_path / "run.db"
    with simulator("--latency-ms", "10") as sim, piped(sim, db, "--follow", "--quiet") as process:
        for index in range(3):
            ask(process, f"prompt {index}")
            assert answered(process) == index
        process.send_signal(number)
        assert process.wait(PATIENCE) == 130
        assert process.stderr is not None
        assert process.stderr.read() == b""
    with RunReader(db) as reader:
        assert reader.meta().state == "drained"
        assert reader.meta().counts.done == 3


def test_ctrl_c_before_the_first_prompt_leaves_nothing_behind(tmp_path: Path) -> None:
    db = tmp_path / "run.db"
    with simulator() as sim, piped(sim, db, "--json") as process:
        # More than a pipe holds: this returns when the blank lines are being read.
        assert process.stdin is not None
        process.stdin.write(b"\n" * 200_000)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
        assert process.stderr is not None
        assert process.stderr.read().strip() == b"batchdeck: interrupted"
    assert not db.exists()


async def test_a_detached_engine_ends_although_its_pipe_is_open(tmp_path: Path) -> None:
    db = tmp_path / "run.db"
    with simulator("--latency-ms", "10") as sim, piped(sim, db, "--detach", "--json") as process:
        ask(process, "a")
        assert process.wait(PATIENCE) == 0
        await wait_for(db, lambda snapshot: snapshot.counts.done == 1)
        ask(process, "b")
        await wait_for(db, lambda snapshot: snapshot.counts.done == 2)
        assert (await command(db, Command(name="drain"))).ok
        assert process.stdin is not None
        assert has_no_reader(process.stdin.fileno()), "the engine's process is still there"
    with RunReader(db) as reader:
        assert reader.meta().state == "drained"


def has_no_reader(fd: int) -> bool:
    """Wait until the last process that could read this pipe is gone: the kernel wakes us."""
    poll = select.poll()
    poll.register(fd, 0)
    return any(event & select.POLLERR for _, event in poll.poll(PATIENCE * 1000))
