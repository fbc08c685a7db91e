"""The ledger in PostgreSQL: for gateways of several machines.

Promises what ``ledger`` asks for, through the loss of the connection at any statement: a batch is committed once (``postgres.once``), and one gateway writes
at a time, so that strikes are counted as by one, and decisions are numbered in the order in which they can be read. Format: docs/formats/gateway-ledger.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from custodes.errors import CustodesError
from custodes.gateway.people.tables import TableLedger
from custodes.gateway.people.writing import Work
from custodes.postgres.database import Database, locked
from custodes.postgres.migrations import migrate
from custodes.postgres.once import Once

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import TupleRow

    Session = Connection[TupleRow]

__all__ = ["STEPS", "PostgresLedger"]

T = TypeVar("T")

STEPS: Final[Sequence[str]] = (
    """
    CREATE TABLE strikes (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name text NOT NULL,
        tenant text NOT NULL,
        "user" text NOT NULL,
        at bigint NOT NULL,
        weight integer NOT NULL CHECK (weight > 0),
        overturned_at bigint
    );
    CREATE INDEX strikes_by_name ON strikes (name, at);
    CREATE INDEX strikes_by_user ON strikes (tenant, "user", at);
    CREATE INDEX strikes_by_tenant ON strikes (tenant, at);
    CREATE TABLE steps (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        kind text NOT NULL CHECK (kind IN ('warning', 'suspension')),
        tenant text NOT NULL,
        "user" text NOT NULL,
        at bigint NOT NULL,
        until bigint NOT NULL,
        since bigint NOT NULL,
        last_strike bigint NOT NULL,
        needed integer NOT NULL,
        lifted_at bigint
    );
    CREATE INDEX steps_by_user ON steps (tenant, "user", kind, until);
    CREATE TABLE decisions (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        at bigint NOT NULL,
        tenant text NOT NULL,
        "user" text NOT NULL,
        request text NOT NULL,
        stage text NOT NULL,
        action text NOT NULL,
        rule text NOT NULL,
        grade text NOT NULL,
        category text NOT NULL,
        report smallint NOT NULL,
        facts text NOT NULL,
        policy text NOT NULL,
        versions text NOT NULL,
        refusal smallint NOT NULL,
        strikes integer NOT NULL,
        strike bigint REFERENCES strikes (id),
        acknowledged smallint NOT NULL
    );
    CREATE INDEX decisions_by_request ON decisions (request);
    CREATE INDEX decisions_by_time ON decisions (at);
    CREATE INDEX refusals_by_user ON decisions (tenant, "user", at, request) WHERE refusal = 1;
    CREATE INDEX refusals_by_tenant ON decisions (tenant, at, request) WHERE refusal = 1;
    CREATE TABLE counters (
        day text NOT NULL,
        tenant text NOT NULL,
        stage text NOT NULL,
        action text NOT NULL,
        grade text NOT NULL,
        category text NOT NULL,
        decisions bigint NOT NULL,
        PRIMARY KEY (day, tenant, stage, action, grade, category)
    );
    CREATE TABLE appeals (
        request text PRIMARY KEY,
        tenant text NOT NULL,
        at bigint NOT NULL,
        outcome text NOT NULL,
        settled_at bigint NOT NULL,
        people text NOT NULL
    );
    CREATE INDEX appeals_by_outcome ON appeals (outcome, at);
    CREATE TABLE bookings (
        id text PRIMARY KEY,
        tenant text NOT NULL,
        images integer NOT NULL,
        until bigint NOT NULL
    );
    CREATE INDEX bookings_by_tenant ON bookings (tenant, until);
    CREATE INDEX bookings_by_end ON bookings (until);
    CREATE TABLE rates (
        tenant text PRIMARY KEY,
        room double precision NOT NULL,
        at bigint NOT NULL
    );
    """,
)


class PostgresLedger(TableLedger):
    """A ledger in a database, which is given its tables if it has none. The database is closed with it."""

    def __init__(self, database: Database) -> None:
        migrate(database, "gateway", STEPS)
        super().__init__(_Server(database))


class _Tables:
    """A transaction of PostgreSQL. What is not asked back is sent with what is asked next, or at the end."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def all(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Every row that it gives."""
        return self._session.execute(_spelt(query), values).fetchall()

    def do(self, statement: str, *values: object) -> None:
        """Nothing is asked back."""
        self._session.execute(_spelt(statement), values)


def _spelt(query: str) -> bytes:
    return query.replace("?", "%s").encode()


class _RefusedError(Exception):
    """One piece of work raised an error of ours: the others are done without it."""

    def __init__(self, which: int, error: CustodesError) -> None:
        self.which, self.error = which, error


class _Server:
    """The engine."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._once = Once(database)

    def write(self, works: Sequence[Work[Any]], *, synced: bool) -> list[Any]:  # noqa: ARG002 - the server syncs each commit
        """All at once; where one refuses, all but that one. Refusing is rare, and a savepoint for each would be asked for each time."""
        refused: dict[int, CustodesError] = {}
        while True:
            left = [number for number in range(len(works)) if number not in refused]
            try:
                done = dict(zip(left, self._once.run(lambda session: self._all(session, works, left)), strict=True))  # noqa: B023
            except _RefusedError as error:
                refused[error.which] = error.error
            else:
                return [refused[number] if number in refused else done[number] for number in range(len(works))]

    def _all(self, session: Session, works: Sequence[Work[Any]], numbers: Sequence[int]) -> list[Any]:
        locked(session, f"custodes gateway {self._database.schema}")
        outcomes = []
        with session.pipeline():
            for number in numbers:
                try:
                    outcomes.append(works[number](_Tables(session)))
                except CustodesError as error:
                    raise _RefusedError(number, error) from error
        return outcomes

    def read(self, work: Work[T]) -> T:
        """One state of the database for all that is asked."""
        return self._database.read(lambda session: work(_Tables(session)))

    def close_writing(self) -> None:
        """What reads has its connection still."""

    def close_reading(self) -> None:
        """It is closed after the writing."""
        self._database.close()
