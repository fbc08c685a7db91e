"""Plain text: one value a line, or a kind and a value; ``#`` begins a comment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from custodes.lists.formats.lines import text_lines
from custodes.lists.formats.options import ImportOptions
from custodes.lists.formats.reading import Malformed, Passed, Reading
from custodes.lists.formats.values import decode_value, parse_kind, passed_over
from custodes.model import Entry, Kind, Role

__all__ = ["read_text"]


def read_text(file: BinaryIO, options: ImportOptions, reading: Reading) -> Iterator[Entry]:
    """The entries of a text file, in its order."""
    given = parse_kind(options.kind) if options.kind else None
    role = options.role or Role.CONFIRMED
    for number, line in enumerate(text_lines(file, reading), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        reading.records += 1
        try:
            kind, value = _pair(words, given)
        except Malformed as problem:
            reading.problem(number, problem.name, problem.reason)
        except Passed as passed:
            reading.skipped.add(number, passed.reason)
        else:
            yield Entry(kind, value, "", role=role)


def _pair(words: list[str], given: Kind | None) -> tuple[Kind, bytes]:
    if len(words) > 1 and (reason := passed_over(words[0])):
        raise Passed(reason)
    if len(words) > 2:
        raise Malformed("row", "has more than two words")
    kind = parse_kind(words[0]) if len(words) == 2 else given
    if kind is None and len(words) == 2:
        raise Malformed("kind", "is unknown")
    if kind is None:
        return _inferred(words[0])
    try:
        return kind, decode_value(kind, words[-1])
    except ValueError as error:
        raise Malformed("value", f"{error} ({kind.value})") from None


def _inferred(text: str) -> tuple[Kind, bytes]:
    """The only kind that a value of this length can be, and the value.

    A 32-byte value may be sha256 or pdq, so it is never guessed. 32 hex digits could be sha1 in base32 with letters up to F only: about
    1 in 10^13.
    """
    for kind in (Kind.MD5, Kind.SHA1, Kind.SHA256, Kind.PHOTODNA):
        try:
            value = decode_value(kind, text)
        except ValueError:
            continue
        if kind is Kind.SHA256:
            raise Malformed("kind", "could be sha256 or pdq; give --kind")
        return kind, value
    raise Malformed("value", "has no known length")
