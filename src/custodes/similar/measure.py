"""How good scores are, in numbers that say how sure they are: shares with intervals, precision and recall by threshold, average precision.

Pure functions. What was judged by whom, and whether it was held out, is for the caller to know and to say.
"""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

__all__ = ["THRESHOLDS", "Level", "Share", "average_precision", "levels", "share"]

THRESHOLDS: Final = (*(round(0.05 * step, 2) for step in range(1, 20)), 0.99)
_Z: Final = 1.959963984540054  # of 95 %

Scores = npt.NDArray[np.floating[Any]]
Bools = npt.NDArray[np.bool_]


class Share(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``hits`` out of ``of``, and the interval that holds the true share in 95 of 100 cases (Wilson 1927)."""

    hits: int
    of: int
    low: float
    high: float

    @property
    def value(self) -> float | None:
        """The share; None out of nothing."""
        return self.hits / self.of if self.of else None


class Level(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a threshold gives. ``background``: of rows that nobody judged, the share that reaches it."""

    threshold: float
    precision: Share
    recall: Share
    background: Share


def share(hits: int, of: int) -> Share:
    """With its interval by Wilson's score: sound for few cases and at both ends, where the usual one is not. Of nothing: 0 to 1."""
    if of == 0:
        return Share(hits=0, of=0, low=0.0, high=1.0)
    part, over = hits / of, _Z * _Z / of
    middle = (part + over / 2) / (1 + over)
    half = _Z / (1 + over) * math.sqrt(part * (1 - part) / of + over / (4 * of))
    low = 0.0 if hits == 0 else max(0.0, middle - half)
    return Share(hits=hits, of=of, low=low, high=1.0 if hits == of else min(1.0, middle + half))


def levels(scores: Scores, labels: Bools, background: Scores) -> tuple[Level, ...]:
    """Precision and recall on what was judged, and the share of the background, at each threshold."""
    found = []
    for threshold in THRESHOLDS:
        reached = scores >= threshold
        right, chosen = int(np.count_nonzero(reached & labels)), int(np.count_nonzero(reached))
        found.append(
            Level(
                threshold=threshold,
                precision=share(right, chosen),
                recall=share(right, int(np.count_nonzero(labels))),
                background=share(int(np.count_nonzero(background >= threshold)), len(background)),
            )
        )
    return tuple(found)


def average_precision(scores: Scores, labels: Bools) -> float:
    """The mean of the precision at each confirmed one, in the order of scores. Equal scores are one step, so that their order does not count."""
    order = np.argsort(-scores, kind="stable")
    right = np.cumsum(labels[order])
    last = np.append(np.diff(scores[order]) != 0, True)  # of those with equal scores
    right_at, place = right[last], np.flatnonzero(last) + 1
    gained = np.diff(right_at, prepend=0)
    return float((gained * right_at / place).sum() / right[-1])
