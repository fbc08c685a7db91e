"""A picture written again: its pixels, how long its frames are shown, and nothing else. Meant for inside the jail.

Promises that no metadata, profile, comment, thumbnail or trailing byte of the original can come along, because pixels pass through an array and come out
in a new image. Colours are taken as sRGB: profiles are dropped, not applied, and turning by Exif is not done. What is written is judged by others.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["Drawn", "UnwritableError", "written"]

_STILL: Final = {"jpeg": "jpeg", "webp": "webp"}
_MOVING: Final = {"gif": "gif", "png": "png"}
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_AVERAGE: Final = 3


class UnwritableError(ValueError):
    """The format cannot hold the picture as it is."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """One frame as it was decoded, in mode RGB or RGBA, and how long it is shown."""

    image: Image.Image
    duration_ms: int = 0


def written(frames: Sequence[Drawn], original: str, loop: int | None, quality: int) -> tuple[str, bytes]:
    """The file and its format: that of the original where it can hold the picture, else PNG, or WebP for what moves. Raises UnwritableError."""
    moves = len(frames) > 1
    form = _MOVING.get(original, "webp") if moves else _STILL.get(original, "png")
    images = [_bare(frame.image) for frame in frames]
    if form == "jpeg" and images[0].mode != "RGB":
        form = "png"
    if form == "png" and not moves:
        return form, _png(np.asarray(images[0]))
    options: dict[str, Any] = _options(form, quality)
    if moves:
        modes = {image.mode for image in images}
        if len(modes) > 1:
            images = [image.convert("RGBA") for image in images]
        durations = [frame.duration_ms for frame in frames]
        options |= {"save_all": True, "append_images": images[1:], "duration": durations, "disposal": 2}
        options |= _looped(form, loop)
        if form == "webp":
            del options["disposal"]
    out = BytesIO()
    try:
        images[0].save(out, form.upper(), **options)
    except (OSError, ValueError) as error:
        raise UnwritableError("it cannot be written") from error
    return form, out.getvalue()


def _bare(image: Image.Image) -> Image.Image:
    """A new image of the same pixels. Pillow keeps profiles, comments and more beside the pixels, and writes some of it unasked."""
    return Image.fromarray(np.array(image))


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """PNG (W3C PNG 3) of three chunks. Every row is filtered by the average: a third of the time of Pillow's choice among filters, and as small."""
    height, width, channels = pixels.shape
    left, up = np.zeros_like(pixels), np.zeros_like(pixels)
    left[:, 1:], up[1:] = pixels[:, :-1], pixels[:-1]
    rows = np.empty((height, 1 + width * channels), np.uint8)
    rows[:, 0] = _AVERAGE
    rows[:, 1:] = (pixels - ((left & up) + ((left ^ up) >> 1))).reshape(height, -1)
    head = struct.pack(">IIBBBBB", width, height, 8, 6 if channels == 4 else 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", bytes(imagecodecs.deflate_encode(rows.tobytes(), level=1))), (b"IEND", b""))
    return b"".join((_PNG, *(struct.pack(">I", len(body)) + name + body + _crc(name, body) for name, body in chunks)))


def _crc(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(body, zlib.crc32(name)))


def _options(form: str, quality: int) -> dict[str, Any]:
    if form == "jpeg":
        return {"quality": quality, "subsampling": 0 if quality >= 95 else 2}
    if form == "webp":
        return {"quality": quality, "method": 2}
    return {"compress_level": 1} if form == "png" else {"optimize": False}


def _looped(form: str, loop: int | None) -> dict[str, int]:
    """GIF plays once where it says nothing; the others say 1 for that, and 0 for ever."""
    if loop is None:
        return {} if form == "gif" else {"loop": 1}
    return {"loop": max(0, min(loop, 65535))}
