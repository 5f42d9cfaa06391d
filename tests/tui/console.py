"""Drives the console in tests: real runs on a simulated provider, waiting for what a person would wait for."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from textual import events
from textual._context import visible_screen_stack
from textual.app import App
from textual.pilot import Pilot
from textual.widget import Widget
from textual.widgets import Footer
from textual.widgets._footer import FooterKey

from batchdeck import lock
from batchdeck.sim.options import SimOptions
from batchdeck.sim.server import SimServer
from batchdeck_tui.app import BatchdeckApp
from batchdeck_tui.screens.run import RunScreen

PATIENCE = 60.0
"""Seconds until a condition that never comes true is reported; no test waits for them when all is well."""


async def until(pilot: Pilot[Any], condition: Callable[[], object], what: str = "") -> None:
    """Return as soon as the condition holds."""
    loop = asyncio.get_running_loop()
    end, rest = loop.time() + PATIENCE, 0.01
    while not condition():
        assert loop.time() < end, f"never came true: {what or condition}\n{page(pilot.app)}"
        await pilot.pause(rest)
        # To look at a whole screen costs more than what is waited for, where that takes long.
        rest = min(0.1, 1.2 * rest)


def write(pilot: Pilot[Any], *keys: str) -> None:
    """These keys in one write, as a fast hand, a paste or a script sends them: none waits for what another does."""
    for key in keys:
        event = events.Key(key, key if len(key) == 1 else None)
        event.set_sender(pilot.app)
        assert pilot.app._driver is not None
        pilot.app._driver.send_message(event)


def read(widget: Widget) -> str:
    """What stands in a widget that paints lines."""
    return "\n".join(widget.render_line(y).text for y in range(widget.size.height))


def page(app: App[Any]) -> str:
    """All that stands on the screen."""
    # Lines are kept as they were painted: without the screens below, a dialog's would be kept on nothing.
    visible_screen_stack.set(app._background_screens)
    strips = app.screen._compositor.render_strips(app.size)
    return "\n".join("".join(segment.text for segment in strip) for strip in strips)


def footer(app: App[Any]) -> set[str]:
    """The commands that the footer offers."""
    return {key.description for key in app.screen.query_one(Footer).query(FooterKey) if key.description}


def state(screen: RunScreen) -> str:
    return screen._now.state if screen._now is not None else ""


async def batchdeck(*arguments: str) -> dict[str, Any]:
    """What ``python -m batchdeck`` prints as JSON."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "batchdeck", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    printed: dict[str, Any] = msgspec.json.decode(output)
    return printed


@asynccontextmanager
async def launched(
    folder: Path, prompts: Iterable[str], *options: str, **sim: Any
) -> AsyncIterator[tuple[Path, SimServer]]:
    """A run of these prompts by an engine process of its own, which is gone after the block."""
    file = folder / "prompts.jsonl"
    file.write_bytes(b"".join(msgspec.json.encode({"prompt": prompt}) + b"\n" for prompt in prompts))
    async with SimServer(SimOptions(**sim)) as server:
        where = ("--base-url", server.base_url, "--model", "sim", "--name", "reviews")
        printed = await batchdeck("run", str(file), *where, "--detach", "--json", *options)
        run = Path(str(printed["path"]))
        try:
            yield run, server
        finally:
            kill_engine(run)


def kill_engine(run: Path) -> None:
    """``kill -9`` of the engine that holds the run, if one does."""
    info = lock.probe(run)
    if info is not None and info.pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(info.pid, signal.SIGKILL)


@asynccontextmanager
async def console(run: Path, size: tuple[int, int] = (120, 40)) -> AsyncIterator[tuple[Pilot[None], RunScreen]]:
    """The console with this run open."""
    app = BatchdeckApp(run)
    async with app.run_test(size=size, notifications=True) as pilot:
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
        screen = app.screen
        assert isinstance(screen, RunScreen)
        await until(pilot, lambda: screen._now is not None, "a first look at the run")
        yield pilot, screen
