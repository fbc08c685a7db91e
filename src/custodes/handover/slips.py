"""Slips: what a gateway noted, at the moment of withholding, of an image that is to be handed over. Locked under the transport key until the outbox has it.

Promises that a slip is durable when it was put, that the same image of the same request has one, and that none is gone before it was taken up and removed. What
becomes of it is for ``desk``. Format: docs/formats/withheld.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from custodes.crypto.keys import TransportKey
from custodes.handover.cybertipline.withheld import Withheld
from custodes.handover.locker import Damaged, Locker
from custodes.handover.place import Folder

__all__ = ["FORMAT", "Slip", "Slips"]

FORMAT: Final = "custodes-slips/1"


class Slip(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One image. ``told``: with its file only where the route uploads it; ``sealed``: DATE/NAME of the sealed file; ``rule``: which withheld it."""

    told: Withheld
    rule: str
    sealed: str

    def __repr__(self) -> str:
        return "<Slip>"


class Slips:
    """The folder, for any number of processes of this machine. ``keys``: the first locks. Raises ConfigError for a key that is missing."""

    def __init__(self, folder: Path, keys: Sequence[TransportKey]) -> None:
        self._locker = Locker(Folder(folder), FORMAT, keys)

    def put(self, slip: Slip) -> None:
        """It is durable from now on. Raises StorageError, ConfigError."""
        name, content = self._locker.name(slip.told.id), msgspec.msgpack.encode(slip)
        self._locker.alone(lambda: self._locker.write(name, content))

    def each(self) -> Iterator[tuple[str, Slip | Damaged]]:
        """Every one that is there, by its name, or why it cannot be read."""
        for name, content in self._locker.each():
            yield name, content if isinstance(content, Damaged) else self._read(content)

    def remove(self, name: str) -> None:
        """The outbox has it, or nobody wants it any more."""
        self._locker.alone(lambda: self._locker.remove(name))

    def count(self) -> int:
        """How many there are."""
        return len(self._locker.names())

    def rotate(self) -> int:
        """Lock every slip under the first key; see ``Locker.rotate``."""
        return self._locker.rotate()

    def _read(self, content: bytes) -> Slip | Damaged:
        try:
            return msgspec.msgpack.decode(content, type=Slip)
        except msgspec.MsgspecError:
            return Damaged(f"a slip of {self._locker.place} is of another format")
