"""The console in a browser: the same screens, for whoever has the token and for nobody else."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.tui.browser import CHROMIUM, chromium
from tests.tui.console import PATIENCE
from tests.tui.runfile import make_run


@asynccontextmanager
async def served(*arguments: str) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """``batchdeck web``: the address that it prints, and its process, which Ctrl+C has ended afterwards."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "batchdeck", "web", *arguments, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), PATIENCE)).decode()
        yield line.split()[-1], process
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), PATIENCE) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def children(pid: int) -> list[str]:
    """Processes that this one started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                found.append((folder / "cmdline").read_text())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


async def test_nobody_without_the_token_gets_anything(home: Path) -> None:
    async with served() as (address, _), aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        assert urlsplit(address).hostname == "127.0.0.1"
        root = address.partition("?")[0]
        port = urlsplit(address).port

        async def status(path: str = "", **headers: str) -> int:
            async with session.get(root + path, headers=headers, allow_redirects=False) as answer:
                return answer.status

        for path in ("", "ws", "static/js/textual.js", "download/x", "?token=", "?token=wrong", "nothing"):
            assert await status(path) == 403, path
        token = address.partition("?")[2]
        assert await status(f"?{token}", Host=f"evil.example:{port}") == 403, "a name that leads here"
        assert await status(f"ws?{token}", Origin="http://evil.example") == 403, "another site's page"
        async with session.get(address, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (302, "/"), "the token stays in no history"
            cookie = answer.cookies[f"batchdeck-{port}"]
            assert cookie["httponly"]
            assert cookie["samesite"] == "Strict"
        async with session.get(root, headers={"Cookie": f"{cookie.key}={cookie.value}"}) as answer:
            assert answer.status == 200
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            assert "://" not in (await answer.text()).replace(root, "").replace(f"ws://127.0.0.1:{port}", "")
        async with session.get(f"{root}nothing", headers={"Cookie": f"{cookie.key}={cookie.value}"}) as answer:
            assert (answer.status, "default-src 'none'" in answer.headers["Content-Security-Policy"]) == (404, True)
        typed = address.replace("127.0.0.1", "localhost")
        async with session.get(root, params={"token": token.removeprefix("token=")}, allow_redirects=False,
                               headers={"Host": f"localhost:{port}"}) as answer:  # fmt: skip
            assert (answer.status, answer.headers["Location"]) == (302, address), f"{typed} leads to where its page is"
        assert await status("", Host=f"localhost:{port}") == 403
        for size in ("99999999", "0", "-1", "wide"):
            assert await status(f"ws?width={size}&height=24", Cookie=f"{cookie.key}={cookie.value}") == 400, size
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(f"http://127.0.0.2:{port}/?{token}")


@pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed")
async def test_a_browser_shows_the_run_takes_keys_and_leaves_no_process(home: Path, tmp_path: Path) -> None:
    (home / "runs").mkdir(parents=True)
    make_run(home / "runs" / "reviews.db", 30, texts={0: "an unmistakable pelican"}, ending="done")
    async with served("reviews") as (address, server), chromium(tmp_path / "profile") as page:
        await page.open(address)
        await page.until("unmistakable pelican", "reviews")
        assert await page.evaluate("document.body.className.includes('-first-byte')")
        assert await page.evaluate("document.querySelectorAll('#terminal canvas, #terminal .xterm-rows').length") > 0
        assert await page.evaluate("location.search") == "", "the token is not in the address any more"
        assert {urlsplit(asked).hostname for asked in page.asked if not asked.startswith("data:")} == {"127.0.0.1"}
        assert [said for said in page.complaints if "WebGL" not in said] == []
        assert len(children(server.pid)) == 1
        await page.evaluate("document.querySelector('#terminal textarea').focus()")
        await page.press("?")
        await page.until("Concurrency +10")
        page.received = b""
        await page.press("Escape")
        await page.until("unmistakable pelican")
        await page.press("q")
        loop = asyncio.get_running_loop()
        end = loop.time() + PATIENCE
        while not await page.evaluate("document.body.className.includes('-closed')") or children(server.pid):
            assert loop.time() < end, (children(server.pid), os.getpid())
            await asyncio.sleep(0.05)
