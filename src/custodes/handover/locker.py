"""A place whose pieces a transport key alone opens, under names that tell nothing: the outbox and the receipts are such places.

Promises that a place with a key missing is refused when it is opened, not when something in it is needed; that a piece which was changed, moved or cut
does not open; and that another key can take over, piece by piece, and goes on after a crash. Who reads and then writes does it ``alone``. What the pieces
are is for others; where they lie is for ``place``. Format: docs/formats/outbox.md.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Final, TypeVar

from custodes.crypto.keys import TransportKey
from custodes.crypto.vault import lock, unlock
from custodes.errors import ConfigError, InputError, StorageError
from custodes.handover.place import Damaged, Place

__all__ = ["CONTENT_BYTES_MAX", "Damaged", "Locker", "key_id"]

T = TypeVar("T")
CONTENT_BYTES_MAX: Final = 64 << 20
PADDED_BYTES_MIN: Final = 4096
NAMING_BYTES: Final = 32
_LENGTH_BYTES: Final = 8
_ID_BYTES: Final = 8
_NAME: Final = re.compile(r"[0-9a-f]{32}")


def key_id(key: TransportKey) -> str:
    """What tells transport keys apart, and nothing of them: 16 hex digits."""
    return key.derive("key-id", _ID_BYTES).hex()


class Locker:
    """One place. ``form`` names the format of its pieces, and so its purpose: a piece of another place does not open here.

    ``keys``: the first locks, all open. Raises ConfigError where a key is in use that is not among them, StorageError for a damaged place.
    """

    def __init__(self, place: Place, form: str, keys: Sequence[TransportKey]) -> None:
        if not keys:
            raise ConfigError(f"{place} is not opened without a transport key")
        self.place = place
        self._form = form
        self._keys = {key_id(key): key for key in keys}
        self._current = key_id(keys[0])
        self._naming = self.alone(self._enter)

    def alone(self, work: Callable[[], T]) -> T:
        """Do it while nobody else does anything here; see ``Place.alone``."""
        return self.place.alone(work)

    def now(self) -> datetime:
        """The time, as all who share the place have it."""
        return self.place.now()

    def name(self, *parts: str) -> str:
        """The name of the piece for this purpose: a keyed digest, the same under every transport key."""
        keyed = hmac.new(self._naming, digestmod=hashlib.sha256)
        for part in parts:
            data = part.encode()
            keyed.update(len(data).to_bytes(8, "little") + data)
        return keyed.hexdigest()[:32]

    def names(self) -> list[str]:
        """Every piece that is there."""
        return self.place.names()

    def __contains__(self, name: str) -> bool:
        return self.place.read(_checked(name)) is not None

    def read(self, name: str) -> bytes | None:
        """What is in it; None where it is not, or is spent. Raises Damaged."""
        data = self.place.read(_checked(name))
        return None if data is None else self._opened(name, data)

    def each(self) -> Iterator[tuple[str, bytes | Damaged]]:
        """What is in every piece, or why it cannot be read."""
        for name, data in self.place.each():
            try:
                yield name, data if isinstance(data, Damaged) else self._opened(name, data)
            except Damaged as error:
                yield name, error

    def write(self, name: str, content: bytes) -> None:
        """Put it there, or in place of what is there. Raises StorageError; ConfigError where the key has been replaced meanwhile."""
        if len(content) > CONTENT_BYTES_MAX:
            raise InputError(f"{len(content):,} bytes are more than a file here can have ({CONTENT_BYTES_MAX:,})")
        if self._current not in self._checks():
            raise ConfigError(
                f"the transport key of {self.place} was replaced", hint="start this process again, with the new key"
            )
        data = lock(self._keys[self._current], _padded(content), self._context(_checked(name)))
        self.place.write(name, bytes.fromhex(self._current) + data)

    def remove(self, name: str) -> None:
        """It is gone, durably; also where it was not there. Raises StorageError."""
        self.place.remove(_checked(name))

    def spend(self, name: str) -> None:
        """It is gone, and its name is never used again."""
        self.place.spend(_checked(name))

    def spent(self, name: str) -> bool:
        """Whether it was there, and was spent."""
        return self.place.spent(_checked(name))

    def rotate(self) -> int:
        """Lock every piece under the first key, then forget the others. Others may work meanwhile, with the same keys. Returns how many there were."""
        done = 0
        while not self.alone(self._forgotten):
            done += sum(self.alone(partial(self._relock, name)) for name in self._stale())
        return done

    def _relock(self, name: str) -> bool:
        data = self.place.read(name)
        if data is None or _key_of(data) == self._current:
            return False
        self.write(name, self._opened(name, data))
        return True

    def _stale(self) -> list[str]:
        return [name for name, start in self.place.starts(_ID_BYTES).items() if start.hex() != self._current]

    def _forgotten(self) -> bool:
        """Whether nothing is under another key, so that the others' checks are gone."""
        if self._stale():
            return False
        self._forget()
        return True

    def _forget(self) -> None:
        for key in self._checks():
            if key != self._current:
                self.place.forget(key)

    # Every key in use has a check, which is durable before anything is locked under the key. Locked in it is the secret that names pieces.

    def _enter(self) -> bytes:
        self.place.enter()
        checks = self._checks()
        if missing := [key for key in checks if key not in self._keys]:
            raise ConfigError(
                f"{self.place} holds files under transport key {missing[0]}, which is not there: they cannot be opened or sent",
                hint="put the key back; if it is lost, what waited has to be queued again into a new folder",
            )
        if not checks and self.names():
            raise StorageError(f"{self.place} holds files, but no check of their key", hint="restore its folder keys")
        naming = {self._secret(key, data) for key, data in checks.items()} or {os.urandom(NAMING_BYTES)}
        if len(naming) != 1:
            raise StorageError(f"{self.place}/keys is made of two folders", hint="restore it from one copy")
        (secret,) = naming
        if self._current not in checks:
            self.place.check(self._current, lock(self._keys[self._current], secret, self._context("check")))
        return secret

    def _secret(self, key: str, check: bytes) -> bytes:
        try:
            return unlock(self._keys[key], check, self._context("check"))
        except InputError as error:
            raise StorageError(
                f"the check of key {key} in {self.place} is damaged, or of another folder", hint="restore it"
            ) from error

    def _checks(self) -> dict[str, bytes]:
        return self.place.checks()

    def _opened(self, name: str, data: bytes) -> bytes:
        hint = "restore it, or drop it and queue what was in it again"
        key = self._keys.get(_key_of(data))
        if key is None:
            raise Damaged(f"{name} in {self.place} is damaged, or under a key that is not there", hint=hint)
        try:
            return _unpadded(unlock(key, memoryview(data)[_ID_BYTES:], self._context(name)))
        except InputError as error:
            raise Damaged(f"{name} in {self.place} is damaged, or of another place", hint=hint) from error

    def _context(self, name: str) -> bytes:
        return f"{self._form}/{name}".encode()


def _checked(name: str) -> str:
    """A name may come from a command line. Raises InputError."""
    if not _NAME.fullmatch(name):
        raise InputError("a file here is named by 32 lower-case hex digits")
    return name


def _key_of(data: bytes) -> str:
    return data[:_ID_BYTES].hex()


def _padded(content: bytes) -> bytes:
    whole = len(content).to_bytes(_LENGTH_BYTES, "little") + content
    return whole.ljust(max(PADDED_BYTES_MIN, 1 << (len(whole) - 1).bit_length()), b"\0")


def _unpadded(plain: bytes) -> bytes:
    length = int.from_bytes(plain[:_LENGTH_BYTES], "little")
    return plain[_LENGTH_BYTES : _LENGTH_BYTES + length]
