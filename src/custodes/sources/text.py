"""CSV, TSV and JSON Lines tables of links, plain or gzip: cutting the bytes into rows, and the rows into fields.

Rows are conserved: whatever a row holds, it is one row, and the rows after it stay where they are. A row that cannot be
read is None and becomes a malformed row. Blank lines hold nothing and are no rows. Planning passes once over the file
and records where shards start, so that reading one need not read those before it; inside gzip the bytes before it must
still be unpacked.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, BinaryIO, Final, NamedTuple

from custodes.errors import SourceError
from custodes.model import Kind
from custodes.sources.base import ColumnMap, Format, LinkBatch, Plan, RowDetails, ShardSpec, SourceOptions
from custodes.sources.columns import (
    DETAILS,
    batch_of_rows,
    details_of,
    fields_of,
    json_record,
    listed,
    resolve_columns,
    wanted_fields,
)
from custodes.sources.files import open_file, reading, shown, size_of, skip, unpacked

__all__ = ["Slice", "cells", "details", "extents", "links", "slices", "text_columns"]

_BOM: Final = b"\xef\xbb\xbf"
_SAMPLE_ROWS: Final = 1000
_SHARD_ROWS_MAX: Final = 100_000  # the rows of a shard are Python objects of about a kilobyte each, all at once

Row = dict[str, Any] | None


class Slice(NamedTuple):
    """Where a shard of a text table lies: its first row in the file, its rows, and its bytes of the unpacked file."""

    first_row: int
    rows: int
    offset_bytes: int
    size_bytes: int


class _Record(NamedTuple):
    """One row of bytes as it stands in the file.

    ``data`` is None for one that is too long; after ``cut`` a shard may end.
    """

    data: bytes | None
    size_bytes: int
    cut: bool = True


def _lines(file: BinaryIO, row_bytes_max: int) -> Iterator[_Record]:
    """Physical lines. An over-long one is passed over without being held."""
    while line := file.readline(row_bytes_max + 2):
        size_bytes = len(line)
        if size_bytes < row_bytes_max + 2 or line.endswith(b"\n"):
            long = len(line.rstrip(b"\r\n")) > row_bytes_max
            yield _Record(None if long else line, size_bytes)
            continue
        while (more := file.readline(1 << 20)) and not more.endswith(b"\n"):
            size_bytes += len(more)
        yield _Record(None, size_bytes + len(more))


def _open_quote(line: bytes, delimiter: int, *, inside: bool) -> bool:
    """Whether a quoted field is still open at the end of the line.

    A quote opens a field only at its start (RFC 4180 section 2.5 to 2.7).
    """
    at, size = 0, len(line)
    while at < size:
        if not inside:
            if line[at] != 0x22:
                at = line.find(delimiter, at)
                if at < 0:
                    return False
                at += 1
                continue
            at += 1
        at = line.find(b'"', at)
        if at < 0:
            return True
        inside = at + 1 < size and line[at + 1] == 0x22
        at += 2 if inside else 1
        if not inside:  # what follows a closing quote belongs to the field, quotes and all
            at = line.find(delimiter, at)
            if at < 0:
                return False
            at += 1
    return inside


def _csv_records(file: BinaryIO, delimiter: int, row_bytes_max: int) -> Iterator[_Record]:
    """Rows whose quoted fields may hold line ends.

    A quote that never closes would swallow the rest of the file. When a row grows over the limit, each line of it
    stands for itself instead, so that every byte is looked at twice at most. A shard must not end among those lines:
    read from there on, they would look otherwise.
    """
    lines = _lines(file, row_bytes_max)
    held: list[_Record] = []
    held_bytes, inside = 0, False
    for line in lines:
        if not held and (line.data is None or b'"' not in line.data):
            yield line
            continue
        held.append(line)
        held_bytes += line.size_bytes
        inside = line.data is not None and _open_quote(line.data, delimiter, inside=inside)
        if line.data is None or held_bytes > row_bytes_max:
            yield from (record._replace(cut=False) for record in held[:-1])
            yield held[-1]
        elif not inside:
            yield _Record(b"".join(record.data or b"" for record in held), held_bytes)
        else:
            continue
        held, held_bytes, inside = [], 0, False
    yield from (record._replace(cut=False) for record in held)


def _records(file: BinaryIO, form: Format, options: SourceOptions) -> Iterator[_Record]:
    if form is Format.JSONL:
        return _lines(file, options.row_bytes_max)
    return _csv_records(file, _delimiter(form), options.row_bytes_max)


def _delimiter(form: Format) -> int:
    return 0x09 if form is Format.TSV else 0x2C


def _is_blank(record: _Record) -> bool:
    return record.data is not None and not record.data.strip(b"\r\n")


def _csv_fields(data: bytes | None, form: Format) -> list[str] | None:
    """The fields of one row, or None if it is none: not UTF-8, a NUL, or a quote that does not close."""
    if data is None or b"\0" in data or (b'"' in data and _open_quote(data, _delimiter(form), inside=False)):
        return None
    try:
        return next(csv.reader((data.decode(),), delimiter=chr(_delimiter(form))), None)
    except (UnicodeDecodeError, csv.Error):
        return None


@contextmanager
def _table(path: str, options: SourceOptions, size_bytes: int | None = None) -> Iterator[BinaryIO]:
    """The unpacked bytes of a table; checked to be of the planned size if one is given."""
    with open_file(path) as file, reading(path):
        if size_bytes is not None and size_of(file) != size_bytes:
            raise SourceError(f"{shown(path)} changed since the scan was planned", hint="plan the scan anew")
        yield unpacked(file, path, options)


class _Header(NamedTuple):
    """The columns of a table, and where its rows begin (past a byte order mark and the line that names the columns)."""

    names: list[str]
    size_bytes: int


def _header(path: str, form: Format, options: SourceOptions) -> _Header:
    with _table(path, options) as file:
        mark_bytes = 3 if file.read(3) == _BOM else 0
    with _table(path, options) as file:
        skip(file, mark_bytes, path)
        if form is Format.JSONL:
            return _Header(_sampled_names(file, options), mark_bytes)
        size_bytes = mark_bytes
        for record in _records(file, form, options):
            size_bytes += record.size_bytes
            if _is_blank(record):
                continue
            names = _csv_fields(record.data, form)
            if names is None:
                raise SourceError(f"{shown(path)}: its first line cannot be read as {form.value}")
            return _Header(names, size_bytes) if options.header else _Header(_positions(names), mark_bytes)
    raise SourceError(f"{shown(path)} is empty", hint="a table begins with a line that names its columns")


def _positions(row: Sequence[str]) -> list[str]:
    return [str(position) for position in range(len(row))]


def _sampled_names(file: BinaryIO, options: SourceOptions) -> list[str]:
    """The names in the first rows of a JSON Lines table, in order of appearance."""
    names: dict[str, None] = {}
    for record in islice(_lines(file, options.row_bytes_max), _SAMPLE_ROWS):
        names.update(dict.fromkeys(json_record(record.data or b"") or ()))
    return list(names)


def text_columns(path: str, form: Format, options: SourceOptions) -> ColumnMap:
    """Which column of the table holds what."""
    names = _header(path, form, options).names
    if form is Format.JSONL:  # spellings may differ from row to row, which is no ambiguity
        mapped = set(options.columns.values())
        first = {name.lower(): name for name in reversed(names)}
        names = [name for name in names if name in mapped or first[name.lower()] == name]
    return resolve_columns(names, options, path)


def slices(path: str, form: Format, options: SourceOptions) -> Iterator[Slice]:
    """Cut a table into shards, in one pass over it."""
    offset_bytes = start_bytes = _header(path, form, options).size_bytes
    first_row = rows = 0
    rows_max = min(options.shard_rows_max, _SHARD_ROWS_MAX)
    with _table(path, options) as file:
        skip(file, offset_bytes, path)
        for record in _records(file, form, options):
            offset_bytes += record.size_bytes
            rows += not _is_blank(record)
            if rows >= rows_max and record.cut:
                yield Slice(first_row, rows, start_bytes, offset_bytes - start_bytes)
                first_row, rows, start_bytes = first_row + rows, 0, offset_bytes
    if rows:
        yield Slice(first_row, rows, start_bytes, offset_bytes - start_bytes)


def extents(path: str, form: Format, options: SourceOptions) -> Iterator[tuple[int, bool]]:
    """The bytes of a table, cut: how many, and whether they are a row.

    The first are those before the first row; blank lines are no rows.
    """
    offset_bytes = _header(path, form, options).size_bytes
    yield offset_bytes, False
    with _table(path, options) as file:
        skip(file, offset_bytes, path)
        for record in _records(file, form, options):
            yield record.size_bytes, not _is_blank(record)


def _shard_records(plan: Plan, shard: ShardSpec) -> Iterator[_Record]:
    """The rows of a shard as bytes. Raises SourceError if they are not as many, or not as long, as was planned."""
    file = plan.files[shard.file]
    rows = size_bytes = 0
    with _table(file.path, plan.options, file.size_bytes) as opened:
        if opened.seekable():
            opened.seek(shard.offset_bytes)
        else:
            skip(opened, shard.offset_bytes, file.path)
        for record in _records(opened, plan.format, plan.options):
            size_bytes += record.size_bytes
            if not _is_blank(record):
                rows += 1
                yield record
                if shard.stops_short and rows == shard.rows:
                    return
            if size_bytes >= shard.size_bytes:
                break
    if rows != shard.rows or size_bytes != shard.size_bytes:
        raise SourceError(f"{shown(file.path)}: {rows} rows could be read of {shard.rows} from row {shard.first_row}")


def _rows(plan: Plan, shard: ShardSpec, wanted: Collection[str]) -> Iterator[Row]:
    """The rows of a shard as fields of ``ColumnMap``."""
    if plan.format is Format.JSONL:
        for record in _shard_records(plan, shard):
            values = json_record(record.data or b"")
            yield None if values is None else fields_of(values, plan.options, wanted)
        return
    names = _header(plan.files[shard.file].path, plan.format, plan.options).names
    places = {
        field: names.index(column)
        for field in wanted
        if (column := getattr(plan.columns, field)) is not None and column in names
    }
    for record in _shard_records(plan, shard):
        fields = _csv_fields(record.data, plan.format)
        if fields is None or len(fields) != len(names):
            yield None
        else:
            yield {field: fields[place] or None for field, place in places.items()}


def cells(plan: Plan, shard: ShardSpec, columns: Sequence[str]) -> Iterator[Row]:
    """Columns of a shard, row by row, by the names that the table has for them; of JSON Lines what a row has. Empty cells are None.

    Raises SourceError for a column that a table has not, or has twice.
    """
    path = plan.files[shard.file].path
    if plan.format is Format.JSONL:
        yield from (json_record(record.data or b"") for record in _shard_records(plan, shard))
        return
    names = _header(path, plan.format, plan.options).names
    for column in columns:
        if names.count(column) != 1:
            raise SourceError(f"{shown(path)} has not one column {column!r}; its columns are {listed(names)}")
    for record in _shard_records(plan, shard):
        fields = _csv_fields(record.data, plan.format)
        good = fields is not None and len(fields) == len(names)
        yield {column: fields[names.index(column)] or None for column in columns} if fields and good else None


def links(plan: Plan, shard: ShardSpec, want: Collection[Kind], *, with_urls: bool) -> LinkBatch:
    """The wanted digests, and the URLs, of a shard."""
    wanted = wanted_fields(want, with_urls=with_urls)
    return batch_of_rows(list(_rows(plan, shard, wanted)), want, with_urls=with_urls)


def details(plan: Plan, shard: ShardSpec, rows: Sequence[int]) -> list[RowDetails]:
    """The link, key and size that the table gives for some rows."""
    asked = set(rows)
    found = {row: details_of(row, values) for row, values in enumerate(_rows(plan, shard, DETAILS)) if row in asked}
    return [found[row] for row in rows]
