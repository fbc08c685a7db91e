r"""Text of strangers, made fit for XML 1.0 and for the eyes of who reads it.

Promises that what XML forbids, what moves a cursor and what turns the direction of writing is written out as ``\u{HEX}``; that what stands in prose
(``clipped``, ``quoted``) stays in its line and in its quotes, and ``unescaped`` gives it back. What fits into which field is for ``rules``.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["LEGEND", "clipped", "legal", "quoted", "unescaped"]

# XML 1.0 section 2.2, less C1 controls, DEL and carriage returns (which parsers turn into line feeds, section 2.11); and UAX #9's explicit marks.
_TOLD: Final = re.compile(
    "[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
_LINES: Final = re.compile("[\t\n\u2028\u2029]|\\\\(?=u\\{)")  # and what would be taken for an escape
_QUOTE: Final = re.compile('"')
_WRITTEN: Final = re.compile(r"\\u\{([0-9A-F]{1,6})\}")

LEGEND: Final = "Characters that XML cannot hold or that would not be seen are written as \\u{HEX}."


def legal(text: str) -> str:
    """Text that any XML 1.0 document can hold. Line feeds and tabs stay."""
    return _TOLD.sub(_written, text)


def clipped(text: str, chars_max: int) -> str:
    """In one line, which nothing in the text can end, and no longer than this; what was cut is said."""
    return _cut(_one_line(text), chars_max)


def quoted(text: str, chars_max: int) -> str:
    """As ``clipped``, in quotes, which nothing in the text can end."""
    return f'"{_cut(_QUOTE.sub(_written, _one_line(text)), chars_max)}"'


def unescaped(text: str) -> str:
    """What ``clipped`` or ``quoted`` was given, if nothing was cut."""
    return _WRITTEN.sub(lambda found: chr(int(found[1], 16)), text)


def _one_line(text: str) -> str:
    return legal(_LINES.sub(_written, text))


def _cut(line: str, chars_max: int) -> str:
    return line if len(line) <= chars_max else f"{line[:chars_max]} [and {len(line) - chars_max} more characters]"


def _written(found: re.Match[str]) -> str:
    return f"\\u{{{ord(found[0]):X}}}"
