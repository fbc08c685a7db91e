"""Which listed codes equal a query. Built for misses in bulk: nearly all queries match nothing.

How codes are found is in ``buckets``, how entries come and go in ``growing``. What an entry means, and that an empty list is refused, is for the caller.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, cast

import numpy as np

from custodes.index.arrays import NONE, Int64s, Uint8s, checked_codes, expand
from custodes.index.buckets import SIZE_BYTES_MAX, Buckets, Runs, Uint32s, Uint64s
from custodes.index.file import read_index, unsound, write_index
from custodes.index.growing import Growing, Part

__all__ = ["ExactIndex", "ExactMatches"]

_KIND: Final = "exact"


class ExactMatches(NamedTuple):
    """Pairs of equal codes, by query row, then id."""

    rows: Int64s
    ids: Int64s


class ExactIndex:
    """Codes of one length, 8 to 64 bytes, with ids, found by equality. Several entries may share an id or a code; all of them are found.

    An entry takes its code and 6 bytes, and 8 for its id unless ids count up. Searches may run in several threads at once; ``add``, ``withdraw`` and
    ``fold`` must not run beside them.
    """

    def __init__(self, size_bytes: int) -> None:
        if size_bytes > SIZE_BYTES_MAX:
            raise ValueError(f"codes have at most {SIZE_BYTES_MAX} bytes, got {size_bytes}")
        self._size_bytes = size_bytes
        self._entries: Growing[Buckets] = Growing(Buckets.build, size_bytes)

    @classmethod
    def build(cls, codes: Uint8s, ids: Int64s | None = None) -> ExactIndex:
        """Index uint8[n, k], k from 8 to 64. Without ``ids`` an entry's id is its row. Raises ValueError for arrays of another form."""
        index = cls(checked_codes(codes).shape[1])
        index.add(codes, ids)
        return index

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays held."""
        return self._entries.nbytes

    def add(self, codes: Uint8s, ids: Int64s | None = None) -> None:
        """Add entries, uint8[n, k]. Without ``ids`` theirs count on from the highest."""
        self._entries.add(self._fitting(codes, "codes"), ids)

    def withdraw(self, ids: Int64s) -> int:
        """Take out every entry with one of these ids; how many entries that were."""
        return self._entries.withdraw(np.asarray(ids, dtype=np.int64))

    def fold(self) -> None:
        """Make one piece of what was built and added, without what was withdrawn: the quickest form for searches."""
        self._entries.fold()

    def search(self, queries: Uint8s, *, threads: int = 1) -> ExactMatches:
        """All pairs (query row, id) whose codes are equal, for queries uint8[m, k]."""
        if threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        queries = self._fitting(queries, "queries")
        found = [(NONE, NONE)]
        for part in self._entries:
            found += _pairs(part, part.segment.search(queries, threads))
        return _sorted(np.concatenate([rows for rows, _ in found]), np.concatenate([ids for _, ids in found]))

    def save(self, target: Path | BinaryIO) -> None:
        """Write the index, folded, as docs/formats/index-file.md says: to a path, replaced whole, or into an open file.

        Raises StorageError where the disk refuses.
        """
        self.fold()
        segment, ids = Buckets.build(np.empty((0, self._size_bytes), np.uint8)), NONE
        for part in self._entries:
            segment, ids = part.segment, part.stored_ids()
        write_index(
            target,
            _KIND,
            {"codes": segment.sorted_codes, "heads": segment.heads, "order": segment.order, "ids": ids},
        )

    @classmethod
    def load(cls, source: Path | BinaryIO, *, mapped: bool = True) -> ExactIndex:
        """Read an index: mapped from its file, or, with ``mapped=False`` or from an open file, into anonymous memory.

        Raises InputError where the file is cut, damaged or not one of these.
        """
        arrays = read_index(source, _KIND, mapped=mapped)
        if not arrays.keys() >= {"codes", "heads", "order", "ids"}:
            raise unsound()
        segment = Buckets(cast(Uint64s, arrays["heads"]), cast(Uint32s, arrays["order"]), cast(Uint8s, arrays["codes"]))
        if not segment.is_sound():
            raise unsound()
        index = cls(segment.sorted_codes.shape[1])
        index._entries.put_stored(segment, cast(Int64s, arrays["ids"]))
        return index

    def _fitting(self, codes: Uint8s, name: str) -> Uint8s:
        codes = checked_codes(codes)
        if codes.shape[1] != self._size_bytes:
            raise ValueError(f"{name} have {codes.shape[1]} bytes, the index has {self._size_bytes}")
        return codes


def _pairs(part: Part[Buckets], runs: Runs) -> list[tuple[Int64s, Int64s]]:
    """Runs as pairs of row and id, without what is withdrawn."""
    first = runs[:, 1].astype(np.int64)
    pairs = []
    for numbers, places in expand(first, first + runs[:, 2]):
        entries = part.segment.order[places]
        held = part.held(entries)
        pairs.append((runs[numbers[held], 0].astype(np.int64), part.ids_of(entries[held])))
    return pairs


def _sorted(rows: Int64s, ids: Int64s) -> ExactMatches:
    """By row, then id; one segment with rising ids gives them so already."""
    if not ((rows[1:] > rows[:-1]) | ((rows[1:] == rows[:-1]) & (ids[1:] >= ids[:-1]))).all():
        order = np.lexsort((ids, rows))
        rows, ids = rows[order], ids[order]
    return ExactMatches(rows, ids)
