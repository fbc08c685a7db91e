"""What of a generator's answer a client gets: some of it withheld, all of it, refused by the generator itself; and links to our own copies."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from custodes.gateway.dialects.openai import OpenAI, OpenAISettings
from custodes.gateway.dialects.shelf import Shelf, ShelfLimits
from custodes.gateway.guard import Released
from custodes.gateway.vocabulary import Action, Category, Stage
from tests.gateway.fakes import KEY, World, leaked, picture
from tests.gateway.upstream import Generator

Ask = Callable[..., Awaitable[tuple[int, Any, bytes]]]
PUBLIC = OpenAI(OpenAISettings(public_url="https://images.example/"))
GENERATE = "/v1/images/generations"


def meeting(
    world: World, generator: Generator, then: Callable[[Ask], Awaitable[Any]], dialect: OpenAI | None = None
) -> Any:
    """What ``then`` gives, with a way to ask."""

    async def run() -> Any:
        async with (
            generator.standing(),
            world.standing(generator.address, dialect or OpenAI()),
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session,
        ):

            async def ask(path: str = GENERATE, method: str = "POST", **body: Any) -> tuple[int, Any, bytes]:
                url = path if path.startswith("http") else world.url + path
                async with session.request(method, url, **({"json": body} if body else {})) as answer:
                    got = await answer.read()
                    return answer.status, answer.headers, got

            return await then(ask)

    return asyncio.run(run())


def generated(world: World, generator: Generator | None = None, **body: Any) -> tuple[int, Any, Any]:
    async def then(ask: Ask) -> tuple[int, Any, bytes]:
        return await ask(**({"prompt": "a boat", "model": "demo"} | body))

    status, headers, got = meeting(world, generator or Generator(), then)
    assert not leaked(got)
    return status, headers, got if got.startswith((b"event", b"data")) else json.loads(got)


@pytest.mark.parametrize(("bad", "left"), [({0}, 2), ({1, 2}, 1), (set(), 3)])
def test_what_is_withheld_is_told_by_its_number_and_sealed(bad: set[int], left: int) -> None:
    world = World()
    world.inspecting.bad = bad
    status, _, document = generated(world, n=3)
    assert (status, len(document["data"])) == (200, left)
    assert document.get("x_gateway", {}).get("blocked", []) == sorted(bad)
    assert world.evidence.kept == [picture(number) for number in sorted(bad)]
    assert [stage for _, stage, _ in world.records.decisions] == [Stage.INPUT] + [Stage.OUTPUT] * 3


@pytest.mark.parametrize(
    ("model", "code"),
    [("demo", "moderation_blocked"), ("gpt-image-2", "moderation_blocked"), ("dall-e-2", "content_policy_violation")],
)
def test_where_all_is_withheld_it_is_a_refusal_of_the_output(model: str, code: str) -> None:
    world = World()
    world.inspecting.bad = {0, 1}
    status, headers, document = generated(world, n=2, model=model)
    assert (status, document["error"]["code"], headers["x-should-retry"]) == (400, code, "false")
    if model != "dall-e-2":
        assert document["error"]["moderation_details"] == {"moderation_stage": "output", "categories": ["safety"]}


def test_a_stream_tells_what_is_withheld_as_well() -> None:
    world = World()
    world.inspecting.bad = {1}
    _, _, got = generated(world, n=2, stream=True)
    assert got.count(b"image_generation.completed") == 2  # the event's name, and its type
    assert b'"x_gateway":{"blocked":[1]}' in got
    world.inspecting.bad = {0, 1}
    status, _, got = generated(world, n=2, stream=True)
    error = json.loads(got.partition(b"data: ")[2])
    assert (status, error["error"]["code"]) == (200, "moderation_blocked")


def test_a_known_picture_in_a_request_is_refused_and_sealed_and_goes_no_further() -> None:
    world, generator = World(), Generator()

    async def run() -> int:
        form = aiohttp.FormData({"prompt": "a boat", "model": "demo"})
        form.add_field("image", b"KNOWN", filename="a.png")
        async with (
            generator.standing(),
            world.standing(generator.address, OpenAI()),
            aiohttp.ClientSession() as session,
        ):
            headers = {"Authorization": f"Bearer {KEY}"}
            async with session.post(f"{world.url}/v1/images/edits", data=form, headers=headers) as answer:
                return answer.status

    assert asyncio.run(run()) == 400
    assert (world.evidence.kept, generator.requests) == ([b"KNOWN"], [])


REFUSALS: dict[str, tuple[int, dict[str, Any], str]] = {
    "input": (400, {"code": "moderation_blocked", "moderation_details": {"moderation_stage": "input"}}, "input"),
    "output": (400, {"code": "moderation_blocked", "moderation_details": {"moderation_stage": "output"}}, "output"),
    "older": (400, {"code": "content_policy_violation"}, "input"),
    "a relay's 451": (451, {"code": "moderation_blocked", "moderation_details": {}}, "input"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_of_the_generator_is_one_of_ours_and_is_recorded(name: str) -> None:
    status, error, stage = REFUSALS[name]
    world = World()
    got, headers, document = generated(world, Generator("status", (status, error)))
    assert (got, document["error"]["code"], headers["x-should-retry"]) == (400, "moderation_blocked", "false")
    assert document["error"]["moderation_details"] == {"moderation_stage": stage, "categories": ["moderation"]}
    _, at, verdict = world.records.decisions[-1]
    assert (at, verdict.action, verdict.category) == (Stage(stage), Action.REFUSE, Category.MODERATION)


OTHERS: dict[str, tuple[tuple[int, dict[str, Any]], tuple[int, str, str | None, str | None]]] = {
    "a value that it does not take": ((400, {"param": "size"}), (400, "invalid_value", "size", "false")),
    "a field of its own": ((422, {"param": "a boat"}), (400, "invalid_value", None, "false")),
    "too much to do": ((429, {}), (429, "rate_limit_exceeded", None, None)),
    "trouble": ((500, {}), (503, "gateway_fault", None, "false")),
    "not found": ((404, {}), (503, "gateway_fault", None, "false")),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_noes_of_the_generator_are_told_in_our_words(name: str) -> None:
    answer, expected = OTHERS[name]
    status, headers, document = generated(World(), Generator("status", answer))
    error = document["error"]
    assert (status, error["code"], error["param"], headers.get("x-should-retry")) == expected
    assert ("Retry-After" in headers) is (status == 429)


def test_figures_pass_and_strings_do_not() -> None:
    _, _, document = generated(World())
    assert document["usage"] == {
        "input_tokens": 1,
        "output_tokens": 2,
        "total_tokens": 3,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": 1},
    }
    assert document["size"] == "8x8"
    assert set(document) == {"created", "data", "size", "usage", "output_format"}
    assert set(document["data"][0]) == {"b64_json"}


def test_a_retry_has_the_name_of_the_first_and_another_request_has_not() -> None:
    world = World()

    async def then(ask: Ask) -> None:
        for prompt in ("a boat", "a boat", "a ship"):
            await ask(prompt=prompt, model="demo")

    meeting(world, Generator(), then)
    first, again, other = [caller.request for caller in world.people.seen]
    assert first == again != other


def test_the_answer_is_named_as_the_ledger_names_the_request() -> None:
    world = World()
    _, headers, _ = generated(world)
    assert headers["x-request-id"] == world.people.seen[0].request == world.told[0].request


def test_a_suspended_user_is_told_so() -> None:
    world = World()
    world.people.suspended = {"somebody"}
    status, headers, document = generated(world, user="somebody")
    assert (status, document["error"]["code"], headers["x-should-retry"]) == (403, "user_suspended", "false")


# -- links


def test_a_link_is_to_our_copy_and_to_nothing_else() -> None:
    async def then(ask: Ask) -> Any:
        _, _, got = await ask(prompt="a boat", model="dall-e-2")
        url = json.loads(got)["data"][0]["url"].removeprefix("https://images.example")
        return await ask(url, "GET"), await ask(url[:-1], "GET"), await ask("/images/released/..%2f", "GET")

    copy, cut, elsewhere = meeting(World(), Generator(), then, PUBLIC)
    assert copy[2].startswith(b"written again: ")
    assert copy[1]["Content-Security-Policy"].startswith("default-src 'none'")
    assert (cut[0], elsewhere[0]) == (404, 404)


def test_links_are_as_the_public_knows_the_gateway() -> None:
    async def then(ask: Ask) -> Any:
        return json.loads((await ask(prompt="a boat", model="dall-e-2"))[2])["data"][0]["url"]

    assert meeting(World(), Generator(), then, PUBLIC).startswith("https://images.example/images/released/")


def test_where_nobody_said_how_clients_reach_the_gateway_images_are_in_the_answer() -> None:
    _, _, document = generated(World(), model="dall-e-2", response_format="url")
    assert set(document["data"][0]) == {"b64_json"}


def image(size: int) -> Released:
    return Released(b"x" * size, "png")


def test_a_copy_is_kept_until_its_time_and_no_longer() -> None:
    now = [0.0]
    shelf = Shelf(ShelfLimits(bytes_max=100, keep_s=10), lambda: now[0])
    name = shelf.put(image(1))
    now[0] = 9.9
    assert shelf.get(name) == image(1)
    now[0] = 10.0
    assert shelf.get(name) is None


def test_the_oldest_copy_goes_where_there_is_no_room() -> None:
    shelf = Shelf(ShelfLimits(bytes_max=10))
    first, second = shelf.put(image(5)), shelf.put(image(5))
    assert shelf.get(first) is not None
    third = shelf.put(image(1))
    assert [shelf.get(name) is not None for name in (first, second, third)] == [False, True, True]
    assert shelf.get(shelf.put(image(11))) is None
    assert shelf.get("") is None
