"""Parquet: tables of links (LAION and its relatives) and tables that hold the images themselves (Hugging Face's
``image`` struct, img2dataset's parquet output).

A shard is a row group or a range of rows in one; only the columns needed are read. Planning reads footers only. The
counts of the footer are promises that reading checks: a shard with other than the planned rows is an error. Memory is
bounded by pages, which a hostile file may make large: the process that reads keeps a limit on its address space.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, BinaryIO, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from custodes.errors import SourceError
from custodes.model import Content, Kind, Reason
from custodes.sources.base import (
    ColumnMap,
    Format,
    ImageItem,
    LinkBatch,
    Plan,
    RowDetails,
    ShardSpec,
    SourceFile,
    SourceOptions,
)
from custodes.sources.columns import DETAILS, batch_of_columns, details_of, listed, resolve_columns, wanted_fields
from custodes.sources.files import open_file, planned, reading, shown

__all__ = ["PARQUET_MAGIC", "Footer", "details", "footer", "images", "links", "read_columns", "records"]

PARQUET_MAGIC: Final = b"PAR1"
_LINK_BATCH_ROWS: Final = 1 << 16
_IMAGE_BATCH_ROWS: Final = 16
_GROUP_ROWS_MAX: Final = 1 << 31
_IMAGE_NAMES: Final = ("image", "img", "jpg", "jpeg", "png", "webp", "image_bytes", "bytes", "data", "content")


@contextmanager
def _opened(file: BinaryIO, path: str) -> Iterator[Any]:
    with reading(path):
        table = pq.ParquetFile(file, pre_buffer=True)
    with table:
        yield table


def _is_text(kind: Any) -> bool:
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    return any(test(inner) for test in tests) or _is_bytes(inner)


def _is_bytes(kind: Any) -> bool:
    tests = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)
    return any(test(kind) for test in tests)


def _image_columns(schema: Any) -> list[str]:
    """Columns that hold image bytes: a struct with binary ``bytes`` (Hugging Face ``Image``), or a binary column
    with an image's name.
    """
    structs = [f.name for f in schema if pa.types.is_struct(f.type) and _struct_bytes(f.type)]
    return structs or [f.name for f in schema if _is_bytes(f.type) and f.name.lower() in _IMAGE_NAMES]


def _holds_bytes(kind: Any) -> bool:
    return _struct_bytes(kind) if pa.types.is_struct(kind) else _is_bytes(kind)


def _struct_bytes(kind: Any) -> bool:
    return any(child.name == "bytes" and _is_bytes(child.type) for child in kind)


class Footer(NamedTuple):
    """What the end of a Parquet file says: rows of each row group, which column holds what, and whether one holds
    images.
    """

    group_rows: tuple[int, ...]
    columns: ColumnMap
    holds_images: bool


def footer(path: str, options: SourceOptions) -> Footer:
    """Read the footer.

    Raises SourceError when it contradicts itself, or when a column is of a type that cannot be what it is mapped to.
    """
    with open_file(path) as file, _opened(file, path) as table, reading(path):
        schema, counts = table.schema_arrow, table.metadata
        rows = tuple(counts.row_group(group).num_rows for group in range(counts.num_row_groups))
        if any(not 0 <= count <= _GROUP_ROWS_MAX for count in rows) or sum(rows) != counts.num_rows:
            raise SourceError(f"{shown(path)}: its footer contradicts itself about the number of rows")
        columns = resolve_columns(schema.names, options, path)
        for name in (columns.url, *columns.digest_columns().values()):
            if name is not None and not _is_text(schema.field(name).type):
                raise SourceError(f"{shown(path)}: column {name!r} holds {schema.field(name).type}, not text or binary")
        holds_images = columns.image is not None or bool(_image_columns(schema))
        forced = options.format is Format.PARQUET_IMAGES
        is_images = forced or (holds_images and options.format is not Format.PARQUET_LINKS)
        if columns.image is None and is_images:
            columns = _with_image(columns, schema, path)
        if is_images and not _holds_bytes(schema.field(columns.image).type):
            held = schema.field(columns.image).type
            raise SourceError(f"{shown(path)}: column {columns.image!r} holds {held}, not the bytes of images")
    return Footer(rows, columns, is_images)


def _with_image(columns: ColumnMap, schema: Any, path: str) -> ColumnMap:
    found = _image_columns(schema)
    if len(found) != 1:
        problem = "no column" if not found else f"{len(found)} columns"
        raise SourceError(
            f"{shown(path)} has {problem} with images; its columns are {listed(schema.names)}",
            hint="map the one to scan: image=NAME",
        )
    named = {field: getattr(columns, field) for field in ColumnMap.__struct_fields__}
    return ColumnMap(**(named | {"image": found[0]}))


def records(path: str, options: SourceOptions) -> Iterator[dict[str, Any]]:
    """The rows of a small table as mappings: the columns that mean something, and the key that ties a row to an
    image.
    """
    known = footer(path, options).columns
    with open_file(path) as file, _opened(file, path) as table, reading(path):
        names = {
            known.url,
            known.key,
            known.width,
            known.height,
            known.language,
            *known.digest_columns().values(),
            "key",
        }
        chosen = [name for name in table.schema_arrow.names if name in names]
        for batch in table.iter_batches(columns=chosen, use_threads=False):
            yield from batch.to_pylist()


def _batches(table: Any, shard: ShardSpec, names: Sequence[str], batch_rows: int) -> Iterator[Any]:
    """The record batches of a shard, cut to its rows; stops reading at its last row."""
    at, end = 0, shard.group_row + shard.rows
    stream = table.iter_batches(
        batch_size=batch_rows, row_groups=[shard.row_group], columns=list(names), use_threads=False
    )
    for batch in stream:
        first, last = max(at, shard.group_row), min(at + batch.num_rows, end)
        if first < last:
            yield batch.slice(first - at, last - first)
        at += batch.num_rows
        if at >= end:
            return


def _where(shard: ShardSpec) -> str:
    return f", row group {shard.row_group}"


def read_columns(file: SourceFile, shard: ShardSpec, names: Sequence[str]) -> dict[str, Any]:
    """Columns of a shard as Arrow arrays. Raises SourceError if they have other than the planned number of rows."""
    with planned(file) as opened, _opened(opened, file.path) as table, reading(file.path, _where(shard)):
        if _is_small_part(table, shard, names):
            with _GROUPS_LOCK:  # threads that want the same group wait for the one that reads it
                whole = _group(file.path, file.fingerprint, shard.row_group, tuple(names))
            columns = {name: column.slice(shard.group_row, shard.rows) for name, column in whole.items()}
            _check_rows(file, shard, min((len(column) for column in columns.values()), default=0))
            return columns
        batches = list(_batches(table, shard, names, _LINK_BATCH_ROWS))
        columns = (
            {name: pa.chunked_array([batch.column(name) for batch in batches]) for name in names} if batches else {}
        )
        for column in columns.values():
            column.validate()
        _check_rows(file, shard, sum(batch.num_rows for batch in batches))
    return columns


_GROUPS_LOCK: Final = threading.Lock()
_GROUP_BYTES_MAX: Final = 128 << 20
"""Columns of a row group that are kept for the next shard of it; twice that at most, for links and for details."""


def _is_small_part(table: Any, shard: ShardSpec, names: Sequence[str]) -> bool:
    """Whether it pays to read the whole row group once: its later shards would each be decoded from its start."""
    group = table.metadata.row_group(shard.row_group)
    chunks = [group.column(number) for number in range(group.num_columns)]
    size_bytes = sum(c.total_uncompressed_size for c in chunks if c.path_in_schema.partition(".")[0] in names)
    return bool(group.num_rows >= 2 * shard.rows and size_bytes <= _GROUP_BYTES_MAX)


@lru_cache(maxsize=2)
def _group(path: str, fingerprint: str, row_group: int, names: tuple[str, ...]) -> dict[str, Any]:  # noqa: ARG001
    """Columns of a whole row group. The fingerprint stands in the key only: another file has other rows."""
    with open_file(path) as file, _opened(file, path) as table, reading(path, f", row group {row_group}"):
        read = table.read_row_group(row_group, columns=list(names), use_threads=False)
        read.validate()
    return {name: read.column(name) for name in names}


def _check_rows(file: SourceFile, shard: ShardSpec, rows: int) -> None:
    if rows != shard.rows:
        raise SourceError(f"{shown(file.path)}{_where(shard)}: {rows} rows could be read of {shard.rows}")


def links(plan: Plan, shard: ShardSpec, want: Collection[Kind], *, with_urls: bool) -> LinkBatch:
    """The wanted digests, and the URLs, of a shard."""
    wanted = wanted_fields(want, with_urls=with_urls)
    named = {field: str(name) for field in wanted if (name := getattr(plan.columns, field)) is not None}
    columns = read_columns(plan.files[shard.file], shard, sorted(set(named.values()))) if named and shard.rows else {}
    by_field = {field: columns[name] for field, name in named.items() if name in columns}
    return batch_of_columns(by_field, shard.rows, want, with_urls=with_urls)


def images(plan: Plan, shard: ShardSpec) -> Iterator[ImageItem]:
    """The images of a shard. A row without bytes (null, or naming a file that lies elsewhere) is an empty one."""
    file, row, name = plan.files[shard.file], 0, str(plan.columns.image)
    with planned(file) as opened, _opened(opened, file.path) as table, reading(file.path, _where(shard)):
        for batch in _batches(table, shard, [name], _IMAGE_BATCH_ROWS):
            batch.validate()
            for value in _bytes_of(batch.column(name)):
                yield ImageItem(row, _content(value, plan.options.body_bytes_max))
                row += 1
        _check_rows(file, shard, row)


def _bytes_of(column: Any) -> Any:
    """The bytes of an image column; a null struct has null bytes."""
    return pc.struct_field(column, "bytes") if pa.types.is_struct(column.type) else column


def _content(value: Any, body_bytes_max: int) -> Content | Reason:
    buffer = value.as_buffer()
    if buffer is None or not buffer.size:
        return Reason.EMPTY
    return Reason.TOO_LARGE if buffer.size > body_bytes_max else Content(buffer.to_pybytes())


def details(plan: Plan, shard: ShardSpec, rows: Sequence[int]) -> list[RowDetails]:
    """The link, key and size that the table gives for some rows."""
    fields = [field for field in DETAILS if getattr(plan.columns, field) is not None]
    names = sorted({str(getattr(plan.columns, field)) for field in fields})
    columns = read_columns(plan.files[shard.file], shard, names) if names else {}
    return [
        details_of(row, {field: columns[getattr(plan.columns, field)][row].as_py() for field in fields}) for row in rows
    ]
