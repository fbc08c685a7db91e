"""The outbox, the receipts and the record of custody in PostgreSQL, for several machines.

Promises what ``place`` and ``pages`` ask for. What is done ``alone`` is one transaction that holds a row, so that if the connection is lost, nothing of it
goes through, and it is done again from its beginning; each is committed once (``postgres.once``). Pieces are locked before they come here, and their names
tell nothing; the record's lines are as they are in a file. Tables: docs/formats/outbox.md, docs/formats/custody.md.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from custodes.errors import StorageError
from custodes.handover.place import Damaged
from custodes.postgres.database import Database
from custodes.postgres.migrations import migrate
from custodes.postgres.once import Once

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import TupleRow

    Session = Connection[TupleRow]

__all__ = ["STEPS", "Shared", "TablePages", "TablePlace"]

T = TypeVar("T")
PIECES_AT_ONCE: Final = 64
LINES_AT_ONCE: Final = 4096

STEPS: Final[Sequence[str]] = (
    """
    CREATE TABLE places (form text PRIMARY KEY);
    CREATE TABLE pieces (
        form text NOT NULL REFERENCES places,
        name text NOT NULL,
        data bytea,
        PRIMARY KEY (form, name)
    );
    ALTER TABLE pieces ALTER COLUMN data SET STORAGE EXTERNAL;
    CREATE TABLE checks (
        form text NOT NULL REFERENCES places,
        key text NOT NULL,
        data bytea NOT NULL,
        PRIMARY KEY (form, key)
    );
    CREATE TABLE custody_memory (
        one boolean PRIMARY KEY DEFAULT true CHECK (one),
        envelope bytea
    );
    INSERT INTO custody_memory DEFAULT VALUES;
    CREATE TABLE custody_record (
        seq bigint PRIMARY KEY CHECK (seq > 0),
        line bytea NOT NULL
    );
    """,
)
"""``pieces.data`` is null where the name was spent; it is random to whoever has no key, so the server need not try to compress it."""


class Shared:
    """A database that has the tables."""

    def __init__(self, database: Database) -> None:
        migrate(database, "handover", STEPS)
        self._once = Once(database)

    def place(self, form: str) -> TablePlace:
        """Where the pieces of this form lie."""
        return TablePlace(self._once, form)

    def pages(self) -> TablePages:
        """The record of custody."""
        return TablePages(self._once)


class _Turns:
    """Work in transactions, and within ``alone`` all of it in one."""

    def __init__(self, once: Once) -> None:
        self._once = once
        self._held = threading.local()

    def _alone(self, hold: Callable[[Session], object], work: Callable[[], T]) -> T:
        def turn(session: Session) -> T:
            hold(session)
            self._held.session = session
            try:
                return work()
            finally:
                self._held.session = None

        return self._once.run(turn)

    def _all(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Every row that a query gives."""

        def asked(session: Session) -> list[tuple[Any, ...]]:
            return session.execute(query.encode(), values, binary=True).fetchall()

        held: Session | None = getattr(self._held, "session", None)
        return self._once.database.run(asked) if held is None else asked(held)

    def _do(self, statement: str, *values: Any) -> None:
        """Write, within ``alone``: whoever does so outside of it does not hold the place. Safe to run twice."""
        session: Session | None = getattr(self._held, "session", None)
        if session is None:
            self._once.database.run(lambda session: session.execute(statement.encode(), values))
        else:
            session.execute(statement.encode(), values)


class TablePlace(_Turns):
    """Pieces of one form."""

    def __init__(self, once: Once, form: str) -> None:
        super().__init__(once)
        self._form = form

    def __str__(self) -> str:
        return f"{self._form} in the database"

    def alone(self, work: Callable[[], T]) -> T:
        """Hold the form's row, over all machines."""
        return self._alone(self._hold, work)

    def _hold(self, session: Session) -> None:
        held = session.execute("SELECT 1 FROM places WHERE form = %s FOR UPDATE", (self._form,))
        if held.fetchone() is None:  # whoever makes it holds it
            session.execute("INSERT INTO places VALUES (%s) ON CONFLICT DO NOTHING", (self._form,))
            session.execute("SELECT 1 FROM places WHERE form = %s FOR UPDATE", (self._form,))

    def now(self) -> datetime:
        """The server's time."""
        ((now,),) = self._all("SELECT clock_timestamp()")
        assert isinstance(now, datetime)
        return now

    def enter(self) -> None:
        """Nothing is left half, and who may look in is the database's to say."""

    def names(self) -> list[str]:
        """Every piece that is there, in order."""
        rows = self._all("SELECT name FROM pieces WHERE form = %s AND data IS NOT NULL ORDER BY name", self._form)
        return [name for (name,) in rows]

    def starts(self, length: int) -> Mapping[str, bytes]:
        """The first bytes of every piece."""
        query = "SELECT name, substr(data, 1, %s::integer) FROM pieces WHERE form = %s AND data IS NOT NULL"
        return dict(self._all(query, length, self._form))

    def each(self) -> Iterator[tuple[str, bytes | Damaged]]:
        """Every piece that is there, in the order of their names."""
        query = (
            "SELECT name, data FROM pieces WHERE form = %s AND data IS NOT NULL AND name > %s ORDER BY name LIMIT %s"
        )
        after = ""
        while rows := self._all(query, self._form, after, PIECES_AT_ONCE):
            yield from ((name, bytes(data)) for name, data in rows)
            after = rows[-1][0]

    def read(self, name: str) -> bytes | None:
        """A piece; None where it is not, or is spent."""
        rows = self._all("SELECT data FROM pieces WHERE form = %s AND name = %s", self._form, name)
        return bytes(rows[0][0]) if rows and rows[0][0] is not None else None

    def write(self, name: str, data: bytes) -> None:
        """Put it there, or in place of what is there."""
        self._do(
            "INSERT INTO pieces VALUES (%s, %s, %b) ON CONFLICT (form, name) DO UPDATE SET data = excluded.data"
            " WHERE pieces.data IS NOT NULL",
            *(self._form, name, data),
        )

    def remove(self, name: str) -> None:
        """It is gone; also where it was not there."""
        self._do("DELETE FROM pieces WHERE form = %s AND name = %s AND data IS NOT NULL", self._form, name)

    def spend(self, name: str) -> None:
        """It is gone, and its name is never used again."""
        self._do(
            "INSERT INTO pieces VALUES (%s, %s, NULL) ON CONFLICT (form, name) DO UPDATE SET data = NULL",
            *(self._form, name),
        )

    def spent(self, name: str) -> bool:
        """Whether it was there, and was spent."""
        query = "SELECT 1 FROM pieces WHERE form = %s AND name = %s AND data IS NULL"
        return bool(self._all(query, self._form, name))

    def checks(self) -> dict[str, bytes]:
        """The check of each key in use."""
        rows = self._all("SELECT key, data FROM checks WHERE form = %s ORDER BY key", self._form)
        return {key: bytes(data) for key, data in rows}

    def check(self, key: str, data: bytes) -> None:
        """Keep a key's check."""
        self._do("INSERT INTO checks VALUES (%s, %s, %b) ON CONFLICT DO NOTHING", self._form, key, data)

    def forget(self, key: str) -> None:
        """Drop a key's check."""
        self._do("DELETE FROM checks WHERE form = %s AND key = %s", self._form, key)


class TablePages(_Turns):
    """The lines of the record of custody, and beside them how far it had come."""

    def __str__(self) -> str:
        return "the record of custody in the database"

    def alone(self, work: Callable[[], T]) -> T:
        """Hold the memory's row, over all machines."""
        return self._alone(lambda session: session.execute("SELECT 1 FROM custody_memory FOR UPDATE"), work)

    def lines(self) -> Iterator[bytes]:
        """All of them, in order. A number that is missing is told by the line behind it, which does not follow."""
        seq = 0
        query = "SELECT seq, line FROM custody_record WHERE seq > %s ORDER BY seq LIMIT %s"
        while rows := self._all(query, seq, LINES_AT_ONCE):
            yield from (bytes(line) for _, line in rows)
            seq = rows[-1][0]

    def last(self) -> bytes:
        """The last one; nothing where there is none."""
        rows = self._all("SELECT line FROM custody_record ORDER BY seq DESC LIMIT 1")
        return bytes(rows[0][0]) if rows else b""

    def at(self, seq: int) -> bytes:
        """The line of this number."""
        rows = self._all("SELECT line FROM custody_record WHERE seq = %s", seq)
        return bytes(rows[0][0]) if rows else b""

    def add(self, first: int, lines: list[bytes]) -> None:
        """Put them behind those that are there."""
        numbers = list(range(first, first + len(lines)))
        self._do("INSERT INTO custody_record SELECT * FROM unnest(%s::bigint[], %s::bytea[])", numbers, lines)

    def cut(self, offset: int) -> str:  # noqa: ARG002 - nothing here is ever torn
        """Nothing here is torn: what is behind the memory was put there by somebody else."""
        raise StorageError(f"{self} goes on behind its end", hint="restore the record from a copy; keep this one")

    def remembered(self) -> bytes | None:
        """How far it had come. Raises StorageError where there is a record and no memory of it."""
        rows = self._all("SELECT envelope, EXISTS (SELECT 1 FROM custody_record) FROM custody_memory")
        envelope, begun = rows[0] if rows else (None, True)
        if envelope is None and begun:
            raise StorageError(
                f"{self} is there, but not its memory, which says how far it had come",
                hint="restore the database from a backup",
            )
        return None if envelope is None else bytes(envelope)

    def remember(self, envelope: bytes) -> None:
        """Keep how far it has come."""
        self._do("UPDATE custody_memory SET envelope = %b", envelope)
