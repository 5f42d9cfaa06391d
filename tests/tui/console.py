"""Drives the console in tests: waits for what a person would wait for, and reads what they would read."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from textual.pilot import Pilot
from textual.widget import Widget

from batchdeck_tui.app import BatchdeckApp

PATIENCE = 8.0
"""Seconds until a condition that never comes true is reported; no test waits for them when all is well."""


async def until(pilot: Pilot[None], condition: Callable[[], object], what: str = "") -> None:
    """Return as soon as the condition holds."""
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE
    while not condition():
        assert loop.time() < end, f"never came true: {what or condition}\n{page(pilot.app)}"
        await pilot.pause(0.02)


def read(widget: Widget) -> str:
    """What stands in a widget that paints lines."""
    return "\n".join(widget.render_line(y).text for y in range(widget.size.height))


def page(app: object) -> str:
    """All that stands on the screen."""
    assert isinstance(app, BatchdeckApp)
    return "\n".join(
        "".join(segment.text for segment in strip) for strip in app.screen._compositor.render_strips(app.size)
    )


@contextlib.contextmanager
def engine(run: Path, cap: int = 10) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the run's lock and answers on its socket, until the block ends."""
    script = Path(__file__).with_name("standin.py")
    process = subprocess.Popen([sys.executable, str(script), str(run), str(cap)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        try:
            assert process.stdout.readline() == "listening\n"
            yield process
        finally:
            process.kill()
            process.wait()
