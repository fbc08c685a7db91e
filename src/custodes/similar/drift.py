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

DRIFTS_MAX: Final = 100
"""Files that are told."""

_PARTS: Final = 10
_ADDED: Final = 0.5  # to each count: a part without rows has no logarithm

Int64s = npt.NDArray[np.int64]


class Drift(NamedTuple):
    """A file that differs: its place among the files of vectors, its rows, and how much."""

    file: int
    rows: int
    stability: float


def drifting(histograms: Sequence[Int64s]) -> list[Drift]:
    """The files whose scores differ largely from those of the others, the worst first. Each is left out before the next is looked for; up to half."""
    left = {file: mine for file, mine in enumerate(histograms) if int(mine.sum()) >= ROWS_MIN}
    total = np.sum(histograms, axis=0) if len(histograms) else np.zeros(0, dtype=np.int64)
    found: list[Drift] = []
    while len(found) < min(DRIFTS_MAX, len(histograms) // 2):
        indexes = {
            file: stability_index(mine, total - mine) for file, mine in left.items() if (total - mine).sum() >= ROWS_MIN
        }
        file = max(indexes, key=lambda each: (indexes[each], -each), default=None)
        if file is None or indexes[file] < LARGE:
            break
        found.append(Drift(file, int(left[file].sum()), indexes[file]))
        total = total - left.pop(file)
    return found


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
