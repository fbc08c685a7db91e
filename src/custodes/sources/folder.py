"""A folder of images on this machine: its regular files, in the order of their names as bytes.

Links are not followed, wherever they lead, and count as no items, like captions and videos. The list of files is made
anew for every process and must be the one that was planned: a folder that changed in between is an error, because its
rows would be others.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from custodes.errors import SourceError
from custodes.model import Content, Reason
from custodes.sources.base import ImageItem, Plan, RowDetails, ShardSpec, SourceFile, SourceOptions
from custodes.sources.files import check_name, reading, shown
from custodes.sources.members import HEAD_BYTES, is_item, is_sidecar_name, name_text

__all__ = ["details", "images", "listing"]

_OPEN_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Listing(NamedTuple):
    """The items of a folder (names relative to it), how many of its entries are none, and the folder as a file of a
    plan.
    """

    names: tuple[bytes, ...]
    not_items: int
    file: SourceFile


def listing(root: str, options: SourceOptions) -> Listing:
    """List a folder. Raises SourceError when it cannot be read or holds more files than allowed."""
    check_name(root)
    names: list[bytes] = []
    digest = hashlib.sha256()
    size_bytes = entries = 0
    with reading(root):
        for name in sorted(_entries(os.fsencode(root), b"")):
            entries += 1
            if entries > options.members_max:
                raise SourceError(f"{shown(root)} holds more than {options.members_max} files", hint="see members_max")
            status = os.lstat(os.path.join(os.fsencode(root), name))  # noqa: PTH118 -- names are bytes
            if not stat.S_ISREG(status.st_mode) or not _is_image(os.fsencode(root), name):
                continue
            names.append(name)
            size_bytes += status.st_size
            digest.update(b"%d %d %d " % (len(name), status.st_size, status.st_mtime_ns) + name)
    file = SourceFile(path=root, size_bytes=size_bytes, fingerprint=digest.hexdigest())
    return Listing(tuple(names), entries - len(names), file)


def _entries(root: bytes, below: bytes) -> Iterator[bytes]:
    """Names of everything in a folder that is no folder, relative to the root."""
    pending = [below]
    while pending:
        at = pending.pop()
        with os.scandir(os.path.join(root, at)) as found:  # noqa: PTH118
            for entry in found:
                name = os.path.join(at, entry.name)  # noqa: PTH118
                if entry.is_dir(follow_symlinks=False):
                    pending.append(name)
                else:
                    yield name


def _is_image(root: bytes, name: bytes) -> bool:
    """By name; only where that says no, by the first bytes."""
    if not is_sidecar_name(name):
        return True
    with os.fdopen(os.open(os.path.join(root, name), _OPEN_FLAGS), "rb") as file:  # noqa: PTH118
        return is_item(name, file.read(HEAD_BYTES))


@lru_cache(maxsize=1)
def _listed(file: SourceFile, members_max: int) -> tuple[bytes, ...]:
    found = listing(file.path, SourceOptions(members_max=members_max))
    if found.file != file:
        raise SourceError(f"{shown(file.path)} changed since the scan was planned", hint="plan the scan anew")
    return found.names


def _names(plan: Plan, shard: ShardSpec) -> tuple[bytes, ...]:
    names = _listed(plan.files[shard.file], plan.options.members_max)[shard.first_row : shard.first_row + shard.rows]
    if len(names) != shard.rows:
        raise SourceError(f"{shown(plan.files[shard.file].path)}: {len(names)} files could be read of {shard.rows}")
    return names


def images(plan: Plan, shard: ShardSpec) -> Iterator[ImageItem]:
    """The images of a shard. A file that cannot be read is an item that says so."""
    root = os.fsencode(plan.files[shard.file].path)
    for row, name in enumerate(_names(plan, shard)):
        yield ImageItem(row, _content(os.path.join(root, name), plan.options.body_bytes_max))  # noqa: PTH118


def _content(path: bytes, body_bytes_max: int) -> Content | Reason:
    try:
        with os.fdopen(os.open(path, _OPEN_FLAGS), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return Reason.READ_ERROR
            data = file.read(body_bytes_max + 1)
    except OSError:
        return Reason.READ_ERROR
    if not data:
        return Reason.EMPTY
    return Reason.TOO_LARGE if len(data) > body_bytes_max else Content(data)


def details(plan: Plan, shard: ShardSpec, rows: Sequence[int]) -> list[RowDetails]:
    """The file names of some rows, relative to the folder."""
    names = _names(plan, shard)
    return [RowDetails(row=row, name=name_text(names[row])) for row in rows]
