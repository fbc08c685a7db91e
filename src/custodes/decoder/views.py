"""The tasks of ``viewing``, done: an image judged, and what it takes to let it go on: written again, shown to models. Meant for inside the jail.

Promises that whatever the bytes are, the answer says how far it came, and that only what was seen whole is written or shown: each frame of it, on white, on
black and without its alpha. A file that lacks one byte, or has a frame too many, gives digests and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from custodes.decoder.hashing import header_of
from custodes.decoder.image import Decoded, Frame, Undecodable, decode
from custodes.decoder.samples import luma, luma_bytes
from custodes.decoder.svg import RefusedSvg, Svg, drawn, is_svg, read_svg
from custodes.decoder.written import Coding, Drawn, UnwritableError, written
from custodes.decoding import DecodePolicy, Examined, ImageLimits
from custodes.model import Pdq, Reason
from custodes.pdq import pdq_of_rows
from custodes.pictures import square_of
from custodes.sniff import jpeg_coding
from custodes.viewing import CODES_MAX, SVG, Task, Viewed, Viewing

__all__ = ["GRIDS", "view_content"]

Bytes = NDArray[np.uint8]

GRIDS: Final = ((2, 1), (1, 2), (2, 2), (3, 3))
"""Columns and rows of the collages that are taken apart."""


_QUALITY_MIN: Final = 50


class _PartlySeen(Exception):  # noqa: N818 - an outcome
    """More views or codes than there is room for."""


@dataclass(slots=True)
class _Seen:
    """What was gathered so far."""

    codes: dict[bytes, Pdq] = field(default_factory=dict)
    views: list[bytes] = field(default_factory=list)
    frames: list[Drawn] = field(default_factory=list)


def view_content(data: bytes, limits: ImageLimits, viewing: Viewing, task: Task) -> Viewed:
    """Do a task on one image: a pure function of its arguments."""
    seen = _Seen()
    svg: Svg | None = None
    try:
        if is_svg(data):
            svg = read_svg(data, limits.pixels_max)
            data = drawn(svg)
        decoded = decode(data, limits, DecodePolicy.FAST, in_colour=task is not Task.JUDGE)
        for frame in decoded.frames:
            _take(frame, seen, viewing, task)
    except (Undecodable, RefusedSvg, MemoryError) as refusal:
        return Viewed(_refused(data, refusal, is_drawing=svg is not None))
    except _PartlySeen:
        decoded.reason = Reason.PARTIAL_FRAMES
    except (ValueError, OSError):  # a picture that its own library will not resize or convert
        decoded.reason = Reason.BROKEN
    form = decoded.format if svg is None else SVG
    if not seen.codes or decoded.reason is Reason.BROKEN:
        return Viewed(Examined(Reason.BROKEN, form, decoded.width, decoded.height))
    examined = Examined(decoded.reason, form, decoded.width, decoded.height, tuple(seen.codes.values()))
    viewed = Viewed(examined, tuple(seen.views) if decoded.reason is Reason.FULL else ())
    if decoded.reason is not Reason.FULL or task is not Task.WRITE:
        return viewed
    return _with_file(viewed, lambda: _file(seen, decoded, viewing, data, svg), viewing)


def _refused(data: bytes, refusal: Exception, *, is_drawing: bool) -> Examined:
    if isinstance(refusal, MemoryError):
        return Examined(Reason.DECODE_MEMORY, *header_of(data))
    if isinstance(refusal, Undecodable) and not is_drawing:
        return Examined(refusal.reason, *header_of(data))
    return Examined(Reason.BROKEN, SVG)


def _with_file(viewed: Viewed, write: Callable[[], tuple[str, bytes]], viewing: Viewing) -> Viewed:
    """The answer with the file. Where there can be none, with the digests alone: lists are asked about what cannot be written, too."""
    try:
        form, file = write()
    except MemoryError:
        return Viewed(replace(viewed.examined, reason=Reason.DECODE_MEMORY, pdq=()))
    except (Undecodable, UnwritableError):
        return Viewed(viewed.examined)
    return (
        replace(viewed, written=file, form=form) if len(file) <= viewing.written_bytes_max else Viewed(viewed.examined)
    )


def _file(seen: _Seen, decoded: Decoded, viewing: Viewing, data: bytes, svg: Svg | None) -> tuple[str, bytes]:
    """A drawing leaves as one only where that is wanted, and where it holds no pictures: those would be judged only as far as they are seen.

    A JPEG file is written about as finely as it was, and never more: what a coarser one has lost does not come back.
    """
    if svg is not None and viewing.svg and not svg.pictures:
        return SVG, svg.text.encode()
    quality, chroma = jpeg_coding(data) if decoded.format == "jpeg" else (100, "444")
    coding = Coding(min(max(quality, _QUALITY_MIN), viewing.quality), chroma, decoded.loop)
    return written(seen.frames, decoded.format, coding)


def _take(frame: Frame, seen: _Seen, viewing: Viewing, task: Task) -> None:
    """Digests of a frame; and where it is written or shown, they and all else are of the same pixels."""
    if task is Task.JUDGE:
        luma = frame.rows(0, frame.shape[0])
    else:
        if frame.background == "white":
            seen.frames.append(Drawn(frame.clear(), frame.duration_ms))
        luma = _luma(seen.frames[-1].pixels, frame.background)
        frame = replace(frame, shape=luma.shape, reduction=1)
    frame = replace(frame, rows=partial(_band, luma))
    for code in _codes(frame, luma, viewing):
        seen.codes.setdefault(code.code, code)
    if len(seen.codes) > CODES_MAX:
        seen.codes = dict(list(seen.codes.items())[:CODES_MAX])
        raise _PartlySeen
    if task is Task.SHOW:
        for picture in _shown(seen.frames[-1].pixels, frame.background, viewing):
            seen.views.append(b"".join(square_of(picture, recipe).tobytes() for recipe in viewing.recipes))
        if len(seen.views) > viewing.views_max:
            raise _PartlySeen


# -- digests


_BACKDROPS: Final = {"white": 255, "black": 0, "ignored": None}


def _luma(pixels: Bytes, background: str) -> NDArray[Any]:
    return luma_bytes(pixels) if pixels.shape[2] == 3 else luma(pixels, _BACKDROPS[background])


def _codes(frame: Frame, luma: NDArray[Any], viewing: Viewing) -> Iterator[Pdq]:
    """Of the frame, and of each tile of each grid."""
    yield pdq_of_rows(frame.rows, (frame.width, frame.height), frame.reduction, frame.index)
    for columns, rows in GRIDS:
        if min(frame.width // columns, frame.height // rows) >= viewing.tile_side_min:
            yield from _tiles(frame, luma, columns, rows)


def _tiles(frame: Frame, luma: NDArray[Any], columns: int, rows: int) -> Iterator[Pdq]:
    height, width = frame.shape
    lefts = [width * number // columns for number in range(columns + 1)]
    tops = [height * number // rows for number in range(rows + 1)]
    for top, bottom in pairwise(tops):
        for left, right in pairwise(lefts):
            tile = np.ascontiguousarray(luma[top:bottom, left:right])
            size = ((right - left) * frame.reduction, (bottom - top) * frame.reduction)
            yield pdq_of_rows(partial(_band, tile), size, frame.reduction, frame.index)


def _band(tile: NDArray[Any], top: int, bottom: int) -> NDArray[Any]:
    return tile[top:bottom]


# -- what models are shown


def _shown(pixels: Bytes, background: str, viewing: Viewing) -> Iterator[Bytes]:
    """The frame on its background, and its quarters where each is large enough to hide something in."""
    picture = _on(pixels, background)
    yield picture
    height, width = picture.shape[0] // 2, picture.shape[1] // 2
    if min(width, height) >= viewing.quarter_side_min:
        for top in (0, height):
            for left in (0, width):
                yield picture[top : top + height, left : left + width]


def _on(pixels: Bytes, background: str) -> Bytes:
    if pixels.shape[2] == 3 or background == "ignored":
        return pixels[:, :, :3]
    picture = Image.fromarray(pixels)
    page = Image.new("RGB", picture.size, background)
    page.paste(picture, mask=picture)
    return np.asarray(page)
