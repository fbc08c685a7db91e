"""OpenCLIP: weights are safetensors that fit, and nothing is downloaded when a file is given. With a stand-in for PyTorch, and with itself where it is."""

from __future__ import annotations

import datetime
import hashlib
import importlib.util
import sys
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors import numpy as arrays

from custodes.decoding import Recipe
from custodes.errors import InputError, WorldError
from custodes.similar.embedders import EmbedderOptions, missing, open_embedder
from custodes.similar.models import Card
from custodes.similar.openclip import OpenClipEmbedder

WEIGHTS = {"visual": np.array([[1, 0], [0, 1], [0, 0]], np.float32)}


class Model:
    """A model that gives the means of two channels, once it has its weights."""

    def load_state_dict(self, weights: dict[str, np.ndarray]) -> None:
        if weights.keys() != WEIGHTS.keys():
            raise RuntimeError("Missing key(s) in state_dict\nmore lines")
        self.weights = weights["visual"]

    def eval(self) -> Model:
        return self

    def to(self, device: str) -> Model:
        return self

    def encode_image(self, numbers: np.ndarray) -> Any:
        found = numbers.mean(axis=(2, 3)) @ self.weights
        return SimpleNamespace(float=lambda: SimpleNamespace(cpu=lambda: SimpleNamespace(numpy=lambda: found)))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Stand-ins for OpenCLIP and PyTorch; what OpenCLIP was asked for."""
    calls: list[dict[str, Any]] = []

    def create_model(name: str, **how: Any) -> Model:
        calls.append({"name": name} | how)
        return Model()

    def from_numpy(numbers: np.ndarray) -> Any:
        return SimpleNamespace(to=lambda device: numbers)

    modules = {
        "open_clip": {"create_model": create_model},
        "torch": {
            "from_numpy": from_numpy,
            "inference_mode": nullcontext,
            "set_num_threads": lambda threads: None,
            "cuda": SimpleNamespace(is_available=lambda: False),
        },
        "safetensors.torch": {"load": arrays.load},
    }
    for name, members in modules.items():
        module = ModuleType(name)
        module.__dict__.update(members)
        monkeypatch.setitem(sys.modules, name, module)
    return calls


def card(data: bytes | None, **changes: Any) -> Card:
    stated: dict[str, Any] = {
        "name": "tiny-clip",
        "title": "Tiny",
        "origin": "these tests",
        "source": "these tests",
        "licence": "Apache-2.0",
        "training_data": "none",
        "as_of": datetime.date(2026, 11, 23),
        "loader": "openclip",
        "dimension": 2,
        "architecture": "RN50",
        "recipe": Recipe(side=4, resize=4),
        "sha256": () if data is None else (hashlib.sha256(data).hexdigest(),),
    }
    return Card(**(stated | changes))


def opened(folder: Path, data: bytes, **changes: Any) -> OpenClipEmbedder:
    path = folder / "open_clip_model.safetensors"
    path.write_bytes(data)
    return OpenClipEmbedder(card(data, **changes), EmbedderOptions(file=path))


def test_a_file_of_weights_makes_vectors_and_nothing_is_downloaded(tmp_path: Path, asked: list[dict[str, Any]]) -> None:
    embedder = opened(tmp_path, arrays.save(WEIGHTS))
    image = np.full((4, 4, 3), (30, 40, 90), np.uint8)
    np.testing.assert_allclose(embedder.embed([image, image]), [[0.6, 0.8]] * 2, atol=1e-6)
    assert asked == [{"name": "RN50", "load_weights": False, "pretrained_image": False, "pretrained_text": False}]


NO_WEIGHTS: dict[str, bytes] = {
    "a pickle": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00}\x94\x8c\x01a\x94K\x01s.",
    "a zip of pickles": b"PK\x03\x04" + bytes(60),
    "empty": b"",
    "truncated": arrays.save(WEIGHTS)[:-1],
    "too long": arrays.save(WEIGHTS) + b"\x00",
    "random": bytes(range(256)),
}


@pytest.mark.parametrize("data", NO_WEIGHTS.values(), ids=NO_WEIGHTS)
def test_nothing_but_safetensors_is_read(tmp_path: Path, asked: list[dict[str, Any]], data: bytes) -> None:
    with pytest.raises(InputError, match="no safetensors"):
        opened(tmp_path, data)
    assert asked == []


def test_weights_of_another_model_are_told_in_one_line(tmp_path: Path, asked: list[dict[str, Any]]) -> None:
    with pytest.raises(InputError, match=r"do not fit RN50: Missing key\(s\) in state_dict$"):
        opened(tmp_path, arrays.save({"other": np.zeros(2, np.float32)}))


def test_another_file_than_the_cards_is_refused(tmp_path: Path, asked: list[dict[str, Any]]) -> None:
    path = tmp_path / "weights"
    path.write_bytes(arrays.save(WEIGHTS))
    with pytest.raises(InputError, match="its digest is another"):
        OpenClipEmbedder(card(b"other bytes"), EmbedderOptions(file=path))
    with pytest.raises(InputError, match="is tainted"):
        OpenClipEmbedder(card(None, training_data="LAION-5B"), EmbedderOptions(file=path))


def test_a_device_that_is_not_there_is_an_error(tmp_path: Path, asked: list[dict[str, Any]]) -> None:
    with pytest.raises(WorldError, match="no CUDA device"):
        OpenClipEmbedder(card(None), EmbedderOptions(file=tmp_path / "none", device="cuda"))


@pytest.mark.parametrize("failure", [OSError("refused https://secret"), ValueError("offline")], ids=["network", "hub"])
def test_a_hub_that_does_not_answer_is_told(
    monkeypatch: pytest.MonkeyPatch, asked: list[dict[str, Any]], failure: Exception
) -> None:
    def download(*_: Any, **__: Any) -> str:
        raise failure

    hub = ModuleType("huggingface_hub")
    hub.__dict__["hf_hub_download"] = download
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    with pytest.raises(WorldError, match=r"the hub did not give some/repository$"):
        OpenClipEmbedder(card(None, hub="some/repository", file="open_clip_model.safetensors"))


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(InputError, match="OpenCLIP is not installed") as caught:
        open_embedder("openclip")
    assert caught.value.hint == "pip install 'custodes[clip]'"


def test_as_open_clip_itself_with_weights_that_are_random(tmp_path: Path) -> None:
    if importlib.util.find_spec("open_clip") is None:
        pytest.skip(f"NO OPENCLIP: it was tested with a stand-in only; {missing(card(None))}")
    import open_clip
    import torch
    from PIL import Image
    from safetensors.torch import save

    model = open_clip.create_model("RN50", load_weights=False, pretrained_image=False, pretrained_text=False).eval()
    data = save({name: each.contiguous() for name, each in model.state_dict().items()})
    mean, std = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
    embedder = opened(tmp_path, data, dimension=1024, recipe=Recipe(filter="bicubic", mean=mean, std=std))
    image = np.random.default_rng(1).integers(0, 256, (260, 300, 3), dtype=np.uint8)
    shown = open_clip.image_transform(224, is_train=False)(Image.fromarray(image))
    with torch.inference_mode():
        expected = model.encode_image(shown[None], normalize=True).numpy()
    np.testing.assert_allclose(embedder.embed([image]), expected, atol=1e-5)
