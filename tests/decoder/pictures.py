"""Benign pictures made of noise and shapes, and files of them in every format."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, ImageDraw


@lru_cache(maxsize=64)
def picture(width: int = 640, height: int = 480, seed: int = 1) -> Image.Image:
    """A smooth random texture with ellipses: as much structure at every scale as a photo has."""
    rng = np.random.default_rng(seed)
    energy = np.fft.fftfreq(height)[:, None] ** 2 + np.fft.fftfreq(width)[None] ** 2
    energy[0, 0] = 1
    waves = [np.fft.ifft2(np.fft.fft2(rng.standard_normal((height, width))) / energy**0.7).real for _ in range(3)]
    pixels = np.stack([(wave - wave.mean()) / wave.std() * 50 + 128 for wave in waves], -1)
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        box = (x, y, x + int(rng.integers(10, 10 + width // 2)), y + int(rng.integers(10, 10 + height // 2)))
        draw.ellipse(box, fill=tuple(int(value) for value in rng.integers(0, 256, 3)))
    return image


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The file that Pillow writes."""
    out = BytesIO()
    image.copy().save(out, kind, **options)  # a copy, because Pillow leaves settings of the last save in the image
    return out.getvalue()


def distance(one: bytes, other: bytes) -> int:
    """Differing bits."""
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()
