"""Rows of named fields: csv and JSON lines, and the csv files of ICSE, NSRL and HashKeeper.

A file is long (columns ``kind`` and ``value``) or wide (one column a kind). Which column is which is found out once for each set of
names; rows are lists of cells from there on, because files have millions of them.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO, Final

import msgspec

from custodes.errors import ListError
from custodes.lists.formats.lines import text_lines
from custodes.lists.formats.options import DETAILS, ImportOptions
from custodes.lists.formats.reading import Malformed, Passed, Reading, checked_text
from custodes.lists.formats.values import Decoder, decoder_of, fold, parse_kind, passed_over
from custodes.model import Entry, Role

__all__ = ["ICSE_HEADER", "read_csv", "read_hashkeeper", "read_icse", "read_ndjson", "read_nsrl"]

ICSE_HEADER: Final = (
    "MD5;SHA1;PhotoDNA;Image ID;Is distributed;Victim identified;Offender identified;Series name;"
    "Number of submissions;File Available;Media Type;Baseline"
)
_FIELD_CHARS_MAX: Final = 131_072
_SHAPES_MAX: Final = 256  # shapes of JSON lines remembered at once
_ROLES: Final = {role.value: role for role in Role}
_HARMLESS: Final = {"role": "=negative"}  # whatever a column of that name may say
_YES: Final = {"y", "yes", "true", "t", "1"}
_NO: Final = {"n", "no", "false", "f", "0", ""}


@dataclass(frozen=True, slots=True)
class _Shape:
    """Where the fields of a row are. Columns are numbers; what is the same in all rows stands behind the row's own cells."""

    details: tuple[tuple[str, int], ...]  # in the order of DETAILS, those that there are
    value: int  # column of a long file; -1: there is none
    kind: int  # the same
    given: Decoder | None  # for rows that name no kind
    wide: tuple[tuple[Decoder, int], ...]
    constants: tuple[str, ...]
    role: Role

    def entries(self, row: Sequence[str]) -> list[Entry]:
        """The entries of one row. Malformed, Passed."""
        if self.constants:
            row = [*row, *self.constants]
        text = {"id": "", "category": "", "assurance": "", "role": ""}
        for name, column in self.details:
            if cell := row[column].strip():
                text[name] = checked_text(name, cell)
        role = _ROLES.get(text["role"].lower()) if text["role"] else self.role
        if role is None:
            raise Malformed("role", f"is not one of {', '.join(_ROLES)}")
        own_id, category, assurance = text["id"], text["category"], text["assurance"]
        pairs = self._wide(row) if self.wide else (self._long(row),)
        return [Entry(decoder.kind, value, own_id, category, assurance, role) for decoder, value in pairs]

    def _long(self, row: Sequence[str]) -> tuple[Decoder, bytes]:
        value = row[self.value].strip() if self.value >= 0 else ""
        name = row[self.kind].strip() if self.kind >= 0 else ""
        decoder = decoder_of(name) if name else self.given
        if decoder is None:
            if reason := passed_over(name):
                raise Passed(reason)
            raise Malformed("kind", "is unknown" if name else "is missing; give --kind")
        if not value:
            raise Malformed("value", "is missing")
        return decoder, _decoded(decoder, value, "value")

    def _wide(self, row: Sequence[str]) -> list[tuple[Decoder, bytes]]:
        cells = [(decoder, row[column].strip()) for decoder, column in self.wide]
        pairs = [(decoder, _decoded(decoder, text, decoder.kind.value)) for decoder, text in cells if text]
        if not pairs:
            raise Malformed("value", "the row has no value of any kind")
        return pairs


def _shape(names: Sequence[str], options: ImportOptions) -> _Shape:
    """Match the file's column names, folded, with our fields. Malformed when a column that is mapped is absent or stands twice."""
    mapped = {ours: fold(theirs) for ours, theirs in options.columns.items() if not theirs.startswith("=")}
    constants = {ours: theirs[1:].strip() for ours, theirs in options.columns.items() if theirs.startswith("=")}
    columns = {name: name for name in names if name in {"value", "kind", *DETAILS} and name not in constants}
    columns |= {ours: theirs for ours, theirs in mapped.items() if parse_kind(ours) is None}
    wide = [(decoder, theirs) for ours, theirs in mapped.items() if (decoder := decoder_of(ours))]
    if not wide and "value" not in columns:
        wide = [(decoder, name) for name in names if (decoder := decoder_of(name))]
    for ours, theirs in [*columns.items(), *((decoder.kind.value, theirs) for decoder, theirs in wide)]:
        if names.count(theirs) != 1:
            raise Malformed(ours, "twice" if theirs in names else "absent")
    places = {ours: names.index(theirs) for ours, theirs in columns.items()}
    places |= {ours: len(names) + number for number, ours in enumerate(constants)}
    return _Shape(
        details=tuple((name, places[name]) for name in DETAILS if name in places),
        value=places.get("value", -1),
        kind=places.get("kind", -1),
        given=decoder_of(options.kind) if options.kind else None,
        wide=tuple((decoder, names.index(theirs)) for decoder, theirs in wide),
        constants=tuple(constants.values()),
        role=options.role or Role.CONFIRMED,
    )


def _taken(shape: _Shape, row: Sequence[str], line: int, reading: Reading) -> list[Entry]:
    reading.records += 1
    try:
        return shape.entries(row)
    except Malformed as problem:
        reading.problem(line, problem.name, problem.reason)
    except Passed as passed:
        reading.skipped.add(line, passed.reason)
    return []


def _decoded(decoder: Decoder, text: str, name: str) -> bytes:
    try:
        return decoder(text)
    except ValueError as error:
        kind = decoder.kind.value
        raise Malformed(name, f"{error}" if name == kind else f"{error} ({kind})") from None


# -- csv


def read_csv(file: BinaryIO, options: ImportOptions, reading: Reading) -> Iterator[Entry]:
    """A csv file with a line of names."""
    yield from _read_table(_csv_rows(file, reading), options, reading)


def read_nsrl(file: BinaryIO, options: ImportOptions, reading: Reading) -> Iterator[Entry]:
    """The reference data set of known software, as csv."""
    yield from read_csv(file, msgspec.structs.replace(options, columns=options.columns | _HARMLESS), reading)


def read_hashkeeper(file: BinaryIO, options: ImportOptions, reading: Reading) -> Iterator[Entry]:
    """A HashKeeper hash set: its column ``hash`` is MD5."""
    yield from read_csv(file, msgspec.structs.replace(options, columns={"md5": "hash"} | _HARMLESS), reading)


def read_icse(file: BinaryIO, options: ImportOptions, reading: Reading) -> Iterator[Entry]:
    """INTERPOL's export: its Baseline flag is the category, videos are passed over."""
    reading.scheme = "icse"
    named = {"md5": "MD5", "sha1": "SHA1", "photodna": "PhotoDNA", "id": "Image ID"}
    rows = _baseline(_csv_rows(file, reading, ";"), reading)
    yield from _read_table(rows, msgspec.structs.replace(options, columns=named), reading)


def _read_table(rows: Iterator[tuple[int, list[str]]], options: ImportOptions, reading: Reading) -> Iterator[Entry]:
    _, header = next(rows, (1, []))
    if not header:
        return
    shape = _header([fold(name) for name in header], options, reading)
    width = len(header)
    for line, row in rows:
        if len(row) == width or _whole(row, width, line, reading):
            yield from _taken(shape, row, line, reading)


def _csv_rows(file: BinaryIO, reading: Reading, delimiter: str = "") -> Iterator[tuple[int, list[str]]]:
    """Rows that are not blank, each with the line that it ends in."""
    lines = text_lines(file, reading)
    first = next(lines, "")
    reader = csv.reader(chain([first], lines), delimiter=delimiter or max(",;\t", key=first.count), strict=True)
    csv.field_size_limit(_FIELD_CHARS_MAX)  # one for the whole process, which others set as well
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error:  # its text may quote the field
        reading.problem(reader.line_num, "row", "is not valid csv, or has a field over 131,072 characters")


def _header(names: list[str], options: ImportOptions, reading: Reading) -> _Shape:
    try:
        shape = _shape(names, options)
    except Malformed as problem:
        if problem.reason == "twice":
            raise ListError(f"{reading.file} line 1: a column that is needed stands twice") from None
        raise ListError(
            f"{reading.file} line 1: the column mapped to {problem.name} is not there",
            hint="check --map, or --format where you gave one",
        ) from None
    if shape.value < 0 and not shape.wide:
        raise ListError(
            f"{reading.file} line 1: no column of hashes is recognised",
            hint="name a column value or by its kind (md5, pdq, ...), or map one with --map value=COLUMN,kind==md5",
        )
    return shape


def _baseline(rows: Iterator[tuple[int, list[str]]], reading: Reading) -> Iterator[tuple[int, list[str]]]:
    """ICSE rows with a category, less the videos."""
    line, header = next(rows, (1, []))
    names = [fold(name) for name in header]
    if "baseline" not in names or "media type" not in names:
        raise ListError(
            f"{reading.file} line 1: the columns Media Type and Baseline of ICSE are not there", hint="check --format"
        )
    flag, media, width = names.index("baseline"), names.index("media type"), len(names)
    yield line, [*header, "category"]
    for line, row in rows:
        if not _whole(row, width, line, reading):
            continue
        said = row[flag].strip().lower()
        if row[media].strip().lower().startswith("video"):
            reading.records += 1
            reading.skipped.add(line, "video")
        elif said in _YES or said in _NO:
            yield line, [*row, "baseline" if said in _YES else "not-baseline"]
        else:
            reading.records += 1
            reading.problem(line, "Baseline", "is neither yes nor no")


def _whole(row: Sequence[str], width: int, line: int, reading: Reading) -> bool:
    if len(row) == width:
        return True
    reading.records += 1
    reading.problem(line, "row", f"has {len(row)} fields, the header has {width}")
    return False


# -- JSON lines


def read_ndjson(file: BinaryIO, options: ImportOptions, reading: Reading) -> Iterator[Entry]:
    """One flat object a line."""
    mapped = dict.fromkeys(fold(theirs) for theirs in options.columns.values() if not theirs.startswith("="))
    shapes: dict[tuple[str, ...], tuple[_Shape, list[str]]] = {}
    for number, line in enumerate(text_lines(file, reading), 1):
        if not line.strip():
            continue
        row = _object(line)
        if row is None:
            reading.records += 1
            reading.problem(number, "row", "is not a flat JSON object with each name once")
            continue
        names = tuple(row)
        if names not in shapes:
            if len(shapes) >= _SHAPES_MAX:
                shapes.clear()
            more = [name for name in mapped if name not in row]  # mapped, and not in this line: empty
            shapes[names] = _shape([*names, *more], options), [""] * len(more)
        shape, empty = shapes[names]
        yield from _taken(shape, [*row.values(), *empty], number, reading)


def _object(line: str) -> dict[str, str] | None:
    """A flat object as text by folded name; None when it is anything else."""
    try:
        row = _JSON.decode(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _flat(pairs: list[tuple[str, object]]) -> dict[str, str]:
    """ValueError when it nests, names anything twice, or is not Unicode.

    Parsers that keep the last of two equal names would lose an entry in silence.
    """
    row: dict[str, str] = {}
    for given, value in pairs:
        name = fold(given)
        if name in row or isinstance(value, (dict, list)):
            raise ValueError
        text = value if isinstance(value, str) else "" if value is None else str(value)
        if not text.isascii():
            text.encode()  # a lone surrogate is no text
        row[name] = text
    return row


def _no_number(_: str) -> None:
    raise ValueError("NaN and Infinity are not JSON")


_JSON: Final = json.JSONDecoder(object_pairs_hook=_flat, parse_constant=_no_number)
