"""What a decoder is told and what it answers, and the wire between a carrier and its decoders. No image code is loaded here.

Promises that an answer is read as hostile input: whoever took a decoder over can lie about the images that it is given, and no more. Decoding
itself is in ``decoder.image``, the process in ``decoder.zygote``, the carrier's end in ``jail``.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal

import msgspec

from custodes.model import Pdq, Reason
from custodes.sniff import FORMATS

__all__ = [
    "CODES_MAX",
    "LENGTH",
    "READY",
    "REAP",
    "REAPED",
    "SPAWN",
    "DecodePolicy",
    "Examined",
    "Hello",
    "ImageLimits",
    "JailSettings",
    "Recipe",
    "packed",
    "size_of_answer",
    "unpacked",
]

CODES_MAX: Final = 100
"""PDQ codes kept of one image. Frames with equal codes count once."""


class DecodePolicy(StrEnum):
    """The arithmetic a digest is made with. Part of a run's configuration: digests of two policies differ by a few bits."""

    EXACT = "exact/1"
    """Full-resolution RGB to float luma: equals the reference implementation."""
    FAST = "fast/2"
    """The luma plane alone, JPEG at the smallest DCT scale that leaves 384 pixels on the short side: less than 1 bit off on average."""
    FAST_1 = "fast/1"
    """Of earlier versions, reduced to 256 pixels: known where their runs are read, and not made any more."""


class ImageLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one image may cost. Nothing over a limit is decoded further; the outcome says so."""

    pixels_max: int = 50_000_000
    """Pixels of one frame, by its header."""
    frames_max: int = 100
    """Frames looked at of one animation."""
    frame_pixels_max: int = 200_000_000
    """Pixels of all frames looked at of one animation."""
    frames_time_s: float = 3.0
    """Time for all frames of one animation; what was seen by then counts, as partial."""
    jpeg_scans_max: int = 100
    """Scans decoded of one JPEG file; further ones are cut off and the result is partial."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if not 0 < getattr(self, name) <= 1_000_000_000:
                raise ValueError(f"{name} must be above 0 and at most 1,000,000,000")


class JailSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How decoders are kept."""

    decoders: int = 1
    """Decoders running at once; and as many again that read what these wrote."""
    cpu_timeout_s: float = 5.0
    """Processor time that one image may take before its decoder is killed."""
    wall_timeout_s: float = 30.0
    """Time by the clock that one image may take, however busy the machine is."""
    memory_bytes_max: int = 400 << 20
    """Address space that a decoder may add to what it was born with; with that, about 512 MB resident."""
    images_max: int = 5000
    """Images after which a decoder is replaced by a fresh one."""
    unsafe_no_jail: bool = False
    """Leave Landlock and seccomp out. A file that takes a decoder over then has what the user has."""

    def __post_init__(self) -> None:
        ranges = {
            "decoders": (1, 256),
            "cpu_timeout_s": (0.01, 3600),
            "wall_timeout_s": (0.01, 3600),
            "memory_bytes_max": (64 << 20, 16 << 30),
            "images_max": (1, 10**9),
        }
        for name, (low, high) in ranges.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be from {low} to {high}")


SIDE_MAX: Final = 1024
Triple = tuple[float, float, float]


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a picture becomes what a model is shown: resized to ``resize``, the middle cut out, and (value / divide_by - mean) / std of each channel."""

    side: int = 224
    resize: int = 224
    fit: Literal["stretch", "shortest"] = "shortest"
    """Resize both sides, or the shorter one and keep the proportions."""
    filter: Literal["bilinear", "bicubic"] = "bilinear"
    jpeg_quality: int = 0
    """Written as a JPEG file of this quality once it is resized, and read again; 0: not."""
    order: Literal["rgb", "bgr"] = "rgb"
    layout: Literal["nchw", "nhwc"] = "nchw"
    divide_by: float = 255.0
    mean: Triple = (0.0, 0.0, 0.0)
    """Of the channels, in ``order``."""
    std: Triple = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        if not 1 <= self.side <= self.resize <= SIDE_MAX:
            raise ValueError(f"side must be at least 1, resize at least side and at most {SIDE_MAX}")
        if not 0 <= self.jpeg_quality <= 100 or (self.jpeg_quality and self.fit != "stretch"):
            raise ValueError("jpeg_quality must be from 0 to 100, and 0 where fit is not stretch")
        numbers = (self.divide_by, *self.std, *self.mean)
        if not all(map(math.isfinite, numbers)) or not all(number > 0 for number in numbers[:4]):
            raise ValueError("divide_by and std must be above 0, and all of them finite")

    @property
    def square_bytes(self) -> int:
        """Of the square that the model is shown: red, green and blue."""
        return 3 * self.side * self.side


@dataclass(frozen=True, slots=True)
class Examined:
    """What looking at one image gave. ``reason`` names the outcome; ``pdq`` is empty unless that outcome is ``examined``.
    Format and size are those of the header where nothing was decoded, and 0 where there is none.

    Each code stands once, with the first frame that showed it; a frame with transparency may give three: on white,
    on black, and without its alpha. ``square`` is the first frame as a recipe prepares it, uint8[side, side, 3]: where one was asked for, and
    the picture could be had in colour.
    """

    reason: Reason
    format: str = ""
    width: int = 0
    height: int = 0
    pdq: tuple[Pdq, ...] = ()
    square: bytes = field(default=b"", repr=False)


# --- between carrier and decoder ---

# Carrier to decoder: length, task (see ``viewing``), bytes. Decoder to carrier: one READY byte when confined, then a head and its
# codes for each image. Where there is a recipe, an image that was examined has one byte more: 1 and the square, or 0.

LENGTH: Final = struct.Struct("<I")
HEAD: Final = struct.Struct("<BBHII")  # reason, format, codes, width, height
CODE: Final = struct.Struct("<IB32s96s")  # frame, quality, code, reflections
READY: Final = b"\x01"
_REASONS: Final = tuple(Reason)
_FORMATS: Final = ("", *FORMATS, "svg")
_SEEN: Final = (Reason.FULL, Reason.PARTIAL_DAMAGED, Reason.PARTIAL_FRAMES)


def packed(examined: Examined, square_bytes: int = 0) -> bytes:
    """An answer as it crosses. ``square_bytes``: what the recipe gives; 0: there is none."""
    head = HEAD.pack(
        _REASONS.index(examined.reason),
        _FORMATS.index(examined.format),
        len(examined.pdq),
        examined.width,
        examined.height,
    )
    codes = b"".join(CODE.pack(found.frame, found.quality, found.code, found.reflections) for found in examined.pdq)
    if not square_bytes or examined.reason not in _SEEN:
        return head + codes
    assert len(examined.square) in (0, square_bytes)
    return b"".join((head, codes, b"\x01" if examined.square else b"\x00", examined.square))


_DECODERS_OWN: Final = frozenset(
    {
        Reason.FULL,
        Reason.PARTIAL_DAMAGED,
        Reason.PARTIAL_FRAMES,
        Reason.NOT_IMAGE,
        Reason.UNKNOWN_FORMAT,
        Reason.BROKEN,
        Reason.TOO_MANY_PIXELS,
        Reason.TOO_MANY_SCANS,
        Reason.DECODE_MEMORY,
    }
)


def size_of_answer(answer: bytes | bytearray, codes_max: int = CODES_MAX) -> int | None:
    """Bytes of the head and the codes that it announces; None while the head is incomplete. Raises ValueError for one that no honest decoder sends."""
    if len(answer) < HEAD.size:
        return None
    reason, form, count, _, _ = HEAD.unpack_from(answer)
    if reason >= len(_REASONS) or form >= len(_FORMATS) or count > codes_max:
        raise ValueError("answer out of range")
    return HEAD.size + int(count) * CODE.size


def unpacked(answer: bytes | bytearray, square_bytes: int = 0, *, codes_max: int = CODES_MAX) -> Examined | None:
    """An answer, or None while it is incomplete. Raises ValueError for what no honest decoder sends: whoever took one over can lie
    about the images that it is given until it is replaced, and gains nothing else.
    """
    end = size_of_answer(answer, codes_max)
    if end is None:
        return None
    reason_index, format_index, _, width, height = HEAD.unpack_from(answer)
    reason = _REASONS[reason_index]
    wanted = end
    if square_bytes and reason in _SEEN:
        shown = answer[end : end + 1]
        if shown > b"\x01":
            raise ValueError("answer out of range")
        wanted = end + 1 + (square_bytes if shown == b"\x01" else 0)
    if len(answer) < wanted:
        return None
    codes = tuple(
        Pdq(code, quality, frame, reflections)
        for frame, quality, code, reflections in CODE.iter_unpack(answer[HEAD.size : end])
    )
    if (
        len(answer) > wanted
        or reason not in _DECODERS_OWN
        or (reason in _SEEN) != bool(codes)
        or any(found.quality > 100 for found in codes)
    ):
        raise ValueError("answer contradicts itself")
    return Examined(reason, _FORMATS[format_index], width, height, codes, bytes(answer[end + 1 : wanted]))


# --- between carrier and zygote ---


class Hello(msgspec.Struct, frozen=True):
    """What the zygote answers: how decoders will be confined, or why they cannot be."""

    confinement: str = ""
    error: str = ""


SPAWN, REAP = b"S", b"R"
REAPED: Final = struct.Struct("<qq")  # wait status, peak resident bytes
