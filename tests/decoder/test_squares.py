"""What a model is shown of a file: the first frame in colour, on white, as a plain decoder gives it. Digests stay as they are, and lies are deaths."""

from __future__ import annotations

import selectors
from collections.abc import Callable
from io import BytesIO

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from custodes import decoding
from custodes import jail as jail_module
from custodes.decoder import hashing, image
from custodes.decoder.hashing import examine_content
from custodes.decoding import DecodePolicy, Examined, ImageLimits, JailSettings, Recipe, packed, unpacked
from custodes.jail import Jail
from custodes.model import Content, Pdq, Reason
from custodes.pictures import prepared

from .pictures import picture, saved
from .test_jail import OBEDIENT, answer

LIMITS = ImageLimits()
RECIPE = Recipe(side=24, resize=32)
STRETCHED = Recipe(side=24, resize=32, fit="stretch", jpeg_quality=75, filter="bicubic")
POLICIES = (DecodePolicy.FAST, DecodePolicy.EXACT)


def colours() -> Image.Image:
    return picture(500, 420)


def wide(mode: str) -> Image.Image:
    """The same grey as bytes and as 16 bits a sample."""
    grey = np.asarray(colours().convert("L"))
    return Image.fromarray(grey.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(grey)


def see_through() -> Image.Image:
    clear = colours().convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    return clear


def on_white(clear: Image.Image) -> Image.Image:
    page = Image.new("RGBA", clear.size, "white")
    page.alpha_composite(clear)
    return page.convert("RGB")


def animation() -> bytes:
    frames = [picture(300, 200, seed) for seed in (1, 2, 3)]
    out = BytesIO()
    frames[0].save(out, "PNG", save_all=True, append_images=frames[1:])
    return out.getvalue()


def opened(data: bytes) -> Image.Image:
    return Image.open(BytesIO(data)).convert("RGB")


def lab() -> bytes:
    out = BytesIO()
    Image.merge("LAB", colours().split()).save(out, "TIFF")
    return out.getvalue()


def webp(data: bytes) -> Image.Image:
    return Image.fromarray(imagecodecs.webp_decode(data)[:, :, :3])


CASES: dict[str, tuple[bytes, Callable[[bytes], Image.Image]]] = {
    "jpeg": (saved(colours(), "JPEG"), opened),
    "large jpeg, whose luma is reduced": (saved(picture(1700, 1600), "JPEG"), opened),
    "progressive jpeg": (saved(colours(), "JPEG", progressive=True), opened),
    "grey jpeg": (saved(colours().convert("L"), "JPEG"), opened),
    "cmyk jpeg": (saved(colours().convert("CMYK"), "JPEG"), opened),
    "png": (saved(colours(), "PNG"), opened),
    "palette": (saved(colours().convert("P"), "PNG"), opened),
    "black and white": (saved(colours().convert("1"), "PNG"), opened),
    "webp": (saved(colours(), "WEBP"), webp),
    "avif": (saved(colours(), "AVIF", max_threads=1), opened),
    "bmp": (saved(colours(), "BMP"), opened),
    "tiff": (saved(colours(), "TIFF"), opened),
    "gif": (saved(colours(), "GIF"), opened),
    "animation: its first frame": (animation(), lambda _: picture(300, 200, 1)),
    "16 bits a sample": (saved(wide("I;16"), "PNG"), lambda _: wide("L").convert("RGB")),
    "lightness": (lab(), lambda _: colours().getchannel(0).convert("RGB")),
    "see-through png, on white": (saved(see_through(), "PNG"), lambda _: on_white(see_through())),
    "see-through webp, on white": (saved(see_through(), "WEBP", lossless=True, exact=True), lambda _: on_white(see_through())),
}  # fmt: skip


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("case", CASES)
def test_the_square_is_that_of_the_first_frame_in_colour(case: str, policy: DecodePolicy) -> None:
    data, plainly = CASES[case]
    square = np.frombuffer(examine_content(data, LIMITS, policy, RECIPE).square, np.uint8).reshape(24, 24, 3)
    expected = prepared(np.asarray(plainly(data)), RECIPE)
    slack = 2 if "see-through" in case else 0  # compositing rounds
    assert np.abs(square.astype(int) - expected).max() <= slack


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("case", CASES)
def test_digests_do_not_depend_on_whether_there_is_a_model(case: str, policy: DecodePolicy) -> None:
    data, _ = CASES[case]
    with_square = examine_content(data, LIMITS, policy, RECIPE)
    without = examine_content(data, LIMITS, policy)
    assert without.square == b""
    assert (with_square.reason, with_square.pdq) == (without.reason, without.pdq)


def test_a_damaged_file_that_counts_as_examined_has_a_square_of_what_is_there() -> None:
    whole = saved(colours(), "JPEG")
    examined = examine_content(whole[: len(whole) // 2], LIMITS, DecodePolicy.FAST, RECIPE)
    assert examined.reason is Reason.PARTIAL_DAMAGED
    square, expected = (
        np.frombuffer(each.square, np.uint8).reshape(24, 24, 3)
        for each in (examined, examine_content(whole, LIMITS, DecodePolicy.FAST, RECIPE))
    )
    assert np.array_equal(square[:8], expected[:8])
    assert examine_content(b"<html>", LIMITS, DecodePolicy.FAST, RECIPE).square == b""


def test_a_picture_too_large_for_colour_keeps_its_digests(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(_: Image.Image) -> Image.Image:
        raise MemoryError

    data = saved(colours(), "PNG")
    plain = examine_content(data, LIMITS, DecodePolicy.FAST)
    monkeypatch.setattr(image, "_rgb", lacking)
    assert examine_content(data, LIMITS, DecodePolicy.FAST, RECIPE) == plain


def test_a_large_progressive_picture_is_shown_at_half_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(picture(1024, 1024), "JPEG", progressive=True, quality=95)
    whole = np.frombuffer(examine_content(data, LIMITS, DecodePolicy.FAST, RECIPE).square, np.uint8).astype(int)
    monkeypatch.setattr(image, "_PROGRESSIVE_EXACT_PIXELS_MAX", 1 << 19)
    assert image._full_colour(data).size == (512, 512)
    half = np.frombuffer(examine_content(data, LIMITS, DecodePolicy.FAST, RECIPE).square, np.uint8)
    assert 0 < np.abs(half - whole).max() < 12


# --- the wire ---


def seen(square: bytes) -> Examined:
    return Examined(Reason.FULL, "png", 7, 9, (Pdq(bytes(32), 50, 0, bytes(96)),), square)


def test_without_a_recipe_the_wire_is_as_it_was() -> None:
    head = decoding.HEAD.pack(list(Reason).index(Reason.FULL), decoding._FORMATS.index("png"), 1, 7, 9)
    assert packed(seen(b"")) == head + decoding.CODE.pack(0, 50, bytes(32), bytes(96))


@pytest.mark.parametrize("square", [b"", bytes(range(48))], ids=["no square", "a square"])
def test_squares_survive_the_wire_whole_and_byte_by_byte(square: bytes) -> None:
    sent = packed(seen(square), 48)
    assert unpacked(sent, 48) == seen(square)
    assert all(unpacked(sent[:size], 48) is None for size in range(len(sent)))
    broken = Examined(Reason.BROKEN, "png", 7, 9)
    assert unpacked(packed(broken, 48), 48) == broken


def test_a_square_is_in_no_repr() -> None:
    assert "square" not in repr(seen(b"secret"))


SIDE4 = Recipe(side=4, resize=4)
LIES = {
    "one byte more than the square": answer() + b"\x01" + bytes(49),
    "a square and another answer": answer() + b"\x01" + bytes(48) + answer(),
    "a square that was said to be absent": answer() + b"\x00" + bytes(48),
    "neither there nor absent": answer() + b"\x02" + bytes(48),
    "a square of what was not examined": answer(reason=list(Reason).index(Reason.BROKEN), count=0) + b"\x01" + bytes(48),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_square_of_another_size_is_a_death(lie: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="answer"):
        unpacked(LIES[lie], SIDE4.square_bytes)
    monkeypatch.setattr(jail_module, "_ENTRY", OBEDIENT)
    with Jail(LIMITS, DecodePolicy.FAST, selectors.DefaultSelector(), JailSettings(cpu_timeout_s=20), SIDE4) as jail:
        for key, data in enumerate([b"say " + LIES[lie], saved(colours(), "PNG")]):
            jail.submit(key, Content(data))
        jail.run_until_idle()
        results = dict(jail.results)
    assert (results[0].reason, results[1].reason) == (Reason.DECODER_DIED, Reason.FULL)
    assert len(results[1].square) == 48


def test_planted_fault_a_reader_that_cuts_off_what_is_too_long_takes_the_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    room = decoding.HEAD.size + decoding.CODE.size + 1 + SIDE4.square_bytes
    monkeypatch.setattr(jail_module, "unpacked", lambda answer, size: unpacked(answer[:room], size))
    monkeypatch.setattr(jail_module, "_ENTRY", OBEDIENT)
    with Jail(LIMITS, DecodePolicy.FAST, selectors.DefaultSelector(), JailSettings(), SIDE4) as jail:
        jail.submit(0, Content(b"say " + LIES["one byte more than the square"]))
        jail.run_until_idle()
        assert jail.results[0][1].reason is Reason.FULL


def test_a_square_that_is_too_short_is_waited_for_until_the_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot be told from one on its way: what the decoder says next is taken for the rest, and then is too much."""
    short = answer() + b"\x01" + bytes(47)
    assert unpacked(short, 48) is None
    monkeypatch.setattr(jail_module, "_ENTRY", OBEDIENT)
    settings = JailSettings(cpu_timeout_s=20)
    with Jail(LIMITS, DecodePolicy.FAST, selectors.DefaultSelector(), settings, SIDE4) as jail:
        jail.submit(0, Content(b"say " + short))
        jail.run_until_idle()
        assert [examined.reason for _, examined in jail.results] == [Reason.DECODER_DIED]


@pytest.mark.parametrize("recipe", [RECIPE, STRETCHED], ids=["shortest", "with JPEG"])
def test_the_jail_prepares_what_the_function_prepares(recipe: Recipe) -> None:
    contents = [data for data, _ in CASES.values()] + [b"<html>", CASES["jpeg"][0][:900]]
    with Jail(LIMITS, DecodePolicy.FAST, selectors.DefaultSelector(), JailSettings(decoders=2), recipe) as jail:
        for key, data in enumerate(contents):
            jail.submit(key, Content(data))
        jail.run_until_idle()
        results = dict(jail.results)
    assert results == {
        key: examine_content(data, LIMITS, DecodePolicy.FAST, recipe) for key, data in enumerate(contents)
    }


COLOURLESS = """
import custodes.decoder.zygote as jail
from custodes.decoder import hashing
real, seen = hashing._square, [0]
def square(frame, recipe):
    seen[0] += 1
    return b'' if seen[0] > 1 else real(frame, recipe)  # as if an image before had left too little memory
hashing._square = square
confine = jail.confine_decoder
def born(*arguments, **named):
    seen[0] = 0  # what the zygote looked at does not count
    confine(*arguments, **named)
jail.confine_decoder = born
jail.main()
"""


def test_lack_of_memory_left_by_another_image_does_not_cost_the_square(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jail_module, "_ENTRY", COLOURLESS)
    good = saved(colours(), "PNG")
    with Jail(LIMITS, DecodePolicy.FAST, selectors.DefaultSelector(), JailSettings(), RECIPE) as jail:
        for key in range(3):
            jail.submit(key, Content(good))
        jail.run_until_idle()
        assert [len(examined.square) for _, examined in jail.results] == [RECIPE.square_bytes] * 3


def test_frames_are_not_coloured_where_no_model_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "_square", lambda *_: pytest.fail("it was"))
    monkeypatch.setattr(image, "_rgb", lambda *_: pytest.fail("it was"))
    assert examine_content(CASES["jpeg"][0], LIMITS, DecodePolicy.FAST).reason is Reason.FULL
