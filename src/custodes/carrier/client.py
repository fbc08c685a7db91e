"""The shard worker's side of a carrier: give it links, files or a shard, and get one answer for each.

A carrier that dies or falls silent is replaced and what it left unanswered is given to the next one in smaller and smaller groups, so that
one poisonous item ends as ``carrier_died`` alone and takes no neighbour with it.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from custodes.carrier.protocol import (
    Carried,
    Done,
    FetchLinks,
    Problem,
    Pulse,
    ReadFiles,
    ReadShard,
    Ready,
    Reply,
    Request,
    Start,
)
from custodes.channel import Frames, send
from custodes.errors import InternalError, JailError, SourceError
from custodes.model import Reason
from custodes.sources.base import Plan, ShardSpec

__all__ = ["Carrier"]

SILENCE_S_MAX: Final = 60.0
"""A carrier sends a pulse every second; after this long without one it is taken for dead."""

GROUPS: Final = (1 << 62, 64, 8, 1)
"""Sizes of the groups in which unanswered items are tried, one after the other death."""

REPLY_BYTES_MAX: Final = 1 << 20

ENVIRONMENT: Final = {
    # glibc hands every large buffer back to the kernel, which costs a quarter of the CPU of a scan; keep them.
    "MALLOC_TRIM_THRESHOLD_": "268435456",
    "MALLOC_MMAP_THRESHOLD_": "268435456",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}
PASSED_ON: Final = (
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "PYTHONPATH",
    "VIRTUAL_ENV",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HOME",
    "TMPDIR",
)
"""The carrier sees no other variable: credentials of the operator are none of its business, and no proxy setting may redirect it."""

CREDENTIALS: Final = ("AWS_", "GOOGLE_", "AZURE_", "FSSPEC_")
"""Passed on only to a carrier that reads a remote dataset."""


@dataclass(slots=True)
class _Batch:
    """What one request has brought so far."""

    done: bool = False


class Carrier:
    """A carrier process, started when first needed. Use as a context manager."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._process: subprocess.Popen[bytes] | None = None
        self._frames = Frames(Reply, REPLY_BYTES_MAX)
        self._pending: list[Any] = []
        self._writer: threading.Thread | None = None
        self.confinement = ""
        self.pulse = Pulse()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fetch(self, links: Sequence[tuple[int, str]]) -> Iterator[Carried]:
        """Fetch links; one answer for each key, in no particular order."""
        return self._each(list(links), FetchLinks, GROUPS)

    def read_files(self, files: Sequence[tuple[int, str]]) -> Iterator[Carried]:
        """Read local files; one answer for each key."""
        return self._each(list(files), ReadFiles, GROUPS)

    def read_shard(self, plan: Plan, shard: ShardSpec) -> Iterator[Carried]:
        """Read the images of a shard. Raises SourceError if it cannot be read, InternalError if the carrier dies of it."""
        batch = _Batch()
        yield from self._converse(ReadShard(plan, shard), batch)
        if not batch.done:
            raise InternalError(
                f"the process reading shard {shard.index} died",
                hint="run it again; if it stays, report the file's format to us",
            )

    def _each(self, items: list[tuple[int, str]], request: Any, sizes: Sequence[int]) -> Iterator[Carried]:
        for first in range(0, len(items), min(sizes[0], len(items)) or 1):
            group = items[first : first + sizes[0]]
            left = dict(group)
            batch = _Batch()
            for carried in self._converse(request(group), batch):
                if left.pop(carried.key, None) is not None:
                    yield carried
            if left and batch.done:
                raise InternalError(f"the carrier says that it is done but left {len(left)} items unanswered")
            if left:
                yield from self._retry(list(left.items()), request, sizes[1:])

    def _retry(self, items: list[tuple[int, str]], request: Any, sizes: Sequence[int]) -> Iterator[Carried]:
        if sizes:
            yield from self._each(items, request, sizes)
            return
        for key, _ in items:
            yield Carried(key=key, reason=Reason.CARRIER_DIED)

    def _converse(self, request: Request, batch: _Batch) -> Iterator[Carried]:
        """Send a request and give what it brings, until it is done or the carrier is dead."""
        process = self._alive()
        assert process.stdin is not None
        # A thread writes, because the carrier may answer before it has read everything.
        self._writer = threading.Thread(target=write_quietly, args=(process.stdin.fileno(), request), daemon=True)
        self._writer.start()
        try:
            yield from self._answers(process, batch)
        finally:
            # Whoever stops listening half-way must not hear old answers to the next request.
            if not batch.done:
                self.close()

    def _answers(self, process: subprocess.Popen[bytes], batch: _Batch) -> Iterator[Carried]:
        while (reply := self._reply(process)) is not None:
            if isinstance(reply, Carried):
                yield reply
            elif isinstance(reply, Pulse):
                self.pulse = reply
            elif isinstance(reply, Problem):
                raise SourceError(reply.message, hint=reply.hint or None)
            elif isinstance(reply, Done):
                batch.done = True
                return

    def _reply(self, process: subprocess.Popen[bytes]) -> Any | None:
        """The next reply; None when the carrier is dead or has been silent for too long."""
        assert process.stdout is not None
        while not self._pending:
            if not select.select([process.stdout], [], [], SILENCE_S_MAX)[0]:
                return None
            data = os.read(process.stdout.fileno(), 1 << 18)
            if not data:
                return None
            self._pending.extend(self._frames.feed(data))
        return self._pending.pop(0)

    def _alive(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = self._launch()
        return self._process

    def _launch(self) -> subprocess.Popen[bytes]:
        self._frames = Frames(Reply, REPLY_BYTES_MAX)
        self._pending = []
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "custodes.carrier.process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(remote=any("://" in path for path in self._start.readable)),
        )
        assert process.stdin is not None
        write_quietly(process.stdin.fileno(), self._start)
        reply = self._reply(process)
        if isinstance(reply, Ready):
            self.confinement = reply.confinement
            return process
        process.kill()
        process.wait()
        if isinstance(reply, Problem):
            raise JailError(reply.message, hint=reply.hint or None)
        raise JailError("the carrier process did not start", hint="run `custodes hash` on any picture to see why")

    def ready(self) -> str:
        """Start the carrier and say how its decoders are confined. Raises JailError if they cannot be."""
        self._alive()
        return self.confinement

    def close(self) -> None:
        """End the process; what it was doing is dropped."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        if self._writer is not None:
            self._writer.join()  # before its pipe is closed: the number of a closed descriptor may be given out again
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def write_quietly(descriptor: int, message: object) -> None:
    """Send a message; a dead reader is noticed on the other pipe."""
    with contextlib.suppress(OSError):
        send(descriptor, message)


def environment(*, remote: bool) -> dict[str, str]:
    """The variables that a carrier sees."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in PASSED_ON or (remote and name.startswith(CREDENTIALS))
    }
    return kept | ENVIRONMENT
