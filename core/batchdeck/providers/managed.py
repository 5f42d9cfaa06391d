"""Starts a provider that batchdeck itself brings, as a child process, for as long as a run needs it.

The child's end is tied to its parent's: it watches its stdin, a pipe that only the parent holds open, so it also ends
when the parent was killed. The first line on its stdout is its base URL.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from batchdeck.errors import EXIT_USAGE, BatchdeckError
from batchdeck.inert import inert
from batchdeck.model import RunConfig
from batchdeck.providers import local

START_TIMEOUT = 300.0
"""Seconds to get ready in; a large model takes its time to load."""
GRACE = 3.0
"""Seconds to end in after its stdin was closed, and again after SIGTERM."""
TAIL_LINES = 20
ERROR_LINES = 3
REFUSALS = ("Error: ", "batchdeck: ")
"""How our command line begins the line that says what it does not take; usage may stand before it."""


class Managed:
    """One child. ``async with Managed(argv) as base_url`` starts and stops it."""

    def __init__(self, argv: Sequence[str], *, start_timeout: float = START_TIMEOUT) -> None:
        self.base_url = ""
        self._argv = tuple(argv)
        self._start_timeout = start_timeout
        self._process: asyncio.subprocess.Process | None = None
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._readers: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"<Managed {self.base_url or 'not started'}{'' if self.is_running else ', ended'}>"

    async def __aenter__(self) -> str:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    @property
    def tail(self) -> tuple[str, ...]:
        """The last lines that the child wrote to stderr."""
        return tuple(self._tail)

    async def start(self) -> str:
        """The base URL, once the child is ready. Raises ``BatchdeckError`` with the child's last words."""
        pipe = asyncio.subprocess.PIPE
        # A session of its own: Ctrl+C in a terminal must reach the engine only, which then drains what is in flight.
        self._process = await asyncio.create_subprocess_exec(
            *self._argv, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
        )
        stdout, stderr = self._process.stdout, self._process.stderr
        assert stdout is not None
        assert stderr is not None
        try:
            self._readers.append(asyncio.create_task(self._keep_tail(stderr)))
            async with asyncio.timeout(self._start_timeout):
                line = (await stdout.readline()).decode("utf-8", "replace").strip()
                if not line.startswith("http"):
                    raise BatchdeckError(await self._obituary())
            self._readers.append(asyncio.create_task(_discard(stdout)))
        except TimeoutError:
            await self.stop()
            raise BatchdeckError(
                f"{self._what} was not ready within {self._start_timeout:g} s{self._last_words()}"
            ) from None
        except BaseException:
            await self.stop()
            raise
        self.base_url = line
        return line

    async def stop(self) -> None:
        """End the child: by closing its stdin, then by SIGTERM, then by SIGKILL. Does nothing when it has ended."""
        process = self._process
        if process is None:
            return
        try:
            assert process.stdin is not None
            process.stdin.close()
            if not await _ends(process):
                process.terminate()
                await _ends(process)
        finally:
            if process.returncode is None:
                process.kill()
        await process.wait()
        if self._readers:
            # What it said last is worth having; only a process that inherited its pipes could keep them open.
            await asyncio.wait(self._readers, timeout=GRACE)
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        self._readers.clear()

    @property
    def _what(self) -> str:
        return f"'{' '.join(word for word in self._argv[1:4] if word != '-m')}'"

    async def _obituary(self) -> str:
        """Why no base URL came."""
        assert self._process is not None
        if not await _ends(self._process):
            return f"{self._what} did not say its base URL{self._last_words()}"
        await asyncio.wait(self._readers, timeout=GRACE)
        refusal = self._tail[-1].strip() if self._tail else ""
        for beginning in REFUSALS:
            if self._process.returncode == EXIT_USAGE and refusal.startswith(beginning):
                return f"{self._what}: {inert(refusal.removeprefix(beginning))}"
        return f"{self._what} ended with exit code {self._process.returncode}{self._last_words()}"

    def _last_words(self) -> str:
        words = [inert(line) for line in self._tail if line.strip()][-ERROR_LINES:]
        return f": {' · '.join(words)[-500:]}" if words else " and said nothing"

    async def _keep_tail(self, stream: asyncio.StreamReader) -> None:
        rest = ""
        while chunk := await stream.read(65_536):
            *lines, rest = (rest + chunk.decode("utf-8", "replace")).split("\n")
            self._tail.extend(lines)
            rest = rest[-1000:]
        if rest:
            self._tail.append(rest)


async def _discard(stream: asyncio.StreamReader) -> None:
    """A pipe that nobody reads would stop its writer when it is full."""
    while await stream.read(65_536):
        pass


async def _ends(process: asyncio.subprocess.Process) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GRACE):
            await process.wait()
    return process.returncode is not None


def managed_argv(config: RunConfig) -> list[str] | None:
    """The command that serves this run, None when its provider is somebody else's or already stands at a base URL.

    Raises ``UsageError`` that says what to install.
    """
    if config.base_url:
        return None
    options = config.managed or {}
    if config.provider == "sim":
        return [sys.executable, "-m", "batchdeck", "sim", "--exit-with-parent", *flags(options)]
    if config.provider == "local":
        return local.argv(options, concurrency=config.concurrency)
    return None


def flags(options: Mapping[str, Any]) -> list[str]:
    """Options as arguments: True stands alone, a list or a table repeats, None and False are left out.

    >>> flags({"rpm": 500, "fault": ["500=0.01"], "hold": True, "seed": None})
    ['--rpm=500', '--fault=500=0.01', '--hold']
    """
    arguments: list[str] = []
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, Mapping):
            # SimOptions' own form of the same: {"faults": {"500": 0.01}}
            flag = flag.removesuffix("s")
            value = [f"{key}={part}" for key, part in value.items()]
        for one in value if isinstance(value, list | tuple) else [value]:
            if one is True:
                arguments.append(flag)
            elif one is not None and one is not False:
                arguments.append(f"{flag}={one}")
    return arguments
