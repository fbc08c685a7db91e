"""What a decoder is told and answers of an image that may be shown to somebody: digests of all of it, the picture written again, squares for models.

Promises that an answer is read as hostile input: sizes, counts and formats are those that were asked for, and a picture that was written is what it is
said to be, by its first bytes. No image code is loaded here; the work is in ``decoder.views``, the plain examination in ``decoding``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

import msgspec

from custodes import decoding
from custodes.decoding import DecodePolicy, Examined, ImageLimits, JailSettings, Recipe
from custodes.model import Reason
from custodes.sniff import format_of, size_of

__all__ = ["CODES_MAX", "REQUEST", "SVG", "Birth", "Task", "Viewed", "Viewing", "packed", "unpacked"]

CODES_MAX: Final = 4096
"""PDQ codes of all frames and all tiles. An image that would have more is not examined wholly."""
SVG: Final = "svg"
_WRITTEN: Final = ("", "png", "jpeg", "webp", "gif", SVG)
_TAIL: Final = struct.Struct("<HBI")  # views, format of what was written, its bytes


class Task(IntEnum):
    """What a decoder is asked about one image."""

    EXAMINE = 0
    """What ``decoding`` says; the tasks below need a ``Viewing``."""
    WRITE = 1
    """Digests of every frame, on white, on black and without its alpha, and of its tiles; and the picture written again: pixels, durations, and nothing
    else. Decoded once, so that both are of the same pixels."""
    JUDGE = 2
    """The digests alone."""
    SHOW = 3
    """As ``JUDGE``, and every view as the models are shown it. Of what was written: decoders that do this are given nothing else."""


class Viewing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How images are looked at that may be shown to somebody."""

    recipes: tuple[Recipe, ...] = ()
    """One for each model."""
    tile_side_min: int = 128
    """Pixels that the shorter side of a tile must have: of smaller ones too little is left to compare."""
    quarter_side_min: int = 768
    """Pixels that the shorter side of a quarter must have, for models to be shown the quarters too."""
    views_max: int = 64
    """Views that models are shown of one image. An image that has more is not judged wholly."""
    quality: int = 95
    """Of WebP files that are written; and of JPEG files at most, which are written about as finely as they were."""
    written_bytes_max: int = 64 << 20
    svg: bool = False
    """Whether an SVG drawing is written as one. Else its raster is."""

    def __post_init__(self) -> None:
        ranges = {
            "tile_side_min": (16, 1 << 16),
            "quarter_side_min": (16, 1 << 16),
            "views_max": (1, 4096),
            "quality": (50, 100),
            "written_bytes_max": (1024, 1 << 30),
        }
        for name, (low, high) in ranges.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be from {low} to {high}")

    @property
    def view_bytes(self) -> int:
        """Of all squares of one view."""
        return sum(recipe.square_bytes for recipe in self.recipes)


REQUEST: Final = struct.Struct("<IB")
"""What a decoder is sent before an image: its length, the task."""


class Birth(msgspec.Struct, frozen=True):
    """What the carrier tells its zygote once."""

    limits: ImageLimits
    policy: DecodePolicy
    settings: JailSettings
    recipe: Recipe | None = None
    """What to prepare of each picture for a model, if there is one."""
    viewing: Viewing | None = None
    """How to look at what may be shown to somebody; None: no such task comes."""


@dataclass(frozen=True, slots=True)
class Viewed:
    """What a task gave. ``views``: of each view, the squares of all recipes, one after the other. ``written``: the picture, in format ``form``."""

    examined: Examined
    views: tuple[bytes, ...] = field(default=(), repr=False)
    written: bytes = field(default=b"", repr=False)
    form: str = ""


def packed(viewed: Viewed) -> bytes:
    """An answer as it crosses: as ``decoding`` packs it, then the views and the file."""
    tail = _TAIL.pack(len(viewed.views), _WRITTEN.index(viewed.form), len(viewed.written))
    return b"".join((decoding.packed(viewed.examined), tail, *viewed.views, viewed.written))


def unpacked(answer: bytes | bytearray, viewing: Viewing, task: Task) -> Viewed | None:
    """An answer, or None while it is incomplete. Raises ValueError for what no honest decoder sends."""
    end = decoding.size_of_answer(answer, CODES_MAX)
    if end is None or len(answer) < end + _TAIL.size:
        return None
    views, form, written = _TAIL.unpack_from(answer, end)
    start = end + _TAIL.size
    if views > viewing.views_max or form >= len(_WRITTEN) or written > viewing.written_bytes_max:
        raise ValueError("answer out of range")
    if (views and task is not Task.SHOW) or (written and task is not Task.WRITE) or bool(form) != bool(written):
        raise ValueError("answer to another task")
    at_file = start + views * viewing.view_bytes
    if len(answer) < at_file + written:
        return None
    if len(answer) > at_file + written:
        raise ValueError("answer contradicts itself")
    examined = decoding.unpacked(answer[:end], codes_max=CODES_MAX)
    assert examined is not None
    step, held = viewing.view_bytes, memoryview(answer)
    shown = tuple(bytes(held[at : at + step]) for at in range(start, at_file, step)) if step else ()
    viewed = Viewed(examined, shown, bytes(held[at_file:]), _WRITTEN[form])
    _check(viewed, viewing)
    return viewed


def _check(viewed: Viewed, viewing: Viewing) -> None:
    """Whether what is said of a file can be true of it. What the file shows is for a decoder to say that did not write it."""
    whole = viewed.examined.reason is Reason.FULL
    if (viewed.written or viewed.views) and not whole:
        raise ValueError("answer contradicts itself")
    if not viewed.written:
        return
    if viewed.form == SVG:
        if not viewing.svg or viewed.examined.format != SVG:
            raise ValueError("what was written is a drawing that nobody asked for")
        return
    if format_of(viewed.written) != viewed.form:
        raise ValueError("what was written is of another format")
    if size_of(viewed.written, viewed.form) != (viewed.examined.width, viewed.examined.height):
        raise ValueError("what was written is of another size")
