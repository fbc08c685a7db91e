"""Reading a hash list as an authority gives it: csv, JSON lines or plain text. See docs/formats/list-import.md.

A file is read as a stream and taken whole or not at all: one malformed row refuses it, after up to twenty problems
were collected by line and field. No message ever holds a value, nor the header line (in a file without one it is a
hash). What becomes of the entries is for the store.
"""

from __future__ import annotations

import base64
import binascii
import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from custodes.errors import ListError
from custodes.model import Entry, Kind, Role

__all__ = [
    "FIELD_CHARS_MAX",
    "LINE_BYTES_MAX",
    "PROBLEMS_SHOWN_MAX",
    "ImportOptions",
    "decode_value",
    "guess_format",
    "parse_kind",
    "parse_map",
    "read_entries",
]

LINE_BYTES_MAX: Final = 1 << 20
FIELD_CHARS_MAX: Final = 1024
PROBLEMS_SHOWN_MAX: Final = 20

_SUFFIXES: Final = {
    ".csv": "csv",
    ".tsv": "csv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".txt": "text",
    ".text": "text",
}
_DETAILS: Final = ("id", "category", "assurance", "role")
_SHAPES_MAX: Final = 256  # shapes of JSON lines remembered at once
_ROLES: Final = {role.value: role for role in Role}
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")
_HEX: Final = re.compile(r"[0-9A-Fa-f]+")
_BASE32: Final = re.compile(r"[A-Z2-7]+")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]+")


class ImportOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to read a list file."""

    format: str | None = None  # csv, ndjson or text; None: by the file's suffix
    kind: str | None = None  # the kind of every value that names none
    columns: dict[str, str] = {}  # our field -> the file's column, or "=constant"; see parse_map

    def __post_init__(self) -> None:
        if self.format not in {None, "csv", "ndjson", "text"}:
            raise ValueError("format must be csv, ndjson or text")
        if self.kind is not None and parse_kind(self.kind) is None:
            raise ValueError(f"kind must be one of {', '.join(Kind)}")


def parse_map(text: str) -> dict[str, str]:
    """A column map from ``value=HASH,kind=TYPE``.

    ``kind==md5`` sets a constant; a kind name as field makes the file wide.
    """
    columns: dict[str, str] = {}
    for part in text.split(","):
        name, equals, column = part.partition("=")
        name = _fold(name)
        if not equals or not column.strip() or (name not in {"value", "kind", *_DETAILS} and parse_kind(name) is None):
            raise ListError(
                "the column map is malformed",
                hint="write value=HASH,kind=TYPE with fields value, kind, id, category, assurance, role or a kind",
            )
        if name in columns:
            raise ListError(f"the column map names {name} twice")
        columns[name] = column.strip()
    return columns


def guess_format(path: Path) -> str:
    """The format that the suffix names. ListError when it names none."""
    try:
        return _SUFFIXES[path.suffix.lower()]
    except KeyError:
        raise ListError(
            f"cannot tell the format of {path.name} by its suffix", hint="give --format csv, ndjson or text"
        ) from None


def parse_kind(name: str) -> Kind | None:
    """The kind of this name or alias, whatever its case and spelling; None when there is none."""
    return _KINDS.get(_fold(name))


def decode_value(kind: Kind, text: str) -> bytes:
    """The bytes of a value in hex, base64 or base32; which one it is follows from the length.

    ValueError says why not.
    """
    size = kind.size_bytes
    if len(text) == 2 * size and _HEX.fullmatch(text):
        return bytes.fromhex(text)
    bare = text.rstrip("=")
    for alphabet, decode, bits in ((_BASE64, _from_base64, 6), (_BASE32, _from_base32, 5)):
        folded = bare.replace("-", "+").replace("_", "/") if bits == 6 else bare.upper()
        if len(bare) == -(-size * 8 // bits) and alphabet.fullmatch(folded):
            return decode(folded)
    raise ValueError(f"is not {size} bytes in hex, base64 or base32")


def read_entries(path: Path, options: ImportOptions | None = None) -> Iterator[Entry]:
    """The entries of a file, in its order. ListError at the end if any row was malformed or there was none.

    Take nothing as imported before the iterator has ended. An entry without an id of its own has id "".
    """
    options = options or ImportOptions()
    form = options.format or guess_format(path)
    if path.exists() and not (path.is_file() or path.is_fifo()):
        raise ListError(f"cannot read {path}: it is not a file")
    try:
        file = path.open("rb")
    except OSError as error:
        raise ListError(f"cannot read {path}: {error.strerror}") from error
    with file:
        problems = _Problems(path.name)
        count = 0
        for entry in _READERS[form](file, options, problems):
            count += 1
            if not problems.total:  # after the first problem the rest is read only for its problems
                yield entry
        problems.refuse()
    if not count:
        raise ListError(
            f"{path.name} holds no entries", hint="an empty list is refused: it would match nothing, silently"
        )


@dataclass(slots=True)
class _Problems:
    """What is wrong with a file, by line and field; never by value."""

    file: str
    total: int = 0
    shown: list[str] = field(default_factory=list)

    def add(self, line: int, name: str, reason: str) -> None:
        self.total += 1
        if len(self.shown) < PROBLEMS_SHOWN_MAX:
            self.shown.append(f"{self.file} line {line}: {name}: {reason}")

    def refuse(self) -> None:
        if self.total:
            more = self.total - len(self.shown)
            tail = [f"and {more} more"] if more else []
            raise ListError(
                "\n".join(
                    [
                        f"{self.file} has {self.total} problem{'s' * (self.total > 1)}, nothing was imported",
                        *self.shown,
                        *tail,
                    ]
                )
            )


class _Malformed(Exception):  # noqa: N818 - control flow inside this module, not an error of the tree
    def __init__(self, name: str, reason: str) -> None:
        super().__init__(reason)
        self.name, self.reason = name, reason


@dataclass(frozen=True, slots=True)
class _Shape:
    """Where the fields of a row are: ``value`` and perhaps ``kind`` (long), or one column a kind (wide)."""

    columns: Mapping[str, str]  # our field -> the name of the file's column, folded
    constants: Mapping[str, str]
    wide: tuple[tuple[Kind, str], ...]
    kind: Kind | None

    @classmethod
    def of(cls, names: Iterable[str], options: ImportOptions) -> _Shape:
        """Match the file's column names, folded, with our fields."""
        mapped = {ours: _fold(theirs) for ours, theirs in options.columns.items() if not theirs.startswith("=")}
        constants = {ours: theirs[1:].strip() for ours, theirs in options.columns.items() if theirs.startswith("=")}
        columns = {name: name for name in names if name in {"value", "kind", *_DETAILS} and name not in constants}
        columns.update({ours: theirs for ours, theirs in mapped.items() if parse_kind(ours) is None})
        wide = [(kind, theirs) for ours, theirs in mapped.items() if (kind := parse_kind(ours))]
        if not wide and "value" not in columns:
            wide = [(kind, name) for name in names if (kind := parse_kind(name))]
        kind = parse_kind(options.kind) if options.kind else None
        return cls(columns, constants, tuple(wide), kind)

    @property
    def wanted(self) -> set[str]:
        """The file's columns that the shape needs."""
        return {*self.columns.values(), *(name for _, name in self.wide)}

    def entries(self, row: Mapping[str, str]) -> list[Entry]:
        """The entries of one row; _Malformed says which field is wrong."""
        text = {name: self._text(row, name) for name in _DETAILS}
        role = _ROLES.get(text["role"].lower() or "confirmed")
        if role is None:
            raise _Malformed("role", f"is not one of {', '.join(_ROLES)}")
        pairs = self._wide(row) if self.wide else [self._long(row)]
        return [Entry(kind, value, text["id"], text["category"], text["assurance"], role) for kind, value in pairs]

    def _long(self, row: Mapping[str, str]) -> tuple[Kind, bytes]:
        value = self._cell(row, "value")
        name = self._text(row, "kind")
        kind = parse_kind(name) if name else self.kind
        if kind is None:
            raise _Malformed("kind", "is unknown" if name else "is missing; give --kind")
        if not value:
            raise _Malformed("value", "is missing")
        return kind, _value(kind, value, "value")

    def _wide(self, row: Mapping[str, str]) -> list[tuple[Kind, bytes]]:
        cells = [(kind, name, row.get(name, "").strip()) for kind, name in self.wide]
        pairs = [(kind, _value(kind, text, kind.value)) for kind, name, text in cells if text]
        if not pairs:
            raise _Malformed("value", "the row has no value of any kind")
        return pairs

    def _cell(self, row: Mapping[str, str], name: str) -> str:
        column = self.columns.get(name)
        return "" if column is None else row.get(column, "").strip()

    def _text(self, row: Mapping[str, str], name: str) -> str:
        constant = self.constants.get(name)
        text = self._cell(row, name) if constant is None else constant
        if _CONTROL.search(text):
            raise _Malformed(name, "has control characters")
        if len(text) > FIELD_CHARS_MAX:
            raise _Malformed(name, f"is longer than {FIELD_CHARS_MAX} characters")
        return text


def _read_csv(file: BinaryIO, options: ImportOptions, problems: _Problems) -> Iterator[Entry]:
    lines = (line for _, line in _lines(file, problems))
    first = next(lines, "")
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(_chain(first, lines), delimiter=delimiter, strict=True)
    names: list[str] = []
    shape: _Shape | None = None
    try:
        for row in reader:
            if not row:
                continue
            if shape is None:
                names = [_fold(name) for name in row]
                shape = _header(names, options, problems)
            elif len(row) != len(names):
                problems.add(reader.line_num, "row", f"has {len(row)} fields, the header has {len(names)}")
            else:
                yield from _row(shape, dict(zip(names, row, strict=True)), reader.line_num, problems)
    except csv.Error:  # its text may quote the field
        problems.add(reader.line_num, "row", "is not valid csv, or has a field over 131,072 characters")


def _header(names: list[str], options: ImportOptions, problems: _Problems) -> _Shape:
    shape = _Shape.of(names, options)
    missing = [ours for ours, theirs in shape.columns.items() if theirs not in names]
    missing += [kind.value for kind, theirs in shape.wide if theirs not in names]
    if missing:
        raise ListError(f"{problems.file} line 1: the column mapped to {missing[0]} is not there", hint="check --map")
    if "value" not in shape.columns and not shape.wide:
        raise ListError(
            f"{problems.file} line 1: no column of hashes is recognised",
            hint="name a column value or by its kind (md5, pdq, ...), or map one with --map value=COLUMN,kind==md5",
        )
    if any(names.count(name) > 1 for name in shape.wanted):
        raise ListError(f"{problems.file} line 1: a column that is needed stands twice")
    return shape


def _read_ndjson(file: BinaryIO, options: ImportOptions, problems: _Problems) -> Iterator[Entry]:
    shapes: dict[tuple[str, ...], _Shape] = {}
    for number, line in _lines(file, problems):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_flat)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            problems.add(number, "row", "is not a flat JSON object with each name once")
            continue
        names = tuple(row)
        if names not in shapes:
            if len(shapes) >= _SHAPES_MAX:
                shapes.clear()
            shapes[names] = _Shape.of(names, options)
        yield from _row(shapes[names], row, number, problems)


def _flat(pairs: list[tuple[str, object]]) -> dict[str, str]:
    """An object as text by folded name. ValueError when it nests, names anything twice, or is not Unicode.

    Parsers that keep the last of two equal names would lose an entry in silence.
    """
    row: dict[str, str] = {}
    for name, value in pairs:
        if isinstance(value, (dict, list)) or _fold(name) in row:
            raise ValueError
        row[_fold(name)] = "" if value is None else str(value)
        row[_fold(name)].encode()  # a lone surrogate is no text
    return row


def _read_text(file: BinaryIO, options: ImportOptions, problems: _Problems) -> Iterator[Entry]:
    given = parse_kind(options.kind) if options.kind else None
    for number, line in _lines(file, problems):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            yield _text_entry(words, given)
        except _Malformed as problem:
            problems.add(number, problem.name, problem.reason)


def _text_entry(words: list[str], given: Kind | None) -> Entry:
    if len(words) > 2:
        raise _Malformed("row", "has more than two words")
    kind = parse_kind(words[0]) if len(words) == 2 else given or _infer(words[0])
    if kind is None:
        raise _Malformed("kind", "is unknown")
    return Entry(kind, _value(kind, words[-1], "value"), "")


def _infer(text: str) -> Kind:
    """The only kind that a value of this length can be.

    A 32-byte value may be sha256 or pdq, so it is never guessed.
    """
    if len(text) == 32 and _HEX.fullmatch(text):
        return Kind.MD5  # could be sha1 in base32 with letters up to F only: about 1 in 10^13
    fitting = [kind for kind in (Kind.MD5, Kind.SHA1, Kind.SHA256) if _fits(kind, text)]
    if fitting == [Kind.SHA256]:
        raise _Malformed("kind", "could be sha256 or pdq; give --kind")
    if not fitting:
        raise _Malformed("value", "has no known length")
    return fitting[0]


def _fits(kind: Kind, text: str) -> bool:
    try:
        decode_value(kind, text)
    except ValueError:
        return False
    return True


_READERS: Final[dict[str, Callable[[BinaryIO, ImportOptions, _Problems], Iterator[Entry]]]] = {
    "csv": _read_csv,
    "ndjson": _read_ndjson,
    "text": _read_text,
}


def _row(shape: _Shape, row: Mapping[str, str], line: int, problems: _Problems) -> list[Entry]:
    try:
        return shape.entries(row)
    except _Malformed as problem:
        problems.add(line, problem.name, problem.reason)
        return []


def _lines(file: BinaryIO, problems: _Problems) -> Iterator[tuple[int, str]]:
    """Numbered lines as text. A line that is too long or not UTF-8 is a problem, and reads as empty."""
    number = 0
    while raw := file.readline(LINE_BYTES_MAX + 1):
        number += 1
        if len(raw) > LINE_BYTES_MAX:
            problems.add(number, "row", f"is longer than {LINE_BYTES_MAX} bytes")
            while raw and not raw.endswith(b"\n"):
                raw = file.readline(LINE_BYTES_MAX)
            raw = b"\n"
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            problems.add(number, "row", "is not valid UTF-8")
            line = "\n"
        yield number, line


def _chain(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _value(kind: Kind, text: str, name: str) -> bytes:
    try:
        return decode_value(kind, text)
    except ValueError as error:
        raise _Malformed(name, f"{error}" if name == kind.value else f"{error} ({kind.value})") from None


def _from_base64(text: str) -> bytes:
    value = base64.b64decode(text + "=" * (-len(text) % 4))
    if base64.b64encode(value).rstrip(b"=") != text.encode():
        raise ValueError("ends in bits that belong to no byte")
    return value


def _from_base32(text: str) -> bytes:
    try:
        value = base64.b32decode(text + "=" * (-len(text) % 8))
    except binascii.Error:
        raise ValueError("is not valid base32") from None
    if base64.b32encode(value).rstrip(b"=") != text.encode():
        raise ValueError("ends in bits that belong to no byte")
    return value


def _fold(name: str) -> str:
    """A column or kind name less its case, spaces and spelling."""
    return name.strip().lower().replace("normalized", "normalised").replace("_", "-")


def _kind_names() -> dict[str, Kind]:
    names = {kind.value: kind for kind in Kind}
    names.update({"sha-1": Kind.SHA1, "sha-256": Kind.SHA256})
    for digest in ("md5", "sha1", "sha256"):
        # A URL digest that names no variant was made of the URL as it stands.
        for alias in (f"url/{digest}", f"url/{digest}-raw"):
            names[alias] = Kind(f"url/raw-{digest}")
        names[f"url/{digest}-normalised"] = Kind(f"url/normalised-{digest}")
    return names


_KINDS: Final = _kind_names()
