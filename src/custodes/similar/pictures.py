"""What a model is shown of an image: resized, cropped, and as the numbers that it was trained on.

Promises that a recipe gives the same bytes for the same image, and that its cost is bounded by the model's side, however long and thin the image is. The
first half (``prepared``) needs no model and gives few bytes, so that it can run where images are decoded. Models are for ``embedders``.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from PIL import Image

from custodes.errors import InputError

__all__ = ["Float32s", "Pixels", "Recipe", "prepared", "tensor"]

Pixels = npt.NDArray[np.uint8]
"""[height, width, 3], red, green and blue."""

Float32s = npt.NDArray[np.float32]

SIDE_MAX: Final = 1024
_FILTERS: Final = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

Triple = tuple[float, float, float]


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an image becomes numbers: resized to ``resize``, the middle cut out, and (value / divide_by - mean) / std of each channel."""

    side: int = 224
    resize: int = 224
    fit: Literal["stretch", "shortest"] = "shortest"
    """Resize both sides, or the shorter one and keep the proportions."""
    filter: Literal["bilinear", "bicubic"] = "bilinear"
    jpeg_quality: int = 0
    """Written as a JPEG file of this quality once it is resized, and read again; 0: not."""
    order: Literal["rgb", "bgr"] = "rgb"
    layout: Literal["nchw", "nhwc"] = "nchw"
    divide_by: float = 255.0
    mean: Triple = (0.0, 0.0, 0.0)
    """Of the channels, in ``order``."""
    std: Triple = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        if not 1 <= self.side <= self.resize <= SIDE_MAX:
            raise ValueError(f"side must be at least 1, resize at least side and at most {SIDE_MAX}")
        if not 0 <= self.jpeg_quality <= 100 or (self.jpeg_quality and self.fit != "stretch"):
            raise ValueError("jpeg_quality must be from 0 to 100, and 0 where fit is not stretch")
        numbers = (self.divide_by, *self.std, *self.mean)
        if not np.isfinite(numbers).all() or not all(number > 0 for number in numbers[:4]):
            raise ValueError("divide_by and std must be above 0, and all of them finite")


def prepared(image: Pixels, recipe: Recipe) -> Pixels:
    """The square that the model is shown, uint8[side, side, 3]."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InputError(f"not an image in colour: {image.dtype} {list(image.shape)}", hint="give uint8[h, w, 3]")
    picture = Image.fromarray(np.ascontiguousarray(image))
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
