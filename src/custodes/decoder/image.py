"""Guarded decoding: the bytes of one image to the luma of its frames, as a browser would show them. Meant for inside the jail.

Promises that nothing but a sniffed format reaches a parser, that sizes are judged before pixels are, that metadata is never
parsed, and that damage is told apart from refusal: strict decoding first, then tolerant, then a second decoder. Pixels are taken
as they are stored (PDQ knows no rotation and no colour management). Digesting is left to ``hashing``; limits of time and memory
that hold whatever a decoder does are left to ``jail``.
"""

from __future__ import annotations

import struct
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from typing import Final, TypeVar

import imagecodecs
import numpy as np
from PIL import Image, ImageFile
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from custodes import sniff
from custodes.decoder import jpeg, png
from custodes.decoder.samples import Pixels, bytes_of, image_of, luma, luma_bytes
from custodes.decoding import DecodePolicy, ImageLimits
from custodes.model import Reason

T = TypeVar("T")

__all__ = ["Decoded", "Frame", "Undecodable", "decode"]

# libjpeg holds every coefficient of a progressive picture, 6 bytes a pixel, and Pillow 4 more: beyond this, luma alone is decoded
_PROGRESSIVE_EXACT_PIXELS_MAX: Final = 30_000_000
# Below that, tents of a reduced picture drift from the full ones: a tent weighs the pixels of a block unequally, a reduced pixel is their mean.
_REDUCED_SIDE_MIN: Final = 384
_BAND_PIXELS: Final = 1 << 20
_DURATION_MS_MAX: Final = 60_000
_RGB_IDS, _RGB_LOWER_IDS = (82, 71, 66), (114, 103, 98)


@dataclass(frozen=True, slots=True)
class Frame:
    """One view of one frame. ``rows(top, bottom)`` gives its luma, 0 to 255, uint8 or float32, shape (bottom - top, shape[1]).

    Valid until the next frame is taken. ``width`` and ``height`` are pixels of the original, ``shape`` (rows, columns) those after ``reduction``.
    ``colour()`` gives all of it in mode RGB, on white, and ``clear()`` as it is, uint8[height, width, 3], or 4 where anything shines
    through: both at no cost before they are asked for.
    """

    rows: Callable[[int, int], Pixels]
    colour: Callable[[], Image.Image]
    clear: Callable[[], Pixels]
    shape: tuple[int, int]
    width: int
    height: int
    reduction: int = 1
    index: int = 0
    background: str = "white"
    duration_ms: int = 0


@dataclass(slots=True)
class Decoded:
    """A decoded image. ``reason`` (full or partial) is final only when ``frames`` is exhausted. ``loop``: as Pillow says it; None: an animation plays once."""

    format: str
    width: int
    height: int
    frames: Iterator[Frame] = field(default_factory=lambda: iter(()))
    reason: Reason = Reason.FULL
    loop: int | None = None


class Undecodable(Exception):  # noqa: N818 - an outcome, not an error: it never leaves the decoder
    """The image has no picture that we can look at, and why."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


# What Pillow and imagecodecs (whose errors are RuntimeErrors) raise for malformed input. MemoryError is not among them: it has its own outcome.
_REFUSALS: Final = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    AssertionError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


# --- opening ---


_OPENERS: Final[dict[str, Callable[[BytesIO], ImageFile.ImageFile]]] = {
    "jpeg": jpeg.Jpeg,
    "png": PngImageFile,
    "gif": GifImageFile,
    "webp": WebPImageFile,
    "avif": AvifImageFile,
    "bmp": BmpImageFile,
    "tiff": TiffImageFile,
}


def _second(data: bytes, name: str) -> Pixels:
    """The picture by an independent decoder: uint8 or uint16, (rows, columns[, channels])."""
    decoders: dict[str, Callable[[bytes], Pixels]] = {
        "jpeg": imagecodecs.jpeg8_decode,
        "png": imagecodecs.png_decode,
        "gif": imagecodecs.gif_decode,
        "webp": imagecodecs.webp_decode,
        "avif": lambda raw: imagecodecs.avif_decode(raw, index=0, numthreads=1),
        "bmp": imagecodecs.bmp_decode,
    }
    if name not in decoders:
        raise ValueError("no second decoder")
    pixels = np.asarray(decoders[name](data))
    if pixels.ndim == 4:
        pixels = pixels[0]
    if pixels.ndim not in (2, 3) or pixels.dtype not in (np.uint8, np.uint16) or pixels.size == 0:
        raise ValueError("not a picture")
    return pixels


@contextmanager
def _pillow(*, tolerant: bool) -> Iterator[None]:
    """Pillow's process-wide switches, set for one step: whether missing data is an error. Its own size warning is off: sizes are judged here."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS
    ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = tolerant, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = before


# --- luma ---

_BACKDROPS: Final = (("white", 255), ("black", 0), ("ignored", None))


@dataclass(frozen=True, slots=True)
class _Picture:
    """Something with pixels: its size, its bands, all of it as Pillow holds it, whether any pixel is see-through, and ``Frame.clear`` where it is at hand."""

    size: tuple[int, int]
    band: Callable[[int, int], Pixels]
    image: Callable[[], Image.Image]
    transparent: bool = False
    clear: Callable[[], Pixels] | None = None


def _views(picture: _Picture, index: int, duration_ms: int = 0) -> Iterator[Frame]:
    """One frame on white. If anything shines through, also on black, for what is drawn in white, and without its alpha, as common tools hash it."""
    width, height = picture.size
    for background, backdrop in _BACKDROPS if picture.transparent else _BACKDROPS[:1]:
        yield Frame(
            _rows(picture, backdrop),
            _coloured(picture.image, _rgb),
            picture.clear or _coloured(picture.image, _clear),
            (height, width),
            width,
            height,
            index=index,
            background=background,
            duration_ms=duration_ms,
        )


def _rows(picture: _Picture, backdrop: int | None) -> Callable[[int, int], Pixels]:
    def rows(top: int, bottom: int) -> Pixels:
        try:
            return luma(picture.band(top, bottom), backdrop)
        except _REFUSALS:  # a mode that Pillow can load and not convert
            raise Undecodable(Reason.BROKEN) from None

    return rows


def _of_array(pixels: Pixels, policy: DecodePolicy) -> _Picture:
    size, whole = (pixels.shape[1], pixels.shape[0]), lambda: image_of(pixels)
    if policy is DecodePolicy.FAST and pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3:
        return _Picture(size, lambda top, bottom: luma_bytes(pixels[top:bottom]), whole, clear=lambda: pixels)
    transparent = (
        pixels.ndim == 3 and pixels.shape[2] in (2, 4) and int(pixels[:, :, -1].min()) < np.iinfo(pixels.dtype).max
    )
    clear = (lambda: pixels) if transparent and pixels.dtype == np.uint8 and pixels.shape[2] == 4 else None
    return _Picture(size, lambda top, bottom: pixels[top:bottom], whole, transparent, clear)


def _of_pillow(image: Image.Image, policy: DecodePolicy) -> _Picture:
    """A loaded Pillow image of any mode. Bands are converted when asked for: a second whole copy would break the memory budget."""
    mode, transparent = _plain_mode(image)
    if mode == "numbers":
        return _Picture(image.size, _numbers(image), lambda: image)
    if mode == "RGB" and policy is DecodePolicy.FAST:
        mode = "L"  # Pillow's integer luma: within half a grey level, four times faster
    width = image.size[0]

    def band(top: int, bottom: int) -> Pixels:
        part = image.crop((0, top, width, bottom))
        if mode != "RGBA":
            part.info.pop("transparency", None)  # a colour key that the conversion would only warn about
        if image.mode == "P" and mode == "L":
            part = part.convert("RGB")
        elif image.mode == "LAB":
            part = part.getchannel(0)  # its lightness is the nearest to luma that there is
        return np.asarray(part if part.mode == mode else part.convert(mode))

    return _Picture(image.size, band, lambda: image, transparent)


def _plain_mode(image: Image.Image) -> tuple[str, bool]:
    """The mode among L, LA, RGB, RGBA that shows the picture as it looks, or "numbers" for wide samples; and whether anything shines through."""
    mode = image.mode
    if mode in ("I", "F") or mode.startswith("I;16"):
        return "numbers", False
    if mode in ("LA", "RGBA"):
        low = image.getchannel("A").getextrema()[0]
        transparent = isinstance(low, int) and low < 255
        return (mode if transparent else mode[:-1] if mode == "LA" else "RGB"), transparent
    if mode in ("La", "RGBa", "PA"):
        return "RGBA", True
    if "transparency" in image.info and mode in ("1", "L", "P", "RGB"):
        return ("RGBA", True) if _uses_transparency(image) else ("L" if mode in ("1", "L") else "RGB", False)
    if mode in ("1", "L", "LAB"):
        return "L", False
    return "RGB", False


def _uses_transparency(image: Image.Image) -> bool:
    key = image.info["transparency"]
    if image.mode != "P":
        return True  # a colour key: whether it is used costs more to learn than a second view
    used = image.histogram()
    alphas = enumerate(key) if isinstance(key, bytes) else ((key, 0),)
    return any(alpha < 255 and index < len(used) and used[index] for index, alpha in alphas if isinstance(index, int))


def _numbers(image: Image.Image) -> Callable[[int, int], Pixels]:
    """Samples wider than a byte: 16-bit as they are; wider integers and floats, whose range nobody states, scaled (not clipped) to 0..255 by what is there."""
    width = image.size[0]
    if image.mode.startswith("I;16"):
        return lambda top, bottom: np.asarray(image.crop((0, top, width, bottom))).astype(np.uint16, copy=False)
    first, last = (float(end) for end in image.getextrema())  # type: ignore[arg-type]
    ranges = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
    low, high = min(first, 0.0), next((top for top in ranges if last <= top), last)
    if not np.isfinite(high - low) or high <= low:
        raise Undecodable(Reason.BROKEN)

    def band(top: int, bottom: int) -> Pixels:
        part = np.asarray(image.crop((0, top, width, bottom))).astype(np.float32)
        scaled: Pixels = np.clip(np.nan_to_num((part - np.float32(low)) * np.float32(255 / (high - low))), 0, 255)
        return scaled

    return band


# --- colour ---


def _coloured(load: Callable[[], Image.Image], change: Callable[[Image.Image], T]) -> Callable[[], T]:
    """What gives a picture of any mode as ``change`` gives it. Raises Undecodable where that cannot be done."""

    def colour() -> T:
        try:
            with _pillow(tolerant=True):  # data that lack nothing give what strict decoding gives
                return change(load())
        except _REFUSALS:
            raise Undecodable(Reason.BROKEN) from None

    return colour


def _clear(image: Image.Image) -> Pixels:
    """With its alpha, where it has any."""
    transparent = _plain_mode(image)[1]
    return np.asarray((image if image.mode == "RGBA" else image.convert("RGBA")) if transparent else _rgb(image))


def _rgb(image: Image.Image) -> Image.Image:
    """As it looks on a white page."""
    mode, transparent = _plain_mode(image)
    if mode == "numbers":
        return _grey(image).convert("RGB")
    if transparent:
        clear = image if image.mode == "RGBA" else image.convert("RGBA")
        page = Image.new("RGB", image.size, "white")
        page.paste(clear, mask=clear)
        return page
    if image.mode == "LAB":
        return image.getchannel(0).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _grey(image: Image.Image) -> Image.Image:
    """Wide samples as bytes, a band at a time: a copy of all as floats would break the memory budget."""
    width, height = image.size
    band, page = _numbers(image), Image.new("L", (width, height))
    step = max(1, _BAND_PIXELS // width)
    for top in range(0, height, step):
        rows = band(top, min(top + step, height))
        page.paste(Image.fromarray(bytes_of(rows)), (0, top))
    return page


# --- decoding ---


def decode(data: bytes, limits: ImageLimits, policy: DecodePolicy, *, in_colour: bool = False) -> Decoded:
    """Decode an image. Raises ``Undecodable``; take the frames to the end before reading ``reason``. ``in_colour``: colour will be asked for, so that no
    luma is decoded apart from it.

    Partial means that scans, rows or frames which the file announces were not seen. A JPEG file that lacks nothing but its end
    marker is full, because browsers show all of it; where that cannot be told (progressive files), it is partial.
    """
    name = sniff.format_of(data)
    if name is None:
        raise Undecodable(Reason.NOT_IMAGE if sniff.is_text(data) else Reason.UNKNOWN_FORMAT)
    _judge_header(data, name, limits)
    try:
        if name == "jpeg":
            return _jpeg(data, limits, policy, in_colour=in_colour)
        if name == "webp" and not sniff.is_animated_webp(data):
            return _still_webp(data, limits, policy)
        if name == "png":
            data = sniff.strip_png(data)
            if png.is_plain(data) and (plain := _plain_png(data, limits, policy)) is not None:
                return plain
        return _other(data, name, (limits, policy))
    except MemoryError:
        raise Undecodable(Reason.DECODE_MEMORY) from None


def _judge_header(data: bytes, name: str, limits: ImageLimits) -> None:
    try:
        size = sniff.size_of(data, name)
    except ValueError:
        raise Undecodable(Reason.BROKEN) from None
    if size is not None:
        _judge_size(*size, limits)


def _judge_size(width: int, height: int, limits: ImageLimits) -> None:
    if width < 1 or height < 1:
        raise Undecodable(Reason.BROKEN)
    if width * height > limits.pixels_max:
        raise Undecodable(Reason.TOO_MANY_PIXELS)


def _is_blank(image: Image.Image) -> bool:
    """Whether a tolerant decoder left nothing but one colour: that is no picture, whatever it returned."""
    extrema = np.asarray(image.getextrema()).reshape(-1, 2)
    return bool((extrema[:, 0] == extrema[:, 1]).all())


def _by_second(data: bytes, name: str, how: tuple[ImageLimits, DecodePolicy]) -> Decoded:
    """The last resort. What only one of two decoders can read is partial by definition."""
    limits, policy = how
    try:
        pixels = _second(data, name)
    except _REFUSALS:
        raise Undecodable(Reason.BROKEN) from None
    picture = _of_array(pixels, policy)
    _judge_size(*picture.size, limits)
    if pixels.min() == pixels.max():
        raise Undecodable(Reason.BROKEN)
    return Decoded(name, *picture.size, _views(picture, 0), Reason.PARTIAL_DAMAGED)


# --- JPEG ---


@dataclass(frozen=True, slots=True)
class _LoadedJpeg:
    """A decoded JPEG file: its size before reduction, and the reduction, 0 where it is in colour and in full."""

    image: Image.Image
    size: tuple[int, int]
    reduction: int


def _jpeg(data: bytes, limits: ImageLimits, policy: DecodePolicy, *, in_colour: bool = False) -> Decoded:
    layout = sniff.jpeg_layout(data)
    cut = len(layout.scans) > limits.jpeg_scans_max
    if cut:
        data = sniff.cut_scans(data, layout, limits.jpeg_scans_max)
        layout = sniff.jpeg_layout(data)
    width, height = sniff.size_of(data, "jpeg") or (0, 0)
    if layout.progressive and width * height > _PROGRESSIVE_EXACT_PIXELS_MAX:
        policy, in_colour = DecodePolicy.FAST, False
    if in_colour and (plain := _plain_jpeg(data, layout, (limits, policy))) is not None:
        return plain
    for tail, tolerant in ((b"", False), (b"\xff\xd9", False), (b"", True)):
        attempt = data + tail
        try:
            with _pillow(tolerant=tolerant):
                loaded = _load_jpeg(attempt, layout, reduced=policy is DecodePolicy.FAST and not in_colour)
        except MemoryError:
            if policy is DecodePolicy.FAST and not in_colour:
                raise
            return _jpeg(data, limits, DecodePolicy.FAST)  # a few bits off is better than not seen
        except _REFUSALS:
            continue
        if tolerant and _is_blank(loaded.image):
            break
        _judge_size(*loaded.size, limits)
        seen = _is_complete(layout) if layout.progressive else not _is_filled(attempt, loaded, layout)
        whole = seen and not cut and not tolerant
        reason = Reason.FULL if whole else Reason.PARTIAL_DAMAGED
        frames = _jpeg_frames(loaded, policy, _coloured(partial(_full_colour, attempt), _rgb))
        return Decoded("jpeg", *loaded.size, frames, reason)
    if policy is DecodePolicy.EXACT:
        with suppress(Undecodable):  # libjpeg reports lack of memory as damage; the luma plane alone needs less of it
            decoded = _jpeg(data, limits, DecodePolicy.FAST)
            decoded.reason = Reason.PARTIAL_DAMAGED
            return decoded
    return _by_second(data, "jpeg", (limits, policy))


def _plain_jpeg(data: bytes, layout: sniff.JpegLayout, how: tuple[ImageLimits, DecodePolicy]) -> Decoded | None:
    """The same pixels that Pillow gives; None where there is any fault."""
    with _pillow(tolerant=False), suppress(*_REFUSALS):
        pixels = jpeg.plain_pixels(data)
        if pixels is not None and not (jpeg.may_lack_data(pixels) and _lacks_data(data, layout)):
            picture = _of_array(pixels, how[1])
            _judge_size(*picture.size, how[0])
            return Decoded("jpeg", *picture.size, _views(picture, 0))
    return None


def _is_complete(layout: sniff.JpegLayout) -> bool:
    return layout.progressive and layout.ended and layout.refined


def _load_jpeg(data: bytes, layout: sniff.JpegLayout, *, reduced: bool) -> _LoadedJpeg:
    image = jpeg.Jpeg(BytesIO(data))
    reduction = _reduction(image) if reduced else 0
    if reduction and _is_complete(layout):
        image = jpeg.Jpeg(BytesIO(sniff.luma_scans(data, layout, reduction)))
    size = image.size
    if reduction:
        image.draft("L", (size[0] // reduction, size[1] // reduction))
        if image.size != (-(-size[0] // reduction), -(-size[1] // reduction)):
            raise ValueError("unexpected scale")
    image.decodermaxblock = len(data)  # one piece, and no copy of it
    image.load()
    return _LoadedJpeg(image, size, reduction)


def _reduction(image: JpegImageFile) -> int:
    """The DCT scale for the luma plane alone, or 0 where that plane is not simply the first component.

    Colour by Adobe's marker, else by JFIF's, else by the component ids, as libjpeg guesses it (jdapimin.c, default_decompress_parms).
    """
    adobe, ids = image.info.get("adobe_transform"), tuple(layer[0] for layer in image.layer)
    ycbcr = "jfif" in image.info or adobe == 1 or (adobe is None and ids not in (_RGB_IDS, _RGB_LOWER_IDS))
    if not ((image.mode == "L" and image.layers == 1) or (image.mode == "RGB" and image.layers == 3 and ycbcr)):
        return 0
    side = min(image.size)
    return next((scale for scale in (8, 4, 2) if side >= _REDUCED_SIDE_MIN * scale), 1)


def _is_filled(data: bytes, loaded: _LoadedJpeg, layout: sniff.JpegLayout) -> bool:
    """Whether the data ended before the picture did: its last block is then the flat mid-grey that libjpeg draws (jdhuff.c:
    coefficients stay zero). A reduced pixel of that grey proves little, so the full luma plane decides; and as a picture may end in just
    that grey, whether more data would change it.
    """
    width, height = loaded.image.size
    if loaded.reduction and loaded.image.getpixel((width - 1, height - 1)) != 128:
        return False  # nearly always
    corner = _last_block(loaded.image, max(1, loaded.reduction))
    if loaded.image.mode not in ("L", "RGB"):
        return bool(((corner == 128) | (corner == 127)).all())  # 127 where CMYK is inverted
    # Without coefficients a block of the luma plane is 128 at any scale; in colour the chroma of its neighbours bleeds into it.
    if np.abs(luma(corner, None).astype(np.float32) - 128).max() > (0 if loaded.reduction else jpeg.BLEED_MAX):
        return False
    return _lacks_data(data, layout)


def _lacks_data(data: bytes, layout: sniff.JpegLayout) -> bool:
    full = _full_luma(data)
    if not (_last_block(full, 1) == 128).all():
        return False
    if layout.restarts or len(layout.scans) != 1:
        return True  # more data at the end would not be read
    grey = full.histogram()[128]
    return any(_full_luma(sniff.longer_scan(data, more * 64)).histogram()[128] != grey for more in _MORE)


_MORE: Final = (b"\x2d\x96", b"\xd2\x69")  # complements of each other: not both can spell grey


def _full_luma(data: bytes) -> Image.Image:
    with _pillow(tolerant=True):
        image = jpeg.Jpeg(BytesIO(data))
        image.draft("L", None)
        image.load()
    return image


def _last_block(image: Image.Image, reduction: int) -> Pixels:
    """The block that holds the last pixel, as far as it lies in the picture."""
    block = 8 // reduction
    width, height = image.size
    return np.asarray(image.crop((width - 1 - (width - 1) % block, height - 1 - (height - 1) % block, width, height)))


def _full_colour(data: bytes) -> Image.Image:
    """The whole picture, or half its size where that would not fit into memory."""
    image = jpeg.Jpeg(BytesIO(data))
    width, height = image.size
    if "progressive" in image.info and width * height > _PROGRESSIVE_EXACT_PIXELS_MAX:
        image.draft(None, (width // 2, height // 2))
    image.decodermaxblock = len(data)
    image.load()
    return image


def _jpeg_frames(loaded: _LoadedJpeg, policy: DecodePolicy, colour: Callable[[], Image.Image]) -> Iterator[Frame]:
    if not loaded.reduction:
        return _views(_of_pillow(loaded.image, policy), 0)
    pixels = np.asarray(loaded.image)
    shape = (pixels.shape[0], pixels.shape[1])
    clear = lambda: np.asarray(colour())  # noqa: E731
    return iter((Frame(lambda top, bottom: pixels[top:bottom], colour, clear, shape, *loaded.size, loaded.reduction),))


# --- all other formats ---


def _still_webp(data: bytes, limits: ImageLimits, policy: DecodePolicy) -> Decoded:
    """A WebP picture without the animation decoder that Pillow would run: a third of the time and of the memory."""
    try:
        pixels = imagecodecs.webp_decode(data)
    except _REFUSALS:
        raise Undecodable(Reason.BROKEN) from None
    picture = _of_array(pixels, policy)
    _judge_size(*picture.size, limits)
    return Decoded("webp", *picture.size, _views(picture, 0), Reason.FULL)


def _plain_png(data: bytes, limits: ImageLimits, policy: DecodePolicy) -> Decoded | None:
    """The same pixels that Pillow gives, in half of its time; None where there is any fault, so that Pillow says what is wrong."""
    pixels: Pixels | None = png.plain_pixels(data)
    if pixels is None:
        return None
    if pixels.shape[2] in (2, 4) and int(pixels[:, :, -1].min()) == 255:
        pixels = pixels[:, :, :-1]
    picture = _of_array(np.ascontiguousarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels), policy)
    _judge_size(*picture.size, limits)
    return Decoded("png", *picture.size, _views(picture, 0), Reason.FULL)


def _other(data: bytes, name: str, how: tuple[ImageLimits, DecodePolicy]) -> Decoded:
    limits, policy = how
    for tolerant in (False, True):
        try:
            with _pillow(tolerant=tolerant):
                image = _OPENERS[name](BytesIO(data))
                _judge_size(*image.size, limits)
                frames = max(1, int(getattr(image, "n_frames", 1)))
                image.load()
        except _REFUSALS:
            continue
        if tolerant and _is_blank(image):
            break
        loop = image.info.get("loop")
        decoded = Decoded(name, *image.size, reason=Reason.PARTIAL_DAMAGED if tolerant else Reason.FULL)
        decoded.loop = loop if isinstance(loop, int) else None
        announced = min(frames, sniff.count_png_frames(data)) if name == "png" and frames > 1 else frames
        decoded.frames = _walk(_Animation(image, announced, tolerant, decoded), limits, policy)
        return decoded
    return _by_second(data, name, how)


@dataclass(slots=True)
class _Animation:
    """An open image, the frames it is believed to have, and where to note what was missed."""

    image: ImageFile.ImageFile
    frames: int
    tolerant: bool
    decoded: Decoded


def _sample(animation: _Animation, limits: ImageLimits) -> list[int]:
    """Which frames to look at: all, or as many as the budgets allow, evenly spaced with the first and the last among them."""
    width, height = animation.image.size
    budget = max(1, min(limits.frames_max, limits.frame_pixels_max // (width * height)))
    if animation.frames <= budget:
        return list(range(animation.frames))
    animation.decoded.reason = Reason.PARTIAL_FRAMES
    return sorted({round(at) for at in np.linspace(0, animation.frames - 1, budget)})


def _walk(animation: _Animation, limits: ImageLimits, policy: DecodePolicy) -> Iterator[Frame]:
    """The sampled frames, as displayed. Frames between them are composed too, so the clock is looked at before each."""
    deadline = time.monotonic() + limits.frames_time_s
    at = 0
    for index in _sample(animation, limits):
        while at < index:
            if time.monotonic() > deadline:
                animation.decoded.reason = Reason.PARTIAL_FRAMES
                return
            at += 1
            if not _step(animation, at, limits):
                return
        yield from _views(_of_pillow(animation.image, policy), index, _duration_ms(animation.image))


def _duration_ms(image: Image.Image) -> int:
    """How long the frame is shown, as the file says it."""
    said = image.info.get("duration", 0)
    return int(min(max(said, 0), _DURATION_MS_MAX)) if isinstance(said, (int, float)) else 0


def _step(animation: _Animation, index: int, limits: ImageLimits) -> bool:
    """Move to a frame and compose it; false where the file does not have it, which is damage."""
    try:
        with _pillow(tolerant=animation.tolerant):
            animation.image.seek(index)
            _judge_size(*animation.image.size, limits)
            animation.image.load()
    except (*_REFUSALS, MemoryError, Undecodable):
        animation.decoded.reason = Reason.PARTIAL_DAMAGED
        return False
    return True
