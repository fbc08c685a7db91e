"""Tables, step by step, for each part of the program by itself. A step that was released is never changed: another is added.

Promises that tables are brought to the newest version in whole steps however many processes try at once, that tables which a newer program made are left
alone, and that a step which is not the one that was applied is noticed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from custodes.errors import StorageError
from custodes.postgres.database import Database, locked

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import TupleRow

__all__ = ["migrate"]

_TABLE: Final = """
CREATE TABLE IF NOT EXISTS migrations (
    scope text NOT NULL,
    number integer NOT NULL,
    sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (scope, number)
)
"""


def migrate(database: Database, scope: str, steps: Sequence[str]) -> None:
    """Apply the steps of ``scope`` that are missing, each in a transaction of its own. Raises StorageError for tables that are newer, or others."""
    if database.read(lambda connection: _applied(connection, scope, steps)) == len(steps):
        return
    database.run(lambda connection: _begin(connection, database.schema))
    for number in range(1, len(steps) + 1):
        database.run(partial(_step, scope=scope, steps=steps, number=number))


def _begin(connection: Connection[TupleRow], schema: str) -> None:
    locked(connection, "migrations")
    known = connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (schema,)).fetchone()
    if known is None:  # not IF NOT EXISTS: a role that may make no schema may use one that is there
        connection.execute(f'CREATE SCHEMA "{schema}"'.encode())  # a plain name: see Address
    connection.execute(_TABLE)


def _step(connection: Connection[TupleRow], scope: str, steps: Sequence[str], number: int) -> None:
    """Apply a step unless it is there: asked holding the lock, since another process may be at it too."""
    locked(connection, f"migrations of {scope}")
    if _applied(connection, scope, steps) >= number:
        return
    connection.execute("SET LOCAL statement_timeout = 0")
    connection.execute(steps[number - 1].encode())
    connection.execute(
        "INSERT INTO migrations (scope, number, sha256) VALUES (%s, %s, %s)",
        (scope, number, _digest(steps[number - 1])),
    )


def _applied(connection: Connection[TupleRow], scope: str, steps: Sequence[str]) -> int:
    there = connection.execute("SELECT to_regclass('migrations')").fetchone()
    if there is None or there[0] is None:
        return 0
    found = connection.execute(
        "SELECT number, sha256 FROM migrations WHERE scope = %s ORDER BY number", (scope,)
    ).fetchall()
    if len(found) > len(steps):
        raise StorageError(f"the database's tables of {scope} were made by a newer custodes", hint="use that one")
    if found != [(number, _digest(steps[number - 1])) for number in range(1, len(found) + 1)]:
        raise StorageError(
            f"the database's tables of {scope} were not made by these steps", hint="restore them from a backup"
        )
    return len(found)


def _digest(step: str) -> str:
    return hashlib.sha256(step.encode()).hexdigest()
