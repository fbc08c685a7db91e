"""A folder of files that a transport key alone opens, under names that tell nothing: the outbox and the receipts are such folders.

Promises that a file is whole and new, or as it was; that a folder with a key missing is refused when it is opened, not when something in it is
needed; and that another key can take over, file by file, and goes on after a crash. Who reads and then writes holds ``exclusive``. What the files
are is for others. Format: docs/formats/outbox.md.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from custodes.crypto.keys import TransportKey
from custodes.crypto.vault import lock, unlock
from custodes.durable import exclusive, make_folder, replace_file, sync_folder
from custodes.errors import ConfigError, InputError, StorageError

__all__ = ["CONTENT_BYTES_MAX", "Damaged", "Locker", "key_id"]

CONTENT_BYTES_MAX: Final = 64 << 20
PADDED_BYTES_MIN: Final = 4096
NAMING_BYTES: Final = 32
_LENGTH_BYTES: Final = 8
_ID_BYTES: Final = 8
_NAME: Final = re.compile(r"[0-9a-f]{32}")
_ITEM: Final = re.compile(r"([0-9a-f]{32})\.item")
_SPENT: Final = ".spent"


class Damaged(StorageError):  # noqa: N818 - what is so of one file; the others are as good as before
    """One file of a folder cannot be read back."""


def key_id(key: TransportKey) -> str:
    """What tells transport keys apart, and nothing of them: 16 hex digits."""
    return key.derive("key-id", _ID_BYTES).hex()


class Locker:
    """One folder. ``form`` names the format of its files, and so its purpose: a file of another folder does not open here.

    ``keys``: the first locks, all open. Raises ConfigError where a key is in use that is not among them, StorageError for a damaged folder.
    """

    def __init__(self, folder: Path, form: str, keys: Sequence[TransportKey]) -> None:
        if not keys:
            raise ConfigError(f"{folder} is not opened without a transport key")
        self.folder = folder
        self._form = form
        self._keys = {key_id(key): key for key in keys}
        self._current = key_id(keys[0])
        with self.exclusive():
            if folder.stat().st_mode & 0o077:
                raise ConfigError(f"{folder} can be entered by others", hint=f"run: chmod 700 {folder}")
            self._sweep()
            self._naming = self._enter()

    def exclusive(self) -> AbstractContextManager[None]:
        """Hold the folder, over all processes. It is not held twice by one."""
        return exclusive(self.folder)

    def name(self, *parts: str) -> str:
        """The name of the file for this purpose: a keyed digest, the same under every transport key."""
        keyed = hmac.new(self._naming, digestmod=hashlib.sha256)
        for part in parts:
            data = part.encode()
            keyed.update(len(data).to_bytes(8, "little") + data)
        return keyed.hexdigest()[:32]

    def names(self) -> list[str]:
        """Every file that is there."""
        files = self._files()
        found = (match[1] for file in files if (match := _ITEM.fullmatch(file)))
        return sorted(name for name in found if name + _SPENT not in files)

    def __contains__(self, name: str) -> bool:
        return self._path(name).exists()

    def read(self, name: str) -> bytes | None:
        """What is in it; None where it is not, or is spent. Raises Damaged."""
        if self.spent(name) or (data := self._raw(name)) is None:
            return None
        return self._opened(name, data)

    def write(self, name: str, content: bytes) -> None:
        """Put it there, or in place of what is there. Raises StorageError; ConfigError where the key has been replaced meanwhile."""
        if len(content) > CONTENT_BYTES_MAX:
            raise InputError(f"{len(content):,} bytes are more than a file here can have ({CONTENT_BYTES_MAX:,})")
        if not self._check_file(self._current).exists():
            raise ConfigError(
                f"the transport key of {self.folder} was replaced", hint="start this process again, with the new key"
            )
        data = lock(self._keys[self._current], _padded(content), self._context(name))
        replace_file(self._path(name), bytes.fromhex(self._current) + data)

    def remove(self, name: str) -> None:
        """It is gone, durably; also where it was not there. Raises StorageError."""
        try:
            self._path(name).unlink(missing_ok=True)
            sync_folder(self.folder)
        except OSError as error:
            raise StorageError(f"cannot remove a file from {self.folder}: {error.strerror}") from error

    def spend(self, name: str) -> None:
        """It is gone, and its name is never used again. After a crash in between it counts as gone."""
        replace_file(self._path(name).with_suffix(_SPENT), b"")
        self.remove(name)

    def spent(self, name: str) -> bool:
        """Whether it was there, and was spent."""
        return self._path(name).with_suffix(_SPENT).exists()

    def rotate(self) -> int:
        """Lock every file under the first key, then forget the others. Others may work meanwhile, with the same keys. Returns how many there were."""
        done = 0
        while True:
            for name in self._stale():
                with self.exclusive():
                    done += self._relock(name)
            with self.exclusive():
                if not self._stale():
                    self._forget()
                    return done

    def _relock(self, name: str) -> bool:
        data = self._raw(name)
        if data is None or self._key_of(data) == self._current:
            return False
        self.write(name, self._opened(name, data))
        return True

    def _stale(self) -> list[str]:
        return [name for name in self.names() if self._key_in(name) != self._current]

    def _forget(self) -> None:
        for file in self._check_files():
            if file.stem != self._current:
                file.unlink()
        sync_folder(self.folder / "keys")

    def _sweep(self) -> None:
        """What a crash left behind: files that were being written, files whose name is spent."""
        for aside in [*self.folder.glob(".*.aside"), *self.folder.glob("keys/.*.aside")]:
            aside.unlink()
        files = self._files()
        for file in files:
            if (match := _ITEM.fullmatch(file)) and match[1] + _SPENT in files:
                self._path(match[1]).unlink()

    # Every key in use has a check file, which is durable before anything is locked under the key. Locked in it is the secret that names files.

    def _enter(self) -> bytes:
        make_folder(self.folder / "keys")
        files = self._check_files()
        if missing := [file.stem for file in files if file.stem not in self._keys]:
            raise ConfigError(
                f"{self.folder} holds files under transport key {missing[0]}, which is not there: they cannot be opened or sent",
                hint="put the key back; if it is lost, what waited has to be queued again into a new folder",
            )
        if not files and self.names():
            raise StorageError(f"{self.folder} holds files, but no check of their key", hint="restore its folder keys")
        naming = {self._checked(file) for file in files} or {os.urandom(NAMING_BYTES)}
        if len(naming) != 1:
            raise StorageError(f"{self.folder}/keys is made of two folders", hint="restore it from one copy")
        (secret,) = naming
        if not self._check_file(self._current).exists():
            check = lock(self._keys[self._current], secret, self._context("check"))
            replace_file(self._check_file(self._current), check)
        return secret

    def _checked(self, file: Path) -> bytes:
        try:
            return unlock(self._keys[file.stem], file.read_bytes(), self._context("check"))
        except (InputError, OSError) as error:
            raise StorageError(f"{file} is damaged, or of another folder", hint="restore it") from error

    def _check_file(self, key: str) -> Path:
        return self.folder / "keys" / f"{key}.check"

    def _check_files(self) -> list[Path]:
        return sorted((self.folder / "keys").glob("*.check"))

    def _raw(self, name: str) -> bytes | None:
        try:
            return self._path(name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Damaged(f"cannot read {self._path(name)}: {error.strerror}") from error

    def _key_in(self, name: str) -> str:
        try:
            with self._path(name).open("rb") as file:
                return file.read(_ID_BYTES).hex()
        except FileNotFoundError:  # gone meanwhile: there is nothing to be done with it
            return self._current

    def _key_of(self, data: bytes) -> str:
        return data[:_ID_BYTES].hex()

    def _opened(self, name: str, data: bytes) -> bytes:
        hint = "restore it, or drop it and queue what was in it again"
        key = self._keys.get(self._key_of(data))
        if key is None:
            raise Damaged(f"{self._path(name)} is damaged, or under a key that is not there", hint=hint)
        try:
            return _unpadded(unlock(key, memoryview(data)[_ID_BYTES:], self._context(name)))
        except InputError as error:
            raise Damaged(f"{self._path(name)} is damaged, or of another place", hint=hint) from error

    def _files(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):  # a name may come from a command line
            raise InputError("a file here is named by 32 lower-case hex digits")
        return self.folder / f"{name}.item"

    def _context(self, name: str) -> bytes:
        return f"{self._form}/{name}".encode()


def _padded(content: bytes) -> bytes:
    whole = len(content).to_bytes(_LENGTH_BYTES, "little") + content
    return whole.ljust(max(PADDED_BYTES_MIN, 1 << (len(whole) - 1).bit_length()), b"\0")


def _unpadded(plain: bytes) -> bytes:
    length = int.from_bytes(plain[:_LENGTH_BYTES], "little")
    return plain[_LENGTH_BYTES : _LENGTH_BYTES + length]
