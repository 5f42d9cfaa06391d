"""Headless Chromium, driven over its DevTools protocol: what a page was sent, what it shows, and keys for it."""

from __future__ import annotations

import asyncio
import base64
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.tui.console import PATIENCE

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)
_KEYS = {"Escape": 27, "Enter": 13}


class Page:
    """One tab. ``received``: all that its websockets were sent. ``complaints``: what it wrote to its console."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._number = 0
        self.received = b""
        self.complaints: list[str] = []
        self.asked: list[str] = []
        """Addresses that it loaded something from."""
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self._socket:
            said = message.json()
            params = said.get("params", {})
            match said.get("method"):
                case "Network.webSocketFrameReceived":
                    payload = params["response"]["payloadData"]
                    is_binary = params["response"]["opcode"] == 2
                    self.received += base64.b64decode(payload) if is_binary else payload.encode()
                case "Network.requestWillBeSent":
                    self.asked.append(params["request"]["url"])
                case "Log.entryAdded":
                    self.complaints.append(params["entry"]["text"])
                case "Runtime.exceptionThrown":
                    self.complaints.append(str(params["exceptionDetails"]))
                case None:
                    self._answers.pop(said["id"]).set_result(said.get("result", {}))

    async def do(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        answer = self._answers[self._number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": self._number, "method": method, "params": params})
        return await asyncio.wait_for(answer, PATIENCE)

    async def open(self, address: str) -> None:
        for domain in ("Network", "Log", "Runtime", "Page"):
            await self.do(f"{domain}.enable")
        await self.do("Page.navigate", url=address)

    async def evaluate(self, expression: str) -> Any:
        found = await self.do("Runtime.evaluate", expression=expression, returnByValue=True)
        return found.get("result", {}).get("value")

    async def press(self, key: str) -> None:
        """A letter, or a key of ``_KEYS``."""
        if key in _KEYS:
            code = {"key": key, "code": key, "windowsVirtualKeyCode": _KEYS[key]}
            await self.do("Input.dispatchKeyEvent", type="rawKeyDown", **code)
        else:
            code = {"key": key}
            await self.do("Input.dispatchKeyEvent", type="keyDown", text=key, **code)
        await self.do("Input.dispatchKeyEvent", type="keyUp", **code)

    async def until(self, *words: str) -> None:
        """Wait until the websocket has brought all of these."""
        loop = asyncio.get_running_loop()
        end = loop.time() + PATIENCE
        while not all(word.encode() in self.received for word in words):
            assert loop.time() < end, f"{words} never came: {self.received[-3000:]!r} {self.complaints}"
            await asyncio.sleep(0.05)

    def close(self) -> None:
        self._reading.cancel()


@asynccontextmanager
async def chromium(folder: Path) -> AsyncIterator[Page]:
    """A browser with a profile in this folder, gone after the block."""
    process = await asyncio.create_subprocess_exec(
        CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        "--disable-background-networking", "--remote-debugging-port=0", f"--user-data-dir={folder}",
        "--window-size=1200,800", "about:blank",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        port_file, loop = folder / "DevToolsActivePort", asyncio.get_running_loop()
        end = loop.time() + PATIENCE
        while not port_file.exists() or not port_file.read_text():
            assert loop.time() < end, "the browser never came up"
            await asyncio.sleep(0.05)
        port = port_file.read_text().split()[0]
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                tabs = await answer.json()
            address = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
            async with session.ws_connect(address, max_msg_size=0) as socket:
                page = Page(socket)
                yield page
                page.close()
    finally:
        process.terminate()
        await process.wait()
