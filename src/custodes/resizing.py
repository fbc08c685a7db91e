"""A picture made smaller or larger: columns and rows one after the other, the first being those that leave less, each rounded to bytes.

Promises the same bytes with native kernels, in a quarter of the time, and without, where Pillow does each of the two steps. Its own order depends on its
version. No copy is made of a picture that Pillow holds but for a band of its rows.

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

__all__ = ["FILTERS", "Box", "Picture", "resized", "size_of"]

Pixels = NDArray[np.uint8]
Picture = Image.Image | Pixels
Box = tuple[float, float, float, float]
Ends = tuple[float, float]

FILTERS: Final = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_ONE: Final = 1 << 22
_BAND_BYTES: Final = 1 << 20


def resized(picture: Picture, size: tuple[int, int], filter_: str, box: Box | None = None) -> Pixels:
    """uint8[height, width, 3] of a picture in mode RGB, or of uint8[h, w, 3]. ``box``: the part of it, left, top, right, bottom; None: all."""
    width, height = size_of(picture)
    left, top, right, bottom = box or (0, 0, width, height)
    if size[0] * height <= width * size[1]:
        narrow = _columns(picture, size[0], (left, right), filter_)
        return _rows(narrow, size[1], (top, bottom), filter_)
    short = _rows(picture, size[1], (top, bottom), filter_)
    return _columns(short, size[0], (left, right), filter_)


def size_of(picture: Picture) -> tuple[int, int]:
    """Width and height."""
    return picture.size if isinstance(picture, Image.Image) else (picture.shape[1], picture.shape[0])


def _columns(picture: Picture, count: int, ends: Ends, filter_: str) -> Pixels:
    width, height = size_of(picture)
    kernels = native.kernels()
    if kernels is None:
        return _by_pillow(picture, (count, height), filter_, (ends[0], 0, ends[1], height))
    sums = _axis(width, ends, count, filter_)
    found = np.empty((height, count, 3), np.uint8)
    step = height if isinstance(picture, np.ndarray) else max(1, _BAND_BYTES // (3 * width))
    for top in range(0, height, step):
        out = found[top : top + step]
        kernels.call("resize_columns", _band(picture, top, top + len(out)), len(out), width, *sums.arguments, out)
    return found


def _rows(picture: Picture, count: int, ends: Ends, filter_: str) -> Pixels:
    width, height = size_of(picture)
    kernels = native.kernels()
    if kernels is None or isinstance(picture, Image.Image):
        return _by_pillow(picture, (width, count), filter_, (0, ends[0], width, ends[1]))
    found = np.empty((count, width, 3), np.uint8)
    sums = _axis(height, ends, count, filter_)
    kernels.call("resize_rows", np.ascontiguousarray(picture), 3 * width, *sums.arguments, found)
    return found


def _by_pillow(picture: Picture, size: tuple[int, int], filter_: str, box: Box) -> Pixels:
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    return np.asarray(image.resize(size, FILTERS[filter_], box=box))


def _band(picture: Picture, top: int, bottom: int) -> Pixels:
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
def _axis(length: int, ends: Ends, count: int, filter_: str) -> _Axis:
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
