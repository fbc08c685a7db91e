"""The real ``webuiapi`` works unchanged: generation, img2img, lists, progress, and a refusal as an error that says what it is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from custodes.gateway.dialects.a1111 import A1111
from tests.gateway.a1111.server import Server
from tests.gateway.a1111.worlds import OFFER, Redrawing, world
from tests.gateway.fakes import KEY, World

webuiapi = pytest.importorskip("webuiapi", reason="the real client of A1111 is not installed: pip install webuiapi")


def given(use: Callable[[Any], Any], here: World | None = None, server: Server | None = None) -> Any:
    """What a client does at a gateway."""
    here, server = here or world(), server or Server(decodable=True)
    here.inspecting = Redrawing(here.faults)
    here.checks = replace(here.checks, inspecting=here.inspecting)

    def run(url: str) -> Any:
        api = webuiapi.WebUIApi(baseurl=f"{url}/sdapi/v1", username="somebody", password=KEY)
        try:
            return use(api)
        finally:
            api.session.close()

    async def stand() -> Any:
        async with server.standing(), here.standing(server.address, A1111(OFFER)):
            return await asyncio.to_thread(run, here.url)

    return asyncio.run(stand())


def test_it_generates() -> None:
    server = Server(decodable=True)
    found = given(lambda api: api.txt2img(prompt="a boat", batch_size=2, steps=4, seed=5), server=server)
    assert len(found.images) == 2
    assert found.image.size == (8, 8)
    assert found.image.info == {}  # no text in it
    assert found.info["seed"] == 5
    assert found.parameters["prompt"] == "a boat"
    assert server.requests[0]["sampler_name"] == "Euler a"


def test_it_draws_over_a_picture() -> None:
    server = Server(decodable=True)
    drawn, mask = Image.new("RGB", (16, 16), (1, 2, 3)), Image.new("L", (16, 16), 255)
    found = given(lambda api: api.img2img(images=[drawn], mask_image=mask, prompt="a boat"), server=server)
    assert found.image.size == (8, 8)
    assert {"init_images", "mask"} <= set(server.requests[0])


def test_it_uses_the_scripts_that_are_offered() -> None:
    def use(api: Any) -> Any:
        unit = webuiapi.ControlNetUnit(image=Image.new("RGB", (16, 16)), module="none")
        return api.txt2img(prompt="a boat", controlnet_units=[unit], adetailer=[webuiapi.ADetailer(ad_prompt="a face")])

    server = Server(decodable=True)
    with pytest.raises(RuntimeError):  # its ADetailer sends fields that lead to other models
        given(use, server=server)
    unit = {"controlnet_units": [webuiapi.ControlNetUnit(image=Image.new("RGB", (16, 16)), module="none")]}
    given(lambda api: api.txt2img(prompt="a boat", **unit), server=server)
    assert set(server.requests[0]["alwayson_scripts"]) >= {"ControlNet"}


def test_it_hears_a_refusal_once() -> None:
    here, server = world(), Server(decodable=True)
    with pytest.raises(RuntimeError) as error:
        given(lambda api: api.txt2img(prompt="an umbrella in a garden"), here, server)
    status, text = error.value.args
    assert status == 400
    assert json.loads(text)["error"] == "moderation_blocked"
    assert server.requests == []
    assert [told.route for told in here.told].count("/sdapi/v1/txt2img") == 1


def test_it_lists_what_is_offered_and_cannot_change_what_others_get() -> None:
    def use(api: Any) -> Any:
        assert api.set_options({"sd_model_checkpoint": "other"})["error"] == "route"
        return (
            api.util_get_model_names(),
            api.util_get_sampler_names(),
            api.get_progress(),
            api.util_get_current_model(),
        )

    server = Server(decodable=True)
    models, samplers, progress, current = given(use, server=server)
    assert not any(path.endswith("options") for path in server.paths)
    assert "demo" in models
    assert samplers == ["Euler a"]
    assert progress["current_image"] is None
    assert current == "demo"
