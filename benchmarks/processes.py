"""What the measurements share: a simulator, commands, and the console on a real terminal, each a process of its own."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from batchdeck import lock

PATIENCE = 600.0
"""Seconds after which something that never comes true is an error."""
OVERLAP = 4_000
"""Bytes of earlier output in which the beginning of a match may stand."""
_SEQUENCE = re.compile(rb"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-_])")


@contextmanager
def workshop() -> Iterator[Path]:
    """A folder with a data folder of its own for every process started from here; both are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="batchdeck-benchmark-") as folder:
        os.environ["BATCHDECK_HOME"] = str(Path(folder, "home"))
        # An installed package is compiled; without this each process would compile ours anew.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        yield Path(folder)


@contextmanager
def simulator(*options: str) -> Iterator[str]:
    """The base URL of a ``batchdeck sim`` process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "batchdeck", "sim", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


def batchdeck(*arguments: str) -> dict[str, Any]:
    """What a command prints as JSON. Ends the program when the command fails."""
    done = subprocess.run([sys.executable, "-m", "batchdeck", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"batchdeck {' '.join(arguments)}: exit code {done.returncode}: {done.stderr}")
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


@contextmanager
def launched(source: Path, base_url: str, *options: str) -> Iterator[tuple[Path, int]]:
    """A detached run of ``source``: its run file and its engine's process id. The engine is gone afterwards."""
    printed = batchdeck("run", str(source), "--base-url", base_url, "-m", "sim", "--detach", "--json", *options)
    run = Path(printed["path"])
    info = lock.probe(run)
    assert info is not None, f"{run}: no engine"
    try:
        yield run, info.pid
    finally:
        left = lock.probe(run)
        if left is not None and left.pid == info.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(info.pid, signal.SIGKILL)


def memory(pid: int, field: str = "VmRSS") -> float:
    """MB of a live process by /proc; ``VmHWM`` is its peak. Linux only."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(re.findall(rf"^{field}:\s+(\d+) kB", status, re.M)[0]) / 1000


def cpu(pid: int) -> float:
    """Seconds of CPU that a live process has used, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Terminal:
    """The console on a pseudo-terminal of its own. ``output``: all bytes that it wrote."""

    def __init__(self, run: Path, width: int = 160, height: int = 48, beats: Path | None = None) -> None:
        """beats: where ``heartbeat.py`` is to write how late the console's loop was."""
        command = ["-m", "batchdeck", "watch", str(run)]
        if beats is not None:
            command = [str(Path(__file__).with_name("heartbeat.py")), str(run), str(beats)]
        self.started = time.perf_counter()
        self.output = bytearray()
        self.pid, self._fd = pty.fork()
        if not self.pid:
            os.environ |= {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
            fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
            os.execv(sys.executable, [sys.executable, *command])

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(OSError):
            self.press("q")
            self.read(3.0)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._fd)

    def press(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def until(self, pattern: str) -> float:
        """Seconds until what is written from now on shows ``pattern``."""
        began = time.perf_counter()
        if not self.read(PATIENCE, re.compile(pattern.encode())):
            raise SystemExit(f"the console never showed {pattern}: {bytes(self.output[-2000:])!r}")
        return time.perf_counter() - began

    def read(self, seconds: float, pattern: re.Pattern[bytes] | None = None) -> bool:
        """Read on until the pattern is in the text written from now on; False when the time is over."""
        start = len(self.output)
        end = time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0 and select.select([self._fd], [], [], left)[0]:
            self.output += os.read(self._fd, 65_536)  # an error when the console has ended
            if pattern is not None and pattern.search(_SEQUENCE.sub(b"", bytes(self.output[start:]))):
                return True
            # Not all of it again with each piece: the reader must not be what slows the console down.
            start = max(start, len(self.output) - OVERLAP)
        return False


def report(title: str, rows: list[tuple[str, str]], figures: dict[str, Any]) -> None:
    """A table for people on standard error, one line of JSON on standard output."""
    width = max(len(name) for name, _ in rows)
    print(title, file=sys.stderr)
    for name, value in rows:
        print(f"  {name:<{width}}  {value}", file=sys.stderr)
    print(json.dumps(figures), flush=True)
