"""A log read by who does not trust it: entries and proofs out of its files, each checked against a tree that is trusted already.

Promises: what is given out leads to the root that was given; a file that was changed, cut or exchanged leads elsewhere, and that is an
InputError. Readings say which file they need next and are told its bytes, so that one reading serves a folder (``read_folder``) and an
address (``Reader``) alike. Which tree to trust is for ``memory`` and ``notes``.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Final, Protocol, TypeVar

from custodes.errors import InputError
from custodes.services.calls import Caller, RefusedError
from custodes.transparency.merkle import (
    Builder,
    Node,
    Span,
    Tree,
    consistency_path,
    folded,
    inclusion_path,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
    whole_nodes,
)
from custodes.transparency.notes import NOTE_BYTES_MAX
from custodes.transparency.tiles import (
    ENTRIES,
    ENTRY_BYTES_MAX,
    TILE_HASHES,
    Tile,
    hashes_of,
    node_in,
    root_of,
    tile_of,
    tiles_between,
    unpacked,
)

__all__ = [
    "CHECKPOINT",
    "FILE_BYTES_MAX",
    "Folder",
    "Reader",
    "Reading",
    "Source",
    "Web",
    "audit",
    "consistency",
    "entries",
    "inclusion",
    "prefix_root",
    "read_folder",
    "recomputed",
]

CHECKPOINT: Final = "checkpoint"
FILE_BYTES_MAX: Final = TILE_HASHES * (2 + ENTRY_BYTES_MAX)

T = TypeVar("T")
Reading = Generator[Tile, bytes, T]

# -- what is read


def prefix_root(old_size: int, size: int) -> Reading[bytes]:
    """The root of the first ``old_size`` leaves, by the tiles of the tree of ``size``."""
    return folded((yield from _nodes(whole_nodes(Span(0, old_size)), size)))


def inclusion(index: int, tree: Tree) -> Reading[list[bytes]]:
    """The proof that entry ``index`` is in the tree. Raises InputError where the tiles do not prove it."""
    proof = yield from _spans(inclusion_path(index, tree.size), tree.size)
    (leaf,) = yield from _nodes([Node(0, index)], tree.size)
    verify_inclusion(leaf, index, proof, tree)
    return proof


def consistency(old: Tree, new: Tree) -> Reading[list[bytes]]:
    """The proof that ``new`` begins with ``old``. Raises InputError where the tiles do not prove it: the log was forked, or is damaged."""
    proof = yield from _spans(consistency_path(old.size, new.size), new.size)
    verify_consistency(old, new, proof)
    return proof


def entries(span: Span, tree: Tree) -> Reading[list[bytes]]:
    """These entries of the tree, all in memory. Raises InputError unless they are what its root stands for."""
    if not 0 <= span.start < span.stop <= tree.size:
        raise InputError(f"there are no entries from {span.start} to {span.stop} in a log of {tree.size}")
    builder = Builder()
    yield from _append(builder, Span(0, span.start), tree.size)
    found: list[bytes] = []
    for tile in tiles_between(span.start, tree.size, ENTRIES):
        base = tile.number * TILE_HASHES
        if base >= span.stop:
            break
        there = unpacked((yield tile), tile)
        found += there[max(span.start - base, 0) : span.stop - base]
    for entry in found:
        builder.append(leaf_hash(entry))
    yield from _append(builder, Span(span.stop, tree.size), tree.size)
    _agree(builder.root(), tree.root, "the entries of the log")
    return found


def audit(tree: Tree) -> Reading[None]:
    """Read every file of the tree. Raises InputError unless each is what the root stands for."""
    _agree((yield from recomputed(0, tree.size)), tree.root, "the log")


def recomputed(old_size: int, size: int) -> Reading[bytes]:
    """The root of a tree, by all entries from the first bundle on that a tree of ``old_size`` has not. Each tile that it has not is compared."""
    builder, roots = Builder(), list[bytes]()
    first = old_size // TILE_HASHES
    yield from _append(builder, Span(0, first * TILE_HASHES), size)
    for bundle in tiles_between(old_size, size, ENTRIES):
        leaves = [leaf_hash(entry) for entry in unpacked((yield bundle), bundle)]
        for leaf in leaves:
            builder.append(leaf)
        tile = bundle._replace(level=0)
        _agree(hashes_of((yield tile), tile), leaves, tile.path)
        if tile.width == TILE_HASHES:
            roots.append(root_of(leaves))
    level = 1
    while roots:  # of the whole tiles below, from number ``first`` on
        above = []
        for tile in tiles_between(old_size, size, level):
            hashes = hashes_of((yield tile), tile)
            skip = max(first - tile.number * TILE_HASHES, 0)
            begin = tile.number * TILE_HASHES + skip - first
            _agree(hashes[skip:], roots[begin : begin + tile.width - skip], tile.path)
            if tile.width == TILE_HASHES:
                above.append(root_of(hashes))
        roots, first, level = above, first // TILE_HASHES, level + 1
    return builder.root()


def _append(builder: Builder, span: Span, size: int) -> Reading[None]:
    nodes = whole_nodes(span)
    for node, found in zip(nodes, (yield from _nodes(nodes, size)), strict=True):
        builder.append(found, node.level)


def _spans(path: Iterable[Span], size: int) -> Reading[list[bytes]]:
    proof = []
    for span in path:
        proof.append(folded((yield from _nodes(whole_nodes(span), size))))
    return proof


def _nodes(nodes: Iterable[Node], size: int) -> Reading[list[bytes]]:
    tiles: dict[Tile, bytes] = {}
    found = []
    for node in nodes:
        tile, which = tile_of(node, size)
        if tile not in tiles:
            tiles[tile] = yield tile
        found.append(node_in(tiles[tile], tile, which))
    return found


def _agree(found: object, stated: object, what: str) -> None:
    if found != stated:
        raise InputError(
            f"{what} does not lead to the root: it was changed or is damaged",
            hint="compare with another copy of the log",
        )


# -- where from


class Source(Protocol):
    """Where a log's files are."""

    async def get(self, path: str) -> bytes | None:
        """The file's bytes; None where there is none."""


class Folder:
    """A log in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, path: str) -> bytes | None:
        """The file's bytes; None where there is none. Raises InputError where it cannot be read."""
        try:
            with (self.root / path).open("rb") as file:
                data = file.read(FILE_BYTES_MAX + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise InputError(f"cannot read {path} of the log: {error.strerror}") from error
        if len(data) > FILE_BYTES_MAX:
            raise InputError(f"{path} of the log is longer than it can be ({FILE_BYTES_MAX:,} bytes)")
        return data

    async def get(self, path: str) -> bytes | None:
        """As ``read``."""
        return self.read(path)


class Web:
    """A log at an address. Its caller's ``body_bytes_max`` bounds each file."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def get(self, path: str) -> bytes | None:
        """The file's bytes; None where there is none. Raises AuthorityError where it cannot be read."""
        try:
            return (await self._caller.get(f"/{path}")).body
        except RefusedError as error:
            if error.status in (404, 410):
                return None
            raise


def read_folder(folder: Folder, reading: Reading[T]) -> T:
    """A reading of a folder, whole."""
    try:
        tile = next(reading)
        while True:
            # A partial tile may be gone once it is full (tlog-tiles, Partial Tiles).
            data = folder.read(tile.path)
            tile = reading.send(_there(data if data is not None else folder.read(tile.whole.path), tile.path))
    except StopIteration as end:
        found: T = end.value
        return found


class Reader:
    """A log at a source."""

    def __init__(self, source: Source) -> None:
        self._source = source

    async def read(self, reading: Reading[T]) -> T:
        """A reading, whole."""
        try:
            tile = next(reading)
            while True:
                data = await self._source.get(tile.path)
                tile = reading.send(
                    _there(data if data is not None else await self._source.get(tile.whole.path), tile.path)
                )
        except StopIteration as end:
            found: T = end.value
            return found

    async def checkpoint(self) -> bytes:
        """The checkpoint as it is published: a note that nobody has verified yet."""
        data = _there(await self._source.get(CHECKPOINT), CHECKPOINT)
        if len(data) > NOTE_BYTES_MAX:
            raise InputError(f"the checkpoint has {len(data):,} bytes, more than {NOTE_BYTES_MAX:,}")
        return data


def _there(data: bytes | None, path: str) -> bytes:
    if data is None:
        raise InputError(
            f"the log has no {path}", hint="it is damaged, or not a log in tiles; compare with another copy"
        )
    return data
