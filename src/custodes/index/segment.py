"""Codes that no longer change, with what searching them quickly takes: how it is done is chosen here.

Few codes are compared with everything. Otherwise few queries walk through the tables of all bands one by one, and many are joined with them, band by
band. A segment that is not resident keeps no tables: it sorts one band at a time for each search.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from custodes import native
from custodes.index.arrays import Uint8s, in_parts, in_threads
from custodes.index.bands import (
    SPARE,
    VALUES,
    Band,
    Hits,
    Uint16s,
    Uint32s,
    compare,
    join,
    native_chain,
    sort_band,
)
from custodes.index.chain import BANDS, Chain

__all__ = ["TABLES_MIN", "Segment", "Tables"]

TABLES_MIN: Final = 4096
"""Codes from which on tables pay. Below it, comparing with everything is faster."""

_ENTRIES_MAX: Final = (1 << 32) - SPARE  # rows of entries have 32 bits
_QUERIES_AT_ONCE: Final = 1 << 20
# queries from which on joining beats probing, where there are as many codes as values of a band
_JOIN_MIN: Final = 1 << 13


class Tables(NamedTuple):
    """The tables of all bands: ``starts`` uint32[16, 65537], ``near`` and ``far`` uint16[16 n + SPARE], ``entries`` uint32[16, n]."""

    starts: Uint32s
    near: Uint16s
    far: Uint16s
    entries: Uint32s

    def band(self, band: int) -> Band:
        """The table of one band: views."""
        count = self.entries.shape[1]
        with_spare = slice(count * band, count * (band + 1) + SPARE)
        return Band(self.starts[band], self.near[with_spare], self.far[with_spare], self.entries[band])


class Segment:
    """Codes uint8[n, 32], searched within a radius. ``tables`` are made at the first search that wants them."""

    def __init__(self, codes: Uint8s, tables: Tables | None = None, *, resident: bool = True) -> None:
        if len(codes) > _ENTRIES_MAX:
            raise ValueError(f"a segment holds at most {_ENTRIES_MAX:,} codes")
        self.codes = codes
        self.resident = resident
        self.tables = tables
        self._columns: Uint32s | None = None
        self._native: native.Table | None = None

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays held."""
        held = (*self.tables, self.codes) if self.tables else (self.codes,)
        return sum(each.nbytes for each in held) + (0 if self._columns is None else self._columns.nbytes)

    def prepare(self, threads: int) -> None:
        """Make what the first search would make."""
        if len(self) < TABLES_MIN:
            if self._columns is None and native.kernels():
                self._columns = _columns(self.codes)
        elif self.resident and self.tables is None:
            self.tables = _sorted(self.codes, threads)

    def search(self, queries: Uint8s, chain: Chain, threads: int) -> Hits:
        """All pairs within the chain's radius, in no order."""
        if not len(self) or not len(queries):
            return native.NO_HITS
        self.prepare(threads)
        if len(self) < TABLES_MIN:
            return self._compared(queries, chain, threads)
        join_min = _JOIN_MIN * min(len(self), VALUES) // VALUES
        if self.tables and len(queries) < join_min and native.kernels():
            return self._probed(queries, chain, threads)
        return in_parts(lambda part: self._joined(part, chain, threads), queries, _QUERIES_AT_ONCE)

    def _compared(self, queries: Uint8s, chain: Chain, threads: int) -> Hits:
        kernels, columns = native.kernels(), self._columns
        if kernels is None or columns is None:
            return compare(self.codes, queries, chain.radius)

        def work(part: Uint8s) -> Hits:
            return kernels.hits("compare", columns, columns.shape[1], len(self), part, len(part), chain.radius)

        return in_parts(work, queries, -(-len(queries) // threads), threads)

    def _probed(self, queries: Uint8s, chain: Chain, threads: int) -> Hits:
        kernels, tables = native.kernels(), self.tables
        assert kernels is not None
        assert tables is not None
        if self._native is None:
            self._native = native.table(self.codes, *tables)
        table, limits = self._native, native_chain(chain)

        def work(part: Uint8s) -> Hits:
            return kernels.hits("probe", table, limits, part, len(part))

        return in_parts(work, queries, -(-len(queries) // threads), threads)

    def _joined(self, queries: Uint8s, chain: Chain, threads: int) -> Hits:
        if (tables := self.tables) is not None:
            bands = [(band,) for band in chain.bands()]
            work = lambda band: join(self.codes, tables.band(band), queries, band, chain)  # noqa: E731
            return np.concatenate(in_threads(work, bands, threads))
        return np.concatenate([self._passed(queries, band, chain, threads) for band in chain.bands()])

    def _passed(self, queries: Uint8s, band: int, chain: Chain, threads: int) -> Hits:
        """One band, its table made for the occasion: in slices, one a thread, so that together they are one table."""
        step = -(-len(self) // threads)
        slices = [(start,) for start in range(0, len(self), step)]

        def work(start: int) -> Hits:
            part = self.codes[start : start + step]
            hits = join(part, sort_band(part, band), queries, band, chain)
            hits[:, 1] += np.uint32(start)
            return hits

        return np.concatenate(in_threads(work, slices, threads))


def _sorted(codes: Uint8s, threads: int) -> Tables:
    count = len(codes)
    near, far = (np.empty(BANDS * count + SPARE, np.uint16) for _ in range(2))
    near[-SPARE:] = far[-SPARE:] = 0
    tables = Tables(np.empty((BANDS, VALUES + 1), np.uint32), near, far, np.empty((BANDS, count), np.uint32))
    in_threads(lambda band: sort_band(codes, band, tables.band(band)), [(band,) for band in range(BANDS)], threads)
    return tables


def _columns(codes: Uint8s) -> Uint32s:
    """The eight words of the codes as eight rows, with room for a vector load past the last."""
    columns = np.zeros((8, len(codes) + SPARE), np.uint32)
    columns[:, : len(codes)] = codes.view(np.uint32).T
    return columns
