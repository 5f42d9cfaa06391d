"""The simulated provider behind the transport seam, without sockets: the same bytes at the same times.

Under a virtual loop a whole run takes no real time and goes the same way every time.
"""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from batchdeck.errors import TransportError
from batchdeck.sim import wire
from batchdeck.sim.model import SimModel
from batchdeck.sim.playback import Holds, play
from batchdeck.sim.refusals import Refusal
from batchdeck.sim.tally import Tally
from batchdeck.transport.base import Request, Sink


class InProcessTransport:
    """A ``transport.base.Transport`` that asks a ``SimModel``; time is the running loop's.

    Faults come as a client of the server would meet them: ``hang`` and ``stall`` wait until they are cancelled,
    ``reset`` and a body cut short raise ``TransportError("reset")``, an outage that refuses raises
    ``TransportError("connect")``.
    """

    def __init__(self, model: SimModel) -> None:
        self.model = model
        self.tally = Tally()
        self.holds = Holds()

    def __repr__(self) -> str:
        return f"<InProcessTransport {self.tally!r} holding={len(self.holds)}>"

    async def send(self, request: Request, sink: Sink) -> None:
        loop = asyncio.get_running_loop()
        if self.model.is_unreachable(loop.time()):
            self.tally.turn_away()
            raise TransportError("connect", "cannot connect to the simulator: connection refused (simulated)")
        sink.sending()
        if not urlsplit(request.url).path.endswith("/chat/completions"):
            unknown = Refusal(f"Unknown request URL: POST {request.url}.", "invalid_request_error", "unknown_url")
            sink.head(404, (("content-type", "application/json"),))
            sink.data(wire.error_body(unknown))
            return
        arrived = loop.time()
        visit = self.tally.enter()
        try:
            plan = self.model.receive(request.body, arrived, _authorization(request))
            visit.decide(plan)
            script = wire.script(plan)
            headed = False
            async for chunk, is_last in play(script, arrived, self.holds if self.model.options.hold else None):
                if is_last and script.ending != "silence":
                    visit.end(plan)
                if not headed:
                    headed = True
                    visit.begin(script.status)
                    sink.head(script.status, script.headers)
                sink.data(chunk)
            if script.ending == "silence":
                visit.fall_silent(plan.fault or "hang")
                await loop.create_future()
            elif script.ending != "complete":
                raise TransportError("reset", "the connection ended in the middle of the response (simulated)")
        finally:
            visit.leave()

    async def close(self) -> None:
        """Nothing is open between requests."""


def _authorization(request: Request) -> str | None:
    return next((value for name, value in request.headers if name.lower() == "authorization"), None)
