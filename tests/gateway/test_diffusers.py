"""The checks inside a program that runs diffusers: what is withheld comes out black, what cannot be judged does not come out, prompts are screened first."""

from __future__ import annotations

import gc
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from custodes import diffusers
from custodes.diffusers import Extracted, Guarded, SafetyComponent
from custodes.errors import InputError
from custodes.gateway.guard import Guard, Patience, RefusedError, UnableError
from custodes.gateway.vocabulary import Stage
from tests.gateway.fakes import World

CHECKS = ("screening", "inspecting", "ruling", "remote", "records", "evidence")
SHADE = 200


def guard(world: World) -> Guard:
    return Guard(world.checks, Patience(0.2, 0.2, 0.2))


class Tensor:
    """As much of a tensor as a pipeline needs: colours first, from -1 to 1."""

    def __init__(self, values: np.ndarray[Any, Any]) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, number: int) -> Any:
        return self.values[number]


class Pipeline:
    """Makes grey squares, and asks its safety checker as diffusers' pipelines do. ``kind``: what it works with inside, and gives out."""

    def __init__(self, kind: str = "tensor", count: int = 2) -> None:
        self.kind, self.count = kind, count
        self.safety_checker: Any = None
        self.feature_extractor: Any = None
        self.asked: list[dict[str, Any]] = []

    def __call__(self, **asked: Any) -> Any:
        self.asked.append(asked)
        batch = np.full((self.count, 8, 8, 3), SHADE / 255, np.float32)
        if self.kind == "tensor":
            images: Any = Tensor(batch.transpose(0, 3, 1, 2) * 2 - 1)
        else:
            images = batch
        images, detected = self._checked(images)
        if self.kind == "tensor":
            back = images.values.transpose(0, 2, 3, 1)
            down = detected or [False] * self.count
            batch = np.stack([each if gone else each / 2 + 0.5 for each, gone in zip(back, down, strict=True)])
        out = batch if self.kind == "np" else self._pil(batch)
        return SimpleNamespace(images=out, nsfw_content_detected=detected)

    def _pil(self, batch: np.ndarray[Any, Any]) -> list[Image.Image]:
        return [Image.fromarray((each * 255).round().astype(np.uint8)) for each in batch]

    def _checked(self, images: Any) -> tuple[Any, list[bool] | None]:
        if self.safety_checker is None:
            return images, None
        shown = images.values.transpose(0, 2, 3, 1) / 2 + 0.5 if isinstance(images, Tensor) else images
        features = self.feature_extractor(self._pil(shown), return_tensors="pt").to("cpu")
        return self.safety_checker(images=images, clip_input=features.pixel_values.to("float16"))  # type: ignore[no-any-return]


def shades(images: Any) -> list[int]:
    return [int(np.asarray(each).max() * (1 if np.asarray(each).dtype == np.uint8 else 255)) for each in images]


@contextmanager
def component(world: World, kind: str = "tensor") -> Iterator[Pipeline]:
    pipe = Pipeline(kind)
    with SafetyComponent(guard(world)) as component:
        pipe.safety_checker, pipe.feature_extractor = component, component.feature_extractor
        yield pipe


# -- in the place of a safety checker


@pytest.mark.parametrize("kind", ["tensor", "np", "pil"])
@pytest.mark.parametrize(("bad", "expected"), [(set(), [SHADE, SHADE]), ({1}, [SHADE, 0]), ({0, 1}, [0, 0])])
def test_what_is_withheld_comes_out_black_and_is_sealed(kind: str, bad: set[int], expected: list[int]) -> None:
    world = World()
    world.inspecting.bad = bad
    with component(world, kind) as pipe:
        made = pipe(prompt="a boat")
    assert shades(made.images) == expected
    assert made.nsfw_content_detected == [shade == 0 for shade in expected]
    assert len(world.evidence.kept) == len(bad)
    assert all(kept.startswith(b"\x89PNG") for kept in world.evidence.kept)


@pytest.mark.parametrize(
    ("check", "how"),
    [
        (c, h)
        for c, h in itertools.product(CHECKS, ("raises", "hangs"))
        if (c, h) not in {("screening", "hangs"), ("ruling", "hangs")}
    ],
)
def test_where_a_check_breaks_nothing_comes_out(check: str, how: str) -> None:
    world = World().breaking(check, how)
    world.inspecting.bad = {0} if check == "evidence" else set()
    with component(world) as pipe, pytest.raises(UnableError):
        pipe(prompt="a boat")


BATCHES: Mapping[str, Callable[[], Any]] = {
    "pictures": lambda: [Image.new("RGB", (8, 8), (SHADE,) * 3) for _ in range(2)],
    "pictures in a tuple": lambda: tuple(Image.new("L", (8, 8), SHADE) for _ in range(2)),
    "pictures with a palette": lambda: [Image.new("RGB", (8, 8), (SHADE,) * 3).convert("P") for _ in range(2)],
    "an array of bytes": lambda: np.full((2, 8, 8, 3), SHADE, np.uint8),
    "an array of halves": lambda: np.full((2, 8, 8, 4), SHADE / 255, np.float16),
    "arrays without colour": lambda: [np.full((8, 8, 1), SHADE / 255) for _ in range(2)],
}


@pytest.mark.parametrize("case", BATCHES)
def test_batches_of_every_kind_are_read_without_the_extractor(case: str) -> None:
    world = World()
    world.inspecting.bad = {0}
    with SafetyComponent(guard(world)) as component:
        images, withheld = component(BATCHES[case](), clip_input=object())
    assert withheld == [True, False]
    assert shades(images)[0] == 0
    assert shades(images)[1] > 0


UNREADABLE: Mapping[str, Any] = {
    "a tensor, whose range nobody knows": Tensor(np.zeros((1, 3, 8, 8))),
    "values below nothing": np.full((1, 8, 8, 3), -0.1),
    "values above all": np.full((1, 8, 8, 3), 1.1),
    "values that are none": np.full((1, 8, 8, 3), np.nan),
    "whole numbers": np.full((1, 8, 8, 3), 1),
    "colours first": np.zeros((1, 3, 8, 8)),
    "no colours": np.zeros((1, 8, 8)),
    "no pixels": np.zeros((1, 0, 8, 3)),
    "no pictures": [],
    "texts": ["a picture"],
    "some of each": [Image.new("RGB", (8, 8)), np.zeros((8, 8, 3))],
    "one picture": Image.new("RGB", (8, 8)),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_cannot_be_read_does_not_come_out(case: str) -> None:
    with SafetyComponent(guard(World())) as component, pytest.raises(InputError):
        component(UNREADABLE[case])


@pytest.mark.parametrize("count", [0, 1, 3])
def test_another_number_of_pictures_than_of_images_does_not_come_out(count: int) -> None:
    shown = Extracted([Image.new("RGB", (8, 8))] * count)
    with SafetyComponent(guard(World())) as component, pytest.raises(InputError):
        component(np.zeros((2, 8, 8, 3)), clip_input=shown)


def test_what_stands_beside_the_pixels_is_not_sealed_as_the_picture() -> None:
    picture, told = Image.new("RGB", (8, 8)), PngImagePlugin.PngInfo()
    told.add_text("parameters", "a secret")
    picture.info["parameters"], picture.encoderinfo = "a secret", {"pnginfo": told}
    assert b"secret" not in diffusers._png(picture)


def test_the_thread_ends_with_the_context() -> None:
    before = threading.active_count()
    with SafetyComponent(guard(World())):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
    gc.collect()


# -- around a pipeline


def guarded(use: Callable[[Guarded], Any], world: World, pipe: Any) -> Any:
    with Guarded(pipe, guard(world)) as wrapped:
        return use(wrapped)


@pytest.mark.parametrize("kind", ["np", "pil"])
def test_a_guarded_pipeline_makes_what_was_asked_and_blackens_what_is_withheld(kind: str) -> None:
    world, pipe = World(), Pipeline(kind)
    world.inspecting.bad = {1}
    made = guarded(
        lambda wrapped: wrapped("a mild boat", negative_prompt="rain", width=8, guidance_scale=7.5), world, pipe
    )
    assert shades(made.images) == [SHADE, 0]
    assert made.nsfw_content_detected == [False, True]
    assert made.revised_prompt == "a wild boat"
    assert pipe.asked == [{"prompt": "a wild boat", "negative_prompt": "rain", "width": 8, "guidance_scale": 7.5}]
    assert len(world.evidence.kept) == 1


def test_several_prompts_are_each_screened_and_rewritten() -> None:
    pipe = Pipeline("pil")
    guarded(lambda wrapped: wrapped(["a boat", "a mild boat"], prompt_2=None), World(), pipe)
    assert pipe.asked == [{"prompt": ["a boat", "a wild boat"]}]


@pytest.mark.parametrize(
    "arguments",
    [
        {"prompt": "umbrella garden"},
        {"prompt": "umbrella", "prompt_2": "garden"},
        {"prompt": "umbrella", "negative_prompt": "garden"},
        {"prompt": ["umbrella", "garden"]},
    ],
)
def test_a_refused_prompt_does_not_reach_the_pipeline(arguments: dict[str, Any]) -> None:
    pipe = Pipeline()
    with pytest.raises(RefusedError) as error:
        guarded(lambda wrapped: wrapped(**arguments), World(), pipe)
    assert error.value.stage is Stage.INPUT
    assert pipe.asked == []


def test_pictures_of_the_call_are_looked_at() -> None:
    world = World()
    drawn = Image.new("RGB", (8, 8))
    guarded(lambda wrapped: wrapped("a boat", image=drawn, control_image=[drawn, drawn]), world, Pipeline("pil"))
    seen = [where for stage, where in world.inspecting.seen if stage is Stage.INPUT]
    assert seen == ["image", "control_image[0]", "control_image[1]"]


PAST: Mapping[str, dict[str, Any]] = {
    "embeddings": {"prompt_embeds": np.zeros((1, 77, 768))},
    "latents, which are a picture": {"latents": np.zeros((1, 4, 64, 64))},
    "latents out": {"output_type": "latent"},
    "tensors out": {"output_type": "pt"},
    "a callback, which sees what is not judged": {"callback_on_step_end": print},
    "attention with adapters of its own": {"cross_attention_kwargs": {"scale": 1}},
    "a picture that is an array": {"image": np.zeros((8, 8, 3))},
    "a picture by its path": {"image": "/tmp/a.png"},
    "a prompt that is none": {"prompt_2": 5},
    "a number that is none": {"width": "8"},
    "a generator that is none": {"generator": print},
    "a name that nobody knows": {"style": "a garden"},
}


@pytest.mark.parametrize("case", PAST)
def test_what_would_go_past_the_checks_is_not_taken(case: str) -> None:
    pipe = Pipeline()
    with pytest.raises(InputError) as error:
        guarded(lambda wrapped: wrapped(prompt="a boat", **PAST[case]), World(), pipe)
    assert pipe.asked == []
    assert "garden" not in str(error.value)


@pytest.mark.parametrize("out", [None, "images", [], b"images", ["a"], [Image.new("RGB", (8, 8))] * 65])
def test_a_pipeline_that_gives_no_pictures_gives_nothing(out: Any) -> None:
    with pytest.raises(InputError):
        guarded(lambda wrapped: wrapped("a boat"), World(), lambda **_: SimpleNamespace(images=out))


def test_calls_are_requests_of_their_own() -> None:
    world = World()
    guarded(lambda wrapped: [wrapped("a boat"), wrapped("a boat")], world, Pipeline("pil"))
    assert len({caller.request for caller, _, _ in world.records.decisions}) == 2


def test_planted_arguments_are_not_held_against_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diffusers, "_harmless", lambda name, value: True)
    pipe = Pipeline("pil")
    guarded(lambda wrapped: wrapped("a boat", prompt_embeds=np.zeros(3)), World(), pipe)
    assert "prompt_embeds" in pipe.asked[0]


def test_planted_what_is_withheld_is_not_blackened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diffusers, "_blackened", lambda images, withheld: images)
    world = World()
    world.inspecting.bad = {0}
    with component(world) as pipe:
        assert shades(pipe(prompt="a boat").images)[0] > 0
