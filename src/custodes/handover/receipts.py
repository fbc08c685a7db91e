"""What authorities answered, byte for byte: under the law of some countries the receipt is what a period is counted from.

Receipts are kept under the transport key, under names that tell nothing, until ``clocks`` says that their time is over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final

import msgspec

from custodes.crypto.keys import TransportKey
from custodes.errors import StorageError
from custodes.handover.locker import Locker
from custodes.handover.place import Place
from custodes.handover.words import Environment, check_incident, check_word

__all__ = ["FORMAT", "Receipt", "Receipts"]

FORMAT: Final = "custodes-receipts/1"
BODY_BYTES_MAX: Final = 1 << 20
REQUEST_ID_CHARS_MAX: Final = 256


class Receipt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One answer. ``step``: of which call; ``request_id``: as the service named it; ``body``: as it came."""

    step: str
    received: Annotated[datetime, msgspec.Meta(tz=True)]
    request_id: str = ""
    body: bytes

    def __post_init__(self) -> None:
        check_word(self.step)
        if len(self.request_id) > REQUEST_ID_CHARS_MAX or len(self.body) > BODY_BYTES_MAX:
            raise ValueError(
                f"a receipt has at most {BODY_BYTES_MAX:,} bytes, its id {REQUEST_ID_CHARS_MAX} characters"
            )

    def __repr__(self) -> str:
        return f"<Receipt {self.step} {len(self.body)} bytes>"


class Receipts:
    """One piece of a place for each incident, route and environment, with every receipt that there is."""

    def __init__(self, place: Place, keys: Sequence[TransportKey]) -> None:
        self._locker = Locker(place, FORMAT, keys)

    def keep(self, incident: str, route: str, environment: Environment, receipt: Receipt) -> str:
        """It is durable from now on; one that is there already stays as it was. Returns the SHA-256 of its body, for the custody record."""
        check_incident(incident)
        name = self._locker.name(incident, route, environment)

        def kept() -> None:
            there = self._read(name)
            if not any((each.step, each.body) == (receipt.step, receipt.body) for each in there):
                self._locker.write(name, msgspec.msgpack.encode([*there, receipt]))

        self._locker.alone(kept)
        return hashlib.sha256(receipt.body).hexdigest()

    def of(self, incident: str, route: str, environment: Environment) -> list[Receipt]:
        """What was received, in order."""
        return self._read(self._locker.name(incident, route, environment))

    def remove(self, incident: str, route: str, environment: Environment) -> None:
        """All of it is gone; also where nothing was there."""
        name = self._locker.name(incident, route, environment)
        self._locker.alone(lambda: self._locker.remove(name))

    def rotate(self) -> int:
        """Lock every file under the first key; see ``Locker.rotate``."""
        return self._locker.rotate()

    def _read(self, name: str) -> list[Receipt]:
        if (content := self._locker.read(name)) is None:
            return []
        try:
            return msgspec.msgpack.decode(content, type=list[Receipt])
        except msgspec.MsgspecError as error:
            raise StorageError(f"a file of {self._locker.place} holds no receipts") from error
