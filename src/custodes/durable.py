"""Small files that are replaced: whole and durable, or as they were. And one writer at a time.

What is published once and never replaced is for ``ledger.disk``.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from custodes.errors import StorageError

__all__ = ["exclusive", "make_folder", "replace_file", "sync_folder"]


def replace_file(path: Path, content: bytes | bytearray, *, mode: int = 0o600) -> None:
    """Write aside, sync, rename, sync the folder. Raises StorageError; then ``path`` is as it was, or whole and new."""
    aside = path.with_name(f".{path.name}.aside")
    try:
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        aside.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise StorageError(f"cannot write {path}: {error.strerror}") from error


def make_folder(path: Path) -> None:
    """Make a folder (mode 0700), parents included, if it is not there. Raises StorageError."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make the folder {path}: {error.strerror}") from error


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable. OSError as it comes."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def exclusive(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a folder, over all processes; it is made if it is not there. Raises BlockingIOError where another holds it and ``wait`` is false."""
    make_folder(folder)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
