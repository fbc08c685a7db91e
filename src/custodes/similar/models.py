"""Models and their provenance cards: where a model comes from, what it was trained on, what was found in that (``cards.toml``), and where its file lies.

Promises that a model with known abuse material in what it was trained on is refused, by name and by digest, unless the operator accepts it in so many words;
and that bytes are read once: those that were digested are those that are used. Running models is for ``embedders``.
"""

from __future__ import annotations

import datetime
import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from custodes.decoding import Recipe
from custodes.errors import InputError
from custodes.similar.arithmetic import DIMENSION_MAX
from custodes.sources.files import shown

__all__ = ["Card", "Weights", "card_of", "cards", "packaged_file", "read_weights", "refuse_tainted"]

MODEL_BYTES_MAX: Final = (2 << 30) - 1  # what a protobuf may be
CARD_BYTES_MAX: Final = 1 << 16


class Card(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known of a model, and how it is run."""

    name: str
    title: str
    origin: str
    source: str
    licence: str
    training_data: str
    """As its makers declare it, or ``undisclosed``."""
    findings: tuple[str, ...] = ()
    sha256: tuple[str, ...] = ()
    """Digests of its file, in hexadecimal digits."""
    as_of: datetime.date
    tainted: bool = False
    """Abuse material is known to be in what it was trained on."""
    aliases: tuple[str, ...] = ()
    """Of a tainted model: what it is called elsewhere, in small letters and digits."""
    loader: Literal["", "onnx", "openclip"] = ""
    """What runs it; nothing here runs a model without."""
    dimension: int = 0
    recipe: Recipe = Recipe()
    file: str = ""
    """Its file in the package or on the hub."""
    package: str = ""
    """Which carries the file: ``name==version``."""
    hub: str = ""
    revision: str | None = None
    architecture: str = ""
    """Of OpenCLIP."""
    input: str = ""
    """Of an ONNX model; empty: its only one."""
    output: str = ""
    """Of an ONNX model: a tensor that one of its nodes makes; empty: its first output."""
    pool: Literal["none", "mean", "first"] = "none"
    """Of an ONNX model: the output is a vector of each image, or the mean is taken over [n, d, h, w] or [n, tokens, d], or the first token."""

    def __post_init__(self) -> None:
        if self.loader and not 1 <= self.dimension <= DIMENSION_MAX:
            raise ValueError(f"dimension must be from 1 to {DIMENSION_MAX:,}")
        if self.loader == "onnx" and not self.sha256:
            raise ValueError("sha256 is missing: the digest of the file that this card is about")
        if self.loader == "openclip" and not re.fullmatch(r"[\w.-]+", self.architecture, re.ASCII):
            raise ValueError(
                "architecture must be the name of one"
            )  # OpenCLIP takes hf-hub:… too, and pickles from there
        if any(len(digest) != 64 or set(digest) - set("0123456789abcdef") for digest in self.sha256):
            raise ValueError("sha256 must be 64 small hexadecimal digits")


@dataclass(frozen=True)
class Weights:
    """The bytes of a model's file, the file's name, and their digest."""

    data: bytes = field(repr=False)
    name: str
    sha256: str


@cache
def cards() -> Mapping[str, Card]:
    """The cards of the models that are known, by their names."""
    text = resources.files("custodes.similar").joinpath("cards.toml").read_text(encoding="utf-8")
    return {name: _card(name, table) for name, table in tomllib.loads(text).items()}


def card_of(model: str) -> Card:
    """The card of this name, or the one in this file (``FILE.toml``)."""
    if not model.endswith(".toml"):
        if (card := cards().get(model)) is None:
            raise InputError(
                f"there is no model {shown(model)!r}", hint=f"use one of {', '.join(cards())}, or a card FILE.toml"
            )
        return card
    try:
        tables = tomllib.loads(_bytes_of(Path(model), CARD_BYTES_MAX, "card").decode("utf-8"))
        ((name, table),) = tables.items()
        return _card(name, table)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, TypeError, ValueError) as error:
        raise InputError(
            f"{shown(model)} is no card: {shown(str(error))}",
            hint="a card is one table, as in docs/concepts/embedders.md",
        ) from None


def _card(name: str, table: Mapping[str, Any]) -> Card:
    return msgspec.convert({"name": name, **table}, Card)


def refuse_tainted(card: Card, weights: Weights | None = None, *, accept_tainted: bool) -> None:
    """Raises InputError where the card, or the file itself, is of a tainted model."""
    if accept_tainted:
        return
    said = "".join((card.name, " ", card.source, " ", card.training_data, " ", weights.name if weights else ""))
    letters = "".join(char for char in said.lower() if char.isascii() and char.isalnum())
    for known in [card, *cards().values()]:
        named = any(alias in letters for alias in known.aliases)
        if known.tainted and (known is card or named or (weights and weights.sha256 in known.sha256)):
            raise InputError(
                f"{known.name} is tainted: {' '.join(known.findings) or 'its card says so'}",
                hint="use another model, or say --accept-tainted and answer for it",
            )


def read_weights(path: Path, card: Card) -> Weights:
    """The file, read once. Raises InputError where its digest is not the card's."""
    data = _bytes_of(path, MODEL_BYTES_MAX, "model")
    weights = Weights(data, path.name, hashlib.sha256(data).hexdigest())
    if card.sha256 and weights.sha256 not in card.sha256:
        raise InputError(
            f"{shown(str(path))} is not the file that the card {card.name} is about: its digest is another",
            hint="get the file that the card names, or write a card for this one",
        )
    return weights


def packaged_file(card: Card) -> Path | None:
    """Where the installed package keeps the model. No code of the package is run."""
    if not card.package:
        return None
    try:
        files = metadata.distribution(card.package.partition("==")[0]).files or []
    except metadata.PackageNotFoundError:
        return None
    return next((Path(str(file.locate())) for file in files if file.as_posix() == card.file), None)


def _bytes_of(path: Path, bytes_max: int, what: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(bytes_max + 1) if path.stat().st_size <= bytes_max else None
    except OSError as error:
        raise InputError(f"the {what} {shown(str(path))} cannot be read: {error.strerror}") from None
    if data is None or len(data) > bytes_max:
        raise InputError(f"the {what} {shown(str(path))} is larger than {bytes_max:,} bytes")
    return data
