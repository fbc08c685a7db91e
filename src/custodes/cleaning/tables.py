"""Parquet without some of its rows: row groups, columns, their order and types, metadata and compression as they were.

A row group is held in memory while it is written. What a reader does not see may differ: the writer's name, pages, statistics, bloom filters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from custodes.cleaning.mask import Flags
from custodes.errors import SourceError
from custodes.sources.columns import listed
from custodes.sources.files import open_file, reading, shown

__all__ = ["check_columns", "columns_of", "write_table"]


def check_columns(path: str, names: Sequence[str]) -> None:
    """Raise SourceError for a column that the table has not, or has twice."""
    with open_file(path) as file, reading(path):
        there = pq.read_schema(file).names
    for name in names:
        if there.count(name) != 1:
            raise SourceError(f"{shown(path)} has not one column {name!r}; its columns are {listed(there)}")


def columns_of(path: str, names: Sequence[str]) -> dict[str, list[Any]]:
    """All values of some columns. Raises SourceError for one that is not there."""
    check_columns(path, names)
    with open_file(path) as file, reading(path):
        held = pq.read_table(file, columns=list(names), use_threads=False)
        return {name: held[name].to_pylist() for name in names}


def write_table(path: str, stay: Flags, target: BinaryIO) -> None:
    """The rows of a file that stay. Raises SourceError if it has other rows than ``stay``."""
    with open_file(path) as file:
        with reading(path):
            table = pq.ParquetFile(file, pre_buffer=True)
        if table.metadata.num_rows != len(stay):
            raise SourceError(f"{shown(path)} has other rows than were scanned")
        first = 0
        with pq.ParquetWriter(target, table.schema_arrow, **_as_it_was(table)) as writer:
            for group in range(table.metadata.num_row_groups):
                with reading(path, f", row group {group}"):
                    held = table.read_row_group(group, use_threads=False)
                kept = held.filter(pa.array(stay[first : first + held.num_rows]))
                first += held.num_rows
                if kept.num_rows:
                    writer.write_table(kept, row_group_size=kept.num_rows)


def _as_it_was(table: pq.ParquetFile) -> dict[str, Any]:
    """How the file was written, as far as it says."""
    chunks = []
    if table.metadata.num_row_groups:
        group = table.metadata.row_group(0)
        chunks = [group.column(number) for number in range(group.num_columns)]
    columns = [table.schema.column(number) for number in range(len(table.schema.names))]
    return {
        "version": table.metadata.format_version,
        "compression": {chunk.path_in_schema: _codec(chunk.compression) for chunk in chunks} or "snappy",
        "use_dictionary": [chunk.path_in_schema for chunk in chunks if _has_dictionary(chunk)],
        "store_schema": b"ARROW:schema" in (table.metadata.metadata or {}),
        "use_deprecated_int96_timestamps": any(column.physical_type == "INT96" for column in columns),
        "use_compliant_nested_type": not any(".list.item" in column.path for column in columns),
    }


def _codec(name: str) -> str:
    return "none" if name == "UNCOMPRESSED" else name.lower()


def _has_dictionary(chunk: Any) -> bool:
    return bool(np.any([encoding.endswith("DICTIONARY") for encoding in chunk.encodings]))
