"""JPEG in colour by the quicker decoder: the same outcome, codes and copy as by Pillow's, for whole files and for damaged ones."""

from __future__ import annotations

import random
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from custodes.decoder import image as image_module
from custodes.decoder import jpeg
from custodes.decoder.views import view_content
from custodes.decoding import ImageLimits
from custodes.model import Reason
from custodes.sniff import is_plain_jpeg
from custodes.viewing import Task, Viewed, Viewing

from .pictures import picture, saved

PHOTO = picture(301, 211, 3)
END = b"\xff\xd9"
WHOLE = saved(PHOTO, "JPEG", quality=90)
SCAN = WHOLE.index(b"\xff\xda")
CUT = WHOLE[: len(WHOLE) // 2].rstrip(b"\xff")
VIEWING = Viewing(tile_side_min=64)


def with_adobe(data: bytes, transform: int) -> bytes:
    return data[:2] + b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([transform]) + data[2:]


def as_grey_at_the_end() -> bytes:
    image = PHOTO.copy()
    image.paste((128, 128, 128), (280, 190, 301, 211))
    return saved(image, "JPEG", quality=90)


PLAIN = {
    "420": WHOLE,
    "422": saved(PHOTO, "JPEG", subsampling="4:2:2"),
    "444, optimized": saved(PHOTO, "JPEG", subsampling=0, optimize=True),
    "the coarsest": saved(PHOTO, "JPEG", quality=1),
    "restarts": saved(PHOTO, "JPEG", restart_marker_blocks=5),
    "a restart too many": WHOLE[:-900] + b"\xff\xd0" + WHOLE[-900:],
    "one pixel": saved(PHOTO.resize((1, 1)), "JPEG"),
    "a thin one": saved(PHOTO.resize((3, 500)), "JPEG"),
    "red, green and blue by Adobe": with_adobe(WHOLE, 0),
    "YCbCr by Adobe": with_adobe(WHOLE, 1),
    "bytes behind the end": WHOLE + b"PK" * 9,
    "two files in one": WHOLE + WHOLE,
    "a comment": WHOLE[:2] + b"\xff\xfe\x00\x06" + END * 2 + WHOLE[2:],
    "cut, and ended": CUT + END,
    "cut short, and ended": WHOLE[: SCAN + 60] + END,
    "the end after fill bytes": WHOLE[:-2] + b"\xff\xff" + END,
    "ends in grey": as_grey_at_the_end(),
}
OTHERS = {
    "progressive": saved(PHOTO, "JPEG", progressive=True),
    "grey": saved(PHOTO.convert("L"), "JPEG"),
    "CMYK": saved(PHOTO.convert("CMYK"), "JPEG"),
    "cut": CUT,
    "without its end": WHOLE[:-2],
    "half of its end": WHOLE[:-1],
    "no data": WHOLE[: SCAN + 4],
    "a segment behind the data that the file does not hold": WHOLE[:-2] + b"\xff\xe0\xff\xff" + END,
    "another scan behind the data": WHOLE[:-2] + WHOLE[SCAN:],
    "two frame headers": WHOLE[:SCAN] + WHOLE[WHOLE.index(b"\xff\xc0") : SCAN] + WHOLE[SCAN:],
    "the end in place of the scan": WHOLE[:SCAN] + END + WHOLE[SCAN:],
}


def seen(data: bytes) -> Viewed:
    return view_content(data, ImageLimits(), VIEWING, Task.WRITE)


def both(data: bytes, monkeypatch: pytest.MonkeyPatch) -> tuple[Viewed, Viewed]:
    quick = seen(data)
    with monkeypatch.context() as patch:
        patch.setattr(image_module, "_plain_jpeg", lambda *_: None)
        return quick, seen(data)


def test_only_one_whole_scan_in_colour_goes_the_quick_way() -> None:
    assert [name for name, data in PLAIN.items() if not is_plain_jpeg(data)] == []
    assert [name for name, data in OTHERS.items() if is_plain_jpeg(data)] == []


def test_the_quick_way_gives_what_pillow_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, data in (PLAIN | OTHERS).items():
        quick, slow = both(data, monkeypatch)
        assert quick == slow, name
    assert seen(WHOLE).written


def test_damaged_files_give_the_same_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = random.Random(8)
    for number in range(60):
        data = bytearray(saved(PHOTO, "JPEG", restart_marker_blocks=7) if number % 2 else WHOLE)
        first = SCAN if number % 3 else 2
        for _ in range(1 + number % 4):
            data[chosen.randrange(first, len(data))] = chosen.choice((0, 0xFF, chosen.randrange(256)))
        if number % 5 == 0:
            data = data[: chosen.randrange(SCAN, len(data))] + END
        quick, slow = both(bytes(data), monkeypatch)
        assert quick == slow, number


def test_it_gives_the_same_for_files_by_others(vectors: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [path for path in sorted(vectors.rglob("*.jp*g")) if path.stat().st_size < 1 << 19][:80]
    assert len(files) > 20
    for path in files:
        quick, slow = both(path.read_bytes(), monkeypatch)
        assert quick == slow, path.name


def test_missing_data_are_never_called_full_and_the_planted_absence_of_the_check_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert seen(CUT + END).examined.reason is Reason.PARTIAL_DAMAGED
    monkeypatch.setattr(jpeg, "may_lack_data", lambda _: False)
    assert seen(CUT + END).examined.reason is Reason.FULL


def test_the_last_block_tells_at_the_limit_and_past_it() -> None:
    for off, told in ((0, True), (jpeg.BLEED_MAX + 1, True), (jpeg.BLEED_MAX + 2, False)):
        pixels = np.full((17, 25, 3), 128 + off, np.uint8)
        assert jpeg.may_lack_data(pixels) is told
        pixels[:16, :, 0], pixels[:, :24, 1] = 0, 255  # other blocks do not count
        assert jpeg.may_lack_data(pixels) is told


def test_pixels_are_those_of_pillow() -> None:
    for name in ("420", "422", "444, optimized", "restarts", "red, green and blue by Adobe", "a thin one"):
        pixels = jpeg.plain_pixels(PLAIN[name])
        assert pixels is not None, name
        assert np.array_equal(pixels, np.asarray(Image.open(BytesIO(PLAIN[name])))), name
