"""What a source is made of: options, a plan of shards, and what reading one shard gives.

Everything a plan holds is a value that JSON carries unchanged, so that a plan can be kept, compared and handed to
another process. Values that could name an item (URLs, member names, keys) never show in a repr. The four verbs
(``plan``, ``read_links``, ``iter_images``, ``row_details``) are in ``custodes.sources.source``; this file does no I/O.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import msgspec

from custodes.model import Content, Kind, Reason

if TYPE_CHECKING:  # a process that only fetches has no other use for it
    import numpy as np
    import numpy.typing as npt

__all__ = [
    "ROWS_UNKNOWN",
    "WHOLE_ROW",
    "ColumnMap",
    "Digested",
    "Format",
    "ImageItem",
    "LinkBatch",
    "Plan",
    "RowDetails",
    "ShardSpec",
    "SourceFile",
    "SourceOptions",
]

ROWS_UNKNOWN: Final = -1
"""Stands where a number of rows is known only once the shard has been read (compressed or remote tars)."""

WHOLE_ROW: Final = "row"
"""The field named in ``LinkBatch.malformed`` when a row cannot be read at all."""


class Format(StrEnum):
    """How a source is laid out. The first four are tables of links, the others hold images."""

    PARQUET_LINKS = "parquet-links"
    CSV = "csv"
    TSV = "tsv"
    JSONL = "jsonl"
    PARQUET_IMAGES = "parquet-images"
    TAR = "tar"
    IMG2DATASET = "img2dataset"
    FOLDER = "folder"

    @property
    def holds_images(self) -> bool:
        """Whether the source carries image bytes itself."""
        return self in (Format.PARQUET_IMAGES, Format.TAR, Format.IMG2DATASET, Format.FOLDER)


class SourceOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to read a source, and the limits while doing it. Fields of ``columns`` are those of ``ColumnMap``."""

    format: Format | None = None
    """Force a format; None: find out from the content."""
    columns: dict[str, str] = {}
    """Which column holds what, for example ``{"url": "image_link"}``; a position ("0") where there is no header."""
    header: bool = True
    """CSV and TSV: the first line names the columns."""
    shard_rows_max: int = 1_000_000
    """Rows of one shard. The default suits a pass over columns only; for fetching, thousands do."""
    body_bytes_max: int = 50_000_000
    """Largest image taken out of a container; a larger one is an item with the outcome too_large."""
    row_bytes_max: int = 1_000_000
    """Longest row of a CSV or JSON Lines file; a longer one is a malformed row."""
    name_bytes_max: int = 100_000
    """Longest name, and longest block of extended headers, of an archive member."""
    members_max: int = 10_000_000
    """Members of one archive, items or not; files of one folder."""
    unpacked_bytes_max: int = 1_000_000_000_000
    """Bytes that one compressed file may unpack to."""
    unpack_ratio_max: int = 200
    """How many times its own size a compressed file may unpack to (checked past the first 16 MiB)."""

    def __post_init__(self) -> None:
        unknown = set(self.columns) - set(ColumnMap.__struct_fields__)
        if unknown:
            raise ValueError(f"columns must map fields among {', '.join(ColumnMap.__struct_fields__)}")
        for name in (f for f in self.__struct_fields__ if f.endswith("_max")):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")


class ColumnMap(msgspec.Struct, frozen=True, kw_only=True):
    """Which column of the source holds what, as spelt there (or its position, in a table without a header). None: there
    is no such column.

    ``key`` is LAION's row key ``hash``, carried in findings and never compared as a digest. ``image`` is the column
    with the bytes.
    """

    url: str | None = None
    md5: str | None = None
    sha1: str | None = None
    sha256: str | None = None
    key: str | None = None
    text: str | None = None
    width: str | None = None
    height: str | None = None
    status: str | None = None
    language: str | None = None
    image: str | None = None

    def digest_columns(self) -> dict[Kind, str]:
        """The columns that hold a digest of the image as it was first seen, by kind."""
        named = {Kind.MD5: self.md5, Kind.SHA1: self.sha1, Kind.SHA256: self.sha256}
        return {kind: column for kind, column in named.items() if column is not None}


class SourceFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a source. ``path`` opens it again (of a presigned link, that is a credential: keep such plans
    private).

    The fingerprint is SHA-256 (hex) over the size and the first and last MiB; of an img2dataset archive, over that of
    its table too. For a folder of images the file is the folder itself: its size is the sum of the files' sizes, its
    fingerprint covers their names, sizes and times.
    """

    path: str
    size_bytes: int
    fingerprint: str


class ShardSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One unit of work: ``rows`` rows of one file from ``first_row`` (counted in the file) on, or ``ROWS_UNKNOWN``.

    ``row_group`` and ``group_row`` say where in a Parquet file that is; ``offset_bytes`` and ``size_bytes`` where in
    any other (of the unpacked bytes, if it is compressed). ``size_bytes`` is -1 where the shard runs to the end of the
    file. ``stops_short`` says that more rows follow in these bytes, which a limit leaves out.
    """

    index: int
    file: int
    first_row: int
    rows: int
    row_group: int | None = None
    group_row: int = 0
    offset_bytes: int = 0
    size_bytes: int = -1
    stops_short: bool = False


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a source holds and how it is cut into shards. ``rows`` is ``ROWS_UNKNOWN`` if any shard's is.

    ``not_items`` counts what lies in containers and is no image by name or content: captions, links, devices, videos.
    They are not examined; a report says so.
    """

    format: Format
    files: tuple[SourceFile, ...]
    shards: tuple[ShardSpec, ...]
    columns: ColumnMap
    rows: int
    options: SourceOptions
    not_items: int = 0

    @property
    def holds_images(self) -> bool:
        """Whether items come with their bytes (``iter_images``) or as links (``read_links``)."""
        return self.format.holds_images

    def fingerprint(self) -> str:
        """SHA-256 (hex) of everything that decides which row is which: files, cuts, columns and options; not where
        the files lie.
        """
        files = [(file.size_bytes, file.fingerprint) for file in self.files]
        parts = [self.format, files, self.shards, self.columns, self.options]
        return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()


@dataclass(frozen=True, slots=True)
class Digested:
    """Digests of one kind: ``codes[i]`` (uint8, shape (m, kind.size_bytes)) belongs to row ``items[i]`` (int64,
    ascending, counted in the shard).
    """

    items: npt.NDArray[np.int64]
    codes: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, repr=False)
class LinkBatch:
    """One shard of a table. Rows are counted in the shard, from 0.

    ``url`` and ``key`` are Arrow arrays of ``rows`` values (nulls kept), or None where not asked for or not there.
    ``malformed`` names the first bad field of each bad row; ``WHOLE_ROW`` when nothing of the row could be read. A row
    with a bad field keeps its good ones.
    """

    rows: int
    url: Any = None
    key: Any = None
    digests: dict[Kind, Digested] = field(default_factory=dict)
    malformed: dict[int, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<LinkBatch {self.rows} rows>"


@dataclass(frozen=True, slots=True)
class ImageItem:
    """One image of a container: its row in the shard, and its bytes or the reason why there are none."""

    row: int
    content: Content | Reason


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class RowDetails:
    """What a finding says about where its item stands.

    Read again, for hits only; goes into sealed packages and nowhere else.
    """

    row: int
    url: str | None = None
    key: str | None = None
    name: str | None = None
    width: int | None = None
    height: int | None = None
    language: str | None = None

    def __repr__(self) -> str:
        return f"<RowDetails row {self.row}>"
