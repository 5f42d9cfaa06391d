"""Which models an endpoint offers, over real HTTP: the simulator, and servers that are none."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import AsyncExitStack

import pytest
from aiohttp import web

from batchdeck.errors import BatchdeckError
from batchdeck.model import RunConfig
from batchdeck.providers.connect import connect
from batchdeck.providers.models import list_models, read_models
from batchdeck.sim.options import SimOptions
from batchdeck.sim.server import SimServer
from tests.runs.processes import batchdeck, simulator
from tests.runs.test_server_load import served

KEY = "sk-canary-55aa0c1f7d"


async def asked(base_url: str, environ: Mapping[str, str], seconds: float = 5.0) -> tuple[str, ...]:
    """The models that an endpoint lists, to somebody with this environment."""
    config = RunConfig(
        name="", input="", input_format=None, model="", provider="custom", base_url=base_url, key_env="OPENAI_API_KEY"
    )
    async with connect(config, {}, environ) as connection:
        return await list_models(connection, "OPENAI_API_KEY", seconds)


def test_the_models_of_an_endpoint_are_listed_for_people_and_for_programs() -> None:
    with simulator() as sim:
        said = batchdeck("models", "--base-url", sim.base_url)
        assert (said.returncode, said.stdout) == (0, "simulated\nsimulated-mini\n")
        told = json.loads(batchdeck("models", "--base-url", sim.base_url, "--json").stdout)
        assert told == {"provider": "custom", "url": sim.base_url, "models": ["simulated", "simulated-mini"]}


def test_a_provider_that_batchdeck_brings_is_started_to_be_asked() -> None:
    assert json.loads(batchdeck("models", "--provider", "sim", "--json").stdout)["models"] == [
        "simulated",
        "simulated-mini",
    ]


def test_an_endpoint_that_cannot_be_asked_is_one_line_and_an_exit_code() -> None:
    for arguments, code, said in (
        (("--base-url", "http://127.0.0.1:9/v1"), 1, "no connection (Connection refused)"),
        (("--provider", "openai"), 2, "openai needs a key: set OPENAI_API_KEY"),
        ((), 2, "say where to send"),
        (("--base-url", "http://127.0.0.1:9/v1", "--timeout", "nan"), 2, "not a number of seconds"),
    ):
        done = batchdeck("models", *arguments)
        assert done.returncode == code
        assert said in done.stderr
        assert "Traceback" not in done.stderr
        assert not done.stdout


async def test_the_key_is_sent_as_a_run_sends_it_and_is_never_said() -> None:
    async with SimServer(SimOptions(), key=KEY) as sim:
        assert await asked(sim.base_url, {"OPENAI_API_KEY": KEY}) == ("simulated", "simulated-mini")
        with pytest.raises(BatchdeckError, match=r"wants a key \(401\): set OPENAI_API_KEY"):
            await asked(sim.base_url, {})
        with pytest.raises(BatchdeckError, match=r"refuses the key in OPENAI_API_KEY \(401\)") as refused:
            await asked(sim.base_url, {"OPENAI_API_KEY": "sk-another-000000"})
        assert "sk-another" not in str(refused.value)


async def test_what_is_no_list_of_models_is_told_in_one_line() -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        match request.path:
            case "/echo/models":
                return web.json_response({"data": [{"id": f"{request.headers['Authorization'][7:]}-tuned"}]})
            case "/page/models":
                return web.Response(text="<html>Welcome</html>")
        return web.Response(status=404)

    async with AsyncExitStack() as stack:
        root = await served(stack, answer)
        with pytest.raises(BatchdeckError, match="answers 404: this endpoint lists no models, or its base URL lacks"):
            await asked(root, {})
        with pytest.raises(BatchdeckError, match="does not answer with a list of models"):
            await asked(f"{root}/page", {})
        (name,) = await asked(f"{root}/echo", {"OPENAI_API_KEY": KEY})
        assert KEY not in name


async def test_a_server_that_does_not_answer_is_given_up() -> None:
    async with AsyncExitStack() as stack:
        root = await served(stack, _silent)
        with pytest.raises(BatchdeckError, match=r"no answer within 0\.2 s"):
            await asked(root, {}, seconds=0.2)


async def _silent(request: web.BaseRequest) -> web.StreamResponse:
    await asyncio.get_running_loop().create_future()
    return web.Response()


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ('{"object": "list", "data": [{"id": "b"}, {"id": "a"}, {"id": "b"}]}', ("a", "b")),
        ('[{"id": "meta/one"}, {"name": "no id"}, 7, {"id": ""}, {"id": 4}]', ("meta/one",)),
        ('{"data": []}', ()),
        (json.dumps([{"id": "x" * 201}]), ()),
    ],
)
def test_the_list_as_servers_write_it(body: str, names: tuple[str, ...]) -> None:
    assert read_models(body.encode(), "http://x/v1/models") == names


@pytest.mark.parametrize("body", [b"", b'{"models": []}', b'"text"', b"[" * 5000, b"\xff\xfe"])
def test_anything_else_is_no_list(body: bytes) -> None:
    with pytest.raises(BatchdeckError, match="does not answer with a list of models"):
        read_models(body, "http://x/v1/models")
