"""The writer of a log: entries become files, files a tree, and the tree a signed checkpoint. It only grows.

The order (each step durable before the next):
  1. entries   2. tiles   3. the root, computed anew from what the disk gives back   4. signed, and kept as signed (``append``)
  5. witnesses, who are asked by the caller   6. published (``publish``)
Promises: after a crash at any point what is published, and what was signed, is as it was or whole and new; a tree that does not go on from what
was signed is never signed. What the disk lost or forgot between two appends it notices where the new entries touch it; ``reading.audit``
notices all of it. What entries mean is for the caller: they are public, so give digests of records, never records.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from custodes.crypto.keys import Signer
from custodes.durable import exclusive, replace_file, sync_folder
from custodes.errors import ConfigError, InputError, StorageError
from custodes.transparency.merkle import EMPTY_ROOT, Tree, leaf_hash
from custodes.transparency.notes import Checkpoint, Note, Seen, Trust, parse_lines, parse_note, sign
from custodes.transparency.reading import CHECKPOINT, Folder, prefix_root, read_folder, recomputed
from custodes.transparency.tiles import (
    ENTRIES,
    ENTRY_BYTES_MAX,
    TILE_HASHES,
    Tile,
    hashes_of,
    packed,
    root_of,
    tiles_between,
    unpacked,
)

__all__ = ["SIGNED", "Log"]

SIGNED: Final = ".signed"
_MODE: Final = 0o644  # a log is there to be read


class Log:
    """A log in a folder, by the one who has its key. ``trust`` is what its readers hold it to."""

    def __init__(self, folder: Path, key: Signer, trust: Trust) -> None:
        if key.verifier not in trust.keys:
            raise ConfigError("the log's readers do not trust the key that it would sign with")
        self._folder, self._files = folder, Folder(folder)
        self._key, self._trust = key, trust
        self._own = Trust(trust.origin, trust.keys)  # what was signed before any witness saw it

    def create(self) -> None:
        """Begin an empty log. Raises ConfigError where there is, or was, one: it is never begun anew."""
        with exclusive(self._folder):
            for name in (SIGNED, CHECKPOINT, "tile"):
                if (self._folder / name).exists():
                    raise ConfigError(f"{self._folder} holds a log already", hint="choose an empty folder")
            self._sign(Tree(0, EMPTY_ROOT))

    def append(self, entries: Sequence[bytes]) -> bytes:
        """Make entries a durable part of the log. Returns the note that was signed: for witnesses first, then for ``publish``."""
        if not entries:
            raise InputError("there is no entry to append")
        for entry in entries:  # before anything is written
            if len(entry) > ENTRY_BYTES_MAX:
                raise InputError(f"an entry of a log has at most {ENTRY_BYTES_MAX:,} bytes, got {len(entry):,}")
        with exclusive(self._folder):
            old = self._last()
            size = old.size + len(entries)
            self._require(read_folder(self._files, prefix_root(old.size, old.size)), old)
            self._write(old.size, entries)
            # From here on nothing counts but what the disk gives back: one flipped bit signed is the end of a log.
            self._require(read_folder(self._files, prefix_root(old.size, size)), old)
            root = read_folder(self._files, recomputed(old.size, size))
            self._require(read_folder(self._files, prefix_root(size, size)), Tree(size, root))
            return self._sign(Tree(size, root))

    def signed(self) -> bytes:
        """The note that was signed last, whether or not it was published."""
        data = self._files.read(SIGNED)
        if data is None:
            raise ConfigError(f"{self._folder} holds no log", hint="create one, or restore what lay there")
        return data

    def publish(self, lines: bytes = b"") -> Seen:
        """Show what was signed last, under these signature lines of witnesses as well. Raises InputError where too few have signed.

        May be repeated, also after a crash. Lines of witnesses that are not known are left out.
        """
        with exclusive(self._folder):
            tree = self._last()
            note = parse_note(self.signed())
            known = {(witness.name, witness.key_id) for witness in self._trust.witnesses}
            found = parse_lines(lines) if lines else ()
            added = tuple(line for line in found if (line.name, line.key_id) in known)
            seen = self._trust.verify(bytes(Note(note.text, note.lines + added)))
            before = self._published()
            replace_file(self._folder / CHECKPOINT, seen.note, mode=_MODE)
            self._tidy(before, tree.size)
            return seen

    def _last(self) -> Tree:
        """The tree that was signed last. Raises StorageError where a later one is published: then what was signed was lost or put back."""
        tree = self._own.verify(self.signed()).checkpoint.tree
        data = self._files.read(CHECKPOINT)
        published = self._own.verify(data).checkpoint.tree if data is not None else None
        if published and (published.size > tree.size or (published.size == tree.size and published.root != tree.root)):
            raise StorageError(
                "the log has published more than it knows to have signed", hint="restore the whole folder from one copy"
            )
        return tree

    def _published(self) -> int:
        data = self._files.read(CHECKPOINT)
        return self._own.verify(data).checkpoint.tree.size if data is not None else 0

    def _require(self, root: bytes, tree: Tree) -> None:
        if root != tree.root:
            raise StorageError(
                f"the files of the log do not lead to its root of {tree.size} entries: nothing was signed",
                hint="the disk is damaged, or files were changed: compare with a copy",
            )

    def _sign(self, tree: Tree) -> bytes:
        note = bytes(sign(Checkpoint(self._trust.origin, tree), self._key))
        self._own.verify(note)
        replace_file(self._folder / SIGNED, note)
        return note

    def _write(self, old_size: int, entries: Sequence[bytes]) -> None:
        size = old_size + len(entries)
        for tile in tiles_between(old_size, size, ENTRIES):
            self._put(tile, packed(self._content(tile, old_size, entries)))
        level, at, new = 0, old_size, [leaf_hash(entry) for entry in entries]
        while new:  # hashes of this level from number ``at`` on
            above = []
            for tile in tiles_between(old_size, size, level):
                content = self._content(tile, at, new)
                self._put(tile, b"".join(content))
                if tile.width == TILE_HASHES:
                    above.append(root_of(content))
            level, at, new = level + 1, at // TILE_HASHES, above

    def _content(self, tile: Tile, at: int, new: Sequence[bytes]) -> list[bytes]:
        """What a tile holds: what it held before number ``at``, and what is new."""
        base = tile.number * TILE_HASHES
        kept = self._kept(tile._replace(width=at - base)) if at > base else []
        begin = max(base - at, 0)
        return [*kept, *new[begin : begin + tile.width - len(kept)]]

    def _kept(self, tile: Tile) -> list[bytes]:
        data = self._files.read(tile.path)
        if data is None:
            raise StorageError(f"the log has lost {tile.path}", hint="restore it from a copy")
        return unpacked(data, tile) if tile.level == ENTRIES else hashes_of(data, tile)

    def _put(self, tile: Tile, data: bytes) -> None:
        path = self._folder / tile.path
        try:
            missing = [each for each in path.parents if each != self._folder and not each.exists()]
            for folder in reversed(missing):
                folder.mkdir(exist_ok=True)
                sync_folder(folder.parent)
        except OSError as error:
            raise StorageError(f"cannot make the folder of {tile.path}: {error.strerror}") from error
        replace_file(path, data, mode=_MODE)

    def _tidy(self, old_size: int, size: int) -> None:
        """Remove the partial tiles of those that are full by now (tlog-tiles, Partial Tiles: readers take the full one)."""
        level = ENTRIES
        while level < 0 or size >> 8 * level:
            for tile in tiles_between(old_size, size, level):
                if tile.width == TILE_HASHES:
                    shutil.rmtree(self._folder / f"{tile.folder}.p", ignore_errors=True)
            level += 1
