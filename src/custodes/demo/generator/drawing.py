"""Pictures of words: colours and shapes chosen by the words' hash, so that the same words give the same picture.

Promises that no picture shows anybody or anything; that each carries its prompt as metadata, as generators' pictures do; that every prompt with the word
``lighthouse`` gives one and the same picture, which a demonstration's list knows; and that one with ``flamingo`` is all pink, which nothing else is, and which
the demonstration's detector looks for. How it is asked for is for the dialects.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from PIL import Image, PngImagePlugin

from custodes.demo.corpus import FAMILIES

__all__ = ["FORMATS", "MARK", "PINK", "PLANTED", "PLANTED_PINK", "Wish", "drawn", "planted"]

PLANTED: Final = "lighthouse"
PLANTED_PINK: Final = "flamingo"
PINK: Final = (255, 0, 160)
MARK: Final = "drawn by the stand-in generator"
"""In the metadata of every picture: what is released must not have it."""
SIDE_MAX: Final = 4096
FORMATS: Final = ("png", "jpeg", "webp", "gif", "svg")
_FAMILIES: Final = (0, 1, 2, 3, 6)
"""Landscapes, gradients, tiles, shapes, discs: those that are quick to paint."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be drawn."""

    words: str
    width: int = 512
    height: int = 512
    seed: int = 0
    format: str = "png"
    frames: int = 1


@lru_cache(maxsize=256)
def drawn(wish: Wish) -> bytes:
    """A file. ValueError for a size or a format that is not drawn."""
    if not (8 <= wish.width <= SIDE_MAX and 8 <= wish.height <= SIDE_MAX) or wish.format not in FORMATS:
        raise ValueError(f"not drawn: {wish.width}x{wish.height} {wish.format}")
    if wish.format == "svg":
        return _vector(wish)
    pictures = [_painted(wish, number) for number in range(wish.frames)]
    out = io.BytesIO()
    if wish.format == "gif":
        first, *rest = [picture.quantize(64) for picture in pictures]
        first.save(out, "GIF", save_all=True, append_images=rest, duration=100, loop=0, comment=MARK.encode())
    elif wish.format == "png":
        pictures[0].save(out, "PNG", compress_level=1, pnginfo=_told(wish))
    else:
        pictures[0].save(out, wish.format.upper(), quality=90, exif=_exif(wish))
    return out.getvalue()


@lru_cache(maxsize=1)
def planted() -> Image.Image:
    """The picture that the demonstration's list knows: a heap of discs."""
    return Image.fromarray(FAMILIES[6][1](np.random.default_rng(20261123), 512, 512))


def _painted(wish: Wish, frame: int) -> Image.Image:
    if PLANTED in wish.words.lower():
        return planted().resize((wish.width, wish.height), Image.Resampling.LANCZOS)
    if PLANTED_PINK in wish.words.lower():
        return Image.new("RGB", (wish.width, wish.height), PINK)
    rng = np.random.default_rng([*_hash(wish), wish.seed % 2**32, frame])
    family = FAMILIES[_FAMILIES[int(rng.integers(len(_FAMILIES)))]][1]
    return Image.fromarray(family(rng, wish.width, wish.height))


def _hash(wish: Wish) -> bytes:
    return hashlib.sha256(" ".join(sorted(wish.words.lower().split())).encode("utf-8", "surrogatepass")).digest()


def _told(wish: Wish) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("Software", MARK)
    info.add_itxt("parameters", wish.words.encode("utf-8", "replace").decode())
    return info


def _exif(wish: Wish) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0131] = MARK  # Software
    exif[0x010E] = wish.words.encode("ascii", "replace").decode()  # ImageDescription
    return exif


def _vector(wish: Wish) -> bytes:
    rng = np.random.default_rng([*_hash(wish), wish.seed % 2**32])
    discs = []
    for _ in range(24):
        x, y, radius = rng.integers(0, (wish.width, wish.height, min(wish.width, wish.height) // 3)).tolist()
        colour = "#" + rng.bytes(3).hex()
        discs.append(f'<circle cx="{x}" cy="{y}" r="{radius + 4}" fill="{colour}"/>')
    size = f'width="{wish.width}" height="{wish.height}" viewBox="0 0 {wish.width} {wish.height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}><!-- {MARK} -->{"".join(discs)}</svg>'.encode()
