"""The checks inside pipelines that are diffusers' own: Stable Diffusion with modules so small, and random, that a picture takes milliseconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from custodes.diffusers import Guarded, SafetyComponent
from custodes.errors import InputError
from custodes.gateway.guard import Guard, Patience, RefusedError, UnableError
from custodes.gateway.vocabulary import Stage
from tests.gateway.fakes import World

torch = pytest.importorskip(
    "torch", reason="NO TORCH: no real pipeline was run (pip install torch diffusers transformers)"
)
pipelines = pytest.importorskip("diffusers", reason="NO DIFFUSERS: no real pipeline was run (pip install diffusers)")
transformers = pytest.importorskip("transformers", reason="NO TRANSFORMERS: no real pipeline was run")

STEPS = 2


def tokenizer(folder: Path) -> Any:
    """Every letter is a token."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    names = {"vocab_file": str(folder / "vocab.json"), "merges_file": str(folder / "merges.txt")}
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "CLIPTokenizer", "model_max_length": 77})
    )
    return transformers.CLIPTokenizer.from_pretrained(str(folder), **names)


def modules(folder: Path) -> dict[str, Any]:
    torch.manual_seed(0)
    words = tokenizer(folder)
    unet = pipelines.UNet2DConditionModel(
        block_out_channels=(4, 8),
        layers_per_block=1,
        sample_size=32,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
        norm_num_groups=2,
    )
    vae = pipelines.AutoencoderKL(
        block_out_channels=[4, 8],
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        latent_channels=4,
        norm_num_groups=2,
    )
    config = transformers.CLIPTextConfig(
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        hidden_size=32,
        intermediate_size=37,
        num_attention_heads=4,
        num_hidden_layers=2,
        vocab_size=len(words),
    )
    return {
        "unet": unet.eval(),
        "vae": vae.eval(),
        "text_encoder": transformers.CLIPTextModel(config).eval(),
        "tokenizer": words,
        "scheduler": pipelines.DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, clip_sample=False
        ),
    }


def small(kind: Any, folder: Path) -> Any:
    """A pipeline of diffusers' own, without a safety checker."""
    made = kind(**modules(folder), safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture
def pipe(tmp_path: Path) -> Any:
    return small(pipelines.StableDiffusionPipeline, tmp_path)


def guard(world: World) -> Guard:
    return Guard(world.checks, Patience(5, 5, 5))


def seeded() -> Any:
    return torch.Generator("cpu").manual_seed(1)


def black(image: Any) -> bool:
    return not np.asarray(image).any()


def plain(pipe: Any, **more: Any) -> list[np.ndarray[Any, Any]]:
    made = pipe(prompt="a boat", num_inference_steps=STEPS, generator=seeded(), **more)
    return [np.asarray(image) for image in made.images]


# -- in the place of its safety checker


@pytest.mark.parametrize("output", ["pil", "np"])
@pytest.mark.parametrize("bad", [set(), {1}, {0, 1}], ids=["none", "one of two", "both"])
def test_its_own_call_of_a_safety_checker_is_understood(pipe: Any, output: str, bad: set[int]) -> None:
    world = World(patience_s=5)
    world.inspecting.bad = bad
    expected = plain(pipe, num_images_per_prompt=2, output_type=output)
    with SafetyComponent(guard(world)) as component:
        pipe.safety_checker, pipe.feature_extractor = component, component.feature_extractor
        made = pipe(
            prompt="a boat", num_inference_steps=STEPS, generator=seeded(), num_images_per_prompt=2, output_type=output
        )
    assert made.nsfw_content_detected == [number in bad for number in range(2)]
    assert [black(image) for image in made.images] == [number in bad for number in range(2)]
    for number, image in enumerate(made.images):
        assert number in bad or np.array_equal(np.asarray(image), expected[number])
    assert len(world.evidence.kept) == len(bad)


def test_where_a_check_breaks_nothing_comes_out_of_it(pipe: Any) -> None:
    with SafetyComponent(guard(World(patience_s=5).breaking("inspecting", "raises"))) as component:
        pipe.safety_checker, pipe.feature_extractor = component, component.feature_extractor
        with pytest.raises(UnableError):
            plain(pipe)


def test_without_our_extractor_its_tensor_is_not_guessed_at(pipe: Any) -> None:
    class Other:
        def __call__(self, *_: object, **__: object) -> Any:
            return transformers.BatchFeature({"pixel_values": torch.zeros(1, 3, 8, 8)})

    with SafetyComponent(guard(World(patience_s=5))) as component:
        pipe.safety_checker, pipe.feature_extractor = component, Other()
        with pytest.raises(InputError, match="cannot be looked at"):
            plain(pipe)


def test_planted_a_checker_that_says_nothing_lets_the_picture_out(pipe: Any) -> None:
    pipe.safety_checker = lambda images, clip_input: (images, [True] * len(images))
    with SafetyComponent(guard(World(patience_s=5))) as component:
        pipe.feature_extractor = component.feature_extractor
        assert not black(plain(pipe)[0])


# -- around it


def test_a_guarded_pipeline_screens_prompts_and_judges_what_it_draws(pipe: Any) -> None:
    world = World(patience_s=5)
    expected = plain(pipe)
    with Guarded(pipe, guard(world)) as guarded:
        made = guarded("a boat", num_inference_steps=STEPS, generator=seeded())
        assert np.array_equal(np.asarray(made.images[0]), expected[0])
        assert made.nsfw_content_detected == [False]
        with pytest.raises(RefusedError):
            guarded("an umbrella in a garden", num_inference_steps=STEPS)
        mild = guarded("a mild boat", num_inference_steps=STEPS, generator=seeded())
        assert mild.revised_prompt == "a wild boat"
        world.inspecting.bad = {0}
        withheld = guarded("a boat", num_inference_steps=STEPS, generator=seeded())
        assert (black(withheld.images[0]), withheld.nsfw_content_detected) == (True, [True])


def test_pictures_that_it_is_given_are_judged_too(tmp_path: Path) -> None:
    world = World(patience_s=5)
    turned = small(pipelines.StableDiffusionImg2ImgPipeline, tmp_path)
    given = Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8))
    with Guarded(turned, guard(world)) as guarded:
        made = guarded("a boat", image=given, strength=0.8, num_inference_steps=4, generator=seeded())
        assert not black(made.images[0])
    assert world.inspecting.seen == [(Stage.INPUT, "image"), (Stage.OUTPUT, "0")]
