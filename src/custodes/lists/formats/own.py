"""Our own list format, ``custodes-list/1``: lines of JSON, with a header and, at the end, what all of it must be.

A file that was cut, added to or joined with another imports nothing. It is in the clear; sealing it, and where it is written, is for
the caller. See docs/formats/list-export.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Annotated, BinaryIO, Final, Literal

import msgspec

from custodes.lists.container import ROLES, Contents, Provenance
from custodes.lists.formats.lines import byte_lines
from custodes.lists.formats.options import ImportOptions
from custodes.lists.formats.reading import Malformed, Reading, checked_text
from custodes.lists.formats.values import decode_value
from custodes.model import Entry, Kind, Role

__all__ = ["OWN_FORMAT", "OwnHeader", "export_lines", "read_own"]

OWN_FORMAT: Final = "custodes-list/1"
START: Final = b'{"format":"custodes-list/'
"""With what every file of this format, of any version, begins."""

_LAST: Final = b'{"end":'


class OwnHeader(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first line: which list this is, and where it came from."""

    format: Literal["custodes-list/1"] = OWN_FORMAT
    list: str
    version: str
    created: str  # RFC 3339
    provenance: Provenance = Provenance()


class _Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    kind: Kind
    value: str
    id: str = ""
    category: str = ""
    assurance: str = ""
    role: Role = Role.CONFIRMED


class _End(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    end: Literal[True] = True
    entries: Annotated[int, msgspec.Meta(ge=1)]
    sha256: str  # hex, over all bytes before this line


def export_lines(header: OwnHeader, contents: Contents) -> Iterator[bytes]:
    """The file, line by line."""
    encode = msgspec.json.encode
    digest = hashlib.sha256()
    line = encode(header) + b"\n"
    digest.update(line)
    yield line
    for each in _stored(contents):
        line = encode(each) + b"\n"
        digest.update(line)
        yield line
    yield encode(_End(entries=len(contents), sha256=digest.hexdigest())) + b"\n"


def _stored(contents: Contents) -> Iterator[_Line]:
    for kind, columns in contents.kinds.items():
        numbers = (columns.ids, columns.categories, columns.assurances, columns.roles)
        for code, own_id, category, assurance, role in zip(
            columns.codes, *(each.tolist() for each in numbers), strict=True
        ):
            yield _Line(
                kind=kind,
                value=code.tobytes().hex(),
                id=contents.entry_id(own_id),
                category=contents.categories[category],
                assurance=contents.assurances[assurance],
                role=ROLES[role],
            )


def read_own(file: BinaryIO, _: ImportOptions, reading: Reading) -> Iterator[Entry]:
    """The entries of an export. Everything is said in the file, so options change nothing of it."""
    digest, end = hashlib.sha256(), False
    for number, line in enumerate(byte_lines(file, reading), 1):
        try:
            if end:
                raise Malformed("row", "stands behind the end")
            if number == 1:
                _note_header(line, reading)
            elif line.startswith(_LAST):
                end = True
                _check_end(line, reading.records, digest.hexdigest())
            else:
                reading.records += 1
                yield _entry(line)
        except Malformed as problem:
            reading.problem(number, problem.name, problem.reason)
        digest.update(line)
    if not end:
        reading.problem(reading.records + 2, "end", "is missing: the file was cut")


def _note_header(line: bytes, reading: Reading) -> None:
    try:
        header = msgspec.json.decode(line, type=OwnHeader)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Malformed("header", f"is not one of {OWN_FORMAT}") from None
    said = header.provenance
    reading.scheme = said.scheme
    reading.said = {"authority": said.authority, "environment": said.environment, "issued": said.issued}


def _check_end(line: bytes, entries: int, sha256: str) -> None:
    try:
        end = msgspec.json.decode(line, type=_End)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Malformed("end", "is malformed") from None
    if not line.endswith(b"\n") or end.entries != entries:
        raise Malformed("end", "counts other entries than there are")
    if end.sha256 != sha256:
        raise Malformed("end", "has another digest: the file was changed")


def _entry(line: bytes) -> Entry:
    try:
        each = _DECODER.decode(line)
        value = decode_value(each.kind, each.value)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise Malformed("row", f"is not an entry of {OWN_FORMAT}") from None
    for name, text in (("id", each.id), ("category", each.category), ("assurance", each.assurance)):
        checked_text(name, text)
    return Entry(each.kind, value, each.id, each.category, each.assurance, each.role)


_DECODER: Final = msgspec.json.Decoder(_Line)
