"""Near copies among the rows of a run: whose PDQ codes, in any of the eight forms, lie as near as a match does.

So that decoys leave as matches do, with everything that looks like them. Codes are read from the run shard by shard, at each call; those of the rows asked
for are held in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from custodes.cleaning.mask import Flags, Int64s, Pairs, no_copies
from custodes.index import HammingIndex
from custodes.ledger.rows import digest_arrays
from custodes.ledger.run import RunDirectory, ShardRecord
from custodes.model import Kind
from custodes.pdq import FORMS, forms_of
from custodes.sources.base import Plan

__all__ = ["Copies"]

NEAR_BITS: Final = 31  # PDQ's published recommendation, as for a match
QUALITY_MIN: Final = 50
CODES_AT_ONCE: Final = 1 << 20

Uint8s = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, repr=False)
class Copies:
    """A run whose near copies are asked for. ``starts``: the first row of each file."""

    run: RunDirectory
    plan: Plan
    starts: tuple[int, ...]

    def near(self, some: Flags) -> Pairs:
        """Every row that is a near copy of one of these, itself included, each with one that it is a copy of."""
        rows, codes = _together([(rows[some[rows]], codes[some[rows]]) for rows, codes in self._codes()])
        if not len(rows):
            return no_copies(some)
        codes, first = np.unique(codes, axis=0, return_index=True)
        forms = forms_of(codes).reshape(-1, Kind.PDQ.size_bytes)
        index = HammingIndex.build(forms, np.repeat(rows[first], len(FORMS)), resident=False)
        return _together([_of_batch(index, *_together(batch)) for batch in _batches(self._codes())])

    def _codes(self) -> Iterator[tuple[Int64s, Uint8s]]:
        """Of each shard the rows that have codes, and these with their reflections."""
        latest: dict[int, ShardRecord] = self.run.latest()
        for shard in self.plan.shards:
            arrays = digest_arrays(self.run.rows(latest[shard.index]))
            if Kind.PDQ not in arrays:
                continue
            items, codes, quality = arrays[Kind.PDQ]
            good = quality >= QUALITY_MIN  # codes of featureless images are all alike
            yield items[good] + self.starts[shard.file] + shard.first_row, codes[good]


def _batches(shards: Iterable[tuple[Int64s, Uint8s]]) -> Iterator[list[tuple[Int64s, Uint8s]]]:
    """Shards in groups: a search costs each code the less the more of them there are."""
    batch: list[tuple[Int64s, Uint8s]] = []
    held = 0
    for shard in shards:
        batch.append(shard)
        held += len(shard[0])
        if held >= CODES_AT_ONCE:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def _together(parts: Sequence[tuple[Any, Any]]) -> tuple[Any, Any]:
    if not parts:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    first, second = (np.concatenate(side) for side in zip(*parts, strict=True))
    return first, second


def _of_batch(index: HammingIndex, rows: Int64s, codes: Uint8s) -> Pairs:
    """Each code is searched once; further rows that have it are copies of the first one."""
    different, first, at = np.unique(codes[:, : Kind.PDQ.size_bytes], axis=0, return_index=True, return_inverse=True)
    hits = index.search(different, NEAR_BITS)
    found = np.flatnonzero(np.isin(at, hits.rows))
    return np.concatenate([rows[first[hits.rows]], rows[found]]), np.concatenate([hits.ids, rows[first[at[found]]]])
