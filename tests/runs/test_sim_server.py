"""The simulated provider as clients meet it: the official SDK, broken connections, counts that add up, the command."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import openai
import pytest

from batchdeck.errors import UsageError
from batchdeck.sim.options import SimOptions, build
from batchdeck.sim.server import SimServer
from batchdeck.sim.timers import fine_loop


def ask(prompt: str, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": prompt}], **more}


def sdk(sim: SimServer, key: str = "sk-test") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=sim.base_url, api_key=key, max_retries=0)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until the condition holds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


async def send(sim: SimServer, prompt: str, **more: Any) -> tuple[int, dict[str, str], bytes]:
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{sim.base_url}/chat/completions", json=ask(prompt, **more)) as answer,
    ):
        return answer.status, {name.lower(): value for name, value in answer.headers.items()}, await answer.read()


async def control(sim: SimServer, path: str, body: Any = None) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as http, http.post(sim.root_url + path, json=body) as answer:
        return answer.status, await answer.json()


# -- the official SDK ---------------------------------------------------------------------------------------------


async def test_the_openai_sdk_lists_models_completes_and_streams_with_usage() -> None:
    async with SimServer(SimOptions(latency_ms=5, seed=3)) as sim, sdk(sim) as client:
        models = [model.id async for model in client.models.list()]
        assert models
        assert (await client.models.retrieve(models[0])).id == models[0]
        whole = await client.chat.completions.create(
            model=models[0], messages=[{"role": "user", "content": "Name three rivers in Europe"}]
        )
        text = whole.choices[0].message.content
        assert text is not None
        assert text.startswith("[simulated] ")
        assert "Name three rivers in Europe" in text
        assert whole.usage is not None
        assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens

        stream = await client.chat.completions.create(
            model=models[0],
            messages=[{"role": "user", "content": "Name three rivers in Asia"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
        pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
        assert "Name three rivers in Asia" in "".join(pieces)
        assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
        assert chunks[-1].choices == []
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.completion_tokens == sum(bool(piece) for piece in pieces)
        assert all(chunk.usage is None for chunk in chunks[:-1])


async def test_the_openai_sdk_knows_each_refusal_by_its_own_name() -> None:
    message: Any = [{"role": "user", "content": "x"}]
    cases = [
        ({"401": 1.0}, openai.AuthenticationError, "invalid_api_key"),
        ({"400": 1.0}, openai.BadRequestError, None),
        ({"quota": 1.0}, openai.RateLimitError, "insufficient_quota"),
        ({"500": 1.0}, openai.InternalServerError, None),
        ({"503": 1.0}, openai.InternalServerError, None),
    ]
    async with SimServer(SimOptions(latency_ms=0)) as sim, sdk(sim) as client:
        for faults, kind, code in cases:
            assert (await control(sim, "/sim/options", {"faults": faults}))[0] == 200
            with pytest.raises(kind) as caught:
                await client.chat.completions.create(model="m", messages=message)
            assert caught.value.code == code


async def test_only_clients_with_the_right_key_get_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIM_TEST_KEY", "sk-right")
    message: Any = [{"role": "user", "content": "x"}]
    async with SimServer(SimOptions(latency_ms=0, require_key="SIM_TEST_KEY")) as sim:
        async with sdk(sim, "sk-right") as client:
            assert (await client.chat.completions.create(model="m", messages=message)).choices
        async with sdk(sim, "sk-wrong") as client:
            with pytest.raises(openai.AuthenticationError):
                await client.chat.completions.create(model="m", messages=message)
    monkeypatch.delenv("SIM_TEST_KEY")
    with pytest.raises(UsageError, match="SIM_TEST_KEY"):
        SimServer(SimOptions(require_key="SIM_TEST_KEY"))


# -- counts that add up -------------------------------------------------------------------------------------------


async def test_what_a_client_counted_is_what_the_server_counted() -> None:
    """Faults, a quota, streamed and not, 20 at once: every figure on one side has its like on the other."""
    faults = {"500": 0.1, "truncate": 0.1, "garbage": 0.1, "reset": 0.05}
    options = SimOptions(latency_ms=3, rpm=600, burst=0.3, faults=faults)
    seen: Counter[str] = Counter()
    tokens_in = tokens_out = 0
    numbers = iter(range(400))
    async with SimServer(options) as sim, aiohttp.ClientSession() as http:

        async def slot() -> None:
            nonlocal tokens_in, tokens_out
            for number in numbers:
                stream = number % 2 == 0
                body = ask(f"item {number}", stream=stream, stream_options={"include_usage": True} if stream else None)
                seen["requests"] += 1
                try:
                    async with http.post(f"{sim.base_url}/chat/completions", json=body) as answer:
                        seen[str(answer.status)] += 1
                        text = (await answer.read()).decode()
                except aiohttp.ClientError:
                    seen["broken"] += 1
                    continue
                if answer.status != 200:
                    continue
                try:
                    events = [text] if not stream else [event[6:] for event in text.split("\n\n") if event]
                    usages = [json.loads(event).get("usage") for event in events if event != "[DONE]"]
                except json.JSONDecodeError:
                    seen["garbage"] += 1
                    continue
                if not usages[-1]:
                    seen["no end mark"] += 1
                    continue
                seen["complete"] += 1
                tokens_in += usages[-1]["prompt_tokens"]
                tokens_out += usages[-1]["completion_tokens"]

        await asyncio.gather(*(slot() for _ in range(20)))
        stats = sim.stats()
        async with http.get(f"{sim.root_url}/sim/stats") as answer:
            assert await answer.json() == stats
    assert stats["requests"] == seen["requests"] == 400
    assert stats["by_status"]["429"] == seen["429"] > 0
    assert stats["by_status"]["500"] == seen["500"] == stats["faults"]["500"] > 0
    assert stats["complete"] == seen["complete"] > 80
    assert stats["faults"]["garbage"] == seen["garbage"] > 0
    assert stats["faults"]["truncate"] + stats["faults"]["reset"] == seen["no end mark"] + seen["broken"]
    assert (stats["tokens_in"], stats["tokens_out"]) == (tokens_in, tokens_out)
    assert 1 < stats["max_in_flight"] <= 20
    assert stats["in_flight"] == stats["gone"] == 0


async def test_never_more_in_flight_than_the_client_has_open() -> None:
    """The count falls before the last bytes leave, so a client at once on its next request is not counted twice."""
    numbers = iter(range(600))
    async with SimServer(SimOptions(latency_ms=0)) as sim:

        async def slot() -> None:
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as http:
                for number in numbers:
                    async with http.post(
                        f"{sim.base_url}/chat/completions", json=ask(f"{number}", stream=number % 2 == 0)
                    ) as answer:
                        await answer.read()

        await asyncio.gather(*(slot() for _ in range(7)))
        assert sim.stats()["max_in_flight"] <= 7
        assert sim.stats()["connections"] == 600


async def test_the_answers_do_not_depend_on_order_streaming_or_connection() -> None:
    prompts = [f"prompt {number}" for number in range(30)]
    async with SimServer(SimOptions(latency_ms=0, seed=9)) as one, SimServer(SimOptions(latency_ms=0, seed=9)) as two:
        texts = [json.loads((await send(one, prompt))[2])["choices"][0]["message"]["content"] for prompt in prompts]
        streams = await asyncio.gather(*(send(two, prompt, stream=True) for prompt in reversed(prompts)))
    assert [streamed_text(body) for _, _, body in reversed(streams)] == texts


def streamed_text(body: bytes) -> str:
    events = [json.loads(event[6:]) for event in body.decode().split("\n\n") if event and event != "data: [DONE]"]
    return "".join(choice["delta"].get("content", "") for event in events for choice in event["choices"])


async def test_a_thousand_streams_at_once() -> None:
    async with (
        SimServer(SimOptions(hold=True, latency_ms=200)) as sim,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http,
    ):

        async def one(number: int) -> bool:
            async with http.post(f"{sim.base_url}/chat/completions", json=ask(f"{number}", stream=True)) as answer:
                return (await answer.read()).endswith(b"data: [DONE]\n\n")

        streams = asyncio.gather(*map(one, range(1_000)))
        await until(lambda: len(sim.holds) == 1_000)
        assert sim.stats()["in_flight"] == 1_000
        sim.holds.release()
        assert all(await streams)
        assert sim.stats()["complete"] == 1_000


# -- the quota on the wire ----------------------------------------------------------------------------------------


async def test_beyond_the_quota_a_client_is_told_how_long_to_wait() -> None:
    async with SimServer(SimOptions(latency_ms=0, rpm=60, burst=0.05)) as sim:
        answers = [await send(sim, f"{number}") for number in range(4)]
    assert [status for status, _, _ in answers] == [200, 200, 200, 429]
    _, headers, body = answers[-1]
    assert int(headers["retry-after"]) >= 1
    assert 0 < int(headers["retry-after-ms"]) <= 1_000
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert json.loads(body)["error"]["code"] == "rate_limit_exceeded"
    assert all("x-ratelimit-limit-requests" in headers for _, headers, _ in answers)


async def test_resets_in_anthropic_s_style_are_right_by_the_real_clock() -> None:
    async with SimServer(SimOptions(latency_ms=0, rpm=60, shape="fixed", headers="anthropic")) as sim:
        before = datetime.now(UTC)
        _, headers, _ = await send(sim, "x")
    reset = datetime.fromisoformat(headers["anthropic-ratelimit-requests-reset"])
    assert timedelta(seconds=30) < reset - before < timedelta(seconds=62), "the minute began with the server"


async def test_what_the_quota_let_in_is_counted_whatever_became_of_it() -> None:
    async with SimServer(SimOptions(latency_ms=0, rpm=3, shape="fixed", faults={"500": 1.0})) as sim:
        answers = [await send(sim, f"{number}") for number in range(5)]
        stats = sim.stats()
    assert [status for status, _, _ in answers] == [500, 500, 500, 429, 429]
    assert stats["accepted"] == sim.model.quota.accepted_requests == 3
    assert stats["tokens_served"] == sim.model.quota.accepted_tokens > 0
    assert (stats["complete"], stats["tokens_in"], stats["tokens_out"]) == (0, 0, 0)


# -- outages ------------------------------------------------------------------------------------------------------


async def test_an_outage_is_503_for_everything_until_it_is_over() -> None:
    async with SimServer(SimOptions(latency_ms=0, down_at=0, down_for=1e9)) as sim, aiohttp.ClientSession() as http:
        status, headers, body = await send(sim, "x")
        assert status == 503
        assert "overloaded" in json.loads(body)["error"]["message"]
        assert "retry-after" not in headers
        async with http.get(f"{sim.base_url}/models") as answer:
            assert answer.status == 503
        assert (await control(sim, "/sim/options", {"down_for": 0}))[0] == 200
        assert (await send(sim, "x"))[0] == 200


async def test_a_provider_that_is_gone_resets_kept_and_new_connections() -> None:
    async with SimServer(SimOptions(latency_ms=0)) as sim, aiohttp.ClientSession() as http:

        async def models() -> int:
            async with http.get(f"{sim.base_url}/models") as answer:
                return answer.status

        assert await models() == 200
        outage = {"down": "refuse", "down_at": 0, "down_for": 1e9}
        assert (await control(sim, "/sim/options", outage))[0] == 200
        with pytest.raises(aiohttp.ClientConnectionError):
            await models()
        assert await raw(sim, "x", stream=True) == (b"", ConnectionResetError)
        stats = sim.stats()
        assert stats["turned_away"] >= 2
        assert (stats["requests"], stats["by_status"]) == (0, {})
        assert (await control(sim, "/sim/options", {"down_at": None}))[0] == 200
        assert await models() == 200
        assert (await send(sim, "x"))[0] == 200


# -- faults as a client sees them ---------------------------------------------------------------------------------


async def test_a_hang_sends_nothing_and_ends_when_the_client_goes() -> None:
    async with SimServer(SimOptions(faults={"hang": 1.0})) as sim:
        client = asyncio.create_task(send(sim, "x", stream=True))
        await until(lambda: sim.stats()["faults"] == {"hang": 1})
        assert (sim.stats()["by_status"], sim.stats()["in_flight"]) == ({}, 1)
        client.cancel()
        await until(lambda: sim.stats()["in_flight"] == 0)
        assert sim.stats()["gone"] == 1


async def test_a_stall_begins_an_answer_and_falls_silent() -> None:
    async with (
        SimServer(SimOptions(latency_ms=0, faults={"stall": 1.0})) as sim,
        aiohttp.ClientSession() as http,
        http.post(f"{sim.base_url}/chat/completions", json=ask("x", stream=True)) as answer,
    ):
        assert answer.status == 200
        assert b"[sim" in await answer.content.readany()
        await until(lambda: sim.stats()["faults"] == {"stall": 1})
        assert sim.stats()["in_flight"] == 1


async def raw(sim: SimServer, prompt: str, stream: bool) -> tuple[bytes, type[BaseException] | None]:
    """The bytes of a response as they came over the socket, and how they ended."""
    reader, writer = await asyncio.open_connection("127.0.0.1", sim.port)
    body = json.dumps(ask(prompt, stream=stream)).encode()
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: sim\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    got = b""
    try:
        while chunk := await reader.read(65_536):
            got += chunk
    except ConnectionResetError:
        return got, ConnectionResetError
    finally:
        writer.close()
    return got, None


@pytest.mark.parametrize("stream", [True, False])
async def test_a_reset_is_a_real_one_in_mid_answer(stream: bool) -> None:
    async with SimServer(SimOptions(latency_ms=20, faults={"reset": 1.0})) as sim:
        got, ending = await raw(sim, "x", stream)
        assert ending is ConnectionResetError
        assert b"[DONE]" not in got
        assert sim.stats()["faults"] == {"reset": 1}
        assert sim.stats()["by_status"] == {"200": 1}


async def test_a_truncated_body_is_shorter_than_it_promised() -> None:
    async with SimServer(SimOptions(latency_ms=0, faults={"truncate": 1.0})) as sim:
        got, ending = await raw(sim, "x", stream=False)
        head, _, body = got.partition(b"\r\n\r\n")
        assert ending is None
        promised = next(int(line[16:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length: "))
        assert 0 < len(body) < promised
        status, _, stream = await send(sim, "x", stream=True)
        assert status == 200
        assert stream.startswith(b"data: ")
        assert b"[DONE]" not in stream


async def test_garbage_is_a_200_that_does_not_parse() -> None:
    async with SimServer(SimOptions(latency_ms=0, faults={"garbage": 1.0})) as sim:
        status, _, body = await send(sim, "x")
        assert status == 200
        with pytest.raises(json.JSONDecodeError):
            json.loads(body)
        status, _, body = await send(sim, "x", stream=True)
        assert status == 200
        with pytest.raises(json.JSONDecodeError):
            streamed_text(body)


async def test_what_is_not_a_request_is_refused_in_openai_s_words() -> None:
    async with SimServer() as sim, aiohttp.ClientSession() as http:
        for data in (b"{nonsense", b"{}", b'{"model": "m"}', b"\xff\xfe"):
            async with http.post(f"{sim.base_url}/chat/completions", data=data) as answer:
                assert answer.status == 400
                assert (await answer.json())["error"]["type"] == "invalid_request_error"
        async with http.get(f"{sim.base_url}/embeddings") as answer:
            assert answer.status == 404
            assert (await answer.json())["error"]["code"] == "unknown_url"
        assert sim.stats()["by_status"] == {"400": 4}


async def test_a_body_of_many_megabytes_is_taken() -> None:
    async with SimServer(SimOptions(latency_ms=0)) as sim:
        status, _, body = await send(sim, "word " * 1_000_000)
        assert status == 200
        assert json.loads(body)["usage"]["prompt_tokens"] == 1_250_000


# -- held answers and live changes --------------------------------------------------------------------------------


async def test_a_held_stream_shows_its_first_words_until_released() -> None:
    async with (
        SimServer(SimOptions(latency_ms=0, hold=True)) as sim,
        aiohttp.ClientSession() as http,
        http.post(f"{sim.base_url}/chat/completions", json=ask("x", stream=True)) as answer,
    ):
        early = await answer.content.readany()
        assert streamed_text(early).startswith("[simulated]"[:8])
        await until(lambda: len(sim.holds) == 1)
        assert not answer.content.at_eof()
        assert await control(sim, "/sim/release") == (200, {"released": 1, "holding": 0})
        assert (await answer.read()).endswith(b"data: [DONE]\n\n")


async def test_held_answers_are_released_oldest_first() -> None:
    async with SimServer(SimOptions(latency_ms=0, hold=True)) as sim:
        clients = []
        for number in range(3):
            clients.append(asyncio.create_task(send(sim, f"{number}", stream=number != 1)))
            await until(lambda held=number + 1: len(sim.holds) == held)  # type: ignore[misc]
        assert await control(sim, "/sim/release", {"count": 2}) == (200, {"released": 2, "holding": 1})
        await asyncio.gather(*clients[:2])
        assert sim.stats()["holding"] == 1
        clients[2].cancel()
        await until(lambda: sim.stats()["in_flight"] == 0)
        assert sim.stats()["holding"] == 0
        assert (await control(sim, "/sim/release", {"count": "x"}))[0] == 400


async def test_options_change_while_it_runs() -> None:
    async with SimServer(SimOptions(latency_ms=0, seed=4)) as sim:
        assert (await send(sim, "x"))[0] == 200
        status, options = await control(sim, "/sim/options", {"rpm": 6, "faults": {"500": 1.0}})
        assert (status, options["rpm"], options["seed"]) == (200, 6, 4)
        assert [(await send(sim, "x"))[0] for _ in range(2)] == [500, 429]
        status, answer = await control(sim, "/sim/options", {"rpm": -1})
        assert status == 400
        assert "rpm is -1" in answer["error"]["message"]


async def test_a_server_that_stops_ends_what_is_open() -> None:
    async with SimServer(SimOptions(faults={"hang": 1.0})) as sim:
        client = asyncio.create_task(send(sim, "x"))
        await until(lambda: sim.stats()["in_flight"] == 1)
    with pytest.raises(aiohttp.ClientError):
        await client
    assert sim.stats()["in_flight"] == 0


async def test_a_taken_port_is_said_in_one_line() -> None:
    async with SimServer() as sim:
        with pytest.raises(UsageError, match=f"port {sim.port} cannot be used"):
            await SimServer(port=sim.port).start()


def test_the_fine_loop_still_serves_timers_sockets_and_threads() -> None:
    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        here, there = socket.socketpair()
        with here, there:
            here.setblocking(False)
            there.setblocking(False)
            timer: asyncio.Future[str] = loop.create_future()
            loop.call_later(0.0005, timer.set_result, "timer")
            reading = asyncio.ensure_future(loop.sock_recv(here, 10))
            await timer
            await loop.sock_sendall(there, b"socket")
            return [timer.result(), await reading, await asyncio.to_thread(lambda: "thread")]

    with asyncio.Runner(loop_factory=fine_loop) as runner:
        assert runner.run(main()) == ["timer", b"socket", "thread"]


# -- the command --------------------------------------------------------------------------------------------------

COMMAND = (sys.executable, "-m", "batchdeck.cli.sim")


@contextmanager
def started(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen([*COMMAND, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().rstrip("\n")
    finally:
        process.kill()
        process.wait(10)
        process.stdin.close()
        process.stdout.close()


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


def test_the_command_prints_its_base_url_first_and_dies_with_its_parent() -> None:
    with started("--exit-with-parent", "--latency-ms", "1") as (process, url):
        assert url.startswith("http://127.0.0.1:")
        assert url.endswith("/v1")
        body = json.dumps(ask("hello")).encode()
        with urllib.request.urlopen(f"{url}/chat/completions", data=body, timeout=10) as answer:
            assert json.load(answer)["object"] == "chat.completion"
        stats = get(url.removesuffix("/v1") + "/sim/stats")
        assert (stats["requests"], stats["by_status"], stats["max_in_flight"]) == (1, {"200": 1}, 1)
        assert process.poll() is None
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 0


async def test_a_hard_limit_refuses_only_whoever_sends_more_than_it_at_a_time() -> None:
    async with SimServer(SimOptions(latency_ms=30, slots=4, backlog=0)) as sim:

        async def keep_sending(name: str) -> list[int]:
            return [(await send(sim, f"{name} {n}"))[0] for n in range(10)]

        statuses = await asyncio.gather(*map(keep_sending, "abcd"))
        assert statuses == [[200] * 10] * 4
        at_once = await asyncio.gather(*(send(sim, f"at once {n}") for n in range(7)))
        assert Counter(status for status, _, _ in at_once) == {200: 4, 429: 3}


def test_the_command_takes_every_option_of_a_quota_and_of_a_busy_server() -> None:
    flags = "--rpm 60 --input-tpm 900 --output-tpm 800 --rpd 500 --tpd 9000 --shape fixed --window-offset 9"
    more = "--headers groq --no-retry-after --stranger 0.25 --shrink-at 50 --shrink-to 0.4"
    ends = "--down-at 70 --down-for 8 --down refuse --out-of-money-at 90 --out-of-money-for 7"
    busy = "--slots 12 --backlog 3 --contention 0.02 --coherency 0.0004"
    with started(*flags.split(), *more.split(), *ends.split(), *busy.split()) as (_, url):
        request = urllib.request.Request(url.removesuffix("/v1") + "/sim/options", b"{}")
        with urllib.request.urlopen(request, timeout=10) as answer:
            options = build(json.load(answer))
    assert options == SimOptions(
        rpm=60,
        input_tpm=900,
        output_tpm=800,
        rpd=500,
        tpd=9_000,
        shape="fixed",
        window_offset=9,
        headers="groq",
        retry_after=False,
        stranger=0.25,
        shrink_at=50,
        shrink_to=0.4,
        down_at=70,
        down_for=8,
        down="refuse",
        out_of_money_at=90,
        out_of_money_for=7,
        slots=12,
        backlog=3,
        contention=0.02,
        coherency=0.0004,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_ends_cleanly_on_a_signal(number: int) -> None:
    with started("--hold") as (process, url):
        assert get(f"{url}/models")["data"]
        os.kill(process.pid, number)
        assert process.wait(10) == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--fault", "500=2"], "the rate of fault 500 is 2"),
        (["--fault", "boom=0.1"], "unknown fault 'boom'"),
        (["--fault", "hang"], "NAME=RATE"),
        (["--rpm", "0"], "rpm is 0"),
        (["--slots", "0"], "slots is 0"),
        (["--backlog", "4"], "it needs slots"),
        (["--stranger", "1"], "stranger is 1"),
        (["--require-key", "NO_SUCH_VARIABLE_HERE"], "NO_SUCH_VARIABLE_HERE"),
    ],
)
def test_bad_options_are_one_clear_line(options: list[str], said: str) -> None:
    done = subprocess.run([*COMMAND, *options], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
