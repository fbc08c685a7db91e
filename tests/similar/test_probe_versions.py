"""A stored probe is the one that was taught, whole and unchanged, or it is refused; and its plot says what its card says."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import safetensors.numpy

from custodes.errors import ConfigError, InputError, StorageError
from custodes.ledger.disk import Disk
from custodes.similar import versions as module
from custodes.similar.curve import curve
from custodes.similar.probe import Comparison
from custodes.similar.versions import Versions, load_probe
from tests.similar.teaching import judged, photos, taught


def test_what_is_loaded_scores_as_what_was_taught(tmp_path: Path) -> None:
    probe, kept = taught(), Versions(tmp_path / "probes")
    version = kept.add(probe)
    loaded = kept.load(version)
    vectors = photos(30, 1, 3)
    assert loaded.score(vectors).tolist() == probe.score(vectors).tolist()
    assert loaded.card.levels == probe.card.levels
    assert loaded.card.weights_sha256.startswith(version)
    assert all(path.stat().st_mode & 0o077 == 0 for path in (kept.folder / version).iterdir())


def test_taught_the_same_again_it_is_the_same_version_and_another_is_another(tmp_path: Path) -> None:
    kept = Versions(tmp_path)
    first = kept.add(taught())
    before = (tmp_path / first / "card.json").read_bytes()
    assert kept.add(taught()) == first
    assert (tmp_path / first / "card.json").read_bytes() == before
    assert kept.add(taught(judged(41))) != first


def test_one_version_is_in_service_once_it_was_put_there(tmp_path: Path) -> None:
    kept = Versions(tmp_path)
    first, second = kept.add(taught()), kept.add(taught(judged(41)))
    assert kept.in_service() is None
    for version in (first, second, first):
        kept.put_into_service(version)
        assert Versions(tmp_path).in_service() == version
    with pytest.raises(InputError):
        kept.put_into_service("0" * 16)
    assert kept.in_service() == first


def test_only_a_probe_that_ranks_as_well_is_put_into_service_by_itself(tmp_path: Path) -> None:
    kept, held = Versions(tmp_path), judged(60, 60, seed=50)
    good, bad, better = taught(), taught(judged(10, 10, lean=0.8, seed=3)), taught(judged(200, 200))
    first = kept.adopt(good, judged(0, 0))
    assert (first.in_service, first.before, first.compared) == (True, None, None)
    assert kept.adopt(good, held) == first._replace(before=first.version)  # the same once more
    worse = kept.adopt(bad, held)
    assert not worse.in_service
    assert worse.compared is not None
    assert worse.compared.worse
    assert kept.in_service() == first.version
    assert kept.load(worse.version).card.positives == 10  # it is kept
    assert not kept.adopt(better, judged(0, 5)).in_service  # there is nothing to compare on
    assert kept.adopt(better, held).in_service
    assert kept.adopt(bad, held, anyway=True).in_service
    assert kept.in_service() == worse.version


def test_planted_a_comparison_that_always_likes_the_new_one_lets_a_worse_one_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Versions(tmp_path)
    kept.adopt(taught(), judged(60, 60, seed=50))
    monkeypatch.setattr(Comparison, "worse", False)
    assert kept.adopt(taught(judged(10, 10, lean=0.8, seed=3)), judged(60, 60, seed=50)).in_service


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"version":7}', b'{"version":"../x"}', b"\xff"])
def test_a_note_of_what_is_in_service_that_names_none_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "in-service").write_bytes(content)
    with pytest.raises(InputError, match="in-service"):
        Versions(tmp_path).in_service()


def rewritten(place: Path, **tensors: Any) -> None:
    """Other numbers, and a card that names them: what somebody could write who knows the format."""
    path = place / "probe.safetensors"
    kept = {
        name: each for name, each in (safetensors.numpy.load(path.read_bytes()) | tensors).items() if each is not None
    }
    path.write_bytes(safetensors.numpy.save(kept))
    card = json.loads((place / "card.json").read_bytes())
    card["weights_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (place / "card.json").write_text(json.dumps(card))


UNFIT: dict[str, dict[str, Any]] = {
    "weights of another dimension": {"weights": np.zeros(17, np.float32)},
    "weights of two dimensions": {"weights": np.zeros((1, 16), np.float32)},
    "weights of doubles": {"weights": np.zeros(16)},
    "a weight that is no number": {"weights": np.full(16, np.nan, np.float32)},
    "a bias that is infinite": {"bias": np.array([np.inf])},
    "no bias": {"bias": None},
    "a tensor beside": {"more": np.zeros(1)},
    "a slope that goes down": {"slope": np.array([-1.0])},
    "no slope at all": {"slope": np.array([0.0])},
}


@pytest.mark.parametrize("case", UNFIT)
def test_numbers_that_are_no_probe_are_refused(tmp_path: Path, case: str) -> None:
    place = tmp_path / Versions(tmp_path).add(taught())
    rewritten(place)
    load_probe(place)
    rewritten(place, **UNFIT[case])
    with pytest.raises(InputError, match="probe"):
        load_probe(place)


@pytest.mark.parametrize("name", ["probe.safetensors", "card.json"])
def test_a_file_that_is_cut_changed_grown_or_gone_is_refused(tmp_path: Path, name: str) -> None:
    place = tmp_path / Versions(tmp_path).add(taught())
    path = place / name
    whole = path.read_bytes()
    for data in (
        whole[:-1],
        b"",
        whole + b"x",
        whole.replace(b"weights", b"weightx"),
        bytes(module.CARD_BYTES_MAX + 1),
    ):
        path.write_bytes(data)
        with pytest.raises(InputError):
            load_probe(place)
    path.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        load_probe(place)


def test_what_is_no_safetensors_file_is_refused_though_its_card_names_it(tmp_path: Path) -> None:
    place = tmp_path / Versions(tmp_path).add(taught())
    whole = (place / "probe.safetensors").read_bytes()
    for data in (b"\x80\x04N.", whole[:20], b"\xff" * 64):
        (place / "probe.safetensors").write_bytes(data)
        card = json.loads((place / "card.json").read_bytes())
        (place / "card.json").write_text(json.dumps(card | {"weights_sha256": hashlib.sha256(data).hexdigest()}))
        with pytest.raises(InputError, match="no safetensors file"):
            load_probe(place)


def test_planted_without_the_digest_other_numbers_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / Versions(tmp_path).add(taught())
    card = (place / "card.json").read_bytes()
    rewritten(place, weights=np.ones(16, np.float32))
    (place / "card.json").write_bytes(card)
    with pytest.raises(InputError, match="its card names"):
        load_probe(place)

    class Agrees:
        def __init__(self, _: bytes) -> None: ...

        def hexdigest(self) -> str:
            return str(json.loads(card)["weights_sha256"])

    monkeypatch.setattr(module.hashlib, "sha256", Agrees)
    assert load_probe(place).weights.tolist() == [1.0] * 16


class FullDisk(Disk):
    def __init__(self, writes: int) -> None:
        self.left = writes

    def write(self, path: Path, data: bytes) -> None:
        self.left -= 1
        if self.left < 0:
            raise OSError(28, "No space left on device")
        super().write(path, data)


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_a_version_that_was_not_wholly_written_is_not_there_and_is_written_next_time(
    tmp_path: Path, writes: int
) -> None:
    with pytest.raises(StorageError):
        Versions(tmp_path, FullDisk(writes)).add(taught())
    (place,) = tmp_path.iterdir()
    with pytest.raises(InputError):
        load_probe(place)
    assert Versions(tmp_path).add(taught()) == place.name


def test_without_safetensors_the_error_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(module, "import_module", absent)
    with pytest.raises(ConfigError, match="safetensors") as raised:
        Versions(tmp_path).add(taught())
    assert "custodes[similar]" in (raised.value.hint or "")


def test_the_plot_holds_each_figure_of_the_card_and_nothing_that_runs() -> None:
    card = taught().card
    text = curve(card)
    root = ElementTree.fromstring(text)
    circles = root.findall(".//{http://www.w3.org/2000/svg}circle")
    said = [level for level in card.levels if level.precision.of]
    assert len(circles) == len(said) + len(card.levels)
    assert f"({said[0].precision.hits} of {said[0].precision.of};" in text
    assert not any(word in text for word in ("<script", "href", "url(", "onload"))
    for circle in circles:
        assert 64 <= float(circle.attrib["cx"]) <= 624
        assert 56 <= float(circle.attrib["cy"]) <= 336
