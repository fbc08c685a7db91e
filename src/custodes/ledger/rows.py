"""The rows of a shard file: one line per item, in the order of the shard, with its outcome and the digests that were computed.

Digests that the dataset brought along are not repeated here: the dataset has them. A line says nothing about matches.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from custodes.model import Kind, Reason

__all__ = ["REASON_ORDER", "SCHEMA", "RowsBuilder", "digest_arrays", "fits_schema", "outcome_counts", "outcomes_table"]

REASON_ORDER: Final = tuple(Reason)

_PDQ = pa.list_(
    pa.struct([("frame", pa.int32()), ("quality", pa.uint8()), ("code", pa.binary(32)), ("reflections", pa.binary(96))])
)

SCHEMA: Final = pa.schema(
    [
        ("reason", pa.dictionary(pa.uint8(), pa.string())),
        ("attempts", pa.uint8()),
        ("status", pa.int16()),
        ("size_bytes", pa.int64()),
        ("fetched_at", pa.timestamp("s", tz="UTC")),
        ("format", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("md5", pa.binary(16)),
        ("sha1", pa.binary(20)),
        ("sha256", pa.binary(32)),
        ("pdq", _PDQ),
        ("decode_policy", pa.dictionary(pa.int8(), pa.string())),
    ]
)
"""Columns of a shard file of pass "bytes". A shard file of pass "columns" alone holds only ``reason``."""


class RowsBuilder:
    """Collects lines by position and gives the table once every position has its outcome."""

    def __init__(self, rows: int) -> None:
        self._columns: dict[str, list[Any]] = {name: [None] * rows for name in SCHEMA.names}

    def set(self, row: int, **values: Any) -> None:
        """Set some columns of a row. Unknown names are an error."""
        for name, value in values.items():
            self._columns[name][row] = value

    def reason(self, row: int) -> Reason | None:
        """The outcome of a row so far."""
        value: Reason | None = self._columns["reason"][row]
        return value

    def has_digests(self, row: int) -> bool:
        """Whether bytes of the row were seen."""
        return self._columns["md5"][row] is not None

    def table(self) -> pa.Table:
        """The finished table, in ``SCHEMA``. Rows whose outcome was never set stay null, and the ledger refuses them."""
        plain = {name: plain_type(SCHEMA.field(name).type) for name in SCHEMA.names}
        arrays = [pa.array(self._columns[name], plain[name]).cast(SCHEMA.field(name).type) for name in SCHEMA.names]
        return pa.Table.from_arrays(arrays, schema=SCHEMA)

    @classmethod
    def from_table(cls, table: pa.Table) -> RowsBuilder:
        """Go on from a committed table (to try failed rows again)."""
        builder = cls(table.num_rows)
        for name in table.column_names:
            builder._columns[name] = table[name].to_pylist()
        return builder


def fits_schema(schema: pa.Schema) -> bool:
    """Whether a shard file has only columns of ``SCHEMA``, with their types (how a dictionary is indexed aside)."""
    known = stored_types()
    return all(known.get(field.name) == plain_type(field.type) for field in schema)


@lru_cache(maxsize=1)
def stored_types() -> dict[str, pa.DataType]:
    """The types of ``SCHEMA`` as parquet gives them back: it has its own names for the items of a list."""
    sink = pa.BufferOutputStream()
    pq.write_table(SCHEMA.empty_table(), sink)
    return {field.name: plain_type(field.type) for field in pq.read_schema(pa.BufferReader(sink.getvalue()))}


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type of a dictionary's values, any other type itself."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def outcomes_table(codes: np.ndarray[Any, np.dtype[np.uint8]]) -> pa.Table:
    """A table of outcomes alone; ``codes`` uint8[rows] are positions in ``REASON_ORDER``."""
    names = pa.array([reason.value for reason in REASON_ORDER])
    return pa.table({"reason": pa.DictionaryArray.from_arrays(pa.array(codes, pa.uint8()), names)})


def outcome_counts(table: pa.Table) -> dict[Reason, int]:
    """How many rows ended with which reason; rows without one are not counted."""
    if table.num_rows == 0:
        return {}
    column = table["reason"].combine_chunks()
    counted = pc.value_counts(column.cast(pa.string()) if len(column) < 1000 else column)
    pairs = zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True)
    return {Reason(name): count for name, count in sorted(p for p in pairs if p[0] is not None)}


def digest_arrays(table: pa.Table) -> dict[Kind, tuple[Any, ...]]:
    """The computed digests of a table, by kind, as arrays: items int64[n] (positions), codes uint8[n, size];

    for pdq codes with their reflections, uint8[n, 128], and also quality int64[n].
    """
    if "md5" not in table.column_names:
        return {}
    found: dict[Kind, tuple[Any, ...]] = {}
    for kind in (Kind.MD5, Kind.SHA1, Kind.SHA256):
        column = table[kind.value].combine_chunks()
        items = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False)).astype(np.int64)
        found[kind] = (items, fixed_bytes(column.drop_null(), kind.size_bytes))
    lists = table["pdq"].combine_chunks()
    values = lists.flatten()
    items = np.repeat(np.arange(len(lists), dtype=np.int64), pc.fill_null(pc.list_value_length(lists), 0).to_numpy())
    quality = values.field("quality").to_numpy(zero_copy_only=False).astype(np.int64)
    codes = fixed_bytes(values.field("code"), Kind.PDQ.size_bytes)
    reflections = fixed_bytes(values.field("reflections"), 3 * Kind.PDQ.size_bytes)
    found[Kind.PDQ] = (items, np.concatenate([codes, reflections], axis=1), quality)
    return found


def fixed_bytes(column: Any, size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A fixed-size binary array without nulls as uint8[n, size]."""
    data = np.frombuffer(column.buffers()[1] or b"", dtype=np.uint8)
    start = column.offset * size
    return data[start : start + len(column) * size].reshape(len(column), size)
