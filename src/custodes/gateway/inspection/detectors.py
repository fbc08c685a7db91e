"""Detectors: models that run here and give a score to pictures that were prepared for them in the jail.

Promises that a detector has a card with the digest of its file, that a tainted one is refused, and that what is no score between 0 and 1 raises: a detector
that breaks never says "0". Which score leads to what is for the rules; preparing pictures is for ``decoder.views``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

import msgspec
import numpy as np

from custodes.decoding import Recipe
from custodes.errors import ConfigError, WorldError
from custodes.pictures import Pixels
from custodes.similar.embedders import EmbedderOptions, OnnxEmbedder, file_of
from custodes.similar.models import Card, card_of

__all__ = ["Detector", "OnnxDetector", "open_detector"]

EXPLICIT: Final = "explicit"
_CLASSES: Final = {"open-nsfw": "outputs"}
"""Of models whose card is about their features: the tensor of their classes, of which the last one is the one that is looked for."""


class Detector(Protocol):
    """Something that gives pictures a score. Raises CustodesError where it cannot."""

    @property
    def name(self) -> str:
        """What facts say they come from: the model and a part of its digest."""

    @property
    def fact(self) -> str:
        """What its score is of."""

    @property
    def card(self) -> Card:
        """Where the model comes from."""

    @property
    def recipe(self) -> Recipe:
        """How a picture is prepared for it."""

    async def score(self, squares: Sequence[Pixels]) -> float:
        """The greatest of the pictures' scores, 0 to 1."""


class OnnxDetector:
    """A classifier in one ONNX file: its output is the probabilities of its classes, for each picture, and ``positive`` the class that is looked for."""

    def __init__(self, model: OnnxEmbedder, *, fact: str = EXPLICIT, positive: int = -1) -> None:
        if model.dimension < 2:
            raise ConfigError(
                f"the model {model.name} gives {model.dimension} numbers",
                hint="a detector's card names an output of two classes or more",
            )
        self._model, self.fact, self._positive = model, fact, positive
        self.name = f"{model.name}@{model.sha256[:12]}"
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="detector")

    @property
    def card(self) -> Card:
        """Where the model comes from."""
        return self._model.card

    @property
    def recipe(self) -> Recipe:
        """How a picture is prepared for it."""
        return self._model.card.recipe

    async def score(self, squares: Sequence[Pixels]) -> float:
        """The greatest probability of the class, in a thread of its own."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._score, squares)

    def _score(self, squares: Sequence[Pixels]) -> float:
        if not squares:
            raise WorldError(f"the detector {self.name} was shown nothing")
        # Vectors come scaled to length 1, which leaves shares as they are.
        found = self._model.embed_squares(squares).astype(np.float64)
        total = found.sum(axis=1)
        if not (found >= 0).all() or not (total > 0).all():
            raise WorldError(f"the detector {self.name} gave no probabilities", hint="look at output in its card")
        return float((found[:, self._positive] / total).max())


def open_detector(model: str, *, fact: str = EXPLICIT, threads: int = 1) -> OnnxDetector:
    """The detector of this name, or of this card (``FILE.toml``). Raises InputError where it is missing, tainted, or another file than its card says."""
    card = card_of(model)
    if card.loader != "onnx":
        raise ConfigError(f"{card.name} is no detector", hint="name open-nsfw, or a card FILE.toml of a classifier")
    if card.name in _CLASSES:
        card = msgspec.structs.replace(card, output=_CLASSES[card.name], dimension=2)
    return OnnxDetector(OnnxEmbedder(file_of(card), card, EmbedderOptions(threads=threads)), fact=fact)
