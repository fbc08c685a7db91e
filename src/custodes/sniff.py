"""What an image file is by its bytes alone: its format, its size, its scans; and copies without what a decoder need not see.

Promises to be pure arithmetic on bytes, with no parser behind it, at a cost that grows with the file and not with what the
file claims. Whether the file keeps what its header says is left to ``decoder.image``.

Sources: JPEG: ITU-T T.81. PNG: W3C PNG 3. WebP: RFC 9649, RFC 6386. AVIF: ISO 14496-12, ISO 23008-12, AV1 Image File Format 1.1.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

__all__ = [
    "FORMATS",
    "JpegLayout",
    "count_png_frames",
    "cut_scans",
    "format_of",
    "is_animated_webp",
    "is_plain_jpeg",
    "is_text",
    "jpeg_coding",
    "jpeg_layout",
    "longer_scan",
    "luma_scans",
    "size_of",
    "strip_png",
]

_MAGIC: Final = (
    ("jpeg", re.compile(rb"\xff\xd8\xff")),
    ("png", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("gif", re.compile(rb"GIF8[79]a")),
    ("webp", re.compile(rb"RIFF....WEBPVP8[ LX]", re.DOTALL)),
    # the file type box with an AV1 brand among its first 16
    ("avif", re.compile(rb"\0\0\0.ftyp(?:....){0,15}?avi[fs]", re.DOTALL)),
    ("bmp", re.compile(rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL)),
    ("tiff", re.compile(rb"II[*+]\0|MM\0[*+]")),
)
FORMATS: Final = tuple(name for name, _ in _MAGIC)
"""The formats that are decoded. Nothing else reaches a parser."""


def format_of(data: bytes) -> str | None:
    """The format by magic number; None for anything else."""
    return next((name for name, magic in _MAGIC if magic.match(data)), None)


_DOCUMENT: Final = re.compile(rb"%PDF|%!PS")
_CONTROL: Final = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f]")


def is_text(data: bytes) -> bool:
    """Whether this is text (HTML, XML, SVG, JSON, a message) or nothing at all: what a server sends in an image's place."""
    head = data[:1024]
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        head = head[2:].replace(b"\0", b"")
    if _DOCUMENT.match(head) or _CONTROL.search(head):
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return (
            len(data) > len(head) and error.start >= len(head) - 3
        )  # a character cut in two by the end of what we read
    return True


# --- sizes ---


def _webp_size(data: bytes) -> tuple[int, int]:
    """RFC 9649 sections 2.5 to 2.7; RFC 6386 section 9.1."""
    if data[12:16] == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def _avif_size(data: bytes) -> tuple[int, int]:
    """The largest spatial extents property (ISO 23008-12 section 6.5.3). Tracks may have none: then the parser's is judged."""
    found = (match.end() + 4 for match in re.finditer(b"ispe", data[: 1 << 20]))
    sizes = [struct.unpack_from(">II", data, at) for at in found if at + 8 <= len(data)]
    return max(sizes, key=lambda size: size[0] * size[1], default=(1, 1))


def _bmp_size(data: bytes) -> tuple[int, int]:
    if data[14] == 12:
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
    return width, abs(height)


def _jpeg_size(data: bytes) -> tuple[int, int]:
    for marker, start, _ in _segments(data):
        if marker in _SOF:
            height, width = struct.unpack_from(">HH", data, start + 1)
            return width, height
        if marker == _SOS:
            break
    raise ValueError("no frame header")


_SIZES: Final[dict[str, Callable[[bytes], tuple[int, int]]]] = {
    "jpeg": _jpeg_size,
    "png": lambda data: struct.unpack_from(">II", data, 16),
    "gif": lambda data: struct.unpack_from("<HH", data, 6),
    "webp": _webp_size,
    "avif": _avif_size,
    "bmp": _bmp_size,
}


def size_of(data: bytes, name: str) -> tuple[int, int] | None:
    """(width, height) as the header states them, so that no parser allocates for a size that is not allowed.

    None for TIFF, whose directories may lie anywhere. Raises ValueError where the header is not there.
    """
    if name not in _SIZES:
        return None
    try:
        return _SIZES[name](data)
    except (struct.error, IndexError):
        raise ValueError("header cut short") from None


# --- JPEG ---

_SOS, _EOI, _DRI, _DQT = 0xDA, 0xD9, 0xDD, 0xDB
_SOF: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL: Final = frozenset({0xC0, 0xC1})
_PROGRESSIVE: Final = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
# Within a scan 0xFF is followed by 0x00 or a restart marker (T.81 section B.1.1.5); anything else is the next segment.
_MARKER: Final = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_STOP: Final = re.compile(rb"\xff[^\x00\xff]")  # where there are no restarts, a restart marker ends the data too
_BARE: Final = frozenset({0x01, 0xD8, _EOI})


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of each segment, ``start`` and ``end`` being those of its payload. Ends with the end marker, if any."""
    at = 2
    while (found := _MARKER.search(data, at)) is not None:
        marker, at = data[found.end() - 1], found.end()
        if marker in _BARE:
            yield marker, at, at
            if marker == _EOI:
                return
            continue
        end = at + max(2, int.from_bytes(data[at : at + 2], "big"))
        yield marker, at + 2, end
        at = end


@dataclass(frozen=True, slots=True)
class _Scan:
    """One scan: its place in the file from marker to next marker, and what it carries (T.81 section B.2.3)."""

    start: int
    end: int
    components: bytes
    first: int
    last: int
    high: int
    low: int


@dataclass(slots=True)
class JpegLayout:
    """A JPEG file by its markers. ``luma`` is the first component; ``ended`` says that the end marker is there."""

    progressive: bool = False
    restarts: bool = False
    components: int = 0
    luma: int = -1
    ended: bool = False
    scans: list[_Scan] = field(default_factory=list)

    @property
    def refined(self) -> bool:
        """Whether the scans, by their headers, bring every luma coefficient to its last bit (T.81 annex G)."""
        bands = [scan for scan in self.scans if scan.low == 0 and self.luma in scan.components]
        return {k for scan in bands for k in range(scan.first, scan.last + 1)} >= set(range(64))


def jpeg_layout(data: bytes) -> JpegLayout:
    """Walk the markers, of the whole file where there may be many scans. Where the first scan of a sequential file carries every
    component, decoders stop after it, and so does the walk: most files are such, and a pass over their data is a tenth of their decoding.
    """
    layout = JpegLayout()
    pending: tuple[int, bytes, int, int, int, int] | None = None
    for marker, start, end in _segments(data):
        if pending is not None:
            layout.scans.append(_Scan(pending[0], start - (2 if marker in _BARE else 4), *pending[1:]))
            pending = None
        if marker in _SOF and layout.luma < 0 and start + 7 <= len(data):
            layout.progressive, layout.components, layout.luma = (
                marker in _PROGRESSIVE,
                data[start + 5],
                data[start + 6],
            )
        elif marker == _SOS and start + 6 <= end <= len(data):
            first, last, precision = data[end - 3 : end]
            components = data[start + 1 : start + 1 + 2 * data[start] : 2]
            pending = (start - 4, components, first, last, precision >> 4, precision & 0x0F)
            if not layout.progressive and len(components) == layout.components:
                break
        elif marker == _DRI:
            layout.restarts = True
        elif marker == _EOI:
            layout.ended = True
    if pending is not None:
        layout.scans.append(_Scan(pending[0], len(data), *pending[1:]))
    return layout


_LUMA_STEPS: Final = 3689  # all of the luma table of T.81 section K.1, which quality 50 uses as it is
_SUBSAMPLINGS: Final = {0x11: "444", 0x21: "422"}


def jpeg_coding(data: bytes) -> tuple[int, str]:
    """About how finely a file is coded: the quality by which common encoders come nearest to its first table, 1 to 100, and its chroma (``444``, ``422``,
    ``420``). Encoders scale one table (libjpeg, jcparam.c, jpeg_quality_scaling). What is not there counts as quality 100, and 420.
    """
    steps, sampling = 0, "420"
    for marker, start, end in _segments(data):
        if marker == _DQT and not steps:
            wide = data[start] >> 4 if start < len(data) else 0
            steps = sum(data[start + 1 : min(end, start + 65)]) if not wide else _LUMA_STEPS
        elif marker in _SOF:
            layers = data[start + 6 : end][1::3]
            sampling = _SUBSAMPLINGS.get(layers[0], "420") if layers[1:] == b"\x11\x11" else "420"
        elif marker == _SOS:
            break
    per_cent = 100 * steps / _LUMA_STEPS
    quality = round((200 - per_cent) / 2 if per_cent <= 100 else 5000 / per_cent)
    return min(max(quality, 1), 100), sampling


def is_plain_jpeg(data: bytes) -> bool:
    """Whether this is one sequential scan of three components of 8 bits, with nothing but the end marker behind its data: there no decoder runs out of data."""
    frames = 0
    for marker, start, end in _segments(data):
        if marker in _SOF:
            frames += 1
            if marker not in _SEQUENTIAL or (data[start : start + 1], data[start + 5 : start + 6]) != (
                b"\x08",
                b"\x03",
            ):
                return False
        elif marker == _SOS:
            stop = _MARKER.search(data, end)
            ended = stop is not None and data[stop.end() - 1] == _EOI
            return frames == 1 and data[start : start + 1] == b"\x03" and ended
    return False


def cut_scans(data: bytes, layout: JpegLayout, scans_max: int) -> bytes:
    """A file of more than ``scans_max`` scans without those beyond, because each may cost a pass over the whole picture."""
    return data[: layout.scans[scans_max].start] + b"\xff\xd9"


def longer_scan(data: bytes, more: bytes) -> bytes:
    """The file with ``more`` at the end of the data of its one scan: a decoder that has the whole picture by then does not read it."""
    found = _STOP.search(data, jpeg_layout(data).scans[0].start + 2)
    head = data[: found.start() if found else len(data)].rstrip(b"\xff")  # else it would make a marker of what follows
    return head + more + data[len(head) :]


def luma_scans(data: bytes, layout: JpegLayout, reduction: int) -> bytes:
    """A progressive file with only the scans that its luma at 1/``reduction`` depends on; most of the work lies in the others.

    Kept are all scans of constant coefficients and those of luma, but for the last bit of its other coefficients: half of the work that is
    left, for a fraction of a bit of drift. At 1/4 and 1/8 only the lowest coefficients are drawn (zigzag 0 to 4), and their first pass
    already fixes them well enough.
    """

    def kept(scan: _Scan) -> bool:
        if scan.first == 0:
            return True
        if layout.luma not in scan.components:
            return False
        return scan.first <= 4 and scan.high == 0 if reduction >= 4 else scan.high == 0 or scan.low > 0

    parts, at = [], 0
    for scan in layout.scans:
        if not kept(scan):
            parts.append(data[at : scan.start])
            at = scan.end
    return b"".join([*parts, data[at:]])


# --- PNG and WebP ---

_PNG_METADATA: Final = frozenset({b"zTXt", b"iTXt", b"tEXt", b"iCCP", b"eXIf"})


def strip_png(data: bytes) -> bytes:
    """The file without text, profile and Exif chunks: they hold no pixels, and may hold bombs."""
    kept, start, at = [], 0, 8
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] in _PNG_METADATA:
            kept.append(data[start:at])
            start = end
        at = end
    return b"".join([*kept, data[start:]]) if kept else data


def count_png_frames(data: bytes) -> int:
    """An upper bound for the frames that are really there, because a file may announce any number."""
    return data.count(b"fcTL") + 1


def is_animated_webp(data: bytes) -> bool:
    """The animation flag of the extended header (RFC 9649 section 2.7)."""
    return data[12:16] == b"VP8X" and len(data) > 20 and bool(data[20] & 0x02)
