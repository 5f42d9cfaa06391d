"""Reads a run file from any process but the engine's own. Plain ``sqlite3``, ``mode=ro``, short transactions.

Imports in milliseconds, since the console starts with it: no sqlite-utils here.
"""

from __future__ import annotations

import sqlite3
import zlib
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar

import msgspec

from batchdeck import lock
from batchdeck.config import APPLICATION_ID as APPLICATION_ID
from batchdeck.config import SCHEMA
from batchdeck.errors import StoreError
from batchdeck.model import (
    AttemptRow,
    Counts,
    Detail,
    ErrorClass,
    Event,
    Row,
    RunConfig,
    RunMeta,
    RunState,
    Sample,
)

CHUNK = 5_000
"""Rows a transaction at most: an unfinished cursor keeps the WAL from being folded back."""
NARROW = 50_000
"""The same where only their indices are read, which takes a few milliseconds."""

KEPT_CONNECT = 4
"""The schema from which on an attempt's time for its connection is kept."""

_ROW = """
SELECT i.idx, i.state, n.custom_id, n.label, substr(coalesce(a.text, ''), 1, 400), a.finish_reason, a.tokens_in,
       a.tokens_out, a.ttft, a.seconds, a.cost,
       CASE WHEN n.error IS NOT NULL THEN 'bad_input' ELSE a.error_type END, coalesce(n.error, a.error),
       (SELECT count(*) FROM attempts c WHERE c.idx = i.idx AND c.variant = i.variant)
FROM items i JOIN inputs n ON n.idx = i.idx LEFT JOIN attempts a ON a.id = i.result_attempt
"""
_ATTEMPT = (
    "id, number, outcome, status, error_type, error, text, finish_reason, model, tokens_in, tokens_out, tokens_cached,"
    " cost, started_at, ttft, itl, seconds, sends, headers"
)

_PACE = """
WITH RECURSIVE part(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM part WHERE n + 1 < ?1)
SELECT (SELECT sum(done) / sum(dt) FROM (
    SELECT done, dt FROM samples WHERE t > ?2 + n * ?3 AND t <= ?2 + (n + 1) * ?3 + 1e-6 ORDER BY t LIMIT 30
)) FROM part
"""
UNCLASSED = "unknown"
"""The class of a failed item whose last attempt names none."""

T = TypeVar("T", bound=msgspec.Struct)


def _make(kind: type[T], row: Sequence[Any]) -> T:
    return kind(**dict(zip(kind.__struct_fields__, row, strict=True)))


_BUCKETS = msgspec.json.Decoder(dict[int, int])


def _sample(values: dict[str, Any]) -> Sample:
    for name in ("waits", "held"):
        if name in values:
            values[name] = msgspec.json.decode(values[name])
    for name in ("ttft", "itl", "e2e"):
        if name in values:
            values[name] = _BUCKETS.decode(values[name])
    return Sample(**values)


def is_about_files(error: sqlite3.Error) -> bool:
    """Whether SQLite could not open a file, or could not make one that it needs beside it."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)


def is_still(path: Path) -> bool:
    """Whether nobody writes this run file, and all of it stands in the file itself."""
    wal = Path(f"{path.resolve()}-wal")
    try:
        size = wal.stat().st_size if wal.exists() else None
        return not size and lock.probe(path) is None
    except PermissionError:
        # Somebody else's lock. An engine has its log in place for as long as it works.
        return not wal.exists()
    except OSError:
        return False


def _left(path: Path) -> tuple[int, ...]:
    """What is another once somebody has written to this run file."""
    figures = []
    for file in (path, Path(f"{path.resolve()}-wal")):
        try:
            found = file.stat()
        except OSError:
            figures += [0, 0, 0]
        else:
            figures += [found.st_ino, found.st_size, found.st_mtime_ns]
    return tuple(figures)


class RunReader:
    """One run file, read only. Usable from one thread at a time, any thread.

    Every method raises ``StoreError`` when the file cannot be read.
    """

    def __init__(self, path: Path | str, *, still: bool = False) -> None:
        """still: for a short look. A run that nobody works on is then read without a trace: SQLite makes no ``-wal``
        and ``-shm`` beside it, but rows written from now on are not seen. Never in the process that holds the lock.
        """
        self.path = Path(path)
        if not self.path.is_file():
            raise StoreError(f"{self.path}: no such run file")
        try:
            application_id = self._open(immutable=still and is_still(self.path))
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: not a readable run file ({error}{self._hint(error)})") from error
        if application_id != APPLICATION_ID:
            self.close()
            raise StoreError(f"{self.path}: this file is not a batchdeck run")

    def _open(self, *, immutable: bool) -> int:
        """Connect, and return the file's application id. Where SQLite would have to make files that it cannot make (a
        folder that may only be read), a run file that is whole in itself is taken as it lies there."""
        uri = f"{self.path.resolve().as_uri()}?mode=ro" + ("&immutable=1" if immutable else "")
        self._left = _left(self.path) if immutable else None
        """How the file was when it was opened without its locks."""
        self._db = sqlite3.connect(uri, uri=True, check_same_thread=False, isolation_level=None)
        try:
            self._db.execute("PRAGMA query_only = 1")
            self._db.execute("PRAGMA busy_timeout = 2000")
            return int(self._db.execute("PRAGMA application_id").fetchone()[0])
        except sqlite3.Error as error:
            self._db.close()
            if immutable or not is_about_files(error) or not is_still(self.path):
                raise
        return self._open(immutable=True)

    def _hint(self, error: sqlite3.Error) -> str:
        wal = Path(f"{self.path.resolve()}-wal")
        if not is_about_files(error) or not wal.exists():
            return ""
        return f"; a part of it stands in {wal.name}, which can only be read in a folder that can be written"

    def __enter__(self) -> RunReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    def refuse_newer(self) -> None:
        """Raises ``StoreError`` for a file that a newer batchdeck wrote: what it holds may mean something else."""
        (version,) = self._one("PRAGMA user_version")
        if version > SCHEMA:
            raise StoreError(
                f"{self.path}: this run was written by a newer batchdeck (schema {version}, this one knows {SCHEMA})"
            )

    def interrupt(self) -> None:
        """End the query that runs in another thread; it raises ``StoreError`` there."""
        self._db.interrupt()

    def meta(self) -> RunMeta:
        """The run as a list shows it. Probes the lock, so never call it in the engine's own process while it runs."""
        run, created_at, updated_at, config, intent, ending, message = self._one(
            "SELECT run, created_at, updated_at, config, intent, ending, message FROM run"
        )
        counts = self.counts()
        state: RunState
        try:
            # a run that has ended stays so, whoever stands by it; and its lock may not be ours to open
            held = ending is None and lock.probe(self.path) is not None
            settings = msgspec.json.decode(config, type=RunConfig)
        except (OSError, msgspec.DecodeError) as error:
            raise StoreError(f"{self.path}: {error}") from error
        if ending is not None:
            state = ending
        elif not held:
            state = "interrupted"
        else:
            state = "paused" if intent == "pause" else "draining" if intent in ("drain", "cancel") else "running"
        byte_offset, size, complete = self._one("SELECT byte_offset, size, ingest_complete FROM source")
        expected: int | None = counts.items
        if not complete:
            expected = int(counts.items * size / byte_offset) if size and byte_offset else None
            if expected is not None and settings.limit is not None:
                expected = min(expected, settings.limit)
        rate = 0.0
        if held and ending is None:
            done, seconds = self._one(
                "SELECT coalesce(sum(done + failed), 0), coalesce(sum(dt), 0)"
                " FROM (SELECT done, failed, dt FROM samples ORDER BY t DESC LIMIT 10)"
            )
            # Items put back for another try count as failures taken back.
            rate = max(0, done) / seconds if seconds else 0.0
        return RunMeta(
            run=run,
            path=str(self.path),
            state=state,
            message=message,
            config=settings,
            counts=counts,
            ingest_complete=bool(complete),
            items_expected=expected,
            created_at=created_at,
            updated_at=updated_at,
            rate=rate,
            errors=self.errors(),
        )

    def counts(self) -> Counts:
        """The kept counters."""
        kept = dict(self._all("SELECT name, value FROM counters"))
        return msgspec.convert(
            {name: kept[name] for name in Counts.__struct_fields__ if name in kept}, Counts, strict=False
        )

    def errors(self) -> tuple[ErrorClass, ...]:
        """Errors by class, the most frequent first."""
        rows = self._all(
            "SELECT error_type, attempts, items, example, example_idx FROM errors"
            " ORDER BY attempts + items DESC LIMIT 100"
        )
        return tuple(_make(ErrorClass, row) for row in rows)

    def seq(self) -> int:
        """The newest commit's number."""
        return int(self._one("SELECT coalesce(max(seq), 0) FROM items WHERE seq > 0")[0])

    def window(self, first: int, count: int) -> list[Row]:
        """Rows with ``first <= idx < first + count``, in order; those not yet ingested are missing."""
        query = f"{_ROW} WHERE i.idx >= ? AND i.idx < ? ORDER BY i.idx"
        return [_make(Row, row) for row in self._all(query, first, first + min(count, CHUNK))]

    def rows(self, indices: Sequence[int]) -> list[Row]:
        """These rows (at most 5,000), in the order asked for; unknown ones are missing."""
        marks = ",".join("?" * len(indices[:CHUNK]))
        found = {row[0]: _make(Row, row) for row in self._all(f"{_ROW} WHERE i.idx IN ({marks})", *indices[:CHUNK])}
        return [found[idx] for idx in indices if idx in found]

    def changes(self, seq: int, limit: int = CHUNK) -> list[tuple[int, int]]:
        """(seq, idx) of rows committed after ``seq``, oldest first."""
        return self._all("SELECT seq, idx FROM items WHERE seq > ? AND seq > 0 ORDER BY seq, idx LIMIT ?", seq, limit)

    def select(
        self,
        state: Literal["queued", "done", "failed", "skipped"] | None = None,
        error_type: str | None = None,
    ) -> array[int]:
        """Indices of the rows that match, in input order; ``store.index`` answers more, from a copy.

        Scans, so call it in a thread; ``interrupt`` ends it.
        """
        found: array[int] = array("q")
        last = -1
        where = ["i.idx > ?"]
        fixed: list[Any] = []
        if state is not None:
            where.append("i.state = ?")
            fixed.append(state)
        source = "items i"
        if error_type is not None:
            source += " JOIN inputs n ON n.idx = i.idx LEFT JOIN attempts a ON a.id = i.result_attempt"
            where.append("CASE WHEN n.error IS NOT NULL THEN 'bad_input' ELSE a.error_type END = ?")
            fixed.append(error_type)
        narrow = f"SELECT i.idx AS idx FROM {source} WHERE {' AND '.join(where)} ORDER BY i.idx LIMIT {NARROW}"
        while True:
            # As one value: so many rows are as many turns with the interpreter's lock, for which threads wait.
            (listed,) = self._one(f"SELECT group_concat(idx) FROM ({narrow})", last, *fixed)
            chunk = array("q", map(int, listed.split(",")) if listed else ())
            found.extend(chunk)
            if len(chunk) < NARROW:
                return found
            last = found[-1]

    def detail(self, idx: int) -> Detail | None:
        """Everything about one item, the newest 200 attempts, oldest first; None when there is no such item."""
        head = self._all(
            "SELECT i.idx, i.state, n.custom_id, n.line, n.label, n.data, n.error"
            " FROM items i JOIN inputs n ON n.idx = i.idx WHERE i.idx = ?",
            idx,
        )
        if not head:
            return None
        # a run of an older batchdeck is read as it is, and kept no such time
        connect = "connect" if self._one("PRAGMA user_version")[0] >= KEPT_CONNECT else "NULL"
        rows = self._all(
            f"SELECT {_ATTEMPT}, {connect} FROM attempts WHERE idx = ? ORDER BY variant, number DESC LIMIT 200", idx
        )
        attempts = tuple(
            _make(AttemptRow, (*row[:-2], msgspec.json.decode(row[-2]), row[-1])) for row in reversed(rows)
        )
        return _make(Detail, (*head[0], attempts))

    def raw(self, attempt: int) -> bytes:
        """The bytes that one attempt received, as far as they were kept."""
        codec, raw = self._one("SELECT codec, raw FROM attempts WHERE id = ?", attempt)
        return zlib.decompress(raw) if codec.startswith("zlib") else bytes(raw or b"")

    def samples(self, after: float = -1.0) -> list[Sample]:
        """Samples with ``t > after``, oldest first."""
        # A run that no newer engine has opened yet has its older columns.
        there = {row[1] for row in self._all("PRAGMA table_info(samples)")}
        known = [name for name in Sample.__struct_fields__ if name in there]
        columns = ", ".join(known)
        rows: list[Sample] = []
        while True:
            chunk = self._all(f"SELECT {columns} FROM samples WHERE t > ? ORDER BY t LIMIT {CHUNK}", after)
            rows.extend(_sample(dict(zip(known, row, strict=True))) for row in chunk)
            if len(chunk) < CHUNK:
                return rows
            after = chunk[-1][0]

    def pace(self, points: int) -> list[float]:
        """Items done a second, in ``points`` equal parts of the run's time or one for each of its seconds, the first
        part first. Reads at most 30 samples of each part, so it takes as long for a day as for an hour.
        """
        first, last = self._one("SELECT min(t), max(t) FROM samples")
        if first is None:
            return []
        begin = first - 1.0  # a sample's time is the end of its second
        parts = min(points, max(1, round(last - begin)))
        return [
            max(0.0, rate) for (rate,) in self._all(_PACE, parts, begin, (last - begin) / parts) if rate is not None
        ]

    def events(self, after: int = 0, limit: int = CHUNK) -> list[Event]:
        """Events with ``id > after``, oldest first."""
        return [
            _make(Event, row)
            for row in self._all(
                "SELECT id, t, at, kind, detail, value FROM events WHERE id > ? ORDER BY id LIMIT ?", after, limit
            )
        ]

    def results(self, rows: Sequence[int] | None = None) -> Iterator[dict[str, Any]]:
        """Every item as the view ``results`` has it, whole text, in input order, in short transactions.

        rows: only these, in their order.
        """
        if rows is not None:
            for start in range(0, len(rows), 500):
                few = rows[start : start + 500]
                chunk = self._steady(f'SELECT * FROM results WHERE "index" IN ({",".join("?" * len(few))})', *few)
                found = {row["index"]: row for row in chunk}
                yield from (found[idx] for idx in few if idx in found)
            return
        last = -1
        while True:
            chunk = self._steady('SELECT * FROM results WHERE "index" > ? ORDER BY "index" LIMIT 500', last)
            yield from chunk
            if len(chunk) < 500:
                return
            last = chunk[-1]["index"]

    def _steady(self, query: str, *values: Any) -> list[dict[str, Any]]:
        """Rows by their columns' names. What is read of a file without its locks counts only if nobody wrote to it
        meanwhile: a run can be resumed while its rows are written somewhere."""
        try:
            rows = self._named(query, *values)
        except StoreError:
            if not self._has_moved:
                raise
        else:
            if not self._has_moved:
                return rows
        self._db.close()
        try:
            self._open(immutable=False)
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: {error}") from error
        return self._named(query, *values)

    @property
    def _has_moved(self) -> bool:
        return self._left is not None and _left(self.path) != self._left

    def _named(self, query: str, *values: Any) -> list[dict[str, Any]]:
        cursor = self._execute(query, *values)
        names = [column[0] for column in cursor.description]
        try:
            return [dict(zip(names, row, strict=True)) for row in cursor]
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: {error}") from error

    def _execute(self, query: str, *values: Any) -> sqlite3.Cursor:
        try:
            return self._db.execute(query, values)
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: {error}") from error

    def _all(self, query: str, *values: Any) -> list[Any]:
        try:
            return self._execute(query, *values).fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: {error}") from error

    def _one(self, query: str, *values: Any) -> Any:
        rows = self._all(query, *values)
        if not rows:
            raise StoreError(f"{self.path}: the run file is empty; it was cut short before the run began")
        return rows[0]
