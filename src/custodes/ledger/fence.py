"""The fence before a commit: who has lost the right to a shard is stopped there, and not later.

``ledger.run`` asks; who answers knows of leases. With none every commit may go on, and the first wins.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final, Protocol

__all__ = ["OPEN", "Fence"]


class Fence(Protocol):
    """Asked around each commit."""

    def held(self, shard: int, generation: int, token: int) -> AbstractContextManager[None]:
        """Entered before findings and done-mark are published, left after. Raises where whoever holds this token may publish them no more."""
        ...


class _Open:
    @contextmanager
    def held(self, shard: int, generation: int, token: int) -> Iterator[None]:  # noqa: ARG002 - as the protocol has it
        yield


OPEN: Final[Fence] = _Open()
"""No fence."""
