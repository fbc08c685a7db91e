"""Where a locker's things lie: named pieces of bytes that are written whole, and taken in turns. Here the folder; a database's table is in ``shared``.

Promises that a piece is whole and new, or as it was; that who works ``alone`` is alone, over all who share the place; and that a name that was spent is
never written again. What is in a piece is for ``locker``. Format: docs/formats/outbox.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol, TypeVar

from custodes.durable import exclusive, make_folder, replace_file, sync_folder
from custodes.errors import ConfigError, StorageError

__all__ = ["Damaged", "Folder", "Place"]

T = TypeVar("T")
_ITEM: Final = re.compile(r"([0-9a-f]{32})\.item")
_SPENT: Final = ".spent"


class Damaged(StorageError):  # noqa: N818 - what is so of one piece; the others are as good as before
    """One piece of a place cannot be read back."""


class Place(Protocol):
    """Pieces by name, and the checks of keys. ``str`` of it is its name, for messages."""

    def alone(self, work: Callable[[], T]) -> T:
        """Do it while nobody else does anything here. Not to be asked for within itself; ``work`` changes nothing but this place, for it may be done again."""

    def now(self) -> datetime:
        """The time, by the clock that all who share this place have in common."""

    def enter(self) -> None:
        """Make the place if it is not there, and mend what a crash left. Raises ConfigError where others could look in."""

    def names(self) -> list[str]:
        """Every piece that is there, in order."""

    def starts(self, length: int) -> Mapping[str, bytes]:
        """The first bytes of every piece."""

    def each(self) -> Iterator[tuple[str, bytes | Damaged]]:
        """Every piece that is there, in the order of their names."""

    def read(self, name: str) -> bytes | None:
        """A piece; None where it is not, or is spent. Raises Damaged."""

    def write(self, name: str, data: bytes) -> None:
        """Put it there, or in place of what is there, durably. Raises StorageError."""

    def remove(self, name: str) -> None:
        """It is gone, durably; also where it was not there. Raises StorageError."""

    def spend(self, name: str) -> None:
        """It is gone, and its name is never used again."""

    def spent(self, name: str) -> bool:
        """Whether it was there, and was spent."""

    def checks(self) -> dict[str, bytes]:
        """The check of each key in use, by the key's id."""

    def check(self, key: str, data: bytes) -> None:
        """Keep a key's check, durably."""

    def forget(self, key: str) -> None:
        """Drop a key's check."""


class Folder:
    """A folder of files, which its owner alone may enter: for the processes of one machine."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def alone(self, work: Callable[[], T]) -> T:
        """Hold the folder, over all processes."""
        with exclusive(self.path):
            return work()

    def now(self) -> datetime:
        """The time of this machine."""
        return datetime.now(UTC)

    def enter(self) -> None:
        """Remove files that were being written, and files whose name is spent."""
        if self.path.stat().st_mode & 0o077:
            raise ConfigError(f"{self.path} can be entered by others", hint=f"run: chmod 700 {self.path}")
        make_folder(self.path / "keys")
        for aside in [*self.path.glob(".*.aside"), *self.path.glob("keys/.*.aside")]:
            aside.unlink()
        files = self._files()
        for file in files:
            if (match := _ITEM.fullmatch(file)) and match[1] + _SPENT in files:
                self._path(match[1]).unlink()

    def names(self) -> list[str]:
        """Every piece that is there, in order."""
        files = self._files()
        found = (match[1] for file in files if (match := _ITEM.fullmatch(file)))
        return sorted(name for name in found if name + _SPENT not in files)

    def starts(self, length: int) -> Mapping[str, bytes]:
        """The first bytes of every piece."""
        found: dict[str, bytes] = {}
        for name in self.names():
            try:
                with self._path(name).open("rb") as file:
                    found[name] = file.read(length)
            except FileNotFoundError:  # gone meanwhile
                continue
        return found

    def each(self) -> Iterator[tuple[str, bytes | Damaged]]:
        """Every piece that is there, in the order of their names."""
        for name in self.names():
            try:
                if (data := self.read(name)) is not None:
                    yield name, data
            except Damaged as error:
                yield name, error

    def read(self, name: str) -> bytes | None:
        """A piece; None where it is not, or is spent. Raises Damaged."""
        if self.spent(name):
            return None
        try:
            return self._path(name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Damaged(f"cannot read {self._path(name)}: {error.strerror}") from error

    def write(self, name: str, data: bytes) -> None:
        """Put it there, or in place of what is there. Raises StorageError."""
        replace_file(self._path(name), data)

    def remove(self, name: str) -> None:
        """It is gone, durably; also where it was not there. Raises StorageError."""
        try:
            self._path(name).unlink(missing_ok=True)
            sync_folder(self.path)
        except OSError as error:
            raise StorageError(f"cannot remove a file from {self.path}: {error.strerror}") from error

    def spend(self, name: str) -> None:
        """It is gone, and its name is never used again. After a crash in between it counts as gone."""
        replace_file(self._path(name).with_suffix(_SPENT), b"")
        self.remove(name)

    def spent(self, name: str) -> bool:
        """Whether it was there, and was spent."""
        return self._path(name).with_suffix(_SPENT).exists()

    def checks(self) -> dict[str, bytes]:
        """The check of each key in use. Raises StorageError."""
        try:
            return {file.stem: file.read_bytes() for file in sorted((self.path / "keys").glob("*.check"))}
        except OSError as error:
            raise StorageError(f"cannot read {self.path}/keys: {error.strerror}") from error

    def check(self, key: str, data: bytes) -> None:
        """Keep a key's check, durably."""
        replace_file(self._check(key), data)

    def forget(self, key: str) -> None:
        """Drop a key's check."""
        self._check(key).unlink(missing_ok=True)
        sync_folder(self.path / "keys")

    def _check(self, key: str) -> Path:
        return self.path / "keys" / f"{key}.check"

    def _files(self) -> set[str]:
        return {path.name for path in self.path.iterdir()}

    def _path(self, name: str) -> Path:
        return self.path / f"{name}.item"
