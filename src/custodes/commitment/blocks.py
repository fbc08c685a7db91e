"""Rows of shard files as the hashes of their blocks: the work of a commitment, by several processes where there is much of it.

Promises the hashes in order, and memory for one stretch of rows in each process. A process is told the key of the salts by a pipe, and gives back hashes alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

import msgspec
import numpy as np

from custodes.channel import Frames, receive, send
from custodes.commitment.tree import BLOCK_ROWS, Outcomes, block_hashes, leaf_hashes, outcomes_of, salts_of
from custodes.errors import InternalError, StorageError
from custodes.ledger.run import read_record, read_rows, shard_name
from custodes.ledger.store import store_at

__all__ = ["STRETCH_ROWS", "Piece", "Stretch", "hashed", "outcomes_in", "work"]

STRETCH_ROWS: Final = 512 * BLOCK_ROWS
AHEAD: Final = 2
"""Stretches that a process has in hand. Their answers, 16 KiB each, must fit into a pipe, so that nobody waits for who waits for him."""

ALONE_MAX: Final = 3
"""So many stretches are hashed sooner than another process starts."""

COLUMNS: Final = ("reason", "md5", "sha256")


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """Some rows of one shard, as it was in a generation: ``rows`` of them from ``start`` on."""

    shard: int
    generation: int
    start: int
    rows: int


class Stretch(msgspec.Struct, frozen=True, tag=True):
    """Rows that follow one another in the run that lies at ``run``, from its row ``first`` on, which begins a block."""

    key: bytes
    run: str
    first: int
    pieces: list[Piece]

    def __repr__(self) -> str:
        return "<Stretch>"


class Hashed(msgspec.Struct, frozen=True, tag=True):
    """The hashes of a stretch's blocks."""

    blocks: bytes


class Unread(msgspec.Struct, frozen=True, tag=True):
    """A shard file could not be read back."""

    message: str
    hint: str


def outcomes_in(stretch: Stretch) -> Outcomes:
    """The outcomes of a stretch's rows. Raises StorageError for a shard file that is damaged."""
    found, store = [], store_at(stretch.run)
    for piece in stretch.pieces:
        name = shard_name(piece.shard, piece.generation)
        record = read_record(store, name)
        if record is None:
            raise StorageError(f"{store.at(name)} is gone", hint="restore it, or delete it to redo the shard")
        table = read_rows(store, record, COLUMNS)
        found.append(outcomes_of(table.slice(piece.start, piece.rows)))
    return np.concatenate(found)


def blocks_of(stretch: Stretch) -> bytes:
    """The hashes of a stretch's blocks."""
    outcomes = outcomes_in(stretch)
    return block_hashes(leaf_hashes(salts_of(stretch.key, stretch.first, len(outcomes)), outcomes))


def hashed(stretches: Sequence[Stretch], processes: int = 0) -> Iterator[bytes]:
    """The hashes of the blocks of each stretch, in order. ``processes``: one for each processor unless told."""
    if len(stretches) <= ALONE_MAX:
        yield from (blocks_of(stretch) for stretch in stretches)
        return
    started = [_start() for _ in range(min(processes or len(os.sched_getaffinity(0)), len(stretches)))]
    try:
        queues = [_Queue(process, iter(stretches[at :: len(started)])) for at, process in enumerate(started)]
        for number in range(len(stretches)):
            yield queues[number % len(queues)].answer()
    finally:
        for process in started:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-c", "from custodes.commitment.blocks import work; work()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )


class _Queue:
    """What one process still has to hash."""

    def __init__(self, process: subprocess.Popen[bytes], left: Iterator[Stretch]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin, self._stdout = process.stdin.fileno(), process.stdout.fileno()
        self._left, self._frames = left, Frames(Hashed | Unread)
        self._pending: list[Hashed | Unread] = []
        self._send(AHEAD)

    def answer(self) -> bytes:
        """The next one, once it is there."""
        found = receive(self._stdout, self._frames, self._pending)
        if isinstance(found, Unread):
            raise StorageError(found.message, hint=found.hint or None)
        if found is None:
            raise InternalError("a process that hashes rows died")
        self._send(1)
        assert isinstance(found, Hashed)
        return found.blocks

    def _send(self, count: int) -> None:
        try:
            send(self._stdin, *islice(self._left, count))
        except BrokenPipeError:
            return  # it is dead, or has said why it cannot go on: the other pipe tells


def work() -> None:
    """A process that hashes stretches until its input ends."""
    frames, pending = Frames(Stretch), []  # type: ignore[var-annotated]
    while (stretch := receive(sys.stdin.fileno(), frames, pending)) is not None:
        try:
            answer: Hashed | Unread = Hashed(blocks_of(stretch))
        except StorageError as error:
            answer = Unread(str(error), error.hint or "")
        try:
            send(sys.stdout.fileno(), answer)
        except BrokenPipeError:
            return  # nobody waits for it any more
