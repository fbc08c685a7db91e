"""Where in a log an entry is: by what the log's folder says of it, or by looking through its newest entries.

Promises nothing that a proof does not: what the folder says is a help that nobody signed, and is believed only when the tree agrees.
"""

from __future__ import annotations

from typing import Final

from custodes.errors import InputError
from custodes.transparency.merkle import Span, Tree, leaf_hash
from custodes.transparency.notes import parse_size
from custodes.transparency.reading import Reader, Source, entries
from custodes.transparency.tiles import TILE_HASHES

__all__ = ["NEWEST", "index_of", "index_path"]

NEWEST: Final = 256 * TILE_HASHES
"""Entries that are looked through where the folder does not help."""


def index_path(entry: bytes) -> str:
    """The file that says an entry's number, below the log's address."""
    name = leaf_hash(entry).hex()
    return f"index/{name[:2]}/{name}"


async def index_of(source: Source, tree: Tree, entry: bytes) -> int | None:
    """The entry's number; None where it is not among the newest and nothing says where it is. Raises InputError where the log is damaged."""
    reader = Reader(source)
    told = await source.get(index_path(entry))
    index = _number(told) if told is not None else None
    if index is not None and index < tree.size and await reader.read(entries(Span(index, index + 1), tree)) == [entry]:
        return index
    last = (tree.size - 1) // TILE_HASHES
    for bundle in range(last, max(last - NEWEST // TILE_HASHES, -1), -1):
        start = bundle * TILE_HASHES
        found = await reader.read(entries(Span(start, min(start + TILE_HASHES, tree.size)), tree))
        if entry in found:
            return start + found.index(entry)
    return None


def _number(told: bytes) -> int | None:
    try:
        return parse_size(told.decode("ascii").removesuffix("\n"))
    except (InputError, UnicodeDecodeError):
        return None
