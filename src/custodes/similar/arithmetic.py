"""Cosines of a block of vectors with seeds: which pairs may reach a floor, and the exact scores of those.

Promises that no pair whose score reaches its floor is left out, and that a score has the same bits at every level of the kernels and without them:
a double, summed in the order of native/vectors.hpp from the stored numbers. Which pairs are kept and how they are ranked is for ``neighbours``.

How far a quick cosine may be from the score. u is 2**-24, n the dimension filled up to a multiple of 32, x a vector, s a seed, Σ over numbers.

1. Sums of floats. In any order, with or without fused products, a sum of n products is off by at most g·Σ|x·s| <= g·|x|·|s|, where g = n·u / (1 - n·u)
   (Higham, Accuracy and Stability, §3.1; Cauchy and Schwarz). The unit seed was rounded once: u. The square of x is off by g of itself, its root by g/2.
   The division and the comparison round: 3·u. Together below (1.6·n + 6)·u for n·u <= 0.001, the largest allowed; ``float_error`` is 3·(n + 8)·u.
2. Sums of integers. x of length S is rounded to integers: each is off by 1/2, so the vector by √n/2, and by S·(n + 8)·u from the floats that scaled it.
   In units of S that is r. With p = x/|x| + a and q = s/|s| + b, |a| and |b| at most r, p·q is off by at most r + (1 + r)·r. The sum is exact:
   it is at most S²·(1 + r)² < 2**31 (Cauchy and Schwarz again, for every part of it too).
3. The score is itself rounded: by less than n·2**-51, which both bounds have room for. Vectors whose square is outside [2**-100, 2**100] lose more in
   floats; they are never left out (``odd``). Below that, what underflows is less than n·2**-86 of the whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from custodes import native

__all__ = [
    "DIMENSION_MAX",
    "DTYPES",
    "Likely",
    "Seeds",
    "approximate",
    "dots",
    "exact",
    "float_error",
    "integer_error",
    "likely",
]

Vectors = npt.NDArray[Any]
"""[n, dimension] of one of ``DTYPES``, contiguous."""

Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]
Uint32s = npt.NDArray[np.uint32]
Bools = npt.NDArray[np.bool_]

DTYPES: Final = (np.dtype("<f2"), np.dtype("<f4"), np.dtype("|i1"))
"""What a number of a vector may be, in the order of native/custodes.h."""

DIMENSION_MAX: Final = 16_384  # the bounds hold for it

_SCALE: Final = 32_000.0  # SCALE, CHUNK, GROUP and the squares of native/vectors.hpp
_CHUNK: Final = 32
_GROUP: Final = 16
_SQUARE_MIN: Final = np.float32(2.0**-100)
_SQUARE_MAX: Final = np.float32(2.0**100)

_FEW: Final = 4
"""So many seeds are compared by sums of floats: it is quicker than a group of integers."""

_UNIT: Final = 2.0**-24
_CELLS_MAX: Final = 1 << 22  # scores held at once without kernels
_INT32: Final = np.iinfo(np.int32)


def filled_up(dimension: int) -> int:
    """The dimension that sums are taken over: numbers beyond the vector's own are zero."""
    return -(-dimension // _CHUNK) * _CHUNK


def float_error(dimension: int) -> float:
    """The most that a cosine by sums of floats is off by: 1. above."""
    return 3 * (filled_up(dimension) + 8) * _UNIT


def integer_error(dimension: int) -> float:
    """The most that a cosine by sums of integers is off by: 2. above."""
    width = filled_up(dimension)
    off = math.sqrt(width) / 2 / _SCALE + (width + 8) * _UNIT
    return off + (1 + off) * off


@dataclass(frozen=True)
class Seeds:
    """Seeds in the forms that they are compared in, all filled up with zeros."""

    dimension: int
    exact: Float64s
    squares: Float64s
    unit: Float32s
    panels: npt.NDArray[np.int16]  # for each 16 seeds, for each two numbers, those two of each seed

    @classmethod
    def of(cls, vectors: Vectors) -> Seeds:
        """From seeds whose numbers are finite, and not all zero."""
        count, dimension = vectors.shape
        width = filled_up(dimension)
        numbers = np.zeros((count, width))
        numbers[:, :dimension] = vectors
        squares = _folded(numbers * numbers, 8)
        unit = numbers / np.sqrt(squares)[:, None]
        whole = np.zeros((-(-count // _GROUP) * _GROUP, width), dtype=np.int16)
        whole[:count] = np.rint(unit * _SCALE)
        panels = whole.reshape(-1, _GROUP, width // 2, 2).transpose(0, 2, 1, 3)
        return cls(dimension, numbers, squares, unit.astype(np.float32), np.ascontiguousarray(panels))

    def __len__(self) -> int:
        return len(self.exact)


class Likely(NamedTuple):
    """Pairs that may reach their floor, uint32[n, 3] of row of the block, seed and something of the kernel's; and the rows that floats cannot judge."""

    pairs: Uint32s
    odd: Bools


def likely(block: Vectors, seeds: Seeds, floor: Float64s) -> Likely:
    """The pairs whose score may be at least its seed's ``floor``, none left out, but for rows that are ``odd``: of those there is no pair."""
    active = native.kernels()
    if active is None or len(seeds) <= _FEW:
        return _by_floats(block, seeds, floor, dots if active else _products)
    squares = np.empty(len(block), dtype=np.float32)
    groups = len(seeds.panels)
    limits = np.full(groups * _GROUP, _INT32.max, dtype=np.int32)
    least = np.floor((floor - integer_error(seeds.dimension)) * _SCALE**2) - 1
    limits[: len(seeds)] = np.clip(least, _INT32.min, _INT32.max)
    pairs = active.hits("vectors_near", _vectors(block), seeds.panels, limits, groups, squares)
    odd = _odd(squares)
    return Likely(pairs[~odd[pairs[:, 0]]] if odd.any() else pairs, odd)


def approximate(block: Vectors, seeds: Seeds) -> Float32s:
    """Cosines, off by at most ``float_error``, [seeds, n]; minus infinity in rows that floats cannot judge. For a few rows: it holds all of them."""
    products, squares = _products(block, seeds.unit)
    with np.errstate(all="ignore"):
        products /= np.sqrt(squares)
    products[:, _odd(squares)] = -np.inf
    return products


def exact(block: Vectors, seeds: Seeds, pairs: Uint32s) -> Float64s:
    """The scores of pairs of a row of the block and a seed. The row's numbers must be finite, and not all zero."""
    active = native.kernels()
    found, squares = np.empty(len(pairs)), np.empty(len(pairs))
    if active is None:
        step = max(1, _CELLS_MAX // 8 // seeds.exact.shape[1])
        for start in range(0, len(pairs), step):
            rows, which = pairs[start : start + step, 0], pairs[start : start + step, 1]
            numbers = _widened(block[rows], np.float64)
            found[start : start + step] = _folded(numbers * seeds.exact[which], 8)
            squares[start : start + step] = _folded(numbers * numbers, 8)
    elif len(pairs):
        active.call(
            "vectors_exact", _vectors(block), seeds.exact, np.ascontiguousarray(pairs), len(pairs), found, squares
        )
    scores: Float64s = np.clip(found / np.sqrt(squares * seeds.squares[pairs[:, 1]]), -1, 1)
    return scores


def dots(block: Vectors, weights: Float32s) -> tuple[Float32s, Float32s]:
    """Sums of floats: the product of each row with each of a few ``weights`` (filled up), [weights, n], and each row's square. Same bits at every level."""
    active = native.kernels()
    products = np.empty((len(weights), len(block)), dtype=np.float32)
    squares = np.empty(len(block), dtype=np.float32)
    if active:
        active.call("vectors_dots", _vectors(block), np.ascontiguousarray(weights), len(weights), products, squares)
        return products, squares
    step = max(1, _CELLS_MAX // weights.shape[1])
    with np.errstate(all="ignore"):  # what is no number, or too large, is told by the sums
        for start in range(0, len(block), step):
            numbers = _widened(block[start : start + step], np.float32)
            squares[start : start + step] = _folded(numbers * numbers, _CHUNK)
            for k, weight in enumerate(weights):
                products[k, start : start + step] = _folded(numbers * weight, _CHUNK)
    return products, squares


def _vectors(block: Vectors) -> native.Vectors:
    return native.Vectors(block.ctypes.data, *block.shape, DTYPES.index(block.dtype))


def _odd(squares: Float32s) -> Bools:
    return ~((squares >= _SQUARE_MIN) & (squares <= _SQUARE_MAX))


def _by_floats(
    block: Vectors, seeds: Seeds, floor: Float64s, products_of: Callable[[Vectors, Float32s], tuple[Float32s, Float32s]]
) -> Likely:
    """Compare a share of the rows at a time, so that no more than so many products are held."""
    limits = (floor - float_error(seeds.dimension)).astype(np.float32)[:, None]
    step = max(1, _CELLS_MAX // len(seeds))
    pairs: list[Uint32s] = []
    odd = np.zeros(len(block), dtype=np.bool_)
    for start in range(0, len(block), step):
        products, squares = products_of(block[start : start + step], seeds.unit)
        odd[start : start + step] = part = _odd(squares)
        with np.errstate(all="ignore"):
            which, rows = np.nonzero((products >= limits * np.sqrt(squares)) & ~part)
        pairs.append(np.stack([rows + start, which, rows], axis=1).astype(np.uint32))
    return Likely(np.concatenate(pairs) if pairs else native.NO_HITS, odd)


def _products(block: Vectors, weights: Float32s) -> tuple[Float32s, Float32s]:
    """As ``dots``, in an order of NumPy's own choice, which is quicker there."""
    numbers = _widened(block, np.float32)
    with np.errstate(all="ignore"):
        return weights @ numbers.T, (numbers * numbers).sum(axis=1)


def _widened(block: Vectors, dtype: type[np.floating]) -> npt.NDArray[Any]:
    wide = np.zeros((len(block), filled_up(block.shape[1])), dtype=dtype)
    wide[:, : block.shape[1]] = block
    return wide


def _folded(terms: npt.NDArray[Any], lanes: int) -> npt.NDArray[Any]:
    """The sum of each row: in lanes, one after the other, and then in halves. NumPy's own sum takes an order that depends on how it was built."""
    total = np.zeros((len(terms), lanes), dtype=terms.dtype)
    for at in range(0, terms.shape[1], lanes):
        total += terms[:, at : at + lanes]
    while lanes > 1:
        lanes //= 2
        total = total[:, :lanes] + total[:, lanes:]
    return total[:, 0]
