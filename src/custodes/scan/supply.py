"""What is to be worked now: an executor takes job after job from a supply as it has room, so that a supply may hand out what several coordinators share."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from custodes.ledger.leases import Claim, Leases, Settled, Work
from custodes.ledger.run import RunDirectory, ShardRecord
from custodes.scan.shard import ShardJob, ShardReport

__all__ = ["LeasedSupply", "Listed", "Supply", "leased"]

CLAIMS_MAX: Final = 256
ASK_AGAIN_S: Final = 1.0
"""Where others hold all that is open, they are not asked about it more often."""


class Supply(Protocol):
    """Jobs, each handed out once. An executor that loses a job to a death tries it again by itself."""

    def take(self) -> ShardJob | None:
        """The next job; None where there is none now."""
        ...

    def settled(self, shard: int, report: ShardReport | None = None) -> None:
        """A job was reported, or, without a report, failed: nobody here works at its shard any more."""
        ...

    @property
    def finished(self) -> bool:
        """Whether there will be no more."""
        ...


class Listed:
    """Jobs that are known from the beginning, of one coordinator."""

    def __init__(self, jobs: Iterable[ShardJob]) -> None:
        self._waiting = deque(jobs)

    def take(self) -> ShardJob | None:
        """See ``Supply``."""
        return self._waiting.popleft() if self._waiting else None

    def settled(self, shard: int, report: ShardReport | None = None) -> None:
        """Nothing to give back."""

    @property
    def finished(self) -> bool:
        """See ``Supply``."""
        return not self._waiting


class LeasedSupply:
    """Jobs that several coordinators share: claimed about as many at a time as are worked in a second, and finished when the whole run is.

    ``committed``: the newest record of a shard in the run's store, which is asked where another may have committed it before it ended.
    """

    def __init__(
        self,
        leases: Leases,
        committed: Callable[[int], ShardRecord | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._leases, self._committed, self._clock = leases, committed, clock
        self._waiting: deque[ShardJob] = deque()
        self._working: dict[int, ShardJob] = {}
        self._settled: list[Settled] = []
        self._open, self._idle = True, False
        self._count, self._asked = 1, -ASK_AGAIN_S

    def take(self) -> ShardJob | None:
        """See ``Supply``. Raises FencedError where this coordinator has outlived its lease."""
        self._leases.check()
        if not self._waiting:
            self._claim()
        if not self._waiting:
            return None
        job = self._waiting.popleft()
        self._working[job.shard] = job
        return job

    def settled(self, shard: int, report: ShardReport | None = None) -> None:
        """See ``Supply``. It is recorded with the next claim: the done-mark stands already."""
        job = self._working.pop(shard, None)
        if job is not None and report is not None:
            done = Settled(shard, job.generation, report.rows, report.reasons, report.bytes_fetched)
            self._settled.append(done)
        elif job is not None:
            self._settled.append(Settled(shard, job.generation))

    @property
    def finished(self) -> bool:
        """See ``Supply``. While others work, one of them may end, and leave its shards to us."""
        return not self._open and not self._waiting and not self._settled

    def _claim(self) -> None:
        now = self._clock()
        soon = now < self._asked + ASK_AGAIN_S
        if soon and self._idle and not self._settled:
            return
        self._count = min(CLAIMS_MAX, 2 * self._count) if soon else max(1, self._count // 2)
        claims, self._open = self._leases.claim(self._count, self._settled)
        self._asked, self._settled, self._idle = now, [], not claims
        if self._idle:
            self._count = 1
        self._waiting.extend(job_of(claim) for claim in claims if not self._was_committed(claim))

    def _was_committed(self, claim: Claim) -> bool:
        record = self._committed(claim.work.shard) if claim.taken_over else None
        if record is None or record.generation < claim.work.generation:
            return False
        self._settled.append(settled_of(record))
        return True


def leased(
    leases: Leases,
    run: RunDirectory,
    todo: Iterable[ShardJob],
    done: Iterable[ShardRecord],
) -> LeasedSupply:
    """Put what is left of a run, as its store has it, among what its coordinators share. The database may know less than the store, or more."""
    works = [Work(each.shard, each.generation, each.retry) for each in todo]
    doubtful = leases.plan(works, map(settled_of, done))
    committed = {work: run.latest_of(work.shard) for work in doubtful}  # by another, since we looked? Or is it gone?
    gone = [work for work, record in committed.items() if record is None or record.generation < work.generation]
    if gone:
        leases.reopen(gone)
    return LeasedSupply(leases, run.latest_of)


def job_of(claim: Claim) -> ShardJob:
    """What a worker is told of a shard that was claimed."""
    return ShardJob(claim.work.shard, claim.work.generation, claim.work.retry, fence=claim.token)


def settled_of(record: ShardRecord) -> Settled:
    """What is recorded of a committed shard."""
    return Settled(record.shard, record.generation, record.rows, record.reasons, record.bytes_fetched)
