"""Paints the pictures of the demonstration: landscapes, tiles, fractals and the like, in every format that is examined.

The same seed gives the same bytes with the same Pillow. No picture shows anybody or anything that could harm: they are
all sums of waves, discs and blocks. Which of them are planted on a list is the gallery's matter.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

__all__ = ["FAMILIES", "TYPES", "Picture", "animation", "decoded", "encoded", "grey16", "photographs", "pictures"]

TYPES: Final = {
    "JPEG": ("jpg", "image/jpeg"),
    "PNG": ("png", "image/png"),
    "GIF": ("gif", "image/gif"),
    "WEBP": ("webp", "image/webp"),
    "AVIF": ("avif", "image/avif"),
    "BMP": ("bmp", "image/bmp"),
    "TIFF": ("tif", "image/tiff"),
}

Pixels = NDArray[np.uint8]
Numbers = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Picture:
    """One file of the corpus: its bytes as they are served, its size in pixels, and which family it was painted in."""

    name: str
    mime: str
    data: bytes
    family: int
    width: int
    height: int


# --- Painting: each family takes a random generator and a size, and gives uint8[height, width, 3] ---


def _field(rng: np.random.Generator, width: int, height: int, grain: int) -> Numbers:
    """A smooth random field, about 0 to 1: ``grain`` random knots to a side, drawn out to the size asked for."""
    knots = Image.fromarray(rng.random((grain, grain), dtype=np.float32))
    return np.asarray(knots.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32)


def _colours(rng: np.random.Generator, count: int) -> Numbers:
    return rng.uniform(20, 235, (count, 3)).astype(np.float32)


def _finish(rng: np.random.Generator, paint: Numbers | Pixels) -> Pixels:
    """Uneven light and a little grain, so that no picture is symmetric or flat."""
    height, width = paint.shape[:2]
    light = 0.65 + 0.6 * _field(rng, width, height, 5)[..., None]
    # One strip of grain, laid over and over: drawing new noise for each pixel would cost more than the painting.
    grain = np.resize(rng.normal(0, 3, 65_521).astype(np.float32), (height, width))[..., None]
    return np.clip(paint * light + grain, 0, 255).astype(np.uint8)


def _landscape(rng: np.random.Generator, width: int, height: int) -> Pixels:
    top, bottom = _colours(rng, 2)
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    paint = np.repeat(top * (1 - down) + bottom * down, width, axis=1)
    across = np.linspace(0, 1, width, dtype=np.float32)
    for layer in range(5):
        waves = rng.uniform(1, 24, 7)
        ridge = sum(np.sin(across * wave + rng.uniform(0, 6.3)) / wave for wave in waves)
        line = (0.25 + 0.15 * layer + 0.16 * ridge) * height
        paint[np.arange(height)[:, None] > line[None, :]] = _colours(rng, 1)[0]
    return _finish(rng, paint)


def _gradient(rng: np.random.Generator, width: int, height: int) -> Pixels:
    low, high = _colours(rng, 2)
    mixed = 0.55 * _field(rng, width, height, 9) + 0.45 * _field(rng, width, height, 23)
    share = np.clip(mixed * 1.6 - 0.3, 0, 1)[..., None]
    return _finish(rng, low * (1 - share) + high * share)


def _tiles(rng: np.random.Generator, width: int, height: int) -> Pixels:
    side = int(rng.integers(24, 90))
    turn = rng.uniform(-0.5, 0.5)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    across, down = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
    column, row = (across // side).astype(np.int64), (down // side).astype(np.int64)
    palette = _colours(rng, 61)
    paint = palette[(column * 7 + row * 13 + (column * row) % 11) % 61]
    paint[(across % side < 3) | (down % side < 3)] = 225
    return _finish(rng, paint)


def _shapes(rng: np.random.Generator, width: int, height: int) -> Pixels:
    canvas = Image.new("RGB", (width, height), tuple(rng.integers(60, 240, 3).tolist()))
    draw = ImageDraw.Draw(canvas)
    for number in range(int(rng.integers(14, 40))):
        ends = rng.integers(0, (width, height), (3, 2))
        colour = tuple(rng.integers(0, 256, 3).tolist())
        box = [*ends[:2].min(axis=0).tolist(), *ends[:2].max(axis=0).tolist()]
        if number % 3 == 0:
            draw.polygon([tuple(end) for end in ends.tolist()], fill=colour)
        elif number % 3 == 1:
            draw.ellipse(box, fill=colour)
        else:
            draw.rectangle(box, fill=colour)
    return _finish(rng, np.asarray(canvas))


def _fractal(rng: np.random.Generator, width: int, height: int) -> Pixels:
    """A Julia set with its constant near the edge of the Mandelbrot set, where the pictures are rich."""
    angle = rng.uniform(0, 2 * np.pi)
    centre = 0.7885 * np.exp(1j * angle)
    y, x = np.mgrid[-1.1 : 1.1 : height // 2 * 1j, -1.5 : 1.5 : width // 2 * 1j]
    turn = np.exp(1j * rng.uniform(0, 3.1))
    point = ((x + 1j * y) * turn + complex(*rng.uniform(-0.3, 0.3, 2))).astype(np.complex64)
    steps = np.zeros(point.shape, dtype=np.uint8)
    for _ in range(28):
        steps += np.abs(point) < 4
        # Held at 4 so that a point that has left does not overflow; it stays outside.
        point = np.where(np.abs(point) < 4, point * point + np.complex64(centre), np.complex64(4))
    paint = Image.fromarray(_colours(rng, 29).astype(np.uint8)[steps])
    return _finish(rng, np.asarray(paint.resize((width, height), Image.Resampling.BILINEAR)))


def _lettering(rng: np.random.Generator, width: int, height: int) -> Pixels:
    """Lines of blocks that look like writing and say nothing."""
    scale = int(rng.integers(3, 8))
    rows, columns = height // (scale * 10) + 1, width // (scale * 6) + 1
    alphabet = np.zeros((32, 10, 6), dtype=bool)
    alphabet[1:, 1:8, :5] = rng.random((31, 7, 5)) < 0.5
    letters = rng.integers(0, 32, (rows, columns))
    letters[np.arange(columns)[None, :] > rng.integers(columns // 2, columns + 4, rows)[:, None]] = 0
    page = alphabet[letters].transpose(0, 2, 1, 3).reshape(rows * 10, columns * 6)
    ink = np.kron(page, np.ones((scale, scale), dtype=bool))[:height, :width]
    paper, pen = rng.uniform(150, 245, 3), rng.uniform(0, 90, 3)
    return _finish(rng, np.where(ink[..., None], pen, paper).astype(np.float32))


def _dead_leaves(rng: np.random.Generator, width: int, height: int) -> Pixels:
    """Discs of all sizes fallen over each other, the usual stand-in for the statistics of natural images."""
    canvas = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(canvas)
    count = 350
    radii = np.sort(np.minimum(14 / np.sqrt(rng.uniform(0.004, 1, count)), min(width, height) / 2))[::-1]
    colours = rng.integers(10, 246, (count, 3)).tolist()
    for (x, y), radius, colour in zip(rng.random((count, 2)) * (width, height), radii, colours, strict=True):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=tuple(colour))
    return _finish(rng, np.asarray(canvas))


FAMILIES: Final[tuple[tuple[str, Callable[[np.random.Generator, int, int], Pixels]], ...]] = (
    ("landscape", _landscape),
    ("gradient", _gradient),
    ("tiled pattern", _tiles),
    ("composition of shapes", _shapes),
    ("fractal", _fractal),
    ("sheet of invented letters", _lettering),
    ("heap of discs", _dead_leaves),
)
"""What the pictures show, by family number. A photograph has the number after the last."""


# --- Encoding ---


def _jpeg(**options: object) -> Callable[[Image.Image], bytes]:
    return lambda image: encoded(image.convert("RGB"), "JPEG", **options)


def grey16(image: Image.Image) -> Image.Image:
    """The picture in 16 bits of grey."""
    return Image.fromarray(np.asarray(image.convert("L"), dtype=np.uint16) * 257)


def _windowed(image: Image.Image) -> Image.Image:
    """The picture with an oval cut out of transparent surroundings."""
    oval = Image.new("L", image.size, 40)
    ImageDraw.Draw(oval).ellipse((0, 0, *image.size), fill=255)
    copy = image.convert("RGB")
    copy.putalpha(oval)
    return copy


def _animated(image: Image.Image) -> bytes:
    """Five frames, each the picture shifted on by a fifth."""
    pixels = np.asarray(image.convert("RGB"))
    shift = pixels.shape[1] // 5
    return animation([Image.fromarray(np.roll(pixels, shift * frame, axis=1)) for frame in range(5)])


def animation(frames: list[Image.Image]) -> bytes:
    """An endless GIF of whole frames, a tenth of a second each."""
    first, *rest = [frame.quantize(128) for frame in frames]
    return encoded(first, "GIF", save_all=True, append_images=rest, duration=100, loop=0, disposal=1)


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    """The bytes of a picture in one of the formats that Pillow names."""
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


_PLAIN_JPEGS: Final = tuple(
    _jpeg(quality=quality, subsampling=sampling, progressive=progressive)
    for quality, sampling, progressive in (
        (75, "4:2:0", False), (80, "4:2:0", False), (85, "4:2:0", True), (85, "4:4:4", False), (92, "4:4:4", False),
        (90, "4:2:0", False), (78, "4:2:0", False), (88, "4:2:0", True), (82, "4:4:4", False), (75, "4:4:4", True),
    )
)  # fmt: skip
_OTHERS: Final[tuple[tuple[str, Callable[[Image.Image], bytes]], ...]] = (
    ("PNG", lambda image: encoded(image, "PNG", compress_level=1)),
    ("PNG", lambda image: encoded(image.quantize(64), "PNG")),
    ("PNG", lambda image: encoded(image.convert("L"), "PNG", compress_level=1)),
    ("PNG", lambda image: encoded(_windowed(image), "PNG", compress_level=1)),
    ("PNG", lambda image: encoded(grey16(image), "PNG", compress_level=1)),
    ("GIF", lambda image: encoded(image.quantize(96), "GIF")),
    ("GIF", _animated),
    ("WEBP", lambda image: encoded(image, "WEBP", quality=80, method=0)),
    ("AVIF", lambda image: encoded(image, "AVIF", quality=60, speed=10, max_threads=1)),
    ("BMP", lambda image: encoded(image, "BMP")),
    ("TIFF", lambda image: encoded(image, "TIFF", compression="raw")),
    ("GIF", lambda image: encoded(image.convert("L"), "GIF")),
    ("PNG", lambda image: encoded(image.convert("1"), "PNG")),
)
# Three in four are JPEG, as on the web. The length has no factor in common with the number of families, so all pairs
# come up.
_FORMS: Final = tuple(("JPEG", save) for save in _PLAIN_JPEGS * 4) + _OTHERS


def _size(rng: np.random.Generator, form: str) -> tuple[int, int]:
    """Width and height, 240 to 1,600 pixels: small for the bulky and the slow formats, one JPEG in sixteen large."""
    large = rng.random() < 0.06
    low, high = (900, 1600) if form == "JPEG" and large else (420, 820) if form == "JPEG" else (240, 420)
    width, height = rng.integers(low, high, 2, endpoint=True).tolist()
    return width, height


def _painted(index: int, seed: int) -> Picture:
    rng = np.random.default_rng([seed, index])
    family = index % len(FAMILIES)
    form, save = _FORMS[index * 17 % len(_FORMS)]  # 17 steps through all of them, and mixes JPEG with the others
    width, height = _size(rng, form)
    image = Image.fromarray(FAMILIES[family][1](rng, width, height))
    suffix, mime = TYPES[form]
    return Picture(f"p{index:04}.{suffix}", mime, save(image), family, width, height)


def pictures(count: int, seed: int) -> list[Picture]:
    """``count`` different pictures. From 53 on, every format and variant is among them."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(_painted, range(count), repeat(seed)))


def photographs() -> Iterator[Picture]:
    """The four photographs that come with the package; ``data/PROVENANCE.md`` says where they come from."""
    for path in sorted((Path(__file__).parent / "data").glob("*.jpg")):
        data = path.read_bytes()
        image = Image.open(io.BytesIO(data))
        yield Picture(path.name, "image/jpeg", data, len(FAMILIES), image.width, image.height)


def decoded(picture: Picture) -> Image.Image:
    """The first frame of a picture, as RGB, its transparent parts on white."""
    image = Image.open(io.BytesIO(picture.data))
    if image.mode != "RGBA":
        return (image.point(lambda value: value / 257).convert("L") if image.mode == "I;16" else image).convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")
