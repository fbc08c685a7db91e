"""Embedders: images become vectors by the model that the card is about, wherever its files come from; and hostile files are refused."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import random
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from custodes.decoding import Recipe
from custodes.demo import corpus
from custodes.errors import CustodesError, InputError, WorldError
from custodes.similar import embedders, models, onnx_file
from custodes.similar.embedders import Embedder, EmbedderOptions, OnnxEmbedder, missing, open_embedder
from custodes.similar.models import Card, Weights, card_of, cards, packaged_file
from tests.similar import tiny_onnx
from tests.similar.tiny_onnx import MEANS, SCORES, field, node, value

TINY = Recipe(side=4, resize=4)


def card(data: bytes, **changes: Any) -> Card:
    stated = {
        "name": "tiny",
        "title": "Means",
        "origin": "these tests",
        "source": "these tests",
        "licence": "Apache-2.0",
        "training_data": "none",
        "as_of": datetime.date(2026, 11, 23),
        "loader": "onnx",
        "dimension": 3,
        "recipe": TINY,
        "sha256": (hashlib.sha256(data).hexdigest(),),
    }
    return Card(**(stated | changes))


def opened(folder: Path, data: bytes, **changes: Any) -> OnnxEmbedder:
    path = folder / "tiny.onnx"
    path.write_bytes(data)
    return OnnxEmbedder(path, card(data, **changes))


def plain(red: int, green: int, blue: int, side: int = 4) -> np.ndarray:
    return np.full((side, side, 3), (red, green, blue), dtype=np.uint8)


def test_rows_have_length_one_and_point_where_the_model_points(tmp_path: Path) -> None:
    embedder: Embedder = opened(tmp_path, MEANS)
    vectors = embedder.embed([plain(255, 0, 0), plain(0, 30, 40)])
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, [[1, 0, 0], [0, 0.6, 0.8]], atol=1e-6)
    assert (embedder.name, embedder.dimension, embedder.sha256) == ("tiny", 3, hashlib.sha256(MEANS).hexdigest())


def test_what_has_no_direction_is_zeros_and_no_images_are_no_rows(tmp_path: Path) -> None:
    embedder = opened(tmp_path, MEANS)
    assert embedder.embed([plain(0, 0, 0)]).tolist() == [[0, 0, 0]]
    assert embedder.embed([]).shape == (0, 3)


def test_numbers_that_are_not_finite_are_no_direction(tmp_path: Path) -> None:
    logs = tiny_onnx.model(
        [node("GlobalAveragePool", ["pixels"], "m"), node("Log", ["m"], "logs")],
        [tiny_onnx.IMAGES],
        [value("logs", ["n", 3, 1, 1])],
    )
    vectors = opened(tmp_path, logs).embed([plain(0, 9, 9), plain(9, 9, 9)])
    assert vectors[0].tolist() == [0, 0, 0]
    assert abs(np.linalg.norm(vectors[1]) - 1) < 1e-6


def test_a_tensor_inside_the_model_can_be_the_vector(tmp_path: Path) -> None:
    inner = opened(tmp_path, SCORES, output="pooled")
    np.testing.assert_allclose(inner.embed([plain(0, 30, 40)]), [[0, 0.6, 0.8]], atol=1e-6)
    given = opened(tmp_path, SCORES, output="scores", dimension=2)
    np.testing.assert_allclose(given.embed([plain(0, 30, 40)]), [np.array([40, 70]) / np.hypot(40, 70)], atol=1e-6)


def through(*operators: tuple[str, list[str]], dims: list[int | str], extra: tuple[bytes, ...] = ()) -> bytes:
    """A model of one operator after the other."""
    names = ["pixels", *(f"t{at}" for at in range(len(operators)))]
    nodes = [
        node(operator, [names[at], *more], names[at + 1], *([] if operator != "Transpose" else [permutation(0, 2, 1)]))
        for at, (operator, more) in enumerate(operators)
    ]
    return tiny_onnx.model(nodes, [tiny_onnx.IMAGES], [value(names[-1], dims)], extra)


def permutation(*order: int) -> bytes:
    return field(1, "perm") + b"".join(field(8, axis) for axis in order) + field(20, 7)


def tokens() -> bytes:
    """[n, 16 tokens, 3]."""
    shape = field(1, 3) + field(2, 7) + field(8, "shape") + field(9, np.array([0, 3, 16], "<i8").tobytes())
    return through(("Reshape", ["shape"]), ("Transpose", []), dims=["n", 16, 3], extra=(shape,))


@pytest.mark.parametrize(
    ("data", "pool", "expected"),
    [
        (through(("Identity", []), dims=["n", 3, 4, 4]), "mean", [0, 0.6, 0.8]),
        (tokens(), "mean", [0, 0.6, 0.8]),
        (tokens(), "first", [1, 0, 0]),
    ],
    ids=["mean of a map", "mean of tokens", "first token"],
)
def test_maps_and_tokens_are_pooled_as_the_card_says(
    tmp_path: Path, data: bytes, pool: str, expected: list[float]
) -> None:
    image = plain(0, 30, 40)
    if pool == "first":
        image[0, 0] = (200, 0, 0)
    np.testing.assert_allclose(opened(tmp_path, data, pool=pool).embed([image]), [expected], atol=1e-6)


def test_half_precision_goes_in_and_comes_out(tmp_path: Path) -> None:
    half = tiny_onnx.model(
        [node("GlobalAveragePool", ["pixels"], "means")],
        [value("pixels", ["n", 3, 4, 4], tiny_onnx.FLOAT16)],
        [value("means", ["n", 3, 1, 1], tiny_onnx.FLOAT16)],
    )
    np.testing.assert_allclose(opened(tmp_path, half).embed([plain(0, 30, 40)]), [[0, 0.6, 0.8]], atol=1e-3)


def test_a_model_for_one_image_at_a_time_takes_many(tmp_path: Path) -> None:
    one = tiny_onnx.model(
        [node("GlobalAveragePool", ["pixels"], "means")],
        [value("pixels", [1, 3, 4, 4])],
        [value("means", [1, 3, 1, 1])],
    )
    assert opened(tmp_path, one).embed([plain(9, 0, 0), plain(0, 9, 0)]).tolist() == [[1, 0, 0], [0, 1, 0]]


# --- what a card and its file must agree on ---


def two_inputs() -> bytes:
    nodes = [node("Add", ["pixels", "more"], "sum"), node("GlobalAveragePool", ["sum"], "means")]
    return tiny_onnx.model(nodes, [tiny_onnx.IMAGES, value("more", ["n", 3, 4, 4])], [value("means", ["n", 3, 1, 1])])


def own_operator() -> bytes:
    """An operator of a library that would have to be loaded."""
    nodes = [node("Elsewhere", ["pixels"], "means") + field(7, "example.operators")]
    made = tiny_onnx.model(nodes, [tiny_onnx.IMAGES], [value("means", ["n", 3, 1, 1])])
    return made + field(8, field(1, "example.operators") + field(2, 1))


MISFITS: dict[str, tuple[bytes, dict[str, Any], str]] = {
    "another dimension": (MEANS, {"dimension": 4}, "its card says"),
    "another input's name": (MEANS, {"input": "image"}, "does not take images"),
    "a tensor that is not there": (MEANS, {"output": "pool/AvgPool:0"}, "has no tensor"),
    "two inputs": (two_inputs(), {}, "does not take images"),
    "a map that is not pooled": (through(("Identity", []), dims=["n", 3, 4, 4]), {}, "its card says"),
    "no map to pool": (SCORES, {"pool": "mean", "dimension": 2}, "cannot be pooled"),
    "another side": (MEANS, {"recipe": Recipe(side=5, resize=5)}, "cannot be run"),
    "an operator of a library": (own_operator(), {}, "cannot be loaded"),
}


@pytest.mark.parametrize(("data", "changes", "said"), MISFITS.values(), ids=MISFITS)
def test_a_card_that_does_not_fit_is_told(tmp_path: Path, data: bytes, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        opened(tmp_path, data, **changes).embed([plain(1, 2, 3)])


NO_IMAGES: dict[str, np.ndarray] = {
    "grey": np.zeros((4, 4), np.uint8),
    "four channels": np.zeros((4, 4, 4), np.uint8),
    "floats": np.zeros((4, 4, 3), np.float32),
    "no rows": np.zeros((0, 4, 3), np.uint8),
}


@pytest.mark.parametrize("image", NO_IMAGES.values(), ids=NO_IMAGES)
def test_what_is_no_image_in_colour_is_refused(tmp_path: Path, image: np.ndarray) -> None:
    with pytest.raises(InputError, match="not an image in colour"):
        opened(tmp_path, MEANS).embed([image])


def test_another_file_than_the_cards_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(b"no model at all")
    with pytest.raises(InputError, match="its digest is another"):
        OnnxEmbedder(path, card(MEANS))


def test_planted_fault_a_digest_that_is_taken_from_the_card_lets_another_file_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        embedders, "read_weights", lambda path, card: Weights(path.read_bytes(), path.name, card.sha256[0])
    )
    path = tmp_path / "tiny.onnx"
    path.write_bytes(SCORES)
    OnnxEmbedder(path, card(MEANS))


# --- hostile files ---


def with_external(location: str) -> bytes:
    return tiny_onnx.model(
        [
            node("GlobalAveragePool", ["pixels"], "pooled"),
            node("Flatten", ["pooled"], "flat", tiny_onnx.number_attribute("axis", 1)),
            node("MatMul", ["flat", "matrix"], "vector"),
        ],
        [tiny_onnx.IMAGES],
        [value("vector", ["n", 3])],
        (tiny_onnx.external("matrix", location, 3),),
    )


def in_attribute() -> bytes:
    constant = field(1, "value") + field(5, tiny_onnx.external("bias", "weights.bin", 3)) + field(20, 4)
    return tiny_onnx.model(
        [node("Constant", [], "bias", constant), node("Add", ["pixels", "bias"], "means")],
        [tiny_onnx.IMAGES],
        [value("means", ["n", 3, 4, 4])],
    )


def in_subgraph() -> bytes:
    branch = field(1, "then_branch") + field(6, field(5, tiny_onnx.external("b", "weights.bin", 3))) + field(20, 5)
    return MEANS + field(7, field(1, node("If", ["c"], "d", branch)))


def in_function() -> bytes:
    constant = field(1, "value") + field(5, tiny_onnx.external("b", "weights.bin", 3)) + field(20, 4)
    return MEANS + field(25, field(7, node("Constant", [], "b", constant)))


def deep() -> bytes:
    graph = b""
    for _ in range(120):
        graph = field(1, node("If", ["c"], "d", field(6, graph)))
    return field(7, graph)


EXTERNAL: dict[str, bytes] = {
    "beside it": with_external("weights.bin"),
    "above it": with_external("../weights.bin"),
    "anywhere": with_external("/etc/passwd"),
    "in an attribute": in_attribute(),
    "in a subgraph": in_subgraph(),
    "in a function": in_function(),
    "location without data": MEANS + field(7, field(5, field(8, "w") + field(14, 1))),
}


@pytest.mark.parametrize("data", EXTERNAL.values(), ids=EXTERNAL)
def test_weights_in_other_files_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "weights.bin").write_bytes(bytes(12))
    with pytest.raises(InputError, match="keeps weights in other files"):
        opened(tmp_path, data)


def test_planted_fault_unseen_other_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the look through the file, what lies where the process stands becomes part of the model."""
    monkeypatch.setattr(embedders, "outline", lambda data: onnx_file.Outline())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.bin").write_bytes(np.eye(3)[[1, 0, 2]].astype("<f4").tobytes())
    swayed = opened(tmp_path, with_external("weights.bin"))
    assert swayed.embed([plain(200, 0, 0)]).tolist() == [[0, 1, 0]]


DAMAGED: dict[str, bytes] = {
    "empty": b"",
    "text": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    "zeros": bytes(100),
    "a pickle": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00}\x94\x8c\x01a\x94K\x01s.",
    "another format of the runtime": b"\x1c\x00\x00\x00ORTM" + bytes(100),
    "a length beyond the end": field(7, b"x" * 10)[:-3],
    "a number without an end": b"\xff" * 20,
    "a group": b"\x0b\x0c",
    "twice as deep as allowed": deep(),
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_damaged_files_are_told_from_models(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(InputError, match=r"damaged, or no ONNX file|cannot be loaded"):
        opened(tmp_path, data)


def test_truncated_and_random_files_end_in_an_error_of_ours(tmp_path: Path) -> None:
    source = random.Random(4)
    for length in range(0, len(SCORES), 7):
        refused(lambda: opened(tmp_path, SCORES[:length], output="pooled"))  # noqa: B023 - called at once
    for _ in range(200):
        broken = bytearray(SCORES)
        for _ in range(source.randint(1, 4)):
            broken[source.randrange(len(broken))] = source.randrange(256)
        refused(lambda: opened(tmp_path, bytes(broken), output="pooled").embed([plain(1, 2, 3)]))  # noqa: B023


def refused(act: Callable[[], object]) -> None:
    """It works, or says why not in words of ours."""
    with suppress(CustodesError):
        act()


def test_fields_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    many = field(7, b"".join(field(20, 0) for _ in range(99)))  # one field, and 99 in it
    monkeypatch.setattr(onnx_file, "_FIELDS_MAX", 100)
    onnx_file.outline(many)
    monkeypatch.setattr(onnx_file, "_FIELDS_MAX", 99)
    with pytest.raises(InputError, match="damaged"):
        onnx_file.outline(many)


def test_a_file_is_read_up_to_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "MODEL_BYTES_MAX", len(MEANS))
    opened(tmp_path, MEANS)
    with pytest.raises(InputError, match="is larger than"):
        opened(tmp_path, MEANS + b"\x00")
    with pytest.raises(InputError, match="cannot be read: No such file"):
        OnnxEmbedder(tmp_path / "none.onnx", card(MEANS))
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        OnnxEmbedder(tmp_path, card(MEANS))


def test_an_added_output_keeps_the_file_as_it_was() -> None:
    longer = onnx_file.with_output(SCORES, "t" * 300)
    assert longer.startswith(SCORES)
    assert onnx_file.outline(longer).given == {"scores", "t" * 300}
    assert onnx_file.outline(SCORES).made == {"pooled", "flat", "scores"}


# --- where it runs ---


def test_a_device_that_is_not_there_is_an_error_and_not_another_device(tmp_path: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this machine has the device")
    (tmp_path / "tiny.onnx").write_bytes(MEANS)
    with pytest.raises(WorldError, match="has no CUDAExecutionProvider"):
        OnnxEmbedder(tmp_path / "tiny.onnx", card(MEANS), EmbedderOptions(device="cuda"))


def test_a_device_that_did_not_start_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime goes on with the processor where CUDA is listed and its driver absent."""
    import onnxruntime

    class Falling(onnxruntime.InferenceSession):  # type: ignore[misc]
        def __init__(self, data: bytes, settings: Any, providers: list[Any]) -> None:
            super().__init__(data, settings, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", Falling)
    (tmp_path / "tiny.onnx").write_bytes(MEANS)
    with pytest.raises(WorldError, match="did not start"):
        OnnxEmbedder(tmp_path / "tiny.onnx", card(MEANS), EmbedderOptions(device="cuda"))


def test_without_the_extra_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match="not installed") as caught:
        opened(tmp_path, MEANS)
    assert caught.value.hint == "pip install 'custodes[similar]'"


# --- the default model ---


@pytest.fixture(scope="module")
def open_nsfw() -> Embedder:
    if missing(cards()["open-nsfw"]):
        pytest.skip(f"NO MODEL: the default embedder was not tested; {missing(cards()['open-nsfw'])}")
    return open_embedder("open-nsfw")


def photos() -> list[np.ndarray]:
    files = sorted((Path(corpus.__file__).parent / "data").glob("*.jpg"))
    assert len(files) >= 4
    return [np.asarray(Image.open(file).convert("RGB")) for file in files]


def test_the_default_model_knows_a_photo_again_and_tells_photos_apart(open_nsfw: Embedder) -> None:
    given = photos()
    smaller = [np.asarray(Image.fromarray(image).resize((300, 260))) for image in given]
    first, second = open_nsfw.embed(given), open_nsfw.embed(smaller)
    cosines = first @ second.T
    assert first.shape == (len(given), 1024)
    assert cosines.diagonal().min() > 0.9
    assert (cosines - np.eye(len(given))).max() < 0.8


def test_the_same_image_gives_the_same_bits_whatever_stands_beside_it_and_with_more_threads(
    open_nsfw: Embedder,
) -> None:
    given = photos()
    together = open_nsfw.embed(given)
    assert np.array_equal(together[2:3], open_nsfw.embed([given[2]]))
    assert np.array_equal(together, open_embedder("open-nsfw", EmbedderOptions(threads=2)).embed(given))


def test_no_code_of_the_package_runs(open_nsfw: Embedder) -> None:
    assert packaged_file(open_nsfw.card)
    assert not [name for name in sys.modules if name.startswith("opennsfw")]


def test_the_default_models_package_with_another_file_is_refused(open_nsfw: Embedder, tmp_path: Path) -> None:
    path = tmp_path / "open-nsfw.onnx"
    path.write_bytes(MEANS)
    with pytest.raises(InputError, match="its digest is another"):
        open_embedder("open-nsfw", EmbedderOptions(file=path))


def test_options_are_values() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        EmbedderOptions().threads = 2  # type: ignore[misc]


def test_a_model_whose_file_is_elsewhere_asks_for_it(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    digest = hashlib.sha256(MEANS).hexdigest()
    stated = f'title="a"\norigin="a"\nsource="a"\nlicence="a"\ntraining_data="none"\nas_of=2026-11-23\nloader="onnx"\ndimension=3\nsha256=["{digest}"]'
    own.write_text(f"[own]\n{stated}\n[own.recipe]\nside=4\nresize=4\n")
    assert card_of(str(own)).name == "own"
    with pytest.raises(InputError, match="is not there") as caught:
        open_embedder(str(own))
    assert caught.value.hint == "name the file"
    (tmp_path / "own.onnx").write_bytes(MEANS)
    embedder = open_embedder(str(own), EmbedderOptions(file=tmp_path / "own.onnx"))
    assert embedder.embed([plain(9, 0, 0)]).tolist() == [[1, 0, 0]]
