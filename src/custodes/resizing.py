"""A picture made smaller or larger as Pillow does it, to the last bit, in a fifth of the time where there are native kernels.

Promises Pillow's own bytes, whatever the sizes, for the filters of ``FILTERS``: without kernels it is Pillow that answers. No copy is made of a picture that
Pillow holds but for a band of its rows.

Source: Pillow, src/libImaging/Resample.c.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from custodes import native

__all__ = ["FILTERS", "Box", "resized"]

Pixels = NDArray[np.uint8]
Box = tuple[float, float, float, float]

FILTERS: Final = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_ONE: Final = 1 << 22
_BAND_BYTES: Final = 1 << 20


def resized(picture: Image.Image | Pixels, size: tuple[int, int], filter_: str, box: Box | None = None) -> Pixels:
    """uint8[height, width, 3] of a picture in mode RGB, or of uint8[h, w, 3]. ``box``: the part of it, left, top, right, bottom; None: all."""
    kernels = native.kernels()
    if kernels is None:
        image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        return np.asarray(image.resize(size, FILTERS[filter_], box=box))
    width, height = _size(picture)
    left, top, right, bottom = box or (0, 0, width, height)
    columns, rows = _axis(width, (left, right), size[0], filter_), _axis(height, (top, bottom), size[1], filter_)
    first, last = int(rows.starts[0]), int(rows.starts[-1] + rows.counts[-1])
    narrow = np.empty((last - first, size[0], 3), np.uint8)
    step = max(1, _BAND_BYTES // (3 * width))
    for at in range(first, last, step):
        band = _band(picture, at, min(at + step, last))
        out = narrow[at - first : at - first + len(band)]
        kernels.call("resize_columns", band, len(band), width, *columns.arguments, out)
    found = np.empty((size[1], size[0], 3), np.uint8)
    begun = rows.from_(first)
    kernels.call("resize_rows", narrow, narrow[0].size, *begun.arguments, found)
    return found


def _size(picture: Image.Image | Pixels) -> tuple[int, int]:
    return picture.size if isinstance(picture, Image.Image) else (picture.shape[1], picture.shape[0])


def _band(picture: Image.Image | Pixels, top: int, bottom: int) -> Pixels:
    if isinstance(picture, Image.Image):
        return np.asarray(picture.crop((0, top, picture.width, bottom)))
    return np.ascontiguousarray(picture[top:bottom])


@dataclass(frozen=True, slots=True)
class _Axis:
    """Weighted sums: where each starts, of how many samples it is, and its weights."""

    starts: NDArray[np.int32]
    counts: NDArray[np.int32]
    weights: NDArray[np.int32]

    @property
    def arguments(self) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], int, int]:
        """As kernels take them."""
        return self.starts, self.counts, self.weights, self.weights.shape[1], len(self.starts)

    def from_(self, first: int) -> _Axis:
        """The same of samples that begin with this one."""
        return _Axis(self.starts - np.int32(first), self.counts, self.weights)


def _bilinear(x: float) -> float:
    return 1 - x if x < 1 else 0.0


def _bicubic(x: float) -> float:
    if x < 1:
        return (1.5 * x - 2.5) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * -0.5 if x < 2 else 0.0


_WAVES: Final[dict[str, tuple[Callable[[float], float], float]]] = {
    "bilinear": (_bilinear, 1.0),
    "bicubic": (_bicubic, 2.0),
}


@lru_cache(maxsize=64)
def _axis(length: int, ends: tuple[float, float], count: int, filter_: str) -> _Axis:
    """The sums of one axis (precompute_coeffs, normalize_coeffs_8bpc). A kernel reads what this says: none leaves the picture."""
    begin, end = np.float32(ends[0]), np.float32(ends[1])
    scale = float(end - begin) / count
    if scale == 1.0 and count == length:  # Pillow leaves such an axis alone: each sample is itself
        return _Axis(np.arange(count, dtype=np.int32), np.ones(count, np.int32), np.full((count, 1), _ONE, np.int32))
    wave, reach = _WAVES[filter_]
    stretch = max(scale, 1.0)
    support = reach * stretch
    taps = math.ceil(support) * 2 + 1
    starts, counts = np.zeros(count, np.int32), np.zeros(count, np.int32)
    weights = np.zeros((count, taps), np.int32)
    for number in range(count):
        center = float(begin) + (number + 0.5) * scale
        first, last = max(int(center - support + 0.5), 0), min(int(center + support + 0.5), length)
        found = [wave(abs((sample - center + 0.5) * (1 / stretch))) for sample in range(first, last)]
        whole = sum(found)
        starts[number], counts[number] = first, last - first
        weights[number, : last - first] = [math.trunc(each / whole * _ONE + math.copysign(0.5, each)) for each in found]
    if (counts < 1).any() or (starts + counts > length).any() or (counts > taps).any():
        raise ValueError("sums that leave the picture")
    return _Axis(starts, counts, weights)
