"""An outbox, a record and receipts for tests: keys made of numbers, and a clock that is told the time."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from custodes.crypto.keys import SigningKey, TransportKey
from custodes.handover.custody import Act, Anchor, Custody, Deed, Means, Nowhere
from custodes.handover.outbox import Letter, Outbox, Pace, Seams
from custodes.handover.place import Folder, Place
from tests.handover.homes import FolderHome, Home

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class Clock:
    """The time, as a test says it is."""

    now: datetime = NOON

    def __call__(self) -> datetime:
        return self.now

    def passes(self, **much: float) -> None:
        self.now += timedelta(**much)


def transport_key(number: int = 1) -> TransportKey:
    return TransportKey(bytes([number] * 32))


def signing_key(number: int = 1, name: str = "site.example") -> SigningKey:
    return SigningKey(name, Ed25519PrivateKey.from_private_bytes(bytes([number] * 32)))


def outbox_in(where: Path | Place, *keys: TransportKey, clock: Clock | None = None, **pace: Any) -> Outbox:
    """An outbox whose pauses have no chance in them: the whole pause."""
    return Outbox(
        Folder(where) if isinstance(where, Path) else where,
        keys or [transport_key()],
        Pace(**pace),
        Seams(clock or Clock(), lambda: 1.0),
    )


def letter(number: int = 1, payload: bytes = b"payload", **changed: Any) -> Letter:
    fields = {"key": f"{number:032x}/ncmec/test", "route": "ncmec", "environment": "test", "payload": payload}
    return Letter(**(fields | changed))


@dataclass
class Heads:
    """An anchor that keeps what it is given."""

    noted: list[bytes] = field(default_factory=list)

    def note(self, checkpoint: bytes) -> None:
        self.noted.append(checkpoint)


def custody_in(where: Path | Home, clock: Clock | None = None, anchor: Anchor | None = None, **changed: Any) -> Custody:
    """The record of a home."""
    home = FolderHome(where) if isinstance(where, Path) else where
    means = {"signer": signing_key(), "clock": clock or Clock(), "guard": home.guard} | changed
    return Custody(home.pages(), Means(**means, anchor=anchor or Nowhere()))


def deed(number: int = 1, act: Act = Act.SENT, **changed: Any) -> Deed:
    fields = {"act": act, "who": "alice", "incident": f"{number:032x}", "environment": "test", "route": "ncmec"}
    return Deed(**(fields | changed))
