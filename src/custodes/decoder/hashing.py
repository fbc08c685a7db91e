"""From the bytes of one image to what a look at it gives: decoded by ``image``, PDQ of every frame by ``pdq``, and, for a model, the square that it is
shown, by ``pictures``. Meant for inside the jail.

Promises that whatever the bytes are, the answer is an ``Examined`` that says how far the examination came.
"""

from __future__ import annotations

from custodes.decoder.image import Frame, Undecodable, decode
from custodes.decoding import CODES_MAX, DecodePolicy, Examined, ImageLimits, Recipe
from custodes.model import Pdq, Reason
from custodes.pdq import pdq_of_rows
from custodes.pictures import square_of
from custodes.sniff import format_of, size_of

__all__ = ["examine_content", "header_of"]


def examine_content(data: bytes, limits: ImageLimits, policy: DecodePolicy, recipe: Recipe | None = None) -> Examined:
    """Decode and PDQ one image, and prepare its first frame if there is a recipe: a pure function of its arguments, meant to run inside the jail."""
    try:
        decoded = decode(data, limits, policy)
        codes: dict[bytes, Pdq] = {}
        square = b""
        for frame in decoded.frames:
            found = pdq_of_rows(frame.rows, (frame.width, frame.height), frame.reduction, frame.index)
            if recipe and not codes:
                square = _square(frame, recipe)
            if len(codes) < CODES_MAX:
                codes.setdefault(found.code, found)
    except Undecodable as refusal:
        return Examined(refusal.reason, *header_of(data))
    except MemoryError:
        return Examined(Reason.DECODE_MEMORY, *header_of(data))
    if not codes:
        return Examined(Reason.BROKEN, decoded.format, decoded.width, decoded.height)
    return Examined(decoded.reason, decoded.format, decoded.width, decoded.height, tuple(codes.values()), square)


def _square(frame: Frame, recipe: Recipe) -> bytes:
    """What a model is shown of a frame; empty where it cannot be had in colour. Its digests count all the same."""
    try:
        return square_of(frame.colour(), recipe).tobytes()
    except (
        Undecodable,
        MemoryError,
        ValueError,
        OSError,
    ):  # the last two: what Pillow raises where it will not resize or write
        return b""


def header_of(data: bytes) -> tuple[str, int, int]:
    """Format and size as far as the first bytes state them."""
    name = format_of(data)
    try:
        size = size_of(data, name) if name else None
    except ValueError:
        size = None
    if size is None or not all(0 <= side < 1 << 32 for side in size):
        size = 0, 0
    return name or "", *size
