"""How a list file is to be read, where it does not say so itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from custodes.errors import ListError
from custodes.lists.formats.values import fold, parse_kind
from custodes.model import Kind, Role

__all__ = ["DETAILS", "FORMATS", "ImportOptions", "check_map", "parse_map"]

FORMATS: Final = ("csv", "ndjson", "text", "vics", "icse", "nsrl", "hashkeeper", "custodes")
HARMLESS: Final = ("nsrl", "hashkeeper")
"""Formats of collections of files that are known and harmless: every entry has the role negative."""

DETAILS: Final = ("id", "category", "assurance", "role")
_FIELDS: Final = frozenset({"value", "kind", *DETAILS})
_SHA256: Final = re.compile(r"[0-9A-Fa-f]{64}")


class ImportOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to read a list file."""

    format: str | None = None  # None: by the file's first bytes, then its suffix
    kind: str | None = None  # the kind of every value that names none
    columns: dict[str, str] = {}  # our field -> the file's column, or "=constant"; see parse_map
    role: Role | None = None  # of rows that name none; None: as the format says, else confirmed
    scheme: str | None = None  # whose categories these are; None: as the file says
    records: int | None = None  # how many records the file must have
    sha256: str | None = None  # the digest that the file must have, in hex

    def __post_init__(self) -> None:
        if self.format not in {None, *FORMATS}:
            raise ValueError(f"format must be one of {', '.join(FORMATS)}")
        if self.kind is not None and parse_kind(self.kind) is None:
            raise ValueError(f"kind must be one of {', '.join(Kind)}")
        if self.format in HARMLESS and self.role not in {None, Role.NEGATIVE}:
            raise ValueError(f"{self.format} is a format of known harmless files: their role is negative")
        if self.records is not None and self.records < 1:
            raise ValueError("records must be 1 or more")
        if self.sha256 is not None and not _SHA256.fullmatch(self.sha256):
            raise ValueError("sha256 must be 64 hex digits")


def parse_map(text: str) -> dict[str, str]:
    """A column map from ``value=HASH,kind=TYPE``.

    ``kind==md5`` sets a constant; a kind name as field makes the file wide.
    """
    pairs = [part.partition("=") for part in text.split(",")]
    return _mapped([(name, equals + column) for name, equals, column in pairs])


def check_map(columns: Mapping[str, str]) -> dict[str, str]:
    """A saved column map, under the same rules. ListError when it breaks one."""
    return _mapped([(name, f"={column}") for name, column in columns.items()])


def _mapped(pairs: list[tuple[str, str]]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for given, column in pairs:
        name = fold(given)
        if not column[1:].strip() or (name not in _FIELDS and parse_kind(name) is None):
            raise ListError(
                "the column map is malformed",
                hint="write value=HASH,kind=TYPE with fields value, kind, id, category, assurance, role or a kind",
            )
        if name in columns:
            raise ListError(f"the column map names {name} twice")
        columns[name] = column[1:].strip()
    return columns
