"""What a model is shown of an image: resized, cropped, and as the numbers that it was trained on.

Promises that a recipe gives the same bytes for the same image, and that its cost is bounded by the model's side, however long and thin the image is. The
first half (``prepared``) needs no model and gives few bytes, so that it runs where images are decoded; the second (``tensor``) runs beside the model.
Recipes are for ``decoding``, models for ``similar.embedders``.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from custodes.decoding import Recipe
from custodes.errors import InputError

__all__ = ["Float32s", "Pixels", "prepared", "square_of", "tensor"]

Pixels = npt.NDArray[np.uint8]
"""[height, width, 3], red, green and blue."""

Float32s = npt.NDArray[np.float32]

_FILTERS: Final = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def prepared(image: Pixels, recipe: Recipe) -> Pixels:
    """The square that the model is shown, uint8[side, side, 3]."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InputError(f"not an image in colour: {image.dtype} {list(image.shape)}", hint="give uint8[h, w, 3]")
    return square_of(Image.fromarray(np.ascontiguousarray(image)), recipe)


def square_of(picture: Image.Image, recipe: Recipe) -> Pixels:
    """The same of a picture in mode RGB, of which no copy is made."""
    return _stretched(picture, recipe) if recipe.fit == "stretch" else _kept(picture, recipe)


def tensor(squares: Sequence[Pixels], recipe: Recipe) -> Float32s:
    """Prepared images as the model takes them, float32[n, …] in its layout."""
    numbers = np.stack(squares).astype(np.float32)
    if recipe.order == "bgr":
        numbers = numbers[..., ::-1]
    mean, std = (np.array(each, dtype=np.float32) for each in (recipe.mean, recipe.std))
    numbers = (numbers / np.float32(recipe.divide_by) - mean) / std
    return np.ascontiguousarray(numbers if recipe.layout == "nhwc" else numbers.transpose(0, 3, 1, 2))


def _stretched(picture: Image.Image, recipe: Recipe) -> Pixels:
    whole = picture.resize((recipe.resize, recipe.resize), _FILTERS[recipe.filter])
    if recipe.jpeg_quality:
        file = BytesIO()
        whole.save(file, format="JPEG", quality=recipe.jpeg_quality)
        whole = Image.open(file, formats=["JPEG"])
    start = _middle(recipe.resize, recipe.side)
    return np.asarray(whole)[start : start + recipe.side, start : start + recipe.side]


def _kept(picture: Image.Image, recipe: Recipe) -> Pixels:
    """As resizing and then cutting out, but only what is cut out is made: the whole of a picture of 1 x 50,000 would be 224 x 11,200,000."""
    short = min(picture.size)
    box = []
    for length in picture.size:
        resized = recipe.resize * length // short
        start = _middle(resized, recipe.side)
        box.append((start * length / resized, min((start + recipe.side) * length / resized, length)))
    (left, right), (top, bottom) = box
    square = picture.resize((recipe.side, recipe.side), _FILTERS[recipe.filter], box=(left, top, right, bottom))
    return np.asarray(square)


def _middle(length: int, part: int) -> int:
    return round((length - part) / 2)
