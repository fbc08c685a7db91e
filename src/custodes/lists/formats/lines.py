"""Numbered lines of a file, each of bounded length."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final

from custodes.lists.formats.reading import Reading

__all__ = ["LINE_BYTES_MAX", "byte_lines", "text_lines"]

LINE_BYTES_MAX: Final = 1 << 20


def byte_lines(file: BinaryIO, reading: Reading) -> Iterator[bytes]:
    """The lines, with their ends. One that is too long is a problem, and reads as empty."""
    number = 0
    while raw := file.readline(LINE_BYTES_MAX + 1):
        number += 1
        if len(raw) > LINE_BYTES_MAX:
            reading.problem(number, "row", f"is longer than {LINE_BYTES_MAX} bytes")
            while raw and not raw.endswith(b"\n"):
                raw = file.readline(LINE_BYTES_MAX)
            raw = b"\n"
        yield raw


def text_lines(file: BinaryIO, reading: Reading) -> Iterator[str]:
    """The lines as text. One that is not UTF-8 is a problem, and reads as empty."""
    encoding = "utf-8-sig"  # a byte order mark may stand before the first
    for number, raw in enumerate(byte_lines(file, reading), 1):
        try:
            yield raw.decode(encoding)
        except UnicodeDecodeError:
            reading.problem(number, "row", "is not valid UTF-8")
            yield "\n"
        encoding = "utf-8"
