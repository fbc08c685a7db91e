"""Codes of one length that no longer change, found by equality: by NumPy, or by the kernels of native/exact.hpp over the same arrays.

A code's 64-bit key chooses one of n / 4 buckets. The head of a bucket is 64 bits: where its codes start, and a Bloom filter of three bits for each of them,
so nearly every miss ends at one look into memory. In a bucket codes are sorted. Lists and datasets may be hostile, and the key is no secret: codes can be
chosen that all fall into one bucket. Then building costs a sort and a query two binary searches; nothing is ever quadratic.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from custodes import native
from custodes.index.arrays import Found, Int64s, Uint8s, in_parts

__all__ = ["SIZE_BYTES_MAX", "SIZE_BYTES_MIN", "Buckets", "Runs"]

Runs = Found
Uint32s = npt.NDArray[np.uint32]
Uint64s = npt.NDArray[np.uint64]

SIZE_BYTES_MIN: Final = 8
SIZE_BYTES_MAX: Final = 64

_ENTRIES_MAX: Final = (1 << 32) - 1  # places have 32 bits
_BUCKET_ENTRIES: Final = 4
_NUMPY_ROWS: Final = 1 << 16  # queries that NumPy looks at together: their temporaries stay in the second-level cache
_KERNEL_ROWS: Final = 1 << 22  # queries of one call: rows have 32 bits

# As in native/exact.hpp, and part of the file format.
_FACTORS: Final = (
    *(0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93),
    *(0xA0761D6478BD642F, 0xE7037ED1A0B428DB, 0x8EBC6AF09C88C6E3, 0x589965CC75374CC3),
)
_LAST_FACTOR: Final = np.uint64(0xFF51AFD7ED558CCD)
_FILTER_SHIFTS: Final = (12, 17, 22)
_LOW: Final = np.uint64(0xFFFFFFFF)
_HALF: Final = np.uint64(32)


class _Arrays(ctypes.Structure):
    """``custodes_exact``: pointers into arrays that the caller keeps alive."""

    _fields_ = (
        ("heads", ctypes.c_void_p),
        ("codes", ctypes.c_void_p),
        ("count", ctypes.c_int64),
        ("buckets", ctypes.c_int64),
        ("size", ctypes.c_int64),
    )


class _Sorted(NamedTuple):
    heads: Uint64s
    order: Uint32s
    codes: Uint8s


class Buckets:
    """``sorted_codes`` by bucket, then value; ``order``, which row each of them was; ``heads``, one more than buckets."""

    def __init__(self, heads: Uint64s, order: Uint32s, sorted_codes: Uint8s) -> None:
        self.heads = heads
        self.order = order
        self.sorted_codes = sorted_codes

    @classmethod
    def build(cls, codes: Uint8s) -> Buckets:
        """Sort contiguous codes, uint8[n, k] with k from 8 to 64. They are copied. Equal ones keep their order."""
        if len(codes) > _ENTRIES_MAX:
            raise ValueError(f"a segment holds at most {_ENTRIES_MAX:,} codes")
        active = native.kernels()
        return cls(*(_built(active, codes) if active else _built_by_numpy(codes)))

    def __len__(self) -> int:
        return len(self.sorted_codes)

    @property
    def codes(self) -> Uint8s:
        """The codes in the order in which they were given: a copy."""
        codes = np.zeros_like(self.sorted_codes)
        codes[self.order] = self.sorted_codes
        return codes

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays held."""
        return self.heads.nbytes + self.order.nbytes + self.sorted_codes.nbytes

    def is_sound(self) -> bool:
        """Whether the arrays belong together: a kernel would follow others out of bounds."""
        heads, order, codes = self.heads, self.order, self.sorted_codes
        sound = heads.dtype == np.uint64 and order.dtype == np.uint32 and codes.dtype == np.uint8
        sound = sound and codes.ndim == 2 and SIZE_BYTES_MIN <= codes.shape[1] <= SIZE_BYTES_MAX
        sound = sound and heads.shape == (bucket_count(len(codes)) + 1,) and order.shape == (len(codes),)
        sound = sound and all(array.flags.c_contiguous for array in (heads, order, codes))
        if not sound:
            return False
        starts = heads & _LOW
        sound = bool(starts[0] == 0 and starts[-1] == len(codes) and (starts[1:] >= starts[:-1]).all())
        return sound and (len(codes) == 0 or int(order.max()) < len(codes))

    def search(self, queries: Uint8s, threads: int) -> Runs:
        """Runs of codes equal to a query: its row, the first place among ``sorted_codes``, how many there are. By row."""
        if not len(self) or not len(queries):
            return native.NO_HITS
        active = native.kernels()
        step = _KERNEL_ROWS if active else _NUMPY_ROWS

        def work(part: Uint8s) -> Runs:
            return self._search(active, part) if active else self._search_by_numpy(part)

        return in_parts(work, queries, min(step, -(-len(queries) // threads)), threads)

    def _search(self, active: native.Kernels, queries: Uint8s) -> Runs:
        return active.hits("exact_search", _arrays(self.sorted_codes, self.heads), queries, len(queries))

    def _search_by_numpy(self, queries: Uint8s) -> Runs:
        keys = keys_of(queries)
        buckets, bits = buckets_of(keys, len(self.heads) - 1), filter_bits(keys)
        heads = self.heads.take(buckets)
        rows = np.flatnonzero((heads >> _HALF & bits) == bits)
        left, right = heads[rows] & _LOW, self.heads[buckets[rows] + 1] & _LOW
        queries = queries[rows]
        first = self._bound(queries, (left, right), after=False)
        last = self._bound(queries, (first, right), after=True)
        return np.stack([rows, first, last - first], axis=1)[last > first].astype(np.uint32)

    def _bound(self, queries: Uint8s, places: tuple[npt.NDArray[np.integer], ...], *, after: bool) -> Int64s:
        """For each query the first of its places whose code does not come before it; with ``after``, whose code comes after it."""
        left, right = (each.astype(np.int64) for each in places)
        while len(still := np.flatnonzero(left < right)):
            middle = (left[still] + right[still]) >> 1
            below = _before(self.sorted_codes[middle], queries[still], or_equal=after)
            left[still[below]] = middle[below] + 1
            right[still[~below]] = middle[~below]
        return left


# -- building


def bucket_count(entries: int) -> int:
    """How many buckets so many codes have."""
    return entries // _BUCKET_ENTRIES + 1


def _arrays(codes: Uint8s, heads: Uint64s) -> _Arrays:
    return _Arrays(heads.ctypes.data, codes.ctypes.data, len(codes), len(heads) - 1, codes.shape[1])


def _built(active: native.Kernels, codes: Uint8s) -> _Sorted:
    out = _Sorted(
        heads=np.zeros(bucket_count(len(codes)) + 1, dtype=np.uint64),
        order=np.empty(len(codes), dtype=np.uint32),
        codes=np.empty_like(codes),
    )
    active.call("exact_build", _arrays(codes, out.heads), *out)
    return out


def _built_by_numpy(codes: Uint8s) -> _Sorted:
    count = bucket_count(len(codes))
    keys = keys_of(codes)
    buckets = buckets_of(keys, count)
    order = _order(buckets, codes)
    heads = np.concatenate(([0], np.cumsum(np.bincount(buckets, minlength=count)))).astype(np.uint64)
    np.bitwise_or.at(heads, buckets, filter_bits(keys) << _HALF)
    return _Sorted(heads, order.astype(np.uint32), codes[order])


def _order(buckets: Int64s, codes: Uint8s) -> Int64s:
    """Rows by bucket, then code, then row. The top half of the first word decides nearly always; only where it does not, all words are sorted."""
    words = list(words_of(codes))
    coarse = buckets.view(np.uint64) << _HALF | words[0] >> _HALF
    order = np.argsort(coarse, kind="stable")
    coarse = coarse[order]
    same = np.zeros(len(codes) + 1, dtype=np.bool_)
    same[1:-1] = coarse[1:] == coarse[:-1]
    tied = np.flatnonzero(same[1:] | same[:-1])
    rows = order[tied]
    order[tied] = rows[np.lexsort((*(word[rows] for word in reversed(words)), coarse[tied]))]
    return order


# -- keys and the order of codes: the same numbers as in native/exact.hpp


def words_of(codes: Uint8s) -> Iterator[Uint64s]:
    """Codes as numbers of 64 bits, little-endian. The last may overlap the one before it."""
    rows, size_bytes = codes.shape
    for offset in (*range(0, size_bytes - 8, 8), size_bytes - 8):
        yield np.ndarray((rows,), "<u8", codes, offset, (size_bytes,)) if rows else np.empty(0, dtype=np.uint64)


def keys_of(codes: Uint8s) -> Uint64s:
    """A key of all bytes of each code; its top bits choose the bucket."""
    total = np.zeros(len(codes), dtype=np.uint64)
    for word, factor in zip(words_of(codes), _FACTORS, strict=False):
        total += word * np.uint64(factor)
    keys: Uint64s = (total ^ total >> _HALF) * _LAST_FACTOR
    return keys


def buckets_of(keys: Uint64s, count: int) -> Int64s:
    """The bucket of each key, rising with its top 32 bits."""
    return ((keys >> _HALF) * np.uint64(count) >> _HALF).view(np.int64)


def filter_bits(keys: Uint64s) -> Uint64s:
    """The bits that a key sets in its bucket's filter, of 32."""
    bits = np.zeros(len(keys), dtype=np.uint64)
    for shift in _FILTER_SHIFTS:
        bits |= np.uint64(1) << (keys >> np.uint64(shift) & np.uint64(31))
    return bits


def _before(left: Uint8s, right: Uint8s, *, or_equal: bool) -> npt.NDArray[np.bool_]:
    before = np.full(len(left), or_equal)
    for one, other in reversed(list(zip(words_of(left), words_of(right), strict=True))):
        before = (one < other) | ((one == other) & before)
    return before
