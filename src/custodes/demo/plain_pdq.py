"""PDQ by the published steps, slow and plain: the demonstration's authority hashes its own pictures with it.

It promises the same codes as the reference (github.com/facebook/ThreatExchange, pdq/cpp) on ordinary pictures. It is
kept apart from ``custodes.decoder.hashing`` on purpose: a list made by the code that is being shown would hide that code's
mistakes.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["distance", "forms"]

_SIDE: Final = 64
_COSINES: Final = np.sqrt(2 / _SIDE) * np.cos(
    np.pi / (2 * _SIDE) * np.outer(np.arange(1, 17), 2 * np.arange(_SIDE) + 1),
)
_ROW_ODD: Final = np.arange(16)[:, None] % 2 == 1
_COLUMN_ODD: Final = np.arange(16)[None, :] % 2 == 1


def _box(luma: NDArray[np.float64]) -> NDArray[np.float64]:
    """The running mean down the columns: window ceil(rows/128), cut off at the edges, divided by what is left."""
    size = len(luma)
    window = (size + 127) // 128
    ahead = (window + 2) // 2
    at = np.arange(size)
    low, high = np.maximum(at + ahead - window, 0), np.minimum(at + ahead, size)
    sums = np.concatenate([np.zeros((1, luma.shape[1])), np.cumsum(luma, axis=0)])
    return np.asarray((sums[high] - sums[low]) / (high - low)[:, None])


def _shrunk(luma: NDArray[np.float64]) -> NDArray[np.float64]:
    """Two running means down the columns, then 64 of the rows."""
    samples = ((np.arange(_SIDE) + 0.5) * len(luma) / _SIDE).astype(int)
    return np.asarray(_box(_box(luma))[samples], dtype=np.float64)


def _quality(small: NDArray[np.float64]) -> int:
    steps = (np.diff(small, axis=0), np.diff(small, axis=1))
    total = sum(int(np.abs(np.trunc(step * 100 / 255)).sum()) for step in steps)
    return min(100, total // 90)


def _code(waves: NDArray[np.float64]) -> NDArray[np.uint8]:
    """32 bytes, most significant bit first: a bit is set where its wave is above the lower median."""
    median = np.sort(waves, axis=None)[127]
    return np.packbits((waves > median).reshape(-1)[::-1])


def forms(image: Image.Image) -> tuple[NDArray[np.uint8], int]:
    """The codes of a picture and of its seven mirrored and turned forms, uint8[8, 32], the picture's own first; and its
    quality, 0 to 100.
    """
    rgb = np.asarray(image.convert("RGB"), dtype=np.float64)
    luma = 0.299 * rgb[..., 0] + 0.587 * rgb[..., 1] + 0.114 * rgb[..., 2]
    small = _shrunk(_shrunk(luma).T).T
    waves = _COSINES @ small @ _COSINES.T
    # Transposing the picture transposes its waves; mirroring one axis changes the sign of that axis' odd cosines, which
    # sit in
    # the even rows because the constant wave is left out.
    columns, rows = np.where(_COLUMN_ODD, waves, -waves), np.where(_ROW_ODD, waves, -waves)
    both = np.where(_ROW_ODD ^ _COLUMN_ODD, -waves, waves)
    plain = (waves, columns, rows, both)
    return np.stack([_code(form) for each in plain for form in (each, each.T)]), _quality(small)


def distance(code: NDArray[np.uint8], codes: NDArray[np.uint8]) -> int:
    """Bits between a code and the nearest of ``codes`` uint8[n, 32]."""
    return int(np.bitwise_count(codes ^ code).sum(axis=-1, dtype=np.int64).min())
