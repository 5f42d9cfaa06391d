"""A response that breaks off after its answer was whole is an answer: it is paid for and kept."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from batchdeck.engine import attempt
from batchdeck.errors import TransportError
from batchdeck.sim.options import SimOptions
from batchdeck.store.reader import RunReader
from batchdeck.transport.base import Request, Sink
from tests.core.simulated import Rig, virtually

HEAD = (("content-type", "text/event-stream"),)


def said(text: str) -> bytes:
    return b'data: {"choices": [{"index": 0, "delta": {"content": "%s"}}]}\n\n' % text.encode()


STOP = b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\n'


class Answering:
    """A transport that sends these pieces and then ends as told: ``whole``, ``cut`` or ``open``."""

    def __init__(self, pieces: list[bytes], end: str) -> None:
        self.pieces, self.end, self.requests = pieces, end, 0

    async def send(self, request: Request, sink: Sink) -> None:
        self.requests += 1
        sink.sending()
        sink.head(200, HEAD)
        for piece in self.pieces:
            await asyncio.sleep(0.01)
            sink.data(piece)
        if self.end == "cut":
            raise TransportError("reset", "the connection ended in the middle of the response")
        if self.end == "open":
            await asyncio.get_running_loop().create_future()

    async def close(self) -> None: ...


def run(path: Path, transport: Answering) -> tuple[str, float]:
    async def main() -> tuple[str, float]:
        rig = Rig(path, 1, SimOptions(), transport=transport, max_retries=1)
        return await rig.run(), rig.loop.time()

    ending: tuple[str, float] = virtually(main)
    return ending


@pytest.mark.parametrize("end", ["whole", "cut", "open"])
@pytest.mark.parametrize("marked", [True, False], ids=["done-mark", "finish-reason-only"])
def test_a_whole_answer_is_kept_however_its_body_ends(tmp_path: Path, end: str, marked: bool) -> None:
    transport = Answering([said("four"), said(" words"), STOP, *([b"data: [DONE]\n\n"] if marked else [])], end)
    ending, seconds = run(tmp_path / "run.db", transport)
    assert (ending, transport.requests) == ("done", 1)
    with RunReader(tmp_path / "run.db") as reader:
        (row,) = reader.window(0, 1)
    assert (row.state, row.text, row.finish_reason) == ("done", "four words", "stop")
    if end == "open":
        assert seconds < (2 if marked else 62), "an end mark is not waited behind"


def test_half_an_answer_is_asked_for_again_and_kept_in_the_ledger(tmp_path: Path) -> None:
    transport = Answering([said("half an")], "cut")
    ending, _ = run(tmp_path / "run.db", transport)
    assert (ending, transport.requests) == ("done", 2)
    with RunReader(tmp_path / "run.db") as reader:
        detail = reader.detail(0)
    assert detail is not None
    assert [(one.outcome, one.text) for one in detail.attempts] == [("transient", "half an")] * 2


def test_an_answer_longer_than_the_ledger_keeps_is_an_answer_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "RAW_LIMIT", 1_000)
    pieces = [said(f"{n:05d}") for n in range(200)]
    ending, _ = run(tmp_path / "run.db", Answering([*pieces, STOP, b"data: [DONE]\n\n"], "whole"))
    assert ending == "done"
    with RunReader(tmp_path / "run.db") as reader:
        detail = reader.detail(0)
        assert detail is not None
        assert detail.attempts[0].text == "".join(f"{n:05d}" for n in range(200))
        assert reader.raw(detail.attempts[0].id) == b"".join(pieces)[:1_000]
    with sqlite3.connect(tmp_path / "run.db") as db:
        assert db.execute("SELECT codec FROM attempts").fetchall() == [("zlib-cut",)]
    db.close()


def test_an_answer_without_end_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt, "ANSWER_LIMIT", 5_000)
    transport = Answering([said("on and on")] * 1_000, "whole")
    ending, _ = run(tmp_path / "run.db", transport)
    assert (ending, transport.requests) == ("done", 1)
    with RunReader(tmp_path / "run.db") as reader:
        (row,) = reader.window(0, 1)
    assert (row.state, row.error_type) == ("failed", "too_large")
