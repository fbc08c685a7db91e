"""``custodes gateway --demo``, whole: real clients in front of it, the stand-in generator behind it. Nothing is faked between."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from custodes.demo.generator.drawing import MARK
from custodes.demo.tour import ASKED, tour
from tests.gateway.clients import CHANNELS, Heard, ask, holds_pixels, size_of
from tests.gateway.whole.standing import Demo, demonstrating


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with demonstrating(tmp_path_factory.mktemp("demo")) as running:
        yield running


def asked(demo: Demo, channel: str, prompt: str) -> Heard:
    return asyncio.run(ask(channel, demo.url, prompt))


@pytest.mark.parametrize("prompt", ["a small boat", "an umbrella at the sea", "a garden with a wall"])
@pytest.mark.parametrize("channel", CHANNELS)
def test_what_is_harmless_passes_on_every_channel_and_so_does_each_word_alone(
    demo: Demo, channel: str, prompt: str
) -> None:
    heard = asked(demo, channel, prompt)
    assert [size_of(picture) for picture in heard.pictures] == [(64, 64)], heard.code
    assert not any(MARK.encode() in piece for piece in [*heard.wire, *heard.pictures])


@pytest.mark.parametrize(
    "prompt", ["an umbrella in a garden", "ein Regenschirm im Garten", "an u-m-b-r-e-l-l-a, g4rd3n"]
)
@pytest.mark.parametrize("channel", CHANNELS)
def test_the_words_together_are_refused_on_every_channel_and_nothing_is_drawn(
    demo: Demo, channel: str, prompt: str
) -> None:
    heard = asked(demo, channel, prompt)
    assert heard.pictures == []
    assert heard.status == 400
    assert not any(holds_pixels(piece) for piece in heard.wire)
    told = b"".join(heard.wire).lower()
    assert b"umbrella" not in told
    assert b"context:" not in told


@pytest.mark.parametrize("prompt", ["a lighthouse", "a flamingo"])
@pytest.mark.parametrize("channel", CHANNELS)
def test_a_picture_that_is_known_or_explicit_is_withheld_on_every_channel_and_sealed(
    demo: Demo, channel: str, prompt: str
) -> None:
    before = len(demo.withheld())
    heard = asked(demo, channel, f"{prompt} seen by {channel}")
    assert heard.pictures == []
    assert not any(holds_pixels(piece) for piece in heard.wire)
    sealed = demo.withheld()
    assert len(sealed) > before
    assert all(size_of(each.file.content) == (64, 64) for each in sealed)


@pytest.mark.parametrize("channel", CHANNELS)
def test_what_a_rule_rewrites_is_drawn_otherwise(demo: Demo, channel: str) -> None:
    fountain, tree = asked(demo, channel, "a fountain by a wall"), asked(demo, channel, "a tree by a wall")
    assert fountain.pictures == tree.pictures != []


def client(demo: Demo) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{demo.url}/v1", api_key="demo")


def test_the_openai_client_generates_edits_streams_and_lists_models(demo: Demo) -> None:
    with client(demo) as api:
        assert [model.id for model in api.models.list()] == ["demo"]
        made = api.images.generate(model="demo", prompt="two small boats", n=2, size="64x64")
        pictures = [base64.b64decode(image.b64_json or "") for image in made.data or ()]
        assert [size_of(picture) for picture in pictures] == [(64, 64)] * 2
        given = ("a.png", pictures[0])
        edited = api.images.edit(model="demo", prompt="a red boat", image=[given, given], size="64x64")
        assert len(edited.data or ()) == 1
        events: Any = api.images.generate(model="demo", prompt="a boat", stream=True, partial_images=2, size="64x64")
        assert [event.type for event in events] == ["image_generation.completed"]


@pytest.mark.parametrize(
    ("prompt", "stage", "revised"),
    [("an umbrella in a garden", "input", None), ("a lighthouse", "output", None), ("a fountain", "", "a tree")],
)
def test_the_openai_client_hears_refusals_as_its_own(demo: Demo, prompt: str, stage: str, revised: str | None) -> None:
    with client(demo) as api:
        if revised is not None:
            made = api.images.generate(model="demo", prompt=prompt, size="64x64")
            assert (made.data or [])[0].revised_prompt == revised
            return
        before = demo.log.count("/v1/images/generations")
        with pytest.raises(openai.BadRequestError) as refused:
            api.images.generate(model="demo", prompt=prompt, size="64x64")
    assert refused.value.code == "moderation_blocked"
    body: Any = refused.value.body
    assert body["moderation_details"]["moderation_stage"] == stage
    assert demo.log.count("/v1/images/generations") == before + 1  # no client tries a refusal again


@pytest.mark.parametrize("form", ["png", "jpeg", "webp", "gif", "svg"])
def test_every_format_is_written_again_before_it_leaves(demo: Demo, form: Any) -> None:
    with client(demo) as api:
        made = api.images.generate(model="demo", prompt="a boat", size="64x64", output_format=form)
    picture = base64.b64decode((made.data or [])[0].b64_json or "")
    assert MARK.encode() not in picture
    assert size_of(picture) == (64, 64) if form != "svg" else picture


def test_nothing_of_a_request_is_in_the_log_or_in_the_clear_on_disk(demo: Demo) -> None:
    asked(demo, "openai", "a zebrafish of an umbrella in a garden")
    asked(demo, "openai", "a lighthouse with a zebrafish")
    files = [path for path in demo.home.rglob("*") if path.is_file()]
    assert len(files) > 5
    for path in files:
        content = path.read_bytes()
        assert b"zebrafish" not in content, path
        assert not holds_pixels(content), path


def test_the_gateway_ends_when_it_is_told_to_and_its_ledger_holds_what_it_answered(tmp_path: Path) -> None:
    with demonstrating(tmp_path) as demo:
        refused = [asked(demo, "openai", f"umbrella, garden, {number}") for number in range(5)]
        passed = [asked(demo, "openai", f"boat {number}") for number in range(5)]
        assert demo.end() == 0
        assert [each.code for each in refused] == ["moderation_blocked"] * 5
        assert all(each.pictures for each in passed)
        assert strikes(demo) == 5


def strikes(demo: Demo) -> int:
    """Strikes as they stand in the ledger."""
    with sqlite3.connect(demo.state / "ledger.sqlite") as database:
        return int(database.execute("SELECT count(*) FROM strikes").fetchone()[0])


def test_a_gateway_that_is_killed_forgets_nothing_that_it_answered(tmp_path: Path) -> None:
    with demonstrating(tmp_path) as demo:
        for number in range(3):
            assert asked(demo, "openai", f"umbrella, garden, {number}").code == "moderation_blocked"
        assert asked(demo, "huggingface", "a lighthouse").pictures == []
        demo.end(signal.SIGKILL)
        assert strikes(demo) == 3
        assert len({hashlib.sha256(each.file.content).digest() for each in demo.withheld()}) == 1


def test_the_tour_shows_one_request_passed_one_rewritten_one_refused_and_one_picture_sealed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tour(tmp_path)
    told = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.strip()]
    became = [word for word, _ in ASKED]
    assert [word for word in told if word in became] == became
    assert told.count("sealed") == 1
