"""What the columns of a table mean, and rows and columns made into a batch.

Columns are recognised by name whatever their case, or mapped by the user. A value that cannot be what its column says
is reported by row and field, never raised: one bad cell must not hide the other rows. It reads no files.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from custodes.errors import SourceError
from custodes.model import URL_KINDS, Kind
from custodes.sources.base import WHOLE_ROW, ColumnMap, Digested, LinkBatch, RowDetails, SourceOptions
from custodes.sources.digests import decode_digests
from custodes.sources.files import shown
from custodes.url import url_digest

__all__ = [
    "DETAILS",
    "batch_of_columns",
    "batch_of_rows",
    "details_of",
    "fields_of",
    "json_record",
    "listed",
    "resolve_columns",
    "url_digests",
    "wanted_fields",
]

_EXACT_KINDS: Final = (Kind.MD5, Kind.SHA1, Kind.SHA256)

# LAION (https://laion.ai/blog/laion-5b), img2dataset (README, "Output format"), and what other tables of links say
_ALIASES: Final[dict[str, tuple[str, ...]]] = {
    "url": ("url", "image_url", "img_url", "image_link", "link", "uri", "src"),
    "md5": ("md5", "image_md5", "original_md5", "md5_hash", "hash_md5"),
    "sha1": ("sha1", "image_sha1", "original_sha1", "sha1_hash", "hash_sha1"),
    "sha256": ("sha256", "image_sha256", "original_sha256", "sha256_hash", "hash_sha256"),
    "key": ("hash", "key", "id"),
    "text": ("text", "caption", "alt"),
    "width": ("original_width", "width"),
    "height": ("original_height", "height"),
    "status": ("status",),
    "language": ("language", "lang"),
    "image": (),
}


DETAILS: Final = ("url", "key", "width", "height", "language")
"""What is read again of a row that is handed over."""


def resolve_columns(names: Sequence[str], options: SourceOptions, path: str) -> ColumnMap:
    """Which of these columns holds what.

    Raises SourceError for a mapped column that is not there, or a name that could mean two columns.
    """
    found = {field: _recognised(names, aliases, path) for field, aliases in _ALIASES.items()}
    for field, column in options.columns.items():
        if names.count(column) != 1:
            problem = "has no column" if column not in names else "has more than one column"
            raise SourceError(f"{shown(path)} {problem} {column!r} for {field}; its columns are {listed(names)}")
        found[field] = column
    return ColumnMap(**found)


def _recognised(names: Sequence[str], aliases: Iterable[str], path: str) -> str | None:
    for alias in aliases:
        same = [name for name in names if name.lower() == alias]
        if len(same) > 1:
            raise SourceError(f"{shown(path)} has more than one column {alias}", hint="map the one that you mean")
        if same:
            return same[0]
    return None


def listed(names: Sequence[str]) -> str:
    """Column names for an error: quoted, so that control characters in them show, and cut."""
    some = ", ".join(repr(name[:60]) for name in names[:50])
    return some + (f" and {len(names) - 50} more" if len(names) > 50 else "")


def url_digests(urls: Any, want: Collection[Kind]) -> dict[Kind, Digested]:
    """The wanted digests of URLs (an Arrow array of text).

    A URL that has no digest in a variant, and a null, has no row.
    """
    digests = {}
    for kind in (kind for kind in URL_KINDS if kind in want):
        texts = urls.to_pylist()
        pairs = [(row, code) for row, text in enumerate(texts) if text is not None and (code := url_digest(kind, text))]
        codes = np.frombuffer(b"".join(code for _, code in pairs), np.uint8).reshape(-1, kind.size_bytes)
        digests[kind] = Digested(np.array([row for row, _ in pairs], dtype=np.int64), codes)
    return digests


def _texts(column: Any) -> tuple[Any, list[int]]:
    """An Arrow column of URLs as valid text, and the rows that were not UTF-8 (nulls in the result)."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    array = array.cast(pa.large_binary())
    text = array.view(pa.large_string())
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        return _repaired(array)
    return text, []


def _repaired(array: Any) -> tuple[Any, list[int]]:
    values: list[str | None] = []
    bad = []
    for row, value in enumerate(array.to_pylist()):
        try:
            values.append(None if value is None else value.decode())
        except UnicodeDecodeError:
            values.append(None)
            bad.append(row)
    return pa.array(values, pa.large_string()), bad


def batch_of_columns(columns: Mapping[str, Any], rows: int, want: Collection[Kind], *, with_urls: bool) -> LinkBatch:
    """A batch from Arrow columns named by the fields of ``ColumnMap``. Only what is wanted is decoded."""
    malformed: dict[int, str] = {}
    digests: dict[Kind, Digested] = {}
    url = None
    for kind in (kind for kind in _EXACT_KINDS if kind in want and kind.value in columns):
        digests[kind], bad = decode_digests(columns[kind.value], kind)
        malformed.update(dict.fromkeys(bad.tolist(), kind.value))
    if "url" in columns:
        url, not_text = _texts(columns["url"])
        malformed.update(dict.fromkeys(not_text, "url"))
        digests.update(url_digests(url, want))
    return LinkBatch(rows, url if with_urls else None, columns.get("key"), digests, malformed)


def wanted_fields(want: Collection[Kind], *, with_urls: bool) -> tuple[str, ...]:
    """The fields of ``ColumnMap`` that a batch needs; the others are not looked at."""
    fields = [kind.value for kind in _EXACT_KINDS if kind in want]
    if with_urls or any(kind in want for kind in URL_KINDS):
        fields.append("url")
    return (*fields, "key") if with_urls else tuple(fields)


def batch_of_rows(rows: Sequence[Mapping[str, object] | None], want: Collection[Kind], *, with_urls: bool) -> LinkBatch:
    """A batch from rows that are mappings of fields of ``ColumnMap``; None is a row that cannot be read at all."""
    malformed = {row: WHOLE_ROW for row, values in enumerate(rows) if values is None}
    columns: dict[str, Any] = {}
    for field in wanted_fields(want, with_urls=with_urls):
        values = [None if row is None else row.get(field) for row in rows]
        if field == "key":
            values = [str(value) if isinstance(value, int) else value for value in values]
        bad = [row for row, value in enumerate(values) if value is not None and not isinstance(value, str)]
        malformed.update(dict.fromkeys(bad, field))
        columns[field] = pa.array([value if isinstance(value, str) else None for value in values], pa.large_string())
    batch = batch_of_columns(columns, len(rows), want, with_urls=with_urls)
    return LinkBatch(batch.rows, batch.url, batch.key, batch.digests, batch.malformed | malformed)


def fields_of(
    record: Mapping[str, Any], options: SourceOptions, fields: Collection[str] = tuple(_ALIASES)
) -> dict[str, Any]:
    """The fields of ``ColumnMap`` in one JSON record, by the same names as columns; of names that differ in case,
    the last.
    """
    by_name = {name.lower(): value for name, value in record.items()}
    found = {}
    for field in fields:
        if field in options.columns:
            found[field] = record.get(options.columns[field])
            continue
        for alias in _ALIASES[field]:
            if (value := by_name.get(alias)) is not None:
                found[field] = value
                break
    return found


def as_number(value: object) -> int | None:
    """A width or height as a whole number, whatever spelt it; None if it is none."""
    try:
        return int(value) if isinstance(value, int | float | str) else None
    except (ValueError, OverflowError):
        return None


def details_of(row: int, values: Mapping[str, Any] | None, name: str | None = None) -> RowDetails:
    """What the fields of a row say of where it stands; values of the wrong type are left out."""
    values = values or {}
    url, key, language = values.get("url"), values.get("key"), values.get("language")
    if isinstance(url, bytes):
        url = url.decode(errors="backslashreplace")
    return RowDetails(
        row=row,
        url=url if isinstance(url, str) else None,
        key=str(key) if isinstance(key, str | int) else None,
        name=name,
        width=as_number(values.get("width")),
        height=as_number(values.get("height")),
        language=language if isinstance(language, str) else None,
    )


_RECORD = msgspec.json.Decoder(dict[str, Any])


def json_record(line: bytes) -> dict[str, Any] | None:
    """A JSON object, or None for anything else."""
    try:
        return _RECORD.decode(line)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
