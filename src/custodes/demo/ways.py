"""The ways in which a link lives or dies, and what a web server says in each of them: values only, no sockets.

``EXPECTED`` is the truth that a scan is compared with: the reasons that an examination of such a row may end with.
Saying it over a connection, with its delays and resets, is the server's part.
"""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final

from custodes.demo.corpus import Picture
from custodes.model import Reason

__all__ = ["EXPECTED", "OFF_SITE", "After", "Answer", "Way", "answer"]


class Way(StrEnum):
    """What happens to a link. The value is also the first part of the path that the server answers so."""

    OK = "ok"
    MOVED = "moved"
    CHANGED = "changed"
    BUSY_ONCE = "busy-once"
    LIMITED_ONCE = "limited-once"
    CUT = "cut"
    NOT_FOUND = "not-found"
    GONE = "gone"
    FORBIDDEN = "forbidden"
    ERROR = "error"
    RESET = "reset"
    SILENT = "silent"
    DRIP = "drip"
    LOOP = "loop"
    MOVED_DEAD = "moved-dead"
    MOVED_INSIDE = "moved-inside"
    SHORT = "short"
    PAGE = "page"
    EMPTY = "empty"
    HUGE = "huge"
    GZIP = "gzip"
    DOCUMENT = "document"
    BROKEN = "broken"
    BOMB = "bomb"
    # never reach the server
    REFUSED = "refused"
    NO_NAME = "no-name"
    INSIDE = "inside"
    FTP = "ftp"
    DATA = "data"
    FILE = "file"
    USERINFO = "userinfo"
    NO_URL = "no-url"
    BAD_URL = "bad-url"


OFF_SITE: Final = frozenset(
    {Way.REFUSED, Way.NO_NAME, Way.INSIDE, Way.FTP, Way.DATA, Way.FILE, Way.USERINFO, Way.NO_URL, Way.BAD_URL}
)
"""Ways that end before the server is asked: there is nothing for it to answer."""

EXPECTED: Final[dict[Way, tuple[Reason, ...]]] = {
    Way.OK: (Reason.FULL,),
    Way.MOVED: (Reason.FULL,),
    Way.CHANGED: (Reason.FULL,),
    Way.BUSY_ONCE: (Reason.FULL,),
    Way.LIMITED_ONCE: (Reason.FULL,),
    Way.CUT: (Reason.PARTIAL_DAMAGED,),
    Way.NOT_FOUND: (Reason.HTTP_404,),
    Way.GONE: (Reason.HTTP_410,),
    Way.FORBIDDEN: (Reason.HTTP_403,),
    Way.ERROR: (Reason.HTTP_5XX,),
    Way.RESET: (Reason.RESET,),
    # Which of the clocks runs out first depends on the limits that the scan was given.
    Way.SILENT: (Reason.TIMEOUT, Reason.TOO_SLOW),
    Way.DRIP: (Reason.TOO_SLOW, Reason.TIMEOUT),
    Way.LOOP: (Reason.REDIRECT_LIMIT,),
    Way.MOVED_DEAD: (Reason.HTTP_404,),
    Way.MOVED_INSIDE: (Reason.BLOCKED_ADDRESS,),
    Way.SHORT: (Reason.TRUNCATED,),
    Way.PAGE: (Reason.NOT_IMAGE,),
    Way.EMPTY: (Reason.EMPTY,),
    Way.HUGE: (Reason.TOO_LARGE,),
    # A client that asked for identity may refuse what it did not ask for, or unwrap it.
    Way.GZIP: (Reason.ENCODED, Reason.FULL),
    Way.DOCUMENT: (Reason.UNKNOWN_FORMAT,),
    Way.BROKEN: (Reason.BROKEN,),
    Way.BOMB: (Reason.TOO_MANY_PIXELS,),
    Way.REFUSED: (Reason.REFUSED,),
    Way.NO_NAME: (Reason.DNS,),
    Way.INSIDE: (Reason.BLOCKED_ADDRESS,),
    Way.FTP: (Reason.BLOCKED_SCHEME,),
    Way.DATA: (Reason.BLOCKED_SCHEME,),
    Way.FILE: (Reason.BLOCKED_SCHEME,),
    Way.USERINFO: (Reason.BLOCKED_USERINFO,),
    Way.NO_URL: (Reason.NO_URL,),
    Way.BAD_URL: (Reason.BAD_URL,),
}


class After(Enum):
    """What becomes of the connection when the answer has been written."""

    KEEP = "keep"
    CLOSE = "close"
    RESET = "reset"
    HANG = "hang"
    DRIP = "drip"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. ``length_bytes`` is what the header claims, where that differs from the body; status 0 says nothing
    at all.
    """

    status: int
    mime: str = "text/plain"
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    length_bytes: int | None = None
    after: After = After.KEEP


_STATUS: Final = {Way.NOT_FOUND: 404, Way.GONE: 410, Way.FORBIDDEN: 403, Way.ERROR: 500}
_PAGE: Final = (
    b"<!doctype html>\n<html><head><title>Moved</title></head><body><p>This picture has a new home.</p></body></html>\n"
)
_PDF: Final = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<< /Type /Catalog >>\nendobj\ntrailer\n<< /Root 1 0 R >>\n%%EOF\n"
_PNG: Final = b"\x89PNG\r\n\x1a\n"


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _png_header(width: int, height: int) -> bytes:
    return _PNG + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


_BOMB: Final = _png_header(60_000, 60_000) + _chunk(b"IDAT", zlib.compress(bytes(1000))) + _chunk(b"IEND", b"")
_NOISE: Final = bytes((7 * n * n + 13 * n + 5) % 251 for n in range(900))
# Each begins as its format does, so it is given to a decoder; none has one pixel in it.
_BROKEN: Final = (
    ("image/png", _png_header(640, 480) + b"\x00\x00\x03\x84IDAT" + _NOISE),
    ("image/jpeg", b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00" + _NOISE),
    ("image/gif", b"GIF89a\x80\x02\xe0\x01\x00\x00\x00"),
)


def _zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(zipfile.ZipInfo("readme.txt"), "nothing to see\n")
    return out.getvalue()


_DOCUMENTS: Final = (("application/pdf", _PDF), ("application/zip", _zip()), ("image/jpeg", _PDF))


def answer(way: Way, row: int, picture: Picture, *, again: bool) -> Answer:
    """What the server says of a link: ``again`` is whether this link was asked for before."""
    if way in _STATUS:
        return Answer(_STATUS[way], body=b"no picture here\n")
    if way in (Way.BUSY_ONCE, Way.LIMITED_ONCE) and not again:
        return _later(way)
    if way in _REDIRECTS:
        return _redirect(way, row, picture)
    if way in (Way.RESET, Way.SILENT):
        return Answer(0, after=After.RESET if way is Way.RESET else After.HANG)
    return _body(way, row, picture)


def _later(way: Way) -> Answer:
    if way is Way.BUSY_ONCE:
        return Answer(503, body=b"back soon\n")
    return Answer(429, body=b"not so fast\n", headers=(("Retry-After", "1"),))


_REDIRECTS: Final = {
    Way.MOVED: "/{ok}/{row}/{name}",
    Way.LOOP: "/{loop}/{row}/{name}",
    Way.MOVED_DEAD: "/{not_found}/{row}/{name}",
    Way.MOVED_INSIDE: "http://169.254.169.254/latest/{row}/{name}",
}


def _redirect(way: Way, row: int, picture: Picture) -> Answer:
    target = _REDIRECTS[way].format(ok=Way.OK, loop=Way.LOOP, not_found=Way.NOT_FOUND, row=row, name=picture.name)
    return Answer((301, 302, 303, 307, 308)[row % 5], headers=(("Location", target),))


def _body(way: Way, row: int, picture: Picture) -> Answer:
    """The answers with status 200: the picture, or what stands in its place."""
    mime, data = picture.mime, picture.data
    whole = Answer(200, mime, data)
    special = {
        Way.CUT: lambda: Answer(200, mime, data[: len(data) * 6 // 10]),
        Way.SHORT: lambda: Answer(200, mime, data[:-1], length_bytes=len(data), after=After.CLOSE),
        Way.HUGE: lambda: Answer(200, mime, data[:4096], length_bytes=10**12, after=After.CLOSE),
        Way.DRIP: lambda: Answer(200, mime, data, after=After.DRIP),
        Way.PAGE: lambda: Answer(200, "text/html; charset=utf-8", _PAGE),
        Way.EMPTY: lambda: Answer(200, mime),
        Way.GZIP: lambda: Answer(200, mime, gzip.compress(data, 1, mtime=0), (("Content-Encoding", "gzip"),)),
        Way.DOCUMENT: lambda: Answer(200, *_DOCUMENTS[row % len(_DOCUMENTS)]),
        Way.BROKEN: lambda: Answer(200, *_BROKEN[row % len(_BROKEN)]),
        Way.BOMB: lambda: Answer(200, "image/png", _BOMB),
    }
    return special[way]() if way in special else whole
