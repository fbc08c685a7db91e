"""PDQ by every native level and by NumPy: the same bits, whatever the picture, its size, its type and its reduction."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custodes import native
from custodes import pdq as pdq_module
from custodes.pdq import FORMS, forms_of, luma64, pdq

from .pictures import picture
from .test_hashing import luma_of

Array = np.ndarray[Any, Any]

LEVELS = (*native.levels(), native.NONE)
REDUCTIONS = (1, 2, 4, 8)
SIZES = [
    *((side, side) for side in range(5, 71)),
    *[(5, 70), (70, 5), (63, 65), (129, 127), (300, 257), (513, 1031), (1300, 999), (16383, 5), (5, 16383)],
]


def noise(height: int, width: int) -> Array:
    return np.random.default_rng(height * 65536 + width).integers(0, 256, (height, width))


def board(height: int, width: int) -> Array:
    rows, columns = np.indices((height, width))
    return (rows // 3 + columns // 3) % 2 * 255


PICTURES: dict[str, Callable[[int, int], Array]] = {
    "noise": noise,
    "faint noise": lambda height, width: noise(height, width) % 3 + 100,
    "soft noise": lambda height, width: noise(height, width) % 12 + 60,
    "gradient in both directions": lambda height, width: np.add.outer(np.arange(height), np.arange(width)) % 256,
    "flat black": lambda height, width: np.zeros((height, width)),
    "flat grey": lambda height, width: np.full((height, width), 77),
    "checkerboard": board,
    "shapes": lambda height, width: np.asarray(picture(width + 8, height + 8).convert("L"))[:height, :width],
}


@pytest.fixture(autouse=True)
def chosen_level() -> Iterator[None]:
    before = native.level()
    yield
    native.use(before)


def luma_and_code(luma: Array, size: tuple[int, int], reduction: int) -> tuple[bytes, Any]:
    """Everything that a level answers: the bits of the 64x64 luma, and the code with its reflections and quality."""
    return luma64(lambda top, bottom: luma[top:bottom], *size, reduction).tobytes(), pdq(luma, *size, reduction)


def answers(luma: Array, size: tuple[int, int], reduction: int) -> dict[str, tuple[bytes, Any]]:
    """By every level, of uint8 and of float32."""
    found = {}
    for level in LEVELS:
        native.use(level)
        for kind in (np.uint8, np.float32):
            found[f"{level} {kind.__name__}"] = luma_and_code(luma.astype(kind), size, reduction)
    return found


@pytest.mark.parametrize("name", PICTURES)
def test_every_level_gives_the_bits_that_numpy_gives(name: str) -> None:
    for width, height in SIZES:
        for reduction in REDUCTIONS if width == height or width * height > 100_000 else (1,):
            luma = PICTURES[name](-(-height // reduction), -(-width // reduction))
            found = answers(luma, (width, height), reduction)
            expected = found[f"{native.NONE} uint8"]
            assert [which for which, got in found.items() if got != expected] == [], (width, height, reduction)


@settings(max_examples=80, deadline=None)
@given(
    width=st.integers(5, 900),
    height=st.integers(5, 900),
    reduction=st.sampled_from(REDUCTIONS),
    seed=st.integers(0, 2**32),
)
def test_every_level_gives_the_bits_that_numpy_gives_for_fractions_too(
    width: int, height: int, reduction: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    luma = (rng.random((-(-height // reduction), -(-width // reduction))) * 255).astype(np.float32)
    found = []
    for level in LEVELS:
        native.use(level)
        found.append(luma_and_code(luma, (width, height), reduction))
    assert found == found[-1:] * len(LEVELS)


def spelled_out(luma: Array, size: tuple[int, int], *, forwards: bool = True) -> bytes:
    """The sums as the module promises them: rounded products, one added after the other."""
    lines, columns = (pdq_module._axis(side, 1) for side in reversed(size))
    steps = slice(None, None, 1 if forwards else -1)
    halfway = np.zeros((64, luma.shape[1]), np.float32)
    for at in range(lines.support)[steps]:
        halfway += luma.astype(np.float32)[lines.begin + at] * lines.weights[:, at, None]
    total = np.zeros((64, 64), np.float32)
    for at in range(columns.support)[steps]:
        total += halfway[:, columns.begin + at] * columns.weights[:, at]
    return total.tobytes()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("size", [(5, 5), (333, 200), (641, 480), (70, 1500)])
def test_sums_are_made_in_the_stated_order_and_another_order_gives_other_bits(
    size: tuple[int, int], level: str
) -> None:
    native.use(level)
    luma = noise(size[1], size[0]).astype(np.uint8)
    found = luma64(lambda top, bottom: luma[top:bottom], *size).tobytes()
    assert found == spelled_out(luma, size)
    if min(size) > 128:
        assert found != spelled_out(luma, size, forwards=False)


@pytest.mark.parametrize("level", LEVELS)
def test_luma_that_is_not_contiguous_or_of_another_type_gives_the_same_code(level: str) -> None:
    native.use(level)
    luma = noise(300, 400).astype(np.uint8)
    wide = np.zeros((300, 800), np.uint8)
    wide[:, ::2] = luma
    expected = pdq(luma, 400, 300)
    assert pdq(wide[:, ::2], 400, 300) == expected
    assert pdq(np.asfortranarray(luma), 400, 300) == expected
    assert pdq(luma.astype(np.float64), 400, 300) == expected
    assert pdq(luma.astype(np.uint16), 400, 300) == expected


@pytest.mark.parametrize("level", LEVELS)
def test_fewer_rows_or_columns_than_stated_are_refused(level: str) -> None:
    native.use(level)
    luma = noise(300, 400).astype(np.uint8)
    with pytest.raises(ValueError, match="299 rows of luma instead of 300"):
        luma64(lambda top, bottom: luma[: bottom - top - 1], 400, 300)
    with pytest.raises(ValueError):  # noqa: PT011 - NumPy's words where no kernel is used
        luma64(lambda top, bottom: luma[top:bottom, 1:], 400, 300)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_tents_stay_inside_the_image_whatever_its_size(reduction: int) -> None:
    for size in (*range(1, 700), 1023, 1024, 1025, 4999, 16383, 65535, 65536):
        axis = pdq_module._axis(size, reduction)  # raises where they do not
        assert axis.begin[0] >= 0
        assert axis.begin[-1] + axis.support <= axis.samples == -(-size // reduction)
        assert axis.weights.shape == (64, axis.support)
        assert axis.weights.flags.c_contiguous
        assert axis.weights.dtype == np.float32


# --- forms ---


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("count", [0, 1, 2, 3, 17, 1000])
def test_every_level_turns_codes_as_numpy_does(count: int, level: str) -> None:
    codes = np.random.default_rng(count).integers(0, 256, (count, 128)).astype(np.uint8)
    native.use(native.NONE)
    expected = forms_of(codes)
    native.use(level)
    assert forms_of(codes).tobytes() == expected.tobytes()
    assert forms_of(codes).shape == (count, 8, 32)


@pytest.mark.parametrize("level", LEVELS)
def test_every_single_bit_goes_where_the_definition_puts_it(level: str) -> None:
    native.use(level)
    shapes = ((0, 0), (2, 1), (3, 0), (1, 1), (1, 0), (2, 0), (0, 1), (3, 1))  # which of the four codes; turned or not
    for square in range(4):
        codes = np.zeros((256, 128), np.uint8)
        for bit in range(256):
            codes[bit, 32 * square + 31 - bit // 8] = 1 << bit % 8
        found = forms_of(codes)
        for form, (source, turned) in enumerate(shapes):
            for bit in range(256):
                to = bit % 16 * 16 + bit // 16 if turned else bit
                expected = 1 << to if source == square else 0
                assert int.from_bytes(found[bit, form].tobytes(), "big") == expected, (FORMS[form], bit)


@pytest.mark.parametrize("level", LEVELS)
def test_turning_twice_over_the_diagonal_gives_a_code_back(level: str) -> None:
    native.use(level)
    codes = np.random.default_rng(5).integers(0, 256, (50, 32)).astype(np.uint8)
    turned = forms_of(np.tile(codes, 4))[:, FORMS.index("flip_plus1")]
    assert (turned != codes).any()
    assert (forms_of(np.tile(turned, 4))[:, FORMS.index("flip_plus1")] == codes).all()


# --- vectors by others ---


def differing_vectors(vectors: Path) -> list[str]:
    """The synthetic vectors whose code or quality is not the published one."""
    spec = importlib.util.spec_from_file_location("pdq_synthetic", vectors / "pdq" / "synthetic.py")
    assert spec is not None
    assert spec.loader is not None
    synthetic = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(synthetic)
    wrong = []
    for case in json.loads((vectors / "pdq/expected/synthetic_core_vectors.json").read_text())["vectors"]:
        height, width = case["height"], case["width"]
        found = pdq(luma_of(synthetic.array(case["kind"], height, width, case["seed"])), width, height)
        if (found.code.hex(), found.quality) != (case["pdq"], case["quality"]):
            wrong.append(f"{case['kind']} {height}x{width}")
    return wrong


@pytest.mark.parametrize("level", LEVELS)
def test_synthetic_vectors_are_equal_on_every_level(level: str, vectors: Path) -> None:
    native.use(level)
    assert differing_vectors(vectors) == []


@pytest.mark.parametrize("level", LEVELS)
def test_planted_fault_tents_shifted_by_one_differ_from_the_vectors(
    level: str, vectors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shifted(size: int, reduction: int) -> tuple[Array, Array]:
        begin, weights = right(size, reduction)
        return np.minimum(begin + 1, -(-size // reduction) - weights.shape[1]), weights

    right = pdq_module._tents
    monkeypatch.setattr(pdq_module, "_tents", shifted)
    pdq_module._axis.cache_clear()
    try:
        native.use(level)
        assert len(differing_vectors(vectors)) > 10
    finally:
        pdq_module._axis.cache_clear()


def test_planted_fault_tents_that_leave_the_image_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    begin, weights = pdq_module._tents(500, 1)
    monkeypatch.setattr(pdq_module, "_tents", lambda size, reduction: (begin + 500 - weights.shape[1], weights))
    pdq_module._axis.cache_clear()
    with pytest.raises(ValueError, match="leave the image"):
        pdq_module._axis(500, 1)
    pdq_module._axis.cache_clear()
