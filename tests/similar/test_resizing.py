"""Resizing: with kernels and without, to the last bit, whatever the sizes; never outside of the picture; and near to what Pillow gives in one step."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from custodes import native
from custodes.resizing import FILTERS, Box, _axis, resized

sides = st.integers(1, 90)
shares = st.tuples(*(st.floats(0.0, 1.0) for _ in range(4)))


def noise(height: int, width: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)


def box_of(width: int, height: int, share: tuple[float, float, float, float]) -> Box:
    left, top = share[0] * (width - 0.5), share[1] * (height - 0.5)
    return (
        left,
        top,
        max(left + 0.25, left + share[2] * (width - left)),
        max(top + 0.25, top + share[3] * (height - top)),
    )


@settings(deadline=None, max_examples=60)
@given(sides, sides, sides, sides, st.sampled_from(list(FILTERS)), st.none() | shares)
def test_kernels_give_what_pillow_gives_step_by_step(
    height: int, width: int, down: int, across: int, kind: str, share: tuple[float, float, float, float] | None
) -> None:
    pixels, box = noise(height, width), box_of(width, height, share) if share else None
    before = native.level()
    try:
        native.use(native.NONE)
        expected = resized(pixels, (across, down), kind, box)
        for level in native.levels():
            native.use(level)
            for given_ in (pixels, Image.fromarray(pixels)):
                assert np.array_equal(resized(given_, (across, down), kind, box), expected), level
    finally:
        native.use(before)


@pytest.mark.parametrize("kind", FILTERS)
@pytest.mark.parametrize("shape", [(300, 200), (200, 300), (1, 500), (500, 1), (40, 40)])
def test_it_is_what_pillow_gives_but_for_the_order_of_two_roundings(shape: tuple[int, int], kind: str) -> None:
    pixels = noise(*shape)
    at_once = np.asarray(Image.fromarray(pixels).resize((64, 48), FILTERS[kind])).astype(int)
    drift = np.abs(resized(pixels, (64, 48), kind) - at_once)
    assert drift.mean() < 1
    assert kind == "bicubic" or drift.max() <= 2  # bicubic sums leave the range, and are cut after the first step


def test_sums_stay_inside() -> None:
    for length in (1, 2, 3, 50, 1000):
        for count in (1, 2, 64, 999):
            for kind in FILTERS:
                sums = _axis(length, (0.0, float(length)), count, kind)
                assert sums.starts.min() >= 0
                assert (sums.starts + sums.counts).max() <= length
