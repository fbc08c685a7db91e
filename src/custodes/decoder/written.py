"""A picture written again: its pixels, how long its frames are shown, and nothing else. Meant for inside the jail.

Promises that no metadata, profile, comment, thumbnail or trailing byte of the original can come along, because what is written is an array of pixels in
a new file. Colours are taken as sRGB: profiles are dropped, not applied, and turning by Exif is not done. What is written is judged by others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from custodes.decoder import png

__all__ = ["Coding", "Drawn", "UnwritableError", "written"]

_STILL: Final = {"jpeg": "jpeg", "webp": "webp"}
_MOVING: Final = {"gif": "gif", "png": "png"}


class UnwritableError(ValueError):
    """The format cannot hold the picture as it is."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """One frame as it was decoded, uint8[height, width, 3 or 4], and how long it is shown."""

    pixels: NDArray[np.uint8]
    duration_ms: int = 0


@dataclass(frozen=True, slots=True)
class Coding:
    """How finely: the quality of JPEG and WebP files, the chroma of JPEG files. ``loop``: as Pillow says it; None: an animation plays once."""

    quality: int
    chroma: str = "444"
    loop: int | None = None


def written(frames: Sequence[Drawn], original: str, coding: Coding) -> tuple[str, bytes]:
    """The file and its format: that of the original where it can hold the picture, else PNG, or WebP for what moves. Raises UnwritableError."""
    moves = len(frames) > 1
    form = _MOVING.get(original, "webp") if moves else _STILL.get(original, "png")
    first = frames[0].pixels
    if form == "jpeg" and first.shape[2] != 3:
        form = "png"
    try:
        if form == "png" and not moves:
            return form, png.packed(first)
        if form == "jpeg":
            return form, bytes(imagecodecs.jpeg8_encode(first, level=coding.quality, subsampling=coding.chroma))
        return form, _by_pillow(frames, form, coding)
    except (OSError, ValueError, RuntimeError) as error:  # imagecodecs' errors are RuntimeErrors
        raise UnwritableError("it cannot be written") from error


def _by_pillow(frames: Sequence[Drawn], form: str, coding: Coding) -> bytes:
    images = [_image(frame.pixels) for frame in frames]
    if len({image.mode for image in images}) > 1:
        images = [image.convert("RGBA") for image in images]
    options = _options(form, coding)
    if len(frames) > 1:
        durations = [frame.duration_ms for frame in frames]
        options |= {"save_all": True, "append_images": images[1:], "duration": durations}
    out = BytesIO()
    images[0].save(out, form.upper(), **options)
    return out.getvalue()


def _image(pixels: NDArray[np.uint8]) -> Image.Image:
    """A new image. One that was opened has profiles, comments and more beside its pixels, and Pillow writes some of it unasked."""
    return Image.fromarray(pixels)


def _options(form: str, coding: Coding) -> dict[str, Any]:
    looped = _looped(form, coding.loop)
    if form == "webp":
        return {"quality": coding.quality, "method": 2, **looped}
    return (
        {"compress_level": 1, "disposal": 2, **looped}
        if form == "png"
        else {"optimize": False, "disposal": 2, **looped}
    )


def _looped(form: str, loop: int | None) -> dict[str, int]:
    """GIF plays once where it says nothing; the others say 1 for that, and 0 for ever."""
    if loop is None:
        return {} if form == "gif" else {"loop": 1}
    return {"loop": max(0, min(loop, 65535))}
