"""SVG drawings: read strictly, written again from an allow-list, drawn without files, fonts or network. Meant for inside the jail.

Promises that a document with a doctype, an entity, a script, a handler, a style sheet, a link out of itself or an element that is not named here is
refused whole, never repaired: what is drawn is then what a browser would draw, but for smoothing. Text is refused too: without the reader's
fonts nobody can judge what it says. Whether the drawing may leave is for others.

Source: W3C SVG 1.1 and SVG 2; elements and attributes that only paint.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from typing import Final
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from custodes.sniff import format_of

try:
    import resvg_py as _resvg
except ImportError:  # an extra: without it every drawing is refused
    _resvg = None  # type: ignore[assignment]

__all__ = ["RefusedSvg", "Svg", "drawn", "is_svg", "read_svg"]

BYTES_MAX: Final = 4 << 20
ELEMENTS_MAX: Final = 20_000
DEPTH_MAX: Final = 64
USES_MAX: Final = 200
_SIDE_MAX: Final = 4096
_NAMESPACE: Final = "http://www.w3.org/2000/svg"
_XLINK: Final = "http://www.w3.org/1999/xlink"

# fmt: off
_ELEMENTS: Final = frozenset(
    {
        "svg", "g", "defs", "symbol", "use", "path", "rect", "circle", "ellipse", "line", "polyline",
        "polygon", "linearGradient", "radialGradient", "stop", "clipPath", "mask", "pattern", "image",
        "title", "desc"
    }
)
_ATTRIBUTES: Final = frozenset(
    {
        "id", "version", "width", "height", "viewBox", "preserveAspectRatio", "x", "y", "x1", "y1", "x2",
        "y2", "cx", "cy", "r", "rx", "ry", "fx", "fy", "fr", "d", "points", "transform",
        "gradientTransform", "patternTransform", "gradientUnits", "patternUnits", "patternContentUnits",
        "clipPathUnits", "maskUnits", "maskContentUnits", "spreadMethod", "offset", "pathLength", "fill",
        "stroke", "color", "opacity", "fill-opacity", "stroke-opacity", "stop-color", "stop-opacity",
        "fill-rule", "clip-rule", "clip-path", "mask", "stroke-width", "stroke-linecap", "stroke-linejoin",
        "stroke-miterlimit", "stroke-dasharray", "stroke-dashoffset", "display", "visibility",
        "shape-rendering", "vector-effect", "mix-blend-mode", "href"
    }
)
# fmt: on
_WITHOUT_EFFECT: Final = frozenset({"title", "desc"})  # and what is written in them: left out
_VALUE: Final = re.compile(r"[^<>&\\@;{}\x00-\x08]*")
_URL: Final = re.compile(r"url\s*\(\s*['\"]?#[\w.:-]+['\"]?\s*\)", re.IGNORECASE)
_CALL: Final = re.compile(
    r"url\s*\(|image\s*\(|src\s*\(|expression|javascript|var\s*\(|env\s*\(|attr\s*\(", re.IGNORECASE
)
_INSIDE: Final = re.compile(r"#[\w.:-]+")
_DATA: Final = re.compile(r"data:image/(png|jpeg);base64,([A-Za-z0-9+/=\s]+)")
_HEAD: Final = re.compile(rb"\s*+(?><\?xml[^>]*\?>)?\s*+(?><!--.*?-->\s*)*+<svg[\s>]", re.DOTALL)


class RefusedSvg(ValueError):  # noqa: N818 - an outcome, not an error: it never leaves the decoder
    """The document is not one that is drawn here."""


class Svg:
    """A document that was read: its text, written again; whether it holds pictures; its size."""

    __slots__ = ("height", "pictures", "text", "width")

    def __init__(self, text: str, size: tuple[int, int], *, pictures: bool) -> None:
        self.text, self.pictures = text, pictures
        self.width, self.height = size


def is_svg(data: bytes) -> bool:
    """Whether this begins as a drawing does."""
    return _HEAD.match(data[:4096].removeprefix(b"\xef\xbb\xbf")) is not None


def read_svg(data: bytes, pixels_max: int) -> Svg:
    """The document, written again. Raises RefusedSvg."""
    if len(data) > BYTES_MAX:
        raise RefusedSvg("too long")
    reader = _Reader()
    try:
        if "\0" in data.decode():
            raise RefusedSvg("not UTF-8")  # which expat would take for UTF-16, whatever it is told
        reader.read(data)
    except (expat.ExpatError, UnicodeError, ValueError) as error:
        raise RefusedSvg("not a drawing that is taken") from error
    width, height = reader.size
    if width * height > pixels_max or max(width, height) > _SIDE_MAX:
        raise RefusedSvg("too large")
    return Svg("".join(reader.out), reader.size, pictures=reader.pictures)


def drawn(svg: Svg) -> bytes:
    """Its raster, a PNG file. Raises RefusedSvg."""
    if _resvg is None:
        raise RefusedSvg("nothing here draws")
    try:
        return bytes(
            _resvg.svg_to_bytes(
                svg_string=svg.text, skip_system_fonts=True, width=svg.width, height=svg.height, languages=[]
            )
        )
    except ValueError:
        raise RefusedSvg("it cannot be drawn") from None


class _Reader:
    """A document's events, checked and written again as they come."""

    def __init__(self) -> None:
        self.out: list[str] = []
        self.pictures, self.size = False, (0, 0)
        self._depth = self._count = self._uses = 0
        self._muted = 0
        parser = expat.ParserCreate(encoding="utf-8", namespace_separator=" ")
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler = self._said
        for name in ("StartDoctypeDecl", "EntityDecl", "ProcessingInstruction", "StartCdataSection"):
            setattr(parser, f"{name}Handler", self._refuse)
        self._parser = parser

    def read(self, data: bytes) -> None:
        self._parser.Parse(data, True)

    @staticmethod
    def _refuse(*_: object) -> None:
        raise RefusedSvg("a doctype, an entity or an instruction")

    def _said(self, text: str) -> None:
        if text.strip() and not self._muted:
            raise RefusedSvg("text")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        self._count += 1
        space, _, element = name.rpartition(" ")
        if self._depth > DEPTH_MAX or self._count > ELEMENTS_MAX or space != _NAMESPACE or element not in _ELEMENTS:
            raise RefusedSvg("an element that is not taken")
        if (self._depth == 1) != (element == "svg"):
            raise RefusedSvg("a drawing in a drawing")
        if self._muted or element in _WITHOUT_EFFECT:
            self._muted += 1
            return
        kept = [self._kept(element, *pair) for pair in attributes.items()]
        if element == "svg":
            self.size = _size(dict(pair for pair in kept if pair))
            kept = [pair for pair in kept if pair and pair[0] not in ("width", "height")]
            kept += [("width", str(self.size[0])), ("height", str(self.size[1]))]
        written = "".join(f" {key}={quoteattr(value)}" for key, value in filter(None, kept))
        opening = f' xmlns="{_NAMESPACE}" xmlns:xlink="{_XLINK}"' if element == "svg" else ""
        self.out.append(f"<{escape(element)}{opening}{written}>")

    def _end(self, name: str) -> None:
        self._depth -= 1
        if self._muted:
            self._muted -= 1
            return
        self.out.append(f"</{name.rpartition(' ')[2]}>")

    def _kept(self, element: str, name: str, value: str) -> tuple[str, str] | None:
        space, _, attribute = name.rpartition(" ")
        if attribute == "href" and space in ("", _XLINK):
            return "xlink:href", self._link(element, value)
        if space:
            raise RefusedSvg("an attribute of another language")
        if attribute == "style":
            raise RefusedSvg("a style of its own")
        if attribute not in _ATTRIBUTES or not _VALUE.fullmatch(value) or _CALL.search(_URL.sub("", value)):
            raise RefusedSvg("an attribute that is not taken")
        return attribute, value

    def _link(self, element: str, value: str) -> str:
        if element == "image":
            found = _DATA.fullmatch(value.strip())
            if found is None or _held(found[2]) != found[1]:
                raise RefusedSvg("a picture that lies elsewhere")
            self.pictures = True
            return value
        self._uses += element == "use"
        if not _INSIDE.fullmatch(value.strip()) or self._uses > USES_MAX:
            raise RefusedSvg("a link out of the drawing")
        return value.strip()


def _held(text: str) -> str | None:
    """The format of what is embedded, by its first bytes."""
    try:
        return format_of(b64decode("".join(text.split()), validate=True))
    except (Base64Error, ValueError):
        return None


_LENGTH: Final = re.compile(r"([0-9]{1,5}(?:\.[0-9]{1,6})?)(?:px)?")


def _size(attributes: dict[str, str]) -> tuple[int, int]:
    """In pixels: as the document says it, else of its view box."""
    sides = [_LENGTH.fullmatch(attributes.get(side, "")) for side in ("width", "height")]
    if all(sides):
        found = [float(side[1]) for side in sides if side]
    else:
        box = [float(number) for number in attributes.get("viewBox", "").replace(",", " ").split()]
        found = box[2:] if len(box) == 4 else []
    if len(found) != 2 or not all(1 <= side <= 1 << 16 for side in found):
        raise RefusedSvg("no size")
    return round(found[0]), round(found[1])
