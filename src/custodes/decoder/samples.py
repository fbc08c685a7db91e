"""Arrays of samples, as decoders give them: as luma, as bytes, as an image. Arithmetic alone.

Promises that ``luma`` is made in the reference's order of operations, to the last bit. Which samples a picture has is for ``image``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from custodes import native

__all__ = ["Pixels", "bytes_of", "image_of", "luma", "luma_bytes"]

Pixels = NDArray[Any]


def luma(band: Pixels, backdrop: int | None) -> Pixels:
    """Luma of a band of grey, grey + alpha, RGB or RGBA, uint8 or uint16, as it looks on a white (255) or black (0) page, or without its alpha."""
    scale = np.float32(1 / 257) if band.dtype == np.uint16 else np.float32(1)
    if band.ndim == 2:
        return band if band.dtype in (np.uint8, np.float32) else band * scale
    found: NDArray[np.float32]
    if band.shape[2] < 3:
        found = band[:, :, 0].astype(np.float32)
    else:  # in the reference's order of operations, so that the last bit agrees
        red, green, blue = (band[:, :, channel].astype(np.float32) for channel in range(3))
        found = np.float32(0.299) * red + np.float32(0.587) * green + np.float32(0.114) * blue
    found *= scale
    if band.shape[2] in (2, 4) and backdrop is not None:
        alpha = band[:, :, -1] * (scale / np.float32(255))
        found = found * alpha + np.float32(backdrop) * (1 - alpha)
    return found


def luma_bytes(band: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Luma of RGB in whole numbers, as Pillow rounds it: within half a grey level, and much faster."""
    kernels = native.kernels()
    if kernels is None:
        return np.asarray(Image.fromarray(band).convert("L"))
    found = np.empty(band.shape[:2], np.uint8)
    kernels.call("luma", np.ascontiguousarray(band), found.size, found)
    return found


def bytes_of(samples: Pixels) -> Pixels:
    """Samples of 0 to 65,535, or floats of 0 to 255, as bytes."""
    plain: Pixels = samples // np.uint16(257) if samples.dtype == np.uint16 else np.rint(samples)
    return plain.astype(np.uint8)


def image_of(pixels: Pixels) -> Image.Image:
    """An array of any number of channels as a Pillow image."""
    plain = bytes_of(pixels) if pixels.dtype == np.uint16 else pixels
    if plain.ndim == 3 and plain.shape[2] == 1:
        plain = plain[:, :, 0]
    return Image.fromarray(np.ascontiguousarray(plain))
