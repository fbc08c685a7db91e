"""What the three processes say to each other. From the matcher comes one byte for each item, and nothing else."""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from custodes.decoding import ImageLimits
from custodes.serving.settings import ServeSettings

__all__ = [
    "ITEMS_MAX",
    "Answer",
    "Ask",
    "Batch",
    "Code",
    "FrontHello",
    "Item",
    "Listening",
    "MatcherHello",
    "Ready",
    "Verdict",
]

ITEMS_MAX = 1000
"""Items of one request."""

Md5 = Annotated[bytes, Meta(max_length=16)]
Sha1 = Annotated[bytes, Meta(max_length=20)]
Sha256 = Annotated[bytes, Meta(max_length=32)]


class Verdict(IntEnum):
    """What is said of an item."""

    OK = 0
    """Nothing matched."""
    HOLD = 1
    """Something matched; or is as near to what matched before; or the tenant is locked."""
    BUSY = 2
    """Not compared: the tenant has asked, or found, as much as it may."""


class Code(msgspec.Struct, frozen=True, array_like=True):
    """A PDQ code, 32 bytes, or 128 with its reflections."""

    code: Annotated[bytes, Meta(min_length=32, max_length=128)]
    quality: Annotated[int, Meta(ge=0, le=100)]


class Item(msgspec.Struct, frozen=True, array_like=True):
    """The digests of one image; those that are not known are empty."""

    md5: Md5 = b""
    sha1: Sha1 = b""
    sha256: Sha256 = b""
    pdq: Annotated[list[Code], Meta(max_length=100)] = []


class Ask(msgspec.Struct, frozen=True, array_like=True):
    """Items of one tenant."""

    tenant: str
    items: Annotated[list[Item], Meta(max_length=ITEMS_MAX)]


class Batch(msgspec.Struct, frozen=True, tag=True):
    """Front to matcher: everything that waits."""

    asks: list[Ask]


class Answer(msgspec.Struct, frozen=True, tag=True):
    """Matcher to front: a ``Verdict`` for each item of the batch, in order."""

    verdicts: bytes


class Ready(msgspec.Struct, frozen=True, tag=True):
    """Matcher to keeper: the lists are loaded, all of them."""


class MatcherHello(msgspec.Struct, frozen=True, tag=True):
    """Keeper to matcher: its configuration, the versions of lists to load, the descriptor on which it is asked."""

    config: str
    versions: dict[str, str]
    channel: int


class FrontHello(msgspec.Struct, frozen=True, tag=True):
    """Keeper to front: settings with the files of TLS as absolute paths, and the descriptor over which matchers come."""

    settings: ServeSettings
    image: ImageLimits
    matchers: int
    unsafe_no_jail: bool = False


class Listening(msgspec.Struct, frozen=True, tag=True):
    """Front to keeper: it listens, on these ports."""

    port: int
    metrics_port: int
