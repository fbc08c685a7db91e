"""Search: which listed codes equal a query, and which lie within a Hamming radius of it.

Answers are complete and in a fixed order; the brute-force search beside the fast one is the oracle for it, and both
are the oracle for native kernels. It is built for misses in bulk: nearly all queries match nothing. It knows codes and
numbers only; what an entry means, and that an empty list is refused, is for the caller.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["HAMMING_RADIUS_MAX", "ExactIndex", "ExactMatches", "HammingIndex", "HammingMatches"]

Int64s = npt.NDArray[np.int64]
Uint8s = npt.NDArray[np.uint8]
Uint64s = npt.NDArray[np.uint64]

HAMMING_RADIUS_MAX: Final = 64

_BLOCK_ROWS: Final = 1 << 16  # queries looked at together: their temporaries stay in the second-level cache
_FILTER_BITS_PER_CODE: Final = 64  # one miss in 64 passes the filter
_FILTER_LOG2_BITS: Final = (12, 28)  # 512 bytes to 32 MiB
_PAIRS_MAX: Final = 1 << 22  # candidate pairs held at once: bounds memory however the codes cluster
_MIX: Final = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93)

_CODE_BYTES: Final = 32
_BANDS: Final = 16
_MIH_ENTRIES_MIN: Final = 4096  # below this, comparing with everything is faster
_MIH_RADIUS_MAX: Final = 31  # beyond it a band would need 137 probes
_MIH_QUERY_ROWS: Final = 1 << 12
_NEAR: Final = np.array([0, *(1 << bit for bit in range(16))], dtype=np.uint16)


class ExactMatches(NamedTuple):
    """Pairs of equal codes, by query row, then id."""

    rows: Int64s
    ids: Int64s


class HammingMatches(NamedTuple):
    """Pairs of codes within the radius, by query row, then id; ``distances`` in bits, int64."""

    rows: Int64s
    ids: Int64s
    distances: Int64s


class ExactIndex:
    """Codes of one length, found by equality. Several ids may share a code; all of them are found."""

    def __init__(self, codes: Uint8s, ids: Int64s) -> None:
        order = np.argsort(keys := _mix(codes), kind="stable")
        self._keys = keys[order]
        self._codes = codes[order]
        self._ids = ids[order]
        low, high = _FILTER_LOG2_BITS
        log2_bits = min(max(len(codes) * _FILTER_BITS_PER_CODE, 1).bit_length(), high)
        self._shift = np.uint64(64 - max(log2_bits, low))
        self._filter = self._make_filter()

    @classmethod
    def build(cls, codes: Uint8s, ids: Int64s | None = None) -> ExactIndex:
        """Index uint8[n, k], k at least 8. Without ``ids`` an entry's id is its row."""
        return cls(_checked(codes), _ids(codes, ids))

    def __len__(self) -> int:
        return len(self._ids)

    def search(self, queries: Uint8s) -> ExactMatches:
        """All pairs (query row, id) whose codes are equal, for queries uint8[m, k]."""
        queries = _checked(queries)
        if queries.shape[1] != self._codes.shape[1]:
            raise ValueError(f"queries have {queries.shape[1]} bytes, the index has {self._codes.shape[1]}")
        starts = range(0, len(queries) if len(self) else 0, _BLOCK_ROWS)
        found = [self._search_block(queries, start) for start in starts]
        rows = np.concatenate([_NONE, *(rows for rows, _ in found)])
        ids = np.concatenate([_NONE, *(ids for _, ids in found)])
        order = np.lexsort((ids, rows))
        return ExactMatches(rows[order], ids[order])

    def _search_block(self, queries: Uint8s, start: int) -> tuple[Int64s, Int64s]:
        keys = _mix(queries[start : start + _BLOCK_ROWS])
        rows = np.flatnonzero(self._may_hold(keys))
        keys = keys[rows]
        left = np.searchsorted(self._keys, keys, side="left")
        # Survivors of the filter are mostly still misses: one look tells, and the second search is for the others.
        hit = self._keys[np.minimum(left, len(self) - 1)] == keys
        rows, keys, left = rows[hit] + start, keys[hit], left[hit]
        right = np.searchsorted(self._keys, keys, side="right")
        pairs = [self._equal(queries, rows[part], at) for part, at in _expand(left, right)]
        return _join(pairs)

    def _equal(self, queries: Uint8s, rows: Int64s, at: Int64s) -> tuple[Int64s, Int64s]:
        same = (queries[rows] == self._codes[at]).all(axis=1)
        return rows[same], self._ids[at[same]]

    def _make_filter(self) -> Uint8s:
        bits = (self._keys >> self._shift).astype(np.int64)
        table = np.zeros(1 << (61 - int(self._shift)), dtype=np.uint8)
        np.bitwise_or.at(table, bits >> 3, np.left_shift(np.uint8(1), (bits & 7).astype(np.uint8)))
        return table

    def _may_hold(self, keys: Uint64s) -> npt.NDArray[np.bool_]:
        bits = (keys >> self._shift).view(np.int64)
        return ((self._filter.take(bits >> 3) >> (bits & 7).astype(np.uint8)) & np.uint8(1)).view(np.bool_)


class HammingIndex:
    """256-bit codes, found within a Hamming radius; complete for every radius up to :data:`HAMMING_RADIUS_MAX`.

    Small sets and wide radii are compared with everything. Otherwise multi-index hashing: of 16 bands of 16 bits, some
    band of a code within radius r differs in at most r // 16 bits. The bands stand in a ring, and the same argument on
    prefixes (pigeonring, Qin & Xiao, VLDB 2018) gives a band i such that every l bands from i differ in at most l*r //
    16 bits together. The 32 bits after a band are stored beside it, so most candidates die without a look at their
    code.
    """

    def __init__(self, codes: Uint8s, ids: Int64s) -> None:
        self._ids = ids
        self._words = codes.view(np.uint64)
        self._bands = _band_tables(codes) if len(codes) >= _MIH_ENTRIES_MIN else []

    @classmethod
    def build(cls, codes: Uint8s, ids: Int64s | None = None) -> HammingIndex:
        """Index uint8[n, 32]. Without ``ids`` an entry's id is its row.

        About 170 bytes an entry above 4,096 entries.
        """
        if codes.ndim != 2 or codes.shape[1] != _CODE_BYTES:
            raise ValueError(f"codes must be uint8[n, {_CODE_BYTES}]")
        return cls(_checked(codes), _ids(codes, ids))

    def __len__(self) -> int:
        return len(self._ids)

    def search(self, queries: Uint8s, radius: int) -> HammingMatches:
        """All pairs (query row, id, distance) with distance at most ``radius`` bits, for queries uint8[m, 32]."""
        words = _hamming_queries(queries, radius)
        if not self._bands or radius > _MIH_RADIUS_MAX:
            return self.search_brute(queries, radius)
        return self._sorted(
            [self._search_rows(words, start, radius) for start in range(0, len(words), _MIH_QUERY_ROWS)]
        )

    def search_brute(self, queries: Uint8s, radius: int) -> HammingMatches:
        """The same answer by comparing every query with every code: the oracle."""
        words = _hamming_queries(queries, radius)
        step = max(1, _PAIRS_MAX // max(len(self), 1))
        found = []
        for start in range(0, len(words) if len(self) else 0, step):
            distances = _distances(words[start : start + step, None, :], self._words[None, :, :])
            rows, entries = np.nonzero(distances <= radius)
            found.append((rows + start, entries, distances[rows, entries].astype(np.int64)))
        return self._sorted(found)

    def _search_rows(self, words: Uint64s, start: int, radius: int) -> tuple[Int64s, Int64s, Int64s]:
        block = words[start : start + _MIH_QUERY_ROWS]
        bands = block.view(np.uint16)
        pairs = [pair for band in range(_BANDS) for pair in self._candidates(bands, band, radius)]
        rows, entries = _distinct(*_join(pairs), len(self))
        distances = _distances(block[rows], self._words[entries]).astype(np.int64)
        near = distances <= radius
        return rows[near] + start, entries[near], distances[near]

    def _candidates(self, bands: npt.NDArray[np.uint16], band: int, radius: int) -> Iterator[tuple[Int64s, Int64s]]:
        """Pairs (query row, entry) that begin a chain at this band."""
        table = self._bands[band]
        after = _following(bands, band)
        probes = _NEAR if radius >= _BANDS else _NEAR[:1]
        values = (bands[:, band, None] ^ probes).ravel()
        for part, at in _expand(table.starts[values], table.starts[values.astype(np.int64) + 1]):
            rows = part // len(probes)
            first = (part % len(probes) != 0).astype(np.uint8)  # probe 0 differs in no bit, the others in one
            differ = table.after[at] ^ after[rows]
            second = first + np.bitwise_count(differ & np.uint32(0xFFFF))
            third = first + np.bitwise_count(differ)
            chain = (second <= 2 * radius // _BANDS) & (third <= 3 * radius // _BANDS)
            yield rows[chain], table.entries[at[chain]].astype(np.int64)

    def _sorted(self, found: list[tuple[Int64s, Int64s, Int64s]]) -> HammingMatches:
        columns = list(zip(*found, strict=True)) or [(_NONE,)] * 3
        rows, entries, distances = (np.concatenate([_NONE, *column]) for column in columns)
        ids = self._ids[entries]
        order = np.lexsort((distances, ids, rows))
        return HammingMatches(rows[order], ids[order], distances[order])


class _Band(NamedTuple):
    """Entries by the value of one band: v has ``entries[starts[v]:starts[v + 1]]``. ``after`` is their next 32 bits."""

    starts: Int64s
    entries: npt.NDArray[np.uint32]
    after: npt.NDArray[np.uint32]


_NONE: Final[Int64s] = np.empty(0, dtype=np.int64)


def _checked(codes: Uint8s) -> Uint8s:
    if codes.ndim != 2 or codes.dtype != np.uint8 or codes.shape[1] < 8:
        raise ValueError("codes must be uint8[n, k] with k at least 8")
    return np.ascontiguousarray(codes)


def _ids(codes: Uint8s, ids: Int64s | None) -> Int64s:
    if ids is None:
        return np.arange(len(codes), dtype=np.int64)
    if ids.shape != (len(codes),):
        raise ValueError("ids must be int64[n], one for each code")
    return ids.astype(np.int64)


def _mix(codes: Uint8s) -> Uint64s:
    """A 64-bit key of all bytes of each code. Its top bits spread evenly even where the codes themselves do not."""
    rows, size_bytes = codes.shape
    offsets = [*range(0, size_bytes - 8, 8), size_bytes - 8]  # the last word may overlap the one before it
    total = np.zeros(rows, dtype=np.uint64)
    for offset, factor in zip(offsets, _MIX, strict=False):
        word: Uint64s = (
            np.ndarray((rows,), dtype=np.uint64, buffer=codes, offset=offset, strides=(size_bytes,)) if rows else total
        )
        total += word * np.uint64(factor)
    return total


def _expand(left: npt.NDArray[np.integer], right: npt.NDArray[np.integer]) -> Iterator[tuple[Int64s, Int64s]]:
    """Ranges [left, right) as flat pairs (number of the range, position), at most about ``_PAIRS_MAX`` at once."""
    used = np.flatnonzero(right > left)
    left, lengths = left[used].astype(np.int64), (right[used] - left[used]).astype(np.int64)
    ends = np.cumsum(lengths)
    start = 0
    while start < len(used):
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _PAIRS_MAX, side="right")))
        part = np.repeat(np.arange(start, stop), lengths[start:stop])
        shift = left[start:stop] - np.concatenate(([0], ends[start : stop - 1] - before))
        yield used[part], np.arange(len(part)) + np.repeat(shift, lengths[start:stop])
        start = stop


def _join(pairs: list[tuple[Int64s, Int64s]]) -> tuple[Int64s, Int64s]:
    return np.concatenate([_NONE, *(a for a, _ in pairs)]), np.concatenate([_NONE, *(b for _, b in pairs)])


def _distinct(rows: Int64s, entries: Int64s, count: int) -> tuple[Int64s, Int64s]:
    """Each pair once: several bands find the same one."""
    joined = np.unique(rows * count + entries)
    return joined // count, joined % count


def _hamming_queries(queries: Uint8s, radius: int) -> Uint64s:
    if not 0 <= radius <= HAMMING_RADIUS_MAX:
        raise ValueError(f"radius must be 0 to {HAMMING_RADIUS_MAX} bits, got {radius}")
    if queries.ndim != 2 or queries.shape[1] != _CODE_BYTES:
        raise ValueError(f"queries must be uint8[m, {_CODE_BYTES}]")
    return _checked(queries).view(np.uint64)


def _distances(left: Uint64s, right: Uint64s) -> npt.NDArray[np.uint16]:
    """Hamming distances along the last axis. In 16 bits: 256 in eight is 0, and an opposite would look equal."""
    total: npt.NDArray[np.uint16] = np.bitwise_count(left[..., 0] ^ right[..., 0]).astype(np.uint16)
    for word in range(1, 4):
        total += np.bitwise_count(left[..., word] ^ right[..., word])
    return total


def _following(bands: npt.NDArray[np.uint16], band: int) -> npt.NDArray[np.uint32]:
    """The two bands after this one in the ring, the nearer in the low half."""
    nearer = bands[:, (band + 1) % _BANDS].astype(np.uint32)
    return nearer | bands[:, (band + 2) % _BANDS].astype(np.uint32) << np.uint32(16)


def _band_tables(codes: Uint8s) -> list[_Band]:
    bands = codes.view(np.uint16)
    return [_band_table(bands, band) for band in range(_BANDS)]


def _band_table(bands: npt.NDArray[np.uint16], band: int) -> _Band:
    entries = np.argsort(bands[:, band], kind="stable").astype(np.uint32)
    counts = np.bincount(bands[:, band], minlength=1 << 16)
    return _Band(np.concatenate(([0], np.cumsum(counts))), entries, _following(bands, band)[entries])
