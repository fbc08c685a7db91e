"""PDQ against vectors by others, and the arithmetic against its slow, plain form."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custodes import pdq as pdq_module
from custodes.decoder.hashing import examine_content
from custodes.decoding import CODES_MAX, DecodePolicy, ImageLimits
from custodes.digests import crypto_digests
from custodes.model import Content, Pdq, Reason
from custodes.pdq import FORMS, forms_of, luma64, pdq

from .pictures import distance, picture, saved

LIMITS = ImageLimits()


def luma_of(rgb: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    red, green, blue = (rgb[:, :, channel].astype(np.float32) for channel in range(3))
    return np.float32(0.299) * red + np.float32(0.587) * green + np.float32(0.114) * blue


def all_forms(found: Pdq) -> np.ndarray[Any, Any]:
    return forms_of(np.frombuffer(found.code + found.reflections, np.uint8).reshape(1, 128))[0]


def slow_luma64(luma: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The reference's two box passes, written as it describes them, in double precision."""
    out = luma.astype(np.float64)
    for axis in (1, 0):
        size = luma.shape[axis]
        window = (size + 127) // 128
        half = (window + 2) // 2
        for _ in range(2):
            moved = np.moveaxis(out, axis, 0)
            ends = [(max(0, at - (window - half)), min(size, at + half)) for at in range(size)]
            out = np.moveaxis(np.stack([moved[low:high].mean(axis=0) for low, high in ends]), 0, axis)
    rows, columns = (((np.arange(64) * 2 + 1) * size) // 128 for size in luma.shape)
    return out[np.ix_(rows, columns)]


@pytest.fixture(scope="module")
def synthetic(vectors: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("pdq_synthetic", vectors / "pdq" / "synthetic.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_synthetic_vectors_are_equal_in_code_and_quality_and_in_every_form_that_rounding_does_not_decide(
    vectors: Path, synthetic: ModuleType
) -> None:
    cases = json.loads((vectors / "pdq/expected/synthetic_core_vectors.json").read_text())["vectors"]
    assert len(cases) == 37
    for case in cases:
        height, width = case["height"], case["width"]
        luma = luma_of(synthetic.array(case["kind"], height, width, case["seed"]))
        found = pdq(luma, width, height)
        name = (case["kind"], height, width)
        assert (found.code.hex(), found.quality) == (case["pdq"], case["quality"]), name
        if min(width, height) < 5:
            continue
        small = luma64(lambda top, bottom, luma=luma: luma[top:bottom], width, height)
        coefficients = pdq_module._coefficients(small)
        forms = all_forms(pdq_module._pdq64(small, 0))
        margin = np.abs(np.abs(coefficients) - np.abs(np.partition(coefficients.ravel(), 127)[127])).min()
        for form, code in zip(FORMS, forms, strict=True):
            # Where coefficients lie at the median to within rounding (1e-2 of some 1e3), the order of a sum decides; the file itself
            # gives two codes for one such picture. All others must be equal.
            if code.tobytes().hex() != case["dihedral"][form]:
                assert margin < 1e-2, (name, form)
                assert name in {("cells", 16, 2000), ("ramp", 64, 64), ("rings", 5, 5), ("ramp", 129, 127)}, (
                    name,
                    form,
                )


def test_published_full_resolution_hashes_are_equal_under_the_exact_policy(vectors: Path) -> None:
    with (vectors / "pdq/expected/published_full_resolution.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    checked = 0
    for row in rows:
        data = (vectors / "pdq/images/threatexchange" / row["file"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == row["sha256"]
        if row["file"].endswith("I16.png"):
            continue  # the published value is of samples clipped at 255, a known fault of the tool it comes from
        exact = examine_content(data, LIMITS, DecodePolicy.EXACT)
        # LA.png is published without its alpha, which is one of the views
        assert min(distance(found.code, bytes.fromhex(row["expected_pdq"])) for found in exact.pdq) == 0, row["file"]
        fast = examine_content(data, LIMITS, DecodePolicy.FAST)
        assert min(distance(found.code, bytes.fromhex(row["expected_pdq"])) for found in fast.pdq) <= 4, row["file"]
        checked += 1
    assert checked == len(rows) - 1 >= 24


@settings(max_examples=40, deadline=None)
@given(width=st.integers(5, 700), height=st.integers(5, 700), seed=st.integers(0, 9))
def test_folded_tents_equal_two_box_passes(width: int, height: int, seed: int) -> None:
    luma = np.random.default_rng(seed).integers(0, 256, (height, width)).astype(np.uint8)
    fast = luma64(lambda top, bottom: luma[top:bottom], width, height)
    np.testing.assert_allclose(fast, slow_luma64(luma), atol=2e-3)


@pytest.mark.parametrize("reduction", [2, 4, 8])
@pytest.mark.parametrize("size", [(512, 512), (513, 1031), (2048, 2051), (999, 4096)])
def test_compensated_tents_of_block_means_equal_the_full_operator_where_blocks_are_flat(
    size: tuple[int, int], reduction: int
) -> None:
    width, height = size
    small = (
        np.random.default_rng(3).integers(0, 256, (-(-height // reduction), -(-width // reduction))).astype(np.uint8)
    )
    full = small.repeat(reduction, axis=0).repeat(reduction, axis=1)[:height, :width]
    one = luma64(lambda top, bottom: small[top:bottom], width, height, reduction)
    other = luma64(lambda top, bottom: full[top:bottom], width, height)
    np.testing.assert_allclose(one, other, atol=2e-3)


def test_bands_are_asked_in_rising_order_and_stay_small_for_a_huge_picture() -> None:
    asked: list[tuple[int, int]] = []

    def rows(top: int, bottom: int) -> np.ndarray[Any, Any]:
        asked.append((top, bottom))
        return np.zeros((bottom - top, 10_000), np.uint8)

    luma64(rows, 10_000, 5_000)
    assert asked == sorted(asked)
    assert all(0 <= top < bottom <= 5_000 and bottom - top <= 160 for top, bottom in asked)


def test_sides_below_five_give_the_zero_code_with_quality_zero() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (5, 5)).astype(np.uint8)
    assert pdq(noise[:4], 5, 4).code == bytes(32)
    assert pdq(noise[:4], 5, 4).quality == 0
    assert pdq(noise, 5, 5).quality > 0


def test_luma_of_another_shape_than_stated_is_refused() -> None:
    with pytest.raises(ValueError, match="reduced by"):
        pdq(np.zeros((10, 10), np.uint8), 30, 20, 2)


def test_forms_keep_the_code_first_and_turning_twice_gives_it_back() -> None:
    codes = np.random.default_rng(5).integers(0, 256, (50, 128)).astype(np.uint8)
    forms = forms_of(codes)
    assert forms.shape == (50, 8, 32)
    assert (forms[:, 0] == codes[:, :32]).all()
    twice = forms_of(np.tile(forms[:, FORMS.index("flip_plus1")], 4))
    assert (twice[:, FORMS.index("flip_plus1")] == codes[:, :32]).all()


def test_crypto_digests_are_those_of_the_bytes() -> None:
    assert [digest.hex() for digest in crypto_digests(Content(b"abc"))] == [
        "900150983cd24fb0d6963f7d28e17f72",
        "a9993e364706816aba3e25717850c26c9cd0d89d",
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    ]


def test_equal_frames_count_once_and_codes_stop_at_the_limit() -> None:
    still = picture(64, 64)
    same = saved(still, "GIF", save_all=True, append_images=[still] * 5, disposal=1)
    assert len(examine_content(same, LIMITS, DecodePolicy.EXACT).pdq) == 1
    many = [picture(64, 64, seed) for seed in range(CODES_MAX + 20)]
    data = saved(many[0], "TIFF", save_all=True, append_images=many[1:])
    limits = ImageLimits(frames_max=CODES_MAX + 20)
    examined = examine_content(data, limits, DecodePolicy.EXACT)
    assert len(examined.pdq) == CODES_MAX
    assert examined.reason is Reason.FULL
