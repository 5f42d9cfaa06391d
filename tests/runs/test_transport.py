"""The transport against real sockets, on asyncio's loop and on uvloop: what servers do to connections."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from batchdeck.errors import DecodeError, TransportError
from batchdeck.model import Rendered, RunConfig
from batchdeck.providers.openai import OpenAIChat
from batchdeck.providers.presets import preset
from batchdeck.sim.options import SimOptions
from batchdeck.sim.server import SimServer
from batchdeck.transport.base import Request
from batchdeck.transport.httpx_transport import HttpxTransport
from batchdeck.transport.proxy import is_loopback, proxy_for

pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy")
PATIENCE = 20.0
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\nok"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def _policies() -> list[asyncio.AbstractEventLoopPolicy]:
    policies = [asyncio.DefaultEventLoopPolicy()]
    if sys.platform != "win32":
        import uvloop

        policies.append(uvloop.EventLoopPolicy())
    return policies


@pytest.fixture(params=_policies(), ids=lambda policy: type(policy).__module__.partition(".")[0])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    policy: asyncio.AbstractEventLoopPolicy = request.param
    return policy


class Visit:
    """One connection as the server sees it. ``number``: 0 for the first that was opened."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.reader = reader
        self.writer = writer
        self.requests = 0
        self.head = b""

    async def request(self) -> bytes:
        """The next request's body. Raises ``IncompleteReadError`` when the client has closed."""
        self.head = await self.reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line[15:]) for line in self.head.lower().split(b"\r\n") if line.startswith(b"content-length:")
        )
        self.requests += 1
        return await self.reader.readexactly(length)

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def piece(self, data: bytes) -> None:
        await self.say(b"%x\r\n%s\r\n" % (len(data), data))

    async def closed_by_client(self) -> None:
        with suppress(ConnectionError):
            while await self.reader.read(1024):
                pass

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        found = self.writer.get_extra_info("socket")
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class Server:
    def __init__(self) -> None:
        self.url = ""
        self.visits: list[Visit] = []
        self.failures: list[Exception] = []


Handler = Callable[[Visit], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[Server]:
    """A server that leaves everything to ``handler``, one call a connection, which is closed after it."""
    server = Server()
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        visit = Visit(len(server.visits), reader, writer)
        server.visits.append(visit)
        try:
            await handler(visit)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        except Exception as error:  # noqa: BLE001 - raised again when the test ends
            server.failures.append(error)
        finally:
            writer.close()

    listener = await asyncio.start_server(connected, "127.0.0.1", 0, backlog=1024)
    port = listener.sockets[0].getsockname()[1]
    server.url = f"http://127.0.0.1:{port}/v1/chat/completions"
    try:
        async with asyncio.timeout(PATIENCE):
            yield server
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if server.failures:
        raise server.failures[0]


async def answering(visit: Visit) -> None:
    """A good server: answers for as long as the client asks."""
    while True:
        await visit.request()
        await visit.say(OK)


class Answer:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.sends = 0
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.arrived = asyncio.Event()

    def sending(self) -> None:
        self.sends += 1

    def head(self, status: int, headers: tuple[tuple[str, str], ...]) -> None:
        self.status = status
        self.headers = dict(headers)

    def data(self, chunk: bytes) -> None:
        self.body += chunk
        self.arrived.set()


@pytest.fixture
async def transport() -> AsyncIterator[HttpxTransport]:
    transport = HttpxTransport()
    yield transport
    await transport.close()


def request(server: Server | str, body: bytes = b"{}") -> Request:
    url = server if isinstance(server, str) else server.url
    return Request(url, (("content-type", "application/json"), ("authorization", "Bearer k")), body)


async def ask(transport: HttpxTransport, server: Server, body: bytes = b"{}") -> Answer:
    answer = Answer()
    await transport.send(request(server, body), answer)
    return answer


async def fail(transport: HttpxTransport, server: Server | str) -> tuple[TransportError, Answer]:
    answer = Answer()
    with pytest.raises(TransportError) as failed:
        await transport.send(request(server), answer)
    return failed.value, answer


# -- what is sent and what comes back


async def test_a_request_and_its_answer_arrive_whole(transport: HttpxTransport) -> None:
    sent = b'{"q": "Gr\xc3\xbc\xc3\x9fe"}' * 100_000
    got: list[bytes] = []

    async def handler(visit: Visit) -> None:
        got.append(await visit.request())
        await visit.say(b"HTTP/1.1 429 Slow down\r\nRetry-After: 3\r\nContent-Length: %d\r\n\r\n" % len(sent))
        await visit.say(sent)

    async with serving(handler) as server:
        answer = await ask(transport, server, sent)
    assert got == [sent]
    assert answer.body == sent
    assert (answer.status, answer.headers["retry-after"], answer.sends) == (429, "3", 1)
    head = server.visits[0].head.lower()
    assert head.startswith(b"post /v1/chat/completions http/1.1\r\n")
    assert b"\r\nauthorization: bearer k\r\n" in head


async def test_pieces_come_as_they_are_sent(transport: HttpxTransport) -> None:
    seen = asyncio.Event()

    async def handler(visit: Visit) -> None:
        await visit.request()
        await visit.say(STREAM)
        await visit.piece(b"data: 1\n\n")
        await seen.wait()
        await visit.piece(b"data: 2\n\n")
        await visit.say(b"0\r\n\r\n")

    async with serving(handler) as server:
        answer = Answer()
        sending = asyncio.create_task(transport.send(request(server), answer))
        await answer.arrived.wait()
        assert answer.body == b"data: 1\n\n"
        seen.set()
        await sending
    assert answer.body == b"data: 1\n\ndata: 2\n\n"


async def test_content_encoding_is_undone_as_the_bytes_come(transport: HttpxTransport) -> None:
    packed = gzip.compress(b"data: hello\n\n")

    async def handler(visit: Visit) -> None:
        await visit.request()
        assert b"gzip" in visit.head.lower().split(b"accept-encoding:")[1].split(b"\r\n")[0]
        await visit.say(STREAM.replace(b"Transfer", b"Content-Encoding: gzip\r\nTransfer"))
        for place in range(len(packed)):
            await visit.piece(packed[place : place + 1])
        await visit.say(b"0\r\n\r\n")

    async with serving(handler) as server:
        assert (await ask(transport, server)).body == b"data: hello\n\n"


async def test_neither_redirects_nor_cookies_are_followed(transport: HttpxTransport) -> None:
    async def handler(visit: Visit) -> None:
        for _ in range(2):
            await visit.request()
            await visit.say(
                b"HTTP/1.1 307 Elsewhere\r\nLocation: http://127.0.0.1:9/\r\n"
                b"Set-Cookie: a=1\r\nContent-Length: 0\r\n\r\n"
            )

    async with serving(handler) as server:
        for _ in range(2):
            assert (await ask(transport, server)).status == 307
        assert b"cookie" not in server.visits[-1].head.lower()


# -- connections


async def test_a_connection_is_kept_and_used_again(transport: HttpxTransport) -> None:
    async with serving(answering) as server:
        answers = [await ask(transport, server) for _ in range(5)]
    assert [answer.sends for answer in answers] == [1] * 5
    assert len(server.visits) == 1


async def test_as_many_connections_as_requests(transport: HttpxTransport) -> None:
    """The pool below holds 100 by default, and would hold the others back without a word."""
    everybody = asyncio.Barrier(200)

    async def handler(visit: Visit) -> None:
        await visit.request()
        await everybody.wait()
        await visit.say(OK)

    async with serving(handler) as server:
        answers = await asyncio.gather(*[ask(transport, server) for _ in range(200)])
    assert len(server.visits) == 200
    assert all(answer.body == b"ok" and answer.sends == 1 for answer in answers)


async def test_a_kept_connection_that_was_closed_is_replaced_unseen(transport: HttpxTransport) -> None:
    async def handler(visit: Visit) -> None:
        await visit.request()
        await visit.say(OK)
        if visit.number == 0:
            await visit.request()  # and no answer: the connection is closed

    async with serving(handler) as server:
        assert (await ask(transport, server)).sends == 1
        again = await ask(transport, server)
    assert (again.status, again.body) == (200, b"ok")
    assert again.sends == 2, "the ledger counts what really went out"
    assert len(server.visits) == 2


async def test_a_server_that_promises_to_keep_and_closes_each_time_fails_no_request(transport: HttpxTransport) -> None:
    """llama.cpp's server at the end of each stream."""

    async def handler(visit: Visit) -> None:
        await visit.request()
        await visit.say(STREAM.replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\n\r\n"))
        await visit.piece(b"data: x\n\n")
        await visit.say(b"0\r\n\r\n")

    async def slot() -> list[Answer]:
        return [await ask(transport, server) for _ in range(10)]

    async with serving(handler) as server:
        answers = [answer for answers in await asyncio.gather(*[slot() for _ in range(8)]) for answer in answers]
    assert [answer.body for answer in answers] == [b"data: x\n\n"] * 80
    assert all(answer.sends <= 2 for answer in answers)


async def test_a_resend_happens_once_and_on_a_new_connection(transport: HttpxTransport) -> None:
    second_round = asyncio.Event()
    both = asyncio.Barrier(2)

    async def handler(visit: Visit) -> None:
        await visit.request()
        if second_round.is_set():
            return
        await both.wait()
        await visit.say(OK)
        await visit.request()

    async with serving(handler) as server:
        await asyncio.gather(ask(transport, server), ask(transport, server))
        second_round.set()
        # A second kept connection stands ready; taking that one would only meet the next stale one.
        error, answer = await fail(transport, server)
    assert (error.kind, answer.sends) == ("disconnected", 2)
    assert [visit.requests for visit in server.visits] in ([2, 1, 1], [1, 2, 1])


async def test_a_new_connection_that_closes_without_a_byte_is_not_stale(transport: HttpxTransport) -> None:
    async def handler(visit: Visit) -> None:
        await visit.request()

    async with serving(handler) as server:
        error, answer = await fail(transport, server)
    assert (error.kind, answer.sends, len(server.visits)) == ("disconnected", 1, 1)


BROKEN_CHUNK, BROKEN_BODY, BROKEN_HEAD = STREAM + b"5\r\nda", OK[:-1], OK[:30]


@pytest.mark.parametrize(
    ("begin", "hard"),
    [(BROKEN_CHUNK, False), (BROKEN_CHUNK, True), (BROKEN_BODY, False), (BROKEN_BODY, True), (BROKEN_HEAD, False)],
    ids=["chunk-fin", "chunk-rst", "body-fin", "body-rst", "head-fin"],
)
@pytest.mark.parametrize("kept", [False, True], ids=["new", "kept"])
async def test_an_answer_that_breaks_off_is_never_sent_again(
    transport: HttpxTransport, begin: bytes, hard: bool, kept: bool
) -> None:
    read = asyncio.Event()

    async def handler(visit: Visit) -> None:
        await visit.request()
        if kept:
            await visit.say(OK)
            await visit.request()
        await visit.say(begin)
        if hard:
            await read.wait()
            visit.reset()

    async with serving(handler) as server:
        if kept:
            await ask(transport, server)
        answer = Answer()
        sending = asyncio.create_task(transport.send(request(server), answer))
        if hard:
            await answer.arrived.wait()
            read.set()
        with pytest.raises(TransportError) as failed:
            await sending
    assert (failed.value.kind, answer.sends, len(server.visits)) == ("reset", 1, 1)


@pytest.mark.parametrize("phase", ["before the answer", "in the answer"])
async def test_cancelling_closes_the_connection_for_the_server_to_see(transport: HttpxTransport, phase: str) -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def handler(visit: Visit) -> None:
        await visit.request()
        if visit.number == 0:
            if phase == "in the answer":
                await visit.say(STREAM)
                await visit.piece(b"data: 1\n\n")
            asked.set()
            await visit.closed_by_client()
            gone.set()
        else:
            await visit.say(OK)

    async with serving(handler) as server:
        answer = Answer()
        sending = asyncio.create_task(transport.send(request(server), answer))
        await (answer.arrived if phase == "in the answer" else asked).wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await gone.wait()
        assert (await ask(transport, server)).body == b"ok"
    assert len(server.visits) == 2, "a cancelled connection is not used again"


async def test_a_sink_that_refuses_ends_the_request(transport: HttpxTransport) -> None:
    gone = asyncio.Event()

    class Refusing(Answer):
        def data(self, chunk: bytes) -> None:
            raise DecodeError("garbage", "no")

    async def handler(visit: Visit) -> None:
        await visit.request()
        await visit.say(STREAM)
        await visit.piece(b"data: 1\n\n")
        await visit.closed_by_client()
        gone.set()

    async with serving(handler) as server:
        with pytest.raises(DecodeError):
            await transport.send(request(server), Refusing())
        await gone.wait()


async def test_closing_the_transport_closes_kept_connections() -> None:
    gone = asyncio.Event()

    async def handler(visit: Visit) -> None:
        await visit.request()
        await visit.say(OK)
        await visit.closed_by_client()
        gone.set()

    async with serving(handler) as server:
        transport = HttpxTransport()
        await ask(transport, server)
        await transport.close()
        await gone.wait()


# -- no connection


async def test_nobody_listens(transport: HttpxTransport) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        error, answer = await fail(transport, f"http://127.0.0.1:{port}/v1")
    assert (error.kind, answer.sends) == ("connect", 0)
    assert f"127.0.0.1:{port}" in str(error)


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels refuse when the queue of connections is full")
async def test_a_connection_that_does_not_come_about_meets_its_time_limit() -> None:
    transport = HttpxTransport(connect_timeout=0.2)
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        error, answer = await fail(transport, f"http://127.0.0.1:{listener.getsockname()[1]}/v1")
    await transport.close()
    assert (error.kind, answer.sends) == ("connect_timeout", 0)


def test_no_clock_runs_while_an_answer_is_awaited() -> None:
    """The engine sweeps its own time limits; a default below it (300 s in all) would end slow answers."""
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:  # uvloop does not show its timers
        runner.run(_await_an_answer_without_timers())


async def _await_an_answer_without_timers() -> None:
    loop = asyncio.get_running_loop()
    transport = HttpxTransport()
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def handler(visit: Visit) -> None:
        await visit.request()
        asked.set()
        await go_on.wait()
        await visit.say(OK)

    async with serving(handler) as server:
        before = set(_timers(loop))
        sending = asyncio.create_task(ask(transport, server))
        await asked.wait()
        assert [timer for timer in _timers(loop) if timer not in before and not timer.cancelled()] == []
        go_on.set()
        assert (await sending).body == b"ok"
    await transport.close()


def _timers(loop: asyncio.AbstractEventLoop) -> list[asyncio.TimerHandle]:
    timers: list[asyncio.TimerHandle] = getattr(loop, "_scheduled")  # noqa: B009 - asyncio has no public name for it
    return timers


@pytest.mark.parametrize(
    "said", [b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 banana\r\n\r\n", b"\x15\x03\x01\x00\x02\x02\x16"]
)
async def test_what_is_not_http_is_told_apart(transport: HttpxTransport, said: bytes) -> None:
    async def handler(visit: Visit) -> None:
        await visit.request()
        await visit.say(said)

    async with serving(handler) as server:
        error, _ = await fail(transport, server)
    assert error.kind == "protocol"
    assert "\n" not in str(error)


async def test_broken_encodings_and_broken_tls_are_protocol_errors(transport: HttpxTransport) -> None:
    async def handler(visit: Visit) -> None:
        await visit.request()
        await visit.say(OK.replace(b"content-type: application/json", b"content-encoding: gzip"))

    async with serving(handler) as server:
        assert (await fail(transport, server))[0].kind == "protocol"

    async def plain(visit: Visit) -> None:
        await visit.reader.read(100)
        await visit.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with serving(plain) as server:
        error, answer = await fail(transport, server.url.replace("http://", "https://"))
    assert (error.kind, answer.sends) == ("protocol", 0)


@pytest.mark.parametrize("url", ["http://127.0.0.1:port/v1", "ftp://127.0.0.1/v1", "http:///v1"])
async def test_a_url_that_cannot_be_asked(transport: HttpxTransport, url: str) -> None:
    error, answer = await fail(transport, url)
    assert (error.kind, answer.sends) == ("protocol", 0)


# -- all of it


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_a_hundred_answers_from_a_server_with_faults(transport: HttpxTransport, stream: bool) -> None:
    """Every request ends in an answer or in the error that was served, and the server counts the same."""
    options = SimOptions(latency_ms=2, faults={"500": 0.1, "reset": 0.1, "truncate": 0.1, "garbage": 0.1}, seed=5)
    provider = OpenAIChat(preset("sim"))
    settings = RunConfig(name="r", input="-", input_format="text", model="sim", provider="sim", stream=stream)
    outcomes: Counter[str] = Counter()
    async with asyncio.timeout(PATIENCE), SimServer(options) as sim:

        async def one(number: int) -> None:
            answer = Answer()
            rendered = Rendered(messages=[{"role": "user", "content": f"What is {number}?"}])
            headers = provider.headers(settings, None, {})
            asked = Request(sim.base_url + provider.path(rendered), headers, provider.body(rendered, settings))
            try:
                await transport.send(asked, answer)
                if answer.status != 200:
                    outcomes[provider.failure(answer.status, (), answer.body, 0.0).error_type] += 1
                    return
                decoder = provider.decoder(answer.headers["content-type"], stream)
                decoder.feed(answer.body)
                assert decoder.finish().tokens_out
                outcomes["ok"] += 1
            except (TransportError, DecodeError) as error:
                outcomes[error.kind] += 1

        for start in range(0, 100, 20):
            await asyncio.gather(*map(one, range(start, start + 20)))
        served = sim.stats()
    assert served["requests"] == 100
    assert served["by_status"]["500"] == outcomes["http_500"]
    assert sum(outcomes.values()) == 100
    assert set(outcomes) == {"ok", "http_500", "reset", "garbage"} | ({"truncated"} if stream else set())


# -- proxies


async def test_a_proxy_is_used_but_never_for_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(answering) as proxy, serving(answering) as server:
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1/chat/completions"))
        monkeypatch.setenv("no_proxy", "")
        transport = HttpxTransport()
        answer = Answer()
        await transport.send(request("http://provider.invalid/v1/x"), answer)
        assert answer.body == b"ok"
        assert proxy.visits[0].head.startswith(b"POST http://provider.invalid/v1/x HTTP/1.1\r\n")
        await ask(transport, server)
        assert (len(proxy.visits), len(server.visits)) == (1, 1)
        await transport.close()


def test_which_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    assert proxy_for("https", "api.openai.com") is None
    monkeypatch.setenv("HTTPS_PROXY", "proxy.lan:3128")
    assert proxy_for("https", "api.openai.com") == "http://proxy.lan:3128"
    assert proxy_for("http", "api.openai.com") is None
    monkeypatch.setenv("NO_PROXY", "openai.com")
    assert proxy_for("https", "api.openai.com") is None
    monkeypatch.setenv("HTTPS_PROXY", "socks5://me:s3cret@proxy.lan:1080")
    with pytest.raises(TransportError, match="socks5 proxies are not supported") as refused:
        proxy_for("https", "api.groq.com")
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("api.localhost", True),
        ("10.0.0.1", False),
        ("x.com", False),
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
