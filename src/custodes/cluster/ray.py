"""Shards worked on a Ray cluster: the executor that a scan is given instead of the local pool.

    coordinator ── orders, frames ──► driver ── Ray ──► seats ── frames ──► shard workers ──► carriers ──► decoders
    (keys)         (this module)      (no keys)         (no keys)           (keys, lists: opened there)

Promises that no image, link, key or entry of a list goes through Ray: only jobs (a shard's number) and reports (counts) do. The coordinator does not use Ray
itself; ``cluster.driver`` does. Who is given what is for ``cluster.crew``. Without an address a Ray of its own is started for the run and ended with it.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from custodes.channel import Frames, send
from custodes.cluster import Cluster
from custodes.cluster.crew import END_HINT, Crew
from custodes.cluster.wire import SEATS_MAX, FromDriver, Join
from custodes.scan.pool import Event, Failure, Hello
from custodes.scan.supply import Supply

__all__ = ["RayExecutor"]

DRIVER: Final = (sys.executable, "-P", "-m", "custodes.cluster.driver")
LOOK_AGAIN_S: Final = 0.2
END_S: Final = 20.0
"""So long a driver may take to end what it started."""

HOMELESS_S: Final = 30.0
HOMELESS: Final = f"""custodes: no node of the Ray cluster has had room for a worker for {HOMELESS_S:.0f} s; waiting for one
  hint: `ray status` tells which nodes there are. Interrupt to stop: the same command goes on where it stopped
"""
"""Said once for each such time. It is no error: a cluster may grow."""


class RayExecutor:
    """Works jobs on a cluster. ``hello`` names paths that exist on every node, and passes no lists: workers open them, once on each node (``lists.sharing``).

    ``hello.workers``: of a Ray that is started for this run.
    """

    def __init__(self, hello: Hello, cluster: Cluster) -> None:
        self._join = Join(cluster.address, hello.workers)
        most = cluster.workers or SEATS_MAX if cluster.address else hello.workers
        self._hello = msgspec.structs.replace(hello, workers=most)
        self.in_swap = False

    def run(self, supply: Supply) -> Iterator[Event]:
        """Work the jobs; see ``scan.pool.Executor``."""
        crew, told = Crew(self._hello, supply, elastic=bool(self._join.address)), False
        with running_driver(self._join) as driver:
            while not crew.finished:
                self.in_swap = crew.in_swap
                homeless = crew.homeless_s > HOMELESS_S
                if homeless and not told:
                    sys.stderr.write(HOMELESS)
                told = homeless
                for event in chain(driver, crew):
                    yield event
                    if isinstance(event, Failure) and event.fatal:
                        return


def chain(driver: Driver, crew: Crew) -> Iterator[Event]:
    """One round: what the driver says, and what it is told."""
    messages = driver.hear(LOOK_AGAIN_S)
    if messages is None:
        yield Failure(
            "WorldError", "the process that uses Ray has ended: its cluster may be lost", END_HINT, 3, fatal=True
        )
        return
    for message in messages:
        yield from crew.hear(message)
    for order in crew.orders():
        if isinstance(order, Event):
            yield order
        else:
            driver.tell(order)


class Driver:
    """The driver process, seen from outside."""

    def __init__(self, join: Join) -> None:
        # In a session of its own: Ctrl-C is for the coordinator to hear, not for all of Ray.
        self._process = subprocess.Popen(DRIVER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)  # noqa: S603
        self._frames = Frames(FromDriver)
        self.tell(join)

    def tell(self, message: Any) -> None:
        """Send a message. That the driver is gone is noticed on the other pipe."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            send(self._process.stdin.fileno(), message)

    def hear(self, seconds: float) -> list[Any] | None:
        """What it says, after so many seconds perhaps nothing; None when it has ended."""
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        if not select.select([pipe], [], [], seconds)[0]:
            return []
        data = os.read(pipe, 1 << 18)
        return self._frames.feed(data) if data else None

    def close(self) -> None:
        """Have it end everything that it started, and wait for that."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


@contextlib.contextmanager
def running_driver(join: Join) -> Iterator[Driver]:
    """A driver, for as long as it is needed."""
    driver = Driver(join)
    try:
        yield driver
    finally:
        driver.close()
