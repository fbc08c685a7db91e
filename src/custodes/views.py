"""The tasks of ``viewing``, done: an image judged, written again, or shown to models. Meant for inside the jail.

Promises that whatever the bytes are, the answer says how far it came, and that only what was seen whole is written or shown: each frame of it, on white, on
black and without its alpha. A file that lacks one byte, or has a frame too many, gives digests and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from custodes.decoding import DecodePolicy, Examined, ImageLimits
from custodes.hashing import header_of
from custodes.image import Decoded, Frame, Undecodable, decode
from custodes.model import Pdq, Reason
from custodes.pdq import pdq_of_rows
from custodes.pictures import square_of
from custodes.svg import RefusedSvg, Svg, drawn, is_svg, read_svg
from custodes.viewing import CODES_MAX, SVG, Task, Viewed, Viewing
from custodes.written import Drawn, UnwritableError, written

__all__ = ["GRIDS", "view_content"]

GRIDS: Final = ((2, 1), (1, 2), (2, 2), (3, 3))
"""Columns and rows of the collages that are taken apart."""


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
        decoded = decode(data, limits, DecodePolicy.FAST)
        for frame in decoded.frames:
            _take(frame, seen, viewing, task)
    except (Undecodable, RefusedSvg, MemoryError) as refusal:
        return Viewed(_refused(data, refusal, is_drawing=svg is not None))
    except _PartlySeen:
        decoded.reason = Reason.PARTIAL_FRAMES
    except (ValueError, OSError):  # a picture that its own library will not resize or convert
        decoded.reason = Reason.BROKEN
    return _answered(seen, decoded, viewing, task, svg)


def _refused(data: bytes, refusal: Exception, *, is_drawing: bool) -> Examined:
    if isinstance(refusal, MemoryError):
        return Examined(Reason.DECODE_MEMORY, *header_of(data))
    if isinstance(refusal, Undecodable) and not is_drawing:
        return Examined(refusal.reason, *header_of(data))
    return Examined(Reason.BROKEN, SVG)


def _answered(seen: _Seen, decoded: Decoded, viewing: Viewing, task: Task, svg: Svg | None) -> Viewed:
    form = decoded.format if svg is None else SVG
    if not seen.codes or decoded.reason is Reason.BROKEN:
        return Viewed(Examined(Reason.BROKEN, form, decoded.width, decoded.height))
    examined = Examined(decoded.reason, form, decoded.width, decoded.height, tuple(seen.codes.values()))
    if decoded.reason is not Reason.FULL:
        return Viewed(examined)
    if task is not Task.WRITE:
        return Viewed(examined, tuple(seen.views))
    refused = Reason.BROKEN
    try:
        name, file = _file(seen, decoded, viewing, svg)
    except MemoryError:
        refused = Reason.DECODE_MEMORY
    except (Undecodable, UnwritableError):
        pass
    else:
        if len(file) <= viewing.written_bytes_max:
            return Viewed(examined, (), file, name)
        refused = Reason.TOO_MANY_PIXELS
    return Viewed(replace(examined, reason=refused, pdq=()))


def _file(seen: _Seen, decoded: Decoded, viewing: Viewing, svg: Svg | None) -> tuple[str, bytes]:
    """A drawing leaves as one only where that is wanted, and where it holds no pictures: those would be judged only as far as they are seen."""
    if svg is not None and viewing.svg and not svg.pictures:
        return SVG, svg.text.encode()
    return written(seen.frames, decoded.format, decoded.loop, viewing.quality)


def _take(frame: Frame, seen: _Seen, viewing: Viewing, task: Task) -> None:
    if task is Task.WRITE:
        first = frame.background == "white"
        if first:
            seen.frames.append(Drawn(frame.clear().copy(), frame.duration_ms))
        if seen.codes:
            return  # digests are asked for by other tasks; one says that there is a picture
    for code in _codes(frame, viewing) if task is not Task.WRITE else [_whole(frame)]:
        seen.codes.setdefault(code.code, code)
    if len(seen.codes) > CODES_MAX:
        seen.codes = dict(list(seen.codes.items())[:CODES_MAX])
        raise _PartlySeen
    if task is Task.SHOW:
        for picture in _shown(frame, viewing):
            seen.views.append(b"".join(square_of(picture, recipe).tobytes() for recipe in viewing.recipes))
        if len(seen.views) > viewing.views_max:
            raise _PartlySeen


# -- digests


def _whole(frame: Frame) -> Pdq:
    return pdq_of_rows(frame.rows, (frame.width, frame.height), frame.reduction, frame.index)


def _codes(frame: Frame, viewing: Viewing) -> Iterator[Pdq]:
    """Of the frame, and of each tile of each grid. Luma is made once: most of the work lies in it."""
    luma = frame.rows(0, frame.shape[0])
    held = replace(frame, rows=lambda top, bottom: luma[top:bottom])
    yield _whole(held)
    for columns, rows in GRIDS:
        if min(frame.width // columns, frame.height // rows) >= viewing.tile_side_min:
            yield from _tiles(held, luma, columns, rows)


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


def _shown(frame: Frame, viewing: Viewing) -> Iterator[Image.Image]:
    """The frame on its background, and its quarters where each is large enough to hide something in."""
    picture = _on(frame.clear(), frame.background)
    yield picture
    width, height = picture.size
    if min(width // 2, height // 2) >= viewing.quarter_side_min:
        for top in (0, height // 2):
            for left in (0, width // 2):
                yield picture.crop((left, top, left + width // 2, top + height // 2))


def _on(picture: Image.Image, background: str) -> Image.Image:
    if picture.mode == "RGB":
        return picture
    if background == "ignored":
        return picture.convert("RGB")
    page = Image.new("RGB", picture.size, background)
    page.paste(picture, mask=picture)
    return page
