"""Whether files of vectors differ from the rest in what a probe (or nearness to the seeds) says of them: pure functions of histograms.

The measure is the population stability index over tenths of the rest (as in credit scoring; Siddiqi 2006): the sum of (p - q) ln(p / q). By custom 0.1 is a
small shift and 0.25 a large one. A file that differs may be of another model or another kind of picture: what a probe is worth there was not measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["LARGE", "ROWS_MIN", "Drift", "drifting", "stability_index"]

LARGE: Final = 0.25
ROWS_MIN: Final = 1000
"""Files of fewer rows differ by chance."""

_PARTS: Final = 10
_ADDED: Final = 0.5  # to each count: a part without rows has no logarithm

Int64s = npt.NDArray[np.int64]


class Drift(NamedTuple):
    """A file that differs: its place among the files of vectors, its rows, and how much."""

    file: int
    rows: int
    stability: float


def drifting(histograms: Sequence[Int64s]) -> list[Drift]:
    """The files whose scores differ largely from those of all others together, the largest difference first."""
    if len(histograms) < 2:
        return []
    total = np.sum(histograms, axis=0)
    found = []
    for file, mine in enumerate(histograms):
        rest, rows = total - mine, int(mine.sum())
        if rows >= ROWS_MIN and rest.sum() >= ROWS_MIN and (index := stability_index(mine, rest)) >= LARGE:
            found.append(Drift(file, rows, index))
    return sorted(found, key=lambda each: (-each.stability, each.file))


def stability_index(mine: Int64s, rest: Int64s) -> float:
    """Of a histogram against another with the same bins, over tenths of the other."""
    below = np.cumsum(rest)
    ends = np.searchsorted(below, below[-1] * np.arange(1, _PARTS) / _PARTS)
    # Before the first end too: where one bin is most of the rest, what lies below it must not count as what lies in it.
    cuts = np.unique([ends[0], *(ends + 1)])
    cuts = cuts[(cuts > 0) & (cuts < len(rest))]
    p, q = (_shares(np.add.reduceat(each, [0, *cuts])) for each in (mine, rest))
    return float(((p - q) * np.log(p / q)).sum())


def _shares(counts: Int64s) -> npt.NDArray[np.float64]:
    shares = counts.astype(np.float64) + _ADDED
    shares /= shares.sum()
    return shares
