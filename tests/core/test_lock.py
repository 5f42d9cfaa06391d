"""Two engines can never run one run, and a dead one never holds it: tried with real processes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchdeck.config import lock_path
from batchdeck.errors import RunLocked, UsageError
from batchdeck.lock import RunLock, probe

HOLD = """
import os, socket, sys
from pathlib import Path
from batchdeck.lock import RunLock
from batchdeck.model import LockInfo
lock = RunLock(Path(sys.argv[1]))
if len(sys.argv) > 2:
    lock.write(LockInfo(host=socket.gethostname(), pid=os.getpid(), endpoint="/tmp/x.sock", api=1, started_at=1e9))
print("held", flush=True)
sys.stdin.read()
lock.release()
"""
PROBE = """
import sys
from pathlib import Path
from batchdeck.lock import probe
print("ready", flush=True)
sys.stdin.readline()
answers = {None if (found := probe(Path(sys.argv[1]))) is None else found.pid for _ in range(2000)}
print(sorted(answers, key=str), flush=True)
"""


@contextlib.contextmanager
def child(code: str, *args: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process that has said its first word; ended with the block."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        assert process.stdout.readline()
        yield process
    finally:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        process.wait(10)
        process.stdout.close()


def holder(run: Path) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
    """An engine's process, as far as the lock is concerned."""
    return child(HOLD, str(run), "say")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run.db"


def test_a_second_engine_is_refused_with_the_first_one_s_pid(run: Path) -> None:
    with holder(run) as engine:
        with pytest.raises(RunLocked, match=rf"process {engine.pid} on {socket.gethostname()}; 'batchdeck watch'"):
            RunLock(run)
        found = probe(run)
        assert found is not None
        assert (found.pid, found.endpoint, found.host) == (engine.pid, "/tmp/x.sock", socket.gethostname())
    assert probe(run) is None
    RunLock(run).release()


def test_an_engine_that_has_not_said_its_name_still_holds(run: Path) -> None:
    with child(HOLD, str(run)):
        with pytest.raises(RunLocked, match="being run by another engine"):
            RunLock(run)
        found = probe(run)
        assert found is not None
        assert found.pid == 0


def test_kill_9_frees_the_run(run: Path) -> None:
    with holder(run) as engine:
        os.kill(engine.pid, signal.SIGKILL)
        engine.wait(10)
        assert lock_path(run).stat().st_size > 0
        assert probe(run) is None
        lock = RunLock(run)
        lock.release()
        assert lock_path(run).stat().st_size == 0


def test_clients_that_probe_at_once_do_not_take_each_other_for_an_engine(run: Path) -> None:
    RunLock(run).release()
    with child(PROBE, str(run)) as one, child(PROBE, str(run)) as other:
        for process in (one, other):
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in (one, other):
            assert process.stdout is not None
            assert process.stdout.readline() == "[None]\n"


def test_an_engine_that_starts_while_a_client_probes_is_not_refused(run: Path) -> None:
    """The prober's lock is held open here until the engine has met it."""
    reader = (
        "import fcntl, sys; file = open(sys.argv[1]); fcntl.lockf(file, fcntl.LOCK_SH); print('held', flush=True);"
        " sys.stdin.read()"
    )
    RunLock(run).release()
    with child(reader, str(lock_path(run))) as prober:
        with open(lock_path(run), "r+b") as file, pytest.raises(BlockingIOError):
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert prober.stdin is not None
        threading.Timer(0.12, prober.stdin.close).start()
        RunLock(run).release()


def test_a_client_that_never_lets_go_does_not_hang_the_engine(run: Path) -> None:
    reader = (
        "import fcntl, sys; file = open(sys.argv[1]); fcntl.lockf(file, fcntl.LOCK_SH); print('held', flush=True);"
        " sys.stdin.read()"
    )
    RunLock(run).release()
    with child(reader, str(lock_path(run))), pytest.raises(RunLocked, match="another engine"):
        RunLock(run)


def test_the_lock_file_is_private_and_may_be_read_only_to_clients(run: Path) -> None:
    assert probe(run) is None
    assert not lock_path(run).exists()
    with holder(run) as engine:
        assert stat.S_IMODE(lock_path(run).stat().st_mode) == 0o600
        lock_path(run).chmod(0o400)
        found = probe(run)
        assert found is not None
        assert found.pid == engine.pid


def test_a_lock_file_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"run\.db\.lock cannot be made: No such file or directory"):
        RunLock(tmp_path / "nowhere" / "run.db")
