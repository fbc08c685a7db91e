"""One thread that writes, and one that reads, for any number of requests: what waits together is committed together.

Promises that whoever is answered is answered after the commit, never before; that the commit is synced wherever somebody asked for that; and that a piece of
work is whole or not at all, and undoes no other's. What the work is, is for ``books``; how it is committed, for the engine of a database.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Protocol, TypeVar

from custodes.errors import CustodesError, InternalError, StorageError
from custodes.gateway.people.books import Tables

__all__ = ["Engine", "Reader", "Work", "Writer"]

T = TypeVar("T")
BATCH_MAX: Final = 256
Work = Callable[[Tables], T]


class Engine(Protocol):
    """A database. ``write`` and ``close_writing`` are asked by one thread, ``read`` and ``close_reading`` by another."""

    def write(self, works: Sequence[Work[Any]], *, synced: bool) -> list[Any]:
        """All of them in one transaction, which no kill undoes when it returns, and if it is ``synced`` no loss of power. Raises StorageError.

        The outcome of each: what it gave, or the error of ours that it raised, and then nothing of it stays.
        """

    def read(self, work: Work[T]) -> T:
        """One state of the database for all that is asked. Raises StorageError, and what ``work`` raises of ours."""

    def close_writing(self) -> None:
        """Nothing is written any more."""

    def close_reading(self) -> None:
        """Nothing is read any more."""


@dataclass(slots=True)
class _Job(Generic[T]):
    work: Work[T]
    synced: bool
    future: asyncio.Future[T] | None = None
    outcome: T | CustodesError = field(default_factory=lambda: InternalError("the ledger's thread ended in its work"))

    def tell(self) -> None:
        if self.future is not None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                self.future.get_loop().call_soon_threadsafe(self._told, self.future)

    def _told(self, future: asyncio.Future[T]) -> None:
        if future.done():  # who asked has gone; what was written stays written
            return
        if isinstance(self.outcome, CustodesError):
            future.set_exception(self.outcome)
        else:
            future.set_result(self.outcome)


class Writer:
    """The thread that writes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._thread = ThreadPoolExecutor(1, "ledger-writer")
        self._waiting: deque[_Job[Any]] = deque()

    async def run(self, work: Work[T], *, synced: bool = True) -> T:
        """Do it in a transaction, and return when that is durable. Raises StorageError, and what ``work`` raises of ours."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue(_Job(work, synced, future))
        return await future

    def post(self, work: Work[None]) -> None:
        """Do it, after all that was asked before. Nobody waits, and nobody hears if it could not be done or was lost."""
        self._queue(_Job(work, synced=False))

    def _queue(self, job: _Job[Any]) -> None:
        self._waiting.append(job)
        with suppress(RuntimeError):  # it is closed by now
            self._thread.submit(self._drain)

    def close(self) -> None:
        """Finish what waits, and close."""
        self._thread.submit(self._engine.close_writing)
        self._thread.shutdown()

    def _drain(self) -> None:
        jobs: list[_Job[Any]] = []
        while self._waiting and len(jobs) < BATCH_MAX:
            jobs.append(self._waiting.popleft())
        if not jobs:
            return
        try:
            self._together(jobs)
        except StorageError as error:
            for job in jobs:
                job.outcome = error
        finally:
            for job in jobs:
                job.tell()

    def _together(self, jobs: Sequence[_Job[Any]]) -> None:
        outcomes = self._engine.write([job.work for job in jobs], synced=any(job.synced for job in jobs))
        for job, outcome in zip(jobs, outcomes, strict=True):  # only now: it is durable
            job.outcome = outcome


class Reader:
    """The thread that reads: it sees whatever was committed before it was asked, and waits for no write."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._thread = ThreadPoolExecutor(1, "ledger-reader")

    async def run(self, work: Work[T]) -> T:
        """Raises StorageError, and what ``work`` raises."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._engine.read, work)

    def close(self) -> None:
        """Finish what waits, and close."""
        self._thread.submit(self._engine.close_reading)
        self._thread.shutdown()
