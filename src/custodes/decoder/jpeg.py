"""JPEG files of plain pixels, read in colour: one sequential scan of three components, whole to its end marker. Meant for inside the jail.

Promises that what is read is what Pillow would give, or nothing: a file with the least fault is for others to judge. It takes two thirds of Pillow's time. Data
that end too soon are drawn as grey, by either: ``may_lack_data`` says where to look closer.

Source: ITU-T T.81; libjpeg, jdhuff.c.
"""

from __future__ import annotations

from io import BytesIO
from typing import Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL.JpegImagePlugin import JpegImageFile

from custodes.decoder.samples import luma_bytes
from custodes.sniff import is_plain_jpeg

__all__ = ["BLEED_MAX", "Jpeg", "may_lack_data", "plain_pixels"]

BLEED_MAX: Final = 24
"""Grey levels by which clipping of strong colour can move the luma of a block that is flat in itself."""
_GREY: Final = 128


class Jpeg(JpegImageFile):
    """JPEG whose Exif block is not parsed for a resolution that nobody asked for."""

    def _read_dpi_from_exif(self) -> None:
        pass


def plain_pixels(data: bytes) -> NDArray[np.uint8] | None:
    """uint8[height, width, 3] of a file whose header was judged. Raises what Pillow raises for a header that it does not take."""
    if not is_plain_jpeg(data) or Jpeg(BytesIO(data)).mode != "RGB":
        return None
    try:
        pixels = np.asarray(imagecodecs.jpeg8_decode(data))
    except (RuntimeError, ValueError, MemoryError):  # imagecodecs' errors are RuntimeErrors
        return None
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        return None
    return pixels


def may_lack_data(pixels: NDArray[np.uint8]) -> bool:
    """Whether the last block is about the grey that libjpeg draws where the data ended before the picture did."""
    height, width = pixels.shape[:2]
    corner = luma_bytes(pixels[height - 1 - (height - 1) % 8 :, width - 1 - (width - 1) % 8 :])
    return bool(np.abs(corner.astype(np.int16) - _GREY).max() <= BLEED_MAX + 1)
