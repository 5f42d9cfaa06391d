"""The account shared by all runs of this machine, through one small SQLite file that each of them writes.

A rollback journal, not a write-ahead log: every transaction here writes, so readers gain nothing, and connections of
several processes that write and checkpoint can corrupt a log (SQLite before 3.51.3). Nothing is synced: what a power
cut can lose ends with it anyway. Who is killed in the middle of a transaction leaves a journal that the next one rolls
back.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from batchdeck.limits.account import boot_id, place, since_boot
from batchdeck.limits.days import HOUR, HOURS
from batchdeck.limits.pool import EXPIRY, METERS, Account, Ask, Grant, PoolUnavailable, Standing, Voice
from batchdeck.model import Meter, Wall

log = logging.getLogger("batchdeck.limits")

APPLICATION_ID = 0x42444B51
"""``BDKQ``: tells this file from any other SQLite file."""
VERSION = 1
PATIENT_SECONDS, BUSY_SECONDS = 2.0, 0.05
"""How long others are waited for at the first and the last moment, and at a lease."""
SWEEP_SECONDS, SWEEP_ROWS = 60.0, 200
KEPT_SECONDS = 86_400.0
"""How long a hold is remembered after anybody last told of it."""
_WAITED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_RUINED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
"""``SQLITE_ERROR``: a table is missing."""

_SCHEMA = (
    "CREATE TABLE holders (account TEXT, boot TEXT, holder TEXT, pid INTEGER, seen REAL, standing BLOB,"
    " PRIMARY KEY (account, boot, holder)) WITHOUT ROWID",
    "CREATE TABLE accounts (account TEXT, boot TEXT, seen REAL, hold_until REAL, PRIMARY KEY (account, boot))"
    " WITHOUT ROWID",
    "CREATE TABLE usage (account TEXT, hour INTEGER, meter TEXT, amount REAL, PRIMARY KEY (account, hour, meter))"
    " WITHOUT ROWID",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {VERSION}",
)


class SharedPool:
    """One run's side of an account in the file at ``path``, which is made when missing.

    wall: for what is counted by the day. clock, boot: one clock for all processes, and which start of it this is.
    Raises ``PoolUnavailable`` when made; afterwards a file that fails costs the sharing, never the run.
    """

    def __init__(self, path: Path, account: str, *, wall: Wall, priority: int = 1,
                 clock: Callable[[], float] = since_boot, boot: str | None = None,
                 holder_id: str | None = None) -> None:  # fmt: skip
        self.priority = priority
        self._path = path
        self._account = account
        self._wall = wall
        self._clock = clock
        self._boot = boot if boot is not None else boot_id()
        self._holder = holder_id or secrets.token_hex(8)
        self._lock = threading.Lock()
        self._voice = Voice()
        self._unsaid: dict[Meter, float] = {}
        self._last: tuple[float, Grant] | None = None
        self._swept_at = -math.inf
        self._inode = 0
        self._is_alone = self._is_closed = self._was_made_anew = False
        self._conn: sqlite3.Connection | None = self._open()

    def __repr__(self) -> str:
        return f"<SharedPool {self._holder} of {self._account[:8]} in {self._path}>"

    # -- the file

    def _open(self) -> sqlite3.Connection:
        conn = None
        try:
            if not self._path.exists():
                place(self._path, b"")
            self._inode = self._path.stat().st_ino
            conn = sqlite3.connect(self._path, timeout=PATIENT_SECONDS, isolation_level=None, check_same_thread=False)
            self._prepare(conn)
        except BaseException as error:
            if conn is not None:
                conn.close()
            if isinstance(error, sqlite3.Error):
                mend = "; delete it" if _code(error) in _RUINED else ""
                raise PoolUnavailable(f"{self._path}: {error}{mend}") from error
            if isinstance(error, OSError):
                raise PoolUnavailable(f"{self._path} cannot be made: {error.strerror}") from error
            raise
        return conn

    def _prepare(self, conn: sqlite3.Connection) -> None:
        conn.execute("PRAGMA synchronous = OFF")
        conn.execute("PRAGMA journal_mode = PERSIST")
        conn.execute("BEGIN IMMEDIATE")
        if not conn.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            for statement in _SCHEMA:
                conn.execute(statement)
        ours = conn.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
        version = conn.execute("PRAGMA user_version").fetchone()[0]
        conn.execute("COMMIT")
        if not ours or version != VERSION:
            whose = f"of another version of batchdeck ({version})" if ours else "not a file of batchdeck"
            raise PoolUnavailable(f"{self._path} is {whose}; move it away")
        conn.execute(f"PRAGMA busy_timeout = {int(1000 * BUSY_SECONDS)}")

    def _mend(self, error: sqlite3.Error) -> bool:
        """After an error: whether there is a file again to try at once."""
        if _code(error) in _WAITED:
            return False
        self._disconnect()
        try:
            is_same = self._path.exists() and self._path.stat().st_ino == self._inode
            if is_same and _code(error) in _RUINED and not self._was_made_anew:
                self._was_made_anew = True
                log.warning("%s: %s; it is made anew", self._path, error)
                # Beside an empty file SQLite takes a journal for a leftover, and does not roll it back.
                place(self._path, b"", replace=True)
            elif is_same:
                raise PoolUnavailable(f"{self._path}: {error}")
            self._conn = self._open()
        except (OSError, PoolUnavailable) as failure:
            self._go_alone(failure)
            return False
        return True

    def _go_alone(self, why: Exception) -> None:
        if not self._is_alone:
            self._is_alone = True
            log.warning("the quota is not shared with other runs now: %s", why)

    def _disconnect(self) -> None:
        if self._conn is not None:
            self._conn.close()
            self._conn = None

    # -- the pool

    def lease(self, ask: Ask) -> Grant:
        asked_at = self._clock()
        with self._lock:
            for meter, amount in ask.used.items():
                self._unsaid[meter] = self._unsaid.get(meter, 0.0) + amount
            if not self._is_closed:
                for _ in range(2):
                    try:
                        if self._conn is None:
                            self._conn = self._open()
                        return self._leased(self._conn, ask, asked_at)
                    except PoolUnavailable as error:
                        self._go_alone(error)
                        break
                    except sqlite3.Error as error:
                        if not self._mend(error):
                            break
            return self._unshared(ask, asked_at)

    def _leased(self, conn: sqlite3.Connection, ask: Ask, asked_at: float) -> Grant:
        with _transaction(conn):
            now, at = self._clock(), self._wall()
            account = self._read(conn)
            hold_until = account.hold_until
            used = self._use(conn, at)
            known = account.lease(self._holder, self.priority, ask, self._voice, used, asked_at, now)
            standing = msgspec.msgpack.encode(account.standings[self._holder])
            conn.execute(
                "INSERT OR REPLACE INTO holders VALUES (?, ?, ?, ?, ?, ?)",
                (self._account, self._boot, self._holder, os.getpid(), at, standing),
            )
            if account.hold_until != hold_until:
                conn.execute(
                    "INSERT OR REPLACE INTO accounts VALUES (?, ?, ?, ?)",
                    (self._account, self._boot, at, account.hold_until),
                )
            grant = account.grant(self._holder, known, used, now)
            if now >= self._swept_at + SWEEP_SECONDS:
                _sweep(conn, at)
                self._swept_at = now
        self._unsaid.clear()
        self._voice.hear(known)
        self._last = (now, grant)
        self._is_alone = False
        return grant

    def _read(self, conn: sqlite3.Connection) -> Account:
        """The account as all its runs have left it."""
        mine = (self._account, self._boot)
        standings = {}
        for holder, standing in conn.execute(
            "SELECT holder, standing FROM holders WHERE account = ? AND boot = ?", mine
        ):
            # What cannot be read is nobody's; it is swept away in time.
            with contextlib.suppress(msgspec.DecodeError):
                standings[holder] = msgspec.msgpack.decode(standing, type=Standing)
        row = conn.execute("SELECT hold_until FROM accounts WHERE account = ? AND boot = ?", mine).fetchone()
        return Account(standings, row[0] if row else -math.inf)

    def _use(self, conn: sqlite3.Connection, at: float) -> dict[Meter, float]:
        """Count what was used since it was last told; returns what all runs have used in the last 24 hours."""
        hour = math.floor(at / HOUR)
        conn.executemany(
            "INSERT INTO usage VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET amount = amount + excluded.amount",
            [(self._account, hour, meter, amount) for meter, amount in self._unsaid.items() if amount],
        )
        rows = conn.execute(
            "SELECT meter, sum(amount) FROM usage WHERE account = ? AND hour BETWEEN ? AND ? GROUP BY meter",
            (self._account, hour - HOURS, hour + 1),
        )
        return {meter: amount for meter, amount in rows if meter in METERS}

    def _unshared(self, ask: Ask, now: float) -> Grant:
        """Without the file: the last grant while it holds, then an even part."""
        at, last = self._last or (-math.inf, Grant(shares={}, limits={}, hold=0.0, pace=None, holders=1, used_today={}))
        left = last.left
        if now > at + EXPIRY:
            even = 1.0 / last.holders
            rest = {meter: last.limits[meter] - last.used_today.get(meter, 0.0) for meter in left}
            left = {meter: even * amount for meter, amount in rest.items()}
            last = msgspec.structs.replace(last, shares=dict.fromkeys(METERS, even))
        return msgspec.structs.replace(
            last,
            hold=max(ask.hold, last.hold - (now - at), 0.0),
            left={meter: max(0.0, amount - self._unsaid.get(meter, 0.0)) for meter, amount in left.items()},
        )

    def leave(self) -> None:
        with self._lock:
            if self._conn is None:
                return
            try:
                self._conn.execute(f"PRAGMA busy_timeout = {int(1000 * PATIENT_SECONDS)}")
                with _transaction(self._conn):
                    self._use(self._conn, self._wall())
                    self._conn.execute(
                        "DELETE FROM holders WHERE account = ? AND boot = ? AND holder = ?",
                        (self._account, self._boot, self._holder),
                    )
                self._unsaid.clear()
                self._conn.execute(f"PRAGMA busy_timeout = {int(1000 * BUSY_SECONDS)}")
            except sqlite3.Error as error:
                # It expires by itself.
                log.info("%s: %s", self._path, error)

    def close(self) -> None:
        self.leave()
        with self._lock:
            self._is_closed = True
            self._disconnect()


@contextlib.contextmanager
def _transaction(conn: sqlite3.Connection) -> Iterator[None]:
    """One that holds the file's write lock from its first moment on."""
    conn.execute("BEGIN IMMEDIATE")
    try:
        yield
        conn.execute("COMMIT")
    except BaseException:
        if conn.in_transaction:
            conn.execute("ROLLBACK")
        raise


def _sweep(conn: sqlite3.Connection, at: float) -> None:
    """Take away what counts no more, some of it at a time. By wall time: other starts have clocks of their own."""
    hour = math.floor(at / HOUR)
    for table, key, where, values in (
        ("holders", "account, boot, holder", "seen < ?", (at - SWEEP_SECONDS,)),
        ("accounts", "account, boot", "seen < ?", (at - KEPT_SECONDS,)),
        ("usage", "account, hour, meter", "hour NOT BETWEEN ? AND ?", (hour - HOURS, hour + HOURS)),
    ):
        conn.execute(
            f"DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} WHERE {where} LIMIT {SWEEP_ROWS})", values
        )


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 for what Python itself refuses."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
