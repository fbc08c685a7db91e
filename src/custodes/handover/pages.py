"""Where the lines of a record of custody lie, and how far it had come: here a file and another apart from it; a database's table is in ``shared``.

Promises that lines which were added are durable; that lines come back as they lie, in order; and that who works ``alone`` is alone, over all who share
the record. What is in a line, and whether it may stand there, is for ``custody``. Format: docs/formats/custody.md.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Protocol, TypeVar

from custodes.durable import exclusive, replace_file, sync_folder
from custodes.errors import StorageError

__all__ = ["LINE_BYTES_MAX", "FilePages", "Pages"]

T = TypeVar("T")
FILE_NAME: Final = "record.jsonl"
LINE_BYTES_MAX: Final = 1024


class Pages(Protocol):
    """A record's lines. ``str`` of it is its name, for messages."""

    def alone(self, work: Callable[[], T]) -> T:
        """Do it while nobody else records anything. Not to be asked for within itself; ``work`` may be done again, before anything of it is durable."""

    def lines(self) -> Iterator[bytes]:
        """All of them, as they lie; none is told longer than a line can be."""

    def last(self) -> bytes:
        """The last one; nothing where there is none."""

    def at(self, seq: int) -> bytes:
        """The line of this number, if it is as it was written."""

    def add(self, first: int, lines: list[bytes]) -> None:
        """Put lines, the first of this number, behind those that are there. Raises StorageError."""

    def cut(self, offset: int) -> str:
        """Remove what a crash tore, from this byte on. Returns its SHA-256. Raises StorageError."""

    def remembered(self) -> bytes | None:
        """How far it had come, as it was kept. Raises StorageError where there is a record and no memory of it."""

    def remember(self, envelope: bytes) -> None:
        """Keep how far it has come."""


class FilePages:
    """A file that is appended to, for the processes of one machine. ``memory``: the file, apart from the record, with its last head."""

    def __init__(self, folder: Path, memory: Path) -> None:
        self._folder = folder
        self._path = folder / FILE_NAME
        self._memory = memory
        self._failed = False

    def __str__(self) -> str:
        return str(self._path)

    def alone(self, work: Callable[[], T]) -> T:
        """Hold the folder, over all processes."""
        with exclusive(self._folder):
            if self._failed:
                raise StorageError(
                    f"{self._path} could not be written before", hint="start again when the disk is well"
                )
            return work()

    def lines(self) -> Iterator[bytes]:
        """All of them, as they lie."""
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return
        with file:
            while line := file.readline(LINE_BYTES_MAX):
                yield line

    def last(self) -> bytes:
        """The last one; nothing where there is none."""
        try:
            with self._path.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - LINE_BYTES_MAX))
                lines = file.read().splitlines(keepends=True)
        except FileNotFoundError:
            return b""
        return lines[-1] if lines else b""

    def at(self, seq: int) -> bytes:
        """The line of this number."""
        return next((line for number, line in enumerate(self.lines(), 1) if number == seq), b"")

    def add(self, first: int, lines: list[bytes]) -> None:  # noqa: ARG002 - lines of a file are numbered by their order
        """Append them, durably."""
        self._failed = (
            True  # until it is known that it did not: after a failed sync the kernel may say that all is well
        )
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(self._path, flags, 0o600)
            try:
                view = memoryview(b"".join(lines))
                while view:
                    view = view[os.write(descriptor, view) :]
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            sync_folder(self._folder)
        except OSError as error:
            raise StorageError(f"cannot write {self._path}: {error.strerror}") from error
        self._failed = False

    def cut(self, offset: int) -> str:
        """Remove the torn end."""
        try:
            with self._path.open("rb+") as file:
                file.seek(offset)
                digest = hashlib.sha256(file.read()).hexdigest()
                file.truncate(offset)
                os.fsync(file.fileno())
                return digest
        except OSError as error:
            raise StorageError(f"cannot cut the torn end of {self._path}: {error.strerror}") from error

    def remembered(self) -> bytes | None:
        """How far it had come. The memory is made first: where there is a record, there must be one by now."""
        try:
            return self._memory.read_bytes()
        except FileNotFoundError:
            if not self._path.exists():
                return None
            raise StorageError(
                f"{self._path} is there, but not {self._memory}, which says how far it had come",
                hint="restore that file from a copy",
            ) from None
        except OSError as error:
            raise StorageError(f"cannot read {self._memory}: {error.strerror}") from error

    def remember(self, envelope: bytes) -> None:
        """Keep how far it has come."""
        replace_file(self._memory, envelope)
