"""The shard worker process: opens the keys itself, maps the lists, works jobs as they come, and ends with its parent.

Not a command: ``custodes.scan.pool`` starts it. The text of foreign exceptions never leaves it, because it may hold a URL.
"""

from __future__ import annotations

import hmac
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import msgspec

from custodes.carrier.client import Carrier, UnreadError
from custodes.carrier.protocol import Pulse
from custodes.channel import Frames, receive, send
from custodes.config import Site, load_site
from custodes.confine import die_with_parent, keep_secrets
from custodes.errors import CustodesError, SourceError
from custodes.ledger.leases import PostgresFence
from custodes.ledger.run import RunDirectory
from custodes.lists.sharing import Sharing
from custodes.lists.shelf import Shelf
from custodes.model import Reason
from custodes.net.courtesy import Grant
from custodes.scan.lists_along import lists_left
from custodes.scan.manners import Manners
from custodes.scan.pool import Failure, Hello, Report, Started, Tick, WorkerMessage
from custodes.scan.rematch import rematch_shards
from custodes.scan.run import plan_of
from custodes.scan.settings import PACE, ScanSettings
from custodes.scan.shard import ShardJob, ShardReport, ShardTools, process_shard
from custodes.scan.similar import laid_out, read_part
from custodes.scan.similar_runs import selection_of, with_suspects
from custodes.scan.suspects import process_suspects
from custodes.similar.search import laid_out as search_laid_out
from custodes.similar.search import make_part

__all__ = ["main"]

TICK_S = 0.5


class Mouth:
    """Whole messages to the coordinator, from any thread."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def say(self, message: WorkerMessage) -> None:
        """Send a message. A coordinator that is gone ends this process."""
        try:
            with self._lock:
                send(self._descriptor, message)
        except BrokenPipeError:
            os._exit(0)


class Ticker:
    """Counts settled items and tells the coordinator twice a second."""

    def __init__(self, mouth: Mouth) -> None:
        self._mouth = mouth
        self._lock = threading.Lock()
        self._reasons: dict[Reason, int] = {}
        self._next = 0.0
        self.carrier: Carrier | None = None

    def __call__(self, reason: Reason) -> None:
        with self._lock:
            self._reasons[reason] = self._reasons.get(reason, 0) + 1
            due = time.monotonic() >= self._next
        if due:
            self.flush()

    def flush(self) -> None:
        """Tell what is counted."""
        pulse = self.carrier.pulse if self.carrier else Pulse()
        with self._lock:
            reasons, self._reasons = self._reasons, {}
            self._next = time.monotonic() + TICK_S
        if reasons:
            self._mouth.say(Tick(reasons, pulse.in_flight, pulse.hosts_in_trouble))


class Worker:
    """What a worker holds between jobs."""

    def __init__(self, hello: Hello, ticker: Ticker, mouth: Mouth) -> None:
        site = load_site(hello.config)
        run = opened(hello.run, site)
        plan = plan_of(run.manifest)
        settings = settings_of(run, site)
        readable = tuple(file.path for file in plan.files) if plan.holds_images else ()
        self.manners = Manners(mouth.say, site.run_key().naming("courtesy"))
        ticker.carrier = Carrier(settings.carrier_start(readable, hello.workers, hello.model), self.manners)
        self._parent = RunDirectory.open(hello.parent, site.run_key()) if hello.parent else None
        self._chosen = selection_of(run) if settings.similar is not None else None
        self._ticker = ticker
        shelf = shelf_of(hello, site, run)
        self._tools = ShardTools(
            run=run,
            plan=plan,
            settings=settings,
            examiner=site.examiner_of(shelf, settings),
            carrier=ticker.carrier,
            recipients=site.recipients(),
            run_key=site.run_key(),
            progress=ticker,
        )
        self.in_swap = shelf.in_swap
        if hello.shelf:
            shelf.close()

    def taken(self, waiting: SimpleQueue[ShardJob]) -> list[ShardJob]:
        """A job; in a rematch, where one thread works, all that wait: they are judged together."""
        return [waiting.get() for _ in range(waiting.qsize() if self._rematches else 1)]

    @property
    def _rematches(self) -> bool:
        return self._parent is not None and self._tools.settings.similar is None

    def work(self, jobs: list[ShardJob]) -> Iterator[tuple[ShardJob, ShardReport | CustodesError]]:
        """What became of each job, as it does."""
        if self._parent is not None and self._rematches:
            yield from rematch_shards(jobs, self._tools, self._parent)
            return
        for job in jobs:
            report = self._report(job)
            self._ticker.flush()
            yield job, report

    def _report(self, job: ShardJob) -> ShardReport:
        if self._parent is None:
            return process_shard(job, self._tools)
        assert self._chosen is not None
        return process_suspects(with_suspects(job, self._chosen), self._tools, self._parent)


def opened(place: str, site: Site) -> RunDirectory:
    """The run; with a database, behind the fence that its coordinators' leases make."""
    run, database = RunDirectory.open(place, site.run_key()), site.database(connections=1)
    if database is None:
        return run
    return RunDirectory(run.store, run.manifest, site.run_key(), PostgresFence(database, run.manifest.run_id))


class PartReader:
    """Reads parts of vectors. It needs no list, and fetches nothing."""

    in_swap = False

    def __init__(self, hello: Hello) -> None:
        self._read = reader_of(hello)

    def taken(self, waiting: SimpleQueue[ShardJob]) -> list[ShardJob]:
        """A job: a part by its number."""
        return [waiting.get()]

    def work(self, jobs: list[ShardJob]) -> Iterator[tuple[ShardJob, ShardReport]]:
        """The number of vectors in each part."""
        for job in jobs:
            yield job, ShardReport(job.shard, job.generation, self._read(job.shard), {}, 0)


def reader_of(hello: Hello) -> Callable[[int], int]:
    """Reads a part by its number, and says how many vectors it has."""
    if hello.parts == "search":
        folder = Path(hello.run)
        search = search_laid_out(folder)
        return lambda number: make_part(search, folder, number)
    run = RunDirectory.open(hello.run, load_site(hello.config).run_key())
    laid = laid_out(run)
    return lambda number: read_part(run, laid, number)


def shelf_of(hello: Hello, site: Site, run: RunDirectory) -> Shelf:
    """The lists: what this process was born with of them, or, where nobody on this machine coordinates, what its workers share."""
    versions = {item.id: item.version for item in run.manifest.lists}
    if hello.shelf:
        return Shelf(versions, hello.shelf)
    name = hmac.digest(site.run_key().derive("shelf"), msgspec.msgpack.encode(sorted(versions.items())), "sha256")
    return Sharing(name, versions, lambda: site.shelf(run.manifest.lists, lists_left(run))).shelf()


def settings_of(run: RunDirectory, site: Site) -> ScanSettings:
    """The settings that the manifest holds, at the pace that is configured now."""
    settings = msgspec.convert(run.manifest.settings, ScanSettings)
    pace = {name: getattr(site.config.fetch, name) for name in PACE}
    return msgspec.structs.replace(settings, fetch=msgspec.structs.replace(settings.fetch, **pace))


def failure_of(error: Exception, shard: int) -> Failure:
    """An error as the coordinator may hear it. A source that cannot be read spoils its shard; anything else spoils the run."""
    if isinstance(error, CustodesError):
        fatal = not isinstance(error, SourceError | UnreadError)
        return Failure(type(error).__name__, str(error), error.hint or "", int(error.exit_code), fatal, shard)
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    places = " < ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames))
    return Failure(
        type(error).__name__,
        f"a bug of ours in shard {shard}: {type(error).__name__} at {places}",
        "please report this line",
        4,
        True,
        shard,
    )


def serve(mouth: Mouth) -> None:
    """Work jobs until the coordinator closes: each in a thread of its own, or, in a rematch, all that wait in one."""
    frames = Frames(Hello | ShardJob | Grant)
    pending: list[Any] = []
    hello = receive(0, frames, pending)
    if not isinstance(hello, Hello):
        return
    try:
        worker = PartReader(hello) if hello.parts else Worker(hello, Ticker(mouth), mouth)
    except Exception as error:  # worker loop: one of three places
        mouth.say(failure_of(error, -1))
        return
    mouth.say(Started(worker.in_swap))
    waiting: SimpleQueue[ShardJob] = SimpleQueue()
    with ThreadPoolExecutor(1 if hello.parent else hello.slots) as threads:
        while (message := receive(0, frames, pending)) is not None:
            if isinstance(message, Grant) and isinstance(worker, Worker):
                worker.manners.granted(message)
                continue
            waiting.put(message)
            threads.submit(work_some, worker, waiting, mouth)
        os._exit(0)  # the coordinator is gone: what is not committed is undone


def work_some(worker: Worker | PartReader, waiting: SimpleQueue[ShardJob], mouth: Mouth) -> None:
    """One job or several, and what became of each. What a job raises is told of the first of them, and ends the run if there are others."""
    jobs = worker.taken(waiting)
    try:
        for job, became in worker.work(jobs):
            mouth.say(Report(became) if isinstance(became, ShardReport) else failure_of(became, job.shard))
    except Exception as error:  # worker loop: one of three places
        failure = failure_of(error, jobs[0].shard)
        mouth.say(msgspec.structs.replace(failure, fatal=failure.fatal or len(jobs) > 1))


def main() -> None:
    """Entry point. Standard output carries frames, so anything that prints is turned to standard error."""
    die_with_parent(int(sys.argv[1]) if sys.argv[1:] else None)  # named, so that one which is gone by now is missed
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the coordinator's to hear, which ends its workers
    keep_secrets()
    mouth = Mouth(os.dup(1))
    os.dup2(2, 1)
    serve(mouth)


if __name__ == "__main__":
    main()
