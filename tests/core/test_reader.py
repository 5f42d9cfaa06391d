"""Everybody but the engine reads: only what is committed, in short transactions, whatever the writer does."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path

import msgspec
import pytest

from batchdeck.errors import StoreError
from batchdeck.inputs.base import SourceState
from batchdeck.model import IngestRow
from batchdeck.store import reader as reading
from batchdeck.store.reader import RunReader
from batchdeck.store.runfile import RunFile
from batchdeck.store.writer import ThreadWriter
from tests.core.ledger import CONFIG, SAMPLE, create, failed, rows, settle, settlement
from tests.core.test_lock import holder


@pytest.fixture
def run(tmp_path: Path) -> RunFile:
    """Ten items: 0 to 4 done, 5 and 6 failed, 7 waits to be tried again, 8 and 9 never sent."""
    file = create(tmp_path / "run.db", 10)
    settle(file, failed(0, error_type="http_500", final=False), failed(7, error_type="rate_limited", final=False))
    settle(file, settlement(0, 2, text="zero"), *[settlement(idx, text=f"answer {idx}") for idx in range(1, 5)])
    settle(file, failed(5), failed(6, error_type="truncated"))
    return file


def test_only_what_is_committed_can_be_seen(run: RunFile) -> None:
    with RunReader(run.path) as reader:
        run.begin()
        run.settle([settlement(8)])
        assert reader.rows([8])[0].state == "queued"
        assert reader.counts().done == 5
        run.commit()
        assert reader.rows([8])[0].state == "done"
        assert reader.counts().done == 6
    run.close()


def test_a_window_is_in_order_and_knows_its_rows(run: RunFile) -> None:
    with RunReader(run.path) as reader:
        assert [row.idx for row in reader.window(3, 4)] == [3, 4, 5, 6]
        assert [row.idx for row in reader.window(8, 100)] == [8, 9]
        assert reader.window(50, 10) == []
        zero, five, seven = reader.rows([0, 5, 7])
    run.close()
    assert (zero.state, zero.text, zero.attempts, zero.error) == ("done", "zero", 2, None)
    assert (zero.tokens_in, zero.tokens_out, zero.ttft, zero.seconds, zero.cost) == (5, 7, 0.5, 2.0, 0.25)
    assert (five.state, five.error_type, five.error) == ("failed", "http_400", "http_400 for 5")
    assert (seven.state, seven.attempts, seven.label) == ("queued", 1, "row 7")


def test_rows_come_in_the_order_asked_for(run: RunFile) -> None:
    with RunReader(run.path) as reader:
        assert [row.idx for row in reader.rows([9, 0, 77, 4])] == [9, 0, 4]
        assert reader.rows([]) == []
    run.close()


def test_a_long_answer_is_shown_by_its_beginning_and_kept_whole(tmp_path: Path) -> None:
    file = create(tmp_path / "run.db", 1)
    settle(file, settlement(0, text="ä" * 5_000))
    file.close()
    with RunReader(tmp_path / "run.db") as reader:
        assert reader.window(0, 1)[0].text == "ä" * 400
        assert next(reader.results())["text"] == "ä" * 5_000


def test_the_detail_holds_the_whole_ledger_of_an_item(run: RunFile) -> None:
    with RunReader(run.path) as reader:
        detail = reader.detail(0)
        assert detail is not None
        assert (detail.state, detail.line, detail.data) == ("done", 1, '{"text": "row 0"}')
        assert [(a.number, a.outcome, a.text, a.error_type) for a in detail.attempts] == [
            (1, "transient", "", "http_500"),
            (2, "ok", "zero", None),
        ]
        assert reader.raw(detail.attempts[1].id) == b"raw " * 50
        assert reader.detail(10) is None
    run.close()


def test_an_item_with_thousands_of_attempts_shows_the_newest(tmp_path: Path) -> None:
    file = create(tmp_path / "run.db", 1)
    settle(file, *[failed(0, number, error_type="rate_limited", final=False) for number in range(1, 1_001)])
    file.close()
    with RunReader(tmp_path / "run.db") as reader:
        detail = reader.detail(0)
        assert detail is not None
        assert [attempt.number for attempt in detail.attempts] == list(range(801, 1_001))


def test_rows_are_found_by_state_and_by_error(run: RunFile) -> None:
    with RunReader(run.path) as reader:
        assert list(reader.select()) == list(range(10))
        assert list(reader.select("done")) == [0, 1, 2, 3, 4]
        assert list(reader.select("queued")) == [7, 8, 9]
        assert list(reader.select(error_type="truncated")) == [6]
        assert list(reader.select("done", error_type="truncated")) == []
    run.close()


def test_many_rows_are_read_in_short_transactions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "NARROW", 7)
    file = create(tmp_path / "run.db", 1_200)
    settle(file, *[settlement(idx) for idx in range(0, 1_200, 2)])
    with RunReader(tmp_path / "run.db") as reader:
        assert list(reader.select("done")) == list(range(0, 1_200, 2))
        results = reader.results()
        assert next(results)["index"] == 0
        # In the middle of it the log can be folded back: no cursor is left open.
        file.checkpoint(final=True)
        assert (tmp_path / "run.db-wal").stat().st_size == 0
        assert [row["index"] for row in results] == list(range(1, 1_200))
    file.close()


def test_a_reader_works_while_the_writer_writes(tmp_path: Path) -> None:
    async def main() -> None:
        store = ThreadWriter(create(tmp_path / "run.db", 2_000), asyncio.get_running_loop())
        for idx in range(2_000):
            store.settle(settlement(idx, text="y" * 200))
            if idx % 50 == 0:
                await store.submit(lambda file: file.event(0.0, 1e9, "pause", "", None))
        await store.close()

    seen: list[tuple[int, int]] = []
    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    while not (tmp_path / "run.db").exists() or not seen:
        try:
            with RunReader(tmp_path / "run.db") as reader:
                while thread.is_alive() or not seen:
                    # Counter first: what it counts must be there to be read.
                    counted = reader.counts().done
                    seen.append((counted, len(reader.select("done"))))
        except StoreError:
            assert thread.is_alive()
    thread.join()
    assert all(done <= found for done, found in seen)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    with RunReader(tmp_path / "run.db") as reader:
        assert reader.counts().done == 2_000


def test_the_list_of_runs_knows_each_run(run: RunFile) -> None:
    with RunReader(run.path) as reader:
        meta = reader.meta()
    run.close()
    assert (meta.run, meta.state, meta.config, meta.ingest_complete, meta.items_expected) == (
        "run", "interrupted", CONFIG, True, 10,
    )  # fmt: skip
    assert meta.counts == run.counts()
    assert meta.rate == 0
    assert {error.error_type: (error.attempts, error.items) for error in meta.errors} == {
        "http_500": (1, 0), "rate_limited": (1, 0), "http_400": (1, 1), "truncated": (1, 1),
    }  # fmt: skip


def test_how_many_items_there_will_be_is_judged_by_the_bytes_read(tmp_path: Path) -> None:
    file = RunFile.create(tmp_path / "run.db", "run", CONFIG, "print", 1_000, 1e9)
    with RunReader(tmp_path / "run.db") as reader:
        assert reader.meta().items_expected is None
        file.begin()
        file.ingest(rows(0, 20), SourceState(offset=250, index=20), False)
        file.commit()
        assert (reader.meta().items_expected, reader.meta().ingest_complete) == (80, False)
    file.close()


def test_a_search_can_be_broken_off(tmp_path: Path) -> None:
    file = create(tmp_path / "run.db", 0)
    file.begin()
    many = [IngestRow(index=n, line=n + 1, data="{}", label="x" * 200) for n in range(20_000)]
    file.ingest(many, SourceState(index=20_000), True)
    file.commit()
    file.close()
    with RunReader(tmp_path / "run.db") as reader:
        started = threading.Event()
        # The progress handler stands in for a person: it breaks the query off while it runs.
        reader._db.set_progress_handler(lambda: (started.set(), reader.interrupt(), 0)[-1], 2_000)
        with pytest.raises(StoreError, match="interrupted"):
            reader.select(error_type="not there")
        assert started.is_set()
        reader._db.set_progress_handler(None, 0)
        assert len(reader.select()) == 20_000


def test_what_is_no_run_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such run file"):
        RunReader(tmp_path / "none.db")
    (tmp_path / "text.db").write_text("hello " * 500)
    with pytest.raises(StoreError, match="not a readable run file"):
        RunReader(tmp_path / "text.db")
    (tmp_path / "empty.db").touch()
    with pytest.raises(StoreError, match="not a batchdeck run"):
        RunReader(tmp_path / "empty.db")
    assert (tmp_path / "empty.db").stat().st_size == 0


def test_a_reader_cannot_write(run: RunFile) -> None:
    with RunReader(run.path) as reader, pytest.raises(sqlite3.OperationalError, match=r"readonly|query_only"):
        reader._db.execute("DELETE FROM items")
    run.close()


def test_a_failure_taken_back_does_not_make_the_rate_negative(tmp_path: Path) -> None:
    file = create(tmp_path / "run.db", 5)
    settle(file, *[failed(idx) for idx in range(5)])
    file.begin()
    file.retry(None, -1, 10)
    file.sample(msgspec.structs.replace(SAMPLE, done=0, failed=-5))
    file.commit()
    file.close()
    with holder(tmp_path / "run.db"), RunReader(tmp_path / "run.db") as reader:
        meta = reader.meta()
        assert (meta.state, meta.rate) == ("running", 0.0)
