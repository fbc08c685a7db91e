"""What is to be worked now: an executor takes job after job from a supply as it has room, so that a supply may hand out what several coordinators share."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Protocol

from custodes.scan.shard import ShardJob

__all__ = ["Listed", "Supply"]


class Supply(Protocol):
    """Jobs, each handed out once. An executor that loses a job to a death tries it again by itself."""

    def take(self) -> ShardJob | None:
        """The next job; None where there is none now."""
        ...

    def settled(self, shard: int) -> None:
        """A job was reported or failed: nobody here works at its shard any more."""
        ...

    @property
    def finished(self) -> bool:
        """Whether there will be no more."""
        ...


class Listed:
    """Jobs that are known from the beginning, of one coordinator."""

    def __init__(self, jobs: Iterable[ShardJob]) -> None:
        self._waiting = deque(jobs)

    def take(self) -> ShardJob | None:
        """See ``Supply``."""
        return self._waiting.popleft() if self._waiting else None

    def settled(self, shard: int) -> None:
        """Nothing to give back."""

    @property
    def finished(self) -> bool:
        """See ``Supply``."""
        return not self._waiting
