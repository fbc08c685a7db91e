"""One band of many codes, sorted by its value, and the join of two such tables: the heart of the search, in NumPy and by the native kernel.

Both give the same pairs. A pair within the radius is reported at the first band that is a start (see ``chain``), so over all bands each is reported once.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from custodes import native
from custodes.index.arrays import Found, Int64s, Uint8s, expand, in_parts
from custodes.index.chain import BANDS, MASKS, MASKS_END, Chain

__all__ = [
    "CODE_BYTES",
    "SPARE",
    "VALUES",
    "Band",
    "Hits",
    "Uint32s",
    "compare",
    "distances",
    "join",
    "sort_band",
]

Uint16s = npt.NDArray[np.uint16]
Uint32s = npt.NDArray[np.uint32]
Hits = Found
"""Pairs, uint32[n, 3]: query row, entry, distance in bits."""

CODE_BYTES: Final = 32
VALUES: Final = 1 << 16
SPARE: Final = 32  # numbers after the last that a vector load may touch

_PROBES_AT_ONCE: Final = 1 << 17
_PAIRS_AT_ONCE: Final = 1 << 22


class Band(NamedTuple):
    """Codes by the value of one band: value v has ``entries[starts[v]:starts[v + 1]]``. ``near`` is the band after it in each, ``far`` the one after that;
    ``SPARE`` words follow both.
    """

    starts: Uint32s
    near: Uint16s
    far: Uint16s
    entries: Uint32s


def sort_band(codes: Uint8s, band: int, into: Band | None = None) -> Band:
    """Sort codes uint8[n, 32] by one band."""
    count = len(codes)
    if into is None:
        near, far = np.zeros((2, count + SPARE), np.uint16)
        into = Band(np.empty(VALUES + 1, np.uint32), near, far, np.empty(count, np.uint32))
    if kernels := native.kernels():
        kernels.call("band", codes, count, band, *into)
        return into
    values = codes.view(np.uint16)
    into.entries[:] = np.argsort(values[:, band], kind="stable")
    into.starts[0] = 0
    np.cumsum(np.bincount(values[:, band], minlength=VALUES), out=into.starts[1:])
    into.near[:count] = values[into.entries, (band + 1) % BANDS]
    into.far[:count] = values[into.entries, (band + 2) % BANDS]
    return into


def join(codes: Uint8s, table: Band, queries: Uint8s, band: int, chain: Chain) -> Hits:
    """The pairs that are reported at this band; ``table`` is that of ``codes``."""
    if kernels := native.kernels():
        pointers = native.table(codes, *table)
        return kernels.hits("join", pointers, native_chain(chain), band, queries, len(queries))
    step = max(1, _PROBES_AT_ONCE // MASKS_END[chain.one[band]])
    return in_parts(lambda block: _join_block(codes, table, block, (band, chain)), queries, step)


def compare(codes: Uint8s, queries: Uint8s, radius: int) -> Hits:
    """All pairs within the radius by comparing every query with every code: the oracle."""
    words, theirs = codes.view(np.uint64), queries.view(np.uint64)
    step = max(1, _PAIRS_AT_ONCE // max(len(codes), 1))
    found = [native.NO_HITS]
    for start in range(0, len(theirs) if len(codes) else 0, step):
        apart = distances(theirs[start : start + step, None, :], words[None, :, :])
        rows, entries = np.nonzero(apart <= radius)
        found.append(np.column_stack((rows + start, entries, apart[rows, entries])).astype(np.uint32))
    return np.concatenate(found)


def distances(left: npt.NDArray[np.uint64], right: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint16]:
    """Hamming distances along the last axis. In 16 bits: 256 in eight is 0, and an opposite would look equal."""
    total: npt.NDArray[np.uint16] = np.bitwise_count(left[..., 0] ^ right[..., 0]).astype(np.uint16)
    for word in range(1, 4):
        total += np.bitwise_count(left[..., word] ^ right[..., word])
    return total


@lru_cache(maxsize=128)
def native_chain(chain: Chain) -> native.Chain:
    """The chain as the kernels take it."""
    return native.Chain(chain.radius, tuple(int(each) for each in chain.one))


def _join_block(codes: Uint8s, table: Band, queries: Uint8s, where: tuple[int, Chain]) -> Hits:
    band, chain = where
    found = [native.NO_HITS]
    for rows, entries in _candidates(table, queries.view(np.uint16), band, chain):
        if not len(rows):
            continue
        apart = distances(queries.view(np.uint64)[rows], codes.view(np.uint64)[entries])
        pairs = np.column_stack((rows, entries, apart))[apart <= chain.radius]
        differ = queries.view(np.uint16)[pairs[:, 0]] ^ codes.view(np.uint16)[pairs[:, 1]]
        starts = chain.starts(np.bitwise_count(differ))
        found.append(pairs[starts[:, band] & ~starts[:, :band].any(axis=1)].astype(np.uint32))
    return np.concatenate(found)


def _candidates(
    table: Band, queries: npt.NDArray[np.uint16], band: int, chain: Chain
) -> Iterator[tuple[Int64s, Int64s]]:
    """Pairs (query row, entry) at which this band is a start as far as it and the two after it tell."""
    near, far = queries[:, (band + 1) % BANDS], queries[:, (band + 2) % BANDS]
    probes = MASKS[: MASKS_END[chain.one[band]]]
    values = (queries[:, band, None] ^ probes).ravel()
    asked = np.repeat(np.arange(len(queries)), len(probes))
    ones = np.tile(np.bitwise_count(probes), len(queries))
    for part, at in expand(table.starts[values], table.starts[values.astype(np.int64) + 1]):
        second = ones[part] + np.bitwise_count(table.near[at] ^ near[asked[part]])
        may = np.flatnonzero(second <= chain.two[band])
        rows, places = asked[part[may]], at[may]
        third = second[may] + np.bitwise_count(table.far[places] ^ far[rows])
        close = third <= chain.three[band]
        yield rows[close], table.entries[places[close]].astype(np.int64)
