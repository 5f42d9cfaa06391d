"""How a request is said and carried out: prompts, provider and transport put together for one run."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from batchdeck.engine.attempt import Flight, fly
from batchdeck.model import Item, RunConfig, Settled, Wall, WorkOrder
from batchdeck.prompts import Prompts
from batchdeck.providers.connect import Connection
from batchdeck.transport.base import Transport


class ProviderSlots:
    """Stateless but for its parts; serves all slots of a run."""

    def __init__(
        self, config: RunConfig, prompts: Prompts, connection: Connection, transport: Transport, wall: Wall
    ) -> None:
        self._config = config
        self._prompts = prompts
        self._connection = connection
        self._provider = connection.provider
        self._transport = transport
        self._base_url = connection.base_url.rstrip("/")
        self._wall = wall
        self._fields = msgspec.json.Decoder(dict[str, Any])

    def order(self, item: Item, number: int) -> WorkOrder:
        rendered = self._prompts.render(self._fields.decode(item.data))
        return WorkOrder(
            idx=item.idx,
            variant=item.variant,
            revision=item.revision,
            number=number,
            path=self._provider.path(rendered),
            body=self._provider.body(rendered, self._config),
            stream=self._config.stream,
        )

    def flight(self, order: WorkOrder) -> Flight:
        return Flight(order, self._provider, self._config.limits, asyncio.get_running_loop(), self._wall)

    async def fly(self, flight: Flight) -> Settled:
        url = self._base_url + flight.order.path
        settled = await fly(flight, self._transport, url, self._connection.headers, self._provider, self._wall)
        return self._connection.redact(settled)

    def price(self, settled: Settled) -> Settled:
        if settled.answer is None:
            return settled
        cost = self._provider.cost(settled.answer, self._config)
        return settled if cost is None else msgspec.structs.replace(settled, cost=cost)
