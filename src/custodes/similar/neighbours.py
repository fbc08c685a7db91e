"""The nearest vectors of each seed, exactly, in one pass over any number of vectors.

Promises what sorting the scores of all vectors would give, whatever the blocks, their order and the threads that feed them: for each seed the ``top``
highest scores, of equal ones those of the lower rows, and besides every score that is at least ``above``. A score is the cosine in double precision. A vector
that cannot be scored is counted under its reason and has no score. Memory depends on seeds, ``top`` and what is above, not on how many vectors are fed.
Reading them is for ``vectors``; what is quick and still exact about comparing them for ``arithmetic``.
"""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from custodes.errors import InputError, SourceError
from custodes.similar.arithmetic import DIMENSION_MAX, DTYPES, Seeds, approximate, exact, float_error, likely

__all__ = ["PAIR", "PAIRS_MAX", "SEEDS_MAX", "Neighbours", "Tally", "ranked"]

SEEDS_MAX: Final = 10_000
KEPT_MAX: Final = 10_000_000  # seeds times top
PAIRS_MAX: Final = 20_000_000  # above the threshold, in one part of a search

PAIR: Final = np.dtype([("seed", "<i4"), ("row", "<i8"), ("score", "<f8")])
"""One neighbour: the seed, the row of the vector, the cosine."""

_PENDING_MIN: Final = 64  # pairs; so that the floor rises soon where seeds are few
_FIRST_ROWS: Final = 1024  # of the first block, to know where the search starts

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]
Pairs = npt.NDArray[np.void]


@dataclass(frozen=True)
class Tally:
    """How many vectors there were, how many have scores, and why the others have none. ``missing``: the table has no vector in that row."""

    vectors: int = 0
    scored: int = 0
    missing: int = 0
    nan: int = 0
    infinite: int = 0
    zero: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(**{name: value + getattr(other, name) for name, value in asdict(self).items()})

    @property
    def unscored(self) -> dict[str, int]:
        """Reason: count."""
        return {"missing": self.missing, "nan": self.nan, "infinite": self.infinite, "zero": self.zero}


class Neighbours:
    """Fed blocks of vectors, from any number of threads; asked once for what was nearest."""

    def __init__(self, seeds: npt.NDArray[Any], top: int, above: float | None = None) -> None:
        self._seeds = Seeds.of(checked_seeds(seeds))
        if top < 0 or (top == 0 and above is None):
            raise InputError(f"top {top}: nothing is asked for", hint="give a top of at least 1, or a threshold")
        if len(seeds) * top > KEPT_MAX:
            raise InputError(
                f"{len(seeds):,} seeds and a top of {top:,} are more than {KEPT_MAX:,} neighbours", hint="lower --top"
            )
        if above is not None and not -1 <= above <= 1:
            raise InputError(f"above {above}: a cosine is between -1 and 1")
        self._top, self._above = top, above
        self._best = np.full((len(seeds), top), -np.inf)
        self._best_rows = np.full((len(seeds), top), np.iinfo(np.int64).max)
        self._floor = np.full(len(seeds), -np.inf if top else np.inf)
        self._pending: list[Pairs] = []
        self._chosen: list[Pairs] = []  # at least ``above``
        self._chosen_count = 0
        self._tally = Tally()
        self._started = top == 0
        self._lock = threading.Lock()

    @property
    def tally(self) -> Tally:
        """What was fed so far."""
        return self._tally

    def feed(self, rows: int | Int64s, block: npt.NDArray[Any], *, missing: int = 0) -> None:
        """Vectors [n, dimension] with their rows: the first one's number, or that of each. ``missing`` rows had none."""
        block = self._checked(block)
        numbers = np.arange(rows, rows + len(block)) if isinstance(rows, int) else rows
        if len(block) and not self._started:
            self._start(block)
        pairs, odd = likely(block, self._seeds, self._sought())
        found = [self._scored(block, numbers, pairs)]
        fine = len(block) - int(odd.sum())
        tally = Tally(vectors=len(block) + missing, scored=fine, missing=missing)
        if odd.any():
            extreme, unscored = _judged(block, np.flatnonzero(odd))
            found += [self._scored(block, numbers, self._with_every_seed(row)) for row in extreme]
            tally += unscored
        self._keep(np.concatenate(found), tally)

    def result(self) -> Pairs:
        """All neighbours, sorted by seed, score descending, row."""
        with self._lock:
            self._settle()
            seed, place = np.nonzero(np.isfinite(self._best))
            best = np.empty(len(seed), dtype=PAIR)
            best["seed"], best["row"], best["score"] = seed, self._best_rows[seed, place], self._best[seed, place]
            if self._above is not None:
                best = np.concatenate([best[best["score"] < self._above], *self._chosen])
            return ranked(best, None, None)

    def _checked(self, block: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if block.ndim != 2 or block.dtype not in DTYPES:
            raise SourceError("vectors must be fp16, fp32 or int8, one in a row")
        if block.shape[1] != self._seeds.dimension:
            raise SourceError(
                f"a vector has {block.shape[1]:,} numbers, a seed {self._seeds.dimension:,}",
                hint="vectors and seeds must come from the same model",
            )
        return np.ascontiguousarray(block)

    def _start(self, block: npt.NDArray[Any]) -> None:
        """A floor from the first rows, so that not every pair of the first block counts as near."""
        with self._lock:
            first = block[: max(_FIRST_ROWS, 4 * self._top)]
            if not self._started and len(first) >= self._top:
                cosines = approximate(first, self._seeds)
                at = len(first) - self._top
                lowest = np.partition(cosines, at, axis=1)[:, at] - float_error(self._seeds.dimension)
                self._floor = np.maximum(self._floor, lowest - 1e-7)  # the subtraction was in floats
                self._started = True

    def _sought(self) -> Float64s:
        floor = self._floor
        return floor if self._above is None else np.minimum(floor, self._above)

    def _with_every_seed(self, row: int) -> npt.NDArray[np.uint32]:
        pairs = np.zeros((len(self._seeds), 3), dtype=np.uint32)
        pairs[:, 0], pairs[:, 1] = row, np.arange(len(self._seeds))
        return pairs

    def _scored(self, block: npt.NDArray[Any], numbers: Int64s, pairs: npt.NDArray[np.uint32]) -> Pairs:
        """The pairs with their scores, those dropped that fell short after all."""
        scores = exact(block, self._seeds, pairs)
        near = scores >= self._sought()[pairs[:, 1]]
        found = np.empty(int(near.sum()), dtype=PAIR)
        found["seed"], found["row"], found["score"] = pairs[near, 1], numbers[pairs[near, 0]], scores[near]
        return found

    def _keep(self, found: Pairs, tally: Tally) -> None:
        with self._lock:
            self._tally += tally
            if self._above is not None:
                chosen = found[found["score"] >= self._above]
                self._chosen_count += len(chosen)
                if self._chosen_count > PAIRS_MAX:
                    raise InputError(
                        f"more than {PAIRS_MAX:,} pairs score {self._above} or above", hint="raise the threshold"
                    )
                self._chosen.append(chosen)
            if self._top:
                self._pending.append(found)
                if sum(map(len, self._pending)) >= max(_PENDING_MIN, self._best.size // 4):
                    self._settle()

    def _settle(self) -> None:
        """Put what is pending among the best, and raise the floor."""
        if not self._pending:
            return
        new = np.concatenate(self._pending)
        self._pending = []
        seeds = np.unique(new["seed"])
        kept = np.empty(len(seeds) * self._top, dtype=PAIR)
        kept["seed"] = np.repeat(seeds, self._top)
        kept["row"], kept["score"] = self._best_rows[seeds].ravel(), self._best[seeds].ravel()
        best = ranked(np.concatenate([kept, new]), self._top, None)  # each of these seeds has ``top`` of them, if -inf
        self._best_rows[seeds] = best["row"].reshape(len(seeds), self._top)
        self._best[seeds] = best["score"].reshape(len(seeds), self._top)
        self._floor = np.maximum(self._floor, self._best[:, -1])


def ranked(pairs: Pairs, top: int | None, above: float | None) -> Pairs:
    """Sorted by seed, score descending, row; of each seed the first ``top`` (None: all), and whatever is at least ``above``."""
    pairs = pairs[np.lexsort((pairs["row"], -pairs["score"], pairs["seed"]))]
    if top is None:
        return pairs
    place = np.arange(len(pairs)) - np.searchsorted(pairs["seed"], pairs["seed"])
    keep = place < top
    return pairs[keep if above is None else keep | (pairs["score"] >= above)]


def checked_seeds(seeds: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The seeds, if they can be searched for. Raises InputError, naming the first that cannot."""
    if seeds.ndim != 2 or seeds.dtype not in DTYPES or not 1 <= seeds.shape[1] <= DIMENSION_MAX:
        raise InputError(f"seeds must be fp16, fp32 or int8, one in a row, of 1 to {DIMENSION_MAX:,} numbers")
    if not 1 <= len(seeds) <= SEEDS_MAX:
        raise InputError(f"{len(seeds):,} seeds: there must be 1 to {SEEDS_MAX:,}")
    usable = np.isfinite(seeds).all(axis=1) & seeds.any(axis=1)
    if not usable.all():
        raise InputError(
            f"seed {int(np.argmin(usable)):,} has no direction: its numbers are not finite, or all zero",
            hint="leave it out: nothing is near it",
        )
    return seeds


def _judged(block: npt.NDArray[Any], rows: Int64s) -> tuple[Int64s, Tally]:
    """Rows that floats cannot judge: those that have a score all the same, and the count of the others by reason."""
    numbers = block[rows]
    nan = np.isnan(numbers).any(axis=1)
    infinite = np.isinf(numbers).any(axis=1) & ~nan
    zero = ~numbers.any(axis=1)
    extreme = rows[~(nan | infinite | zero)]
    return extreme, Tally(scored=len(extreme), nan=int(nan.sum()), infinite=int(infinite.sum()), zero=int(zero.sum()))
