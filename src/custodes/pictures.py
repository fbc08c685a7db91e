"""What a model is shown of an image: resized, cropped, and as the numbers that it was trained on.

Promises that a recipe gives the same bytes for the same image, and that its cost is bounded by the model's side, however long and thin the image is. The
first half (``prepared``) needs no model and gives few bytes, so that it runs where images are decoded; the second (``tensor``) runs beside the model.
Recipes are for ``decoding``, models for ``similar.embedders``.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from custodes.decoding import Recipe
from custodes.errors import InputError
from custodes.resizing import Picture, resized, size_of

__all__ = ["Float32s", "Pixels", "prepared", "square_of", "tensor"]

Pixels = npt.NDArray[np.uint8]
"""[height, width, 3], red, green and blue."""

Float32s = npt.NDArray[np.float32]


def prepared(image: Pixels, recipe: Recipe) -> Pixels:
    """The square that the model is shown, uint8[side, side, 3]."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InputError(f"not an image in colour: {image.dtype} {list(image.shape)}", hint="give uint8[h, w, 3]")
    return square_of(image, recipe)


def square_of(picture: Picture, recipe: Recipe) -> Pixels:
    """The same of pixels that are known to be such, or of a picture in mode RGB, of which no copy is made."""
    return _stretched(picture, recipe) if recipe.fit == "stretch" else _kept(picture, recipe)


def tensor(squares: Sequence[Pixels], recipe: Recipe) -> Float32s:
    """Prepared images as the model takes them, float32[n, …] in its layout."""
    numbers = np.stack(squares).astype(np.float32)
    if recipe.order == "bgr":
        numbers = numbers[..., ::-1]
    mean, std = (np.array(each, dtype=np.float32) for each in (recipe.mean, recipe.std))
    numbers = (numbers / np.float32(recipe.divide_by) - mean) / std
    return np.ascontiguousarray(numbers if recipe.layout == "nhwc" else numbers.transpose(0, 3, 1, 2))


def _stretched(picture: Picture, recipe: Recipe) -> Pixels:
    whole = resized(picture, (recipe.resize, recipe.resize), recipe.filter)
    if recipe.jpeg_quality:
        file = BytesIO()
        Image.fromarray(whole).save(file, format="JPEG", quality=recipe.jpeg_quality)
        whole = np.asarray(Image.open(file, formats=["JPEG"]))
    start = _middle(recipe.resize, recipe.side)
    return whole[start : start + recipe.side, start : start + recipe.side]


def _kept(picture: Picture, recipe: Recipe) -> Pixels:
    """As resizing and then cutting out, but only what is cut out is made: the whole of a picture of 1 x 50,000 would be 224 x 11,200,000."""
    size = size_of(picture)
    short = min(size)
    box = []
    for length in size:
        whole = recipe.resize * length // short
        start = _middle(whole, recipe.side)
        box.append((start * length / whole, min((start + recipe.side) * length / whole, length)))
    (left, right), (top, bottom) = box
    return resized(picture, (recipe.side, recipe.side), recipe.filter, (left, top, right, bottom))


def _middle(length: int, part: int) -> int:
    return round((length - part) / 2)
