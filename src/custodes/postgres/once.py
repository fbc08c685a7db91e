"""Work that is done once, though it may have to be run twice.

Promises that of the runs of one piece of work one at most is committed, and that its own result is what the caller is given: also where the answer to a
COMMIT was lost, and the server was still at it when the work was run again. What ``work`` does outside of the database it may do more than once.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Final, TypeVar

from custodes.postgres.database import Database
from custodes.postgres.migrations import migrate

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import TupleRow

__all__ = ["STEPS", "Once"]

T = TypeVar("T")

STEPS: Final[Sequence[str]] = (
    """
    CREATE TABLE attempts (
        id text PRIMARY KEY,
        attempt integer NOT NULL,
        at timestamptz NOT NULL DEFAULT now()
    )
    """,
)


class Once:
    """Of one database. Each piece of work has a row while nobody knows whether it was done; the next one removes it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._answered: set[str] = set()
        self._lock = Lock()
        migrate(database, "once", STEPS)
        database.run(_forget)

    def run(self, work: Callable[[Connection[TupleRow]], T]) -> T:
        """As ``Database.run``; but it is committed once, whatever is lost. Raises StorageError, and what ``work`` raises of ours."""
        name = secrets.token_hex(16)
        results: list[T] = []
        with self._lock:
            answered = list(self._answered)

        def attempt(connection: Connection[TupleRow]) -> T:
            # First of all. If an earlier attempt is being committed at this moment, this waits for its end, and then finds it.
            ours = connection.execute(
                "INSERT INTO attempts (id, attempt) VALUES (%s, %s) ON CONFLICT (id) DO NOTHING", (name, len(results))
            )
            if not ours.rowcount:
                row = connection.execute("SELECT attempt FROM attempts WHERE id = %s", (name,)).fetchone()
                assert row is not None
                return results[row[0]]
            result = work(connection)
            connection.execute("DELETE FROM attempts WHERE id = ANY(%s)", (answered,))
            results.append(result)
            return result

        result = self.database.run(attempt)
        with self._lock:
            self._answered.difference_update(answered)
            self._answered.add(name)
        return result


def _forget(connection: Connection[TupleRow]) -> None:
    """What processes left that died; no answer is waited for so long."""
    connection.execute("DELETE FROM attempts WHERE at < now() - interval '1 day'")
