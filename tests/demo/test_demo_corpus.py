"""The corpus is varied, harmless by its making, and the same for the same seed."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

import custodes.demo
from custodes.demo.corpus import FAMILIES, decoded, photographs, pictures
from custodes.demo.gallery import Gallery

DATA = Path(custodes.demo.__file__).parent / "data"


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    once, again, other = pictures(53, 5), pictures(53, 5), pictures(53, 6)
    assert once == again
    assert not {picture.data for picture in once} & {picture.data for picture in other}


def test_every_format_and_variant_is_among_the_first_53() -> None:
    made = [opened(picture.data) for picture in pictures(53, 5)]
    assert {image.format for image in made} == {"JPEG", "PNG", "GIF", "WEBP", "AVIF", "BMP", "TIFF"}
    assert {image.mode for image in made if image.format == "PNG"} == {"RGB", "P", "L", "RGBA", "I;16", "1"}
    assert sorted({getattr(image, "n_frames", 1) for image in made}) == [1, 5]
    assert {bool(image.info.get("progressive")) for image in made if image.format == "JPEG"} == {True, False}


def test_pictures_differ_are_of_documented_size_and_declare_what_they_are(gallery: Gallery) -> None:
    painted = [picture for name, picture in gallery.pictures.items() if name.startswith("p")]
    assert len({picture.data for picture in painted}) == gallery.count == len(painted)
    for picture in painted:
        image = opened(picture.data)
        assert 240 <= min(image.size) <= max(image.size) <= 1600
        assert (picture.width, picture.height) == image.size
        assert picture.mime == image.get_format_mimetype()
    assert {picture.family for picture in painted} == set(range(len(FAMILIES)))


def test_transparent_pictures_are_flattened_on_white_and_16_bits_keep_their_range() -> None:
    some = {opened(picture.data).mode: picture for picture in pictures(53, 5)}
    assert decoded(some["RGBA"]).mode == "RGB"
    assert min(decoded(some["RGBA"]).getpixel((0, 0))) > 200
    low, high = decoded(some["I;16"]).convert("L").getextrema()
    assert high - low > 40


def test_photographs_are_small_without_metadata_and_each_has_its_provenance() -> None:
    provenance = (DATA / "PROVENANCE.md").read_text()
    shown = list(photographs())
    assert len(shown) == 4
    assert sum(len(photo.data) for photo in shown) < 300_000
    for photo in shown:
        image = opened(photo.data)
        assert f"`{photo.name}`" in provenance
        assert max(image.size) <= 640
        assert not image.getexif()
