"""Vectors of the images that a scan decodes: by the model that was asked for, in the carrier, for every row, whatever dies."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from shelf import Office, office, standing
from tests.similar.embedding_world import Tiny, plain, tar_of, tiny, vectors_in
from tests.similar.tiny_onnx import SCORES
from tests.world import custodes, write_links

from custodes.carrier.client import Carrier, environment
from custodes.carrier.protocol import Model
from custodes.demo import corpus
from custodes.errors import InputError, WorldError
from custodes.ledger.run import RunDirectory
from custodes.lists.container import Provenance
from custodes.model import Entry, Kind, Reason
from custodes.scan.embedding import EmbedRequest, with_model
from custodes.scan.settings import ScanSettings, without_pace
from custodes.similar.embedders import missing, open_embedder
from custodes.similar.models import cards

LOOPBACK = "--unsafe-allow-loopback"
FAULTS = Path(__file__).parents[1] / "faults" / "planted"
PICTURES = [plain(200, 30, 40), plain(0, 0, 0), plain(10, 220, 90, kind="JPEG"), plain(5, 5, 250, kind="GIF")]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return tiny(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def found(model: Tiny) -> Model:
    return found_model(model)


@pytest.fixture
def desk(tmp_path: Path) -> Office:
    made = office(tmp_path / "site")
    made.site.lists().import_entries("demo", [Entry(Kind.MD5, bytes(16), "1")], Provenance(source="test"))
    return made


def found_model(tiny: Tiny, **said: Any) -> Model:
    return with_model(ScanSettings(), EmbedRequest(str(tiny.card), tiny.file, **said))[1]


def carried(folder: Path, contents: list[bytes], model: Model | None) -> list[Any]:
    """What a carrier answers to files, in order."""
    folder.mkdir(exist_ok=True)
    files = []
    for place, data in enumerate(contents):
        (folder / str(place)).write_bytes(data)
        files.append((place, str(folder / str(place))))
    start = ScanSettings().carrier_start(tuple(name for _, name in files), model=model)
    with Carrier(start) as carrier:
        return sorted(carrier.read_files(files), key=lambda each: each.key)


# -- the carrier


def test_a_vector_is_that_of_the_same_pixels_outside_of_the_jail(tmp_path: Path, model: Tiny, found: Model) -> None:
    contents = [*PICTURES, b"<html>", *(plain(90, seed, 10, seed) for seed in range(150))]
    answers = carried(tmp_path / "files", contents, found)
    assert [each.reason for each in answers[:5]] == [Reason.FULL] * 4 + [Reason.NOT_IMAGE]
    assert answers[4].vector == b""
    expected = model.vectors([*PICTURES, *contents[5:]])
    assert [each.vector for each in answers if each.key != 4] == [row.tobytes() for row in expected]
    assert not expected[1].any()  # black has no direction for this model


def test_without_a_model_nothing_is_made_and_digests_are_the_same(tmp_path: Path, found: Model) -> None:
    plainly, embedded = (carried(tmp_path / "files", PICTURES, each) for each in (None, found))
    assert [each.vector for each in plainly] == [b""] * len(PICTURES)
    assert plainly == [
        msgspec.structs.replace(each, vector=b"", batch=plain.batch)
        for each, plain in zip(embedded, plainly, strict=True)
    ]


CONFINED = """
import os, selectors, sys
import msgspec
from custodes.carrier import process
from custodes.carrier.protocol import Start
def threads(): return len(os.listdir("/proc/self/task"))
start = msgspec.json.decode(sys.argv[1], type=Start)
real = process.confine_carrier
def confine(*arguments, **named):
    print("threads when confined:", threads())
    real(*arguments, **named)
process.confine_carrier = confine
if "first" in sys.argv:
    from custodes.carrier.embedding import opened
    opened(start.model)
embedding = process.confined(start, selectors.DefaultSelector())
def steal(): return open(sys.argv[2]).read()
try: print("stolen:", embedding._thread.submit(steal).result())
except PermissionError: print("refused")
"""


def test_every_thread_of_the_model_is_confined(tmp_path: Path, found: Model) -> None:
    """Landlock holds the threads that are started after it, so there must be none before. The planted fault loads the model first."""
    secret = tmp_path / "secret"
    secret.write_text("key")
    start = msgspec.json.encode(ScanSettings().carrier_start(model=found)).decode()

    def said(*more: str) -> list[str]:
        argv = [sys.executable, "-c", CONFINED, start, str(secret), *more]
        return subprocess.run(
            argv, check=True, capture_output=True, text=True, env=environment_of()
        ).stdout.splitlines()

    assert said() == ["threads when confined: 1", "refused"]
    assert said("first")[0] != "threads when confined: 1"


def environment_of() -> dict[str, str]:
    return environment(ScanSettings().carrier_start())


def test_a_vector_of_another_length_ends_the_carrier(
    tmp_path: Path, found: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "planted" / "long_vectors"))
    (answer,) = carried(tmp_path / "files", PICTURES[:1], found)
    assert (answer.reason, answer.vector) == (Reason.CARRIER_DIED, b"")
    monkeypatch.setattr(Carrier, "_fits", lambda *_: True)  # planted fault: nobody looks
    (answer,) = carried(tmp_path / "files", PICTURES[:1], found)
    assert len(answer.vector) == 2 * 3 + 2


def test_a_gpus_variables_go_only_to_who_uses_one(found: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    cuda = msgspec.structs.replace(found, device="cuda")
    seen = {
        each.device if each else "": environment(ScanSettings().carrier_start(model=each))
        for each in (None, found, cuda)
    }
    assert [name for name, variables in seen.items() if "CUDA_VISIBLE_DEVICES" in variables] == ["cuda"]
    assert not any("AWS_SECRET_ACCESS_KEY" in variables for variables in seen.values())


# -- what is refused before the first row


def test_a_model_that_is_not_the_cards_or_does_not_do_what_it_says_is_refused(tmp_path: Path) -> None:
    other = tiny(tmp_path / "other", sha256="0" * 64)
    with pytest.raises(InputError, match="its digest is another"):
        found_model(other)
    with pytest.raises(InputError, match="its card says"):
        found_model(tiny(tmp_path / "wrong", dimension=4))
    with pytest.raises(InputError, match="cannot be read: No such file"):
        with_model(ScanSettings(), EmbedRequest(str(other.card), tmp_path / "none"))


def test_a_file_that_is_exchanged_after_it_was_found_is_not_run(tmp_path: Path) -> None:
    made = tiny(tmp_path / "model")
    text = made.card.read_text()
    both = [*text.split('"')[-2:-1], *tiny(tmp_path / "other", SCORES).card.read_text().split('"')[-2:-1]]
    made.card.write_text(text.replace(f'["{both[0]}"]', json.dumps(both)))  # a card of two files
    found = found_model(made)
    made.file.write_bytes(SCORES)
    with (
        pytest.raises(InputError, match="its digest is another"),
        Carrier(ScanSettings().carrier_start(model=found)) as carrier,
    ):
        carrier.ready()


REFUSED: dict[str, tuple[list[object], int, str]] = {
    "a tainted model": (["--embed", "nudenet"], 2, "nudenet is tainted"),
    "an unknown model": (["--embed", "nobody"], 2, "there is no model 'nobody'"),
    "a model that nothing runs": (["--embed", "nudenet", "--accept-tainted"], 2, "nothing here runs nudenet"),
    "a file without a model": (["--embed-file", "x.onnx"], 2, "none is named"),
    "a device without a model": (["--embed-device", "cpu"], 2, "none is named"),
    "an excuse without a model": (["--accept-tainted"], 2, "none is named"),
    "no image to look at": (["--embed", "CARD", "--embed-file", "FILE", "--pass", "columns"], 2, "this scan decodes none"),
    "another file": (["--embed", "CARD", "--embed-file", "CARD"], 2, "its digest is another"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_embedded_is_refused_before_the_run_is_made(
    case: str, tmp_path: Path, desk: Office, model: Tiny
) -> None:
    options, code, message = REFUSED[case]
    named = {"CARD": model.card, "FILE": model.file}
    links = write_links(tmp_path / "links.parquet", ["http://127.0.0.1:9/a"], md5=["0" * 32])
    said = desk.scan(links, tmp_path / "run", *(named.get(str(each), each) for each in options))
    assert (said.code, message in said.err) == (code, True), said.err
    assert not (tmp_path / "run").exists()


def test_a_device_that_is_not_there_is_the_worlds_fault(model: Tiny) -> None:
    with pytest.raises(WorldError, match="CUDAExecutionProvider"):
        found_model(model, device="cuda")


# -- whole scans


def test_links_images_and_their_vectors(tmp_path: Path, desk: Office, model: Tiny) -> None:
    names = [f"{place}.png" for place in range(len(PICTURES))]
    with standing(dict(zip(names, PICTURES, strict=True))) as shelf:
        urls = [shelf.url(names[0]), shelf.url("gone.png"), None, *map(shelf.url, names[1:])]
        links = write_links(tmp_path / "links.parquet", urls)
        said = desk.scan(links, tmp_path / "links", LOOPBACK, *model.options)
    assert (said.code, said.err) == (0, "")
    expected = model.vectors(PICTURES)
    found = vectors_in(tmp_path / "links", desk.site)
    assert np.array_equal(found[[0, 3, 4, 5]], expected)
    assert np.isnan(found[[1, 2]]).all()
    assert said.answer["coverage"] == {"bytes": 4, "columns": 0, "vectors": 3}  # the black one has no direction

    said = desk.scan(tar_of(tmp_path / "images.tar", PICTURES), tmp_path / "tar", *model.options)
    assert (said.code, said.err) == (0, "")
    assert np.array_equal(vectors_in(tmp_path / "tar", desk.site), expected)
    assert len(list((tmp_path / "tar" / "vectors").glob("*/*.npy"))) == 1


def test_rows_that_are_tried_again_get_their_vectors_and_the_others_keep_theirs(
    tmp_path: Path, desk: Office, model: Tiny
) -> None:
    names = [f"{place}.png" for place in range(len(PICTURES))]
    with standing(dict(zip(names, PICTURES, strict=True))) as shelf:
        shelf.cut = {names[0], names[2]}
        links = write_links(tmp_path / "links.parquet", list(map(shelf.url, names)))
        scan = (links, tmp_path / "run", LOOPBACK, *model.options)
        assert desk.scan(*scan).answer["coverage"]["vectors"] == 1
        before = vectors_in(tmp_path / "run", desk.site)
        assert np.isnan(before).any(axis=1).tolist() == [True, False, True, False]
        shelf.cut = {names[2]}
        said = desk.scan(*scan, "--retry", "unavailable")
    expected, found = model.vectors(PICTURES), vectors_in(tmp_path / "run", desk.site)
    assert np.array_equal(found[[0, 1, 3]], expected[[0, 1, 3]])
    assert np.isnan(found[2]).all()
    assert said.answer["coverage"]["vectors"] == 2
    ledger = RunDirectory.open(tmp_path / "run", desk.site.run_key())
    assert {record.generation for record in ledger.records() if record.vectors_sha256} == {0, 1}


def test_without_a_model_manifest_and_shard_files_are_as_they_were(tmp_path: Path, desk: Office) -> None:
    assert "embed" not in without_pace(ScanSettings())
    assert desk.scan(tar_of(tmp_path / "images.tar", PICTURES), tmp_path / "run").code == 0
    assert b"embed" not in (tmp_path / "run" / "manifest.json").read_bytes()
    (shard,) = (tmp_path / "run" / "shards").glob("*/*")
    assert b"vectors" not in shard.read_bytes()
    assert not (tmp_path / "run" / "vectors").exists()


def test_a_run_goes_on_with_the_same_model_only_wherever_its_file_lies(
    tmp_path: Path, desk: Office, model: Tiny
) -> None:
    tar, run = tar_of(tmp_path / "images.tar", PICTURES), tmp_path / "run"
    assert desk.scan(tar, run, *model.options).code == 0
    assert desk.scan(tar, run, *tiny(tmp_path / "elsewhere").options).code == 0
    others = {
        "settings.embed.recipe was": tiny(tmp_path / "recipe", resize=5).options,
        "settings.embed.accept_tainted was False, is True": (*model.options, "--accept-tainted"),
        "settings.embed.model was tiny, is absent": (),
    }
    for said, options in others.items():
        again = desk.scan(tar, run, *options)
        assert again.code == 2
        assert said in again.err, again.err


def test_a_tainted_model_that_is_accepted_stands_in_manifest_and_report(tmp_path: Path, desk: Office) -> None:
    tainted = tiny(tmp_path / "tainted", tainted="true")
    tar = tar_of(tmp_path / "images.tar", PICTURES)
    assert "tiny is tainted" in desk.scan(tar, tmp_path / "run", *tainted.options).err
    said = desk.scan(tar, tmp_path / "run", *tainted.options, "--accept-tainted")
    assert (said.code, said.answer["unsafe"]) == (0, ["--accept-tainted"])
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["unsafe"] == ["--accept-tainted"]
    assert "--accept-tainted" in (tmp_path / "run" / "report.html").read_text()


FOLDERS, STEPS = 6, 9  # then for each shard, of its findings, its vectors and itself: written, linked, folder synced


@pytest.mark.parametrize("step", [FOLDERS + 5, FOLDERS + STEPS + 4])
def test_a_killed_scan_has_the_vectors_of_one_that_was_left_alone(
    step: int, tmp_path: Path, desk: Office, model: Tiny
) -> None:
    source = tmp_path / "images"
    source.mkdir()
    pictures = [plain(10 * shard, 200, 9, seed) for shard in range(3) for seed in range(4)]
    for shard in range(3):
        tar_of(source / f"{shard}.tar", pictures[4 * shard : 4 * shard + 4])
    command = ["scan", source, "--run", tmp_path / "run", *desk.config, "--workers", "1", "--quiet", *model.options]
    fault = {"PYTHONPATH": str(FAULTS), "CUSTODES_PLANTED": "dies-at-a-step", "CUSTODES_PLANTED_NTH": str(step)}
    assert custodes(*map(str, command), env=fault).returncode == -9
    left = len(list((tmp_path / "run" / "vectors").glob("*/*.npy")))
    assert desk.scan(source, tmp_path / "run", *model.options).code == 0
    assert np.array_equal(vectors_in(tmp_path / "run", desk.site), model.vectors(pictures))
    assert len(list((tmp_path / "run" / "vectors").glob("*/*"))) == 3
    assert left in (0, 1, 2)


def test_the_default_model_sees_what_it_sees_outside(tmp_path: Path, desk: Office) -> None:
    if missing(cards()["open-nsfw"]):
        pytest.skip(f"NO MODEL: the default embedder was not tested; {missing(cards()['open-nsfw'])}")
    from PIL import Image

    photos = sorted((Path(corpus.__file__).parent / "data").glob("*.jpg"))[:3]
    (tmp_path / "photos").mkdir()
    for photo in photos:
        (tmp_path / "photos" / photo.name).write_bytes(photo.read_bytes())
    assert desk.scan(tmp_path / "photos", tmp_path / "run", "--embed", "open-nsfw").code == 0
    pixels = [np.asarray(Image.open(photo).convert("RGB")) for photo in photos]
    assert np.array_equal(
        vectors_in(tmp_path / "run", desk.site), open_embedder("open-nsfw").embed(pixels).astype("<f2")
    )
