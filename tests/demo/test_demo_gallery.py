"""What is planted lies where the truth says, and the cache never gives another gallery than the one asked for."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from custodes.demo import gallery as module
from custodes.demo.corpus import decoded
from custodes.demo.gallery import COPY_BITS_MAX, TREATMENTS, Gallery, load_or_paint, paint
from custodes.demo.plain_pdq import distance, forms
from custodes.errors import InternalError


def test_every_treatment_is_planted_three_times_well_within_31_bits(gallery: Gallery) -> None:
    assert Counter(copy.treatment for copy in gallery.copies) == {treatment: 3 for treatment, _, _ in TREATMENTS}
    assert all(copy.distance_bits <= COPY_BITS_MAX < 31 for copy in gallery.copies)


def test_no_picture_but_its_copies_lies_near_a_base(gallery: Gallery) -> None:
    some = [gallery.pictures[name] for name in (*gallery.ordinary, *gallery.reserved)]
    codes = np.concatenate([forms(decoded(picture))[0] for picture in some])
    for copy in gallery.copies:
        assert distance(np.frombuffer(copy.base_code, np.uint8), codes) > 45


def test_roles_do_not_overlap_and_every_name_is_served(gallery: Gallery) -> None:
    names = [*gallery.ordinary, *gallery.reserved, *(copy.name for copy in gallery.copies)]
    bases = {copy.base for copy in gallery.copies}
    assert len(set(names)) == len(names)
    assert bases.isdisjoint(names)
    assert set(names) | bases == set(gallery.pictures)
    assert len({picture.data for picture in gallery.pictures.values()}) == len(gallery.pictures)


def test_the_picture_of_an_animation_is_in_its_third_frame_only(gallery: Gallery) -> None:
    copy = next(copy for copy in gallery.copies if copy.treatment == "third frame of five")
    base = np.frombuffer(copy.base_code, np.uint8)
    image = Image.open(io.BytesIO(gallery.pictures[copy.name].data))
    bits = []
    for frame in range(5):
        image.seek(frame)
        bits.append(distance(base, forms(image.convert("RGB"))[0]))
    assert bits[2] <= COPY_BITS_MAX
    assert min(bits[:2] + bits[3:]) > 31


@pytest.mark.parametrize(
    ("sentence", "spoil", "count", "seed"),
    [
        ("a gallery of another seed", lambda whole: whole, 120, 8),
        ("a gallery of another size", lambda whole: whole, 121, 7),
        ("half a file", lambda whole: whole[: len(whole) // 2], 120, 7),
        ("not a gallery", lambda _: msgspec.msgpack.encode({"seed": 7}), 120, 7),
        ("nothing in it", lambda _: b"", 120, 7),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_cache_that_is_not_the_one_asked_for_is_painted_again(
    sentence: str,
    spoil: Callable[[bytes], bytes],
    count: int,
    seed: int,
    gallery: Gallery,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache = tmp_path / "gallery"
    cache.write_bytes(spoil(msgspec.msgpack.encode(gallery)))
    painted = msgspec.structs.replace(gallery, count=count, seed=seed)
    monkeypatch.setattr(module, "paint", lambda *_: painted)
    assert load_or_paint(cache, count, seed) == painted
    monkeypatch.setattr(module, "paint", lambda *_: pytest.fail("painted although it was kept"))
    assert load_or_paint(cache, count, seed) == painted
    assert [path.name for path in tmp_path.iterdir()] == ["gallery"]


def test_a_corpus_too_small_to_plant_from_is_an_error() -> None:
    with pytest.raises(InternalError, match="too small"):
        paint(10, 1)
