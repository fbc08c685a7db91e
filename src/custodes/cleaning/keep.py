"""The keep list: the keys of the rows that stay, sorted, each once; for those who hold an old copy. Format: docs/formats/keep-metadata.md.

A row is named by its key (an image of a folder by the name of its file) where every row has one and none stands both on a row that stays and on one that
leaves; else by its number, and then the list fits exactly that dataset. What is on no list leaves: a row that came later leaves, too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from custodes.cleaning.mask import Flags
from custodes.errors import InputError, SourceError
from custodes.sources.base import Format, Plan, SourceOptions
from custodes.sources.source import read_links, row_details

__all__ = ["Keep", "dataset_digest", "keep_header", "keys_that_stay", "rows_that_stay", "stays_by", "write_keep"]

FORMAT: Final = "custodes-keep/1"
_HEADER: Final = b"custodes-keep"


class Keep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a keep list says of itself. ``keys``: ``column``, ``name`` or ``row``; ``options``: how the dataset was read; ``rows``: how many it had."""

    format: Literal["custodes-keep/1"] = FORMAT
    keys: Literal["column", "name", "row"]
    dataset: str
    rows: int
    crowd: int
    options: SourceOptions


def dataset_digest(plan: Plan) -> str:
    """SHA-256 (hex) over the sizes and fingerprints of a dataset's files, in their order; where they lie does not matter."""
    files = [(file.size_bytes, file.fingerprint) for file in plan.files]
    return hashlib.sha256(msgspec.json.encode(files)).hexdigest()


def keys_that_stay(plan: Plan, stay: Flags) -> Any | None:
    """The keys of the rows that stay, sorted, each once; None where keys cannot tell which rows these are."""
    kept, gone = [], []
    for first, keys in _keys(plan):
        if keys is None or keys.null_count:
            return None
        part = pa.array(stay[first : first + len(keys)])
        kept.append(keys.filter(part))
        gone.append(keys.filter(pc.invert(part)))
    found = pc.unique(pa.chunked_array(kept, pa.large_string()))
    if pc.any(pc.is_in(found, pa.chunked_array(gone, pa.large_string()).combine_chunks())).as_py():
        return None
    found = _as_numbers(found)
    return found.take(pc.sort_indices(found))


def rows_that_stay(stay: Flags) -> Any:
    """The numbers of the rows that stay, counted through all files."""
    return pa.array(np.flatnonzero(stay).astype(np.int64))


def _as_numbers(keys: Any) -> Any:
    """int64 where every key is one, in its usual spelling, as LAION's are."""
    try:
        numbers = keys.cast(pa.int64())
    except pa.ArrowInvalid:
        return keys
    return numbers if numbers.cast(pa.large_string()).equals(keys) else keys


def _keys(plan: Plan) -> Iterator[tuple[int, Any]]:
    """The keys of each shard as text, with the number of its first row; None where the dataset has none."""
    first = 0
    for shard in plan.shards:
        if plan.format is Format.FOLDER:
            names = [each.name for each in row_details(plan, shard, range(shard.rows))]
            yield shard.first_row, pa.array(names, pa.large_string())
            continue
        batch = read_links(plan, shard, (), with_urls=True)
        yield first, None if batch.key is None else _as_text(batch.key)
        first += batch.rows


def _as_text(keys: Any) -> Any:
    column = keys.combine_chunks() if isinstance(keys, pa.ChunkedArray) else keys
    kinds = pa.types
    if not (kinds.is_integer(column.type) or kinds.is_string(column.type) or kinds.is_large_string(column.type)):
        return pa.nulls(len(column), pa.large_string())  # neither a number nor a text names a row
    return column.cast(pa.large_string())


def write_keep(keep: Keep, keys: Any, target: BinaryIO) -> None:
    """The list as parquet: one column, ``key``, and the header in its metadata."""
    table = pa.table({"key": keys}).replace_schema_metadata({_HEADER: msgspec.json.encode(keep, order="sorted")})
    pq.write_table(table, target, compression="zstd")


def keep_header(path: Path) -> Keep:
    """What a keep list says of itself. Raises InputError for what is none."""
    try:
        metadata = pq.read_metadata(path)
        if metadata.schema.names != ["key"]:
            raise KeyError
        return msgspec.json.decode((metadata.metadata or {})[_HEADER], type=Keep)
    except (OSError, pa.ArrowException, KeyError, msgspec.MsgspecError, ValueError) as error:
        raise InputError(f"{path} is no keep list", hint="it is the keep.parquet of --keep-metadata") from error


def stays_by(path: Path, plan: Plan) -> tuple[Keep, Flags]:
    """The rows of a copy that a keep list names. Raises InputError where the list does not fit the copy."""
    keep = keep_header(path)
    try:
        listed = pq.read_table(path)["key"].combine_chunks()
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read", hint="copy it anew") from error
    if (keep.keys == "name") != (plan.format is Format.FOLDER):
        raise InputError(
            "the keep list is one of a folder of images, or this copy is one, and not both",
            hint="use the list of this dataset",
        )
    return keep, _by_number(listed, keep, plan) if keep.keys == "row" else _by_key(listed, plan)


def _by_key(listed: Any, plan: Plan) -> Flags:
    wanted = listed.cast(pa.large_string())
    parts = []
    for _, keys in _keys(plan):
        if keys is None:
            raise SourceError(
                "this copy has no column with row keys, and the keep list names rows by them",
                hint="use a copy with its keys",
            )
        parts.append(pc.is_in(keys, wanted, skip_nulls=True).to_numpy(zero_copy_only=False))
    return np.concatenate(parts)


def _by_number(listed: Any, keep: Keep, plan: Plan) -> Flags:
    if dataset_digest(plan) != keep.dataset:
        raise InputError(
            "the keep list names rows by their numbers, and this copy is not the very dataset that they were counted in",
            hint="a list with row keys needs a dataset whose rows have keys",
        )
    stay = np.zeros(keep.rows, dtype=np.bool_)
    numbers = listed.to_numpy()
    if len(numbers) and not (numbers.min() >= 0 and numbers.max() < keep.rows):
        raise InputError("the keep list names rows that the dataset has not", hint="copy it anew")
    stay[numbers] = True
    return stay
