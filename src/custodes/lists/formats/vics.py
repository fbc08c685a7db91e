"""VICS and CAID files: the JSON in which Project VIC, law enforcement and their tools share hash sets and case exports.

Files of many gigabytes are read as a stream, in bounded memory: the parser's events are taken as they come, and of a record only the
fields that make entries are kept. Names are read without regard to case, and none may stand twice in one object. Who wrote the
envelope, and in which jurisdiction, decides what the categories mean, so it is told as the category scheme.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

import ijson
from ijson.backends import yajl2_c

from custodes.errors import ListError
from custodes.lists.formats.options import ImportOptions
from custodes.lists.formats.reading import Malformed, Passed, Reading, checked_text
from custodes.lists.formats.values import decode_value, fold, parse_kind
from custodes.model import Entry, Kind, Role

__all__ = ["DEPTH_MAX", "RECORD_BYTES_MAX", "read_vics"]

RECORD_BYTES_MAX: Final = 16 << 20
DEPTH_MAX: Final = 64
_CHUNK_BYTES: Final = 1 << 16

_HASHES: Final = {"md5": Kind.MD5, "sha1": Kind.SHA1, "sha256": Kind.SHA256, "photodna": Kind.PHOTODNA}
_TEXTS: Final = ("mediaid", "category", "mimetype")
_BEGIN: Final = frozenset({"start_map", "start_array"})
_BRACKETS: Final = _BEGIN | {"end_map", "end_array"}
_CONTEXTS: Final = ("@odata.context", "odata.metadata")
_JURISDICTION: Final = re.compile(r"\.xml/(us|uk|default)/")
_LONE_SURROGATE: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])")


@dataclass(frozen=True, slots=True)
class _Inner:
    """What must stand under a name, and what the reader calls it."""

    sort: str
    event: str
    reason: str
    may_be_null: bool = False


@dataclass(frozen=True, slots=True)
class _Sort:
    """A container: the fields that are kept of it, and the containers in it that are gone into. An array's members have the name ""."""

    kept: frozenset[str] = frozenset()
    inner: Mapping[str, _Inner] = field(default_factory=dict)


_OTHER: Final = _Sort()
_SORTS: Final = {
    "file": _Sort(inner={"": _Inner("envelope", "start_map", "is not an object")}),
    "envelope": _Sort(frozenset(_CONTEXTS), {"value": _Inner("values", "start_array", "is not an array")}),
    "values": _Sort(inner={"": _Inner("record", "start_map", "is not an object")}),
    "record": _Sort(
        frozenset({*_HASHES, *_TEXTS}),
        {
            "media": _Inner("media", "start_array", "is not an array", may_be_null=True),
            "alternativehashes": _Inner("hashes", "start_array", "is not an array", may_be_null=True),
        },
    ),
    "media": _Sort(inner={"": _Inner("record", "start_map", "is not an object")}),
    "hashes": _Sort(inner={"": _Inner("hash", "start_map", "is not an object")}),
    "hash": _Sort(frozenset({"hashname", "hashvalue"})),
}


def read_vics(file: BinaryIO, options: ImportOptions, reading: Reading) -> Iterator[Entry]:
    """The entries of all media records, in their order."""
    reading.unit = "record"
    role = options.role or Role.CONFIRMED
    walk = _Walk()
    try:
        for record in _records(file, walk):
            reading.records += 1
            yield from _entries(record, role, reading)
    except Malformed as problem:  # there is no way on from here
        reading.problem(reading.records + 1, problem.name, problem.reason)
    reading.scheme = _scheme(walk.context)
    reading.refuse()
    if not walk.has_values:
        raise ListError(f"{reading.file} has no array named value", hint="it is not a VICS file; check --format")


def _scheme(context: str) -> str:
    """Whose categories they are. CAID is the United Kingdom's; where none is named, none is guessed."""
    folded = context.lower()
    if "/1.2.xml" in folded:
        return "vics/uk"
    found = _JURISDICTION.search(folded)
    return f"vics/{found[1]}" if found else "vics/default"


# -- from bytes to records


def _records(file: BinaryIO, walk: _Walk) -> Iterator[dict[str, Any]]:
    """Media records as they end. Malformed where the file is."""
    events = ijson.sendable_list()
    # Floats, so that a number of a thousand digits is an error of the parser; no number is used but small whole ones.
    parser = yajl2_c.basic_parse_coro(events, use_float=True)
    waiting = 0
    try:
        for piece in _pieces(file):
            parser.send(piece)
            waiting += len(piece)
            walk.follow(events)
            if walk.ended:
                yield from walk.taken()
                waiting = 0
            if waiting > RECORD_BYTES_MAX:
                raise Malformed("record", f"is longer than {RECORD_BYTES_MAX} bytes")
        parser.close()
        walk.follow(events)
        yield from walk.taken()
    except (ijson.JSONError, UnicodeError):  # their texts quote the file
        walk.follow(events)
        yield from walk.taken()
        raise Malformed("file", "is not whole, valid JSON from here on") from None
    except Malformed:
        yield from walk.taken()
        raise


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    """The file in UTF-8, cut behind commas, so that no escape and no number is cut."""
    rest = bytearray()
    for chunk in _utf8(file):
        rest += chunk
        cut = rest.rfind(b",") + 1
        if cut:
            yield _checked(bytes(rest[:cut]))
            del rest[:cut]
        elif len(rest) > RECORD_BYTES_MAX:
            raise Malformed("record", f"is longer than {RECORD_BYTES_MAX} bytes")
    if rest:
        yield _checked(bytes(rest))


def _checked(piece: bytes) -> bytes:
    """Refuse what the parser would pass: it makes a question mark of half a surrogate pair."""
    if (b"\\ud" in piece or b"\\uD" in piece) and _LONE_SURROGATE.search(piece):
        raise Malformed("file", "has an escape that is no character (a lone surrogate)")
    return piece


def _utf8(file: BinaryIO) -> Iterator[bytes]:
    head = file.read(_CHUNK_BYTES)
    if head[:2] not in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        head = head.removeprefix(codecs.BOM_UTF8)
        while head:
            yield head
            head = file.read(_CHUNK_BYTES)
        return
    decoder = codecs.getincrementaldecoder("utf-16")("strict")
    while head:
        yield decoder.decode(head).encode()
        head = file.read(_CHUNK_BYTES)
    yield decoder.decode(b"", final=True).encode()


@dataclass(slots=True)
class _Open:
    """A container that has not ended: which names it had, and what is kept of it."""

    sort: str
    rules: _Sort
    name: str = ""
    names: set[str] = field(default_factory=set)
    kept: dict[str, Any] = field(default_factory=dict)


class _Walk:
    """Follows the parser's events through a file: through ``value``, and in a case through its ``Media``."""

    def __init__(self) -> None:
        self.ended: list[dict[str, Any]] = []
        self.context = ""
        self.has_values = False
        self._open = [_Open("file", _SORTS["file"])]

    def follow(self, events: list[tuple[str, Any]]) -> None:
        """Take these events, and empty the list. Malformed."""
        top = self._open[-1]
        for event, value in events:
            if event == "map_key":
                name = fold(value)
                if name in top.names:
                    raise Malformed("file", "has an object that names something twice")
                top.names.add(name)
                top.name = name
            elif event in _BRACKETS:
                if event in _BEGIN:
                    self._begin(top, event)
                else:
                    self._open.pop()
                    self._end(top, self._open[-1])
                top = self._open[-1]
            elif top.name in top.rules.kept:
                top.kept[top.name] = value
            elif top.name in top.rules.inner and not (value is None and top.rules.inner[top.name].may_be_null):
                raise Malformed(top.name or top.sort, top.rules.inner[top.name].reason)
        events.clear()

    def taken(self) -> list[dict[str, Any]]:
        """The records that ended since this was asked last."""
        ended, self.ended = self.ended, []
        return ended

    def _begin(self, top: _Open, event: str) -> None:
        if len(self._open) > DEPTH_MAX:
            raise Malformed("file", f"nests deeper than {DEPTH_MAX}")
        inner = top.rules.inner.get(top.name)
        if inner is None:
            if top.name in top.rules.kept:
                raise Malformed(top.name, "is not a text or a number")
            self._open.append(_Open("other", _OTHER))
            return
        if inner.event != event:
            raise Malformed(top.name or top.sort, inner.reason)
        if inner.sort == "media" and self._open[-2].sort == "media":
            raise Malformed("media", "stands in a record of Media")
        self._open.append(_Open(inner.sort, _SORTS[inner.sort]))

    def _end(self, ended: _Open, below: _Open) -> None:
        if ended.sort == "hash":
            below.kept.setdefault("all", []).append(ended.kept)
        elif ended.sort == "hashes":
            below.kept["alternatives"] = ended.kept.get("all", [])
        elif ended.sort == "values":
            self.has_values = True
        elif ended.sort == "envelope":
            self.context = next((ended.kept[name] for name in _CONTEXTS if isinstance(ended.kept.get(name), str)), "")
        elif ended.sort == "record" and "media" not in ended.names:
            self.ended.append(ended.kept)
        elif ended.sort == "record" and ended.names & _HASHES.keys():
            raise Malformed("media", "stands in a record that has hashes of its own")


# -- from a record to entries


def _entries(record: dict[str, Any], role: Role, reading: Reading) -> list[Entry]:
    place = reading.records
    try:
        own_id, category, mime = (_text(record, name) for name in _TEXTS)
        if mime.lower().startswith("video/"):
            raise Passed("video")  # its digests are of no image
        given = [(kind, name, record.get(name)) for name, kind in _HASHES.items()]
        pairs = [(kind, _value(value, kind, name)) for kind, name, value in given if value not in (None, "")]
        pairs += _alternatives(record, reading)
        if not pairs:
            raise Passed("no hash")
    except Malformed as problem:
        reading.problem(place, problem.name, problem.reason)
    except Passed as passed:
        reading.skipped.add(place, passed.reason)
    else:
        return [Entry(kind, value, own_id, category, role=role) for kind, value in pairs]
    return []


def _alternatives(record: dict[str, Any], reading: Reading) -> list[tuple[Kind, bytes]]:
    pairs = []
    for each in record.get("alternatives", ()):
        name, value = each.get("hashname"), each.get("hashvalue")
        if not isinstance(name, str) or not name.strip():
            raise Malformed("HashName", "is not a text")
        kind = parse_kind(name)
        if kind is None:
            reading.skipped.add(reading.records, "hash of another kind")
        elif value not in (None, ""):
            pairs.append((kind, _value(value, kind, "HashValue")))
    return pairs


def _value(value: object, kind: Kind, name: str) -> bytes:
    if not isinstance(value, str):
        raise Malformed(name, "is not a text")
    try:
        return decode_value(kind, value.strip())
    except ValueError as error:
        raise Malformed(name, f"{error} ({kind.value})") from None


def _text(record: dict[str, Any], name: str) -> str:
    value = record.get(name)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Malformed(name, "is not a text or a whole number")
    return checked_text(name, str(value).strip())
