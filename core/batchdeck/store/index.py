"""Finds and orders a run's rows: a narrow copy of what is asked for, in a SQLite file beside the run that may be lost.

In the run file an answer lies beside its raw bytes, so that to look at each of a million rows is to read gigabytes.
The copy has two tables, ``figures`` and ``texts``, and is brought up to date by the run file's ``idx`` (what was read
in) and ``seq`` (what was settled), a few thousand rows at a time. Whoever looks at a run may do that, several at once
too: each step is one transaction from where the last one ended. A small run's copy is a temporary file of this process,
and so is one that has no place beside the run: another file has its name, somebody locks it, or the disk is full.
"""

from __future__ import annotations

import os
import sqlite3
from array import array
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import msgspec

from batchdeck.config import index_path
from batchdeck.errors import StoreError
from batchdeck.store.indexfile import INDEX_ID, claim, discard, free, identity, is_index, temporary
from batchdeck.store.reader import UNCLASSED, RunReader, is_about_files, is_still

Figure = Literal["tokens", "ttft", "seconds", "tries", "cost"]
Order = Literal["idx", "state", "prompt", "answer", "tokens", "ttft", "seconds", "tries", "cost"]
ORDERS: tuple[Order, ...] = ("idx", "state", "prompt", "answer", "tokens", "ttft", "seconds", "tries", "cost")
KEPT_FROM = 50_000
"""Items from which the copy is kept in a file: below, it is made anew in less than a second."""
HALVED = 200_000
"""Rows from which two look for words at once."""
STEP = 5_000
"""Rows a transaction when the copy is brought up to date."""
PATIENCE = 5_000
"""Milliseconds that another's step may take."""
VERSION = 2
RESERVE = 256 << 20
"""Bytes that are left free on the disk beside the copy: the run's own file needs them more."""

_TABLES = """
DROP TABLE IF EXISTS main.copied; DROP TABLE IF EXISTS main.figures; DROP TABLE IF EXISTS main.texts;
CREATE TABLE main.copied (run TEXT NOT NULL, idx INTEGER NOT NULL, seq INTEGER NOT NULL);
CREATE TABLE main.figures (
    idx INTEGER PRIMARY KEY, state TEXT NOT NULL, seconds REAL, ttft REAL, tokens INTEGER, tries INTEGER NOT NULL,
    cost REAL, finish_reason TEXT, error_type TEXT
);
CREATE TABLE main.texts (idx INTEGER PRIMARY KEY, text TEXT NOT NULL);
"""
_FROM = """
FROM run.items i JOIN run.inputs n ON n.idx = i.idx LEFT JOIN run.attempts a ON a.id = i.result_attempt
"""
_FIGURES = f"""
INSERT OR REPLACE INTO main.figures
SELECT i.idx, i.state, a.seconds, a.ttft, a.tokens_out,
       (SELECT count(*) FROM run.attempts c WHERE c.idx = i.idx AND c.variant = i.variant), a.cost, a.finish_reason,
       CASE WHEN n.error IS NOT NULL THEN 'bad_input'
            WHEN i.state = 'failed' THEN coalesce(a.error_type, '{UNCLASSED}') ELSE a.error_type END
{_FROM}
"""
_TEXTS = f"""
INSERT OR REPLACE INTO main.texts
SELECT i.idx, n.data || char(10) || CASE WHEN instr(n.data, n.label) THEN '' ELSE n.label END
       || char(10) || coalesce(n.custom_id, '') || char(10) || coalesce(a.text, '')
       || char(10) || coalesce(a.error, '') || char(10) || coalesce(n.error, '')
{_FROM}
"""


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows, and in which order.

    words: a substring, case-insensitive for ASCII, of input fields, prompt, answer, error or custom_id. ranges:
    (figure, least, most) of each that is bounded, both ends included; seconds, US dollars or numbers. A row whose
    figure is not known is in no range, and comes last in an order by it.
    """

    state: str | None = None
    error_type: str | None = None
    finish_reason: str | None = None
    words: str = ""
    ranges: tuple[tuple[Figure, float | None, float | None], ...] = ()
    order: Order = "idx"
    descending: bool = False

    @property
    def is_ascending(self) -> bool:
        """Whether the rows come in the order of the input."""
        return self.order == "idx" and not self.descending


class RunIndex:
    """The copy of one run. Usable from one thread at a time, any thread.

    Every method raises ``StoreError`` when a file cannot be read, or was interrupted.
    """

    def __init__(self, path: Path | str, *, kept_from: int = KEPT_FROM) -> None:
        self.path = Path(path)
        with RunReader(path) as reader:
            meta = reader.meta()
        self._identity = f"{meta.created_at} {meta.run}"
        self._uri = ""
        """Of the file that holds the copy; empty while it is a temporary one."""
        self._inode: tuple[int, int] | None = None
        """What tells that file from another of the same name."""
        self._is_damaged = self._was_damaged = False
        self._beside: sqlite3.Connection | None = None
        self._db = self._open(meta.counts.items >= kept_from)
        self.copied, self.items = 0, meta.counts.items
        """Rows that were read in so far, of so many."""

    def __repr__(self) -> str:
        return f"<RunIndex {self.path.name} {self.copied}/{self.items}>"

    def __enter__(self) -> RunIndex:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()
        if self._beside is not None:
            self._beside.close()

    def interrupt(self) -> None:
        """End what runs in another thread; it raises ``StoreError`` there."""
        self._db.interrupt()
        if self._beside is not None:
            self._beside.interrupt()

    # -- the file

    def _open(self, kept: bool) -> sqlite3.Connection:
        file = index_path(self.path)
        self._is_large = kept
        if kept and (is_index(file) or free(file.parent) > RESERVE + _size(self.path) // 2):
            for _ in range(2):
                if not claim(file):
                    break
                self._uri, self._inode = f"{file.as_uri()}?mode=rw", identity(file)
                try:
                    return self._connect(self._uri)
                except sqlite3.DatabaseError as error:
                    if not _is_damage(error):
                        break  # somebody holds it for long, say: that is no reason to take it from them
                    discard(file)
        self._uri, self._inode = "", None
        try:
            return self._connect("")
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: {error}") from error

    def _connect(self, uri: str) -> sqlite3.Connection:
        """uri: empty for a temporary file, which is gone with the connection."""
        db = sqlite3.connect(uri, uri=True, check_same_thread=False, isolation_level=None)
        try:
            db.execute(f"PRAGMA busy_timeout = {PATIENCE}")
            if uri and db.execute("PRAGMA application_id").fetchone()[0] != INDEX_ID:
                db.execute(f"PRAGMA application_id = {INDEX_ID}")  # in the file's own head, before there is a log
            db.execute("PRAGMA journal_mode = WAL" if uri else "PRAGMA journal_mode = MEMORY")
            db.execute("PRAGMA synchronous = NORMAL")
            self._attach(db)
            with _transaction(db):
                if db.execute("PRAGMA main.user_version").fetchone()[0] != VERSION or not self._is_ours(db):
                    self._begin(db)
        except BaseException:
            db.close()
            raise
        return db

    def _begin(self, db: sqlite3.Connection) -> None:
        """Nothing is copied yet. Within a transaction."""
        for statement in _TABLES.strip().split(";")[:-1]:
            db.execute(statement)
        db.execute("INSERT INTO main.copied VALUES (?, -1, 0)", (self._identity,))
        db.execute(f"PRAGMA main.user_version = {VERSION}")

    def _attach(self, db: sqlite3.Connection) -> None:
        run = Path(os.path.realpath(self.path)).as_uri()
        try:
            db.execute("ATTACH ? AS run", (f"{run}?mode=ro",))
            db.execute("SELECT count(*) FROM run.run").fetchone()
        except sqlite3.OperationalError as error:
            # In a folder that may only be read, as ``RunReader`` does it.
            if not is_about_files(error) or not is_still(self.path):
                raise
            with suppress(sqlite3.OperationalError):
                db.execute("DETACH run")
            db.execute("ATTACH ? AS run", (f"{run}?mode=ro&immutable=1",))

    def _is_ours(self, db: sqlite3.Connection) -> bool:
        """Whether the copy is of this run, and not of one that had the name before."""
        return list(db.execute("SELECT run FROM main.copied")) == [(self._identity,)]

    # -- bringing it up to date

    def catch_up(self, rows: int = STEP) -> bool:
        """Copy about so many rows that are new or changed. Returns whether there may be more."""
        with self._errors(), _transaction(self._db):
            idx, seq = self._db.execute("SELECT idx, seq FROM main.copied").fetchone()
            (newest,) = self._db.execute("SELECT coalesce(max(seq), 0) FROM run.items WHERE seq > 0").fetchone()
            if newest < seq:
                # The run file is an older one of its name: brought back from a copy, say.
                self._begin(self._db)
                idx = -1
            if idx < 0:
                # What is read from now on is as new as this, at least.
                seq = newest
            (last,) = self._db.execute(
                "SELECT max(idx) FROM (SELECT idx FROM run.items WHERE idx > ? ORDER BY idx LIMIT ?)", (idx, rows)
            ).fetchone()
            (until,) = self._db.execute(
                "SELECT max(seq) FROM (SELECT seq FROM run.items WHERE seq > ? AND seq > 0 ORDER BY seq LIMIT ?)",
                (seq, rows),
            ).fetchone()
            folder = self.path.parent.resolve() if self._uri else temporary()
            if (last is not None or until is not None) and self._is_large and free(folder) < RESERVE // 2:
                raise StoreError(f"the disk of {folder} is nearly full, so not all rows can be searched")
            if last is not None:
                self._copy("i.idx > ? AND i.idx <= ?", idx, last)
            if until is not None:
                self._copy("i.seq > ? AND i.seq <= ? AND i.seq > 0 AND i.idx <= ?", seq, until, idx)
            self._db.execute("UPDATE main.copied SET idx = ?, seq = ?", (idx if last is None else last, until or seq))
            self.copied = 1 + (idx if last is None else last)
            self.items = max(self.items, self.copied)
            return last is not None or until is not None

    def _copy(self, where: str, *values: int) -> None:
        for statement in (_FIGURES, _TEXTS):
            self._db.execute(f"{statement} WHERE {where}", values)

    # -- asking

    def select(self, query: Query) -> array[int]:
        """Indices of the rows that match, in the order asked for, as far as they were copied."""
        with self._errors():
            if query.words and query.is_ascending and self._uri and self.copied >= HALVED:
                return self._in_halves(query)
            return _fetched(self._db, *_statement(query))

    def _in_halves(self, query: Query) -> array[int]:
        """To look through all texts keeps one core busy: two do it in half the time."""
        if self._beside is None:
            if identity(index_path(self.path)) != self._inode:
                return _fetched(self._db, *_statement(query))  # it was deleted, and maybe made anew
            self._beside = self._connect(self._uri)
        middle = self.copied // 2
        with ThreadPoolExecutor(1) as pool:
            upper = pool.submit(_fetched, self._beside, *_statement(query, f"f.idx >= {middle}"))
            found = _fetched(self._db, *_statement(query, f"f.idx < {middle}"))
            found.extend(upper.result())
        return found

    def next_match(self, words: str, idx: int, step: int) -> int | None:
        """The next row after ``idx`` that has the words (step 1), or the one before it (-1); round the end, if none."""
        side, order = (">", "ASC") if step > 0 else ("<", "DESC")
        for bound in (f"idx {side} ? AND", "? IS NOT NULL AND"):
            with self._errors():
                row = self._db.execute(
                    f"SELECT idx FROM main.texts WHERE {bound} {_LIKE} ORDER BY idx {order} LIMIT 1",
                    (idx, _pattern(words)),
                ).fetchone()
            if row is not None:
                return int(row[0])
        return None

    def idx_of(self, custom_id: str) -> int | None:
        """The first item of this id."""
        with self._errors():
            row = self._db.execute("SELECT min(idx) FROM run.inputs WHERE custom_id = ?", (custom_id,)).fetchone()
        return row[0] if row is not None else None

    def finish_reasons(self) -> list[tuple[str, int]]:
        """How answers ended, and how many did so, the most frequent first."""
        with self._errors():
            return self._db.execute(
                "SELECT finish_reason, count(*) FROM main.figures WHERE finish_reason IS NOT NULL"
                " GROUP BY finish_reason ORDER BY count(*) DESC"
            ).fetchall()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        if self._is_damaged:
            self._mend()
        try:
            yield
        except OverflowError as error:
            raise StoreError(f"a number that large is no figure of a row: {error}") from error
        except sqlite3.Error as error:
            if self._uri and _is_damage(error) and not self._was_damaged:
                self._is_damaged = True
                file = index_path(self.path)
                raise StoreError(f"{file} is damaged ({error}); it is made anew at the next look") from error
            raise StoreError(f"{self.path}: {error}") from error

    def _mend(self) -> None:
        """Make the copy anew, once: if that is no better, the damage is in the run file."""
        self._is_damaged, self._was_damaged = False, True
        self.close()
        self._beside = None
        if identity(index_path(self.path)) == self._inode:
            discard(index_path(self.path))
        self._db = self._open(True)
        self.copied = 0


_LIKE = "text LIKE ? ESCAPE '\\'"


def _pattern(words: str) -> str:
    return "%" + words.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"


def _fetched(db: sqlite3.Connection, statement: str, values: list[Any]) -> array[int]:
    # As one value: a million rows are as many turns with the interpreter's lock, for which threads wait.
    (listed,) = db.execute(f"SELECT group_concat(idx) FROM ({statement})", values).fetchone()
    return array("q", map(int, listed.split(",")) if listed else ())


def _statement(query: Query, within: str = "") -> tuple[str, list[Any]]:
    """within: a condition on the indices beside what is asked for."""
    where: list[str] = []
    values: list[Any] = []
    for column, value in (
        ("state", query.state), ("error_type", query.error_type), ("finish_reason", query.finish_reason)
    ):  # fmt: skip
        if value is not None:
            where.append(f"f.{column} = ?")
            values.append(value)
    for figure, least, most in query.ranges:
        for sign, bound in ((">=", least), ("<=", most)):
            if bound is not None:
                where.append(f"f.{figure} {sign} ?")
                values.append(bound)
    source = "main.figures f"
    if query.words:
        # With nothing else to go by the figures need not be read.
        alone = not where and query.order == "idx"
        source = "main.texts f" if alone else f"{source} JOIN main.texts t ON t.idx = f.idx"
        where.append(f"{'f' if alone else 't'}.{_LIKE}")
        values.append(_pattern(query.words))
    where += [within] if within else []
    way = "DESC" if query.descending else "ASC"
    by = f"f.{query.order} {way}"
    if query.order == "prompt":
        source += " JOIN run.inputs n ON n.idx = f.idx"
        by = f"n.label COLLATE NOCASE {way}, f.idx"
    elif query.order == "answer":
        source += " JOIN run.items i ON i.idx = f.idx LEFT JOIN run.attempts a ON a.id = i.result_attempt"
        by = f"coalesce(a.text, '') = '', substr(a.text, 1, 100) COLLATE NOCASE {way}, f.idx"
    elif query.order != "idx":
        by = f"f.{query.order} IS NULL, {by}, f.idx"
    conditions = f" WHERE {' AND '.join(where)}" if where else ""
    return f"SELECT f.idx FROM {source}{conditions} ORDER BY {by}", values


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        with suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _is_damage(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
