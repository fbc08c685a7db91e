"""Hash lists as authorities give them, read and written. See docs/formats/list-import.md and docs/formats/list-export.md.

A file is read as a stream and taken whole or not at all; nothing that is said of it ever holds a value. ``ListFile`` is one file in any
format; each format has its module, which yields entries and notes what it passed over and what is wrong.
"""

from __future__ import annotations

from custodes.lists.formats.file import ListFile, guess_format, read_entries
from custodes.lists.formats.lines import LINE_BYTES_MAX
from custodes.lists.formats.options import FORMATS, ImportOptions, check_map, parse_map
from custodes.lists.formats.own import OWN_FORMAT, OwnHeader, export_lines
from custodes.lists.formats.reading import FIELD_CHARS_MAX, PROBLEMS_SHOWN_MAX, SKIPPED_SHOWN_MAX, Skipped
from custodes.lists.formats.values import decode_value, parse_kind

__all__ = [
    "FIELD_CHARS_MAX",
    "FORMATS",
    "LINE_BYTES_MAX",
    "OWN_FORMAT",
    "PROBLEMS_SHOWN_MAX",
    "SKIPPED_SHOWN_MAX",
    "ImportOptions",
    "ListFile",
    "OwnHeader",
    "Skipped",
    "check_map",
    "decode_value",
    "export_lines",
    "guess_format",
    "parse_kind",
    "parse_map",
    "read_entries",
]
