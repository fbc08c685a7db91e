"""The real openai client, unchanged, of two generations: what it asks for it gets, and a refusal is an error that it knows and does not send again."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from custodes.gateway.dialects.openai import OpenAI, OpenAISettings
from tests.gateway.fakes import KEY, MODELS, World, leaked
from tests.gateway.upstream import Generator

CLIENT = Path(__file__).with_name("client.py")
UV = Path(sys.executable).with_name("uv")
OLDER = "openai==1.109.1"
DIALECT = OpenAI(OpenAISettings(extra=frozenset({"negative_prompt"}), public_url="http://gateway.test/"))


def command(version: str) -> list[str]:
    if version == "current":
        return [sys.executable, str(CLIENT)]
    return [
        str(UV),
        "run",
        "--no-project",
        "--quiet",
        "--python",
        sys.executable,
        "--with",
        OLDER,
        "python",
        str(CLIENT),
    ]


async def spoken(version: str, world: World, generator: Generator) -> dict[str, Any]:
    async with generator.standing(), world.standing(generator.address, DIALECT, timeout_s=10):
        process = await asyncio.create_subprocess_exec(
            *command(version), world.url, KEY, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, errors = await process.communicate()
    if version == "older" and not out and b"client.py" not in errors:
        pytest.skip(f"{OLDER} CANNOT BE HAD HERE: its client was not tried: {errors.decode()[-200:]}")
    assert process.returncode == 0, errors.decode()
    assert not leaked(out)
    found: dict[str, Any] = json.loads(out)
    return found


class Run:
    """What one version of the client heard, and what the generator and the ledger saw of it."""

    def __init__(self, version: str) -> None:
        self.world, self.generator = World(patience_s=10), Generator()
        self.world.people.busy = 1  # the first request is turned away once, with a 429
        found = asyncio.run(spoken(version, self.world, self.generator))
        self.version, self.heard = found["version"], found["answers"]


@pytest.fixture(scope="module", params=["current", "older"])
def run(request: pytest.FixtureRequest) -> Run:
    if request.param == "current" and find_spec("openai") is None:
        pytest.skip("THE OPENAI CLIENT IS NOT INSTALLED: run make setup")
    if request.param == "older" and not UV.exists():
        pytest.skip("UV IS NOT HERE: the older openai client was not tried")
    return Run(request.param)


def test_it_is_the_version_that_is_meant(run: Run) -> None:
    assert run.version.split(".")[0] in ("1", "3", "4")


@pytest.mark.parametrize(
    ("name", "count"),
    [("generate", 2), ("extra", 1), ("edit one", 1), ("edit several", 1), ("variation", 1), ("told and gone on", 1)],
)
def test_pictures_come_as_the_inspection_wrote_them(run: Run, name: str, count: int) -> None:
    assert [content[:14] for content, _, _ in run.heard[name]] == ["written again:"] * count


def test_a_rewritten_prompt_is_told_and_is_what_the_generator_got(run: Run) -> None:
    assert [revised for _, _, revised in run.heard["rewritten"]] == ["a wild boat"]
    prompts = [asked["fields"].get("prompt") for asked in run.generator.requests]
    assert "a wild boat" in prompts
    assert "a mild boat" not in prompts


def test_an_older_model_gives_links_to_our_own_copy(run: Run) -> None:
    ((_, url, _),) = run.heard["older"]
    assert url.startswith("http://gateway.test/images/released/")


@pytest.mark.parametrize(("name", "kind"), [("stream", "image_generation"), ("edit stream", "image_edit")])
def test_a_stream_is_its_last_event_alone(run: Run, name: str, kind: str) -> None:
    assert [(event, content[:14], tokens) for event, content, tokens in run.heard[name]] == [
        (f"{kind}.completed", "written again:", 3)
    ]


@pytest.mark.parametrize("name", ["refused", "refused edit", "stream refused"])
def test_a_refusal_has_its_code_its_stage_and_no_reason(run: Run, name: str) -> None:
    error = run.heard[name]
    assert (error["class"], error["status"], error["code"]) == ("BadRequestError", 400, "moderation_blocked")
    assert error["type"] == "image_generation_user_error"
    assert error["details"] == {"moderation_stage": "input", "categories": ["safety"]}
    assert error["request"] in error["message"]
    assert "umbrella" not in json.dumps(error)


def test_a_soft_refusal_names_its_category(run: Run) -> None:
    assert run.heard["refused softly"]["details"]["categories"] == ["sexual"]


def test_an_older_model_refuses_in_the_older_words(run: Run) -> None:
    error = run.heard["refused older"]
    assert (error["status"], error["code"], error["type"]) == (400, "content_policy_violation", "invalid_request_error")


DENIED = {
    "no model": ("NotFoundError", 404, "model_not_found", "model"),
    "no field": ("BadRequestError", 400, "unknown_parameter", "lora"),
    "other path": ("NotFoundError", 404, "unknown_url", None),
    "responses": ("NotFoundError", 404, "unknown_url", None),
    "key": ("AuthenticationError", 401, "invalid_api_key", None),
}


@pytest.mark.parametrize("name", DENIED)
def test_what_is_not_known_is_denied(run: Run, name: str) -> None:
    error = run.heard[name]
    assert (error["class"], error["status"], error["code"], error["param"]) == DENIED[name]


def test_models_are_those_on_offer(run: Run) -> None:
    assert run.heard["models"] == sorted(MODELS)


def test_moderations_flag_without_a_reason(run: Run) -> None:
    passed, flagged = run.heard["moderation"]
    assert (passed["flagged"], flagged["flagged"]) == (False, True)
    assert flagged["x_gateway"] == {"category": "safety"}


def test_a_refusal_is_sent_once_and_a_429_again(run: Run) -> None:
    statuses = Counter((line.route, line.status) for line in run.world.told)
    assert statuses["/v1/images/generations", 429] == 1
    assert statuses["/v1/images/generations", 400] == 5  # four refusals and an unknown field, each sent once
    assert statuses["/v1/images/edits", 400] == 1
    assert not any(status >= 500 for _, status in statuses)


def test_only_the_gateway_has_the_generators_key(run: Run) -> None:
    assert {asked["key"] for asked in run.generator.requests} == {"Bearer of-the-gateway"}
    assert not any("somebody" in json.dumps(asked["fields"]) for asked in run.generator.requests)


def test_the_older_client_sees_a_planted_retry() -> None:
    """Planted: a refusal as a 503 without the header is sent three times, which the counts above would show."""
    if find_spec("openai") is None:
        pytest.skip("THE OPENAI CLIENT IS NOT INSTALLED: run make setup")
    import openai
    from aiohttp import web

    from tests.gateway.fakes import listening

    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers["x-stainless-retry-count"])
        return web.json_response({"error": {"message": "no"}}, status=503)

    async def ask() -> None:
        app = web.Application()
        app.router.add_post("/v1/images/generations", answer)
        async with listening(app) as url, openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY) as client:
            with pytest.raises(openai.InternalServerError):
                await client.images.generate(prompt="a", model="demo")

    asyncio.run(ask())
    assert seen == ["0", "1", "2"]
