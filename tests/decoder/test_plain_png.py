"""PNG by the quicker decoder: the same outcome and the same code as Pillow's, for whole files and for damaged ones."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest

from custodes.decoder import image as image_module
from custodes.decoder.hashing import examine_content
from custodes.decoder.png import is_plain
from custodes.decoding import DecodePolicy, Examined, ImageLimits

from .pictures import picture, saved

PHOTO = picture(200, 150)
SEE_THROUGH = PHOTO.convert("RGBA")
SEE_THROUGH.putalpha(PHOTO.convert("L"))
WHOLE = saved(PHOTO, "PNG")


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def with_data(data: bytes) -> bytes:
    return WHOLE[:33] + chunk(b"IDAT", data) + chunk(b"IEND", b"")


ROWS = bytes(range(1, 201)) * 3 * 150
ROWS = b"".join(b"\0" + ROWS[600 * row : 600 * row + 600] for row in range(150))
PLAIN = {
    "colour": WHOLE,
    "grey": saved(PHOTO.convert("L"), "PNG"),
    "alpha that hides nothing": saved(PHOTO.convert("RGBA"), "PNG"),
    "alpha": saved(SEE_THROUGH, "PNG"),
    "grey and alpha": saved(SEE_THROUGH.convert("LA"), "PNG"),
    "bytes behind the end": WHOLE + b"PK",
    "rows that are missing": with_data(zlib.compress(ROWS[: len(ROWS) // 2])),
    "rows that are too many": with_data(zlib.compress(ROWS + ROWS)),
    "a stream that is cut": with_data(zlib.compress(ROWS)[:-300]),
    "no stream": with_data(b"umbrella"),
}
OTHERS = {
    "a palette": saved(PHOTO.convert("P"), "PNG"),
    "one bit": saved(PHOTO.convert("1"), "PNG"),
    "16 bits": saved(PHOTO.convert("I;16"), "PNG"),
    "a colour key": saved(PHOTO, "PNG", transparency=(1, 2, 3)),
    "an animation": saved(PHOTO, "PNG", save_all=True, append_images=[PHOTO.rotate(90)]),
    "no end": WHOLE[:-12],
    "half": WHOLE[: len(WHOLE) // 2],
    "a wrong checksum": WHOLE[:-13] + bytes([WHOLE[-13] ^ 1]) + WHOLE[-12:],
    "a header alone": WHOLE[:33],
    "less than a header": WHOLE[:32],
}


def test_only_whole_plain_pictures_go_the_quick_way() -> None:
    assert [name for name, data in PLAIN.items() if not is_plain(data)] == []
    assert [name for name, data in OTHERS.items() if is_plain(data)] == []


def both(data: bytes, policy: DecodePolicy, monkeypatch: pytest.MonkeyPatch) -> tuple[Examined, Examined]:
    quick = examine_content(data, ImageLimits(), policy)
    with monkeypatch.context() as patch:
        patch.setattr(image_module, "_plain_png", lambda *_: None)
        return quick, examine_content(data, ImageLimits(), policy)


@pytest.mark.parametrize("policy", [DecodePolicy.EXACT, DecodePolicy.FAST])
def test_the_quick_way_gives_what_pillow_gives(policy: DecodePolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, data in (PLAIN | OTHERS).items():
        quick, slow = both(data, policy, monkeypatch)
        assert quick == slow, name


def test_it_gives_the_same_for_files_by_others(vectors: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [path for path in sorted(vectors.rglob("*.png")) if path.stat().st_size < 1 << 20]
    assert len(files) > 100
    for path in files:
        quick, slow = both(path.read_bytes(), DecodePolicy.EXACT, monkeypatch)
        assert quick == slow, path.name
