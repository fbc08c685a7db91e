"""Released images for clients that want a link: kept in memory for a while, under names that nobody guesses. Nothing else is ever put here."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from custodes.gateway.guard import Released

__all__ = ["Shelf", "ShelfLimits"]


@dataclass(frozen=True, slots=True)
class ShelfLimits:
    """How much, and how long."""

    bytes_max: int = 256 << 20
    keep_s: float = 3600.0


@dataclass(slots=True)
class Shelf:
    """The oldest goes first when there is no room."""

    limits: ShelfLimits = ShelfLimits()
    now: Callable[[], float] = time.monotonic
    _held: OrderedDict[str, tuple[float, Released]] = field(default_factory=OrderedDict, init=False, repr=False)
    _size: int = field(default=0, init=False)

    def put(self, image: Released) -> str:
        """The name that it can be had by."""
        name = secrets.token_urlsafe(32)
        self._held[name] = (self.now() + self.limits.keep_s, image)
        self._size += len(image.content)
        self._sweep()
        return name

    def get(self, name: str) -> Released | None:
        """The image, while it is kept."""
        self._sweep()
        return self._held[name][1] if name in self._held else None

    def _sweep(self) -> None:
        while self._held:
            until, oldest = next(iter(self._held.values()))
            if until > self.now() and self._size <= self.limits.bytes_max:
                return
            self._held.popitem(last=False)
            self._size -= len(oldest.content)
