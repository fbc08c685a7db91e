"""What a model is shown: the bytes of a recipe, and what they cost."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from custodes.decoding import SIDE_MAX, Recipe
from custodes.pictures import prepared, tensor


def image(height: int, width: int) -> np.ndarray:
    """Noise that no filter sharpens beyond what a byte holds: where it is cut off, the order of the two passes shows."""
    return np.random.default_rng(1).integers(64, 192, (height, width, 3), dtype=np.uint8)


def whole_then_cut(pixels: np.ndarray, recipe: Recipe) -> np.ndarray:
    """The slow simple answer: the whole is resized, then its middle is cut out."""
    picture = Image.fromarray(pixels)
    width, height = picture.size
    size = (recipe.resize * width // min(picture.size), recipe.resize * height // min(picture.size))
    if recipe.fit == "stretch":
        size = (recipe.resize, recipe.resize)
    resized = np.asarray(picture.resize(size, Image.Resampling[recipe.filter.upper()]))
    left, top = (round((length - recipe.side) / 2) for length in size)
    return resized[top : top + recipe.side, left : left + recipe.side]


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.integers(1, 40),
    st.integers(0, 20),
    st.sampled_from(["stretch", "shortest"]),
    st.sampled_from(["bilinear", "bicubic"]),
)
def test_what_is_shown_is_the_middle_of_the_whole(
    height: int, width: int, side: int, more: int, fit: str, kind: str
) -> None:
    recipe = Recipe(side=side, resize=side + more, fit=fit, filter=kind)  # type: ignore[arg-type]
    pixels = image(height, width)
    shown, expected = prepared(pixels, recipe).astype(int), whole_then_cut(pixels, recipe).astype(int)
    assert shown.shape == (side, side, 3)
    drift = np.abs(shown - expected)
    assert drift.mean() < 1  # the two passes are in another order, and each rounds
    assert kind == "bicubic" or drift.max() <= 2  # bicubic sums leave the range, and are cut after the first pass


@pytest.mark.parametrize("shape", [(1, 60_000), (60_000, 1)], ids=["long", "tall"])
def test_a_long_thin_image_costs_no_more_than_its_square(shape: tuple[int, int]) -> None:
    assert prepared(image(*shape), Recipe()).shape == (224, 224, 3)  # the whole would be 9 GB


def test_a_recipe_with_jpeg_shows_what_a_jpeg_file_would() -> None:
    pixels = image(40, 60)
    recipe = Recipe(side=32, resize=48, fit="stretch", jpeg_quality=75)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((48, 48), Image.Resampling.BILINEAR).save(file, "JPEG", quality=75)
    assert np.array_equal(prepared(pixels, recipe), np.asarray(Image.open(file))[8:40, 8:40])


def test_channels_are_ordered_and_scaled_as_the_recipe_says() -> None:
    square = np.array([[[10, 20, 30]]], np.uint8)
    plain = {"side": 1, "resize": 1, "divide_by": 10.0, "mean": (1.0, 1.0, 1.0), "std": (2.0, 2.0, 1.0)}
    assert tensor([square], Recipe(**plain)).tolist() == [[[[0]], [[0.5]], [[2]]]]  # type: ignore[arg-type]
    turned = Recipe(**plain, order="bgr", layout="nhwc")  # type: ignore[arg-type]
    assert tensor([square, square], turned).tolist() == [[[[1, 0.5, 0]]]] * 2


def test_a_view_of_an_image_is_an_image() -> None:
    pixels = image(20, 30)
    assert np.array_equal(
        prepared(pixels[::-1, ::2], Recipe(side=8, resize=8)),
        prepared(np.ascontiguousarray(pixels[::-1, ::2]), Recipe(side=8, resize=8)),
    )


WRONG: dict[str, dict[str, object]] = {
    "no side": {"side": 0},
    "a side above resize": {"side": 225, "resize": 224},
    "too large": {"side": 8, "resize": SIDE_MAX + 1},
    "no deviation": {"std": (1.0, 0.0, 1.0)},
    "divided by nothing": {"divide_by": 0.0},
    "a mean that is none": {"mean": (0.0, float("nan"), 0.0)},
    "quality above 100": {"fit": "stretch", "jpeg_quality": 101},
    "JPEG where the whole is not made": {"jpeg_quality": 75},
}


@pytest.mark.parametrize("settings_", WRONG.values(), ids=WRONG)
def test_recipes_that_cannot_be_followed_are_refused(settings_: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Recipe(**settings_)  # type: ignore[arg-type]


def test_the_largest_recipe_is_taken() -> None:
    assert prepared(image(3, 3), Recipe(side=SIDE_MAX, resize=SIDE_MAX)).shape == (SIDE_MAX, SIDE_MAX, 3)
