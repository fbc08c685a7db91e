"""A ledger in PostgreSQL for tests: a schema for each worker, emptied before each use."""

from __future__ import annotations

from dataclasses import dataclass

from custodes.gateway.people.postgres import PostgresLedger
from custodes.postgres.database import Database
from tests.postgres.server import Given, Server

__all__ = ["Shared", "emptied"]

TABLES = ("decisions", "strikes", "steps", "counters", "appeals", "bookings", "rates")


@dataclass(frozen=True)
class Shared:
    """A server, and a schema of it."""

    server: Server | Given
    schema: str

    def database(self, patience_s: float = 30.0) -> Database:
        return self.server.database(schema=self.schema, patience_s=patience_s)


def emptied(shared: Shared) -> PostgresLedger:
    """A ledger that knows nothing, and numbers from 1."""
    database = shared.database()
    ledger = PostgresLedger(database)
    statement = f"TRUNCATE {', '.join(TABLES)} RESTART IDENTITY"
    database.run(lambda session: session.execute(statement.encode()))
    return ledger
