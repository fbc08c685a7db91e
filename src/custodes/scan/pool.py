"""Where shards are worked: the local pool of worker processes, and the events that any executor gives.

A worker that dies is replaced and its shard is tried again; a shard that has killed three workers is given up, aloud, and stays undone.
Workers end with their parent. Only jobs and reports cross; how a worker is started is the caller's business.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final, Literal, Protocol

import msgspec

from custodes.carrier.protocol import Model
from custodes.channel import Frames, send
from custodes.errors import WorldError
from custodes.model import Reason
from custodes.net.courtesy import Ask, Grant, HostBudgets
from custodes.scan.shard import ShardJob, ShardReport
from custodes.scan.supply import Supply

__all__ = ["Event", "Executor", "Failure", "Hello", "Inline", "LocalPool", "Report", "Started", "Tick", "WorkerMessage"]

DEATHS_MAX: Final = 3
LOOK_AGAIN_S: Final = 0.2
"""A supply that has nothing now is asked again after so long."""


class Hello(msgspec.Struct, frozen=True, tag=True):
    """First message to a worker process: where the configuration and the run lie, what it was born with of the lists (see ``lists.shelf``), and the model
    that its carrier runs.
    """

    config: str
    run: str
    workers: int
    slots: int = 1
    parent: str = ""
    parts: Literal["", "scan", "search"] = ""
    """Jobs are parts of vectors: to be read for a scan for similar photos that has not chosen yet, or for a search for neighbours (``run``: its folder)."""
    shelf: dict[str, int] = {}
    model: Model | None = None
    per_host: int = 8
    """Not for the worker: whoever starts workers keeps the run's ``HostBudgets``, and answers each ``Ask`` with a ``Grant``."""


class Started(msgspec.Struct, frozen=True, tag=True):
    """A worker is ready. ``in_swap``: lists that it shares with others of its machine may reach swap."""

    in_swap: bool = False


class Tick(msgspec.Struct, frozen=True, tag=True):
    """Items settled since the last tick (not committed yet), and the trouble of the worker's fetcher."""

    reasons: dict[Reason, int] = {}
    in_flight: int = 0
    hosts_in_trouble: int = 0
    node: str = ""


class Report(msgspec.Struct, frozen=True, tag=True):
    """A shard is committed. ``node``: on which machine, where there are several."""

    report: ShardReport
    node: str = ""


class Failure(msgspec.Struct, frozen=True, tag=True):
    """A shard, or the worker itself, could not go on. ``fatal``: no other shard would fare better."""

    kind: str
    message: str
    hint: str = ""
    exit_code: int = 4
    fatal: bool = False
    shard: int = -1


WorkerMessage = Started | Tick | Report | Failure | Ask
Event = Tick | Report | Failure


class Executor(Protocol):
    """Works jobs somewhere and says what became of each, exactly once, besides ticks."""

    def run(self, supply: Supply) -> Iterator[Event]:
        """Events until the supply is finished and every job reported or failed, or one failure is fatal."""
        ...


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    frames: Frames = field(default_factory=lambda: Frames(WorkerMessage))
    jobs: dict[int, ShardJob] = field(default_factory=dict)
    alone: bool = False

    def give(self, job: ShardJob, *, alone: bool) -> None:
        self.jobs[job.shard] = job
        self.alone = alone
        self.send(job)

    def send(self, message: ShardJob | Grant) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # its death is noticed on the other pipe
            send(self.process.stdin.fileno(), message)

    def settled(self, shard: int) -> bool:
        """Whether the shard was one of its jobs. It is not any more."""
        job = self.jobs.pop(shard, None)
        self.alone = self.alone and bool(self.jobs)
        return job is not None


class Again:
    """Jobs that are to be tried again. One that a worker died with goes alone, so that its neighbours are not blamed, and is given up with its third death."""

    def __init__(self) -> None:
        self._deaths: dict[int, int] = {}
        self._waiting: deque[ShardJob] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self) -> ShardJob | None:
        """The next of them."""
        return self._waiting.popleft() if self._waiting else None

    def put(self, jobs: Iterable[ShardJob]) -> None:
        """Try these again; they are not to blame."""
        self._waiting.extendleft(jobs)

    def alone(self, job: ShardJob) -> bool:
        """Whether a worker died with this job before."""
        return job.shard in self._deaths

    def died(self, jobs: Iterable[ShardJob], supply: Supply) -> Iterator[Failure]:
        """A worker died with these. Says which are given up."""
        for job in jobs:
            self._deaths[job.shard] = self._deaths.get(job.shard, 0) + 1
            if self._deaths[job.shard] < DEATHS_MAX:
                self._waiting.appendleft(job)
                continue
            supply.settled(job.shard)
            hint = "the machine may be out of memory: use fewer --workers; start the same command again to try the shard once more"
            yield Failure("WorldError", f"shard {job.shard} ended {DEATHS_MAX} workers", hint, 3, shard=job.shard)


class LocalPool:
    """Worker processes on this machine. ``argv`` and our process number start one; ``hello`` is the first message that it is sent."""

    def __init__(self, argv: Sequence[str], hello: Hello) -> None:
        self._argv = list(argv)
        self._hello = hello
        self._selector = selectors.DefaultSelector()
        self._alive: list[_Worker] = []
        self._again = Again()
        self._budgets = HostBudgets(hello.per_host)

    def run(self, supply: Supply) -> Iterator[Event]:
        """Work the jobs; see ``Executor``."""
        try:
            self._hand_out(supply)
            while self._again or not supply.finished or any(worker.jobs for worker in self._alive):
                for event in self._wait(supply):
                    yield event
                    if isinstance(event, Failure) and event.fatal:
                        return
                self._hand_out(supply)
        finally:
            self.close()

    def _wait(self, supply: Supply) -> Iterator[Event]:
        for key, _ in self._selector.select(None if supply.finished else LOOK_AGAIN_S):
            worker: _Worker = key.data
            data = os.read(key.fd, 1 << 18)
            if not data:
                yield from self._bury(worker, supply)
                continue
            for message in worker.frames.feed(data):
                if isinstance(message, Report):
                    if worker.settled(message.report.shard):
                        supply.settled(message.report.shard, message.report)
                elif isinstance(message, Failure) and worker.settled(message.shard):
                    supply.settled(message.shard)
                if isinstance(message, Ask):
                    worker.send(self._budgets.ask(worker.process.pid, message, monotonic()))
                elif not isinstance(message, Started):
                    yield message

    def _hand_out(self, supply: Supply) -> None:
        """Jobs to the workers that have fewest, until all slots are taken. Workers are started as there is something for them to do.

        A job that a worker died with before goes alone, so that its neighbours are not blamed for it.
        """
        while (free := self._free(alone=bool(self._again))) or len(self._alive) < self._hello.workers:
            job = self._again.take() or supply.take()
            if job is None:
                return
            if len(self._alive) < self._hello.workers and all(worker.jobs for worker in free):
                free.append(self._start())
            min(free, key=lambda worker: len(worker.jobs)).give(job, alone=self._again.alone(job))

    def _free(self, *, alone: bool) -> list[_Worker]:
        slots = 1 if alone else self._hello.slots
        return [worker for worker in self._alive if len(worker.jobs) < slots and not worker.alone]

    def _bury(self, worker: _Worker, supply: Supply) -> Iterator[Event]:
        self._stop(worker)
        if not worker.jobs:
            hint = "see the messages above; free memory and start again"
            yield Failure("WorldError", "a scan worker ended unasked", hint, 3, fatal=True)
            return
        yield from self._again.died(worker.jobs.values(), supply)

    def _start(self) -> _Worker:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter, constant arguments
            [*self._argv, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=tuple(self._hello.shelf.values()),
        )
        worker = _Worker(process)
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            send(process.stdin.fileno(), self._hello)
        except BrokenPipeError as error:
            raise WorldError("a scan worker could not be started", hint="see the messages above") from error
        self._alive.append(worker)
        self._selector.register(process.stdout, selectors.EVENT_READ, worker)
        return worker

    def _stop(self, worker: _Worker) -> None:
        assert worker.process.stdout is not None
        assert worker.process.stdin is not None
        self._alive.remove(worker)
        self._selector.unregister(worker.process.stdout)
        worker.process.kill()
        worker.process.wait()
        self._budgets.gone(worker.process.pid, monotonic())
        worker.process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            worker.process.stdin.close()

    def close(self) -> None:
        """End all workers. What they had not committed is undone."""
        for worker in list(self._alive):
            self._stop(worker)


class Inline:
    """Works jobs in this very process, one after the other: for tests, and for whoever embeds custodes in an engine of his own."""

    def __init__(self, work: Any) -> None:
        self._work = work

    def run(self, supply: Supply) -> Iterator[Event]:
        """Work the jobs; errors rise."""
        while (job := supply.take()) is not None:
            report = self._work(job)
            yield Report(report)
            supply.settled(job.shard, report)
