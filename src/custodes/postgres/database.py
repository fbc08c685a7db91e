"""A database that may be lost at any statement and found again: work is done in transactions, which are run again until they are committed.

Promises that what ``run`` returned from is durable, that a piece of work is whole or not at all, and that no error quotes a value of a statement or the
password. **Whatever is given to ``run`` must be safe to run twice**: where the answer to a COMMIT is lost nobody can tell whether it was done, so it is done
again. Isolation is READ COMMITTED, and who must exclude others says so with a lock (``FOR UPDATE``, ``locked``): waiting for a lock ends, while serializable
transactions that fail each other may go on failing, and two machines that wait cost less than two that do everything again.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any, Final, TypeVar

from custodes.errors import ConfigError, CustodesError, StorageError
from custodes.postgres.address import Address, parameters

if TYPE_CHECKING:
    from psycopg import Connection, Error
    from psycopg.rows import TupleRow

__all__ = ["CONNECTIONS_MAX", "PATIENCE_S", "Database", "locked"]

T = TypeVar("T")
PATIENCE_S: Final = 60.0
"""How long a database may be away."""
CONNECTIONS_MAX: Final = 8
PAUSE_S: Final = (0.05, 2.0)

_AGAIN: Final = frozenset({
    "40001",  # serialization failure
    "40P01",  # deadlock
    "55P03",  # a lock was not to be had in time
    "57014",  # a statement took too long
    "57P01", "57P02", "57P03", "57P05",  # the server stops, crashed, starts, or ended an idle session
    "53300",  # too many connections
    "25006",  # it has become a standby
    "25P03",  # a transaction waited too long for its client
})  # fmt: skip
_REFUSED_AT_THE_DOOR: Final = re.compile(
    r'authentication failed|no password supplied|pg_hba\.conf|certificate|(role|database) ".*" (does not exist|is not permitted)'
)
_HINT: Final = "see its log, then start the same command again: it goes on where it stopped"


class _AwayError(Exception):
    """It is not to be had now. The text names no value."""


class Database:
    """At most so many connections to one database, for any number of threads. Each is checked when it is opened. Not for a child process to inherit."""

    def __init__(self, address: Address, *, patience_s: float = PATIENCE_S, connections: int = CONNECTIONS_MAX) -> None:
        self._idle: list[Connection[TupleRow]] = []
        self._psycopg = _driver()
        self._address = address
        self._parameters = parameters(address, self._parsed(address.url))
        self._patience_s = patience_s
        self._room = BoundedSemaphore(connections)

    @property
    def schema(self) -> str:
        """Where its tables lie."""
        return self._address.schema

    def run(self, work: Callable[[Connection[TupleRow]], T]) -> T:
        """Do it in a transaction, and return when that is durable; again, as long as patience lasts, where the connection or the transaction was lost.

        ``work`` must be safe to run twice. What it raises of ours rises, and nothing of it stays. Raises StorageError.
        """

        def once() -> T:
            with ExitStack() as undone:
                connection, result = self._begun(work)
                undone.callback(self._undone, connection)
                connection.commit()
                undone.pop_all()
            self._put_back(connection)
            return result

        return self._persistently(once)

    def read(self, work: Callable[[Connection[TupleRow]], T]) -> T:
        """As ``run``, with one state of the database for all that is asked, and nothing written."""

        def in_one_state(connection: Connection[TupleRow]) -> T:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            return work(connection)

        return self.run(in_one_state)

    @contextmanager
    def hold(self, work: Callable[[Connection[TupleRow]], T]) -> Iterator[tuple[Connection[TupleRow], T]]:
        """Do ``work`` as ``run`` does, then keep its transaction, and with it its locks, for the body, which is not run again.

        A body that writes does so by this connection: once it is lost, so are the locks, and whatever is written then fails. Raises StorageError; after the
        body that means that nobody knows whether what it wrote stays.
        """
        with ExitStack() as undone:
            connection, result = self._persistently(lambda: self._begun(work))
            undone.callback(self._undone, connection)
            try:
                yield connection, result
                connection.commit()
            except self._psycopg.Error as error:
                raise _failure(error) from None
            undone.pop_all()
        self._put_back(connection)

    def close(self) -> None:
        """Close what is not in use."""
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    __del__ = close

    def _persistently(self, attempt: Callable[[], T]) -> T:
        began, pause = 0.0, PAUSE_S[0]
        while True:
            try:
                return attempt()
            except self._psycopg.Error as error:
                reason = _again(error)
                if reason is None:
                    raise _failure(error) from None
            except _AwayError as away:
                reason = str(away)
            now = time.monotonic()
            began = began or now
            if now - began + pause > self._patience_s:
                raise StorageError(
                    f"the database could not be used for {self._patience_s:g} seconds: {reason}", hint=_HINT
                ) from None
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - so that not all come back at once
            pause = min(2 * pause, PAUSE_S[1])

    def _begun(self, work: Callable[[Connection[TupleRow]], T]) -> tuple[Connection[TupleRow], T]:
        """A transaction with the work done in it, not committed yet."""
        with ExitStack() as undone:
            connection = self._taken()
            undone.callback(self._undone, connection)
            result = work(connection)
            undone.pop_all()
        return connection, result

    def _taken(self) -> Connection[TupleRow]:
        with ExitStack() as undone:
            self._room.acquire()
            undone.callback(self._room.release)
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._opened()
            undone.pop_all()
        return connection

    def _put_back(self, connection: Connection[TupleRow]) -> None:
        self._idle.append(connection)
        self._room.release()

    def _undone(self, connection: Connection[TupleRow]) -> None:
        """Undo what is not committed. If the connection is lost, the others that wait will be, too."""
        with suppress(self._psycopg.Error):
            connection.rollback()
        if not connection.closed and connection.info.transaction_status == self._psycopg.pq.TransactionStatus.IDLE:
            self._put_back(connection)
            return
        connection.close()
        self._room.release()
        self.close()

    def _opened(self) -> Connection[TupleRow]:
        try:
            connection: Connection[TupleRow] = self._psycopg.connect(**self._parameters, autocommit=True)
        except self._psycopg.OperationalError as error:
            raise _not_opened(error) from None
        with ExitStack() as undone:
            undone.callback(connection.close)
            self._check(connection)
            connection.autocommit = False
            undone.pop_all()
        return connection

    def _check(self, connection: Connection[TupleRow]) -> None:
        """Raises ConfigError where the server may lose what it said was committed."""
        row = connection.execute("SELECT current_setting('fsync'), current_setting('full_page_writes')").fetchone()
        for name, value in zip(("fsync", "full_page_writes"), row or (), strict=True):
            if value != "on":
                raise ConfigError(
                    f"the database may lose what it has committed: {name} is {value}",
                    hint=f"set {name} = on in postgresql.conf, and restart the server",
                )

    def _parsed(self, url: str) -> dict[str, Any]:
        try:
            return dict(self._psycopg.conninfo.conninfo_to_dict(url))
        except self._psycopg.ProgrammingError:
            # Its text may quote a password.
            raise ConfigError("the database's url cannot be read", hint="see docs/guides/postgresql.md") from None


def locked(connection: Connection[TupleRow], name: str) -> None:
    """Exclude all others who lock this name in this schema, until the transaction ends."""
    connection.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended(current_setting('search_path') || ' ' || %s, 0))", (name,)
    )


def _driver() -> Any:
    try:
        import psycopg  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ConfigError(
            "a database is configured, and its driver is not installed", hint="pip install 'custodes[postgres]'"
        ) from error
    return psycopg


def _again(error: Error) -> str | None:
    """Why it may go better the next time; None if it will not."""
    state = error.sqlstate
    if state is None:  # not the server's answer: the connection is lost
        return "the connection was lost"
    if state in _AGAIN or state.startswith("08"):
        return type(error).__name__
    return None


def _not_opened(error: Error) -> CustodesError | _AwayError:
    """What libpq says of a connection names hosts and users, never a password."""
    text = " ".join(str(error).split())
    if _REFUSED_AT_THE_DOOR.search(text):
        return ConfigError(f"the database refuses us: {text}", hint="see docs/guides/postgresql.md")
    return _AwayError(text)


def _failure(error: Error) -> StorageError:
    """Its own text may quote what was written, and is not told."""
    if _again(error) is not None:
        return StorageError(f"the database was lost in the middle of it: {type(error).__name__}", hint=_HINT)
    return StorageError(f"the database refused a statement: {type(error).__name__} ({error.sqlstate})", hint=_HINT)
