"""Hugging Face's text-to-image: the real client works unchanged, what is not known is denied, and whatever breaks no pixel of the generator leaves."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from custodes.gateway.dialects import huggingface
from custodes.gateway.dialects.huggingface import HuggingFace
from custodes.gateway.guard import Guard, Passage, Released, Withheld
from tests.gateway.a1111.server import LEAK, real
from tests.gateway.a1111.worlds import Redrawing
from tests.gateway.fakes import KEY, World, leaked, listening, picture

MODEL = "/models/demo"
CHECKS = ("screening", "inspecting", "ruling", "rewriting", "remote", "records", "evidence", "people")
AT_ONCE = {("screening", "hangs"), ("ruling", "hangs"), ("people", "hangs")}


class Server:
    """Answers with one picture, or as a test says."""

    def __init__(self, behaves: str = "ok", detail: Any = None) -> None:
        self.behaves, self.detail, self.requests = behaves, detail, list[tuple[str, Any]]()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.path, await request.json()))
        assert request.headers["Accept"] == "image/png"
        if self.behaves == "slow":
            await asyncio.sleep(self.detail)
        if self.behaves == "status":
            return web.json_response({"error": LEAK}, status=self.detail, headers={"X-Error-Message": LEAK})
        if self.behaves == "body":
            return web.Response(body=self.detail, content_type="image/png")
        if self.behaves == "early":
            response = web.StreamResponse(headers={"Content-Length": "5000"})
            await response.prepare(request)
            await response.write(picture())
            assert request.transport is not None
            request.transport.close()
            return response
        return web.Response(
            body=self.detail or picture(),
            headers={"Content-Type": "image/png", "x-leak": LEAK, "x-compute-type": "gpu"},
        )


def stood(use: Callable[[str], Any], here: World, server: Server) -> Any:
    """What a blocking client does at a gateway."""
    app = web.Application()
    app.router.add_route("*", "/{any:.*}", server.answer)

    async def stand() -> Any:
        async with listening(app) as address, here.standing(address, HuggingFace()):
            return await asyncio.to_thread(use, here.url)

    return asyncio.run(stand())


def ask(
    body: Any, *, here: World | None = None, server: Server | None = None, path: str = MODEL, **headers: str
) -> tuple[int, bytes]:
    async def post(url: str) -> tuple[int, bytes]:
        async with aiohttp.ClientSession() as session:
            try:
                async with session.post(
                    url + path, json=body, headers={"Authorization": f"Bearer {KEY}"} | headers
                ) as answer:
                    return answer.status, await answer.read() + str(dict(answer.headers)).encode()
            except aiohttp.ClientError:
                return 0, b""

    return stood(lambda url: asyncio.run(post(url)), here or World(), server or Server())  # type: ignore[no-any-return]


def test_a_picture_leaves_as_the_inspection_wrote_it() -> None:
    server = Server()
    body = {
        "inputs": "a mild boat",
        "parameters": {"negative_prompt": "rain", "seed": 3},
        "options": {"use_cache": False},
    }
    status, got = ask(body, server=server)
    assert status == 200
    assert b"written again" in got
    assert b"image/png" in got
    assert LEAK.encode()[:48] not in got
    assert b"x-compute-type" not in got
    assert server.requests == [(MODEL, {"inputs": "a wild boat", "parameters": {"negative_prompt": "rain", "seed": 3}})]


DENIED: Mapping[str, tuple[int, Any]] = {
    "no prompt": (400, {"parameters": {}}),
    "an empty prompt": (400, {"inputs": ""}),
    "several prompts": (400, {"inputs": ["a boat"]}),
    "a prompt over the limit": (400, {"inputs": "a" * 32_001}),
    "a parameter that is not known": (400, {"inputs": "a boat", "parameters": {"lora": "moss"}}),
    "a field that is not known": (400, {"inputs": "a boat", "image": LEAK}),
    "a size over the limit": (400, {"inputs": "a boat", "parameters": {"width": 4097}}),
    "a scheduler with more in it": (400, {"inputs": "a boat", "parameters": {"scheduler": "<a>"}}),
    "a list": (400, []),
}


@pytest.mark.parametrize("case", DENIED)
def test_what_is_not_known_is_denied(case: str) -> None:
    status, body = DENIED[case]
    server = Server()
    found, got = ask(body, server=server)
    assert (found, server.requests) == (status, [])
    assert b'"error"' in got


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/hf-inference/models/demo", {}, 200),
        ("/models/other", {}, 404),
        ("/models/demo/pipeline/feature-extraction", {}, 404),
        ("/models/demo/v1/chat/completions", {}, 404),
        ("/models/..%2fdemo", {}, 404),
        ("/pipeline/text-to-image/demo", {}, 404),
        (MODEL, {"Accept": "application/json"}, 400),
        (MODEL, {"Accept": "text/html, image/webp;q=0.8"}, 200),
        (MODEL, {"Authorization": "Bearer another"}, 401),
        (MODEL, {"Authorization": ""}, 401),
    ],
)
def test_paths_keys_and_kinds(path: str, headers: dict[str, str], status: int) -> None:
    server = Server()
    assert ask({"inputs": "a boat"}, server=server, path=path, **headers)[0] == status
    assert len(server.requests) == (status == 200)


@pytest.mark.parametrize(
    "body", [{"inputs": "umbrella garden"}, {"inputs": "umbrella", "parameters": {"scheduler": "garden"}}]
)
def test_a_refusal_is_a_400_that_tells_no_word(body: Any) -> None:
    server = Server()
    status, got = ask(body, server=server)
    assert (status, server.requests) == (400, [])
    assert b'"moderation_blocked"' in got
    assert b"garden" not in got


def test_a_withheld_picture_is_sealed_and_refused() -> None:
    here = World()
    here.inspecting.bad = {0}
    status, got = ask({"inputs": "a boat"}, here=here)
    assert (status, len(here.evidence.kept)) == (400, 1)
    assert not leaked(got)
    assert json.loads(got[: got.index(b"}}") + 2])["moderation_details"]["moderation_stage"] == "output"


# -- faults


@pytest.mark.parametrize(
    ("check", "how"),
    [pair for pair in itertools.product(CHECKS, ("raises", "hangs", "garbage")) if pair not in AT_ONCE],
)
def test_a_broken_check_lets_nothing_through(check: str, how: str) -> None:
    here = World().breaking(check, how)
    here.inspecting.bad = {0} if check == "evidence" else set()
    status, got = ask({"inputs": "a mild boat"}, here=here)
    assert not leaked(got)
    if (check, how) not in {("records", "garbage"), ("evidence", "garbage")}:  # what they return is not read
        assert b"written again" not in got
        assert status in (400, 500)  # older clients would ask a 503 again, without end


@pytest.mark.parametrize(
    ("behaves", "detail"),
    [
        *(("status", status) for status in (201, 204, 302, 400, 404, 429, 500, 503)),
        ("body", b""),
        ("body", b"<svg>" + picture()),
        ("body", json.dumps([{"image": LEAK}]).encode()),
        ("body", picture() + b" " * (1 << 20)),
        ("early", None),
        ("slow", 1.5),
    ],
)
def test_a_generator_that_misbehaves_is_a_fault(behaves: str, detail: Any) -> None:
    status, got = ask({"inputs": "a boat"}, server=Server(behaves, detail))
    assert status in (400, 500)
    assert not leaked(got)
    assert LEAK.encode()[:48] not in got


def test_planted_the_picture_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unjudged(self: Guard, passage: Passage, images: Any) -> list[Released | Withheld]:
        return [Released(image, "png") for image in images]

    monkeypatch.setattr(Guard, "release", unjudged)
    assert leaked(ask({"inputs": "a boat"})[1])


def test_planted_any_body_is_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then only the inspection stands before what is no picture."""
    monkeypatch.setattr(huggingface, "format_of", lambda body: "png")
    assert ask({"inputs": "a boat"}, server=Server("body", b"no picture"))[0] == 200


# -- the real client


def test_the_real_client_generates_and_hears_a_refusal_once() -> None:
    hub = pytest.importorskip("huggingface_hub", reason="Hugging Face's client is not installed")
    here, server = World(), Server(detail=real())
    here.inspecting = Redrawing(here.faults)
    here.checks = replace(here.checks, inspecting=here.inspecting)

    def use(url: str) -> Any:
        client = hub.InferenceClient(base_url=url + MODEL, api_key=KEY)
        image = client.text_to_image("a boat", negative_prompt="rain", width=64, height=64, seed=3)
        assert image.size == (8, 8)
        assert image.info == {}
        with pytest.raises(hub.errors.HfHubHTTPError, match="rejected by the safety system") as error:
            client.text_to_image("an umbrella in a garden")
        hub.close_session()
        return error.value

    error = stood(use, here, server)
    assert error.response.json()["error_type"] == "moderation_blocked"
    assert len(server.requests) == 1
    assert len(here.told) == 2
