"""Digests of an image: MD5, SHA-1 and SHA-256 of its bytes, PDQ of every frame that it shows.

Promises that whatever the bytes are, the answer is an ``Examined`` that says how far the examination came. Decoding is left to ``image``, the
arithmetic of PDQ to ``pdq``, matching to ``index``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from custodes.image import DecodePolicy, ImageLimits, Undecodable, decode
from custodes.model import Content, Pdq, Reason
from custodes.pdq import pdq_of_rows
from custodes.sniff import format_of, size_of

__all__ = ["CODES_MAX", "Examined", "crypto_digests", "examine_content"]

CODES_MAX: Final = 100
"""PDQ codes kept of one image. Frames with equal codes count once."""


def crypto_digests(content: Content) -> tuple[bytes, bytes, bytes]:
    """MD5, SHA-1 and SHA-256 of the bytes. Names in lists, not protection: collisions of the first two are the list owners' to bear."""
    data = content.reveal()
    return (
        hashlib.md5(data, usedforsecurity=False).digest(),
        hashlib.sha1(data, usedforsecurity=False).digest(),
        hashlib.sha256(data, usedforsecurity=False).digest(),
    )


@dataclass(frozen=True, slots=True)
class Examined:
    """What looking at one image gave. ``reason`` names the outcome; ``pdq`` is empty unless that outcome is ``examined``.
    Format and size are those of the header where nothing was decoded, and 0 where there is none.

    Each code stands once, with the first frame that showed it; a frame with transparency may give three: on white,
    on black, and without its alpha.
    """

    reason: Reason
    format: str = ""
    width: int = 0
    height: int = 0
    pdq: tuple[Pdq, ...] = ()


def examine_content(data: bytes, limits: ImageLimits, policy: DecodePolicy) -> Examined:
    """Decode and PDQ one image: a pure function of its arguments, meant to run inside the jail."""
    try:
        decoded = decode(data, limits, policy)
        codes: dict[bytes, Pdq] = {}
        for frame in decoded.frames:
            found = pdq_of_rows(frame.rows, (frame.width, frame.height), frame.reduction, frame.index)
            if len(codes) < CODES_MAX:
                codes.setdefault(found.code, found)
    except Undecodable as refusal:
        return Examined(refusal.reason, *_header(data))
    except MemoryError:
        return Examined(Reason.DECODE_MEMORY, *_header(data))
    if not codes:
        return Examined(Reason.BROKEN, decoded.format, decoded.width, decoded.height)
    return Examined(decoded.reason, decoded.format, decoded.width, decoded.height, tuple(codes.values()))


def _header(data: bytes) -> tuple[str, int, int]:
    """Format and size as far as the first bytes state them."""
    name = format_of(data)
    try:
        size = size_of(data, name) if name else None
    except ValueError:
        size = None
    if size is None or not all(0 <= side < 1 << 32 for side in size):
        size = 0, 0
    return name or "", *size
