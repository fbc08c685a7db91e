"""A folder of files that appears under its name when all of it is whole; each file in it, too.

The folder is made beside, as ``NAME.unfinished``, with a note that says of what it is made. Whoever is stopped goes on: a file that has its name
is whole, and is not made again. Killed at any point, it leaves no folder or the whole one.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from custodes.durable import exclusive, make_folder, replace_file, sync_folder
from custodes.errors import InputError, StorageError

__all__ = ["ASIDE", "NOTE", "UNFINISHED", "Maker", "Note", "make_whole_folder", "names_digest", "whole"]

NOTE: Final = "cleaning.json"
UNFINISHED: Final = ".unfinished"

ASIDE: Final = ".custodes.aside"

Maker = Callable[[BinaryIO], None]
"""Writes one file."""


class Note(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a folder is made of, in sums. ``tag`` stands for the rows that leave, and tells nothing without the run key.

    ``reasons``: the public ones for which rows leave; none is told of a folder that was made by a keep list, which does not say them.
    ``files`` and ``names`` (their ``names_digest``) are told by whoever makes the folder.
    """

    format: str
    tool: str
    dataset: str
    rows: int
    left: int
    crowd: int
    reasons: tuple[str, ...]
    tag: str
    files: int = 0
    names: str = ""


def names_digest(names: Iterable[str]) -> str:
    """SHA-256 (hex) over the names of a folder's files, in their order as text."""
    return hashlib.sha256(msgspec.json.encode(sorted(names))).hexdigest()


def make_whole_folder(folder: Path, note: Note, files: Mapping[str, Maker]) -> None:
    """Make every file, by its name below ``folder``, and then the folder. Made already of the same: nothing is done.

    Raises InputError where something else lies there, StorageError where it cannot be written.
    """
    aside = folder.with_name(folder.name + UNFINISHED)
    note = msgspec.structs.replace(note, files=len(files), names=names_digest(files))
    content = msgspec.json.format(msgspec.json.encode(note), indent=1)
    if folder.exists():
        if _said(folder) == content:
            return
        raise InputError(f"{folder} is there already", hint="name a folder that is not: --out DIR")
    with exclusive(aside):
        _begin(aside, content)
        for name, make in files.items():
            path = aside / name
            if not path.exists():
                make_folder(path.parent)
                with whole(path) as file:
                    make(file)
        try:
            aside.replace(folder)
            sync_folder(folder.parent)
        except OSError as error:
            raise StorageError(f"cannot give {folder} its name: {error.strerror}") from error


def _begin(aside: Path, content: bytes) -> None:
    """Say what is made here, before anything is; or go on with the same."""
    said = _said(aside)
    if said is None:
        replace_file(aside / NOTE, content)
    elif said != content:
        raise InputError(
            f"{aside} was begun with another dataset, run or choice", hint="delete it, or go on with those"
        )


def _said(folder: Path) -> bytes | None:
    try:
        return (folder / NOTE).read_bytes()
    except FileNotFoundError:
        return None


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A file that has its name when it is whole and durable. Raises StorageError; then it has not."""
    aside = path.with_name(ASIDE)  # one file is written at a time, and a name may be as long as names may be
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(aside, flags, 0o600), "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise StorageError(f"cannot write {path}: {error.strerror}") from error
