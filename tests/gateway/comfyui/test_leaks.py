"""Each leak of ComfyUI is closed; and each of these tests fails when the guard that closes it is taken out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from custodes.gateway.dialects.comfyui import dialect, uploads
from custodes.gateway.dialects.comfyui.asking import Plan
from custodes.gateway.dialects.comfyui.events import Run
from custodes.gateway.dialects.comfyui.graph import read
from custodes.gateway.dialects.comfyui.jobs import Jobs
from custodes.gateway.dialects.comfyui.sessions import Sessions
from custodes.gateway.dialects.comfyui.uploads import Uploads
from custodes.gateway.guard import Guard, Released
from tests.gateway.comfyui.client import WS_NODE, graph, said, with_frames
from tests.gateway.comfyui.generator import SECRET, ComfyStandIn
from tests.gateway.comfyui.test_dialect import LOAD, form
from tests.gateway.comfyui.worlds import OTHER_KEY, Place, run
from tests.gateway.fakes import leaked

Check = Callable[[Place], Awaitable[None]]


async def previews_and_broadcasts_are_dropped(place: Place) -> None:
    """Frames before the final one, frames of others, and all strings of the generator's."""
    async with place.client() as client, place.client(OTHER_KEY) as other:
        prompt_id = (await client.queue_prompt(with_frames()))["prompt_id"]
        images = await client.frames(prompt_id)
        assert not leaked(bytes(client.everything))
        assert len(images.get(WS_NODE, ())) == 1
        assert [where for _, where in place.world.inspecting.seen] == ["0"]
        other.everything += str(await other.heard()).encode()  # the status that it began with
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(other.ws.receive(), 0.05)


async def strings_of_the_generator_are_not_passed_on(place: Place) -> None:
    async with place.client() as client:
        await client.images(graph())
        assert SECRET not in client.everything.decode("latin-1")


async def a_final_frame_is_sent_only_as_it_was_released(place: Place) -> None:
    place.world.inspecting.bad = {0}
    async with place.client() as client:
        prompt_id = (await client.queue_prompt(with_frames()))["prompt_id"]
        assert await client.frames(prompt_id) == {}
        assert not leaked(bytes(client.everything))


async def files_of_the_generator_cannot_be_viewed(place: Place) -> None:
    async with place.client() as client:
        await client.images(graph())
        for query in (
            {"filename": "a.png"},
            {"filename": "a.png", "type": "temp"},
            {"filename": "../output/a.png", "type": "input"},
            {"filename": "a.png [output]", "preview": "webp;90", "channel": "rgb"},
        ):
            await client.ask("GET", "/view", params=query)
            assert client.status == 404
        assert place.behind.asked == []
        assert not leaked(bytes(client.everything))


async def another_tenant_sees_nothing(place: Place) -> None:
    async with place.client() as client, place.client(OTHER_KEY) as other:
        prompt_id = (await client.queue_prompt(graph()))["prompt_id"]
        await client.frames(prompt_id)
        (image,) = (await client.ask("GET", f"/history/{prompt_id}"))[prompt_id]["outputs"]["9"]["images"]
        assert await other.ask("GET", f"/history/{prompt_id}") == {}
        assert await other.ask("GET", "/history") == {}
        await other.ask("GET", "/view", params=image)
        assert other.status == 404


async def a_reused_client_id_takes_over_nothing(place: Place) -> None:
    async with place.client() as client, place.client(OTHER_KEY, id=client.id) as other:
        images = await client.images(graph())
        assert images["9"]
        await other.heard()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(other.ws.receive(), 0.05)


async def another_tenants_upload_cannot_be_loaded(place: Place) -> None:
    async with place.client() as client, place.client(OTHER_KEY) as other:
        await client.ask("POST", "/upload/image", data=form())
        await other.queue_prompt(graph(n10=LOAD))
        assert other.status == 400
        assert place.behind.prompts == []


async def a_picture_goes_to_the_generator_after_it_was_judged(place: Place) -> None:
    async with place.client() as client:
        await client.ask("POST", "/upload/image", data=form(b"\x89PNG\r\n\x1a\nKNOWN"))
        assert place.behind.uploads == {}


async def a_text_cannot_be_computed_past_the_screen(place: Place) -> None:
    async with place.client() as client:
        pieces = {
            "10": {"class_type": "PrimitiveString", "inputs": {"value": "an umbr"}},
            "11": {
                "class_type": "StringConcatenate",
                "inputs": {"string_a": ["10", 0], "string_b": "ella in a gard", "delimiter": ""},
            },
            "12": {
                "class_type": "StringConcatenate",
                "inputs": {"string_a": ["11", 0], "string_b": "en", "delimiter": ""},
            },
        }
        made = said("") | pieces
        made["6"]["inputs"]["text"] = ["12", 0]
        await client.queue_prompt(made)
        assert client.status == 400
        assert place.behind.prompts == []


async def unknown_nodes_do_not_run(place: Place) -> None:
    async with place.client() as client:
        await client.queue_prompt(graph(n10={"class_type": "OpenAIGPTImage1", "inputs": {"prompt": "a boat"}}))
        assert place.behind.prompts == []


async def the_generator_keeps_no_file(place: Place) -> None:
    async with place.client() as client:
        await client.images(graph())
        (sent,) = place.behind.prompts
        assert {piece["class_type"] for piece in sent["prompt"].values()} & {"SaveImage", "PreviewImage"} == set()


INVERTED = {
    "10": {"class_type": "ImageInvert", "inputs": {"image": ["8", 0]}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["10", 0]}},
}


async def a_picture_that_is_changed_is_judged_as_it_was_drawn(place: Place) -> None:
    place.world.inspecting.bad = {1}  # the second: the gateway's own node comes last here
    async with place.client() as client:
        assert await client.images(graph() | INVERTED) == {}
        assert "execution_error" in client.types()
        assert len(place.world.inspecting.seen) == 2


async def what_is_made_of_a_withheld_picture_does_not_leave(place: Place) -> None:
    place.world.inspecting.bad = {0}
    async with place.client() as client:
        assert await client.images(graph() | {"11": INVERTED["9"], "10": INVERTED["10"]}) == {}


DENIED_PATHS = (
    "/userdata", "/userdata/a.json", "/internal/logs", "/internal/files/output", "/users", "/settings", "/free",
    "/view_metadata/loras", "/extensions", "/", "/queue/join", "/api/userdata", "/api/internal/logs", "/experiment/models",
    "/jobs", "/api/jobs", "/assets", "/global_subgraphs", "/workflow_templates", "/i18n", "/logs", "/manager/reboot",
)  # fmt: skip


async def other_paths_do_not_exist(place: Place) -> None:
    async with place.client() as client:
        for path in DENIED_PATHS:
            for method in ("GET", "POST"):
                await client.ask(method, path)
                assert client.status == 404, path
        assert place.behind.asked == []
        assert not leaked(bytes(client.everything))


CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (
        previews_and_broadcasts_are_dropped,
        strings_of_the_generator_are_not_passed_on,
        a_final_frame_is_sent_only_as_it_was_released,
        files_of_the_generator_cannot_be_viewed,
        another_tenant_sees_nothing,
        a_reused_client_id_takes_over_nothing,
        another_tenants_upload_cannot_be_loaded,
        a_picture_goes_to_the_generator_after_it_was_judged,
        a_text_cannot_be_computed_past_the_screen,
        unknown_nodes_do_not_run,
        the_generator_keeps_no_file,
        a_picture_that_is_changed_is_judged_as_it_was_drawn,
        what_is_made_of_a_withheld_picture_does_not_leave,
        other_paths_do_not_exist,
    )
}


@pytest.mark.parametrize("check", CHECKS)
def test_a_leak_is_closed(check: str) -> None:
    run(CHECKS[check])


# -- the guards, each taken out


def _every_frame(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Run, "_wanted", lambda *_: True)


def _every_string(patch: pytest.MonkeyPatch) -> None:
    cached = Run._cached
    heard = {
        **dialect_events()._HEARD,
        "execution_cached": lambda self, data: [*cached(self, data), {"type": "x", "data": dict(data)}],
    }
    patch.setattr(dialect_events(), "_HEARD", heard)


def dialect_events() -> Any:
    from custodes.gateway.dialects.comfyui import events

    return events


def _unjudged(patch: pytest.MonkeyPatch) -> None:
    async def release(_: object, __: object, images: list[bytes]) -> list[Released]:
        return [Released(image, "png") for image in images]

    patch.setattr(Guard, "release", release)


def _proxied(patch: pytest.MonkeyPatch) -> None:
    kept = dialect.ComfyUI._view

    async def view(self: Any, request: Any) -> Any:
        answer = await request[dialect.DOOR].upstream.exchange("GET", "/view", params=dict(request.query))
        return dialect.web.Response(body=answer.body) if answer.status == 200 else await kept(self, request)

    patch.setattr(dialect.ComfyUI, "_view", view)


def _everybodys(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Jobs, "of", lambda self, _: {name: job for each in self._jobs.values() for name, job in each.items()})


def _any_session(patch: pytest.MonkeyPatch) -> None:
    opened = Sessions.opened
    tell = Sessions.tell
    patch.setattr(Sessions, "opened", lambda self, _, *rest: opened(self, "", *rest))
    patch.setattr(Sessions, "tell", lambda self, _, *rest: tell(self, "", *rest))


def _any_upload(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Uploads, "find", lambda self, _, name: next(each[name] for each in self._held.values()))


def _stored_first(patch: pytest.MonkeyPatch) -> None:
    store = Uploads.store

    async def early(self: Any, door: Any, caller: Any, wanted: Any) -> str:
        await uploads._given(door, "/upload/image", "early.png", wanted.content)
        return await store(self, door, caller, wanted)

    patch.setattr(Uploads, "store", early)


def _unfolded(patch: pytest.MonkeyPatch) -> None:
    from custodes.gateway.dialects.comfyui import asking

    patch.setattr(asking, "settled", lambda came: came)


def _any_node(patch: pytest.MonkeyPatch) -> None:
    from custodes.gateway.dialects.comfyui import asking, catalogue

    def lax(prompt: Any, nodes: Any) -> Any:
        free = catalogue.Node(inputs=("prompt",))
        more = {each["class_type"]: free for each in prompt.values() if each["class_type"] not in nodes.nodes}
        return read(prompt, catalogue.Catalogue(as_of="", nodes=nodes.nodes | more))

    patch.setattr(asking, "read", lax)


def _files(patch: pytest.MonkeyPatch) -> None:
    sent = Plan._sent

    def kept(self: Any, name: str, piece: Any, *rest: Any) -> Any:
        made = sent(self, name, piece, *rest)
        return {**made, "class_type": piece.class_type} if piece.class_type == "SaveImage" else made

    patch.setattr(Plan, "_sent", kept)


def _no_witness(patch: pytest.MonkeyPatch) -> None:
    from custodes.gateway.dialects.comfyui import asking

    patch.setattr(asking, "_witnesses", lambda _: ((), False))


def _any_path(patch: pytest.MonkeyPatch) -> None:
    routes = dialect.ComfyUI.routes

    async def proxied(request: Any) -> Any:
        answer = await request[dialect.DOOR].upstream.exchange("GET", request.path)
        return dialect.web.Response(body=answer.body, status=answer.status)

    patch.setattr(dialect.ComfyUI, "routes", lambda self: [*routes(self), dialect.Route("GET", "/{any:.*}", proxied)])


def _everybodys_files(patch: pytest.MonkeyPatch) -> None:
    file = Jobs.file
    patch.setattr(
        Jobs, "file", lambda self, _, *rest: next(filter(None, (file(self, each, *rest) for each in self._files)), None)
    )


PLANTED: tuple[tuple[str, Callable[[pytest.MonkeyPatch], None]], ...] = (
    ("previews_and_broadcasts_are_dropped", _every_frame),
    ("strings_of_the_generator_are_not_passed_on", _every_string),
    ("a_final_frame_is_sent_only_as_it_was_released", _unjudged),
    ("files_of_the_generator_cannot_be_viewed", _proxied),
    ("another_tenant_sees_nothing", _everybodys),
    ("another_tenant_sees_nothing", _everybodys_files),
    ("a_reused_client_id_takes_over_nothing", _any_session),
    ("another_tenants_upload_cannot_be_loaded", _any_upload),
    ("a_picture_goes_to_the_generator_after_it_was_judged", _stored_first),
    ("a_text_cannot_be_computed_past_the_screen", _unfolded),
    ("unknown_nodes_do_not_run", _any_node),
    ("the_generator_keeps_no_file", _files),
    ("a_picture_that_is_changed_is_judged_as_it_was_drawn", _no_witness),
    ("what_is_made_of_a_withheld_picture_does_not_leave", _no_witness),
    ("other_paths_do_not_exist", _any_path),
)


def test_every_guard_is_planted() -> None:
    assert {check for check, _ in PLANTED} == set(CHECKS)


@pytest.mark.parametrize(("check", "plant"), PLANTED, ids=[f"{check}{plant.__name__}" for check, plant in PLANTED])
def test_planted_a_guard_that_is_taken_out_is_noticed(
    check: str, plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        run(CHECKS[check], Place(behind=ComfyStandIn()))


def test_a_withheld_run_tells_the_same_whether_it_is_asked_by_socket_or_history() -> None:
    async def work(place: Place) -> None:
        place.world.inspecting.bad = {0}
        async with place.client() as client:
            prompt_id = (await client.queue_prompt(graph()))["prompt_id"]
            await client.frames(prompt_id)
            (entry,) = (await client.ask("GET", "/history")).values()
            told = next(event for event in client.events if event["type"] == "execution_error")
            assert entry["status"]["messages"] == [["execution_error", told["data"]]]
            assert entry["prompt"][2] == {}

    run(work)
