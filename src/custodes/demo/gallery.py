"""Chooses from the corpus what the demonstration plants: pictures to list exactly, and copies to find near what is
listed.

It promises that every copy lies well within 31 bits of its base, that nothing else lies near any base (both measured
with ``plain_pdq``, with bits to spare for other decoders), and that the same seed chooses the same. Which row shows
what is ``links``' matter.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from custodes.demo.corpus import TYPES, Picture, animation, decoded, encoded, grey16, photographs, pictures
from custodes.demo.plain_pdq import distance, forms
from custodes.errors import InternalError

__all__ = [
    "CACHE_NAME",
    "COPY_BITS_MAX",
    "ISOLATED_BITS_MIN",
    "PICTURES",
    "SEED",
    "TREATMENTS",
    "Copy",
    "Gallery",
    "load_or_paint",
    "paint",
]

PICTURES: Final = 300
SEED: Final = 2023
CACHE_NAME: Final = "gallery.msgpack"
COPY_BITS_MAX: Final = 18
"""Farthest that a planted copy lies from its base: 31 bits less what reduced decoding and forms made from codes may
add.
"""
ISOLATED_BITS_MIN: Final = 60
"""Nearest that anything else lies to a base."""
_COPIES_EACH: Final = 3
_RESERVED: Final = 32
_QUALITY_MIN: Final = 80
_CACHE_VERSION: Final = 1


class Copy(msgspec.Struct, frozen=True):
    """A changed copy of a base picture: its name, what was done to it, and the base's name and PDQ code."""

    name: str
    treatment: str
    base: str
    base_code: bytes
    distance_bits: int


class Gallery(msgspec.Struct, frozen=True):
    """All that the server serves, by name; what may be shown anywhere; what is kept for exact entries; the planted
    copies.
    """

    seed: int
    count: int
    pictures: dict[str, Picture]
    ordinary: tuple[str, ...]
    reserved: tuple[str, ...]
    copies: tuple[Copy, ...]
    version: int = _CACHE_VERSION


Treatment = Callable[[Image.Image], bytes]


def _half(image: Image.Image) -> bytes:
    return encoded(image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS), "JPEG", quality=85)


def _hidden_frame(image: Image.Image) -> bytes:
    """Five frames of which only the third is the picture; the others are its cut-up quarters, enlarged."""
    small = image.resize((320, 240), Image.Resampling.LANCZOS)
    corners = ((0, 0), (160, 0), (0, 120), (160, 120))
    quarters = [small.crop((x, y, x + 160, y + 120)).resize((320, 240)) for x, y in corners]
    return animation([*quarters[:2], small, *quarters[2:]])


TREATMENTS: Final[tuple[tuple[str, str, Treatment], ...]] = (
    ("saved again at quality 40", "JPEG", lambda image: encoded(image, "JPEG", quality=40)),
    ("half the size", "JPEG", _half),
    ("mirrored", "JPEG", lambda image: encoded(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "JPEG", quality=88)),
    ("palette of 64 as GIF", "GIF", lambda image: encoded(image.quantize(64), "GIF")),
    ("turned by 90 degrees", "JPEG", lambda image: encoded(image.transpose(Image.Transpose.ROTATE_90), "JPEG")),
    ("grey PNG", "PNG", lambda image: encoded(image.convert("L"), "PNG")),
    ("grey PNG of 16 bits", "PNG", lambda image: encoded(grey16(image), "PNG")),
    ("WebP", "WEBP", lambda image: encoded(image, "WEBP", quality=60, method=0)),
    ("AVIF", "AVIF", lambda image: encoded(image, "AVIF", quality=55, speed=10, max_threads=1)),
    ("CMYK JPEG", "JPEG", lambda image: encoded(image.convert("CMYK"), "JPEG", quality=88)),
    ("third frame of five", "GIF", _hidden_frame),
    ("known to be something else", "JPEG", lambda image: encoded(image, "JPEG", quality=60)),
)
"""What is done to copies: a phrase, the format and the doing. Copies of the last sort carry a negative entry of their
own.
"""


def _overview(picture: Picture) -> Image.Image:
    return decoded(picture).resize((128, 128), Image.Resampling.BOX)


def _all_codes(some: list[Picture]) -> tuple[NDArray[np.uint8], list[int]]:
    """uint8[n, 8, 32] and the qualities, of the pictures made small: near enough to tell which are alike, and much
    cheaper.
    """
    with ThreadPoolExecutor(max_workers=4) as pool:
        small = list(pool.map(_overview, some))
    found = [forms(image) for image in small]
    return np.stack([codes for codes, _ in found]), [quality for _, quality in found]


def _bases(some: list[Picture]) -> Iterator[Picture]:
    """The pictures that are rich enough to be hashed well and unlike all others."""
    codes, qualities = _all_codes(some)
    for number, picture in enumerate(some):
        if qualities[number] < _QUALITY_MIN or min(picture.width, picture.height) < 300:
            continue
        others = np.delete(codes, number, axis=0).reshape(-1, 32)
        if distance(codes[number, 0], others) >= ISOLATED_BITS_MIN:
            yield picture


def _hashed_frame(data: bytes, treatment: str) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.seek(2 if treatment == "third frame of five" else 0)
    return image.point(lambda value: value / 257).convert("L") if image.mode.startswith("I") else image.convert("RGB")


def _copies(bases: Iterator[Picture]) -> Iterator[tuple[Copy, Picture]]:
    """Copies of the next bases, treatment by treatment; a base whose copy strays too far is passed over."""
    for number in range(_COPIES_EACH * len(TREATMENTS)):
        treatment, form, treat = TREATMENTS[number % len(TREATMENTS)]
        suffix, mime = TYPES[form]
        for original in bases:
            image = decoded(original)
            code, data = forms(image)[0][0], treat(image)
            frame = _hashed_frame(data, treatment)
            bits = distance(code, forms(frame)[0])
            if bits <= COPY_BITS_MAX:
                name = f"c{number:03}.{suffix}"
                copy = Copy(name, treatment, original.name, code.tobytes(), bits)
                yield copy, Picture(name, mime, data, original.family, frame.width, frame.height)
                break
        else:
            raise InternalError("the corpus is too small to plant every copy", hint="paint more pictures")


def paint(count: int, seed: int) -> Gallery:
    """Paint ``count`` pictures (160 or more) and choose. Takes some seconds."""
    # Photographs come first among the bases, so that the first treatments are shown on real pictures.
    some = [*photographs(), *pictures(count, seed)]
    planted = list(_copies(_bases(some)))
    bases = {copy.base for copy, _ in planted}
    free = [picture.name for picture in some if picture.name not in bases]
    return Gallery(
        seed=seed,
        count=count,
        pictures={picture.name: picture for picture in [*some, *(picture for _, picture in planted)]},
        ordinary=tuple(free[_RESERVED:]),
        reserved=tuple(free[:_RESERVED]),
        copies=tuple(copy for copy, _ in planted),
    )


def load_or_paint(cache: Path, count: int, seed: int) -> Gallery:
    """The gallery kept in the file ``cache`` where it is the one asked for; otherwise painted, and kept there."""
    if cache.is_file():
        try:
            kept = msgspec.msgpack.decode(cache.read_bytes(), type=Gallery)
        except msgspec.MsgspecError:
            kept = None
        if kept is not None and (kept.seed, kept.count, kept.version) == (seed, count, _CACHE_VERSION):
            return kept
    gallery = paint(count, seed)
    cache.parent.mkdir(parents=True, exist_ok=True)
    aside = cache.with_name(f"{cache.name}.{os.getpid()}.part")  # tests in parallel share a cache
    aside.write_bytes(msgspec.msgpack.encode(gallery))
    aside.replace(cache)
    return gallery
