"""Clients as they are: ComfyUI's own examples work as they stand, errors are in its words, and each sees its own."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import aiohttp
import pytest

from custodes.gateway.app import AppLimits
from custodes.gateway.dialects.comfyui.dialect import ComfySettings
from custodes.gateway.vocabulary import Stage
from tests.gateway.comfyui.client import WS_NODE, graph, said, with_frames
from tests.gateway.comfyui.generator import ComfyStandIn
from tests.gateway.comfyui.worlds import AGAIN, LIMITS, OTHER_KEY, Place, run
from tests.gateway.fakes import KEY, MODELS, World, leaked

PNG = b"\x89PNG\r\n\x1a\nof the client"
LOAD = {"class_type": "LoadImage", "inputs": {"image": "a.png", "upload": "image"}}


def form(content: bytes = PNG, name: str = "a.png", **fields: str) -> aiohttp.FormData:
    made = aiohttp.FormData(fields, quote_fields=False)
    made.add_field("image", content, filename=name)
    return made


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_the_example_with_files_works_unchanged(prefix: str) -> None:
    async def work(place: Place) -> None:
        async with place.client(prefix=prefix) as client:
            images = await client.images(graph())
            assert [len(each) for each in images.values()] == [2]
            assert all(image.startswith(AGAIN) for image in images["9"])
            assert not leaked(bytes(client.everything))
            assert client.types()[0] == "execution_start"
            assert client.types()[-3:] == ["executed", "execution_success", "executing"]

    run(work, Place(behind=ComfyStandIn(batch=2)))


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_the_example_with_frames_works_unchanged(prefix: str) -> None:
    async def work(place: Place) -> None:
        async with place.client(prefix=prefix) as client:
            prompt_id = (await client.queue_prompt(with_frames()))["prompt_id"]
            images = await client.frames(prompt_id)
            assert [image.startswith(AGAIN) for image in images[WS_NODE]] == [True] * 2
            assert not leaked(bytes(client.everything))

    run(work, Place(behind=ComfyStandIn(batch=2)))


def test_a_client_without_a_socket_asks_the_history() -> None:
    async def work(place: Place) -> None:
        async with place.client() as client:
            answer = await client.ask("POST", "/prompt", json={"prompt": graph()})
            for _ in range(100):
                if found := await client.ask("GET", "/history/" + answer["prompt_id"]):
                    break
                await asyncio.sleep(0.02)
            entry = found[answer["prompt_id"]]
            assert entry["status"]["status_str"] == "success"
            assert entry["outputs"]["9"]["images"][0]["subfolder"] == "boats"

    run(work)


def test_what_the_generator_is_sent_has_nothing_of_the_clients_but_the_graph() -> None:
    async def work(place: Place) -> None:
        async with place.client() as client:
            more = {"extra_data": {"extra_pnginfo": {"workflow": "w"}, "api_key_comfy_org": "k"}, "front": True}
            sent = await client.queue_prompt(graph(), prompt_id="mine", **more)
            assert sent["prompt_id"] == "mine"
            await client.frames("mine")
            body = place.behind.prompts[0]
            assert set(body) == {"prompt", "client_id"}
            assert body["client_id"] != client.id
            assert "boats" not in json.dumps(body)

    run(work)


def test_a_rewritten_prompt_is_what_the_generator_is_given() -> None:
    async def work(place: Place) -> None:
        async with place.client() as client:
            await client.images(said("a mild boat"))
            assert place.behind.prompts[0]["prompt"]["6"]["inputs"]["text"] == "a wild boat"

    run(work)


def test_a_refusal_is_in_comfyuis_words_and_names_nothing_hard() -> None:
    async def work(place: Place) -> None:
        async with place.client() as client:
            answer = await client.queue_prompt(said("an umbrella in a garden"))
            assert client.status == 400
            assert answer == {
                "error": {
                    "type": "moderation_blocked",
                    "message": "Your request was rejected by the safety system.",
                    "details": "",
                    "extra_info": {"moderation_stage": "input", "categories": ["safety"]},
                },
                "node_errors": {},
            }
            assert place.behind.prompts == []

    run(work)


def test_a_graph_that_is_not_understood_is_an_error_beside_its_node() -> None:
    async def work(place: Place) -> None:
        async with place.client() as client:
            answer = await client.queue_prompt(graph(n10={"class_type": "Unheard", "inputs": {}}))
            assert client.status == 400
            assert answer["node_errors"]["10"]["errors"][0]["type"] == "unknown_node"
            assert set(answer["error"]) == {"type", "message", "details", "extra_info"}

    run(work)


def test_a_withheld_picture_is_missing_from_its_node_and_the_run_is_told_as_failed() -> None:
    async def work(place: Place) -> None:
        place.world.inspecting.bad = {1}
        async with place.client() as client:
            images = await client.images(graph())
            assert len(images["9"]) == 1
            error = next(event["data"] for event in client.events if event["type"] == "execution_error")
            assert (error["exception_type"], error["node_id"]) == ("moderation_blocked", "9")
            assert error["traceback"] == []
            assert error["current_inputs"] == {}
            assert len(place.world.evidence.kept) == 1

    run(work, Place(behind=ComfyStandIn(batch=2)))


def test_all_pictures_withheld_gives_a_node_without_pictures() -> None:
    async def work(place: Place) -> None:
        place.world.inspecting.bad = {0}
        async with place.client() as client:
            assert await client.images(graph()) == {}
            assert "execution_error" in client.types()
            prompt_id = client.events[-1]["data"].get("prompt_id") or client.events[-2]["data"]["prompt_id"]
            history = await client.ask("GET", f"/history/{prompt_id}")
            assert history[prompt_id]["status"]["status_str"] == "error"

    run(work)


def test_an_uploaded_picture_is_judged_stored_under_a_name_of_ours_and_judged_with_the_prompt() -> None:
    async def work(place: Place) -> None:
        async with place.client() as client:
            assert await client.ask("POST", "/upload/image", data=form(type="input", overwrite="true")) == {
                "name": "a.png",
                "subfolder": "",
                "type": "input",
            }
            (theirs,) = place.behind.uploads
            assert theirs != "a.png"
            await client.images(graph(n10=LOAD))
            assert place.behind.prompts[0]["prompt"]["10"]["inputs"] == {"image": theirs}
            assert [where for stage, where in place.world.inspecting.seen if stage is Stage.INPUT] == [
                "image",
                "10.image",
            ]

    run(work)


def test_a_known_picture_is_not_uploaded() -> None:
    async def work(place: Place) -> None:
        async with place.client() as client:
            answer = await client.ask("POST", "/upload/image", data=form(PNG + b"KNOWN"))
            assert (client.status, answer["error"]["type"]) == (400, "moderation_blocked")
            assert place.behind.uploads == {}

    run(work)


def test_a_mask_is_judged_and_so_is_what_becomes_of_it() -> None:
    async def work(place: Place) -> None:
        async with place.client() as client:
            await client.ask("POST", "/upload/image", data=form())
            reference = json.dumps({"filename": "a.png", "subfolder": "", "type": "input"})
            await client.ask("POST", "/upload/mask", data=form(PNG + b"mask", "m.png", original_ref=reference))
            assert client.status == 200
            assert [where for _, where in place.world.inspecting.seen] == ["image"] * 3
            assert any(b" masked by " in content for content in place.behind.uploads.values())

    run(work)


BAD_FORMS: dict[str, Any] = {
    "no picture": lambda: aiohttp.FormData({"type": "input", "x": "y"}),
    "not a picture": lambda: form(b"<svg/>"),
    "another folder": lambda: form(type="output"),
    "a field that is not known": lambda: form(x="y"),
    "a name that says where": lambda: form(name="a.png [output]"),
    "a name that is too long": lambda: form(name="a" * 256),
    "a mask's field": lambda: form(original_ref="{}"),
}


@pytest.mark.parametrize("case", BAD_FORMS)
def test_forms_that_are_none_are_denied(case: str) -> None:
    async def work(place: Place) -> None:
        async with place.client() as client:
            await client.ask("POST", "/upload/image", data=BAD_FORMS[case]())
            assert client.status == 400
            assert place.behind.uploads == {}

    run(work)


def test_a_second_picture_of_a_name_gets_another_as_at_comfyui() -> None:
    async def work(place: Place) -> None:
        async with place.client() as client:
            names = [
                (await client.ask("POST", "/upload/image", data=form(PNG + extra)))["name"]
                for extra in (b"", b"2", b"", b"2")
            ]
            assert names == ["a.png", "a (1).png", "a.png", "a (1).png"]

    run(work)


def test_a_picture_that_changed_at_the_generator_is_not_used() -> None:
    async def work(place: Place) -> None:
        async with place.client() as client:
            await client.ask("POST", "/upload/image", data=form())
            place.behind.uploads = dict.fromkeys(place.behind.uploads, PNG + b"another")
            await client.queue_prompt(graph(n10=LOAD))
            assert client.status == 503
            assert place.behind.prompts == []

    run(work)


def test_queue_and_interrupt_are_for_the_tenants_own_runs() -> None:
    async def work(place: Place) -> None:
        async with place.client() as client, place.client(OTHER_KEY) as other:
            await client.queue_prompt(graph(), prompt_id="mine")
            assert [each[1] for each in (await client.ask("GET", "/queue"))["queue_pending"]] == ["mine"]
            assert await other.ask("GET", "/queue") == {"queue_running": [], "queue_pending": []}
            await other.ask("POST", "/queue", json={"delete": ["mine"]})
            await other.ask("POST", "/interrupt", json={"prompt_id": "mine"})
            assert (place.behind.deleted, place.behind.interrupted) == ([], [])
            await client.ask("POST", "/queue", json={"delete": ["mine"]})
            await client.frames("mine")
            assert "execution_interrupted" in client.types()
            assert len(place.behind.deleted) == 1

    run(work, Place(behind=ComfyStandIn("stuck")))


def test_a_running_prompt_is_interrupted_by_its_own_id() -> None:
    async def work(place: Place) -> None:
        async with place.client() as client:
            await client.queue_prompt(graph(), prompt_id="mine")
            while "progress_state" not in client.types():
                await client.heard()
            assert [each[1] for each in (await client.ask("GET", "/queue"))["queue_running"]] == ["mine"]
            await client.ask("POST", "/interrupt")
            await client.frames("mine")
            assert client.types()[-2:] == ["execution_interrupted", "executing"]
            assert len(place.behind.interrupted) == 1

    run(work, Place(behind=ComfyStandIn("running")))


def test_history_can_be_forgotten() -> None:
    async def work(place: Place) -> None:
        async with place.client() as client:
            await client.images(graph())
            assert len(await client.ask("GET", "/history")) == 1
            await client.ask("POST", "/history", json={"clear": True})
            assert await client.ask("GET", "/history") == {}

    run(work)


def test_interfaces_are_told_of_what_is_offered_and_of_nothing_else() -> None:
    async def work(place: Place) -> None:
        async with place.client() as client:
            await client.ask("POST", "/upload/image", data=form())
            info = await client.ask("GET", "/object_info")
            assert set(info) == {"CheckpointLoaderSimple", "LoadImage"}
            assert info["CheckpointLoaderSimple"]["input"] == {"required": {"ckpt_name": [sorted(MODELS)]}}
            assert info["LoadImage"]["input"]["required"]["image"][0] == ["a.png"]
            assert set(await client.ask("GET", "/object_info/LoadImage")) == {"LoadImage"}
            assert await client.ask("GET", "/models/loras") == ["x.safetensors"]
            assert await client.ask("GET", "/embeddings") == ["calm"]
            assert (await client.ask("GET", "/system_stats"))["devices"] == []
            assert await client.ask("GET", "/features") == {"supports_preview_metadata": False}
            assert (await client.ask("GET", "/prompt"))["exec_info"]["queue_remaining"] == 0
            await client.ask("GET", "/models/configs")
            assert client.status == 404

    folders = {"loras": frozenset({"x.safetensors"}), "embeddings": frozenset({"calm.pt"})}
    run(work, Place(settings=ComfySettings(folders=folders, limits=LIMITS)))


def test_interfaces_are_told_of_a_tenants_own_models() -> None:
    async def work(place: Place) -> None:
        async with place.client() as client:
            info = await client.ask("GET", "/object_info/CheckpointLoaderSimple")
            assert info["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"] == [["demo"]]

    place = Place()
    place.world.people.models = frozenset({"demo", "not offered any more"})
    run(work, place)


@pytest.mark.parametrize("how", ["bearer", "basic", "basic, key as name"])
def test_a_key_is_a_bearers_or_of_basic(how: str) -> None:
    async def work(place: Place) -> None:
        pair = f"anybody:{KEY}" if how == "basic" else f"{KEY}:"
        basic = "Basic " + base64.b64encode(pair.encode()).decode()
        headers = {"Authorization": f"Bearer {KEY}" if how == "bearer" else basic}
        async with aiohttp.ClientSession() as session:
            async with session.get(place.world.url + "/queue", headers=headers) as answer:
                assert answer.status == 200
            async with session.ws_connect(place.world.url + "/ws", headers=headers) as socket:
                assert (await socket.receive_json())["type"] == "status"

    run(work)


@pytest.mark.parametrize("path", ["/queue?token=demo", "/ws", "/ws?token=nobodys", "/view?filename=a.png"])
def test_without_a_key_nothing_is_told(path: str) -> None:
    async def work(place: Place) -> None:
        async with aiohttp.ClientSession() as session, session.get(place.world.url + path) as answer:
            assert answer.status == 401

    run(work)


def test_who_listens_takes_no_place_of_a_request_and_has_no_place_beyond_the_limit() -> None:
    async def work(place: Place) -> None:
        headers, ws = {"Authorization": f"Bearer {KEY}"}, place.world.url + "/ws"
        async with aiohttp.ClientSession(headers=headers) as session:
            async with session.ws_connect(ws) as one, session.ws_connect(ws) as two:
                for socket in (one, two):
                    assert (await socket.receive_json())["type"] == "status"
                async with session.get(place.world.url + "/queue") as answer:
                    assert answer.status == 200
                with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                    await session.ws_connect(ws)
                assert refused.value.status == 429
            async with session.ws_connect(ws) as socket:
                assert (await socket.receive_json())["type"] == "status"

    run(work, Place(World(limits=AppLimits(requests_max=1, drain_s=0.2, listeners_max=2))))


def test_a_tenant_has_so_many_prompts_at_once_and_is_told_to_wait() -> None:
    async def work(place: Place) -> None:
        async with place.client() as client:
            for number in range(LIMITS.active_max):
                await client.queue_prompt(graph(), prompt_id=f"p{number}")
                assert client.status == 200
            await client.queue_prompt(graph())
            assert client.status == 429
            await client.queue_prompt(graph(), prompt_id="p0")
            assert client.status == 400

    run(work, Place(behind=ComfyStandIn("stuck")))


def test_a_door_that_is_broken_is_503_and_final() -> None:
    async def work(place: Place) -> None:
        async with place.client() as client:
            answer = await client.queue_prompt(graph())
            assert (client.status, answer["error"]["type"]) == (503, "gateway_fault")

    run(work, Place(world=World().breaking("screening", "raises")))
