"""What a folder that was written whole holds, file by file as SHA-256: what a card names as the cleaned output.

Promises that the files are those that were written, no more and no fewer; what is in them it digests and does not judge. Reads only.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from custodes.cleaning.writing import NOTE, UNFINISHED, Note, names_digest
from custodes.errors import InputError
from custodes.sources.files import check_name

__all__ = ["digests_of", "output_digests"]

_OPEN_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def output_digests(folder: Path) -> tuple[Note, dict[str, str]]:
    """What the folder says of itself, and the SHA-256 (hex) of each of its files, the note included, by its path below it, sorted.

    Raises InputError for a folder that is none of ``custodes clean``, that is unfinished, or that holds other files than were written.
    """
    if folder.name.endswith(UNFINISHED):
        raise InputError(f"{folder} is unfinished", hint="start custodes clean again: it goes on")
    note = _note(folder)
    paths = dict(sorted(_files(folder)))
    names = [name for name in paths if name != NOTE]
    if (len(names), names_digest(names)) != (note.files, note.names):
        raise InputError(
            f"{folder} holds {len(names)} files, and other ones than the {note.files} that were written",
            hint="write it again: custodes clean RUN --out DIR",
        )
    return note, {name: _digest(path) for name, path in paths.items()}


def digests_of(folder: Path) -> dict[str, str]:
    """The SHA-256 (hex) of each file that is in the folder now, by its path below it. Whether these are all is for the caller."""
    return {name: _digest(path) for name, path in sorted(_files(folder))}


def _note(folder: Path) -> Note:
    try:
        return msgspec.json.decode((folder / NOTE).read_bytes(), type=Note)
    except (OSError, msgspec.MsgspecError, ValueError) as error:
        raise InputError(
            f"{folder} was not written by custodes clean, or not to its end: its {NOTE} cannot be read",
            hint="give the folder that --out named",
        ) from error


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Everything below a folder that is no folder, by its path below it. Raises InputError for what is no file, or has no name in UTF-8."""
    for at, folders, files in os.walk(folder, onerror=_refuse):
        for name in (*folders, *files):
            path = Path(at, name)
            kind = path.lstat().st_mode
            if stat.S_ISDIR(kind):
                continue
            below = str(path.relative_to(folder))
            check_name(str(path))
            if not stat.S_ISREG(kind):
                raise InputError(f"{folder} holds something that is no plain file", hint="remove what does not belong")
            yield below, path


def _refuse(error: OSError) -> None:
    raise InputError(f"{error.filename} cannot be read: {error.strerror}") from error


def _digest(path: Path) -> str:
    try:
        with os.fdopen(os.open(path, _OPEN_FLAGS), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
