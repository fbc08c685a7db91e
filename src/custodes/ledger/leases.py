"""Shards of a run, shared out among several coordinators by PostgreSQL: who works which, until when, and with which token it may commit.

Promises that a shard is leased to one coordinator at a time, by the server's clock alone; that the token of a shard grows with every lease; and that whoever
has outlived his lease publishes nothing from the next look at the fence on. What is done is not decided here: that is the done-mark in the run's store
(``ledger.run``), of which the first wins, so that a database that was lost or is behind costs work, and never a finding.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from custodes.errors import CustodesError, FencedError, StorageError
from custodes.ledger import leases_sql as sql
from custodes.model import Reason
from custodes.postgres.database import PATIENCE_S, Database, locked
from custodes.postgres.migrations import migrate

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import TupleRow

__all__ = ["LEASE_S", "Claim", "Leases", "PostgresFence", "Settled", "Work"]

T = TypeVar("T")
LEASE_S: Final = 2 * PATIENCE_S
"""Renewed at a third of it: a database that is away for as long as patience lasts costs nobody a lease."""
BATCH_ROWS: Final = 5000


@dataclass(frozen=True)
class Work:
    """A shard that is to be done, or to be done anew for the rows that ended so."""

    shard: int
    generation: int = 0
    retry: tuple[Reason, ...] = ()


@dataclass(frozen=True)
class Claim:
    """A shard that this coordinator may work. ``taken_over``: it was claimed before, and may be committed."""

    work: Work
    token: int
    taken_over: bool = False


@dataclass(frozen=True)
class Settled:
    """What became of a shard: its counts, or (``rows`` -1) nothing: it was given up."""

    shard: int
    generation: int = 0
    rows: int = -1
    reasons: Mapping[Reason, int] = field(default_factory=dict)
    bytes_fetched: int = 0


class Leases:
    """What one coordinator holds of a run. ``with Leases(database, run) as leases`` renews what it holds until the end, and gives it back then."""

    def __init__(self, database: Database, run: str, *, lease_s: float = LEASE_S) -> None:
        self._database, self._lease_s = database, lease_s
        self._own: dict[str, Any] = {"run": run, "name": secrets.token_hex(8), "lease_s": lease_s}
        self._claims = 0
        self._lost: CustodesError | None = None
        self._over = threading.Event()
        self._renewing = threading.Thread(target=self._renew, name="leases", daemon=True)

    def __enter__(self) -> Leases:
        migrate(self._database, "runs", sql.STEPS)
        self._database.run(lambda connection: connection.execute(sql.BEGIN, self._own))
        self._renewing.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._over.set()
        if kind is None or not issubclass(kind, StorageError):  # a database that is away is not waited for once more
            with suppress(StorageError):  # what is not given back runs out
                self._database.run(self._end)
        self._database.close()

    # -- what is to be done

    def plan(self, todo: Iterable[Work], done: Iterable[Settled] = ()) -> list[Work]:
        """Say what is to be done, and what the run's store holds already; both may be known. What was given up is tried once more.

        Returns what is to be done and counts as done here: whoever asks looks into the store once more, and calls ``reopen`` with what is not there.
        """
        for settled in _batches(done):
            self._database.run(partial(self._record, settled=settled))
        doubtful: list[Work] = []
        for works in _batches(todo):
            doubtful += self._database.run(partial(self._add, works=works))
        return doubtful

    def reopen(self, works: Sequence[Work]) -> None:
        """Do these again, whatever the database says: their done-marks are gone."""
        self._database.run(lambda connection: connection.execute(sql.REOPEN, self._named(works)))

    def claim(self, count: int, settled: Sequence[Settled] = ()) -> tuple[list[Claim], bool]:
        """At most so many shards, and whether any is open at all; what became of others is recorded with it. Raises FencedError, StorageError."""
        self.check()
        self._claims += 1
        asked = self._own | {"claim": self._claims, "count": count}

        def work(connection: Connection[TupleRow]) -> tuple[list[Claim], bool]:
            if not connection.execute(sql.LIVES, self._own).fetchone():
                raise _outlived()
            self._record(connection, settled)
            claims = _claimed(connection, asked)
            return claims, connection.execute(sql.ANY_OPEN, self._own).fetchone() is not None

        return self._database.run(work)

    def check(self) -> None:
        """Raises what ended the lease, if anything did."""
        if self._lost is not None:
            raise self._lost

    def _record(self, connection: Connection[TupleRow], settled: Sequence[Settled]) -> None:
        done = [each for each in settled if each.rows >= 0]
        if done:
            counts = {
                "rows": [each.rows for each in done],
                "reasons": [msgspec.json.encode(each.reasons, order="sorted").decode() for each in done],
                "bytes": [each.bytes_fetched for each in done],
            }
            connection.execute(sql.RECORD, self._named(done) | counts)
        if len(done) < len(settled):
            connection.execute(sql.GIVE_UP, self._named([each for each in settled if each.rows < 0]))

    def _add(self, connection: Connection[TupleRow], works: Sequence[Work]) -> list[Work]:
        named = self._named(works)
        connection.execute(sql.ADD, named | {"retries": [",".join(work.retry) for work in works]})
        done = set(connection.execute(sql.WHICH_DONE, named).fetchall())
        return [work for work in works if (work.shard, work.generation) in done]

    def _named(self, which: Sequence[Work | Settled]) -> dict[str, Any]:
        return self._own | {
            "shards": [each.shard for each in which],
            "generations": [each.generation for each in which],
        }

    # -- the lease

    def _renew(self) -> None:
        while not self._over.wait(self._lease_s / 3):
            try:
                self._database.run(self._prolong)
            except CustodesError as error:
                self._lost = error
                return

    def _prolong(self, connection: Connection[TupleRow]) -> None:
        """What has run out stays so: others may have its shards."""
        if not connection.execute(sql.PROLONG, self._own).rowcount:
            raise _outlived()

    def _end(self, connection: Connection[TupleRow]) -> None:
        connection.execute(sql.GIVE_BACK, self._own)
        connection.execute(sql.END, self._own)


class PostgresFence:
    """The fence before the done-marks of a run (``ledger.fence``)."""

    def __init__(self, database: Database, run: str) -> None:
        self._database, self._run = database, run

    @contextmanager
    def held(self, shard: int, generation: int, token: int) -> Iterator[None]:
        """1. As long as this lasts nobody takes the shard over. 2. The mark is published. 3. It is recorded: again if that is lost, for the mark stands."""
        asked = {"run": self._run, "shard": shard, "generation": generation, "token": token}
        published = False

        def look(connection: Connection[TupleRow]) -> None:
            if not connection.execute(sql.MAY_COMMIT, asked).fetchone():
                raise _outlived()

        try:
            with self._database.hold(look) as (connection, _):  # 1
                yield
                published = True  # 2
                connection.execute(sql.DONE, asked)  # 3
        except StorageError:
            if not published:
                raise
            self._database.run(lambda again: again.execute(sql.DONE, asked))


def _claimed(connection: Connection[TupleRow], asked: Mapping[str, Any]) -> list[Claim]:
    """1. One coordinator at a time, so that each sees who has begun. 2. What this very claim took before its answer was lost. 3. Else what nobody holds."""
    locked(connection, f"shards of {asked['run']}")  # 1
    found = connection.execute(sql.CLAIMED_BEFORE, asked).fetchall()  # 2
    if not found:
        found = connection.execute(sql.CLAIM, asked).fetchall()  # 3
    return [
        Claim(Work(shard, generation, tuple(map(Reason, retry))), token, taken_over)
        for shard, generation, retry, token, taken_over in sorted(found)
    ]


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(items)
    while batch := list(islice(rest, BATCH_ROWS)):
        yield batch


def _outlived() -> FencedError:
    return FencedError(
        "this coordinator's lease has run out, and others may have its shards",
        hint="start the same command again: it goes on where it stopped",
    )
