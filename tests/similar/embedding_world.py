"""A tiny model whose vector is the mean of each channel, its card, and plain pictures that it can tell apart."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from custodes.config import Site
from custodes.ledger.run import RunDirectory, Vectors
from custodes.similar.embedders import EmbedderOptions, open_embedder
from tests.similar.tiny_onnx import MEANS

CARD = """
[{name}]
title = "Means of the channels"
origin = "these tests"
source = "these tests"
licence = "Apache-2.0"
training_data = "none"
sha256 = ["{sha256}"]
as_of = 2026-11-23
loader = "onnx"
dimension = {dimension}
tainted = {tainted}
[{name}.recipe]
side = 4
resize = {resize}
"""


@dataclass(frozen=True)
class Tiny:
    """A card and its file."""

    card: Path
    file: Path

    @property
    def options(self) -> tuple[object, ...]:
        return "--embed", self.card, "--embed-file", self.file

    def vectors(self, pictures: Sequence[bytes]) -> Vectors:
        """What an embedder that is opened here makes of the pictures' pixels."""
        pixels = [np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in pictures]
        embedder = open_embedder(str(self.card), EmbedderOptions(file=self.file))
        return embedder.embed(pixels).astype(np.float16)


def tiny(home: Path, data: bytes = MEANS, **said: Any) -> Tiny:
    home.mkdir(exist_ok=True, parents=True)
    stated = {
        "name": "tiny",
        "dimension": 3,
        "tainted": "false",
        "resize": 4,
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    card, file = home / "tiny.toml", home / "tiny.onnx"
    card.write_text(CARD.format(**(stated | said)))
    file.write_bytes(data)
    return Tiny(card, file)


def plain(red: int, green: int, blue: int, seed: int = 0, kind: str = "PNG") -> bytes:
    """A picture of about one colour: no two are equal."""
    noise = np.random.default_rng([red, green, blue, seed]).integers(0, 12, (40, 50, 3))
    pixels = np.clip(noise * (red + green + blue > 0) + (red, green, blue), 0, 255).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


def tar_of(path: Path, pictures: Iterable[bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for place, data in enumerate(pictures):
            info = tarfile.TarInfo(f"{place:04}.png")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def vectors_in(run: Path, site: Site) -> Vectors:
    """All vectors of a run, in order."""
    ledger = RunDirectory.open(run, site.run_key())
    records = [record for _, record in sorted(ledger.latest().items())]
    return np.concatenate([ledger.vectors(record) for record in records])
