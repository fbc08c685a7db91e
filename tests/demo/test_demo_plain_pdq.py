"""The demonstration's own PDQ agrees with the reference, so its list is worth matching against."""

from __future__ import annotations

import csv
import importlib.util
import json
from pathlib import Path

import numpy as np
from PIL import Image

from custodes.demo.corpus import decoded
from custodes.demo.gallery import Gallery
from custodes.demo.plain_pdq import distance, forms


def test_photographs_hash_within_the_documented_tolerance_of_the_published_codes(vectors: Path) -> None:
    with (vectors / "pdq/expected/published_full_resolution.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        with Image.open(vectors / "pdq/images/threatexchange" / row["file"]) as image:
            codes, _ = forms(image)
        # "exact" is for the same decoded bytes; another JPEG decoder and float64 may move 10 bits (pdq/README.md).
        assert distance(np.frombuffer(bytes.fromhex(row["expected_pdq"]), np.uint8), codes[:1]) <= 10
    assert len(rows) > 5


def test_synthetic_vectors_and_all_their_forms_agree_with_the_reference(vectors: Path) -> None:
    spec = importlib.util.spec_from_file_location("synthetic", vectors / "pdq/synthetic.py")
    assert spec is not None
    assert spec.loader is not None
    synthetic = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(synthetic)
    cases = json.loads((vectors / "pdq/expected/synthetic_core_vectors.json").read_text())["vectors"]
    cases = [case for case in cases if min(case["height"], case["width"]) >= 5]  # smaller ones have no code
    # Flat and symmetric inputs put waves exactly on the median, where float64 and float32 part.
    equal = 0
    for case in cases:
        pixels = synthetic.array(case["kind"], case["height"], case["width"], case["seed"])
        codes, quality = forms(Image.fromarray(pixels))
        assert abs(quality - case["quality"]) <= 1
        equal += {code.tobytes().hex() for code in codes} == set(case["dihedral"].values())
    assert equal >= 0.9 * len(cases)


def test_mirrored_and_turned_pictures_are_among_the_forms(gallery: Gallery) -> None:
    image = decoded(gallery.pictures["coffee.jpg"])
    code = forms(image)[0][0]
    for turn in Image.Transpose:
        assert distance(code, forms(image.transpose(turn))[0]) <= 24, turn.name
    assert distance(code, forms(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT))[0][:1]) > 60
