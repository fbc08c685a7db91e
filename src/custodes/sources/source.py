"""The four verbs of a source: plan it, read the links of a shard, take its images, look up the rows of findings.

Whatever the format, the same four calls; each format has a file of its own beside this one. Hostile input gives a
``SourceError`` that names the file (and the shard or row), creates no file, and never passes for an empty shard: a
shard that yields other than the planned number of rows is an error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from custodes.errors import InternalError, SourceError
from custodes.model import Kind
from custodes.sources import folder, parquet, sidecars, tar, text
from custodes.sources.base import (
    ROWS_UNKNOWN,
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
from custodes.sources.files import exists, find, is_local, open_file, reading, shown, source_file, unpacked

__all__ = ["iter_images", "plan", "read_links", "row_details"]

_TEXT: Final = (Format.CSV, Format.TSV, Format.JSONL)
_PARQUET: Final = (Format.PARQUET_LINKS, Format.PARQUET_IMAGES)
_TARS: Final = (Format.TAR, Format.IMG2DATASET)
_SUFFIXES: Final = {
    ".parquet": Format.PARQUET_LINKS,
    ".pq": Format.PARQUET_LINKS,
    ".tar": Format.TAR,
    ".tgz": Format.TAR,
    ".csv": Format.CSV,
    ".tsv": Format.TSV,
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
}
_IMAGE_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".avif", ".bmp", ".tif", ".tiff", ".jxl", ".heic")
_SHARDS_MAX: Final = 10_000_000


class _Part(NamedTuple):
    """One file of a plan, before shards are numbered."""

    file: SourceFile
    shards: tuple[ShardSpec, ...]
    columns: ColumnMap
    format: Format
    not_items: int = 0


def plan(source: str, options: SourceOptions) -> Plan:
    """Find the files of ``source`` (path, folder, pattern, http(s)://, s3://), their format and columns; cut into
    shards.

    Raises SourceError for what is no source, cannot be recognised, lacks a mapped column, or holds nothing.
    """
    form, paths = _recognised(source, options)
    parts = [_part(path, form, options) for path in paths]
    form, columns = parts[0].format, parts[0].columns
    for part in parts:
        _check_alike(parts[0], part)
    if not form.holds_images and columns.url is None and not columns.digest_columns():
        raise SourceError(f"{shown(source)} has no column with links or digests", hint="map one: url=NAME or md5=NAME")
    shards = _numbered(parts)
    if not shards:
        raise SourceError(f"{shown(source)} holds no {'image' if form.holds_images else 'row'}")
    counts = [shard.rows for shard in shards]
    return Plan(
        format=form,
        files=tuple(part.file for part in parts),
        shards=shards,
        columns=columns,
        rows=ROWS_UNKNOWN if ROWS_UNKNOWN in counts else sum(counts),
        options=options,
        not_items=sum(part.not_items for part in parts),
    )


def _numbered(parts: Sequence[_Part]) -> tuple[ShardSpec, ...]:
    """The shards of all files, numbered, each pointing to its file."""
    placed = ((number, shard) for number, part in enumerate(parts) for shard in part.shards)
    return tuple(
        msgspec.structs.replace(shard, index=index, file=number) for index, (number, shard) in enumerate(placed)
    )


def _check_alike(first: _Part, part: _Part) -> None:
    """Every file has the columns of the first: a part without them would pass for one whose rows have no digests."""
    if part.format is not first.format:
        raise SourceError(f"{shown(part.file.path)} is {part.format.value}, unlike the first file")
    if first.format in (Format.JSONL, *_TARS):  # there every row says for itself
        return
    ours, theirs = first.columns, part.columns
    if (ours.url, ours.image, ours.digest_columns()) != (theirs.url, theirs.image, theirs.digest_columns()):
        raise SourceError(f"{shown(part.file.path)} has other columns for links or digests than the first file")


def _recognised(source: str, options: SourceOptions) -> tuple[Format, list[str]]:
    """The format of a source and the files to read; a folder of images is one file."""
    is_folder = is_local(source) and Path(source.removeprefix("file://")).is_dir()
    if options.format is Format.FOLDER:
        return Format.FOLDER, [_root(source, is_folder=is_folder)]
    paths = find(source)
    if len(paths) == 1 and not is_folder:
        return options.format or _by_content(paths[0]), paths
    by_format = _sorted_out(paths)
    if options.format:
        chosen = [path for form in _kin(options.format) for path in by_format.get(form, [])]
        return options.format, chosen if is_folder and chosen else paths
    return _by_names(source, by_format, is_folder=is_folder)


def _root(source: str, *, is_folder: bool) -> str:
    if not is_folder:
        raise SourceError(f"{shown(source)} is no folder on this machine")
    return str(Path(source.removeprefix("file://")).absolute())


def _kin(form: Format) -> tuple[Format, ...]:
    """Formats whose files have the same suffix as this one's."""
    if form in _PARQUET:
        return (Format.PARQUET_LINKS,)
    return (Format.TAR,) if form in _TARS else (form,)


def _sorted_out(paths: Sequence[str]) -> dict[Format | None, list[str]]:
    """Paths by the format that their suffix says; under FOLDER loose images, under None everything else."""
    found: dict[Format | None, list[str]] = {}
    for path in paths:
        bare = path.lower().removesuffix(".gz")
        form = next((form for suffix, form in _SUFFIXES.items() if bare.endswith(suffix)), None)
        if form is None and bare.endswith(_IMAGE_SUFFIXES):
            form = Format.FOLDER
        found.setdefault(form, []).append(path)
    return found


def _by_names(source: str, by_format: dict[Format | None, list[str]], *, is_folder: bool) -> tuple[Format, list[str]]:
    tars = by_format.get(Format.TAR, [])
    beside = {sidecars.sidecar_path(path) for path in tars} & set(by_format.get(Format.PARQUET_LINKS, []))
    if beside and set(by_format.get(Format.PARQUET_LINKS, [])) <= beside:
        by_format = {form: paths for form, paths in by_format.items() if form is not Format.PARQUET_LINKS}
    present = [form for form in by_format if form is not None]
    if len(present) > 1:
        names = " and ".join(sorted(form.value for form in present))
        raise SourceError(
            f"{shown(source)} holds {names} side by side", hint="force a format, or name files by pattern"
        )
    if is_folder and present in ([], [Format.FOLDER]):
        return Format.FOLDER, [_root(source, is_folder=True)]
    if not present or present == [Format.FOLDER]:
        raise SourceError(
            f"{shown(source)}: its format is not recognised", hint="force one, or name a folder of images"
        )
    return (Format.IMG2DATASET if beside else present[0]), by_format[present[0]]


def _by_content(path: str) -> Format:
    """The format of one file, by its first bytes, or for text by its suffix."""
    with open_file(path) as file, reading(path):
        head = unpacked(file, path, SourceOptions()).read(tar.BLOCK_BYTES)
    if head.startswith(parquet.PARQUET_MAGIC):
        return Format.PARQUET_LINKS
    if tar.is_header(head) or _suffix_format(path) is Format.TAR:
        return Format.IMG2DATASET if exists(sidecars.sidecar_path(path)) else Format.TAR
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        raise SourceError(f"{shown(path)} is a zip archive, which is not read", hint="repack it as tar")
    form = _suffix_format(path)
    if form is None and head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        form = Format.JSONL
    if form is None:
        raise SourceError(f"{shown(path)}: its format is not recognised", hint="force one")
    return form


def _suffix_format(path: str) -> Format | None:
    return next((form for form in _sorted_out([path.partition("?")[0]]) if form is not Format.FOLDER), None)


def _part(path: str, form: Format, options: SourceOptions) -> _Part:
    """Plan one file."""
    if form is Format.FOLDER:
        return _folder_part(path, options)
    if form in _PARQUET:
        return _parquet_part(path, options)
    return _tar_part(path, form, options) if form in _TARS else _text_part(path, form, options)


def _folder_part(path: str, options: SourceOptions) -> _Part:
    found = folder.listing(path, options)
    step = options.shard_rows_max
    cuts = [(first, min(step, len(found.names) - first)) for first in range(0, len(found.names), step)]
    shards = tuple(ShardSpec(index=0, file=0, first_row=first, rows=rows) for first, rows in cuts)
    return _Part(found.file, shards, ColumnMap(), Format.FOLDER, found.not_items)


def _parquet_part(path: str, options: SourceOptions) -> _Part:
    end = parquet.footer(path, options)
    shards = []
    first_row = 0
    for group, group_rows in enumerate(end.group_rows):
        for at in range(0, group_rows, options.shard_rows_max):
            rows = min(options.shard_rows_max, group_rows - at)
            shards.append(
                ShardSpec(index=0, file=0, first_row=first_row + at, rows=rows, row_group=group, group_row=at)
            )
            if len(shards) > _SHARDS_MAX:  # a footer may claim any number of rows
                raise SourceError(f"{shown(path)} makes more than {_SHARDS_MAX} shards", hint="see shard_rows_max")
        first_row += group_rows
    form = Format.PARQUET_IMAGES if end.holds_images else Format.PARQUET_LINKS
    return _Part(source_file(path), tuple(shards), end.columns, form)


def _text_part(path: str, form: Format, options: SourceOptions) -> _Part:
    columns = text.text_columns(path, form, options)
    shards = tuple(ShardSpec(index=0, file=0, **cut._asdict()) for cut in text.slices(path, form, options))
    return _Part(source_file(path), shards, columns, form)


def _tar_part(path: str, form: Format, options: SourceOptions) -> _Part:
    """A plain archive on this machine is walked; of any other the number of images is known once it has been read."""
    with open_file(path) as file, reading(path):
        walked = tar.slices(file, path, options) if tar.can_walk(file, path) else None
    if walked is None:
        cuts, not_items = [tar.Slice(0, ROWS_UNKNOWN, 0, -1)], 0
    else:
        cuts, not_items = [cut for cut in walked.slices if cut.rows], walked.not_items
    shards = tuple(ShardSpec(index=0, file=0, **cut._asdict()) for cut in cuts)
    if form is Format.IMG2DATASET and exists(sidecars.sidecar_path(path)):
        return _Part(_with_table(source_file(path)), shards, _table_columns(path, options), form, not_items)
    return _Part(source_file(path), shards, ColumnMap(), form, not_items)


def _table_columns(path: str, options: SourceOptions) -> ColumnMap:
    return parquet.footer(sidecars.sidecar_path(path), options).columns


def _with_table(file: SourceFile) -> SourceFile:
    """The archive, with a fingerprint that knows of the table beside it."""
    table = source_file(sidecars.sidecar_path(file.path))
    both = hashlib.sha256(f"{file.fingerprint}\n{table.fingerprint}".encode())
    return msgspec.structs.replace(file, fingerprint=both.hexdigest())


def read_links(plan: Plan, shard: ShardSpec, want: Collection[Kind], *, with_urls: bool) -> LinkBatch:
    """The wanted digests, and the URLs if asked for, of every row of a shard.

    For containers of images they come from side columns and side files; a folder has none. Of a tar whose number of
    images was not known, ``rows`` is.
    """
    if plan.format in _TEXT:
        return text.links(plan, shard, want, with_urls=with_urls)
    if plan.format in _PARQUET:
        return parquet.links(plan, shard, want, with_urls=with_urls)
    if plan.format in _TARS:
        return sidecars.links(plan, shard, want, with_urls=with_urls)
    return LinkBatch(shard.rows)


def iter_images(plan: Plan, shard: ShardSpec) -> Iterator[ImageItem]:
    """The images of a shard, in row order, one at a time.

    Raises SourceError, perhaps after some items, when the shard cannot be read to its end or holds other than the
    planned number of rows.
    """
    if plan.format is Format.PARQUET_IMAGES:
        return parquet.images(plan, shard)
    if plan.format in _TARS:
        return tar.images(plan, shard)
    if plan.format is Format.FOLDER:
        return folder.images(plan, shard)
    raise InternalError("a table of links holds no images")


def row_details(plan: Plan, shard: ShardSpec, rows: Sequence[int]) -> list[RowDetails]:
    """Where the given rows of a shard stand, in the order asked for."""
    if plan.format in _TEXT:
        return text.details(plan, shard, rows)
    if plan.format in _PARQUET:
        return parquet.details(plan, shard, rows)
    if plan.format in _TARS:
        return sidecars.details(plan, shard, rows)
    return folder.details(plan, shard, rows)
