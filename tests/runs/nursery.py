"""Commands that need not load first: each is forked from a process that has loaded batchdeck already.

To start Python and to load what a command needs costs half a second of a core, and the tests start hundreds. A forked
command is a process of its own all the same: its environment, folder, streams, signals and exit code are what they are
after an exec. What is loaded when is tested elsewhere, with real starts, and engines are always started for real.

    worker ── socket: arguments, environment, streams ──> nursery ── fork ──> waiter ── fork ──> command
       <───────────────── the same socket: pid, exit code ────────────────────┘
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

LOADED = (
    *(f"batchdeck.cli.{name}" for name in ("entry", "ctl", "demo", "export", "ls", "resume", "run", "show", "sim")),
    *(f"batchdeck.{name}" for name in ("daemon", "export", "spawn", "control.client", "sim.server", "sim.timers")),
    # what httpx loads with its first request
    "anyio._backends._asyncio",
    "httpcore",
)


class Forked:
    """A command under way. ``streams``: descriptors that are its standard input, output and error."""

    def __init__(self, arguments: list[str], streams: tuple[int, int, int]) -> None:
        self.arguments = arguments
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(_nursery()))
        asked = {"arguments": arguments, "environment": dict(os.environ), "folder": os.getcwd()}
        text = json.dumps(asked).encode()
        sent = socket.send_fds(self._socket, [text], list(streams))
        self._socket.sendall(text[sent:])
        self._socket.shutdown(socket.SHUT_WR)
        self._said = self._socket.makefile()
        self.pid = int(self._said.readline())

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self, timeout: float) -> int:
        """Its exit code, negative for the signal that ended it. Raises ``subprocess.TimeoutExpired``; call it once."""
        self._socket.settimeout(timeout)
        with self._socket, self._said:
            try:
                return int(self._said.readline())
            except TimeoutError:
                self.send(signal.SIGKILL)
                raise subprocess.TimeoutExpired(self.arguments, timeout) from None


@cache
def _nursery() -> Path:
    """Where this process's nursery listens; started when it is needed first, and gone when this process is."""
    folder = Path(tempfile.mkdtemp(prefix="nursery-"))
    address = folder / "socket"
    process = subprocess.Popen(
        [sys.executable, "-P", __file__, str(address)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.stdout.close()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(process.wait)
    atexit.register(process.stdin.close)
    return address


def serve(address: str) -> bool:
    """Fork a command for each that asks, until standard input ends. True: this is a command now, to be carried out."""
    with socket.socket(socket.AF_UNIX) as listener, selectors.DefaultSelector() as selector:
        listener.bind(address)
        listener.listen()
        print("ready", flush=True)
        # how a waiter ends is of no interest
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        selector.register(listener, selectors.EVENT_READ)
        selector.register(sys.stdin, selectors.EVENT_READ)
        while True:
            ready = [key.fileobj for key, _ in selector.select()]
            if sys.stdin in ready:
                return False
            client, _ = listener.accept()
            with client:
                if os.fork() == 0:
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    _bear(client)
                    return True


def _bear(client: socket.socket) -> None:
    """Fork the command that the client asks for, and return as it; the parent tells the client how it ends."""
    text, streams, _, _ = socket.recv_fds(client, 65_536, 3)
    while more := client.recv(65_536):
        text += more
    pid = os.fork()
    if pid:
        for stream in (0, 1, 2, *streams):
            os.close(stream)
        with contextlib.suppress(OSError):  # the client has gone
            client.sendall(b"%d\n" % pid)
            _, status = os.waitpid(pid, 0)
            client.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
        os._exit(0)
    asked: dict[str, Any] = json.loads(text)
    for target, stream in enumerate(streams):
        os.dup2(stream, target)
        os.close(stream)
    # those of the nursery remember what was read and written through them
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.argv = ["batchdeck", *asked["arguments"]]


if __name__ == "__main__":
    for name in LOADED:
        importlib.import_module(name)
    gc.freeze()  # collected in each command, what is shared would be copied
    if serve(sys.argv[1]):
        importlib.import_module("batchdeck.__main__").main()
