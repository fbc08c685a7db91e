"""The vectors of a run's rows, wherever they lie: found, and held against the run and against metadata that lies beside them; and the model that made them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from custodes.errors import InputError
from custodes.ledger.run import RunDirectory
from custodes.scan.settings import EmbedSettings
from custodes.similar.lesson import joined
from custodes.similar.vectors import VectorShard, aligned, metadata_files, npy_shard, vector_shards
from custodes.sources.files import shown

__all__ = ["model_of", "vectors_of"]


def vectors_of(
    source: str | None, column: str | None, files: Sequence[tuple[str, int]], run: RunDirectory
) -> list[VectorShard]:
    """The files of vectors that a path, folder or pattern names, for the run's files, each with its rows; or, where none is named, the run's own.

    Raises SourceError where they are not theirs, InputError where the run has none.
    """
    if source is None:
        if column:
            raise InputError("--column is about files of vectors, and none are named", hint="leave it out")
        return own_vectors(run)
    shards = vector_shards(source, column)
    if not column and (tables := metadata_files(source)):
        aligned(shards, tables)
    joined(shards, files)
    return shards


def own_vectors(run: RunDirectory) -> list[VectorShard]:
    """One file for each shard of the run, the newest, in the order of its rows."""
    dimension = embed_settings(run).dimension
    records = [record for _, record in sorted(run.latest().items())]
    shards = [npy_shard(path) for path in run.vector_files(records)]
    for record, shard in zip(records, shards, strict=True):
        if (shard.rows, shard.dimension) != (record.rows, dimension):
            raise InputError(
                f"{shown(shard.path)} holds {shard.rows:,} vectors of {shard.dimension:,} numbers, "
                f"its shard has {record.rows:,} rows and the model gives {dimension:,}",
                hint="is it a file of another run?",
            )
    return shards


def model_of(run: RunDirectory, source: str | None, model: str) -> str:
    """The model that made the vectors: of the run's own, the one that it was scanned with. Raises InputError where another is named, or none at all."""
    if source is not None:
        if not model:
            raise InputError("who made the vectors is not said", hint="name their model with --model")
        return model
    own = embed_settings(run).model
    if model and model != own:
        raise InputError(
            f"the vectors of {run.shown} are of the model {own}, not of {shown(model)!r}", hint="leave --model out"
        )
    return own


def embed_settings(run: RunDirectory) -> EmbedSettings:
    """With what model the run made vectors. Raises InputError where it made none."""
    said = run.manifest.settings.get("embed")
    if said is None:
        raise InputError(
            f"{run.shown} has no vectors of its own",
            hint="name the vectors of its rows with --vectors, or scan anew with --embed",
        )
    return msgspec.convert(said, EmbedSettings)
