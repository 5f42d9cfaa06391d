"""The run file: what may be opened, what a transaction means, and that its counters are never wrong."""

from __future__ import annotations

import contextlib
import resource
import sqlite3
import stat
from pathlib import Path

import msgspec
import pytest

from batchdeck.config import SCHEMA
from batchdeck.errors import StoreError, UsageError
from batchdeck.inputs.base import SourceState
from batchdeck.model import Counts, Event, IngestRow, Sample
from batchdeck.store.migrations import MIGRATIONS
from batchdeck.store.reader import APPLICATION_ID, RunReader
from batchdeck.store.runfile import RETRY_LANE, RunFile, storable
from tests.core.ledger import CONFIG, SAMPLE, create, failed, rows, settle, settlement
from tests.core.simulated import ask, recount

# -- making and opening


def test_a_new_run_file_is_private_durable_and_marked(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    file = create(path, 3)
    assert file.conn.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert file.conn.execute("PRAGMA synchronous").fetchone() == (2,)
    assert file.conn.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    assert file.conn.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),) == (SCHEMA,)
    for name in ("run.db", "run.db-wal", "run.db-shm"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert file.run() == ("run", CONFIG)
    assert file.source() == (SourceState(offset=30, line=3, index=3, fingerprint="print"), True)
    file.close()
    assert path.read_bytes()[:15] == b"SQLite format 3"


def test_a_run_that_has_ended_is_whole_in_its_file_while_it_is_still_open(tmp_path: Path) -> None:
    path, copy = tmp_path / "run.db", tmp_path / "copy.db"
    file = create(path, 2)
    settle(file, settlement(0), settlement(1))
    assert (tmp_path / "run.db-wal").stat().st_size > 0
    file.begin()
    file.end("done", "", 1.0)
    file.commit()
    file.checkpoint()
    copy.write_bytes(path.read_bytes())
    with RunReader(copy) as reader:
        assert (reader.meta().state, reader.counts().done) == ("done", 2)
    file.close()


def test_a_run_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    create(path, 1).close()
    before = path.read_bytes()
    with pytest.raises(UsageError, match=r"run\.db exists already; 'batchdeck resume .*run\.db' goes on with it"):
        create(path, 1)
    assert path.read_bytes() == before
    with pytest.raises(UsageError, match="cannot be made"):
        create(tmp_path / "no" / "such" / "folder.db", 1)
    with pytest.raises(UsageError, match="no such run file"):
        RunFile.open(tmp_path / "other.db")


@pytest.mark.parametrize("version", range(1, SCHEMA))
def test_a_run_of_an_older_batchdeck_is_read_as_it_is_and_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    path = tmp_path / "run.db"
    with monkeypatch.context() as older:
        older.setattr("batchdeck.store.migrations.MIGRATIONS", MIGRATIONS[:version])
        file = create(path, 3)
    # The statement is today's: what it writes more than the older one did is taken away again.
    file.conn.execute("ALTER TABLE attempts ADD COLUMN connect REAL")
    settle(file, settlement(0))
    file.conn.execute("ALTER TABLE attempts DROP COLUMN connect")
    known = {name for _, name, *_ in file.conn.execute("PRAGMA table_info(samples)")}
    values = {name: value for name, value in msgspec.to_builtins(SAMPLE).items() if name in known}
    texts = [msgspec.json.encode(value) if isinstance(value, dict) else value for value in values.values()]
    with file.conn:
        file.conn.execute(f"INSERT INTO samples ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})", texts)
    file.close()
    before = path.read_bytes()

    def look() -> list[Sample]:
        with RunReader(path) as reader:
            assert reader.meta().config == CONFIG
            assert [row.state for row in reader.window(0, 3)][:2] == ["done", states[1]]
            detail = reader.detail(0)
            assert detail is not None
            assert detail.attempts[0].ttft == 0.5
            assert detail.attempts[0].connect is None
            return reader.samples()

    states = ["done", "queued"]
    (seen,) = look()
    assert seen == msgspec.convert(values, Sample, strict=False), "what it did not know yet is nothing"
    assert path.read_bytes() == before, "whoever looks changes nothing"
    file = RunFile.open(path)
    assert file.conn.execute("PRAGMA user_version").fetchone() == (SCHEMA,)
    settle(file, settlement(1))
    new = msgspec.structs.replace(SAMPLE, t=SAMPLE.t + 1, ttft={40: 2}, stalled=1)
    file.begin()
    file.sample(new)
    file.commit()
    file.close()
    states[1] = "done"
    assert look() == [seen, new]


def foreign(path: Path) -> str:
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE bookmarks (url TEXT)")
        db.commit()
    return "not a batchdeck run"


def newer(path: Path) -> str:
    create(path, 1).close()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    return "newer batchdeck"


def not_sqlite(path: Path) -> str:
    path.write_text("Dear diary, " * 1_000)
    return "not a database"


def empty(path: Path) -> str:
    path.touch()
    return "cut short before the run began"


def half(path: Path) -> str:
    create(path, 2_000).close()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return "malformed"


def without_tables(path: Path) -> str:
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute("PRAGMA user_version = 1")
        db.execute("CREATE TABLE other (x)")
        db.commit()
    return "lost its tables"


def without_a_run(path: Path) -> str:
    create(path, 1).close()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("DELETE FROM run")
        db.commit()
    return "cut short before the run began"


@pytest.mark.parametrize("make", [foreign, newer, not_sqlite, empty, half, without_tables, without_a_run])
def test_what_is_no_run_file_is_refused_by_name_and_left_alone(tmp_path: Path, make: object) -> None:
    path = tmp_path / "thing.db"
    assert callable(make)
    reason = make(path)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=reason) as refused:
        RunFile.open(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)
    if make in (foreign, not_sqlite, empty):
        assert path.read_bytes() == before
        assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith("thing")] == ["thing.db"]


def test_a_run_file_that_was_reopened_goes_on_where_it_was(tmp_path: Path) -> None:
    file = create(tmp_path / "run.db", 6)
    settle(file, settlement(0), failed(1), failed(2), failed(3, error_type="rate_limited", final=False))
    file.begin()
    file.retry(None, -1, 500)
    file.event(1.0, 1e9, "retry", "2", 2.0)
    file.sample(SAMPLE)
    file.commit()
    counts, errors, seq = file.counts(), file.errors(), file.seq
    file.close()
    again = RunFile.open(tmp_path / "run.db")
    assert (again.counts(), again.errors(), again.seq) == (counts, errors, seq)
    assert again.samples() == 1
    settle(again, settlement(1, 2))
    again.begin()
    again.event(2.0, 1e9, "ended", "done", None)
    again.retry(None, -1, 500)
    again.commit()
    again.close()
    with RunReader(tmp_path / "run.db") as reader:
        assert [event.id for event in reader.events()] == [1, 2]
        assert [event.kind for event in reader.events(after=1)] == ["ended"]
    positions = [row[0] for row in ask(tmp_path / "run.db", "SELECT position FROM items WHERE state = 'queued'")]
    assert len(positions) == len(set(positions))


# -- settling


def test_attempts_and_outcomes_are_counted_with_what_they_cost(tmp_path: Path) -> None:
    file = create(tmp_path / "run.db", 6)
    reset = failed(5, error_type="reset", final=False).settled.failure
    settle(
        file,
        settlement(0),
        settlement(1, cost=None),
        failed(2),
        failed(3, error_type="rate_limited", final=False),
        failed(4, error_type="http_503", final=False),
        settlement(5, sends=2, answer=None, cost=None, outcome=None, failure=reset),
    )
    assert file.counts() == Counts(
        items=6, done=2, failed=1, attempts=6, sends=7, retries=2, rate_limit_hits=1, tokens_in=10, tokens_out=14,
        cost=0.25, unpriced=1,
    )  # fmt: skip
    counted = recount(tmp_path / "run.db")
    assert {name: getattr(file.counts(), name) for name in counted} == counted
    assert {(error.error_type, error.attempts, error.items) for error in file.errors()} == {
        ("http_400", 1, 1), ("rate_limited", 1, 0), ("http_503", 1, 0), ("reset", 1, 0),
    }  # fmt: skip
    file.close()


def test_only_an_outcome_moves_the_sequence(tmp_path: Path) -> None:
    file = create(tmp_path / "run.db", 3)
    settle(file, settlement(0))
    assert file.seq == 1
    settle(file, failed(1, error_type="rate_limited", final=False))
    assert file.seq == 1
    settle(file, settlement(1, 2), settlement(2))
    assert file.seq == 2
    with RunReader(tmp_path / "run.db") as reader:
        assert reader.seq() == file.seq
        assert reader.changes(0) == [(1, 0), (2, 1), (2, 2)]
        assert reader.changes(1, limit=1) == [(2, 1)]
    file.close()


def test_results_since_a_commit_are_given_in_whole_commits(tmp_path: Path) -> None:
    file = create(tmp_path / "run.db", 9)
    for first in (6, 3, 0):
        settle(file, *[settlement(idx) for idx in range(first, first + 3)])
    found, upto = file.settled_after(0, 4)
    assert [row["index"] for row in found] == [6, 7, 8, 3, 4, 5]
    found, upto = file.settled_after(upto, 4)
    assert [row["index"] for row in found] == [0, 1, 2]
    assert file.settled_after(upto, 4) == ([], 3)
    file.close()


def test_a_rollback_undoes_rows_and_memory_alike(tmp_path: Path) -> None:
    file = create(tmp_path / "run.db", 8)
    settle(file, settlement(0), failed(1))
    before = (file.counts(), file.errors(), file.seq)
    file.begin()
    file.settle([settlement(2), failed(3, error_type="http_404")])
    file.ingest(rows(8, 2), SourceState(offset=999, index=10), False)
    file.retry(None, -1, 10)
    file.sample(SAMPLE)
    file.event(1.0, 1e9, "pause", "", None)
    assert file.counts() != before[0]
    file.rollback()
    assert (file.counts(), file.errors(), file.seq) == before
    settle(file, settlement(2), failed(3, error_type="http_404"))
    counted = recount(tmp_path / "run.db")
    assert {name: getattr(file.counts(), name) for name in counted} == counted
    assert ask(tmp_path / "run.db", "SELECT id FROM attempts") == [(1,), (2,), (3,), (4,)]
    assert file.source()[0].offset == 80
    file.close()


def test_text_with_lone_surrogates_can_be_kept(tmp_path: Path) -> None:
    broken = "a \ud83d b"
    file = RunFile.create(tmp_path / "run.db", "run", CONFIG, "", None, 1e9)
    file.begin()
    row = IngestRow(index=0, line=1, data="{}", label=storable(broken), custom_id=storable(broken))
    file.ingest([row, *rows(1, 1)], SourceState(index=2), True)
    failure = failed(1).settled.failure
    assert failure is not None
    file.settle(
        [
            settlement(0, text=broken, headers=(("server", broken), ("x-ratelimit-remaining-requests", "1"))),
            settlement(1, answer=None, outcome="failed", failure=type(failure)(
                outcome="permanent", error_type="http_400", message=broken)),
        ]
    )  # fmt: skip
    file.event(0.0, 1e9, "stopped", broken, None)
    file.end("stopped", broken, 1e9)
    file.commit()
    file.close()
    with RunReader(tmp_path / "run.db") as reader:
        assert [row.text for row in reader.window(0, 1)] == ["a ? b"]
        detail = reader.detail(0)
        assert detail is not None
        assert detail.custom_id == "a ? b"
        assert detail.attempts[0].headers == {"server": "a ? b", "x-ratelimit-remaining-requests": "1"}
        assert reader.window(1, 1)[0].error == "a ? b"
        assert reader.meta().message == "a ? b"


# -- ingest


def test_rows_and_the_place_they_reach_are_kept_together_or_not_at_all(tmp_path: Path) -> None:
    file = create(tmp_path / "run.db", 2)
    file.begin()
    file.ingest(rows(2, 3), SourceState(offset=500, line=5, index=5, fingerprint="print"), False)
    with pytest.raises(sqlite3.IntegrityError):
        file.ingest(rows(4, 1), SourceState(offset=600, line=6, index=6), False)
    file.rollback()
    assert file.source() == (SourceState(offset=20, line=2, index=2, fingerprint="print"), True)
    assert (file.counts().items, recount(tmp_path / "run.db")["items"]) == (2, 2)
    file.close()


def test_bad_lines_are_failed_items_with_their_reason(tmp_path: Path) -> None:
    file = RunFile.create(tmp_path / "run.db", "run", CONFIG, "", None, 1e9)
    file.begin()
    good, bad = rows(0, 2), rows(2, 1, error="rows.jsonl:3: not JSON")
    file.ingest(good + bad, SourceState(index=3), True)
    file.commit()
    assert (file.counts().items, file.counts().failed, file.counts().bad_lines) == (3, 1, 1)
    assert [item.idx for item in file.pull(-1, RETRY_LANE, 10)[0]] == [0, 1]
    file.begin()
    assert file.retry(None, -1, 10) == (0, None)
    assert file.retry([2], -1, 10) == (0, None)
    file.commit()
    file.close()
    with RunReader(tmp_path / "run.db") as reader:
        (row,) = reader.rows([2])
        assert (row.state, row.error_type, row.error, row.attempts) == (
            "failed",
            "bad_input",
            "rows.jsonl:3: not JSON",
            0,
        )
        assert list(reader.select(error_type="bad_input")) == [2]


def test_pulling_goes_by_position_and_counts_earlier_attempts(tmp_path: Path) -> None:
    file = create(tmp_path / "run.db", 10)
    settle(file, settlement(0), failed(1, error_type="http_500", final=False), settlement(4))
    pulled = file.pull(-1, RETRY_LANE, 3)[0]
    assert [(item.idx, item.attempts) for item in pulled] == [(1, 1), (2, 0), (3, 0)]
    assert [item.idx for item in file.pull(pulled[-1].position, RETRY_LANE, 100)[0]] == [5, 6, 7, 8, 9]
    assert pulled[0].data == '{"text": "row 1"}'
    file.close()


def test_what_is_put_back_comes_behind_everything_in_the_order_of_the_retries(tmp_path: Path) -> None:
    file = create(tmp_path / "run.db", 8)
    settle(file, *[failed(idx) for idx in (1, 3, 5, 7)])
    file.begin()
    assert file.retry([7], -1, 10) == (1, 7)
    assert file.retry(None, -1, 2) == (2, 3)
    assert file.retry(None, 3, 2) == (1, 5)
    assert file.retry(None, 5, 2) == (0, None)
    file.commit()
    assert [item.idx for item in file.pull(-1, RETRY_LANE, 10)[0]] == [0, 2, 4, 6]
    again = file.pull(RETRY_LANE - 1, 1 << 62, 10)[0]
    assert [(item.idx, item.revision, item.attempts) for item in again] == [(7, 1, 1), (1, 1, 1), (3, 1, 1), (5, 1, 1)]
    assert file.counts().failed == 0
    file.begin()
    file.ingest(rows(8, 1), SourceState(index=9), True)
    file.commit()
    assert file.pull(6, RETRY_LANE, 10)[0][0].idx == 8
    file.close()
    with RunReader(tmp_path / "run.db") as reader:
        assert list(reader.select("failed")) == []
        assert reader.rows([7])[0].error is None


def test_only_the_failed_items_of_a_class_are_put_back_however_many_others_lie_between(tmp_path: Path) -> None:
    file = create(tmp_path / "run.db", 8)
    settle(file, *[failed(idx, error_type="timeout_idle" if idx in (1, 7) else "http_500") for idx in range(8)])
    file.begin()
    assert file.retry(None, -1, 3, "timeout_idle") == (1, 2)
    assert file.retry(None, 2, 3, "timeout_idle") == (0, 5)
    assert file.retry(None, 5, 3, "timeout_idle") == (1, 7)
    assert file.retry(None, 7, 3, "timeout_idle") == (0, None)
    file.commit()
    assert [item.idx for item in file.pull(-1, 1 << 62, 10)[0]] == [1, 7]
    assert file.counts().failed == 6
    file.close()


# -- the rest of what a run keeps


def test_intent_and_ending(tmp_path: Path) -> None:
    file = create(tmp_path / "run.db", 1)
    file.begin()
    file.intend("drain")
    file.end("drained", "as asked", 1e9 + 5)
    file.commit()
    with RunReader(tmp_path / "run.db") as reader:
        assert (reader.meta().state, reader.meta().message, reader.meta().updated_at) == (
            "drained",
            "as asked",
            1e9 + 5,
        )
        file.begin()
        file.intend("run")
        file.commit()
        # Nobody holds the lock: a run that should be running is interrupted.
        assert (reader.meta().state, reader.meta().message) == ("interrupted", "")
    file.close()


def test_samples_and_events_are_read_as_they_were_written(tmp_path: Path) -> None:
    file = create(tmp_path / "run.db", 1)
    file.begin()
    file.sample(SAMPLE)
    file.event(0.5, 1e9, "concurrency", "10 → 20", 20.0)
    file.commit()
    assert file.counts().seconds == 1.0
    file.close()
    with RunReader(tmp_path / "run.db") as reader:
        assert reader.samples() == [SAMPLE]
        assert reader.samples(after=1.0) == []
        assert reader.events() == [Event(id=1, t=0.5, at=1e9, kind="concurrency", detail="10 → 20", value=20.0)]


def test_the_file_reads_well_in_any_sqlite_browser(tmp_path: Path) -> None:
    file = create(tmp_path / "run.db", 3)
    settle(file, settlement(2, text="drei"), failed(0), failed(1, error_type="http_500", final=False))
    settle(file, settlement(1, 2, text="zwei"))
    file.checkpoint(final=True)
    file.close()
    assert not (tmp_path / "run.db-wal").exists()
    assert ask(
        tmp_path / "run.db",
        'SELECT "index", state, text, finish_reason, tokens_in, tokens_out, ttft, seconds, cost, error_type, attempts,'
        ' line FROM results ORDER BY "index"',
    ) == [
        (0, "failed", "", None, None, None, 0.5, 2.0, None, "http_400", 1, 1),
        (1, "done", "zwei", "stop", 5, 7, 0.5, 2.0, 0.25, None, 2, 2),
        (2, "done", "drei", "stop", 5, 7, 0.5, 2.0, 0.25, None, 1, 3),
    ]


def test_the_log_is_folded_back_once_it_is_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batchdeck.store.runfile.CHECKPOINT_BYTES", 200_000)
    file = create(tmp_path / "run.db", 400)
    file._wal_limit = 200_000
    wal = tmp_path / "run.db-wal"
    largest = 0
    for idx in range(400):
        settle(file, settlement(idx, text="x" * 5_000))
        largest = max(largest, wal.stat().st_size)
        file.checkpoint()
    assert 200_000 < largest < 300_000
    # A reader in the middle of something only postpones it.
    with contextlib.closing(sqlite3.connect(tmp_path / "run.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM attempts").fetchone()
        settle(file, failed(0, 2))
        file.checkpoint(final=True)
        assert wal.stat().st_size > 0
        reader.execute("COMMIT")
    file.checkpoint(final=True)
    assert wal.stat().st_size == 0
    file.close()


def test_a_disk_too_full_to_fold_the_log_back_is_no_end(tmp_path: Path) -> None:
    file = create(tmp_path / "run.db", 60)
    file.checkpoint(final=True)
    settle(file, *[settlement(idx, text="x" * 20_000) for idx in range(50)])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "run.db").stat().st_size + 8192, hard))
    try:
        file.checkpoint(final=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "run.db-wal").stat().st_size > 50 * 20_000
    settle(file, settlement(50))
    file.checkpoint(final=True)
    assert (tmp_path / "run.db-wal").stat().st_size == 0
    assert recount(tmp_path / "run.db")["done"] == 51
    file.close()
