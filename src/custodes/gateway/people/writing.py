"""One thread that writes, and one that reads, for any number of requests: what waits together is committed together.

Promises that whoever is answered is answered after the commit, never before; that a piece of work is whole or not at all, and undoes no other's; and
that after a failed write to the disk nothing more is written. What the work is, is for ``sqlite``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import apsw

from custodes.errors import CustodesError, InternalError, StorageError

__all__ = ["Reader", "Writer", "stored"]

T = TypeVar("T")
BATCH_MAX: Final = 256
_HINT: Final = "look at the disk, then start the gateway again"


@dataclass(slots=True)
class _Job(Generic[T]):
    work: Callable[[apsw.Connection], T]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[T]
    outcome: T | CustodesError = field(default_factory=lambda: InternalError("the ledger's thread ended in its work"))

    def tell(self) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            self.loop.call_soon_threadsafe(self._told)

    def _told(self) -> None:
        if self.future.done():  # who asked has gone; what was written stays written
            return
        if isinstance(self.outcome, CustodesError):
            self.future.set_exception(self.outcome)
        else:
            self.future.set_result(self.outcome)


def stored(error: apsw.Error, path: Path) -> StorageError:
    """A fault of the database. Its own text may quote what was written, and is not told."""
    return StorageError(f"the ledger {path} could not be used: {type(error).__name__}", hint=_HINT)


class Writer:
    """The thread that writes."""

    def __init__(self, path: Path, open_: Callable[[], apsw.Connection]) -> None:
        self._path, self._open = path, open_
        self._thread = ThreadPoolExecutor(1, "ledger-writer")
        self._waiting: deque[_Job[Any]] = deque()
        self._database: apsw.Connection | None = None
        self._failed = False

    async def run(self, work: Callable[[apsw.Connection], T]) -> T:
        """Do it in a transaction, and return when that is durable. Raises StorageError, and what ``work`` raises of ours."""
        loop = asyncio.get_running_loop()
        job: _Job[T] = _Job(work, loop, loop.create_future())
        self._waiting.append(job)
        self._thread.submit(self._drain)
        return await job.future

    def close(self) -> None:
        """Finish what waits, and close."""
        self._thread.submit(self._close)
        self._thread.shutdown()

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _drain(self) -> None:
        jobs: list[_Job[Any]] = []
        while self._waiting and len(jobs) < BATCH_MAX:
            jobs.append(self._waiting.popleft())
        if not jobs:
            return
        try:
            self._together(jobs)
        except apsw.Error as error:
            # After a failed write or sync the kernel may say that all is well: what it holds is not known any more.
            self._failed = self._failed or isinstance(error, apsw.IOError | apsw.CorruptError | apsw.NotADBError)
            self._fail(jobs, stored(error, self._path))
        except StorageError as error:
            self._fail(jobs, error)
        finally:
            for job in jobs:
                job.tell()

    def _fail(self, jobs: Sequence[_Job[Any]], error: StorageError) -> None:
        for job in jobs:
            job.outcome = error

    def _together(self, jobs: Sequence[_Job[Any]]) -> None:
        """1. Begin, holding the database. 2. Each by itself. 3. Commit, which syncs. 4. Only then are outcomes told: by ``_drain``."""
        if self._failed:
            raise StorageError(f"the ledger {self._path} could not be written before", hint=_HINT)
        if self._database is None:
            self._database = self._open()
        database, outcomes = self._database, []
        database.execute("BEGIN IMMEDIATE")  # 1
        try:
            outcomes = [_alone(database, job) for job in jobs]  # 2
            database.execute("COMMIT")  # 3
        finally:
            if database.in_transaction:
                database.execute("ROLLBACK")
        for job, outcome in zip(jobs, outcomes, strict=True):  # 4
            job.outcome = outcome


def _alone(database: apsw.Connection, job: _Job[T]) -> T | CustodesError:
    """The outcome of one; where it raises an error of ours, nothing of it stays."""
    database.execute("SAVEPOINT one")
    try:
        return job.work(database)
    except CustodesError as error:
        database.execute("ROLLBACK TO one")
        return error
    finally:
        if database.in_transaction:
            database.execute("RELEASE one")


class Reader:
    """The thread that reads: it sees whatever was committed before it was asked, and waits for no write."""

    def __init__(self, path: Path, open_: Callable[[], apsw.Connection]) -> None:
        self._path, self._open = path, open_
        self._thread = ThreadPoolExecutor(1, "ledger-reader")
        self._database: apsw.Connection | None = None

    async def run(self, work: Callable[[apsw.Connection], T]) -> T:
        """Raises StorageError, and what ``work`` raises."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._read, work)

    def close(self) -> None:
        """Finish what waits, and close."""
        self._thread.submit(self._close)
        self._thread.shutdown()

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _read(self, work: Callable[[apsw.Connection], T]) -> T:
        try:
            if self._database is None:
                self._database = self._open()
            self._database.execute("BEGIN")  # one state of the database for all that is asked
            try:
                return work(self._database)
            finally:
                self._database.execute("ROLLBACK")
        except apsw.Error as error:
            raise stored(error, self._path) from error
