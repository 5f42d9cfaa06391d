"""The run file's schema, and how an older file becomes a newer one.

``application_id`` tells a run file from any other SQLite file; ``user_version`` is the number of migrations applied.
"""

from __future__ import annotations

from sqlite_utils import Database

from batchdeck.errors import StoreError
from batchdeck.store.reader import APPLICATION_ID

_V1 = """
CREATE TABLE run (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    run TEXT NOT NULL,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    config TEXT NOT NULL,
    intent TEXT NOT NULL,
    owner TEXT NOT NULL DEFAULT '',
    ending TEXT,
    message TEXT NOT NULL DEFAULT ''
);
CREATE TABLE source (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    fingerprint TEXT NOT NULL,
    byte_offset INTEGER NOT NULL DEFAULT 0,
    size INTEGER,
    line INTEGER NOT NULL DEFAULT 0,
    next_index INTEGER NOT NULL DEFAULT 0,
    ingest_complete INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE items (
    idx INTEGER NOT NULL,
    variant INTEGER NOT NULL DEFAULT 0,
    position INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'queued',
    revision INTEGER NOT NULL DEFAULT 0,
    result_attempt INTEGER,
    seq INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (idx, variant)
) WITHOUT ROWID;
CREATE INDEX items_queue ON items (position) WHERE state = 'queued';
CREATE INDEX items_failed ON items (idx) WHERE state = 'failed';
CREATE INDEX items_seq ON items (seq) WHERE seq > 0;
CREATE TABLE inputs (
    idx INTEGER PRIMARY KEY,
    line INTEGER NOT NULL,
    custom_id TEXT,
    label TEXT NOT NULL,
    data TEXT NOT NULL,
    error TEXT
);
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY,
    idx INTEGER NOT NULL,
    variant INTEGER NOT NULL DEFAULT 0,
    revision INTEGER NOT NULL,
    number INTEGER NOT NULL,
    request_hash TEXT NOT NULL,
    outcome TEXT NOT NULL,
    status INTEGER,
    error_type TEXT,
    error TEXT,
    text TEXT NOT NULL DEFAULT '',
    finish_reason TEXT,
    model TEXT,
    tokens_in INTEGER,
    tokens_out INTEGER,
    tokens_cached INTEGER,
    cost REAL,
    started_at REAL NOT NULL,
    ttft REAL,
    itl REAL,
    seconds REAL NOT NULL,
    sends INTEGER NOT NULL,
    headers TEXT NOT NULL,
    codec TEXT NOT NULL,
    raw BLOB
);
CREATE UNIQUE INDEX attempts_item ON attempts (idx, variant, number);
CREATE TABLE counters (name TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE errors (
    error_type TEXT PRIMARY KEY,
    attempts INTEGER NOT NULL,
    items INTEGER NOT NULL,
    example TEXT NOT NULL,
    example_idx INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE samples (
    t REAL PRIMARY KEY,
    at REAL NOT NULL,
    dt REAL NOT NULL,
    done INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    rate_limit_hits INTEGER NOT NULL,
    tokens_in INTEGER NOT NULL,
    tokens_out INTEGER NOT NULL,
    cost REAL NOT NULL,
    in_flight REAL NOT NULL,
    in_flight_max INTEGER NOT NULL,
    concurrency INTEGER NOT NULL,
    queued INTEGER NOT NULL,
    backoff INTEGER NOT NULL,
    cooldown REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    t REAL NOT NULL,
    at REAL NOT NULL,
    kind TEXT NOT NULL,
    detail TEXT NOT NULL,
    value REAL
);
CREATE VIEW results AS
SELECT
    i.idx AS "index",
    n.custom_id AS custom_id,
    i.state AS state,
    n.data AS input,
    coalesce(a.text, '') AS text,
    a.finish_reason AS finish_reason,
    a.tokens_in AS tokens_in,
    a.tokens_out AS tokens_out,
    a.ttft AS ttft,
    a.seconds AS seconds,
    a.cost AS cost,
    CASE WHEN n.error IS NOT NULL THEN 'bad_input' ELSE a.error_type END AS error_type,
    coalesce(n.error, a.error) AS error,
    (SELECT count(*) FROM attempts c WHERE c.idx = i.idx AND c.variant = i.variant) AS attempts,
    a.model AS model,
    n.line AS line
FROM items i
JOIN inputs n ON n.idx = i.idx
LEFT JOIN attempts a ON a.id = i.result_attempt;
"""

_V2 = """
ALTER TABLE samples ADD COLUMN queue_depth REAL NOT NULL DEFAULT 0;
ALTER TABLE samples ADD COLUMN waits TEXT NOT NULL DEFAULT '{}';
ALTER TABLE samples ADD COLUMN held TEXT NOT NULL DEFAULT '{}';
"""

_V3 = """
ALTER TABLE samples ADD COLUMN ttft TEXT NOT NULL DEFAULT '{}';
ALTER TABLE samples ADD COLUMN itl TEXT NOT NULL DEFAULT '{}';
ALTER TABLE samples ADD COLUMN e2e TEXT NOT NULL DEFAULT '{}';
ALTER TABLE samples ADD COLUMN stalled INTEGER NOT NULL DEFAULT 0;
"""

_V4 = """
ALTER TABLE attempts ADD COLUMN connect REAL;
"""

MIGRATIONS = (_V1, _V2, _V3, _V4)


def migrate(db: Database) -> None:
    """Bring the open file to the newest schema, each step in a transaction of its own.

    Raises ``StoreError`` for a file that is not a run file or that a newer batchdeck wrote.
    """
    application_id = db.execute("PRAGMA application_id").fetchone()[0]
    version = db.execute("PRAGMA user_version").fetchone()[0]
    tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application_id != APPLICATION_ID and (tables or application_id):
        raise StoreError("this SQLite file is not a batchdeck run")
    if version > len(MIGRATIONS):
        raise StoreError(
            f"this run was written by a newer batchdeck (schema {version}, this one knows {len(MIGRATIONS)})"
        )
    if version and not db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'run'").fetchone()[0]:
        raise StoreError("the run file has lost its tables")
    for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
        db.conn.executescript(
            f"BEGIN; {script} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {number}; COMMIT;"
        )
