"""What both kinds of search need of NumPy: arrays checked once, and ranges laid out flat."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

__all__ = ["NONE", "Found", "Int64s", "Uint8s", "checked_codes", "checked_ids", "expand", "in_parts", "in_threads"]

Int64s = npt.NDArray[np.int64]
Uint8s = npt.NDArray[np.uint8]

NONE: Final[Int64s] = np.empty(0, dtype=np.int64)

_PAIRS_MAX: Final = 1 << 22  # candidate pairs held at once: bounds memory however the codes cluster

T = TypeVar("T")

Found = npt.NDArray[np.uint32]
"""What a search finds, uint32[n, 3]: the row of a query, and two numbers that tell what was found for it."""


def checked_codes(codes: Uint8s, size_bytes: int | None = None) -> Uint8s:
    """Codes as a contiguous uint8[n, size]; a ValueError for anything else."""
    if (
        codes.ndim != 2
        or codes.dtype != np.uint8
        or (codes.shape[1] != size_bytes if size_bytes else codes.shape[1] < 8)
    ):
        raise ValueError(
            f"codes must be uint8[n, {size_bytes}]" if size_bytes else "codes must be uint8[n, k] with k at least 8"
        )
    return np.ascontiguousarray(codes)


def checked_ids(ids: Int64s, count: int) -> Int64s:
    """Ids as int64[count]; a ValueError for anything else."""
    if ids.shape != (count,):
        raise ValueError("ids must be int64[n], one for each code")
    return ids.astype(np.int64)


def expand(left: npt.NDArray[np.integer], right: npt.NDArray[np.integer]) -> Iterator[tuple[Int64s, Int64s]]:
    """Ranges [left, right) as flat pairs (number of the range, position), at most about four million at once."""
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


def in_threads(work: Callable[..., T], tasks: Iterable[tuple[object, ...]], threads: int) -> list[T]:
    """The results of ``work(*task)`` for each task, in their order. Kernels release the interpreter lock, so threads are worth having."""
    if threads == 1:
        return [work(*task) for task in tasks]
    with ThreadPoolExecutor(threads) as pool:
        return [each.result() for each in [pool.submit(work, *task) for task in tasks]]


def in_parts(work: Callable[[Uint8s], Found], queries: Uint8s, step: int, threads: int = 1) -> Found:
    """What ``work`` finds for the queries, ``step`` of them at a time, with rows counted from the first of all. There must be one."""
    starts = range(0, len(queries), step)
    found = in_threads(work, [(queries[start : start + step],) for start in starts], threads)
    for start, hits in zip(starts[1:], found[1:], strict=True):
        hits[:, 0] += np.uint32(start)
    return found[0] if len(found) == 1 else np.concatenate(found)
