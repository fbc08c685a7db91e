"""What a shard worker and its carrier say to each other. Several requests may be open at once; the worker numbers them.

The carrier holds content in flight and nothing else: no list, no key, no verdict crosses to it. What comes back from it is treated as
hostile: fixed types, closed sets of names, bounded lengths.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from custodes.decoding import DecodePolicy, ImageLimits, Recipe
from custodes.errors import ExitCode
from custodes.model import Digests, Pdq, Reason
from custodes.net import FetchLimits
from custodes.net.courtesy import Ask, Grant
from custodes.sources.base import Plan, ShardSpec

__all__ = [
    "INT32_MAX",
    "Carried",
    "Done",
    "FetchLinks",
    "Model",
    "Problem",
    "Pulse",
    "ReadFiles",
    "ReadShard",
    "Ready",
    "Reply",
    "Request",
    "Start",
]

Short = Annotated[str, Meta(max_length=200)]
Count = Annotated[int, Meta(ge=0, lt=1 << 62)]
INT32_MAX = (1 << 31) - 1
Int32 = Annotated[int, Meta(ge=0, le=INT32_MAX)]


VECTOR_BYTES_MAX = 1 << 15
"""Of a vector of 16,384 numbers in fp16."""


class Model(msgspec.Struct, frozen=True):
    """A model to make vectors with, as it was found. ``card`` is its card in JSON, with one digest: who does not run it need not know more."""

    card: bytes
    recipe: Recipe
    dimension: int
    file: str
    device: Literal["cpu", "cuda"] = "cpu"
    accept_tainted: bool = False

    @property
    def vector_bytes(self) -> int:
        """Of a vector in fp16."""
        return 2 * self.dimension


class Start(msgspec.Struct, frozen=True, tag=True):
    """First message to a carrier: the limits that it works under."""

    fetch: FetchLimits
    image: ImageLimits
    policy: DecodePolicy
    decoders: int = 1
    unsafe_allow_loopback: bool = False
    unsafe_no_jail: bool = False
    readable: tuple[str, ...] = ()
    """Paths that the carrier may read: the dataset, if it holds images."""
    model: Model | None = None


class FetchLinks(msgspec.Struct, frozen=True, tag=True):
    """Fetch these (key, URL) pairs and answer each once."""

    batch: int
    links: list[tuple[int, str]]


class ReadShard(msgspec.Struct, frozen=True, tag=True):
    """Read the images of a shard; keys are positions in it."""

    batch: int
    plan: Plan
    shard: ShardSpec


class ReadFiles(msgspec.Struct, frozen=True, tag=True):
    """Read these (key, path) pairs."""

    batch: int
    files: list[tuple[int, str]]


Request = FetchLinks | ReadShard | ReadFiles | Grant


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The carrier and its jail stand."""

    confinement: Short
    model_sha256: Short = ""
    """Of the file of the model that it runs."""


class PdqCarried(msgspec.Struct, frozen=True, array_like=True):
    """One PDQ hash on its way."""

    frame: Int32
    quality: Annotated[int, Meta(ge=0, le=100)]
    code: Annotated[bytes, Meta(min_length=32, max_length=32)]
    reflections: Annotated[bytes, Meta(min_length=96, max_length=96)]


class Carried(msgspec.Struct, frozen=True, tag=True, kw_only=True, omit_defaults=True):
    """The one answer for a key of a batch."""

    batch: Count
    key: Count
    reason: Reason
    attempts: Annotated[int, Meta(ge=0, le=255)] = 0
    status: Annotated[int, Meta(ge=0, le=999)] = 0
    fetched_at: Count = 0
    size_bytes: Count = 0
    final_url: Annotated[str, Meta(max_length=1 << 16)] = ""
    format: Short = ""
    width: Int32 = 0
    height: Int32 = 0
    md5: Annotated[bytes, Meta(max_length=16)] = b""
    sha1: Annotated[bytes, Meta(max_length=20)] = b""
    sha256: Annotated[bytes, Meta(max_length=32)] = b""
    pdq: Annotated[list[PdqCarried], Meta(max_length=200)] = []
    vector: Annotated[bytes, Meta(max_length=VECTOR_BYTES_MAX)] = b""
    """fp16, little-endian, where there is a model; all zero where it saw no direction in the image."""

    def digests(self) -> Digests | None:
        """The digests, if there were bytes to digest."""
        if not self.md5:
            return None
        return Digests(
            self.md5, self.sha1, self.sha256, tuple(Pdq(p.code, p.quality, p.frame, p.reflections) for p in self.pdq)
        )


class Pulse(msgspec.Struct, frozen=True, tag=True):
    """Sent every second: the carrier is alive, and this is its trouble."""

    in_flight: int = 0
    queued: int = 0
    hosts_in_trouble: int = 0


class Problem(msgspec.Struct, frozen=True, tag=True):
    """The source of a batch cannot be read, or (batch -1) the carrier cannot work: an error with its text."""

    batch: int
    message: Annotated[str, Meta(max_length=4000)]
    hint: Annotated[str, Meta(max_length=4000)] = ""
    exit_code: int = int(ExitCode.WORLD)


class Done(msgspec.Struct, frozen=True, tag=True):
    """A batch is answered in full: so many keys."""

    batch: int
    rows: int


Reply = Ready | Carried | Pulse | Ask | Problem | Done
