"""The ledger's tables in SQLite, step by step. A step that was released is never changed: another is added.

Promises that a database is brought to the newest version in whole steps, that one which a newer program wrote is left alone, and that a step which is
not the one that was applied is noticed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import apsw

from custodes.errors import StorageError

__all__ = ["APPLICATION_ID", "STEPS", "migrate"]

APPLICATION_ID: Final = 0x63757374
"""``cust``: other databases are refused."""

_FIRST: Final = """
CREATE TABLE strikes (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    tenant TEXT NOT NULL,
    user TEXT NOT NULL,
    at INTEGER NOT NULL,
    weight INTEGER NOT NULL CHECK (weight > 0),
    overturned_at INTEGER
) STRICT;
CREATE INDEX strikes_by_name ON strikes (name, at);
CREATE INDEX strikes_by_user ON strikes (tenant, user, at);
CREATE INDEX strikes_by_tenant ON strikes (tenant, at);
CREATE TABLE steps (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('warning', 'suspension')),
    tenant TEXT NOT NULL,
    user TEXT NOT NULL,
    at INTEGER NOT NULL,
    until INTEGER NOT NULL,
    since INTEGER NOT NULL,
    last_strike INTEGER NOT NULL,
    needed INTEGER NOT NULL,
    lifted_at INTEGER
) STRICT;
CREATE INDEX steps_by_user ON steps (tenant, user, kind, until);
CREATE TABLE decisions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    tenant TEXT NOT NULL,
    user TEXT NOT NULL,
    request TEXT NOT NULL,
    stage TEXT NOT NULL,
    action TEXT NOT NULL,
    rule TEXT NOT NULL,
    grade TEXT NOT NULL,
    category TEXT NOT NULL,
    report INTEGER NOT NULL,
    facts TEXT NOT NULL,
    policy TEXT NOT NULL,
    versions TEXT NOT NULL,
    refusal INTEGER NOT NULL,
    strikes INTEGER NOT NULL,
    strike INTEGER REFERENCES strikes (id)
) STRICT;
CREATE INDEX decisions_by_request ON decisions (request);
CREATE INDEX decisions_by_time ON decisions (at);
CREATE INDEX refusals_by_user ON decisions (tenant, user, at, request) WHERE refusal = 1;
CREATE INDEX refusals_by_tenant ON decisions (tenant, at, request) WHERE refusal = 1;
CREATE TABLE counters (
    day TEXT NOT NULL,
    tenant TEXT NOT NULL,
    stage TEXT NOT NULL,
    action TEXT NOT NULL,
    grade TEXT NOT NULL,
    category TEXT NOT NULL,
    decisions INTEGER NOT NULL,
    PRIMARY KEY (day, tenant, stage, action, grade, category)
) STRICT, WITHOUT ROWID;
"""

_APPEALS: Final = """
CREATE TABLE appeals (
    request TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    at INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    settled_at INTEGER NOT NULL,
    people TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX appeals_by_outcome ON appeals (outcome, at);
"""

_ACKNOWLEDGED: Final = "ALTER TABLE decisions ADD COLUMN acknowledged INTEGER NOT NULL DEFAULT 0;"

_BOOKINGS: Final = """
CREATE TABLE bookings (
    id TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    images INTEGER NOT NULL,
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX bookings_by_tenant ON bookings (tenant, until);
CREATE INDEX bookings_by_end ON bookings (until);
CREATE TABLE rates (
    tenant TEXT PRIMARY KEY,
    room REAL NOT NULL,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"""

STEPS: Final[Sequence[str]] = (_FIRST, _APPEALS, _ACKNOWLEDGED, _BOOKINGS)


def migrate(database: apsw.Connection, steps: Sequence[str] = STEPS) -> None:
    """Apply the steps that are missing, each in a transaction of its own. Raises StorageError for a database that is not ours, or newer."""
    _begin(database)
    for number in range(1, len(steps) + 1):
        with _Whole(database):
            if _applied(database, steps) < number:  # asked within the transaction: another process may be at it too
                database.execute(steps[number - 1])
                database.execute("INSERT INTO migrations VALUES (?, ?)", (number, _digest(steps[number - 1])))


class _Whole:
    """A transaction that holds the database from its beginning."""

    def __init__(self, database: apsw.Connection) -> None:
        self._database = database

    def __enter__(self) -> None:
        self._database.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, *_: object) -> None:
        self._database.execute("COMMIT" if kind is None else "ROLLBACK")


def _begin(database: apsw.Connection) -> None:
    with _Whole(database):
        if not database.execute("SELECT count(*) FROM sqlite_schema").get:
            database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            database.execute("CREATE TABLE migrations (number INTEGER PRIMARY KEY, sha256 TEXT NOT NULL) STRICT")
        elif database.execute("PRAGMA application_id").get != APPLICATION_ID:
            raise StorageError("the ledger's file is a database of something else", hint="name another file")


def _applied(database: apsw.Connection, steps: Sequence[str]) -> int:
    found = list(database.execute("SELECT number, sha256 FROM migrations ORDER BY number"))
    if len(found) > len(steps):
        raise StorageError("the ledger was written by a newer custodes", hint="use that one")
    if found != [(number, _digest(steps[number - 1])) for number in range(1, len(found) + 1)]:
        raise StorageError("the ledger's tables were not made by these steps", hint="restore it from a copy")
    return len(found)


def _digest(step: str) -> str:
    return hashlib.sha256(step.encode()).hexdigest()
