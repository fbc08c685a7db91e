"""From candidates to suspects: ranked, one photo once, no more than an authority wants to judge.

Promises that a photo in many rows is one suspect, with all its candidate rows; that rows of a photo that was handed over before join it and take nothing of the
budget; and that the order is a function of the candidates alone. Signals are for ``signals``; rows, names and sealing for the run.

**Rank.** Nearness and the probe are two orders of the candidates. They are put together by reciprocal ranks (Cormack, Clarke, Buettcher, SIGIR 2009): the
sum of 1 / (60 + place). No weight has to be chosen, and what both put first comes first. A candidate nearer to a photo that was rejected than to any confirmed
one has no place by nearness.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from custodes.similar.probe import Taught

__all__ = ["SAME_COSINE", "Before", "Candidate", "Known", "Photo", "Suspects", "candidates_of", "suspects_of", "unit"]

SAME_COSINE: Final = 0.9999
"""From here on two vectors are taken for those of one photo: fp16 and the order of sums move a cosine by less than a tenth of that."""

_DAMPING: Final = 60
_CELLS_MAX: Final = 1 << 24  # products held at once
_BLOCK: Final = 512

Int64s = npt.NDArray[np.int64]
Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Candidate:
    """A row with what is said of it. ``cosine``: with the nearest confirmed photo; None where a rejected one is nearer, or there is none."""

    row: int
    cosine: float | None
    score: float | None


@dataclass(frozen=True, eq=False, repr=False)
class Known:
    """Unit vectors of what was judged: confirmed photos, to be near to, and rejected ones."""

    confirmed: Float32s
    rejected: Float32s


@dataclass(frozen=True, eq=False, repr=False)
class Before:
    """Photos that were handed over before: a unit vector of each, its name, and whether more of its rows are of use (not where it was rejected)."""

    vectors: Float32s
    photos: Sequence[str]
    wanted: Sequence[bool]


@dataclass(frozen=True)
class Photo:
    """One photo: its candidate rows, the best first. ``before``: its name, if it was handed over before; ``rank`` counts new ones from 1."""

    rank: int
    rows: tuple[Candidate, ...]
    before: str = ""


@dataclass(frozen=True)
class Suspects:
    """What is handed over. ``more``: candidate rows that the budget left out; ``dropped``: rows of photos that were rejected before."""

    photos: tuple[Photo, ...]
    more: int = 0
    dropped: int = 0


def candidates_of(
    rows: Int64s, vectors: Float32s, known: Known, probe: Taught | None
) -> tuple[list[Candidate], Float32s]:
    """What both signals say of rows, by their unit vectors: those with a signal, the most suspect first, and the vectors in that order."""
    near, far = (_nearest(vectors, each) for each in (known.confirmed, known.rejected))
    near[far > near] = np.nan
    scores = probe.score(vectors) if probe is not None else np.full(len(rows), np.nan)
    weight = _by_place(near) + _by_place(scores)
    order = np.lexsort((rows, -weight))[: np.count_nonzero(weight)]
    return [Candidate(int(rows[at]), _told(near[at]), _told(scores[at])) for at in order], vectors[order]


def suspects_of(candidates: Sequence[Candidate], vectors: Float32s, before: Before, budget: int) -> Suspects:
    """Group candidates (in order, with their unit vectors) into photos: of new ones ``budget``, and all rows of those from before."""
    groups = _Groups(vectors, budget)
    joined: dict[int, list[Candidate]] = {}
    more = dropped = 0
    for at, (candidate, old) in enumerate(zip(candidates, _alike(vectors, before.vectors).tolist(), strict=True)):
        if old < 0:
            more += not groups.took(at, candidate)
        elif before.wanted[old]:
            joined.setdefault(old, []).append(candidate)
        else:
            dropped += 1
    new = [Photo(rank, tuple(rows)) for rank, rows in enumerate(groups.rows, 1)]
    return Suspects(
        (*new, *(Photo(0, tuple(joined[old]), before.photos[old]) for old in sorted(joined))), more, dropped
    )


class _Groups:
    """New photos, each led by its first row. Candidates are compared with them a block at a time."""

    def __init__(self, vectors: Float32s, budget: int) -> None:
        self.rows: list[list[Candidate]] = []
        self._vectors, self._budget = vectors, budget
        self._leaders: list[int] = []
        self._block = range(0)
        self._before = 0
        self._alike = np.empty(0, dtype=np.int64)
        self._inside = np.empty((0, 0), dtype=np.bool_)

    def took(self, at: int, candidate: Candidate) -> bool:
        """Whether it belongs to a photo, or is a new one that there is room for. Asked in order."""
        if at not in self._block:
            self._enter(at)
        group = self._group_of(at)
        if group < 0 and len(self.rows) < self._budget:
            group = len(self.rows)
            self.rows.append([])
            self._leaders.append(at)
        if group >= 0:
            self.rows[group].append(candidate)
        return group >= 0

    def _enter(self, at: int) -> None:
        self._block = range(at, min(at + _BLOCK, len(self._vectors)))
        block = self._vectors[at : self._block.stop]
        self._before = len(self._leaders)
        self._alike = _alike(block, self._vectors[self._leaders])
        self._inside = block @ block.T >= SAME_COSINE

    def _group_of(self, at: int) -> int:
        place = at - self._block.start
        if self._alike[place] >= 0:
            return int(self._alike[place])
        for number in range(self._before, len(self._leaders)):
            if self._inside[place, self._leaders[number] - self._block.start]:
                return number
        return -1


def unit(vectors: npt.NDArray[np.floating]) -> Float32s:
    """Rows of length 1, of vectors with a direction."""
    wide = vectors.astype(np.float64)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    return wide.astype(np.float32)


def _by_place(values: Float64s) -> Float64s:
    """1 / (60 + place) by value, the highest first, equal ones in one place; 0 for what has none."""
    there = ~np.isnan(values)
    weights = np.zeros(len(values))
    if there.any():
        _, place = np.unique(-values[there], return_inverse=True)
        weights[there] = 1 / (_DAMPING + 1 + place)
    return weights


def _blocks(vectors: Float32s, others: Float32s) -> Iterator[tuple[slice, Float32s]]:
    step = max(1, min(_BLOCK, _CELLS_MAX // max(1, len(others))))
    for start in range(0, len(vectors), step):
        part = slice(start, start + step)
        yield part, vectors[part] @ others.T


def _nearest(vectors: Float32s, others: Float32s) -> Float64s:
    """The cosine with the nearest of the others; not a number where there is none. Of equal vectors it is equal: of products in floats it need not be."""
    found = np.full(len(vectors), np.nan)
    for part, cosines in _blocks(vectors, others) if len(others) else ():
        nearest = others[cosines.argmax(axis=1)]
        found[part] = np.einsum("ij,ij->i", vectors[part], nearest, dtype=np.float64)
    clipped: Float64s = np.clip(found, -1, 1)
    return clipped.round(6)


def _alike(vectors: Float32s, others: Float32s) -> Int64s:
    """The first of the others that each is the same photo as; -1: none."""
    found = np.full(len(vectors), -1, dtype=np.int64)
    for part, cosines in _blocks(vectors, others) if len(others) else ():
        same = cosines >= SAME_COSINE
        found[part] = np.where(same.any(axis=1), same.argmax(axis=1), -1)
    return found


def _told(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)
