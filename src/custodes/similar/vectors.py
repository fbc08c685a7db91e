"""Vectors that ship with a dataset: ``.npy`` files, or a list column of parquet files. Found, checked, and read in order, each byte once.

Promises that what is not a plain table of fp16, fp32 or int8 vectors of one dimension is refused before anything is read of it (nothing is ever unpickled),
that memory is bounded by the block (of parquet also by the pages that are open), and that a row's number is its place in the files sorted by name. Which
metadata belongs to which vectors is told by count and number alone; docs/formats/vectors.md says what that cannot notice.
"""

from __future__ import annotations

import ast
import hashlib
import math
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from custodes.errors import SourceError
from custodes.similar.arithmetic import DIMENSION_MAX, DTYPES
from custodes.sources.files import find, is_local, open_file, read_exactly, reading, shown, size_of

__all__ = ["Block", "Piece", "VectorShard", "aligned", "load_vectors", "metadata_files", "npy_shard", "vector_shards"]

HEADER_BYTES_MAX: Final = 4096
LOADED_BYTES_MAX: Final = 1 << 30  # of seeds
_FOLDER: Final = "img_emb"  # of clip-retrieval, which LAION used
_METADATA: Final = "metadata"
_LISTS: Final = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)


class Block(NamedTuple):
    """Consecutive rows of a shard: the places, from its first row, of those that have a vector, and the vectors."""

    rows: npt.NDArray[np.int64]
    vectors: npt.NDArray[Any]
    missing: int


Piece = Callable[[bytearray], Block]
"""Reads a block; into the memory that it is given, where the file allows it. Pieces may be read by several threads at once."""


@dataclass(frozen=True)
class VectorShard:
    """One file of vectors. ``head`` tells it from others: a digest of its first bytes. ``offset``: where vectors start; ``column``: of parquet."""

    path: str
    size_bytes: int
    rows: int
    dimension: int
    dtype: np.dtype[Any]
    head: str
    offset: int = 0
    column: str | None = None

    @property
    def row_bytes(self) -> int:
        """Bytes of a vector."""
        return self.dimension * self.dtype.itemsize

    def pieces(self, rows_max: int) -> Iterator[Piece]:
        """What reads the file, block by block. Raises SourceError, and so do they, where it is no longer what it was."""
        yield from self._batches(rows_max) if self.column else self._ranges(rows_max)

    def _ranges(self, rows_max: int) -> Iterator[Piece]:
        file = _Positioned(self.path)
        if file.size_bytes != self.size_bytes:
            raise SourceError(f"{shown(self.path)} changed since it was planned", hint="start anew")
        for first in range(0, self.rows, rows_max):
            yield self._range(file, first, min(rows_max, self.rows - first))

    def _range(self, file: _Positioned, first: int, count: int) -> Piece:
        def read(memory: bytearray) -> Block:
            view = memoryview(memory)[: count * self.row_bytes]
            file.read_into(view, self.offset + first * self.row_bytes)
            vectors = np.frombuffer(view, dtype=self.dtype).reshape(count, self.dimension)
            return Block(np.arange(first, first + count), vectors, 0)

        return read

    def _batches(self, rows_max: int) -> Iterator[Piece]:
        first = 0
        with open_file(self.path) as file, reading(self.path):
            for batch in _parquet(file).iter_batches(rows_max, columns=[self.column], use_threads=False):
                block = self._unlisted(batch.column(0), first)
                first += len(batch)
                yield partial(_given, block)
        if first != self.rows:
            raise SourceError(f"{shown(self.path)} has {first:,} rows, and says that it has {self.rows:,}")

    def _unlisted(self, lists: Any, first: int) -> Block:
        there = lists.is_valid().to_numpy(zero_copy_only=False)
        rows = first + np.flatnonzero(there)
        lists = lists.drop_null()
        wrong = pc.not_equal(pc.list_value_length(lists), self.dimension).to_numpy(zero_copy_only=False)
        if wrong.any():
            raise SourceError(
                f"{shown(self.path)}, row {rows[np.argmax(wrong)]:,}: its vector does not have {self.dimension:,} numbers"
            )
        numbers = lists.flatten()
        if numbers.null_count and self.dtype.kind == "i":
            raise SourceError(f"{shown(self.path)}: a vector of int8 has a number that is null")
        vectors = numbers.to_numpy(zero_copy_only=False).astype(self.dtype, copy=False)  # null becomes "not a number"
        return Block(rows, vectors.reshape(-1, self.dimension), len(there) - len(rows))


def _given(block: Block, _: bytearray) -> Block:
    return block


class _Positioned:
    """A file that several threads read at once, each at its own place. Closed when the last piece of it is gone."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = open_file(path)
        self._lock = None if is_local(path) else threading.Lock()
        with reading(path):
            self.size_bytes = size_of(self._file)
            if self._lock is None and hasattr(os, "posix_fadvise"):
                os.posix_fadvise(self._file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()

    def read_into(self, view: memoryview, offset: int) -> None:
        """Fill ``view`` from there."""
        with reading(self._path):
            while view:
                if not (count := self._read_some(view, offset)):
                    raise SourceError(f"{shown(self._path)} is truncated")
                view, offset = view[count:], offset + count

    def _read_some(self, view: memoryview, offset: int) -> int:
        if self._lock is None:
            return os.preadv(self._file.fileno(), [view], offset)
        with self._lock:
            self._file.seek(offset)
            data = self._file.read(len(view))
        view[: len(data)] = data
        return len(data)


# --- finding and checking ---


def vector_shards(source: str, column: str | None = None) -> list[VectorShard]:
    """The files of vectors that a path, folder or pattern names, sorted by name. In the layout of LAION and clip-retrieval those in ``img_emb``.

    Raises SourceError where there are none, or where they do not have one dimension.
    """
    suffix = ".parquet" if column else ".npy"
    if _is_laion(source) and not column:
        source = str(Path(source, _FOLDER))
    paths = find(source)
    paths = paths if len(paths) == 1 else [path for path in paths if path.endswith(suffix)]
    if not paths:
        hint = "--column names a list column of parquet files" if not column else None
        raise SourceError(f"{shown(source)} holds no {suffix} file", hint=hint)
    shards = [_column_shard(path, column) if column else npy_shard(path) for path in paths]
    for shard in shards:
        if shard.dimension != shards[0].dimension:
            raise SourceError(
                f"{shown(shard.path)} has vectors of {shard.dimension:,} numbers, {shown(shards[0].path)} of {shards[0].dimension:,}",
                hint="name the files of one model, with a pattern",
            )
    return shards


def metadata_files(source: str) -> list[str]:
    """The parquet files beside ``img_emb``; none in any other layout."""
    folder = Path(source, _METADATA)
    return find(str(folder)) if _is_laion(source) and folder.is_dir() else []


def _is_laion(source: str) -> bool:
    return is_local(source) and Path(source, _FOLDER).is_dir()


def load_vectors(path: str) -> npt.NDArray[Any]:
    """All vectors of a small ``.npy`` file. Raises SourceError."""
    shard = npy_shard(path)
    if shard.rows * shard.row_bytes > LOADED_BYTES_MAX:
        raise SourceError(f"{shown(path)} is larger than {LOADED_BYTES_MAX >> 20:,} MiB")
    blocks = [piece(bytearray(shard.rows * shard.row_bytes)) for piece in shard.pieces(max(1, shard.rows))]
    return blocks[0].vectors if blocks else np.empty((0, shard.dimension), dtype=shard.dtype)


def npy_shard(path: str) -> VectorShard:
    """One ``.npy`` file. Raises SourceError where it is not what is read here."""
    with open_file(path) as file, reading(path):
        size_bytes = size_of(file)
        head = file.read(HEADER_BYTES_MAX)
    descr, in_columns, shape, offset = _npy_header(head, path)
    dtype = next((each for each in DTYPES if each.str == descr), None)
    if dtype is None:
        said = "objects, which are never unpickled" if "O" in descr else shown(descr)
        raise SourceError(f"{shown(path)} holds {said}", hint="vectors must be fp16, fp32 or int8, little-endian")
    if len(shape) != 2 or not 1 <= shape[1] <= DIMENSION_MAX or shape[0] < 0:
        raise SourceError(
            f"{shown(path)} has the shape {shape}: not one vector of 1 to {DIMENSION_MAX:,} numbers a row"
        )
    if in_columns and 1 not in shape:
        raise SourceError(f"{shown(path)} is stored by columns", hint="store it again with numpy.ascontiguousarray")
    expected = offset + math.prod(shape) * dtype.itemsize
    if size_bytes != expected:
        how = "truncated" if size_bytes < expected else "too long"
        raise SourceError(f"{shown(path)} is {how}: it has {size_bytes:,} bytes, and its header says {expected:,}")
    return VectorShard(path, size_bytes, *shape, dtype, hashlib.sha256(head).hexdigest(), offset)


def _npy_header(head: bytes, path: str) -> tuple[str, bool, tuple[int, ...], int]:
    """Type, whether columns come first, shape, and where the vectors start. The header is a literal, and read as one: no code in it runs."""
    width = {b"\x93NUMPY\x01\x00": 2, b"\x93NUMPY\x02\x00": 4}.get(head[:8])
    start = 8 + (width or 0)
    end = start + int.from_bytes(head[8:start], "little")
    try:
        if width is None or end > len(head):
            raise ValueError
        said = ast.literal_eval(head[start:end].decode("ascii").strip())
        descr, in_columns, shape = said.pop("descr"), said.pop("fortran_order"), said.pop("shape")
        if said or type(in_columns) is not bool or type(shape) is not tuple or {*map(type, shape)} - {int}:
            raise ValueError
    except (ValueError, TypeError, KeyError, AttributeError, SyntaxError, RecursionError, MemoryError):
        hint = f"it may take {HEADER_BYTES_MAX:,} bytes"
        raise SourceError(f"{shown(path)} has no header of an .npy file, version 1 or 2", hint=hint) from None
    return descr if isinstance(descr, str) else "fields", in_columns, shape, end


def _parquet(file: BinaryIO) -> Any:
    return pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20)


def _column_shard(path: str, column: str) -> VectorShard:
    with open_file(path) as file, reading(path):
        size_bytes = size_of(file)
        head = read_exactly(file, min(HEADER_BYTES_MAX, size_bytes), path)
        file.seek(0)
        table = _parquet(file)
        if column not in table.schema_arrow.names:
            raise SourceError(f"{shown(path)} has no column of the name that --column gives")
        kind = table.schema_arrow.field(column).type
        dtype = _list_dtype(kind)
        if dtype is None:
            raise SourceError(f"{shown(path)}: the column is no list of fp16, fp32 or int8")
        dimension = kind.list_size if pa.types.is_fixed_size_list(kind) else _first_length(table, column)
        rows = table.metadata.num_rows
    if not 1 <= dimension <= DIMENSION_MAX:
        raise SourceError(f"{shown(path)}: its vectors do not have 1 to {DIMENSION_MAX:,} numbers")
    return VectorShard(path, size_bytes, rows, dimension, dtype, hashlib.sha256(head).hexdigest(), column=column)


def _list_dtype(kind: Any) -> np.dtype[Any] | None:
    known: dict[Any, np.dtype[Any]] = {pa.float16(): DTYPES[0], pa.float32(): DTYPES[1], pa.int8(): DTYPES[2]}
    return known.get(kind.value_type) if any(is_it(kind) for is_it in _LISTS) else None


def _first_length(table: Any, column: str) -> int:
    """Numbers of the first vector there is; 0 where there is none."""
    for batch in table.iter_batches(1024, columns=[column], use_threads=False):
        lengths = pc.list_value_length(batch.column(0)).drop_null()
        if len(lengths):
            return int(lengths[0].as_py())
    return 0


# --- metadata ---


def aligned(shards: Sequence[VectorShard], metadata: Sequence[str]) -> dict[str, str]:
    """The metadata file of each file of vectors: that of the same number, which must have as many rows. Raises SourceError for metadata of another dataset."""
    vectors, tables = _by_number([each.path for each in shards]), _by_number(metadata)
    if alone := sorted(vectors.keys() ^ tables.keys()):
        have, lack = ("vectors", "metadata") if alone[0] in vectors else ("metadata", "vectors")
        raise SourceError(
            f"number {alone[0]} has {have} and no {lack}, {len(alone):,} numbers in all have one of them",
            hint="is it the metadata of another dataset, or is a file missing?",
        )
    for shard in shards:
        table = tables[_number(shard.path)]
        with open_file(table) as file, reading(table):
            rows = pq.ParquetFile(file, pre_buffer=False).metadata.num_rows
        if rows != shard.rows:
            raise SourceError(
                f"{shown(shard.path)} has {shard.rows:,} vectors, {shown(table)} {rows:,} rows",
                hint="it is the metadata of another dataset, or of another version of this one",
            )
    return {shard.path: tables[_number(shard.path)] for shard in shards}


def _by_number(paths: Sequence[str]) -> dict[int, str]:
    found: dict[int, str] = {}
    for path in paths:
        other = found.setdefault(_number(path), path)
        if other != path:
            raise SourceError(
                f"{shown(other)} and {shown(path)} have the same number", hint="name the files of one set"
            )
    return found


def _number(path: str) -> int:
    match = re.search(r"([0-9]{1,18})$", Path(path).stem)
    if not match:
        raise SourceError(f"{shown(path)} ends in no number that vectors and metadata could share")
    return int(match.group(1))
