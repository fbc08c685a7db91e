"""Durable writes: everything the ledger puts on disk goes through these four operations, and faults are injected here in tests.

Promises: a published file is whole and survives a crash, or it does not exist; publishing is first-wins; a failed sync is never
retried (after one, the kernel may have dropped the data and still answer "clean" the next time: Rebello et al., USENIX ATC 2020).
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from custodes.errors import StorageError

__all__ = ["Disk"]


class Disk:
    """The real disk."""

    def publish(self, path: Path, data: bytes) -> bool:
        """Write ``data`` aside, sync it, give it its name and sync the directory.

        Returns False, changing nothing, if the name is taken. Raises StorageError if the disk is full or a sync fails.
        """
        aside = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
        with translated(path):
            try:
                self.write(aside, data)
                won = self.link(aside, path)
            finally:
                with contextlib.suppress(OSError):
                    aside.unlink(missing_ok=True)
            self.sync_directory(path.parent)
        return won

    def write(self, path: Path, data: bytes) -> None:
        """Create ``path`` with ``data`` and sync it."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def link(self, aside: Path, path: Path) -> bool:
        """Give the file its name unless the name is taken: hard links are the one rename that never overwrites."""
        try:
            os.link(aside, path)
        except FileExistsError:
            return False
        return True

    def sync_directory(self, directory: Path) -> None:
        """Make the names in a directory durable."""
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def make_directory(self, directory: Path) -> None:
        """Create a directory, parents included, durably. No error if it exists."""
        if directory.is_dir():
            return
        self.make_directory(directory.parent)
        with translated(directory):
            directory.mkdir(exist_ok=True, mode=0o700)
            self.sync_directory(directory.parent)


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """OSError becomes StorageError, naming the file."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"could not write {path}: {error.strerror or error}",
            hint="free space or replace the disk, then start the same command again: it goes on where it stopped",
        ) from error
