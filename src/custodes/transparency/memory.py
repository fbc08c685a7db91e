"""What a verifier remembers of each log: the last checkpoint that it accepted. It never goes back, and never to another history.

Promises: ``advance`` accepts a checkpoint only if it is the last one, or goes on from it by a consistency proof; checked and kept under one
lock, durably, before it is told. Two notes that contradict each other are both kept: they prove what the log did. The first checkpoint is
taken on trust, so what it proves rests on witnesses. Whether a note counts is for ``notes``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final

from custodes.durable import exclusive, replace_file
from custodes.errors import InputError, StorageError
from custodes.transparency.merkle import Tree, verify_consistency
from custodes.transparency.notes import Checkpoint, Seen, Trust, parse_note
from custodes.transparency.reading import Reader, consistency

__all__ = ["ForkError", "Head", "Memory", "accept", "follow"]

_LAST: Final = "last"


class ForkError(InputError):
    """A log showed two histories. Both notes are kept."""


class Head:
    """The last checkpoint of one log, while it is held."""

    def __init__(self, folder: Path, origin: str) -> None:
        self._folder, self._origin = folder, origin

    def note(self) -> bytes | None:
        """The note as it was kept; None where none was. Raises StorageError where it cannot be read: lost is not none."""
        try:
            data = (self._folder / _LAST).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"cannot read what is remembered of a log: {error.strerror}") from error
        return data

    def tree(self) -> Tree | None:
        """The tree that it states."""
        if (data := self.note()) is None:
            return None
        try:
            checkpoint = Checkpoint.parse(parse_note(data).text)
        except InputError as error:
            raise StorageError(
                "what is remembered of a log is damaged", hint="restore it from a copy; never remove it"
            ) from error
        if checkpoint.origin != self._origin:
            raise StorageError(
                "what is remembered of a log is of another log", hint="restore it from a copy; never remove it"
            )
        return checkpoint.tree

    def keep(self, note: bytes) -> None:
        """From now on this is the last."""
        replace_file(self._folder / _LAST, note)

    def keep_fork(self, note: bytes) -> None:
        """Keep a note that contradicts the last, beside it."""
        replace_file(self._folder / f"fork-{sha256(note).hexdigest()}", note)


class Memory:
    """The last checkpoints of all logs, in a folder of the verifier's own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def held(self, origin: str) -> Iterator[Head]:
        """One log's, which nobody else changes meanwhile, in no process."""
        place = self._folder / sha256(origin.encode()).hexdigest()
        with exclusive(place):
            yield Head(place, origin)

    def last(self, origin: str) -> Tree | None:
        """The tree that was accepted last; None before the first."""
        with self.held(origin) as head:
            return head.tree()

    def meet(self, seen: Seen) -> Tree:
        """Compare a verified checkpoint with the last one, where nothing more of the log is at hand. Returns the last, which stays; the first is kept.

        Raises ForkError for another history of as many entries; one of fewer or more can be held against the log alone.
        """
        tree = seen.checkpoint.tree
        with self.held(seen.checkpoint.origin) as head:
            if (last := head.tree()) is None:
                head.keep(seen.note)
                return tree
            _require_one(head, last, seen)
        return last

    def advance(self, seen: Seen, proof: Sequence[bytes] = ()) -> Tree:
        """Accept a verified checkpoint, by the proof from the last one. Raises ForkError, or InputError where it goes back or is not proven."""
        tree = seen.checkpoint.tree
        with self.held(seen.checkpoint.origin) as head:
            last = head.tree()
            if last is not None and tree.size < last.size:
                raise InputError(
                    f"the log went back from {last.size} entries to {tree.size}",
                    hint="an old copy, or entries were taken away: ask who runs the log",
                )
            if last is not None:
                _require_one(head, last, seen)
            if last is not None and last.size:
                verify_consistency(last, tree, proof)
            head.keep(seen.note)
        return tree


def _require_one(head: Head, last: Tree, seen: Seen) -> None:
    tree = seen.checkpoint.tree
    if tree.size == last.size and tree.root != last.root:
        head.keep_fork(seen.note)
        raise ForkError(
            f"the log has two histories of {tree.size} entries", hint="both notes are kept: tell who relies on the log"
        )


async def follow(reader: Reader, trust: Trust, memory: Memory) -> Seen:
    """The log's checkpoint of now, verified and accepted. Raises InputError as ``accept`` does."""
    seen = trust.verify(await reader.checkpoint())
    await accept(reader, seen, memory)
    return seen


async def accept(reader: Reader, seen: Seen, memory: Memory) -> None:
    """Accept a verified checkpoint, by a proof made from the log's tiles. Raises InputError where they do not prove it."""
    tree, last = seen.checkpoint.tree, memory.last(seen.checkpoint.origin)
    proof: list[bytes] = []
    if last is not None and 0 < last.size < tree.size:
        try:
            proof = await reader.read(consistency(last, tree))
        except InputError as error:
            with memory.held(seen.checkpoint.origin) as head:
                head.keep_fork(seen.note)
            raise InputError(
                f"the log does not prove that its {tree.size} entries begin with the {last.size} seen before",
                hint="its files are damaged, or it has two histories; both notes are kept for whoever asks",
            ) from error
    memory.advance(seen, proof)
