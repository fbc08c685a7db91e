"""PNG files of plain pixels, read and written: one still picture of 8 bits a sample, in rows from top to bottom. Meant for inside the jail.

Promises that what is read is what libpng would give, or nothing: a file with the least fault is for others to judge. What is written are three chunks:
the pixels, and no more. Native kernels make it quick; without them libpng and NumPy answer. What a kernel packs is no other bytes at another level.

Source: W3C PNG 3.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final, cast

import imagecodecs
import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from custodes import native

__all__ = ["is_plain", "packed", "plain_pixels"]

Uint8s = NDArray[np.uint8]

_MAGIC: Final = b"\x89PNG\r\n\x1a\n"
_CHANNELS: Final = {0: 1, 2: 3, 4: 2, 6: 4}
_CHANGING: Final = frozenset({b"tRNS", b"acTL"})
_AVERAGE, _FILTER_MAX = 3, 4
_BLOCK: Final = 1 << 17
_IsalError: Final = cast(type[Exception], isal_zlib.error)  # the stub calls it an instance


# -- read


def is_plain(data: bytes) -> bool:
    """Whether this is one picture of 8 bits a sample, grey or in colour, in rows from top to bottom, with all chunks whole by their checksums."""
    if len(data) < 33 or data[24] != 8 or data[25] not in (0, 2, 4, 6) or data[28]:
        return False
    at = 8
    while at + 12 <= len(data):
        name, end = data[at + 4 : at + 8], at + 8 + int.from_bytes(data[at : at + 4], "big")
        if name in _CHANGING or data[end : end + 4] != _sum(data, at + 4, end):
            return False
        if name == b"IEND":
            return True
        at = end + 4
    return False


def _sum(data: bytes, start: int, end: int) -> bytes:
    return struct.pack(">I", imagecodecs.zlibng_crc32(cast(bytes, memoryview(data)[start:end])))  # it takes any buffer


def plain_pixels(data: bytes) -> Uint8s | None:
    """uint8[height, width, channels] of a file that ``is_plain`` passes, whose header was judged; None where anything is wrong with it."""
    kernels = native.kernels()
    try:
        if kernels is None:
            return _shaped(np.asarray(imagecodecs.png_decode(data)))
        return _restored(kernels, data)
    except (RuntimeError, ValueError, struct.error, _IsalError):  # imagecodecs' errors are RuntimeErrors
        return None


def _shaped(pixels: NDArray[Any]) -> Uint8s | None:
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
        return None
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def _restored(kernels: native.Kernels, data: bytes) -> Uint8s | None:
    width, height, depth, colour, *methods = struct.unpack_from(">IIBBBBB", data, 16)
    chunks = list(_chunks(data))
    names = [name for name, _ in chunks]
    bodies = [body for name, body in chunks if name == b"IDAT"]
    first = names.index(b"IDAT") if bodies else 0
    if depth != 8 or any(methods) or not bodies or set(names[first : first + len(bodies)]) != {b"IDAT"}:
        return None
    channels = _CHANNELS[colour]
    size = width * channels
    packed_ = cast(bytes, bodies[0]) if len(bodies) == 1 else b"".join(bodies)  # it takes any buffer
    rows = np.frombuffer(_inflated(packed_, height * (size + 1)), np.uint8)
    if rows[:: size + 1].max() > _FILTER_MAX:
        return None
    pixels = np.empty((height, width, channels), np.uint8)
    kernels.call("png_restore", rows, height, size, channels, np.zeros(size, np.uint8), pixels)
    return pixels


def _inflated(packed_: bytes, size: int) -> bytes:
    """A zlib stream of ``size`` bytes, no more and no less. Raises ValueError or isal's own error. In four fifths of libdeflate's time."""
    stream = isal_zlib.decompressobj()
    found: bytes = stream.decompress(packed_, size)
    if len(found) != size or not stream.eof:  # what follows the stream, others overlook too
        raise ValueError("not the bytes that the header promises")
    return found


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    at, view = 8, memoryview(data)
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], view[at + 8 : end]
        if data[at + 4 : at + 8] == b"IEND":
            return
        at = end + 4


# -- written


def packed(pixels: Uint8s) -> bytes:
    """A file of uint8[height, width, 3 or 4]. Every row is filtered by the average: of all that takes no choosing what packs photos best."""
    height, width, channels = pixels.shape
    kernels = native.kernels()
    body = _by_kernels(kernels, pixels) if kernels else _by_numpy(pixels)
    head = struct.pack(">IIBBBBB", width, height, 8, 6 if channels == 4 else 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", body), (b"IEND", b""))
    return b"".join((_MAGIC, *(part for name, body in chunks for part in _chunk(name, body))))


def _chunk(name: bytes, body: bytes) -> tuple[bytes, ...]:
    sum_ = (
        imagecodecs.zlibng_crc32(body, value=imagecodecs.zlibng_crc32(name)) if body else imagecodecs.zlibng_crc32(name)
    )
    return struct.pack(">I", len(body)), name, body, struct.pack(">I", sum_)


def _by_kernels(kernels: native.Kernels, pixels: Uint8s) -> bytes:
    """In a fifth of libdeflate's time. There is no search for what repeats but of one byte after itself, so that drawings take more room than elsewhere."""
    height, width, channels = pixels.shape
    size = width * channels
    rows = np.empty(height * (size + 1), np.uint8)
    kernels.call("png_average", np.ascontiguousarray(pixels), height, size, channels, np.zeros(size, np.uint8), rows)
    out = np.empty(rows.size * 3 // 2 + 512 * (rows.size // _BLOCK + 1) + 64, np.uint8)
    written = np.zeros(1, np.int64)
    kernels.call("deflate", rows, rows.size, out, written)
    sum_ = imagecodecs.zlibng_adler32(cast(bytes, rows))  # it takes any buffer
    return b"".join((b"\x78\x01", out[: int(written[0])].data, struct.pack(">I", sum_)))


def _by_numpy(pixels: Uint8s) -> bytes:
    height = len(pixels)
    left, up = np.zeros_like(pixels), np.zeros_like(pixels)
    left[:, 1:], up[1:] = pixels[:, :-1], pixels[:-1]
    rows = np.empty((height, 1 + pixels[0].size), np.uint8)
    rows[:, 0] = _AVERAGE
    rows[:, 1:] = (pixels - ((left & up) + ((left ^ up) >> 1))).reshape(height, -1)
    return bytes(imagecodecs.deflate_encode(rows.tobytes(), level=1))
