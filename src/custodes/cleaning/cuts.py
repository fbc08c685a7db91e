"""Text tables and tar archives without some of their rows: every byte that stays is copied as it stands, in its order.

Of an archive the side files of an image leave with the last image of their key. gzip stays gzip; what it compresses is what is promised.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, Final, cast

from custodes.cleaning.mask import Flags
from custodes.errors import SourceError
from custodes.sources.base import ROWS_UNKNOWN, Plan, ShardSpec, SourceFile, SourceOptions
from custodes.sources.files import GZIP_MAGIC, open_file, read_exactly, shown, skip, unpacked
from custodes.sources.members import key_of
from custodes.sources.tar import BLOCK_BYTES, shard_members
from custodes.sources.text import extents

__all__ = ["leaving_keys", "write_archive", "write_lines"]

_RECORD_BYTES: Final = 20 * BLOCK_BYTES  # POSIX.1-2017, pax: archives are written in records of 20 blocks
_PIECE_BYTES: Final = 1 << 20

Cut = tuple[int, bool]
"""So many bytes, and whether they stay."""


def write_lines(plan: Plan, file: SourceFile, stay: Flags, target: BinaryIO) -> None:
    """The lines of a table that stay; what is no row (a heading, blank lines) does. Raises SourceError if it has other rows than ``stay``."""
    with _packed_alike(file.path, target) as out:
        _copy(file.path, plan.options, _line_cuts(plan, file, stay), out)


def _line_cuts(plan: Plan, file: SourceFile, stay: Flags) -> Iterator[Cut]:
    row = 0
    for size_bytes, is_row in extents(file.path, plan.format, plan.options):
        yield size_bytes, not is_row or _at(stay, row, file)
        row += is_row
    _check_rows(stay, row, file)


def write_archive(plan: Plan, file: SourceFile, stay: Flags, target: BinaryIO) -> None:
    """The members of an archive that stay. Raises SourceError if it has other rows than ``stay``."""
    gone = leaving_keys(plan, file, stay)
    with _packed_alike(file.path, target) as out:
        size_bytes = _copy(file.path, plan.options, _member_cuts(plan, file, stay, gone), out)
        end_bytes = size_bytes + 2 * BLOCK_BYTES
        out.write(bytes(2 * BLOCK_BYTES + -end_bytes % _RECORD_BYTES))


def leaving_keys(plan: Plan, file: SourceFile, stay: Flags) -> set[bytes]:
    """The keys of an archive all of whose images leave."""
    kept: set[bytes] = set()
    gone: set[bytes] = set()
    row = 0
    for member, _ in shard_members(file, _ALL, plan.options):
        if member.is_item:
            (kept if _at(stay, row, file) else gone).add(key_of(member.name))
            row += 1
    _check_rows(stay, row, file)
    return gone - kept


def _member_cuts(plan: Plan, file: SourceFile, stay: Flags, gone: set[bytes]) -> Iterator[Cut]:
    row = 0
    for member, reader in shard_members(file, _ALL, plan.options):
        data_bytes = member.size_bytes - len(member.head)
        end_bytes = reader.at_bytes + data_bytes + -member.size_bytes % BLOCK_BYTES
        stays = _at(stay, row, file) if member.is_item else key_of(member.name) not in gone
        yield end_bytes - member.offset_bytes, stays
        row += member.is_item


_ALL: Final = ShardSpec(index=0, file=0, first_row=0, rows=ROWS_UNKNOWN)


def _at(stay: Flags, row: int, file: SourceFile) -> bool:
    if row >= len(stay):
        _check_rows(stay, row + 1, file)
    return bool(stay[row])


def _check_rows(stay: Flags, rows: int, file: SourceFile) -> None:
    if rows != len(stay):
        raise SourceError(f"{shown(file.path)} has other rows than were scanned", hint="scan it anew")


def _copy(path: str, options: SourceOptions, cuts: Iterable[Cut], target: BinaryIO) -> int:
    """Copy what stays; the bytes that were copied."""
    copied = 0
    with open_file(path) as opened:
        inside = unpacked(opened, path, options)
        for size_bytes, stays in cuts:
            if not stays:
                skip(inside, size_bytes, path)
                continue
            copied += size_bytes
            for at in range(0, size_bytes, _PIECE_BYTES):
                target.write(read_exactly(inside, min(_PIECE_BYTES, size_bytes - at), path))
    return copied


@contextmanager
def _packed_alike(path: str, target: BinaryIO) -> Iterator[BinaryIO]:
    """The target, or a gzip of what is written to it if the source is one; without a name and a time, so that it is the same each time."""
    with open_file(path) as opened:
        packed = opened.read(2) == GZIP_MAGIC
    if not packed:
        yield target
        return
    with gzip.GzipFile(filename="", mode="wb", fileobj=target, mtime=0) as inside:
        yield cast(BinaryIO, inside)
