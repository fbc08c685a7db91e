"""What vectors say of every row, in one read: how near it is to a confirmed photo, and what a probe makes of it.

Promises that the candidates are the ``top`` rows nearest to each seed and the ``keep`` rows that the probe scores highest, as sorting all rows would give
them, ties by row; that rows which are known already take no place among them; and that a row counts as scored only if it has a vector with a
direction. Scores of rows that are no candidates are counted by file (for ``drift``) and forgotten. Who is handed over is for ``suspects``.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from custodes.errors import InputError, SourceError
from custodes.similar.arithmetic import dots, filled_up
from custodes.similar.neighbours import PAIR, Neighbours, ranked
from custodes.similar.probe import Taught
from custodes.similar.vectors import Block

__all__ = ["BINS", "Ear", "Heard", "Question", "Signals"]

KEEP_MAX: Final = 1_000_000
BINS: Final = 512
"""Of the gauge, a cosine, from -1 to 1."""

SCORE: Final = np.dtype([("row", "<i8"), ("score", "<f8")])

Int64s = npt.NDArray[np.int64]
Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False, repr=False)
class Question:
    """What is asked of vectors. ``seeds``: [n, dimension]; ``known``: rows, ascending, that are no candidates; ``bounds``: where shards of the run begin."""

    seeds: Float32s
    probe: Taught | None
    known: Int64s
    bounds: Int64s
    top: int = 100
    above: float = 0.0
    keep: int = 1000
    least: float = 0.5

    def __post_init__(self) -> None:
        if not len(self.seeds) and self.probe is None:
            raise InputError(
                "there is nothing to search near: no photo of this run is confirmed, and no probe is in service",
                hint="import the authority's verdicts or its list, or give vectors with --seeds",
            )
        if not 1 <= self.keep <= KEEP_MAX:
            raise InputError(f"{self.keep:,} candidates of the probe: it must be 1 to {KEEP_MAX:,}")

    @property
    def dimension(self) -> int:
        """Numbers of a vector."""
        return len(self.probe.weights) if self.probe is not None else int(self.seeds.shape[1])

    @property
    def gauge(self) -> Float32s:
        """A direction, filled up: that of the probe, as it is; or the mean of the seeds', of length 1."""
        if self.probe is not None:
            return self.probe.filled
        direction = np.zeros(filled_up(self.seeds.shape[1]))
        wide = self.seeds.astype(np.float64)
        direction[: wide.shape[1]] = (wide / np.linalg.norm(wide, axis=1, keepdims=True)).mean(axis=0)
        length = np.linalg.norm(direction)
        return (direction / length if length else direction).astype(np.float32)


class Heard(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What one part of the vectors said: as bytes of arrays, so that it can be kept under lock.

    ``pairs``: ``neighbours.PAIR``; ``best``: row and score of the probe; ``scored``: int64, by shard of the run from ``first_shard`` on;
    ``histograms``: int64[files, BINS].
    """

    rows: int
    pairs: bytes
    best: bytes
    first_shard: int
    scored: bytes
    histograms: bytes


@dataclass(eq=False, repr=False)
class _Best:
    """The rows with the highest scores, of equal ones the lower rows."""

    keep: int
    kept: npt.NDArray[np.void] = field(default_factory=lambda: np.empty(0, dtype=SCORE))
    floor: float = 0.0

    def add(self, rows: Int64s, scores: Float64s) -> None:
        near = scores >= self.floor  # not a number is near nothing
        if not near.any():
            return
        new = np.empty(int(near.sum()), dtype=SCORE)
        new["row"], new["score"] = rows[near], scores[near]
        self.kept = np.concatenate([self.kept, new])
        if len(self.kept) > 2 * self.keep:
            self.settle()

    def settle(self) -> npt.NDArray[np.void]:
        self.kept = _highest(self.kept, self.keep)
        if len(self.kept) == self.keep:
            self.floor = float(self.kept["score"][-1])
        return self.kept


class Signals:
    """Fed blocks of one part, from any thread; asked once for what they said."""

    def __init__(self, question: Question, firsts: Int64s) -> None:
        """``firsts``: the first row of each file of the part."""
        self._question = question
        self._firsts = firsts
        self._near = Neighbours(question.seeds, question.top) if len(question.seeds) else None
        self._best = _Best(question.keep, floor=question.least)
        self._weights = question.gauge[None]
        self._length = float(np.linalg.norm(self._weights[0].astype(np.float64)))
        self._scored = np.zeros(len(question.bounds), dtype=np.int64)
        self._histograms = np.zeros((len(firsts), BINS), dtype=np.int64)
        self._rows = 0
        self._lock = threading.Lock()

    def feed(self, first: int, block: Block) -> None:
        """A block of the file that begins with the row ``first``."""
        vectors, rows = np.ascontiguousarray(block.vectors), first + block.rows
        if vectors.shape[1] != self._question.dimension:
            raise SourceError(
                f"vectors have {vectors.shape[1]:,} numbers, and what is searched for has others",
                hint="vectors, seeds and probe must come from the same model",
            )
        products, squares = dots(vectors, self._weights)
        usable = _usable(vectors, squares)
        fresh = usable & ~_among(rows, self._question.known)
        if self._near is not None and fresh.any():
            self._near.feed(rows[fresh], vectors if fresh.all() else vectors[fresh])
        with np.errstate(all="ignore"):
            gauge = products[0] / np.sqrt(squares) / np.float32(self._length)
        self._count(first, rows[usable], gauge[usable], len(rows) + block.missing)
        if self._question.probe is not None:
            scores = self._question.probe.scored(products, squares)
            with self._lock:
                self._best.add(rows[fresh], scores[fresh])

    @property
    def rows(self) -> int:
        """Rows that were fed, with and without a vector."""
        return self._rows

    def heard(self) -> Heard:
        """All of it."""
        pairs = self._near.result() if self._near is not None else np.empty(0, dtype=PAIR)
        touched = np.flatnonzero(self._scored)
        first, last = (int(touched[0]), int(touched[-1]) + 1) if len(touched) else (0, 0)
        return Heard(
            rows=self._rows,
            pairs=pairs[pairs["score"] >= self._question.above].tobytes(),
            best=self._best.settle().tobytes(),
            first_shard=first,
            scored=self._scored[first:last].tobytes(),
            histograms=self._histograms.tobytes(),
        )

    def _count(self, first: int, rows: Int64s, gauge: Float32s, seen: int) -> None:
        at = np.searchsorted(self._question.bounds, rows, side="right") - 1
        shards, counts = np.unique(at, return_counts=True)
        cosines = np.clip(np.nan_to_num(gauge), -1, 1)  # of numbers too large or too small for floats it is none
        bins = np.minimum((cosines + 1) * (BINS / 2), BINS - 1).astype(np.int64)
        file = int(np.searchsorted(self._firsts, first, side="right")) - 1
        with self._lock:
            self._rows += seen
            self._scored[shards] += counts
            self._histograms[file] += np.bincount(bins, minlength=BINS)


class Ear:
    """Puts together what the parts said, in any order."""

    def __init__(self, question: Question) -> None:
        self._question = question
        self._pairs = np.empty(0, dtype=PAIR)
        self._best = np.empty(0, dtype=SCORE)
        self.rows = 0
        self.scored = np.zeros(len(question.bounds), dtype=np.int64)
        self.histograms: list[npt.NDArray[np.int64]] = []

    def hear(self, part: Heard) -> None:
        """Parts in the order of rows: their histograms are kept in it."""
        pairs = np.concatenate([self._pairs, np.frombuffer(part.pairs, dtype=PAIR)])
        self._pairs = ranked(pairs, self._question.top, None)
        best = np.concatenate([self._best, np.frombuffer(part.best, dtype=SCORE)])
        self._best = _highest(best, self._question.keep)
        self.rows += part.rows
        scored = np.frombuffer(part.scored, dtype=np.int64)
        self.scored[part.first_shard : part.first_shard + len(scored)] += scored
        self.histograms += list(np.frombuffer(part.histograms, dtype=np.int64).reshape(-1, BINS))

    def candidates(self) -> Int64s:
        """Rows that a signal names, ascending."""
        return np.union1d(self._pairs["row"], self._best["row"])


def _highest(scored: npt.NDArray[np.void], keep: int) -> npt.NDArray[np.void]:
    """Of ``SCORE``, so many: the highest first, of equal ones the lower rows."""
    return scored[np.lexsort((scored["row"], -scored["score"]))][:keep]


def _usable(vectors: npt.NDArray[Any], squares: Float32s) -> Bools:
    """Which have a direction: finite numbers, not all zero. Only where floats cannot tell are the numbers looked at."""
    usable = np.isfinite(squares) & (squares > 0)
    odd = np.flatnonzero(~usable)
    usable[odd] = np.isfinite(vectors[odd]).all(axis=1) & vectors[odd].any(axis=1)
    return usable


def _among(rows: Int64s, known: Int64s) -> Bools:
    """Which rows (ascending) are among those that are known (ascending)."""
    if not len(rows):
        return np.zeros(0, dtype=np.bool_)
    first, last = np.searchsorted(known, [rows[0], rows[-1] + 1])
    return np.isin(rows, known[first:last])
