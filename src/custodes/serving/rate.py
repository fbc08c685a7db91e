"""How much a tenant may ask. The matcher counts, and is the one that is believed; the front counts too, before it decodes anything."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Rate"]


class Rate:
    """So many a minute, and a minute's worth at once."""

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self._per_s = per_minute / 60
        self._most = self._left = float(per_minute)
        self._clock = clock
        self._at = clock()

    def take(self, count: int) -> bool:
        """Whether there is room for so many, which are then counted."""
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._at) * self._per_s)
        self._at = now
        if count > self._left:
            return False
        self._left -= count
        return True
