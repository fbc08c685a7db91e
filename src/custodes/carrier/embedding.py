"""The model that a carrier runs: prepared images in, vectors out, in a thread of its own, so that fetching goes on meanwhile.

Promises that the model is the one that the coordinator found, by the digest in its card; that it was tried on a blank image before the first real one; and
that what fails in the thread is raised in the loop. Loaded only where a scan asks for vectors.
"""

from __future__ import annotations

import os
import selectors
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from custodes.carrier.protocol import Model
from custodes.similar.embedders import BATCH, Embedder, EmbedderOptions, embedder_of
from custodes.similar.models import Card

__all__ = ["Embedding", "opened"]

_AHEAD: Final = 2
"""Batches that the thread has: one that it works on, and one to go on with before the loop comes round."""


def opened(model: Model) -> Embedder:
    """The model, tried on a blank image. Raises InputError where it is not the one of the card, or does not give what the card says."""
    options = EmbedderOptions(model.device, threads=1, accept_tainted=model.accept_tainted, file=Path(model.file))
    embedder = embedder_of(msgspec.json.decode(model.card, type=Card), options)
    embedder.embed_squares([np.zeros((model.recipe.side, model.recipe.side, 3), dtype=np.uint8)])
    return embedder


class Embedding:
    """Give it squares under numbers of your own; ``results`` fills as the selector turns. Make it in a process that is confined, or its thread is not."""

    def __init__(self, embedder: Embedder, model: Model, selector: selectors.BaseSelector) -> None:
        self.sha256 = embedder.sha256
        self.results: deque[tuple[int, bytes]] = deque()
        """Numbers, and vectors as fp16, little-endian: of length 1, or all zero where the model saw no direction."""
        self._embedder, self._side, self._batch = embedder, model.recipe.side, BATCH[model.device]
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._running: deque[tuple[Sequence[int], Future[list[bytes]]]] = deque()
        self._thread = ThreadPoolExecutor(1, "model")
        self._bell = os.eventfd(0, os.EFD_CLOEXEC)
        selector.register(self._bell, selectors.EVENT_READ, self._answered)

    @property
    def backlog(self) -> int:
        """Images submitted and not yet answered."""
        return len(self._waiting) + sum(len(numbers) for numbers, _ in self._running)

    def submit(self, number: int, square: bytes) -> None:
        """Queue an image; never blocks."""
        self._waiting.append((number, square))
        self._feed()

    def _feed(self) -> None:
        while self._waiting and len(self._running) < _AHEAD:
            batch = [self._waiting.popleft() for _ in range(min(self._batch, len(self._waiting)))]
            numbers, squares = zip(*batch, strict=True)
            future = self._thread.submit(self._vectors, squares)
            self._running.append((numbers, future))
            future.add_done_callback(lambda _: os.eventfd_write(self._bell, 1))

    def _answered(self, _mask: int) -> None:
        os.eventfd_read(self._bell)
        while self._running and self._running[0][1].done():
            numbers, future = self._running.popleft()
            self.results.extend(zip(numbers, future.result(), strict=True))
        self._feed()

    def _vectors(self, squares: Sequence[bytes]) -> list[bytes]:
        shape = (self._side, self._side, 3)
        images = [np.frombuffer(square, dtype=np.uint8).reshape(shape) for square in squares]
        return [vector.tobytes() for vector in self._embedder.embed_squares(images).astype("<f2")]
