"""Detectors, the register and the stamp, each by itself."""

from __future__ import annotations

import asyncio
import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from custodes.crypto.keys import ListsKey, TransportKey
from custodes.errors import ConfigError, InputError, WorldError
from custodes.gateway.inspection import detectors, provenance
from custodes.gateway.inspection.detectors import OnnxDetector, open_detector
from custodes.gateway.inspection.provenance import C2paStamp, Credentials, make_test_credentials
from custodes.gateway.inspection.register import Register
from custodes.model import Pdq
from custodes.pictures import prepared
from tests.decoder.pictures import picture, saved

from .making import photo, world

# -- the default detector


@pytest.fixture(scope="module")
def nsfw() -> OnnxDetector:
    pytest.importorskip("onnxruntime")
    return open_detector("open-nsfw")


def test_open_nsfw_gives_a_probability_and_the_greatest_of_several(nsfw: OnnxDetector) -> None:
    squares = [prepared(np.asarray(photo(seed, (256, 256))), nsfw.recipe) for seed in (1, 2, 3)]
    single = [asyncio.run(nsfw.score([square])) for square in squares]
    assert all(0 <= score < 0.5 for score in single)
    assert asyncio.run(nsfw.score(squares)) == max(single)
    assert nsfw.name.startswith("open-nsfw@")


def test_its_score_is_what_the_network_itself_says(nsfw: OnnxDetector) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    from custodes.pictures import tensor
    from custodes.similar.embedders import file_of

    square = prepared(np.asarray(photo(4, (256, 256))), nsfw.recipe)
    session = onnxruntime.InferenceSession(str(file_of(nsfw.card)), providers=["CPUExecutionProvider"])
    (both,) = session.run(["outputs"], {"input:0": tensor([square], nsfw.recipe)})[0]
    assert both.sum() == pytest.approx(1, abs=1e-4)
    assert asyncio.run(nsfw.score([square])) == pytest.approx(float(both[1]), abs=1e-5)


def test_a_detector_that_was_shown_nothing_raises(nsfw: OnnxDetector) -> None:
    with pytest.raises(WorldError):
        asyncio.run(nsfw.score([]))


class Model:
    def __init__(self, *row: float) -> None:
        self.row, self.name, self.sha256, self.dimension = row, "stand-in", "0" * 64, len(row)

    def embed_squares(self, squares: list[object]) -> object:
        return np.array([self.row] * len(squares), np.float32)


@pytest.mark.parametrize("row", [(0.0, 0.0), (-0.5, 1.0), (float("nan"), 1.0)])
def test_what_is_no_probability_raises(row: tuple[float, ...]) -> None:
    with pytest.raises(WorldError):
        asyncio.run(OnnxDetector(Model(*row)).score([1]))  # type: ignore[arg-type, list-item]


def test_models_that_are_no_detectors_are_refused() -> None:
    with pytest.raises(ConfigError):
        OnnxDetector(Model(1.0))  # type: ignore[arg-type]
    for name in ("openclip", "nudenet"):
        with pytest.raises(InputError):
            detectors.open_detector(name)


# -- the register

CODE = Pdq(bytes(range(32)), 80)
LISTS = ListsKey(bytes(32))


def test_the_register_keeps_who_asked_and_forgets_who_took_it_back(tmp_path: Path) -> None:
    both = Register().with_person("one", [CODE]).with_person("two", [Pdq(bytes(32), 90)])
    both.save(tmp_path / "r", LISTS)
    again = Register.load(tmp_path / "r", LISTS)
    assert again.people == ("one", "two")
    assert again.shows_one([CODE])
    left = again.without_person("one")
    left.save(tmp_path / "r", LISTS)
    assert Register.load(tmp_path / "r", LISTS).people == ("two",)
    assert not left.shows_one([CODE])


def test_the_register_tells_nobody_without_its_key(tmp_path: Path) -> None:
    Register().with_person("umbrella", [CODE]).save(tmp_path / "r", LISTS)
    held = (tmp_path / "r").read_bytes()
    assert CODE.code not in held
    assert b"umbrella" not in held
    assert (tmp_path / "r").stat().st_mode & 0o777 == 0o600
    for key in (ListsKey(b"1" * 32), TransportKey(bytes(32))):
        with pytest.raises(InputError):
            Register.load(tmp_path / "r", key)
    (tmp_path / "r").write_bytes(held[:-1])
    with pytest.raises(InputError):
        Register.load(tmp_path / "r", LISTS)
    with pytest.raises(InputError):
        Register.load(tmp_path / "absent", LISTS)


@pytest.mark.parametrize("name", ["", "a b", "../x", "x" * 65, "ü"])
def test_names_that_could_be_anything_are_refused(name: str) -> None:
    with pytest.raises(InputError):
        Register().with_person(name, [CODE])


def test_limits_of_a_person() -> None:
    many = [Pdq(number.to_bytes(32, "big"), 50) for number in range(1001)]
    assert len(Register().with_person("one", many[:1000])) == 1
    for wrong in (many, [], [Pdq(bytes(32), 49)]):
        with pytest.raises(InputError):
            Register().with_person("one", wrong)
    with pytest.raises(InputError):
        Register().without_person("nobody")


@pytest.mark.parametrize(("bits", "found"), [(0, True), (31, True), (32, False)])
def test_how_near_is_alike(bits: int, found: bool) -> None:
    near = (int.from_bytes(CODE.code, "big") ^ ((1 << bits) - 1)).to_bytes(32, "big")
    register = Register().with_person("one", [CODE])
    assert register.shows_one([Pdq(near, 50)]) is found
    assert not register.shows_one([Pdq(near, 49)])
    assert repr(register) == "<Register 1 people>"


# -- provenance


@pytest.fixture(scope="module")
def stamp() -> C2paStamp:
    pytest.importorskip("c2pa")
    return C2paStamp(make_test_credentials(), "stand-in generator")


def drawing() -> bytes:
    return b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="48"><rect width="40" height="30"/></svg>'


@pytest.mark.parametrize("form", ["png", "jpeg", "webp", "gif", "svg"])
def test_a_reader_finds_who_made_it_valid_and_signed_by_nobody_on_a_list(stamp: C2paStamp, form: str) -> None:
    c2pa = pytest.importorskip("c2pa")
    content = drawing() if form == "svg" else saved(picture(128, 96), form.upper())
    stamped = asyncio.run(stamp.stamped(content, form))
    with c2pa.Reader(provenance._TYPES[form], BytesIO(stamped)) as reader:
        found = json.loads(reader.json())
        assert reader.get_validation_state() == "Valid"
    (manifest,) = found["manifests"].values()
    (action,) = manifest["assertions"][0]["data"]["actions"]
    assert action["action"] == "c2pa.created"
    assert action["digitalSourceType"].endswith("/trainedAlgorithmicMedia")
    assert action["softwareAgent"]["name"] == "stand-in generator"
    assert "thumbnail" not in manifest
    assert [each["code"] for each in found["validation_status"]] == ["signingCredential.untrusted"]


def test_a_stamped_picture_shows_what_was_judged(stamp: C2paStamp) -> None:
    for form in ("PNG", "JPEG", "WEBP", "GIF"):
        looked = world().with_(stamp=stamp).look(saved(photo(), form))
        assert b"c2pa" in looked.released
        assert world().look(looked.released).released == world().look(saved(photo(), form)).released or form != "PNG"


def test_a_stamp_that_cannot_be_made_raises(stamp: C2paStamp) -> None:
    for content, form in ((b"umbrella", "png"), (saved(photo(), "BMP"), "bmp"), (b"", "jpeg")):
        with pytest.raises(WorldError):
            asyncio.run(stamp.stamped(content, form))
    wrong = C2paStamp(Credentials(b"no certificate", b"no key"))
    with pytest.raises(WorldError):
        asyncio.run(wrong.stamped(saved(photo(), "PNG"), "png"))


def test_without_the_extra_a_stamp_refuses_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "c2pa", None)
    with pytest.raises(ConfigError):
        C2paStamp(make_test_credentials())
    assert "PRIVATE" not in repr(make_test_credentials())
