"""The model that a scan makes vectors with: found, tried out, and told by what identifies it.

Promises that a model that is refused, missing or not what its card says is an error before the first row, and that a run is gone on with by the same model
only. It is opened where it runs, in a carrier: nothing here reads its file.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from custodes.carrier.client import Carrier
from custodes.carrier.protocol import Model
from custodes.errors import InputError
from custodes.scan.settings import EmbedSettings, ScanSettings
from custodes.similar.models import Card, card_of, refuse_tainted

__all__ = ["EmbedRequest", "with_model"]


@dataclass(frozen=True)
class EmbedRequest:
    """A model, by the name of its card or as a card ``FILE.toml``; ``file`` stands for the card's package or hub."""

    model: str
    file: Path | None = None
    device: Literal["cpu", "cuda"] = "cpu"
    accept_tainted: bool = False


def with_model(settings: ScanSettings, request: EmbedRequest) -> tuple[ScanSettings, Model]:
    """The settings of a scan that makes vectors, and what its carriers are told. Raises InputError where the model cannot be used."""
    from custodes.similar.embedders import file_of  # noqa: PLC0415 - Pillow and NumPy's loaders, for few scans

    if "bytes" not in settings.passes:
        raise InputError(
            "--embed is for images that are decoded, and this scan decodes none", hint="add the pass bytes"
        )
    card = card_of(request.model)
    refuse_tainted(card, accept_tainted=request.accept_tainted)
    file = str(file_of(card, request.file).resolve())
    model = Model(msgspec.json.encode(card), card.recipe, card.dimension, file, request.device, request.accept_tainted)
    with Carrier(settings.carrier_start(model=model)) as carrier:
        carrier.ready()
        sha256 = carrier.model_sha256
    # Carriers that start later take this file and no other that the card may allow.
    pinned = msgspec.json.encode(msgspec.structs.replace(card, sha256=(sha256,)))
    embed = EmbedSettings(
        model=card.name,
        sha256=sha256,
        dimension=card.dimension,
        recipe=recipe_digest(card),
        device=request.device,
        accept_tainted=request.accept_tainted,
    )
    return msgspec.structs.replace(settings, embed=embed), msgspec.structs.replace(model, card=pinned)


def recipe_digest(card: Card) -> str:
    """SHA-256 over what a card says of how its file is run, and of what it is shown."""
    said = [card.loader, card.architecture, card.input, card.output, card.pool, card.recipe]
    return hashlib.sha256(msgspec.json.encode(said)).hexdigest()
