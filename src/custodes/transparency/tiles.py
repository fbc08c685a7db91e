"""Where a log's hashes and entries lie as files (C2SP tlog-tiles), and how they are written in them.

Promises: pure arithmetic and strict parsing; each node of a tree lies in one tile, each entry in one bundle. Who reads and writes files is for
``log`` and ``reading``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from custodes.errors import InputError
from custodes.transparency.merkle import HASH_BYTES, Node, folded

__all__ = [
    "ENTRY_BYTES_MAX",
    "TILE_HASHES",
    "Tile",
    "hashes_of",
    "node_in",
    "packed",
    "tile_of",
    "tiles_between",
    "unpacked",
]

TILE_HASHES: Final = 256
ENTRY_BYTES_MAX: Final = 65_535
ENTRIES: Final = -1
"""The level of bundles: below the hashes of their entries."""

_TILE_LEVELS: Final = 8  # of the tree, in one of tiles


class Tile(NamedTuple):
    """A tile of hashes, or a bundle of entries: at most 256 from ``number * 256`` on."""

    level: int
    number: int
    width: int = TILE_HASHES

    @property
    def folder(self) -> str:
        """The path of the whole tile without its last three digits, and those."""
        digits = f"{self.number:d}"
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        parts = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        level = "entries" if self.level == ENTRIES else str(self.level)
        return "/".join(["tile", level, *(f"x{part}" for part in parts[:-1]), parts[-1]])

    @property
    def path(self) -> str:
        """Where it lies below the log's address, without a slash at the front."""
        return self.folder if self.width == TILE_HASHES else f"{self.folder}.p/{self.width}"

    @property
    def whole(self) -> Tile:
        """The same tile when it is full: what a partial one is a beginning of."""
        return self._replace(width=TILE_HASHES)


def tile_of(node: Node, size: int) -> tuple[Tile, slice]:
    """The tile of a tree of ``size`` leaves that a node is computed from, and which of its hashes. The node must be whole."""
    level, height = divmod(node.level, _TILE_LEVELS)
    index, first = divmod(node.number << height, TILE_HASHES)
    return _tile(level, index, size), slice(first, first + (1 << height))


def node_in(data: bytes, tile: Tile, which: slice) -> bytes:
    """The node's hash. Raises InputError where the tile is not what its name says."""
    return root_of(hashes_of(data, tile)[which])


def root_of(hashes: Sequence[bytes]) -> bytes:
    """The root over a power of two of hashes."""
    nodes = list(hashes)
    while len(nodes) > 1:
        nodes = [folded(nodes[at : at + 2]) for at in range(0, len(nodes), 2)]
    return nodes[0]


def tiles_between(old_size: int, size: int, level: int) -> list[Tile]:
    """The tiles of a level that a tree of ``size`` has and one of ``old_size`` has not, or not so wide. ``ENTRIES`` for bundles."""
    unit = TILE_HASHES ** max(level, 0)
    first, hashes = old_size // unit // TILE_HASHES, size // unit
    tiles = [_tile(level, index, size) for index in range(first, -(-hashes // TILE_HASHES))]
    return tiles if hashes > old_size // unit else []


def hashes_of(data: bytes, tile: Tile) -> list[bytes]:
    """The tile's hashes; of a whole tile that was asked for as partial, the first. Raises InputError."""
    if len(data) not in (tile.width * HASH_BYTES, TILE_HASHES * HASH_BYTES):
        raise InputError(f"{tile.path} has {len(data)} bytes, not {tile.width * HASH_BYTES}")
    return [data[at : at + HASH_BYTES] for at in range(0, tile.width * HASH_BYTES, HASH_BYTES)]


def packed(entries: Sequence[bytes]) -> bytes:
    """Entries as a bundle holds them, each after its length. Raises InputError where one is too long."""
    for entry in entries:
        if len(entry) > ENTRY_BYTES_MAX:
            raise InputError(f"an entry of a log has at most {ENTRY_BYTES_MAX:,} bytes, got {len(entry):,}")
    return b"".join(len(entry).to_bytes(2) + entry for entry in entries)


def unpacked(data: bytes, tile: Tile) -> list[bytes]:
    """The bundle's entries; of a whole bundle that was asked for as partial, the first. Raises InputError."""
    entries, at = list[bytes](), 0
    while at < len(data):
        stop = at + 2 + int.from_bytes(data[at : at + 2])
        if stop > len(data) or len(entries) == TILE_HASHES:
            raise InputError(f"{tile.path} is damaged: what it holds goes on past its end")
        entries.append(data[at + 2 : stop])
        at = stop
    if len(entries) not in (tile.width, TILE_HASHES):
        raise InputError(f"{tile.path} has {len(entries)} entries, not {tile.width}")
    return entries[: tile.width]


def _tile(level: int, index: int, size: int) -> Tile:
    hashes = size // TILE_HASHES ** max(level, 0)
    return Tile(level, index, min(TILE_HASHES, hashes - index * TILE_HASHES))
