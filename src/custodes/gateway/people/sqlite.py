"""The ledger in SQLite: one file, for any number of processes of one machine.

Promises what ``ledger`` asks for: a write-ahead log, synced with each commit of what must outlive a loss of power; and that after a failed write to the disk
nothing more is written. Not for file systems of a network. Format: docs/formats/gateway-ledger.md.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final, TypeVar

import apsw

from custodes.durable import make_folder
from custodes.errors import ConfigError, CustodesError, StorageError
from custodes.gateway.people.migrations import migrate
from custodes.gateway.people.tables import TableLedger
from custodes.gateway.people.writing import Work

__all__ = ["SQLITE_MIN", "SqliteLedger", "check_version"]

T = TypeVar("T")
SQLITE_MIN: Final = (3, 51, 3)
"""Before it, two connections at the end of a write-ahead log could damage the database (sqlite.org/wal.html#walresetbug)."""
_HINT: Final = "look at the disk, then start the gateway again"


def check_version(version: str) -> None:
    """Raises ConfigError for an SQLite that may lose what it was given."""
    if tuple(int(part) for part in version.split(".")) < SQLITE_MIN:
        least = ".".join(str(part) for part in SQLITE_MIN)
        raise ConfigError(f"SQLite {version} may damage a ledger, {least} does not", hint="install a newer apsw")


class SqliteLedger(TableLedger):
    """A ledger in a file, which is made if it is not there. ``busy_ms``: how long another process may hold it."""

    def __init__(self, path: Path, *, busy_ms: int = 5_000) -> None:
        check_version(apsw.sqlite_lib_version())
        make_folder(path.parent)
        engine = _File(path, busy_ms)
        try:
            # Made here, so that nobody else may read it; the files beside it take its mode over.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
            with closing(engine.opened()) as database:
                migrate(database)
        except OSError as error:
            raise StorageError(f"the ledger {path} cannot be opened: {error.strerror}") from error
        except apsw.Error as error:
            raise _stored(error, path) from error
        super().__init__(engine)


def _stored(error: apsw.Error, path: Path) -> StorageError:
    """A fault of the database. Its own text may quote what was written, and is not told."""
    return StorageError(f"the ledger {path} could not be used: {type(error).__name__}", hint=_HINT)


class _Tables:
    """A transaction of SQLite."""

    def __init__(self, database: apsw.Connection) -> None:
        self._database = database

    def all(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Every row that it gives."""
        return list(self._database.execute(query, values))

    def do(self, statement: str, *values: Any) -> None:
        """Nothing is asked back."""
        self._database.execute(statement, values)


class _File:
    """The engine: a connection that writes, and one that reads."""

    def __init__(self, path: Path, busy_ms: int) -> None:
        self._path, self._busy_ms = path, busy_ms
        self._writing: apsw.Connection | None = None
        self._reading: apsw.Connection | None = None
        self._synced = True
        self._failed = False

    def opened(self) -> apsw.Connection:
        database = apsw.Connection(str(self._path), apsw.SQLITE_OPEN_READWRITE)
        database.set_busy_timeout(self._busy_ms)
        if database.execute("PRAGMA journal_mode = WAL").get != "wal":
            raise StorageError(f"the ledger {self._path} cannot have a write-ahead log", hint="put it on a local disk")
        for pragma in ("synchronous = FULL", "foreign_keys = ON", "trusted_schema = OFF", "temp_store = MEMORY"):
            database.execute(f"PRAGMA {pragma}")
        return database

    def write(self, works: Sequence[Work[Any]], *, synced: bool) -> list[Any]:
        """1. Begin, holding the database. 2. Each by itself. 3. Commit, which syncs this and all before it, or leaves that to the next."""
        if self._failed:
            raise StorageError(f"the ledger {self._path} could not be written before", hint=_HINT)
        try:
            if self._writing is None:
                self._writing = self.opened()
            database = self._writing
            if synced != self._synced:
                database.execute(f"PRAGMA synchronous = {'FULL' if synced else 'NORMAL'}")
                self._synced = synced
            database.execute("BEGIN IMMEDIATE")  # 1
            try:
                outcomes = [_alone(database, work) for work in works]  # 2
                database.execute("COMMIT")  # 3
            finally:
                if database.in_transaction:
                    database.execute("ROLLBACK")
        except apsw.Error as error:
            # After a failed write or sync the kernel may say that all is well: what it holds is not known any more.
            self._failed = self._failed or isinstance(error, apsw.IOError | apsw.CorruptError | apsw.NotADBError)
            raise _stored(error, self._path) from error
        return outcomes

    def read(self, work: Work[T]) -> T:
        """One state of the database for all that is asked."""
        try:
            if self._reading is None:
                self._reading = self.opened()
            self._reading.execute("BEGIN")
            try:
                return work(_Tables(self._reading))
            finally:
                self._reading.execute("ROLLBACK")
        except apsw.Error as error:
            raise _stored(error, self._path) from error

    def close_writing(self) -> None:
        if self._writing is not None:
            self._writing.close()
            self._writing, self._synced = None, True

    def close_reading(self) -> None:
        if self._reading is not None:
            self._reading.close()
            self._reading = None


def _alone(database: apsw.Connection, work: Work[T]) -> T | CustodesError:
    """The outcome of one; where it raises an error of ours, nothing of it stays."""
    database.execute("SAVEPOINT one")
    try:
        return work(_Tables(database))
    except CustodesError as error:
        database.execute("ROLLBACK TO one")
        return error
    finally:
        if database.in_transaction:
            database.execute("RELEASE one")
