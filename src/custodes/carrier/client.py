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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from queue import SimpleQueue
from time import monotonic
from typing import Any, Final, Protocol, Self

import msgspec

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
from custodes.errors import ExitCode, InputError, InternalError, JailError, SourceError, WorldError
from custodes.model import Reason
from custodes.net.courtesy import Ask, Grant, HostBudgets
from custodes.sources.base import Plan, ShardSpec

__all__ = ["Carrier", "Courtesy", "UnreadError"]

SILENCE_S_MAX: Final = 60.0
"""A carrier sends a pulse every second; after this long without one it is taken for dead."""

LOADING_S_MAX: Final = 600.0
"""So long a carrier may be silent while it loads a model."""

STARTS_MAX: Final = 3

READS_MAX: Final = 3
"""How often a shard of images is begun, when the carrier dies of it."""

GROUPS: Final = (1 << 62, 64, 8, 1)
"""Sizes of the groups in which unanswered items are tried, one after the other death."""

REPLY_BYTES_MAX: Final = 1 << 20

REQUEST_CHARS_MAX: Final = 8 << 20
"""Of all texts in a request together; in UTF-8 they take up to four times as many bytes, and a frame may have 64 MiB."""

ENVIRONMENT: Final = {
    # glibc hands every large buffer back to the kernel, which costs a quarter of the CPU of a scan; keep them.
    "MALLOC_TRIM_THRESHOLD_": "268435456",
    "MALLOC_MMAP_THRESHOLD_": "268435456",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    # The resolver's own first wait, 5 s, is as long as a connection may take: one lost datagram would be a lost link.
    "RES_OPTIONS": "timeout:2 attempts:2",
}
PASSED_ON: Final = (
    "PATH",
    "CUSTODES_NATIVE",
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

DEVICES: Final = ("CUDA_", "NVIDIA_", "LD_LIBRARY_PATH")
"""Passed on only to a carrier that runs a model on a GPU."""


class UnreadError(WorldError):
    """Nothing that reads a shard of images lives to the end of it. The shard is not done; others may well be."""


@dataclass(slots=True)
class _Batch:
    """One request: its number, what has come for it, and how it ended. ``None`` in the queue: the carrier is dead."""

    number: int
    replies: SimpleQueue[Carried | Done | Problem | None] = field(default_factory=SimpleQueue)
    done: bool = False


class Courtesy(Protocol):
    """Answers what carriers ask of hosts."""

    def ask(self, ask: Ask, answer: Callable[[Grant], None]) -> None:
        """Answer now or later, from any thread, or not at all."""
        ...


class Alone:
    """For carriers of one process, where nobody else fetches for the same run."""

    def __init__(self, per_host: int) -> None:
        self._budgets = HostBudgets(per_host)
        self._lock = threading.Lock()

    def ask(self, ask: Ask, answer: Callable[[Grant], None]) -> None:
        """See ``Courtesy``."""
        with self._lock:
            grant = self._budgets.ask("", ask, monotonic())
        answer(grant)


CARRIERS = count()
"""Each has a number of its own in this process."""


class Carrier:
    """A carrier process, started when first needed. Several threads may each have a request open. Use as a context manager."""

    def __init__(self, start: Start, courtesy: Courtesy | None = None) -> None:
        self._start = start
        self._courtesy = courtesy or Alone(start.fetch.per_host)
        self._post: SimpleQueue[tuple[subprocess.Popen[bytes], Grant] | None] = SimpleQueue()
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._postman: threading.Thread | None = None
        self._batches: dict[int, _Batch] = {}
        self._numbers = count()
        self.confinement = self.model_sha256 = ""
        self.pulse = Pulse()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ready(self) -> str:
        """Start the carrier and say how its decoders are confined. Raises JailError if they cannot be."""
        with self._lock:
            self._alive()
        return self.confinement

    def fetch(self, links: Sequence[tuple[int, str]]) -> Iterator[Carried]:
        """Fetch links; one answer for each key, in no particular order."""
        return self._each(list(links), FetchLinks, GROUPS)

    def read_files(self, files: Sequence[tuple[int, str]]) -> Iterator[Carried]:
        """Read local files; one answer for each key."""
        return self._each(list(files), ReadFiles, GROUPS)

    def read_shard(self, plan: Plan, shard: ShardSpec) -> Iterator[Carried]:
        """Read the images of a shard. Raises SourceError if it cannot be read, UnreadError if one carrier after the other dies of it."""
        answered: set[int] = set()
        for _ in range(READS_MAX):
            batch = _Batch(next(self._numbers))
            for carried in self._converse(ReadShard(batch.number, plan, shard), batch):
                if carried.key not in answered:
                    answered.add(carried.key)
                    yield carried
            if batch.done:
                return
        hint = "start the same command again to try it once more; if it stays, report the file's format to us"
        raise UnreadError(f"shard {shard.index} ended {READS_MAX} processes that read it", hint=hint)

    def _each(self, items: list[tuple[int, str]], request: Any, sizes: Sequence[int]) -> Iterator[Carried]:
        for group in grouped(items, sizes[0]):
            left = dict(group)
            batch = _Batch(next(self._numbers))
            for carried in self._converse(request(batch.number, group), batch):
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
        for item in items:
            yield self._alone(item, request)

    def _alone(self, item: tuple[int, str], request: Any) -> Carried:
        """The answer to one item in a carrier of its own: who dies there did not die of a neighbour in another batch."""
        batch = _Batch(0)
        with Carrier(self._start, self._courtesy) as own:
            answers = list(own._converse(request(batch.number, [item]), batch))
        return answers[0] if answers else Carried(batch=0, key=item[0], reason=Reason.CARRIER_DIED)

    def _converse(self, request: Request, batch: _Batch) -> Iterator[Carried]:
        """Send a request and give what it brings, until it is done or the carrier is dead."""
        with self._lock:
            process = self._alive()
            self._batches[batch.number] = batch
            assert process.stdin is not None
            # Its death is noticed on the other pipe, which the reader empties meanwhile.
            with contextlib.suppress(OSError):
                send(process.stdin.fileno(), request)
        try:
            while (reply := batch.replies.get()) is not None:
                if isinstance(reply, Carried):
                    yield reply
                elif isinstance(reply, Problem):
                    batch.done = True
                    raise SourceError(reply.message, hint=reply.hint or None)
                else:
                    batch.done = True
                    return
        finally:
            with self._lock:
                self._batches.pop(batch.number, None)
                if not batch.done:  # given up half-way: what it still does is nobody's business
                    self._end(process)

    # -- the process

    def _alive(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = self._launch()
        return self._process

    def _launch(self) -> subprocess.Popen[bytes]:
        """A carrier that stands. One that was killed before it said a word is followed by another; one that says why it cannot work is not."""
        for _ in range(STARTS_MAX):
            if (process := self._start_one()) is not None:
                return process
        raise JailError("the carrier process did not start", hint="see the messages above; is there memory left?")

    def _start_one(self) -> subprocess.Popen[bytes] | None:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "custodes.carrier.process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(self._start),
        )
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            send(process.stdin.fileno(), self._start)
        stream = replies(process, LOADING_S_MAX if self._start.model else SILENCE_S_MAX)
        reply = next(stream, None)
        if not isinstance(reply, Ready):
            reap(process)
            if isinstance(reply, Problem):
                kind = InputError if reply.exit_code == ExitCode.INPUT else JailError
                raise kind(reply.message, hint=reply.hint or None)
            return None
        self.confinement, self.model_sha256 = reply.confinement, reply.model_sha256
        self._reader = threading.Thread(target=self._listen, args=(process, stream), daemon=True)
        self._reader.start()
        if self._postman is None:
            self._postman = threading.Thread(target=self._deliver, daemon=True)
            self._postman.start()
        return process

    def _listen(self, process: subprocess.Popen[bytes], stream: Iterator[Any]) -> None:
        """Hand replies to the requests that they are for, until the carrier ends; then tell all that it has."""
        number = next(CARRIERS)
        try:
            for reply in stream:
                if isinstance(reply, Pulse):
                    self.pulse = reply
                elif isinstance(reply, Ask):
                    ask = msgspec.structs.replace(reply, carrier=number, over=False)
                    self._courtesy.ask(ask, lambda grant: self._post.put((process, grant)))
                elif isinstance(reply, Carried) and not self._fits(reply):
                    break  # it sent what it must not, as below
                elif (batch := self._batches.get(reply.batch)) is not None:
                    batch.replies.put(reply)
        except InternalError:
            pass  # it sent what it must not: it is not listened to any more
        process.kill()  # before the lock: whoever holds it may be writing to this process
        with self._lock:
            self._end(process)
            reap(process)
        self._courtesy.ask(Ask(number, 0, 1.0, over=True), lambda _: None)

    def _deliver(self) -> None:
        """Pass answers on, in a thread of its own: who reads what the carrier says must never wait until it listens."""
        while (item := self._post.get()) is not None:
            process, grant = item
            with self._lock, contextlib.suppress(OSError):
                if self._process is process and process.stdin is not None:
                    send(process.stdin.fileno(), grant)

    def _fits(self, carried: Carried) -> bool:
        """Whether a vector has as many numbers as the model gives."""
        model = self._start.model
        return not carried.vector or (model is not None and len(carried.vector) == model.vector_bytes)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """End a process, if it is still the one in use, and tell whoever waits for it."""
        if self._process is not process:
            return
        self._process = None
        process.kill()
        for batch in self._batches.values():
            batch.replies.put(None)

    def close(self) -> None:
        """End the process; what it was doing is dropped."""
        with self._lock:
            process, reader = self._process, self._reader
            if process is not None:
                self._end(process)
            postman, self._postman = self._postman, None
        if process is not None and reader is not None:
            reader.join()
        if postman is not None:
            self._post.put(None)
            postman.join()


def grouped(items: Sequence[tuple[int, str]], size: int) -> Iterator[list[tuple[int, str]]]:
    """Items in groups of a size, or of fewer where their texts would not fit into one frame."""
    group: list[tuple[int, str]] = []
    chars = 0
    for item in items:
        if group and (len(group) >= size or chars + len(item[1]) > REQUEST_CHARS_MAX):
            yield group
            group, chars = [], 0
        group.append(item)
        chars += len(item[1])
    if group:
        yield group


def replies(process: subprocess.Popen[bytes], first_s: float = SILENCE_S_MAX) -> Iterator[Any]:
    """What a carrier says, until it ends or has been silent for too long. ``first_s``: how long that is before its first word."""
    assert process.stdout is not None
    pipe = process.stdout.fileno()
    frames = Frames(Reply, REPLY_BYTES_MAX)
    patience_s = first_s
    while select.select([pipe], [], [], patience_s)[0] and (data := os.read(pipe, 1 << 18)):
        patience_s = SILENCE_S_MAX
        yield from frames.feed(data)


def reap(process: subprocess.Popen[bytes]) -> None:
    """Kill a process, wait for it, close its pipes."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def environment(start: Start) -> dict[str, str]:
    """The variables that a carrier sees."""
    more: tuple[str, ...] = CREDENTIALS if any("://" in path for path in start.readable) else ()
    if start.model and start.model.device == "cuda":
        more += DEVICES
    kept = {name: value for name, value in os.environ.items() if name in PASSED_ON or name.startswith(more)}
    return kept | ENVIRONMENT
