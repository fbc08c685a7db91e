"""JPEGs that cost a decoder what photographs cost it: dead leaves over noise of falling amplitude, in four sizes, a fifth progressive.

Dead leaves (discs of all sizes that hide one another, radii by an inverse cube law) have the edges of photographs, 1/f noise their texture. They
are seeded, made once into ``bench/work``, and show nothing.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
from corpus import _clouds
from PIL import Image, ImageDraw

__all__ = ["SIZES", "photos"]

SIZES: Final = {"640x480": 40, "1024x768": 40, "1920x1080": 20, "4000x3000": 10}
LEAVES: Final = 900
RADIUS_MIN: Final = 1 / 160  # of the width


def photos(folder: Path, *, quick: bool = False) -> Path:
    """A folder with one folder a size, of ``SIZES`` pictures each; a quarter of them when quick."""
    home = folder / ("photos-quick" if quick else "photos")
    wanted = [(size, n) for size, count in SIZES.items() for n in range(max(5, count // 4) if quick else count)]
    missing = [(str(home), size, n) for size, n in wanted if not (home / size / f"{n:03d}.jpg").exists()]
    for size in SIZES:
        (home / size).mkdir(parents=True, exist_ok=True)
    if missing:
        with ProcessPoolExecutor(3) as pool:
            list(pool.map(_photo, *zip(*missing, strict=True)))
    return home


def _photo(home: str, size: str, number: int) -> None:
    random = np.random.default_rng([9, number, *map(int, size.split("x"))])
    width, height = map(int, size.split("x"))
    texture = np.asarray(_clouds(random, (width, height)), np.float32)
    image = _dead_leaves(random, width, height)
    strength = random.uniform(0, 4) * min(1, (1024 / width) ** 0.5)
    grain = random.normal(0, strength, (height, width, 1)).astype(np.float32)
    mixed = 0.7 * np.asarray(image, np.float32) + random.uniform(0.2, 0.4) * (texture - 128) + 40 + grain
    picture = Image.fromarray(np.clip(mixed, 0, 255).astype(np.uint8))
    quality = int(random.integers(75, 96))
    path = Path(home) / size / f"{number:03d}.jpg"
    picture.save(path.with_suffix(".aside"), "JPEG", quality=quality, progressive=number % 5 == 0)
    path.with_suffix(".aside").replace(path)


def _dead_leaves(random: np.random.Generator, width: int, height: int) -> Image.Image:
    """Discs from the largest radius down to a hundred-and-sixtieth of the width; the density of a radius r falls as r**-3."""
    image = Image.new("RGB", (width, height), (128, 128, 128))
    draw = ImageDraw.Draw(image)
    least, most = width * RADIUS_MIN, width / 3
    share = random.random(LEAVES)
    radii = 1 / np.sqrt(share / least**2 + (1 - share) / most**2)
    tones = np.clip(random.integers(0, 256, (LEAVES, 1)) + random.normal(0, 30, (LEAVES, 3)), 0, 255).astype(int)
    for r, tone in zip(np.sort(radii)[::-1].tolist(), tones.tolist(), strict=True):
        x, y = random.random() * width, random.random() * height
        draw.ellipse((x - r, y - r, x + r, y + r), fill=tuple(tone))
    return image
