"""The run file as its one writer sees it: synchronous, on one connection, used from one thread.

Every method but ``open``, ``create`` and ``checkpoint`` runs inside the transaction that ``begin`` opened; the caller
commits a whole group at once. Counters are kept here and written with the rows they count.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import sqlite3
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from sqlite_utils import Database

from batchdeck.errors import StoreError, UsageError
from batchdeck.inputs.base import SourceState
from batchdeck.model import HEDGED, Counts, ErrorClass, Hedged, IngestRow, Item, RunConfig, Sample, Settlement
from batchdeck.store.migrations import migrate
from batchdeck.store.reader import APPLICATION_ID, UNCLASSED

log = logging.getLogger("batchdeck.store")

RETRY_LANE = 1 << 40
"""Positions from here on belong to retried items: their order is that of the retries, behind everything ingested."""
CHECKPOINT_BYTES = 64 << 20
PULL_BYTES = 8 << 20
"""Prompts that are looked ahead at, in characters."""
KEPT_HEADERS = (
    "retry-after",
    "retry-after-ms",
    "x-request-id",
    "request-id",
    "cf-ray",
    "server",
    "openai-processing-ms",
)

_INSERT_ATTEMPT = (
    "INSERT INTO attempts (id, idx, variant, revision, number, request_hash, outcome, status, error_type, error, text,"
    " finish_reason, model, tokens_in, tokens_out, tokens_cached, cost, started_at, ttft, itl, seconds, sends, headers,"
    " codec, raw, connect) VALUES (" + ",".join("?" * 26) + ")"
)
_SETTLE_ITEM = (
    "UPDATE items SET state = ?, result_attempt = ?, seq = ? WHERE idx = ? AND variant = ? AND state = 'queued'"
)


class RunFile:
    """One open run file. ``open`` and ``create`` raise ``StoreError``; later ``sqlite3`` errors go to the writer."""

    def __init__(self, path: Path, conn: sqlite3.Connection) -> None:
        self.path = path
        self.db = Database(conn)
        self.conn = conn
        self._values: dict[str, float] = {}
        self._errors: dict[str, ErrorClass] = {}
        self._touched: set[str] = set()
        self._saved: tuple[dict[str, float], dict[str, ErrorClass], int, int, int, int] | None = None
        self._wal_limit = CHECKPOINT_BYTES
        self.seq = 0
        self._attempt = 0
        self._position = RETRY_LANE
        self._event = 0
        self._owner = secrets.token_hex(8)
        self._inode = path.stat().st_ino

    @classmethod
    def create(cls, path: Path, run: str, config: RunConfig, fingerprint: str, size: int | None, now: float) -> RunFile:
        """A new run file, 0600. Raises ``UsageError`` when the path exists already."""
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            raise UsageError(f"{path} exists already; 'batchdeck resume {path}' goes on with it") from None
        except OSError as error:
            raise UsageError(f"{path} cannot be made: {error.strerror}") from error
        try:
            file = cls._connect(path)
            file.conn.execute("BEGIN IMMEDIATE")
            file.conn.execute(
                "INSERT INTO run (id, run, created_at, updated_at, config, intent, owner)"
                " VALUES (1, ?, ?, ?, ?, 'run', ?)",
                (run, now, now, msgspec.json.encode(config).decode(), file._owner),
            )
            file.conn.execute("INSERT INTO source (id, fingerprint, size) VALUES (1, ?, ?)", (fingerprint, size))
            file.conn.execute("COMMIT")
        except (StoreError, sqlite3.Error) as error:
            # Half a file would neither launch again nor resume.
            for suffix in ("", "-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            raise StoreError(f"{path} cannot be made: {error}") from error
        return file

    @classmethod
    def open(cls, path: Path) -> RunFile:
        """Open an existing run file and bring its schema up to date."""
        if not path.is_file():
            raise UsageError(f"{path}: no such run file")
        cut_short = f"{path}: the run file was cut short before the run began; delete it and launch again"
        if not path.stat().st_size:
            # SQLite would take an empty file for a new database, and make one of it.
            raise StoreError(cut_short)
        file = cls._connect(path)
        if not file._number("SELECT count(*) FROM run"):
            file.close()
            raise StoreError(cut_short)
        return file

    @classmethod
    def _connect(cls, path: Path) -> RunFile:
        try:
            conn = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise StoreError(f"{path}: {error}") from error
        file = cls(path, conn)
        try:
            file._prepare()
        except (sqlite3.Error, StoreError) as error:
            conn.close()
            raise StoreError(f"{path}: {error}") from error
        return file

    def _prepare(self) -> None:
        conn = self.conn
        conn.execute("PRAGMA busy_timeout = 5000")
        if conn.execute("PRAGMA page_count").fetchone()[0] and not _is_run(conn):
            # Said before anything is written to a file that may be somebody else's.
            raise StoreError("this SQLite file is not a batchdeck run")
        conn.execute("PRAGMA journal_mode = WAL")
        conn.execute("PRAGMA synchronous = FULL")
        conn.execute("PRAGMA wal_autocheckpoint = 0")
        if sys.platform == "darwin":
            conn.execute("PRAGMA fullfsync = 1")
        migrate(self.db)
        # Taken over before it is read: an engine that still holds the file can commit nothing behind what is read here.
        conn.execute("BEGIN IMMEDIATE")
        conn.execute("UPDATE run SET owner = ?", (self._owner,))
        self._load()
        conn.execute("COMMIT")

    def _load(self) -> None:
        self._values = dict(self.conn.execute("SELECT name, value FROM counters"))
        columns = ", ".join(ErrorClass.__struct_fields__)
        for row in self.conn.execute(f"SELECT {columns} FROM errors"):
            error = ErrorClass(**dict(zip(ErrorClass.__struct_fields__, row, strict=True)))
            self._errors[error.error_type] = error
        self.seq = self._number("SELECT max(seq) FROM items WHERE seq > 0")
        self._attempt = self._number("SELECT max(id) FROM attempts")
        self._event = self._number("SELECT max(id) FROM events")
        self._position = max(RETRY_LANE, self._number("SELECT max(position) FROM items WHERE state = 'queued'") + 1)

    def _number(self, query: str) -> int:
        return int(self.conn.execute(query).fetchone()[0] or 0)

    # -- transactions

    def begin(self) -> None:
        """Begin a transaction.

        Raises ``StoreError`` when this file is not ours any more: deleted, replaced, or taken over by another engine.
        The lock beside the file prevents that, but a lock can be deleted, and a file can have two names.
        """
        self._check_place()
        self.conn.execute("BEGIN IMMEDIATE")
        if self.conn.execute("SELECT owner FROM run").fetchone()[0] != self._owner:
            self.conn.execute("ROLLBACK")
            raise StoreError(f"another engine has taken over {self.path}; this one stops")
        self._saved = (
            dict(self._values), dict(self._errors), self.seq, self._attempt, self._position, self._event
        )  # fmt: skip

    def commit(self) -> None:
        """Write the counters that changed and commit. After an error call ``rollback``."""
        if self._touched:
            self.conn.executemany(
                "INSERT OR REPLACE INTO counters (name, value) VALUES (?, ?)",
                [(name, self._values[name]) for name in sorted(self._touched)],
            )
        self.conn.execute("COMMIT")
        self._touched.clear()
        self._saved = None

    def rollback(self) -> None:
        """Undo everything since ``begin``, in memory as well."""
        if self._saved is not None:
            self._values, self._errors, self.seq, self._attempt, self._position, self._event = self._saved
        self._touched.clear()
        self._saved = None
        if self.conn.in_transaction:
            self.conn.execute("ROLLBACK")

    def _check_place(self) -> None:
        try:
            moved = self.path.stat().st_ino != self._inode
        except FileNotFoundError:
            moved = True
        if moved:
            raise StoreError(f"{self.path} was deleted or replaced while the run was going; what came since is lost")

    def checkpoint(self, *, final: bool = False) -> None:
        """Fold the WAL back once it is large (or at the end). A reader in the way or a full disk only postpones it."""
        wal = self.path.with_name(self.path.name + "-wal")
        size = wal.stat().st_size if wal.exists() else 0
        if not final and size < self._wal_limit:
            return
        self.conn.execute("PRAGMA busy_timeout = 0")
        try:
            busy = bool(self.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0])
        except sqlite3.OperationalError as error:
            # A full disk: what was committed stands in the WAL, and can be folded back another time.
            log.warning("%s: the write-ahead log could not be folded back: %s", self.path, error)
            busy = True
        self.conn.execute("PRAGMA busy_timeout = 5000")
        self._wal_limit = size + CHECKPOINT_BYTES if busy else CHECKPOINT_BYTES

    def close(self) -> None:
        self.db.close()

    # -- reading

    def counts(self) -> Counts:
        """The kept counters, the uncommitted changes of this transaction among them."""
        return msgspec.convert(
            {name: self._values.get(name, 0) for name in Counts.__struct_fields__}, Counts, strict=False
        )

    def errors(self) -> tuple[ErrorClass, ...]:
        """Errors by class, the most frequent first."""
        return tuple(sorted(self._errors.values(), key=lambda error: -(error.attempts + error.items)))

    def run(self) -> tuple[str, RunConfig]:
        run, config = self.conn.execute("SELECT run, config FROM run").fetchone()
        return run, msgspec.json.decode(config, type=RunConfig)

    def source(self) -> tuple[SourceState, bool]:
        """From where ingest goes on, and whether it is complete."""
        row = self.conn.execute(
            "SELECT byte_offset, line, next_index, fingerprint, ingest_complete FROM source"
        ).fetchone()
        return SourceState(offset=row[0], line=row[1], index=row[2], fingerprint=row[3]), bool(row[4])

    def samples(self) -> int:
        return self._number("SELECT count(*) FROM samples")

    def pull(self, after: int, before: int, limit: int) -> tuple[list[Item], bool]:
        """The next queued items with ``after < position < before``, in order, and whether there are none behind them.

        At most ``limit``, and no more than ``PULL_BYTES`` of them (but one at least).
        """
        rows = self.conn.execute(
            "SELECT i.idx, i.variant, i.position, i.revision, n.data,"
            # The highest number, not how many there are: of two attempts the second may be here before the first.
            " (SELECT coalesce(max(a.number), 0) FROM attempts a WHERE a.idx = i.idx AND a.variant = i.variant),"
            " n.custom_id"
            " FROM items i INDEXED BY items_queue JOIN inputs n ON n.idx = i.idx"
            " WHERE i.state = 'queued' AND i.position > ? AND i.position < ? ORDER BY i.position LIMIT ?",
            (after, before, limit),
        )
        items: list[Item] = []
        size = 0
        for row in rows:
            items.append(Item(**dict(zip(Item.__struct_fields__, row, strict=True))))
            size += len(items[-1].data)
            if size >= PULL_BYTES:
                rows.close()
                return items, False
        return items, len(items) < limit

    def settled_after(self, seq: int, limit: int) -> tuple[list[dict[str, Any]], int]:
        """Results of commits after ``seq``, and the commit they reach up to; whole commits, at least ``limit`` rows."""
        last = self.conn.execute(
            "SELECT seq FROM items WHERE seq > ? ORDER BY seq LIMIT 1 OFFSET ?", (seq, limit - 1)
        ).fetchone()
        upto = last[0] if last else self.seq
        cursor = self.conn.execute(
            'SELECT r.* FROM items i JOIN results r ON r."index" = i.idx'
            " WHERE i.seq > ? AND i.seq <= ? AND i.state != 'queued' ORDER BY i.seq, i.idx",
            (seq, upto),
        )
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()], upto

    # -- writing

    def ingest(self, rows: Sequence[IngestRow], state: SourceState, complete: bool) -> None:
        """Add rows together with the place in the input that they reach up to."""
        bad = [row for row in rows if row.error is not None]
        if rows:
            self.conn.executemany(
                "INSERT INTO inputs (idx, line, custom_id, label, data, error) VALUES (?, ?, ?, ?, ?, ?)",
                [(row.index, row.line, row.custom_id, row.label, row.data, row.error) for row in rows],
            )
            if bad:
                self.seq += 1
            self.conn.executemany(
                "INSERT INTO items (idx, position, state, seq) VALUES (?, ?, ?, ?)",
                [
                    (row.index, row.index, "failed" if row.error else "queued", self.seq if row.error else 0)
                    for row in rows
                ],
            )
        for row in bad:
            self._error("bad_input", row.error or "", row.index, items=1)
        self._add("items", len(rows))
        self._add("failed", len(bad))
        self._add("bad_lines", len(bad))
        self.conn.execute(
            "UPDATE source SET byte_offset = ?, line = ?, next_index = ?, fingerprint = ?, ingest_complete = ?",
            (state.offset, state.line, state.index, state.fingerprint, int(complete)),
        )

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Write attempts to the ledger and the outcomes they decided, and count them."""
        if any(settlement.outcome is not None for settlement in settlements):
            self.seq += 1
        attempts: list[tuple[Any, ...]] = []
        outcomes: list[tuple[Any, ...]] = []
        for settlement in settlements:
            self._attempt += 1
            attempts.append(self._attempt_row(settlement))
            order = settlement.settled.order
            if settlement.outcome is not None:
                outcomes.append((settlement.outcome, self._attempt, self.seq, order.idx, order.variant))
                self._add(settlement.outcome, 1)
            self._count(settlement)
        self.conn.executemany(_INSERT_ATTEMPT, attempts)
        self.conn.executemany(_SETTLE_ITEM, outcomes)

    def _attempt_row(self, settlement: Settlement) -> tuple[Any, ...]:
        settled = settlement.settled
        order, failure, answer, timings = settled.order, settled.failure, settled.answer, settled.timings
        headers = {
            name: storable(value) for name, value in settled.headers if name in KEPT_HEADERS or "ratelimit" in name
        }
        return (
            self._attempt, order.idx, order.variant, order.revision, order.number,
            hashlib.blake2b(order.body, digest_size=12).hexdigest(),
            failure.outcome if failure else "ok", settled.status,
            failure.error_type if failure else None, storable(failure.message) if failure else None,
            storable(answer.text) if answer else "", _storable(answer.finish_reason) if answer else None,
            _storable(answer.model) if answer else None, answer.tokens_in if answer else None,
            answer.tokens_out if answer else None, answer.tokens_cached if answer else None, settled.cost,
            timings.started_at, timings.ttft, timings.itl, timings.seconds, settled.sends,
            msgspec.json.encode(headers).decode(), "zlib-cut" if settled.raw_cut else "zlib",
            zlib.compress(settled.raw, 1), timings.connect,
        )  # fmt: skip

    def _count(self, settlement: Settlement) -> None:
        settled = settlement.settled
        answer, failure = settled.answer, settled.failure
        self._add("attempts", 1)
        self._add("sends", settled.sends)
        self._add("stalls", int(settled.stalled))
        is_spare = settlement.hedged is not None and settlement.hedged.is_spare
        if settlement.hedged is not None:
            won = settlement.outcome == "done"
            self._count_hedge(settlement.hedged, was_sent=settled.sends > 0, won=won)
        if answer is not None:
            self._add("tokens_in", answer.tokens_in or 0)
            self._add("tokens_out", answer.tokens_out or 0)
            self._add("tokens_cached", answer.tokens_cached or 0)
        if settled.cost is not None:
            self._add("cost", settled.cost)
        elif failure is None:
            self._add("unpriced", 1)
        if failure is not None:
            if failure.outcome == "rate_limited" or settled.status == 429:
                self._add("rate_limit_hits", 1)
            elif failure.outcome == "transient" and settlement.outcome is None and not is_spare:
                self._add("retries", 1)
            items = 1 if settlement.outcome == "failed" else 0
            if failure.error_type != HEDGED:
                self._error(failure.error_type, failure.message, settled.order.idx, attempts=1, items=items)

    def _count_hedge(self, hedged: Hedged, *, was_sent: bool, won: bool) -> None:
        if hedged.is_second:
            self._add("hedges", int(was_sent))
            self._add("hedge_wins", int(won))
        self._add("hedge_tokens", hedged.tokens)
        self._add("hedge_cost", hedged.cost or 0.0)
        self._add("hedge_guesses", int(hedged.is_guess))

    def retry(
        self, idx: Sequence[int] | None, after: int, limit: int, error: str | None = None
    ) -> tuple[int, int | None]:
        """Look at the next ``limit`` failed items with ``idx > after``, and put them behind the queue: (how many, the
        last one's idx). error: only those that failed of this class.

        Bad input lines stay failed: there is nothing to send. Call again from the last idx until it is None.
        """
        chosen = "" if idx is None else f" AND i.idx IN ({','.join(str(int(one)) for one in idx)})"
        looked = self.conn.execute(
            "SELECT i.idx, i.variant, a.error_type FROM items i JOIN attempts a ON a.id = i.result_attempt"
            f" WHERE i.state = 'failed' AND i.idx > ?{chosen} ORDER BY i.idx LIMIT ?",
            (after, limit),
        ).fetchall()
        last = looked[-1][0] if looked else None
        rows = [row for row in looked if error is None or (row[2] or UNCLASSED) == error]
        if not rows:
            return 0, last
        self.seq += 1
        first = self._position
        self._position += len(rows)
        self.conn.executemany(
            "UPDATE items SET state = 'queued', position = ?, revision = revision + 1, result_attempt = NULL, seq = ?"
            " WHERE idx = ? AND variant = ?",
            [(first + n, self.seq, row[0], row[1]) for n, row in enumerate(rows)],
        )
        self._add("failed", -len(rows))
        for row in rows:
            self._error(row[2] or UNCLASSED, None, row[0], items=-1)
        return len(rows), last

    def sample(self, sample: Sample) -> None:
        values = [_column(getattr(sample, name)) for name in Sample.__struct_fields__]
        self.conn.execute(
            f"INSERT OR REPLACE INTO samples ({', '.join(Sample.__struct_fields__)})"
            f" VALUES ({','.join('?' * len(values))})",
            values,
        )
        self._add("seconds", sample.dt)
        self._add("queue_seconds", sample.queue_depth * sample.dt)
        self.conn.execute("UPDATE run SET updated_at = ?", (sample.at,))

    def event(self, t: float, at: float, kind: str, detail: str, value: float | None) -> None:
        self._event += 1
        self.conn.execute(
            "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", (self._event, t, at, kind, storable(detail), value)
        )

    def intend(self, intent: str) -> None:
        """What a person wants of this run: ``run`` ``pause`` ``drain`` ``cancel``. Clears the ending."""
        self.conn.execute("UPDATE run SET intent = ?, ending = NULL, message = ''", (intent,))

    def end(self, ending: str, message: str, now: float) -> None:
        self.conn.execute("UPDATE run SET ending = ?, message = ?, updated_at = ?", (ending, storable(message), now))
        # Whoever sees that it has ended may copy the file, alone, while the engine still stands by for watchers.
        self._wal_limit = 0

    def configure(self, config: RunConfig) -> None:
        self.conn.execute("UPDATE run SET config = ?", (msgspec.json.encode(config).decode(),))

    def _add(self, name: str, amount: float) -> None:
        if amount:
            self._values[name] = self._values.get(name, 0) + amount
            self._touched.add(name)

    def _error(self, error_type: str, example: str | None, idx: int, *, attempts: int = 0, items: int = 0) -> None:
        """Count an error of a class; the first example of a class stays."""
        known = self._errors.get(error_type)
        if known is None:
            known = ErrorClass(
                error_type=error_type, attempts=0, items=0, example=storable(example or "")[:500], example_idx=idx
            )
        changed = msgspec.structs.replace(known, attempts=known.attempts + attempts, items=max(0, known.items + items))
        self._errors[error_type] = changed
        self.conn.execute(
            "INSERT OR REPLACE INTO errors (error_type, attempts, items, example, example_idx) VALUES (?, ?, ?, ?, ?)",
            (error_type, changed.attempts, changed.items, changed.example, changed.example_idx),
        )


def _column(value: Any) -> Any:
    """What SQLite has no type for is kept as JSON."""
    return msgspec.json.encode(value).decode() if isinstance(value, dict) else value


def storable(text: str) -> str:
    """Text that SQLite takes: lone surrogates (a broken \\ud83d in JSON) cannot be encoded as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def _storable(text: str | None) -> str | None:
    return None if text is None else storable(text)


def _is_run(conn: sqlite3.Connection) -> bool:
    found = conn.execute("PRAGMA application_id").fetchone()[0]
    return bool(found == APPLICATION_ID)
