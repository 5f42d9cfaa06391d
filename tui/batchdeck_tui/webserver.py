"""``python -m batchdeck_tui.webserver [RUN_FILE]``: the console in a browser, on this machine alone.

textual-serve runs a console a window. Here is what keeps others out: it listens on loopback, and every request must
bring the token of the address, which the browser keeps as a cookie that no other site can send. A page of another site
that reaches the port (by a name that leads to 127.0.0.1, or by a form) is refused by Host and Origin.
"""

from __future__ import annotations

import argparse
import asyncio
import hmac
import secrets
import shlex
import socket
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from textual_serve.server import Server

from batchdeck.errors import EXIT_USAGE

HOST = "127.0.0.1"
CLOSED = "batchdeck: open the address that 'batchdeck web' printed\n"
LARGEST = 2_000
"""Cells of a window's side."""
LEAVING = 3.0
"""Seconds that windows are given to close when the server ends."""
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; font-src 'self';"
        " img-src 'self' data:; connect-src 'self' ws:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class ConsoleServer(Server):
    """A console for each window that brings the token. ``door``: the socket that listens already."""

    def __init__(self, door: socket.socket, run: Path | None, *, opens: bool = False) -> None:
        port = door.getsockname()[1]
        command = [sys.executable, "-m", "batchdeck_tui", *(["--", str(run)] if run is not None else [])]
        super().__init__(
            f"exec {shlex.join(command)}",  # no shell stays between a window and its console
            host=HOST,
            port=port,
            title="batchdeck",
            templates_path=Path(__file__).with_name("web"),
        )
        self._door, self._opens = door, opens
        self._token = secrets.token_urlsafe(24)
        self._cookie = f"batchdeck-{port}"
        self._host = f"{HOST}:{port}"
        self._aliases = (f"localhost:{port}",)
        """What a person may type; all that the page asks for is at ``HOST``."""

    @property
    def address(self) -> str:
        """What a browser is to open."""
        return f"{self.public_url}/?token={self._token}"

    def serve(self, debug: bool = False) -> None:
        """Until Ctrl+C, or SIGTERM."""
        web.run_app(
            self._make_app(),
            sock=self._door,
            print=lambda *words: None,
            access_log=None,
            shutdown_timeout=LEAVING,
        )

    async def _make_app(self) -> web.Application:
        app = await super()._make_app()
        app.middlewares.append(self._guard())
        return app

    async def on_startup(self, app: web.Application) -> None:
        print(f"The console: {self.address}\nWhoever has this address can steer your runs. Ctrl+C ends it; runs go on.")
        sys.stdout.flush()
        if self._opens:
            await asyncio.to_thread(webbrowser.open, self.address)

    def _guard(self) -> Middleware:
        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            given = request.query.get("token", "")
            if not self._is_ours(request) or not (self._knows(given) or self._knows(request.cookies.get(self._cookie))):
                return web.Response(status=403, headers=_HEADERS, text=CLOSED)
            if request.host in self._aliases:
                return web.HTTPFound(self.address, headers=_HEADERS)
            if any(not _is_size(request.query.get(side, "80")) for side in ("width", "height")):
                return web.Response(status=400, headers=_HEADERS, text="batchdeck: no window is of that size\n")
            if given:
                # The address with the token stays in no history, and is sent to nobody as a referrer.
                answer: web.StreamResponse = web.HTTPFound("/")
                answer.set_cookie(self._cookie, self._token, httponly=True, samesite="Strict", path="/")
            else:
                try:
                    answer = await handler(request)
                except web.HTTPException as refused:
                    refused.headers.update(_HEADERS)
                    raise
            if not answer.prepared:
                answer.headers.update(_HEADERS)
            return answer

        return guard

    def _is_ours(self, request: web.Request) -> bool:
        """Whether the browser asked this address, from a page of this address."""
        origin = request.headers.get("Origin")
        known = (self._host, *self._aliases)
        return request.host in known and (origin is None or origin.removeprefix("http://") in known)

    def _knows(self, token: str | None) -> bool:
        return hmac.compare_digest((token or "").encode("utf-8", "replace"), self._token.encode())


def _is_size(text: str) -> bool:
    """Cells of a window, as many as the widest screens have: a console paints all that it is told to have."""
    return text.isdecimal() and len(text) < 5 and 0 < int(text) <= LARGEST


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until it is ended; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m batchdeck_tui.webserver", description="The console in a browser.")
    parser.add_argument("run", nargs="?", type=Path, metavar="RUN_FILE")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--open", action="store_true")
    given = parser.parse_args(arguments)
    door = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        door.bind((HOST, given.port))
        door.listen()  # before its address is told
    except (OSError, OverflowError) as error:
        print(f"batchdeck: port {given.port} cannot be used: {getattr(error, 'strerror', error)}", file=sys.stderr)
        return EXIT_USAGE
    ConsoleServer(door, given.run, opens=given.open).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
