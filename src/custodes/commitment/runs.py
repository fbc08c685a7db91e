"""From a run to the tree over all its rows, and back to single rows.

Promises that a run whose shards did not change commits to the same root each time, that a run that changed commits with other salts, and that a row is proven
from the bytes that were committed, or not at all. Of the tree one hash for each 256 rows is kept beside the run, locked under its key.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate
from typing import NamedTuple

import msgspec

from custodes.commitment.blocks import STRETCH_ROWS, Piece, Stretch, hashed, outcomes_in
from custodes.commitment.proofs import Answer, Ask, CardRows, Opening, RowProof, encode
from custodes.commitment.tree import (
    BLOCK_ROWS,
    HASH_BYTES,
    SALT_BYTES,
    entry_of,
    leaf_hashes,
    levels_of,
    path_of,
    read_outcome,
    salts_of,
)
from custodes.crypto.keys import RunKey
from custodes.errors import InputError, StorageError
from custodes.ledger.run import RunDirectory, ShardRecord, newest_of
from custodes.scan.run import plan_of

__all__ = ["Committed", "CommittedRows", "commit_rows", "committed_rows", "row_of_file"]

FOLDER = "commitments"


@dataclass(frozen=True)
class Committed:
    """What a card states of the tree."""

    rows: int
    root: bytes


class Shard(msgspec.Struct, frozen=True, array_like=True):
    """A shard as it was committed to: the number of its generation, and its rows."""

    generation: int
    rows: int


class Kept(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept of a tree. ``shards``: in the order of the plan; ``shards_sha256``: over their records; ``blocks``: a hash for each 256 rows."""

    shards: list[Shard]
    shards_sha256: bytes
    blocks: bytes


def commit_rows(run: RunDirectory, key: RunKey, records: Iterable[ShardRecord] | None = None) -> Committed:
    """Commit to the outcome of every row, or take what is kept of having done so. Raises InputError for a run that is not finished."""
    newest = newest_of(run.records() if records is None else records)
    planned = [shard.index for shard in plan_of(run.manifest).shards]
    if set(newest) != set(planned):
        raise InputError(
            f"{run.shown} is not finished: {len(newest)} of {len(planned)} shards", hint="start the scan again"
        )
    ordered = [newest[shard] for shard in planned]
    digests = (sha256(msgspec.json.encode(record, order="sorted")).digest() for record in ordered)
    named = sha256(b"".join(digests)).digest()
    name = f"{FOLDER}/{named.hex()[:16]}"
    if (data := run.kept(name)) is None:
        shards = [Shard(record.generation, record.rows) for record in ordered]
        rows = CommittedRows(run, key, Kept(shards=shards, shards_sha256=named, blocks=b""))
        run.keep(name, msgspec.msgpack.encode(msgspec.structs.replace(rows.kept, blocks=rows.hashed())))
        data = run.kept(name)
        assert data is not None
    return CommittedRows(run, key, msgspec.msgpack.decode(data, type=Kept)).committed


def committed_rows(run: RunDirectory, key: RunKey, root: bytes) -> CommittedRows:
    """The tree with this root, if this run ever committed to it: the shards of then are still there. Raises InputError."""
    for name in run.store.names(FOLDER):
        if (data := run.kept(f"{FOLDER}/{name}")) is not None:
            rows = CommittedRows(run, key, msgspec.msgpack.decode(data, type=Kept))
            if rows.committed.root == root:
                return rows
    raise InputError(
        f"{run.shown} has not committed to what this card commits to", hint="give the run that the card is of"
    )


def row_of_file(run: RunDirectory, rows: CommittedRows, row: int, file: str) -> int:
    """The number, over all files, of a row that is counted in one of them, named by the end of its path."""
    plan = plan_of(run.manifest)
    numbers = [at for at, each in enumerate(plan.files) if f"/{each.path}".endswith(f"/{file}")]
    if len(numbers) != 1:
        raise InputError(
            f"{len(numbers)} files of the run are called {file!r}", hint="give more of its path, as the scan read it"
        )
    first = rows.first_of([at for at, shard in enumerate(plan.shards) if shard.file == numbers[0]])
    if not 0 <= row < first[1]:
        raise InputError(f"{file!r} has {first[1]:,} rows", hint="rows are counted from 0")
    return first[0] + row


class CommittedRows:
    """A tree over the rows of a run, of which the lower levels are made again where they are needed."""

    def __init__(self, run: RunDirectory, key: RunKey, kept: Kept) -> None:
        self.kept = kept
        self._run = run
        # Of another state of the run no salt is used again: with it an opened row would tell of an unopened one.
        self._key = key.derive(f"row commitments/{run.manifest.run_id}/{kept.shards_sha256.hex()}")
        self._indexes = [shard.index for shard in plan_of(run.manifest).shards]
        self._ends = list(accumulate(shard.rows for shard in kept.shards))
        self._levels = levels_of(kept.blocks)

    @property
    def committed(self) -> Committed:
        """What a card states."""
        return Committed(self._ends[-1], self._levels[-1])

    def first_of(self, shards: list[int]) -> tuple[int, int]:
        """The first row, and the number of rows, of shards that follow one another."""
        first = self._ends[shards[0]] - self.kept.shards[shards[0]].rows
        return first, self._ends[shards[-1]] - first

    def hashed(self) -> bytes:
        """The hashes of all blocks, from the rows."""
        rows = self._ends[-1] if self._ends else 0
        if not rows:
            raise InputError(f"{self._run.shown} has no rows to commit to")
        return b"".join(hashed([self._stretch(first, STRETCH_ROWS) for first in range(0, rows, STRETCH_ROWS)]))

    def prove(self, card: CardRows, row: int) -> RowProof:
        """That this row was examined under this card. Raises StorageError where its shard is not what was committed to."""
        opened = self._open(row)
        return RowProof(
            card=card.card, row=row, entry=entry_of(opened.salt, opened.outcome).hex(), hashes=opened.hashes
        )

    def answer(self, ask: Ask) -> Answer:
        """Open the rows that were asked. Raises InputError for a challenge to another tree."""
        if (ask.rows, ask.root) != (self.committed.rows, self.committed.root.hex()):
            raise InputError("the challenge names another commitment")
        openings = tuple(self._opening(row) for row in ask.asked)
        return Answer(card=ask.card, ask=sha256(encode(ask)).hexdigest(), openings=openings)

    def _opening(self, row: int) -> Opening:
        opened = self._open(row)
        reason, digest = read_outcome(opened.outcome)
        return Opening(row=row, salt=opened.salt.hex(), reason=reason, digest=digest.hex(), hashes=opened.hashes)

    def _open(self, row: int) -> _Opened:
        """One row, from its block as the shard files have it now."""
        if not 0 <= row < self.committed.rows:
            raise InputError(f"there is no row {row:,} in {self.committed.rows:,}", hint="rows are counted from 0")
        block, at = divmod(row, BLOCK_ROWS)
        stretch = self._stretch(block * BLOCK_ROWS, BLOCK_ROWS)
        outcomes = outcomes_in(stretch)
        salts = salts_of(self._key, stretch.first, len(outcomes))
        levels = levels_of(leaf_hashes(salts, outcomes))
        if levels[-1] != self.kept.blocks[block * HASH_BYTES : (block + 1) * HASH_BYTES]:
            raise StorageError(
                f"rows of {self._run.shown} are not what was committed to", hint="restore its shards as they were"
            )
        hashes = tuple(each.hex() for each in path_of(levels, at) + path_of(self._levels, block))
        return _Opened(salts[at * SALT_BYTES : (at + 1) * SALT_BYTES], outcomes[at].tobytes(), hashes)

    def _stretch(self, first: int, rows: int) -> Stretch:
        """At most so many rows from row ``first`` on, as pieces of the shard files that hold them."""
        stop = min(first + rows, self._ends[-1])
        pieces, at = [], first
        while at < stop:
            number = bisect_right(self._ends, at)
            shard, end = self.kept.shards[number], self._ends[number]
            taken = min(stop, end) - at
            pieces.append(Piece(self._indexes[number], shard.generation, at - (end - shard.rows), taken))
            at += taken
        return Stretch(self._key, self._run.store.at(), first, pieces)


class _Opened(NamedTuple):
    """A row's salt and outcome, and the hashes beside its way to the root."""

    salt: bytes
    outcome: bytes
    hashes: tuple[str, ...]

    def __repr__(self) -> str:
        return "<opened row>"
