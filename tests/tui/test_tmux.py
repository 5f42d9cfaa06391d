"""The console in a real terminal, tmux, as a person uses it: launched, tuned, paused, left, come back to, exported."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from batchdeck.sim.options import SimOptions
from batchdeck.sim.server import SimServer
from tests.tui.console import PATIENCE

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
BATCHDECK = f"{sys.executable} -m batchdeck"


class Tmux:
    """A shell in a terminal of 80 by 24 cells that no other test sees."""

    def __init__(self, folder: Path) -> None:
        self._socket = str(folder / "tmux")

    async def do(self, *arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            "tmux", "-S", self._socket, "-f", os.devnull, *arguments, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        return output.decode()

    async def type(self, line: str) -> None:
        """A line of text, and return."""
        await self.do("send-keys", "-t", "c", "-l", line)
        await self.press("Enter")

    async def press(self, *keys: str) -> None:
        await self.do("send-keys", "-t", "c", *keys)

    async def screen(self) -> str:
        return await self.do("capture-pane", "-p", "-t", "c")

    async def shows(self, *words: str, lacks: str = "$^") -> str:
        """The screen, as soon as all of these stand on it, and what does not match."""
        loop = asyncio.get_running_loop()
        end = loop.time() + PATIENCE
        while True:
            screen = await self.screen()
            if all(word in screen for word in words) and not re.search(lacks, screen):
                return screen
            assert loop.time() < end, f"{words} never came:\n{screen}"
            await asyncio.sleep(0.05)


@asynccontextmanager
async def terminal(folder: Path) -> AsyncIterator[Tmux]:
    tmux = Tmux(folder)
    shell = "env PS1='shell> ' TERM=tmux-256color bash --norc --noprofile"
    await tmux.do("new-session", "-d", "-s", "c", "-x", "80", "-y", "24", shell)
    try:
        await tmux.shows("shell>")
        yield tmux
    finally:
        await tmux.do("kill-server")


async def set_options(server: SimServer, **options: object) -> None:
    """Another provider from now on."""
    async with httpx.AsyncClient() as client:
        (await client.post(f"{server.root_url}/sim/options", json=options)).raise_for_status()


async def test_an_evening_at_the_terminal(home: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"Review {number}"}) + "\n" for number in range(300)))
    sim = SimOptions(latency_ms=300, faults={"400": 0.2})
    async with SimServer(sim) as server, terminal(tmp_path) as tmux:
        where = f"--base-url {server.base_url} --model sim --name reviews"
        await tmux.type(f"{BATCHDECK} run {prompts} {where} -c 2")
        await tmux.shows("running", "reviews", "✓ done", "/2")
        # tune
        await tmux.press("t")
        await tmux.shows("throughput by concurrency")
        await tmux.press("+", "+")
        await tmux.shows("/4")
        await tmux.press("Escape")
        # pause, and go on
        await tmux.shows("prompt  ")
        await tmux.press("Space")
        await tmux.shows("‖ paused")
        await tmux.press("Space")
        await tmux.shows("▶ running")
        # to the shell and back
        await tmux.press("C-z")
        await tmux.shows("shell>", "Stopped")
        await tmux.type("clear; fg")
        await tmux.shows("▶ running", "prompt  ")
        # leave it, and come back
        await tmux.press("q")
        await tmux.shows("The run goes on. Come back with: batchdeck watch reviews")
        await tmux.type(f"clear; {BATCHDECK} watch reviews")
        await tmux.shows("▶ running", "prompt  ")
        await tmux.press("]", "]")
        await tmux.shows("✓ done", "100%", "failed")
        # what failed is tried again by a provider that is well again
        await set_options(server, faults={})
        await tmux.press("r")
        await tmux.shows("✓ done", "300 of 300", "queued 0", lacks=r"✗ \d+ failed")
        await tmux.press("E")
        await tmux.shows("all rows", "reviews.jsonl")
        await tmux.type(str(tmp_path / "answers.jsonl"))
        await tmux.shows("300 rows")
        await tmux.press("q")
        await tmux.shows("shell>", lacks="goes on")
    answers = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert [answer["index"] for answer in answers] == list(range(300))
    assert all(answer["text"] for answer in answers)
