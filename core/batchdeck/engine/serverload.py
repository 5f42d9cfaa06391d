"""How busy the server says it is, asked for every 2 s beside the run: what somebody's vLLM tells at ``/metrics``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from batchdeck.engine.engine import Engine
from batchdeck.errors import TransportError
from batchdeck.model import ServerLoad, Wall
from batchdeck.providers.vllm import parse_load

log = logging.getLogger("batchdeck.engine")

ASK_SECONDS = 2.0
ANSWER_SECONDS = 1.5
"""A server that takes longer to tell has missed."""
MISSES = 3
SELDOM_SECONDS = 60.0
"""Between two questions to a server that told once and no more: it may come back."""

Ask = Callable[[], Awaitable[bytes]]
"""What stands at the server's ``/metrics`` now. Raises ``TransportError``."""


def patience(provider: str, base_url: str) -> int:
    """After how many misses a server is asked no more; 0: it is not asked at all.

    vLLM is asked. A server of somebody's own may be vLLM and is asked once, as is the simulator. A cloud never is:
    it does not tell, and what is sent to it over https may be somebody else's.
    """
    if provider == "vllm":
        return MISSES
    own = provider == "sim" or (provider == "custom" and base_url.startswith("http://"))
    return 1 if own else 0


class LoadWatch:
    """Keeps ``engine.server_load``: the newest that the server told, None when it tells nothing."""

    def __init__(self, engine: Engine, ask: Ask, wall: Wall, misses: int = MISSES) -> None:
        self._engine = engine
        self._ask = ask
        self._wall = wall
        self._misses = misses

    async def run(self) -> None:
        """Ask until cancelled, or until it has never been told and misses are too many. Nobody waits for this."""
        missed, told = 0, False
        while told or missed < self._misses:
            if self._engine.is_over:
                self._engine.server_load = None
            else:
                load = await self._look()
                told |= load is not None
                missed = 0 if load is not None else missed + 1
                self._keep(load, missed)
            await asyncio.sleep(ASK_SECONDS if missed < self._misses else SELDOM_SECONDS)

    async def _look(self) -> ServerLoad | None:
        try:
            return parse_load(await self._ask(), self._wall())
        except TransportError as error:
            log.debug("the server's load: %s", error)
            return None

    def _keep(self, load: ServerLoad | None, missed: int) -> None:
        if load is not None or missed >= self._misses:
            self._engine.server_load = load
        if load is not None:
            self._engine.tuning.heard(load)
        if missed == self._misses and self._misses > 1:
            log.info("the server does not tell its load at /metrics")
