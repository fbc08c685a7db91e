"""Decoding: as pictures look, within limits, and honest about damage."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from custodes import sniff
from custodes.decoder import image as image_module
from custodes.decoder.hashing import examine_content
from custodes.decoder.image import Undecodable, decode
from custodes.decoding import DecodePolicy, Examined, ImageLimits
from custodes.model import Outcome, OutcomeName, Reason

from .pictures import distance, picture, saved

LIMITS = ImageLimits()
BOTH = pytest.mark.parametrize("policy", list(DecodePolicy))


def look(data: bytes, policy: DecodePolicy = DecodePolicy.EXACT, limits: ImageLimits = LIMITS) -> Examined:
    return examine_content(data, limits, policy)


def sixteen_bits(image: Image.Image) -> bytes:
    return imagecodecs.png_encode(np.asarray(image).astype(np.uint16) * 257)


def adobe_cmyk(image: Image.Image) -> bytes:
    return saved(image.convert("CMYK"), "JPEG", quality=92)


RE_ENCODINGS: dict[str, Callable[[Image.Image], bytes]] = {
    "GIF with its 256 colours": lambda im: saved(im, "GIF"),
    "palette PNG": lambda im: saved(im.quantize(256), "PNG"),
    "palette PNG with an unused transparent colour": lambda im: saved(im.quantize(200), "PNG", transparency=255),
    "CMYK JPEG, inverted as Adobe does": adobe_cmyk,
    "16-bit RGB PNG": sixteen_bits,
    "16-bit grey PNG": lambda im: sixteen_bits(im.convert("L")),
    "grey JPEG": lambda im: saved(im.convert("L"), "JPEG", quality=92),
    "grey + alpha PNG, opaque": lambda im: saved(im.convert("LA"), "PNG"),
    "opaque RGBA PNG": lambda im: saved(im.convert("RGBA"), "PNG"),
    "progressive JPEG": lambda im: saved(im, "JPEG", quality=92, progressive=True),
    "JPEG stored as RGB": lambda im: saved(im, "JPEG", quality=92, keep_rgb=True),
    "JPEG 4:4:4": lambda im: saved(im, "JPEG", quality=92, subsampling=0),
    "WebP": lambda im: saved(im, "WEBP", quality=90),
    "lossless WebP": lambda im: saved(im, "WEBP", lossless=True),
    "AVIF": lambda im: saved(im, "AVIF", quality=85, max_threads=1),
    "BMP": lambda im: saved(im, "BMP"),
    "TIFF": lambda im: saved(im, "TIFF"),
    "TIFF with LZW": lambda im: saved(im, "TIFF", compression="tiff_lzw"),
    "32-bit float TIFF": lambda im: saved(im.convert("F"), "TIFF"),
    "32-bit integer TIFF": lambda im: saved(im.convert("I"), "TIFF"),
    "LAB TIFF": lambda im: saved(Image.merge("LAB", (im.convert("L"), *[Image.new("L", im.size, 128)] * 2)), "TIFF"),
}


@pytest.fixture(scope="module")
def photos(vectors: Path) -> list[Image.Image]:
    bridge = Image.open(next((vectors / "pdq/images").rglob("dih/bridge-1-original.jpg"))).convert("RGB")
    other = Image.open(next((vectors / "pdq/images").rglob("modes/original.jpg"))).convert("RGB")
    return [bridge.reduce(3), other]


@BOTH
@pytest.mark.parametrize("name", RE_ENCODINGS)
def test_a_photo_stays_within_ten_bits_of_itself_whatever_it_is_saved_as(
    name: str, policy: DecodePolicy, photos: list[Image.Image]
) -> None:
    for photo in photos:
        original = look(saved(photo, "BMP")).pdq[0]
        examined = look(RE_ENCODINGS[name](photo), policy)
        assert examined.reason is Reason.FULL
        assert (examined.width, examined.height) == photo.size
        assert distance(examined.pdq[0].code, original.code) <= 10


def test_a_transparent_picture_is_seen_on_white_on_black_and_without_its_alpha() -> None:
    ink = Image.new("L", (256, 256), 0)
    ink.paste(picture(200, 200).convert("L").point(lambda value: 255 if value > 128 else 0), (20, 30))
    for kind in ("PNG", "WEBP"):
        rgba = Image.merge("RGBA", (*[Image.new("L", ink.size, 255)] * 3, ink))  # white drawing on nothing
        decoded = decode(saved(rgba, kind, lossless=True), LIMITS, DecodePolicy.EXACT)
        views = {frame.background: frame.rows(0, 256).copy() for frame in decoded.frames}
        assert set(views) == {"white", "black", "ignored"}
        assert views["white"].min() == 255
        np.testing.assert_allclose(views["black"], np.asarray(ink), atol=0.6)
    gif = Image.new("P", (64, 64), 0)
    gif.putpalette([255, 255, 255, 0, 0, 0])
    gif.paste(1, (10, 10, 40, 50))
    assert len(list(decode(saved(gif, "GIF", transparency=0), LIMITS, DecodePolicy.EXACT).frames)) == 3
    assert len(list(decode(saved(gif, "GIF"), LIMITS, DecodePolicy.EXACT).frames)) == 1


ANIMATIONS = {"GIF": {}, "PNG": {}, "WEBP": {"lossless": True}, "AVIF": {"max_threads": 1}, "TIFF": {}}


@pytest.mark.parametrize("kind", ANIMATIONS)
def test_all_frames_are_seen_as_displayed(kind: str) -> None:
    frames = [picture(96, 80, seed) for seed in range(6)]
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:], **ANIMATIONS[kind])
    examined = look(data)
    assert examined.reason is Reason.FULL
    assert [found.frame for found in examined.pdq] == list(range(6))
    for frame, found in zip(frames, examined.pdq, strict=True):
        assert distance(found.code, look(saved(frame, "PNG")).pdq[0].code) <= 20  # GIF dithers


@pytest.mark.parametrize(
    ("limits", "seen", "reason"),
    [
        (ImageLimits(frames_max=12), list(range(12)), Reason.FULL),
        (ImageLimits(frames_max=11), [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11], Reason.PARTIAL_FRAMES),
        (ImageLimits(frames_max=3), [0, 6, 11], Reason.PARTIAL_FRAMES),
        (ImageLimits(frame_pixels_max=96 * 80 * 12), list(range(12)), Reason.FULL),
        (ImageLimits(frame_pixels_max=96 * 80 * 12 - 1), [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11], Reason.PARTIAL_FRAMES),
        (ImageLimits(frame_pixels_max=1), [0], Reason.PARTIAL_FRAMES),
        (ImageLimits(frames_time_s=1e-9), [0], Reason.PARTIAL_FRAMES),
    ],
)
def test_frames_over_a_budget_are_sampled_with_first_and_last_and_called_partial(
    limits: ImageLimits, seen: list[int], reason: Reason
) -> None:
    frames = [picture(96, 80, seed) for seed in range(12)]
    examined = look(saved(frames[0], "GIF", save_all=True, append_images=frames[1:]), limits=limits)
    assert [found.frame for found in examined.pdq] == seen
    assert examined.reason is reason


def with_size(data: bytes, kind: str, width: int, height: int) -> bytes:
    """The file with another size in its header."""
    changed = bytearray(data)
    if kind == "PNG":
        changed[16:24] = struct.pack(">II", width, height)
        changed[29:33] = struct.pack(">I", zlib.crc32(changed[12:29]))
    elif kind == "GIF":
        changed[6:10] = struct.pack("<HH", width, height)
    elif kind == "BMP":
        changed[18:26] = struct.pack("<ii", width, -height)
    else:
        at = data.index(b"\xff\xc0") + 5
        changed[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(changed)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "JPEG"])
def test_pixels_are_judged_by_the_header_at_the_limit_and_past_it(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(picture(100, 80), kind)
    assert look(data, limits=ImageLimits(pixels_max=8000)).reason is Reason.FULL
    assert look(data, limits=ImageLimits(pixels_max=7999)).reason is Reason.TOO_MANY_PIXELS
    bomb = with_size(data, kind, 60000, 60000)
    opened: list[str] = []
    monkeypatch.setitem(image_module._OPENERS, kind.lower(), lambda raw: opened.append(kind))  # type: ignore[arg-type,return-value]
    assert look(bomb).reason is Reason.TOO_MANY_PIXELS
    assert opened == []  # no parser saw it


@pytest.mark.parametrize("kind", ["WEBP", "AVIF", "TIFF"])
def test_pixels_of_other_formats_are_judged_too(kind: str) -> None:
    data = saved(picture(100, 80), kind, **({"max_threads": 1} if kind == "AVIF" else {}))
    assert look(data, limits=ImageLimits(pixels_max=8000)).reason is Reason.FULL
    assert look(data, limits=ImageLimits(pixels_max=7999)).reason is Reason.TOO_MANY_PIXELS


NO_IMAGES = {
    "empty": (b"", Reason.NOT_IMAGE),
    "page": (b"<!DOCTYPE html><html>", Reason.NOT_IMAGE),
    "page after a byte order mark and blanks": (b"\xef\xbb\xbf\r\n  <html>", Reason.NOT_IMAGE),
    "page in UTF-16": ("\ufeff<html>".encode("utf-16-le"), Reason.NOT_IMAGE),
    "drawing": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", Reason.NOT_IMAGE),
    "answer": (b'{"error": "gone"}', Reason.NOT_IMAGE),
    "long text cut within a character": (b"x" + "ä".encode() * 900, Reason.NOT_IMAGE),
    "PDF": (b"%PDF-1.7 ...", Reason.UNKNOWN_FORMAT),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0", Reason.UNKNOWN_FORMAT),
    "zip": (b"PK\x03\x04\x14\0\0\0", Reason.UNKNOWN_FORMAT),
    "HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", Reason.UNKNOWN_FORMAT),
    "a word that begins as BMP does": (b"BMW is a maker of cars and more", Reason.NOT_IMAGE),
    "PSD": (b"8BPS\0\1\0\0\0\0\0\0", Reason.UNKNOWN_FORMAT),
    "JPEG marker alone": (b"\xff\xd8\xff", Reason.BROKEN),
    "PNG signature alone": (b"\x89PNG\r\n\x1a\n", Reason.BROKEN),
}


@pytest.mark.parametrize("name", NO_IMAGES)
def test_what_is_no_image_reaches_no_parser(name: str) -> None:
    data, reason = NO_IMAGES[name]
    assert look(data).reason is reason


def cut(share: float) -> Callable[[bytes], bytes]:
    return lambda data: data[: int(len(data) * share)]


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes(byte ^ 0x55 for byte in data[middle : middle + 40]) + data[middle + 40 :]


LOSSES: dict[str, Callable[[bytes], bytes]] = {
    "cut to 99 %": cut(0.99),
    "cut to 90 %": cut(0.9),
    "cut to 75 %": cut(0.75),
    "cut to 60 %": cut(0.6),
    "cut to 50 %": cut(0.5),
    "cut to 40 %": cut(0.4),
    "cut to 10 %": cut(0.1),
    "cut to 200 bytes": lambda data: data[:200],
    "cut to 20 bytes": lambda data: data[:20],
    "cut to 60 % with zeros after": lambda data: cut(0.6)(data) + bytes(len(data) * 4 // 10),
    "only the second half": lambda data: data[len(data) // 2 :],
}
JPEG_LOSSES = {
    "cut within a stuffed byte, with an end marker": lambda data: (
        data[: data.index(b"\xff\x00", 9000) + 1] + b"\xff\xd9"
    ),
    "cut to 60 % with an end marker": lambda data: cut(0.6)(data) + b"\xff\xd9",
    "cut to 30 % with an end marker and a tail": lambda data: cut(0.3)(data) + b"\xff\xd9" + bytes(1000),
}
KINDS = {
    "JPEG": ("JPEG", {"quality": 85}),
    "JPEG with restarts": ("JPEG", {"quality": 85, "restart_marker_rows": 1}),
    "progressive JPEG": ("JPEG", {"quality": 85, "progressive": True}),
    "PNG": ("PNG", {}),
    "GIF": ("GIF", {}),
    "WebP": ("WEBP", {}),
    "AVIF": ("AVIF", {"max_threads": 1}),
    "BMP": ("BMP", {}),
    "TIFF": ("TIFF", {"compression": "tiff_lzw"}),
}


@BOTH
@pytest.mark.parametrize("kind", KINDS)
def test_missing_data_are_never_called_full(kind: str, policy: DecodePolicy) -> None:
    data = saved(picture(800, 768), KINDS[kind][0], **KINDS[kind][1])
    assert look(data, policy).reason is Reason.FULL
    losses = LOSSES | (JPEG_LOSSES if "JPEG" in kind else {})
    for name, damage in losses.items():
        examined = look(damage(data), policy)
        assert examined.reason is not Reason.FULL, name
        assert bool(examined.pdq) == (Outcome(examined.reason).name is OutcomeName.EXAMINED), name


@BOTH
def test_the_planted_absence_of_the_damage_check_is_noticed(
    policy: DecodePolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = JPEG_LOSSES["cut to 60 % with an end marker"](saved(picture(800, 768), "JPEG"))
    monkeypatch.setattr(image_module, "_is_filled", lambda data, loaded, layout: False)
    assert look(data, policy).reason is Reason.FULL  # what the test above would have caught


def ending_in_grey(size: tuple[int, int], options: dict[str, object]) -> bytes:
    image = picture(*size).copy()
    image.paste((128, 128, 128), (size[0] - 48, size[1] - 48, *size))
    return saved(image, "JPEG", **options)


@BOTH
@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"quality": 20}, {"optimize": True}])
def test_a_whole_picture_that_ends_in_the_grey_of_missing_data_is_full(
    policy: DecodePolicy, options: dict[str, object]
) -> None:
    data = ending_in_grey((800, 768), options)
    assert look(data, policy).reason is Reason.FULL
    assert look(data + b"and more", policy).reason is Reason.FULL
    stray = data[:9000].rstrip(b"\xff") + b"\xff\xd3" + data[9000:]  # a restart marker where there are no restarts
    assert look(stray, policy).reason is Reason.PARTIAL_DAMAGED
    for lost in (9, 20, 100, 4000):  # bytes of the scan; the last nine hold whole blocks, and nothing but grey
        assert look(data[: -2 - lost] + b"\xff\xd9", policy).reason is Reason.PARTIAL_DAMAGED, lost


HARMLESS: dict[str, Callable[[bytes], bytes]] = {
    "bytes after the end": lambda data: data + b"PK\x03\x04 and more" * 50,
    "no end marker": lambda data: data[:-2],
    "a comment": lambda data: data[:2] + b"\xff\xfe\x00\x10" + b"x" * 14 + data[2:],
    "Exif that says rotate": lambda data: (
        data[:2] + b"\xff\xe1\x00\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0" + data[2:]
    ),
    "broken profile": lambda data: data[:2] + b"\xff\xe2\x00\x14ICC_PROFILE\0\x01\x09junk" + data[2:],
}


@BOTH
@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_oddities_of_jpeg_change_neither_code_nor_outcome(name: str, policy: DecodePolicy) -> None:
    data = saved(picture(800, 768), "JPEG")
    assert look(HARMLESS[name](data), policy) == look(data, policy)


@BOTH
def test_flipped_bytes_are_seen_or_refused_and_never_lost(policy: DecodePolicy) -> None:
    for kind, options in KINDS.values():
        examined = look(flipped(saved(picture(800, 768), kind, **options)), policy)
        assert Outcome(examined.reason).name in (OutcomeName.EXAMINED, OutcomeName.UNDECODABLE)


def test_a_tolerant_decoder_that_shows_one_colour_has_shown_nothing() -> None:
    data = saved(picture(800, 768), "PNG")
    start = data.index(b"IDAT") + 4
    assert look(data[: start + 40] + bytes(len(data) - start - 40)).reason is Reason.BROKEN


def test_damage_leaves_a_photo_recognisable_where_most_of_it_is_there() -> None:
    data = saved(picture(800, 768), "JPEG")
    whole, damaged = look(data), look(data[: int(len(data) * 0.97)])
    assert damaged.reason is Reason.PARTIAL_DAMAGED
    assert distance(whole.pdq[0].code, damaged.pdq[0].code) <= 31


def many_scans(scans: int) -> bytes:
    """A progressive file whose last scan is repeated. Each repetition costs a pass over the picture."""
    data = saved(picture(256, 256), "JPEG", progressive=True)
    last = sniff.jpeg_layout(data).scans[-1]
    have = len(sniff.jpeg_layout(data).scans)
    return data[: last.start] + data[last.start : last.end] * (scans - have + 1) + data[last.end :]


@BOTH
def test_scans_are_cut_at_the_limit(policy: DecodePolicy) -> None:
    assert len(sniff.jpeg_layout(many_scans(100)).scans) == 100
    at, over = look(many_scans(100), policy), look(many_scans(101), policy)
    assert at.reason is Reason.FULL
    assert over.reason is Reason.PARTIAL_DAMAGED
    assert at.pdq == over.pdq
    bomb = many_scans(2000)
    assert len(sniff.jpeg_layout(sniff.cut_scans(bomb, sniff.jpeg_layout(bomb), 100)).scans) == 100


def test_scan_markers_within_segments_do_not_count() -> None:
    data = saved(picture(64, 64), "JPEG")
    comment = data[:2] + b"\xff\xfe\x01\x92" + b"\xff\xda" * 200 + data[2:]
    assert len(sniff.jpeg_layout(comment).scans) == 1
    assert look(comment).reason is Reason.FULL


def in_three_scans(data: bytes, repeated: int = 1) -> bytes:
    """A sequential file with a scan for each component: the data are nonsense there, the markers are not."""
    scan = sniff.jpeg_layout(data).scans[0]
    body = data[scan.start + 14 : -2]
    alone = [b"\xff\xda\x00\x08\x01" + bytes((component, 0)) + b"\x00\x3f\x00" + body for component in (1, 2, 3)]
    return data[: scan.start] + b"".join(alone * repeated) + b"\xff\xd9"


@BOTH
def test_sequential_files_of_many_scans_are_cut_too(policy: DecodePolicy) -> None:
    data = saved(picture(64, 64), "JPEG")
    assert len(sniff.jpeg_layout(in_three_scans(data, 34)).scans) == 102
    assert look(in_three_scans(data, 34), policy).reason is Reason.PARTIAL_DAMAGED


def test_the_walk_ends_with_the_scan_that_holds_all_components() -> None:
    data = saved(picture(64, 64), "JPEG")
    layout = sniff.jpeg_layout(data + data)
    assert (layout.progressive, layout.components, len(layout.scans), layout.ended) == (False, 3, 1, False)
    grey = sniff.jpeg_layout(saved(picture(64, 64).convert("L"), "JPEG"))
    assert (grey.components, len(grey.scans)) == (1, 1)
    progressive = sniff.jpeg_layout(saved(picture(64, 64), "JPEG", progressive=True))
    assert (progressive.progressive, progressive.ended, len(progressive.scans)) == (True, True, 10)


def kept_scans(reduction: int) -> list[tuple[bytes, int, int, int, int]]:
    data = saved(picture(256, 256), "JPEG", progressive=True)
    scans = sniff.jpeg_layout(sniff.luma_scans(data, sniff.jpeg_layout(data), reduction)).scans
    return [(scan.components, scan.first, scan.last, scan.high, scan.low) for scan in scans]


def test_of_progressive_files_the_scans_that_luma_needs_are_kept() -> None:
    constants, lowest = (b"\1\2\3", 0, 0, 0, 1), (b"\1", 1, 5, 0, 2)
    least = (b"\1\2\3", 0, 0, 1, 0)
    assert kept_scans(8) == kept_scans(4) == [constants, lowest, least]
    assert kept_scans(2) == kept_scans(1) == [constants, lowest, (b"\1", 6, 63, 0, 2), (b"\1", 1, 63, 2, 1), least]


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


@pytest.mark.parametrize("name", [b"zTXt", b"iCCP"])
def test_text_and_profile_bombs_in_png_are_skipped(name: bytes) -> None:
    data = saved(picture(64, 64), "PNG")
    bomb = chunk(name, b"key\0\0" + zlib.compress(bytes(80_000_000)))
    assert look(data[:33] + bomb + data[33:]) == look(data)


def test_exif_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    def parsed(self: Image.Image) -> None:
        raise AssertionError("Exif was parsed")

    monkeypatch.setattr(Image.Image, "getexif", parsed)
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"
    for kind in ("JPEG", "PNG", "WEBP"):
        assert look(saved(picture(64, 64), kind, exif=exif)).reason is Reason.FULL


def test_lack_of_memory_is_its_own_outcome_and_exact_falls_back_to_fast_first(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(picture(800, 768), "JPEG")
    fast = look(data, DecodePolicy.FAST)
    load = image_module._load_jpeg

    def short(data, layout, *, reduced):  # type: ignore[no-untyped-def]
        if not reduced:
            raise MemoryError
        return load(data, layout, reduced=reduced)

    monkeypatch.setattr(image_module, "_load_jpeg", short)
    assert look(data) == fast

    def none(*args, **named):  # type: ignore[no-untyped-def]
        raise MemoryError

    monkeypatch.setattr(image_module, "_load_jpeg", none)
    assert look(data).reason is Reason.DECODE_MEMORY


@pytest.mark.parametrize(("pixels_max", "reduction"), [(800 * 768, 1), (800 * 768 - 1, 2)])
def test_progressive_pictures_too_large_for_memory_in_full_are_seen_by_their_luma(
    pixels_max: int, reduction: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_module, "_PROGRESSIVE_EXACT_PIXELS_MAX", pixels_max)
    data = saved(picture(800, 768), "JPEG", progressive=True)
    assert next(iter(decode(data, LIMITS, DecodePolicy.EXACT).frames)).reduction == reduction


@pytest.mark.parametrize(("side", "reduction"), [(767, 1), (768, 2), (1535, 2), (1536, 4), (3071, 4), (3072, 8)])
def test_jpeg_is_reduced_only_down_to_384_pixels(side: int, reduction: int) -> None:
    data = saved(Image.new("RGB", (side, side + 40), (9, 99, 200)), "JPEG")
    frame = next(iter(decode(data, LIMITS, DecodePolicy.FAST).frames))
    assert frame.reduction == reduction
    assert frame.shape == (-(-(side + 40) // reduction), -(-side // reduction))
    assert min(frame.shape) >= 384 or reduction == 1
    assert frame.rows(0, 4).shape == (4, frame.shape[1])


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_blocks": 3}])
@pytest.mark.parametrize(
    "size", [(640, 512), (1031, 1025), (300, 200), pytest.param((2050, 2049), marks=pytest.mark.soak)]
)
def test_fast_stays_within_eight_bits_of_exact(size: tuple[int, int], options: dict[str, object]) -> None:
    data = saved(picture(*size), "JPEG", quality=85, **options)
    exact, fast = look(data), look(data, DecodePolicy.FAST)
    assert exact.reason is fast.reason is Reason.FULL
    assert distance(exact.pdq[0].code, fast.pdq[0].code) <= 8


def test_settings_refuse_what_makes_no_sense() -> None:
    for name in ("pixels_max", "frames_max", "frame_pixels_max", "frames_time_s", "jpeg_scans_max"):
        with pytest.raises(ValueError, match=f"{name} must be"):
            ImageLimits(**{name: 0})


def test_undecodable_carries_its_reason() -> None:
    with pytest.raises(Undecodable) as caught:
        decode(b"GIF89a", LIMITS, DecodePolicy.EXACT)
    assert caught.value.reason is Reason.BROKEN


def test_pillow_is_left_as_it_was() -> None:
    from PIL import ImageFile

    before = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS
    look(saved(picture(64, 64), "JPEG")[:-300])
    assert before == (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS)
    assert Image.open(BytesIO(saved(picture(64, 64), "PNG"))).size == (64, 64)
