"""The local pool with workers that do nothing: so many as asked, jobs in hand as they have slots, memory that does not grow, each job told once."""

from __future__ import annotations

import sys
import tracemalloc

import pytest

from custodes.scan.pool import Failure, Hello, LocalPool, Report
from custodes.scan.shard import ShardJob, ShardReport

DOES_NOTHING = """
import os, sys
from custodes.channel import Frames, receive, send
from custodes.confine import die_with_parent
from custodes.scan.pool import Hello, Report, Started
from custodes.scan.shard import ShardJob, ShardReport
die_with_parent(int(sys.argv[1]))
frames, pending = Frames(Hello | ShardJob), []
receive(0, frames, pending)
send(1, Started())
while (job := receive(0, frames, pending)) is not None:
    if job.shard in DEADLY:
        os._exit(9)
    send(1, Report(ShardReport(job.shard, 0, 1, {}, 0)))
"""


class Counting:
    """So many jobs, none of them kept; how many were in hand at once, and what became of each."""

    def __init__(self, count: int) -> None:
        self.count, self.taken, self.in_hand, self.most = count, 0, 0, 0
        self.told: list[bool] = []

    def take(self) -> ShardJob | None:
        if self.finished:
            return None
        self.taken += 1
        self.in_hand += 1
        self.most = max(self.most, self.in_hand)
        return ShardJob(self.taken - 1)

    def settled(self, shard: int, report: ShardReport | None = None) -> None:
        self.in_hand -= 1
        self.told.append(report is not None)

    @property
    def finished(self) -> bool:
        return self.taken == self.count


def pool(workers: int, slots: int, deadly: tuple[int, ...] = ()) -> LocalPool:
    script = f"DEADLY = {deadly!r}\n{DOES_NOTHING}"
    return LocalPool((sys.executable, "-c", script), Hello(config="", run="", workers=workers, slots=slots))


@pytest.mark.parametrize(("workers", "slots"), [(1, 1), (1, 4), (3, 2)])
def test_so_many_workers_and_so_many_jobs_in_hand(workers: int, slots: int) -> None:
    supply, made = Counting(60), pool(workers, slots)
    seen, started = [], set()
    for event in made.run(supply):
        started |= {worker.process.pid for worker in made._alive}
        assert isinstance(event, Report)
        seen.append(event.report.shard)
    assert sorted(seen) == list(range(60))
    assert (supply.most, len(started), supply.told) == (workers * slots, workers, [True] * 60)
    assert made._alive == []


def test_memory_does_not_grow_with_the_shards_that_are_done() -> None:
    supply, sizes = Counting(3000), []
    tracemalloc.start()
    try:
        for number, _ in enumerate(pool(2, 4).run(supply)):
            if number in (1000, 2900):
                sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert sizes[1] - sizes[0] < 100_000, sizes


def test_a_job_that_ends_its_workers_is_told_as_failed_and_the_others_as_done() -> None:
    supply = Counting(8)
    events = list(pool(2, 2, deadly=(3,)).run(supply))
    failed = [event for event in events if isinstance(event, Failure)]
    assert [failure.shard for failure in failed] == [3]
    assert sorted(event.report.shard for event in events if isinstance(event, Report)) == [0, 1, 2, 4, 5, 6, 7]
    assert (sorted(supply.told), supply.in_hand) == ([False] + [True] * 7, 0)
