"""What a route is to the desk that gives it incidents, and how a delivery ends.

A route sends; it keeps nothing but what its ``Progress`` keeps for it. It may be asked to deliver the same incident again, always with the same key,
and then sees to it that the receiver has it once. When it is asked, and what is recorded, is for ``desk``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from custodes.handover.parcel import Handed, Takes
from custodes.handover.receipts import Receipt
from custodes.handover.words import Environment, check_receipt, check_word

__all__ = ["Dead", "Delivered", "Ended", "Later", "Progress", "Route", "key_of"]


@dataclass(frozen=True, slots=True)
class Delivered:
    """It was received. ``receipt``: the id that names it there; ``requests``: the calls and how each was answered, for the receiver's support."""

    receipt: str
    requests: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_receipt(self.receipt)


@dataclass(frozen=True, slots=True)
class Later:
    """Not now. ``why`` is a word for records; ``account``: nothing will go by this route until somebody sees to it."""

    why: str
    after_s: float = 0.0
    account: bool = False
    requests: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_word(self.why)


@dataclass(frozen=True, slots=True)
class Dead:
    """It was not received and will not be as it is: for a person to look at. ``receipt``: of what may be there nonetheless."""

    why: str
    code: int = 0
    requests: tuple[str, ...] = ()
    receipt: str = ""

    def __post_init__(self) -> None:
        check_word(self.why)
        if self.receipt:
            check_receipt(self.receipt)


Ended = Delivered | Later | Dead


class Progress(Protocol):
    """Where a delivery keeps what it knows. What was saved is durable when ``save`` returns.

    ``keep``: with the answer to the first call begins what the law asks of a provider.
    """

    def load(self) -> dict[str, str]:
        """What was saved last; empty at first."""
        ...

    def save(self, progress: dict[str, str]) -> None:
        """Replace it: a few short words under short names. Raises StorageError."""
        ...

    def keep(self, receipt: Receipt) -> None:
        """Keep an answer as it came; one that is there already stays. Raises StorageError."""
        ...


class Route(Protocol):
    """One way to one receiver."""

    @property
    def name(self) -> str:
        """A word: what records and outboxes know it by."""
        ...

    @property
    def environment(self) -> Environment:
        """Which of the receiver's."""
        ...

    @property
    def takes(self) -> Takes:
        """What of a withheld image goes by it."""
        ...

    def check(self, of: Handed) -> None:
        """Raises InputError for what this route cannot take: before it is queued."""
        ...

    def preview(self, of: Handed, now: datetime) -> str:
        """What would be sent, to be read: with its links, and so as secret as the incident. Never an image."""
        ...

    async def deliver(self, of: Handed, key: str, progress: Progress) -> Ended:
        """Send it, or go on. ``key``: the same for every attempt of this delivery. Raises InputError for what cannot be sent, and StorageError."""
        ...

    async def close(self) -> None:
        """Close what is open."""
        ...


def key_of(route: Route, incident: str, number: int = 0) -> str:
    """The key of an incident's first delivery by a route, or of a further one with places that were found since."""
    return f"{route.name}/{route.environment}/{incident}{f'/{number}' if number else ''}"
