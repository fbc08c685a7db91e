"""256-bit codes found within a Hamming radius, by multi-index hashing with chains (see ``chain``). Complete for every radius up to 64 bits.

Source: Norouzi, Punjani, Fleet, Fast Exact Search in Hamming Space with Multi-Index Hashing, 2014; Qin, Xiao, Pigeonring, VLDB 2018.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, cast

import numpy as np

from custodes.index.arrays import NONE, Int64s, Uint8s, checked_codes
from custodes.index.bands import CODE_BYTES, SPARE, VALUES, Hits, compare
from custodes.index.chain import BANDS, HAMMING_RADIUS_MAX, chain_of
from custodes.index.file import Array, read_index, unsound, write_index
from custodes.index.growing import Growing, Part
from custodes.index.segment import Segment, Tables

__all__ = ["HAMMING_RADIUS_MAX", "HammingIndex", "HammingMatches"]

_KIND: Final = "hamming256"


class HammingMatches(NamedTuple):
    """Pairs of codes within the radius, by query row, then id, then distance; ``distances`` in bits, int64."""

    rows: Int64s
    ids: Int64s
    distances: Int64s


class HammingIndex:
    """Codes uint8[n, 32] with ids, searched by distance. Several entries may share an id or a code.

    Resident: at most 200 bytes an entry (160, and 8 for ids unless they count up), quick for one query and for many. Not resident (``resident=False``): 40
    and the ids, for large batches: each search sorts one band at a time. Below 4,096 entries nothing but the codes is kept.
    Searches may run in several threads at once; ``add``, ``withdraw`` and ``fold`` must not run beside them.
    """

    def __init__(self, *, resident: bool = True) -> None:
        self._resident = resident
        self._entries: Growing[Segment] = Growing(lambda codes: Segment(codes, resident=resident), CODE_BYTES)

    @classmethod
    def build(
        cls, codes: Uint8s, ids: Int64s | None = None, *, resident: bool = True, threads: int = 1
    ) -> HammingIndex:
        """Index uint8[n, 32]. Without ``ids`` an entry's id is its row. Raises ValueError for arrays of another form."""
        index = cls(resident=resident)
        index.add(codes, ids)
        for part in index._entries:
            part.segment.prepare(threads)
        return index

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays held."""
        return self._entries.nbytes

    def add(self, codes: Uint8s, ids: Int64s | None = None) -> None:
        """Add entries, uint8[n, 32]. Without ``ids`` theirs count on from the highest. What a search needs beyond them is made by the next one."""
        self._entries.add(codes, ids)

    def withdraw(self, ids: Int64s) -> int:
        """Take out every entry with one of these ids; how many entries that were."""
        return self._entries.withdraw(np.asarray(ids, dtype=np.int64))

    def fold(self) -> None:
        """Make one piece of what was built and added, without what was withdrawn: the quickest form for searches."""
        self._entries.fold()

    def search(self, queries: Uint8s, radius: int = 31, *, threads: int = 1) -> HammingMatches:
        """All pairs (query row, id, distance) with a distance of at most ``radius`` bits, for queries uint8[m, 32]."""
        chain = chain_of(radius)
        queries = checked_codes(queries, CODE_BYTES)
        if threads < 1:
            raise ValueError("threads must be at least 1")
        return self._matches([part.segment.search(queries, chain, threads) for part in self._entries])

    def search_brute(self, queries: Uint8s, radius: int = 31) -> HammingMatches:
        """The same answer by comparing every query with every code in NumPy: the oracle."""
        chain_of(radius)
        queries = checked_codes(queries, CODE_BYTES)
        return self._matches([compare(part.segment.codes, queries, radius) for part in self._entries])

    def save(self, target: Path | BinaryIO) -> None:
        """Write the index, folded, as docs/formats/index-file.md says: to a path, replaced whole, or into an open file.

        Raises StorageError where the disk refuses.
        """
        self.fold()
        arrays: dict[str, Array] = {"codes": np.empty((0, CODE_BYTES), np.uint8)}
        for part in self._entries:
            part.segment.prepare(threads=1)
            arrays = {"codes": part.segment.codes, "ids": part.stored_ids()}
            if part.segment.tables:
                arrays |= part.segment.tables._asdict()
        write_index(target, _KIND, arrays)

    @classmethod
    def load(cls, source: Path | BinaryIO, *, mapped: bool = True, resident: bool = True) -> HammingIndex:
        """Read an index: mapped from its file, or, with ``mapped=False`` or from an open file, into anonymous memory.

        Raises InputError where the file is cut, damaged or not one of these.
        """
        arrays = read_index(source, _KIND, mapped=mapped)
        index = cls(resident=resident)
        codes = cast(Uint8s, arrays["codes"])
        if len(codes):
            tables = Tables(*(cast(Any, arrays[name]) for name in Tables._fields)) if "starts" in arrays else None
            _judge(codes, tables)
            segment = Segment(codes, tables if resident else None, resident=resident)
            index._entries.put_stored(segment, cast(Int64s, arrays["ids"]))
        return index

    def _matches(self, found: list[Hits]) -> HammingMatches:
        pairs = [_named(part, hits) for part, hits in zip(self._entries, found, strict=True) if len(hits)]
        if not pairs:
            return _NO_MATCHES
        rows, ids, bits = pairs[0] if len(pairs) == 1 else map(np.concatenate, zip(*pairs, strict=True))
        if len(rows) < 2:
            return HammingMatches(rows, ids, bits)
        order = np.lexsort((bits, ids, rows))
        return HammingMatches(rows[order], ids[order], bits[order])


_NO_MATCHES: Final = HammingMatches(NONE, NONE, NONE)


def _named(part: Part[Segment], hits: Hits) -> tuple[Int64s, Int64s, Int64s]:
    """Rows, ids and distances of the hits of a part, without what is withdrawn."""
    kept = hits if part.gone is None else hits[part.held(hits[:, 1])]
    rows, entries, bits = kept.astype(np.int64).T
    return rows, part.ids_of(entries), bits


def _judge(codes: Uint8s, tables: Tables | None) -> None:
    """Refuse arrays that do not belong together: a kernel would follow them out of bounds."""
    count = len(codes)
    sound = codes.dtype == np.uint8 and codes.shape == (count, CODE_BYTES)
    if sound and tables is not None:
        wide, narrow = np.dtype(np.uint32), np.dtype(np.uint16)
        row = (BANDS * count + SPARE,)
        forms = [(wide, (BANDS, VALUES + 1)), (narrow, row), (narrow, row), (wide, (BANDS, count))]
        given: tuple[Any, ...] = tables
        sound = [(array.dtype, array.shape) for array in given] == forms
        sound = sound and bool((tables.starts[:, 0] == 0).all() and (tables.starts[:, -1] == count).all())
        sound = sound and bool((tables.starts[:, 1:] >= tables.starts[:, :-1]).all())
        sound = sound and int(tables.entries.max()) < count
    if not sound:
        raise unsound()
