"""PDQ: 64x64 luma from an image of any size, 256 bits from that, and the eight dihedral forms of the bits.

Promises that the code of the full-resolution luma equals the reference implementation bit for bit, and that a luma reduced by 2, 4 or 8 stays within a
few bits of it. Native kernels answer where there are any, NumPy elsewhere and as the oracle: the same bits, because the order of every float32 operation is
fixed, here and in native/pdq.hpp alike. Products are rounded, then added one after the other, the first term first. Decoding is left to ``decoder.image``,
matching to ``index``.

Source: facebook/ThreatExchange, pdq/cpp/hashing/pdqhashing.cpp and pdq/cpp/downscaling/downscaling.cpp, here "the reference".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from custodes import native
from custodes.model import PDQ_BITS, Pdq

__all__ = ["FORMS", "REFLECTIONS", "forms_of", "luma64", "pdq", "pdq_of_rows", "reflections_of"]

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Rows = Callable[[int, int], NDArray[Any]]

FORMS: Final = ("original", "rotate90", "rotate180", "rotate270", "flipx", "flipy", "flip_plus1", "flip_minus1")
"""The eight dihedral forms, in the order of every array of forms."""

REFLECTIONS: Final = ("flipx", "flipy", "rotate180")
"""The forms that are kept beside a code: they change signs of coefficients, and so the median, which the code alone does not tell."""

_GRID: Final = 64
_FREQUENCIES: Final = 16
_SIDE_MIN: Final = 5  # the reference gives code 0, quality 0 below this
# Products of a band of rows, 1 MiB: they stay in the second-level cache, whatever the size of the image. Kernels store none, so their bands may be longer.
_TERMS: Final = 1 << 18
_KERNEL_TERMS: Final = 1 << 20


# --- the tent operator ---


@dataclass(frozen=True, slots=True)
class _Axis:
    """One axis of the operator: 64 weighted sums over its ``samples``. ``begin`` rises, and begin + support stays inside."""

    begin: NDArray[np.int64]
    weights: Floats
    samples: int
    for_kernels: native.Tents

    @property
    def support(self) -> int:
        """How many weights a sum has."""
        return int(self.weights.shape[1])


@lru_cache(maxsize=4096)  # about 4 kB each; the web knows many sizes
def _axis(size: int, reduction: int) -> _Axis:
    begin, weights = _tents(size, reduction)
    samples = -(-size // reduction)
    # A kernel reads what this says: the one place where it could be led outside of the image.
    if begin[0] < 0 or (np.diff(begin) < 0).any() or begin[-1] + weights.shape[1] > samples:
        raise ValueError(f"tents of {size} samples reduced by {reduction} leave the image")
    return _Axis(begin, weights, samples, native.Tents(begin.ctypes.data, weights.ctypes.data, weights.shape[1]))


def _tents(size: int, reduction: int) -> tuple[NDArray[np.int64], Floats]:
    """One axis of the reference's blur-and-sample as 64 weighted sums: first sample of each, and its weights (64, support).

    The reference runs two box means of width ceil(size/128), truncated at the edges, and samples at (k + 0.5) * size / 64: a linear map, so both
    passes and the sampling fold into one tent per output. For an image reduced by ``reduction`` the weights of each block are added, which is the
    same operator wherever a reduced sample is the mean of its block.
    """
    window = (size + 127) // 128
    after = (window + 2) // 2 - 1
    before = window - 1 - after
    sampled = ((np.arange(_GRID) * 2 + 1) * size) // 128
    second = sampled[:, None] + np.arange(-before, after + 1)
    inside = (second >= 0) & (second < size)
    weight = inside / inside.sum(axis=1, keepdims=True)
    first = np.maximum(second - before, 0)
    last = np.minimum(second + after, size - 1)
    weight /= np.maximum(last - first + 1, 1)
    return _gathered(first[inside], last[inside], (weight[inside], np.nonzero(inside)[0]), (size, reduction))


def _gathered(
    first: NDArray[np.intp],
    last: NDArray[np.intp],
    weighted: tuple[NDArray[np.float64], NDArray[np.intp]],
    axis: tuple[int, int],
) -> tuple[NDArray[np.int64], Floats]:
    """Boxes [first, last] of a weight, each belonging to an output, as one row of weights for each output."""
    weight, output = weighted
    size, reduction = axis
    start = np.full(_GRID, size, np.intp)
    np.minimum.at(start, output, first)
    span = int(np.max(last - start[output])) + 1
    steps = np.zeros((_GRID, span + 1))
    np.add.at(steps, (output, first - start[output]), weight)
    np.subtract.at(steps, (output, last + 1 - start[output]), weight)
    full = np.cumsum(steps, axis=1)[:, :span]
    reduced_size = -(-size // reduction)
    block = (start[:, None] + np.arange(span)) // reduction
    support = min(int(np.max(block[:, -1] - block[:, 0])) + 1, reduced_size)
    begin = np.minimum(block[:, 0], reduced_size - support)
    weights = np.zeros((_GRID, support))
    inside = full > 1e-12  # cumulative sums of what was added and taken away again end near, not at, zero
    rows = np.nonzero(inside)[0]
    np.add.at(weights, (rows, (block - begin[:, None])[inside]), full[inside])
    return begin.astype(np.int64), weights.astype(np.float32)


def _sum_in_order(terms: Floats) -> Floats:
    """The sum over the first axis of a C-contiguous array, one term after the other: NumPy sums in pairs along the axis that is contiguous, and only there."""
    total: Floats = np.add.accumulate(terms)[-1] if terms[0].size == 1 else np.add.reduce(terms, axis=0)
    return total


def _bands(rows: Rows, lines: _Axis, step: int) -> Iterator[tuple[int, NDArray[Any]]]:
    """Every ``step`` tents: the first of them, and the rows that they need, uint8 or float32."""
    for first in range(0, _GRID, step):
        top, bottom = int(lines.begin[first]), int(lines.begin[min(first + step, _GRID) - 1]) + lines.support
        band = rows(top, bottom)
        if len(band) != bottom - top:
            raise ValueError(f"{len(band)} rows of luma instead of {bottom - top}")
        yield first, band if band.dtype in (np.uint8, np.float32) else band.astype(np.float32)


def _halfway(rows: Rows, lines: _Axis, columns: int) -> Floats:
    """The rows summed, not yet the columns: (64, columns)."""
    halfway = np.empty((_GRID, columns), np.float32)
    step = max(1, _TERMS // (lines.support * columns))
    for first, band in _bands(rows, lines, step):
        tents = slice(first, first + step)
        picked = lines.begin[tents] - lines.begin[first] + np.arange(lines.support)[:, None]
        terms = band.take(picked, axis=0).astype(np.float32)
        terms *= lines.weights[tents].T[:, :, None]
        halfway[tents] = _sum_in_order(terms)
    return halfway


def luma64(rows: Rows, width: int, height: int, reduction: int = 1) -> Floats:
    """The reference's 64x64 sampled luma, float32 (64, 64).

    ``rows(top, bottom)`` gives rows of the luma, uint8 or float32 (bottom - top, ceil(width / reduction)); it is asked for bands in rising order,
    which may overlap. ``width`` and ``height`` are pixels before reduction.
    """
    lines, columns = _axis(height, reduction), _axis(width, reduction)
    if kernels := native.kernels():
        return _by_kernels(kernels, rows, lines, columns)[0]
    turned = np.ascontiguousarray(_halfway(rows, lines, columns.samples).T)
    terms = turned.take(columns.begin + np.arange(columns.support)[:, None], axis=0)
    terms *= columns.weights.T[:, :, None]
    return np.ascontiguousarray(_sum_in_order(terms).T)


def _by_kernels(kernels: native.Kernels, rows: Rows, lines: _Axis, columns: _Axis) -> tuple[Floats, bytes]:
    """The 64x64 luma, and 129 bytes: the code, its reflections, the quality."""
    halfway = np.empty((_GRID, columns.samples), np.float32)
    step = max(1, _KERNEL_TERMS // (lines.support * columns.samples))
    for first, band in _bands(rows, lines, step):
        if band.shape[1:] != (columns.samples,):
            raise ValueError(f"luma of shape {band.shape} instead of {columns.samples} columns")
        tents = slice(first, first + step)
        arguments = columns.samples, lines.for_kernels, first, len(lines.begin[tents]), halfway[tents]
        kernels.call(f"pdq_rows_{band.dtype.name}", np.ascontiguousarray(band), *arguments)
    luma, answer = np.empty((_GRID, _GRID), np.float32), np.empty(4 * PDQ_BITS // 8 + 1, np.uint8)
    kernels.call("pdq", halfway, columns.samples, columns.for_kernels, _WAVES, luma, answer)
    return luma, answer.tobytes()


# --- the code ---

_WAVES: Final[Floats] = np.ascontiguousarray(
    np.sqrt(2 / _GRID)
    * np.cos(np.pi / (2 * _GRID) * np.outer(np.arange(_GRID) * 2 + 1, np.arange(1, _FREQUENCIES + 1))),
    np.float32,
)


def _project(samples: Floats) -> Floats:
    """Frequencies 1 to 16 of every column: (64, n) to (n, 16)."""
    return _sum_in_order(samples[:, :, None] * _WAVES[:, None, :])


def _coefficients(luma: Floats) -> Floats:
    """Frequencies 1 to 16 of both axes, without the constant one."""
    return _project(_project(luma))


def _code(coefficients: Floats) -> bytes:
    """Bit 16 i + j says whether coefficient (i, j) is above the lower median, the 128th smallest (Torben's); bit 0 is the last of the code."""
    flat = coefficients.ravel()
    median = np.partition(flat, PDQ_BITS // 2 - 1)[PDQ_BITS // 2 - 1]
    return np.packbits((flat > median)[::-1]).tobytes()


def _quality(luma: Floats) -> int:
    """The reference's gradient score, 0 to 100: each difference of neighbours is cut to a whole per cent before it is added."""
    total = 0
    for axis in (0, 1):
        change = np.diff(luma, axis=axis) * np.float32(100) / np.float32(255)
        total += int(np.abs(np.trunc(change)).sum())
    return min(100, total // 90)


def _pdq64(luma: Floats, frame: int) -> Pdq:
    coefficients = _coefficients(luma)
    return Pdq(_code(coefficients), _quality(luma), frame, reflections_of(coefficients))


def pdq_of_rows(rows: Rows, size: tuple[int, int], reduction: int, frame: int) -> Pdq:
    """PDQ of a frame given by a function of (top, bottom) that yields its luma rows; ``size`` is the original's width and height."""
    width, height = size
    if min(width, height) < _SIDE_MIN:
        return Pdq(bytes(PDQ_BITS // 8), 0, frame, bytes(3 * PDQ_BITS // 8))
    if kernels := native.kernels():
        _, answer = _by_kernels(kernels, rows, _axis(height, reduction), _axis(width, reduction))
        return Pdq(answer[: PDQ_BITS // 8], answer[-1], frame, answer[PDQ_BITS // 8 : -1])
    return _pdq64(luma64(rows, width, height, reduction), frame)


def pdq(luma: NDArray[Any], width: int, height: int, reduction: int = 1) -> Pdq:
    """PDQ of a luma array, uint8 or float32 in 0 to 255, shape (ceil(height / reduction), ceil(width / reduction)).

    ``width`` and ``height`` are those of the original, ``reduction`` is 1, 2, 4 or 8. The code equals ``bytes.fromhex`` of the usual 64 digits.
    """
    if luma.shape != (-(-height // reduction), -(-width // reduction)):
        raise ValueError(f"luma of shape {luma.shape} is not {width}x{height} reduced by {reduction}")
    return pdq_of_rows(lambda top, bottom: luma[top:bottom], (width, height), reduction, 0)


# --- dihedral forms ---

_ROW, _COLUMN = np.indices((_FREQUENCIES, _FREQUENCIES))
# Reflecting an image changes the sign of the odd frequencies along the axis; the rows and columns here count from frequency 1.
_SIGNS: Final = (_ROW % 2 == 0, _COLUMN % 2 == 0, (_ROW + _COLUMN) % 2 == 1)
# Each form is one of (code, flipx, flipy, rotate180), turned over its diagonal or not; turning moves bits and leaves the median.
_SHAPES: Final = ((0, False), (2, True), (3, False), (1, True), (1, False), (2, False), (0, True), (3, True))


def reflections_of(coefficients: Floats) -> bytes:
    """The codes of ``REFLECTIONS``, 96 bytes, exactly as the reference derives them from the 16x16 coefficients."""
    return b"".join(_code(np.where(sign, -coefficients, coefficients)) for sign in _SIGNS)


def forms_of(codes: Bytes) -> Bytes:
    """The eight forms of codes with their reflections: uint8 (n, 128) to uint8 (n, 8, 32), in the order of ``FORMS``. Exact."""
    assert codes.dtype == np.uint8
    codes = np.ascontiguousarray(codes).reshape(-1, 4 * PDQ_BITS // 8)
    if kernels := native.kernels():
        forms = np.empty((len(codes), len(FORMS), PDQ_BITS // 8), np.uint8)
        kernels.call("pdq_forms", codes, len(codes), forms)
        return forms
    bits = np.unpackbits(codes.reshape(-1, 4, PDQ_BITS // 8), axis=2)[:, :, ::-1]
    square = bits.reshape(-1, 4, _FREQUENCIES, _FREQUENCIES)
    turned = [square[:, base].transpose(0, 2, 1) if turns else square[:, base] for base, turns in _SHAPES]
    return np.packbits(np.stack(turned, axis=1).reshape(-1, len(FORMS), PDQ_BITS)[:, :, ::-1], axis=2)
