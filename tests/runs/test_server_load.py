"""How busy a vLLM says it is, over real HTTP: the simulator with slots speaks its words."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from batchdeck.errors import TransportError
from batchdeck.providers.vllm import metrics_url, parse_load
from batchdeck.sim.options import SimOptions
from batchdeck.sim.server import SimServer
from batchdeck.transport.page import LARGEST, Page
from tests.runs.processes import batchdeck, kill, launch, simulator, wait_for

KEY = (("Authorization", "Bearer sk-secret"),)


async def served(stack: AsyncExitStack, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> str:
    """A server of this test's own on loopback, until the stack is left. Returns its root."""
    runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0.1)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return f"http://127.0.0.1:{runner.addresses[0][1]}"


async def page_of(stack: AsyncExitStack, url: str, seconds: float = 5.0) -> Page:
    page = Page(url, KEY, seconds)
    stack.push_async_callback(page.close)
    return page


async def test_the_simulator_tells_how_many_run_and_how_many_wait() -> None:
    async with SimServer(SimOptions(latency_ms=1500, slots=2)) as sim, AsyncExitStack() as stack:
        page = await page_of(stack, metrics_url(sim.base_url))
        assert page.url == f"{sim.root_url}/metrics"
        http = await stack.enter_async_context(aiohttp.ClientSession())
        bodies = [{"model": "m", "messages": [{"role": "user", "content": f"{n}"}]} for n in range(5)]
        asked = [asyncio.create_task(_post(http, f"{sim.base_url}/chat/completions", body)) for body in bodies]
        while sim.tally.accepted < 5:
            await asyncio.sleep(0)
        busy = parse_load(await page.get(), 0.0)
        assert busy is not None
        assert (busy.running, busy.waiting, busy.cache) == (2, 3, 1.0)
        await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        while (later := parse_load(await page.get(), 0.0)) is not None and later.waiting > 1:
            await asyncio.sleep(0)
        assert later is not None
        assert (later.running, later.waiting) == (2, 1)


async def _post(http: aiohttp.ClientSession, url: str, body: object) -> int:
    async with http.post(url, json=body) as answer:
        return answer.status


async def test_without_slots_there_is_nothing_to_tell_and_an_outage_is_of_the_metrics_too() -> None:
    async with AsyncExitStack() as stack:
        for options, said in (
            (SimOptions(), "404"),
            (SimOptions(slots=2, down_at=0), "503"),
            (SimOptions(slots=2, down_at=0, down="refuse"), "cannot be read"),
        ):
            sim = await stack.enter_async_context(SimServer(options))
            page = await page_of(stack, metrics_url(sim.base_url))
            with pytest.raises(TransportError, match=said):
                await page.get()


async def test_a_redirect_is_not_followed_so_that_the_key_goes_to_no_other_host() -> None:
    seen: list[str | None] = []

    async def elsewhere(request: web.BaseRequest) -> web.Response:
        seen.append("elsewhere")
        return web.Response(text="vllm:num_requests_running 1\nvllm:num_requests_waiting 1\n")

    async with AsyncExitStack() as stack:
        other = await served(stack, elsewhere)

        async def here(request: web.BaseRequest) -> web.Response:
            seen.append(request.headers.get("Authorization"))
            return web.Response(status=307, headers={"location": f"{other}/metrics"})

        page = await page_of(stack, await served(stack, here) + "/metrics")
        with pytest.raises(TransportError, match="307"):
            await page.get()
    assert seen == ["Bearer sk-secret"]


async def test_a_page_that_never_ends_or_never_begins_is_a_miss() -> None:
    async def silent(request: web.BaseRequest) -> web.Response:
        await asyncio.get_running_loop().create_future()
        return web.Response()

    async def dripping(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"# nothing\n")
            await asyncio.sleep(0.01)

    async def flooding(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=b"\n" * (LARGEST + 1))

    async with AsyncExitStack() as stack:
        for handler, said in ((silent, "cannot be read"), (dripping, "cannot be read"), (flooding, "larger")):
            page = await page_of(stack, await served(stack, handler), seconds=10.0 if handler is flooding else 0.3)
            with pytest.raises(TransportError, match=said):
                await page.get()


async def test_a_run_on_a_vllm_shows_how_busy_it_is(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("".join(f"What about {n}?\n" for n in range(400)))
    with simulator("--latency-ms", "400", "--slots", "4") as sim:
        run = launch(prompts, sim, tmp_path / "own.db", "-c", "10", "--provider", "vllm")
        now = await wait_for(run, lambda seen: seen.server is not None and seen.server.waiting > 0)
        assert now.server is not None
        # the run has ten under way, of which four fit
        assert now.server.running == 4
        assert 1 <= now.server.waiting <= 6
        assert now.server.cache == 1.0
        assert abs(now.at - now.server.at) < 5
        said = batchdeck("ctl", "status", str(run)).stdout
        assert re.search(r"^  server    \d running, \d waiting, cache \d+", said, re.MULTILINE), said
        kill(run)
