"""What a scan is told: settings that can change an outcome (they go into the manifest) and pace (which cannot)."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from custodes.carrier.protocol import Model, Start
from custodes.decoding import DecodePolicy, ImageLimits
from custodes.jurisdictions import PolicyUsed
from custodes.lists.matcher import MatchSettings
from custodes.lists.meaning import schemes_digest
from custodes.model import Meaning
from custodes.net import FetchLimits

__all__ = ["JUDGING", "PACE", "EmbedSettings", "Pass", "ScanSettings", "without_pace"]

Pass = Literal["columns", "bytes"]
"""What a scan may be told to run. The run of a scan for similar photos has the pass ``similar`` besides."""

PACE: Final = ("in_flight", "per_host", "lookups", "memory_bytes_max")
"""Fields of ``FetchLimits`` that change the speed of a run and none of its outcomes; a run may go on with others."""

JUDGING: Final = ("match", "policy", "meaning", "schemes")
"""Fields of ``ScanSettings`` that say what is made of digests. A rematch judges by those of today."""


class EmbedSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which model a scan makes vectors with. Where its file lies does not matter."""

    model: str
    sha256: str
    """Of its file."""
    dimension: int
    recipe: str
    """A digest of all else in its card that decides about numbers."""
    device: Literal["cpu", "cuda"]
    accept_tainted: bool = False


class SimilarAsked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a scan for similar photos was asked, as digests where it would name a row."""

    model: str
    vectors: str
    photos: str
    probe: str
    meaning: Meaning
    top: int
    above: float
    least: float
    budget: int


class ScanSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can change what a scan says of a row."""

    passes: tuple[Pass, ...] = ("columns", "bytes")
    limit: int | None = None
    fetch: FetchLimits = FetchLimits()
    image: ImageLimits = ImageLimits()
    decode_policy: DecodePolicy = DecodePolicy.FAST
    match: dict[str, MatchSettings] = {}
    policy: PolicyUsed = PolicyUsed()
    meaning: dict[str, dict[str, Meaning]] = {}
    schemes: str = msgspec.field(default_factory=schemes_digest)
    similar: SimilarAsked | None = None
    embed: EmbedSettings | None = None
    unsafe_allow_loopback: bool = False
    unsafe_no_jail: bool = False

    def unsafe(self) -> list[str]:
        """The names of the unsafe options in use, for the manifest and every report."""
        flags = {
            "--unsafe-allow-loopback": self.unsafe_allow_loopback,
            "--unsafe-no-jail": self.unsafe_no_jail,
            "--accept-tainted": self.embed is not None and self.embed.accept_tainted,
        }
        return [name for name, used in flags.items() if used]

    def carrier_start(self, readable: tuple[str, ...] = (), workers: int = 1, model: Model | None = None) -> Start:
        """How a carrier starts under these settings, with a model if it is to make vectors, and its share of what its machine may have.

        What one host may have is not divided: carriers ask for it (``net.courtesy``).
        """
        in_flight, lookups = (max(1, most // workers) for most in (self.fetch.in_flight, self.fetch.lookups))
        memory = max(self.fetch.body_bytes_max, self.fetch.memory_bytes_max // workers)
        return Start(
            fetch=msgspec.structs.replace(self.fetch, in_flight=in_flight, lookups=lookups, memory_bytes_max=memory),
            image=self.image,
            policy=self.decode_policy,
            unsafe_allow_loopback=self.unsafe_allow_loopback,
            unsafe_no_jail=self.unsafe_no_jail,
            readable=readable,
            model=model,
        )


def without_pace(settings: ScanSettings) -> dict[str, Any]:
    """The settings as a plain document, less what only changes speed: what the manifest holds."""
    document: dict[str, Any] = msgspec.to_builtins(settings)
    for name in ("similar", "embed"):
        if document[name] is None:
            del document[name]
    document["fetch"] = {name: value for name, value in document["fetch"].items() if name not in PACE}
    return document
