"""What a probe is taught from: the vectors of rows that were judged, and of some that nobody judged.

Promises that vectors belong to the run's rows as far as files, numbers in their names and counts can tell, or are refused; that files are read once, and of
``.npy`` only the blocks that hold a wanted row; and that the same rows are the background each time. Who judged the rows is for the caller.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Sequence
from pathlib import PurePath
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from custodes.errors import InputError, SourceError
from custodes.similar.probe import Float32s, Judged
from custodes.similar.vectors import VectorShard
from custodes.sources.files import shown

__all__ = ["Lesson", "LessonRows", "digest_of", "joined", "lesson", "vectors_at"]

BACKGROUND_MAX: Final = 1_000_000
BLOCK_ROWS: Final = 1024


class LessonRows(NamedTuple):
    """Rows by what is known of them, counted through all files; ``passed`` are kept out of the background."""

    positives: Collection[int]
    negatives: Collection[int]
    passed: Collection[int]


class Lesson(NamedTuple):
    """What can be taught. ``without``: judged rows that have no vector, or none with a direction."""

    judged: Judged
    background: Float32s
    without: int


def joined(shards: Sequence[VectorShard], files: Sequence[tuple[str, int]]) -> None:
    """Refuse vectors that are not those of these files, each with its rows: file by file, in order. Raises SourceError."""
    if len(shards) != len(files):
        raise SourceError(
            f"there are {len(shards):,} files of vectors, and the run was over {len(files):,} files",
            hint="each file of the run needs its own file of vectors; are they of another dataset?",
        )
    for shard, (path, rows) in zip(shards, files, strict=True):
        numbers = {_number(shard.path), _number(path)} - {None}
        if shard.rows != rows or len(numbers) > 1:
            raise SourceError(
                f"{shown(shard.path)} has {shard.rows:,} vectors, and stands where {shown(path)} has {rows:,} rows",
                hint="they are vectors of another dataset, of another version, or in another order",
            )


def _number(path: str) -> int | None:
    found = re.search(r"([0-9]{1,18})$", PurePath(path).name.split(".")[0])
    return int(found.group(1)) if found else None


def lesson(shards: Sequence[VectorShard], rows: LessonRows, background: int, seed: int) -> Lesson:
    """The vectors of all judged rows and of ``background`` others, drawn by chance from all."""
    if not 0 <= background <= BACKGROUND_MAX:
        raise InputError(f"a background of {background:,} rows: at most {BACKGROUND_MAX:,} are allowed")
    judged = np.array(sorted({*rows.positives, *rows.negatives}), dtype=np.int64)
    others = _drawn(shards, {*rows.positives, *rows.negatives, *rows.passed}, background, seed)
    wanted = np.union1d(judged, others)
    found, vectors = vectors_at(shards, wanted)
    labels = np.isin(found, np.array(sorted(rows.positives), dtype=np.int64))
    mine = np.isin(found, judged)
    return Lesson(Judged(vectors[mine], labels[mine]), vectors[~mine], len(judged) - int(np.count_nonzero(mine)))


def digest_of(shards: Sequence[VectorShard]) -> str:
    """Names the files of vectors: by sizes, shapes and first bytes, not by where they lie."""
    named = [f"{each.size_bytes} {each.rows} {each.dimension} {each.dtype.str} {each.head}\n" for each in shards]
    return hashlib.sha256("".join(named).encode()).hexdigest()


def _drawn(shards: Sequence[VectorShard], known: Collection[int], count: int, seed: int) -> npt.NDArray[np.int64]:
    total = sum(shard.rows for shard in shards)
    size = min(total, count + len(known))
    drawn = np.random.default_rng(seed).choice(total, size=size, replace=False)
    kept: npt.NDArray[np.int64] = drawn[~np.isin(drawn, np.array(sorted(known), dtype=np.int64))][:count]
    return kept


def vectors_at(shards: Sequence[VectorShard], wanted: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], Float32s]:
    """Those of the wanted rows (sorted) that have a direction, and their vectors, in order. Only blocks that hold one are read."""
    rows, vectors = [np.empty(0, dtype=np.int64)], [np.empty((0, shards[0].dimension), dtype=np.float32)]
    first = 0
    for shard in shards:
        mine = wanted[(wanted >= first) & (wanted < first + shard.rows)] - first
        memory = bytearray(min(BLOCK_ROWS, shard.rows) * shard.row_bytes)
        for number, piece in enumerate(shard.pieces(BLOCK_ROWS) if len(mine) else ()):
            start = number * BLOCK_ROWS
            if shard.column is None and not np.any((mine >= start) & (mine < start + BLOCK_ROWS)):
                continue  # not even read
            block = piece(memory)
            chosen = np.isin(block.rows, mine)
            wide = block.vectors[chosen].astype(np.float32)
            sound = np.isfinite(wide).all(axis=1) & wide.any(axis=1)
            rows.append(block.rows[chosen][sound] + first)
            vectors.append(wide[sound])
        first += shard.rows
    return np.concatenate(rows), np.concatenate(vectors)
