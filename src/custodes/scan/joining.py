"""The vectors of a run's rows, wherever they lie: found, and held against the run and against metadata that lies beside them."""

from __future__ import annotations

from collections.abc import Sequence

from custodes.similar.lesson import joined
from custodes.similar.vectors import VectorShard, aligned, metadata_files, vector_shards

__all__ = ["vectors_of"]


def vectors_of(source: str, column: str | None, files: Sequence[tuple[str, int]]) -> list[VectorShard]:
    """The files of vectors that a path, folder or pattern names, for the run's files, each with its rows. Raises SourceError where they are not theirs."""
    shards = vector_shards(source, column)
    if not column and (tables := metadata_files(source)):
        aligned(shards, tables)
    joined(shards, files)
    return shards
