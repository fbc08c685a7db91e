"""PNG files of plain pixels: what is read is what Pillow reads, and nothing of a file with a fault; what is written holds pixels alone; at every level."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from custodes import native
from custodes.decoder import png

from .pictures import picture, saved

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

SHAPES = [(1, 1), (1, 2), (2, 1), (3, 5), (17, 64), (33, 341), (200, 300)]


@pytest.fixture(params=[*native.levels(), native.NONE])
def level(request: pytest.FixtureRequest) -> Iterator[str]:
    before = native.level()
    native.use(request.param)
    yield request.param
    native.use(before)


def pixels(height: int, width: int, channels: int) -> Pixels:
    """Noise above, a flat half below: both ways of telling bytes."""
    found = np.random.default_rng(height * width).integers(0, 256, (height, width, channels), np.uint8)
    found[height // 2 :] = 7
    return found


def shown(data: bytes) -> Pixels:
    with Image.open(BytesIO(data)) as image:
        return np.asarray(image)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_written_holds_these_pixels_in_three_chunks(level: str, shape: tuple[int, int], channels: int) -> None:
    wanted = pixels(*shape, channels)
    data = png.packed(wanted)
    assert (shown(data) == wanted).all()
    found = png.plain_pixels(data)
    assert found is not None
    assert (found == wanted).all()
    assert [name for name, _ in png._chunks(data)] == [b"IHDR", b"IDAT", b"IEND"]


def test_every_level_writes_the_same_file() -> None:
    if not native.levels():
        pytest.skip("NOT TESTED: there is no native library")
    before, files = native.level(), set()
    for name in native.levels():
        native.use(name)
        files.add(png.packed(pixels(200, 300, 3)))
    native.use(before)
    assert len(files) == 1


def test_what_is_deflated_zlib_inflates_whatever_it_is(level: str) -> None:
    kernels = native.kernels()
    if kernels is None:
        return
    rng = np.random.default_rng(1)
    kinds = [np.zeros(300_000, np.uint8), rng.integers(0, 256, 300_000, np.uint8), np.arange(300_000).astype(np.uint8)]
    kinds += [
        (rng.geometric(0.001, 300_000) % 256).astype(np.uint8),
        np.repeat(rng.integers(0, 256, 3000, np.uint8), 100),
    ]
    skewed = np.repeat(np.arange(24, dtype=np.uint8), 2 ** np.arange(24) // 64 + 1)[
        :200_000
    ]  # codes that would be longer than the limit
    for data in [
        *kinds,
        skewed,
        *(rng.integers(0, 3, size, np.uint8) for size in (1, 2, 7, 8, 9, 257, 258, 259, 1 << 17)),
    ]:
        out, written = (
            np.empty(data.size * 3 // 2 + 512 * (data.size // (1 << 17) + 1) + 64, np.uint8),
            np.zeros(1, np.int64),
        )
        kernels.call("deflate", data, data.size, out, written)
        assert zlib.decompress(out[: int(written[0])].tobytes(), -15) == data.tobytes()


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_every_filter_is_read_as_pillow_reads_it(level: str, mode: str) -> None:
    image = picture(203, 97, seed=3).convert(mode)
    rows = np.asarray(image).reshape(97, -1)
    for form in range(5):
        data = file_of(image, b"".join(bytes([form]) + filtered(rows, row, form, len(mode)) for row in range(97)))
        found = png.plain_pixels(data)
        assert found is not None
        assert (found.reshape(97, -1) == rows).all()
        assert (shown(data).reshape(97, -1) == rows).all()


def filtered(rows: Pixels, row: int, form: int, step: int) -> bytes:
    """W3C PNG 3, section 9.2, byte by byte."""
    out = []
    for at in range(rows.shape[1]):
        a = int(rows[row, at - step]) if at >= step else 0
        b = int(rows[row - 1, at]) if row else 0
        c = int(rows[row - 1, at - step]) if row and at >= step else 0
        near = min((a, b, c), key=lambda one: abs(a + b - c - one))  # the first of equals
        out.append((int(rows[row, at]) - (0, a, b, (a + b) // 2, near)[form]) % 256)
    return bytes(out)


def file_of(image: Image.Image, rows: bytes, parts: int = 1) -> bytes:
    packed = zlib.compress(rows)
    colour = {"L": 0, "LA": 4, "RGB": 2, "RGBA": 6}[image.mode]
    step = -(-len(packed) // parts)
    bodies = [packed[at : at + step] for at in range(0, len(packed), step)]
    head = struct.pack(">IIBBBBB", *image.size, 8, colour, 0, 0, 0)
    return b"".join((png._MAGIC, chunk(b"IHDR", head), *(chunk(b"IDAT", body) for body in bodies), chunk(b"IEND", b"")))


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


GREY = Image.new("L", (5, 4), 9)
ROWS = b"\0\x09\x09\x09\x09\x09" * 4


def flipped_end(packed: bytes) -> tuple[bytes, bytes]:
    return packed, packed[:-1] + bytes([packed[-1] ^ 1])


def with_dictionary(rows: bytes) -> bytes:
    packing = zlib.compressobj(zdict=b"\x09\x09\x09")
    return packing.compress(rows) + packing.flush()


def faults() -> dict[str, bytes]:
    whole = file_of(GREY, ROWS, parts=3)
    at = whole.index(b"IDAT", whole.index(b"IDAT") + 1) - 4
    return {
        "a row too few": file_of(GREY, ROWS[:-6]),
        "a row too many": file_of(GREY, ROWS + ROWS[:6]),
        "a filter that there is not": file_of(GREY, b"\5" + ROWS[1:]),
        "no data": whole[: whole.index(b"IDAT") - 4] + chunk(b"IEND", b""),
        "something between its data": whole[:at] + chunk(b"tIME", bytes(7)) + whole[at:],
        "data cut short": file_of(GREY, ROWS).replace(zlib.compress(ROWS), zlib.compress(ROWS)[:-6]),
        "a sum of the data that is wrong": file_of(GREY, ROWS).replace(*flipped_end(zlib.compress(ROWS))),
        "a dictionary that nobody has": file_of(GREY, ROWS).replace(zlib.compress(ROWS), with_dictionary(ROWS)),
        "a method of filters that there is not": saved(GREY, "PNG")[:27] + b"\1" + saved(GREY, "PNG")[28:],
    }


def test_data_in_parts_are_read(level: str) -> None:
    found = png.plain_pixels(file_of(GREY, ROWS, parts=3))
    assert found is not None
    assert (found == 9).all()


@pytest.mark.skipif(not native.levels(), reason="NOT TESTED: there is no native library")
@pytest.mark.parametrize("fault", faults())
def test_a_file_with_a_fault_is_left_to_others(fault: str) -> None:
    assert png.plain_pixels(faults()[fault]) is None


def test_no_more_is_inflated_than_the_header_promises() -> None:
    """A bomb of 100 MB behind the header of a small picture."""
    whole = zlib.compress(bytes(100_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="promises"):
            png._inflated(whole, 1000)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("size", "told"), [(999, False), (1000, True), (1001, False)])
def test_data_are_of_the_size_that_the_header_promises(size: int, told: bool) -> None:
    packed = zlib.compress(bytes(1000))
    if told:
        assert png._inflated(packed, size) == bytes(1000)
        return
    with pytest.raises(ValueError, match="promises"):
        png._inflated(packed, size)
