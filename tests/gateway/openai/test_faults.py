"""Whatever breaks, no pixel of the generator leaves: every check and the generator, broken in every way, over every channel."""

from __future__ import annotations

import asyncio
import base64
import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from custodes.gateway.dialects import openai, openai_answers
from custodes.gateway.dialects.openai import OpenAI, OpenAISettings
from custodes.gateway.guard import Guard, Passage, Released, Withheld
from tests.gateway.fakes import KEY, World, leaked, picture
from tests.gateway.upstream import GARBAGE, Generator

HEADERS = {"Authorization": f"Bearer {KEY}"}
DIALECT = OpenAI(OpenAISettings(heartbeat_s=0.05, public_url="http://gateway.test"))
CHANNELS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "json": ("/v1/images/generations", {"prompt": "a mild boat", "model": "demo", "n": 2}),
    "url": ("/v1/images/generations", {"prompt": "a mild boat", "model": "dall-e-2"}),
    "stream": (
        "/v1/images/generations",
        {"prompt": "a mild boat", "model": "demo", "stream": True, "partial_images": 3},
    ),
    "multipart": ("/v1/images/edits", {"prompt": "a mild boat", "model": "demo"}),
    "multipart stream": ("/v1/images/edits", {"prompt": "a mild boat", "model": "demo", "stream": "true"}),
    "variation": ("/v1/images/variations", {"model": "demo"}),
}
AGAIN = base64.b64encode(b"written again: ")
CHECKS = ("screening", "inspecting", "ruling", "rewriting", "remote", "records", "evidence", "people")


async def asked(url: str, channel: str) -> tuple[int, bytes, Mapping[str, str]]:
    """What a client gets, to the last byte: headers, body, and so much of it as came before a cut."""
    path, fields = CHANNELS[channel]
    body: dict[str, Any] = {"json": fields}
    if path.endswith(("edits", "variations")):
        form = aiohttp.FormData({name: str(value) for name, value in fields.items()})
        form.add_field("image", b"\x89PNG\r\n\x1a\nof the client", filename="a.png")
        body = {"data": form}
    got = b""
    async with aiohttp.ClientSession() as session:
        try:
            async with session.post(url + path, headers=HEADERS, **body) as answer:
                async for part in answer.content.iter_any():
                    got += part
                return answer.status, got + str(dict(answer.headers)).encode(), answer.headers
        except aiohttp.ClientError:
            return 0, got, {}


def given(world: World, generator: Generator, channel: str) -> tuple[int, bytes, Mapping[str, str]]:
    async def run() -> tuple[int, bytes, Mapping[str, str]]:
        async with generator.standing(), world.standing(generator.address, DIALECT):
            return await asked(world.url, channel)

    return asyncio.run(run())


@pytest.mark.parametrize("channel", CHANNELS)
def test_without_a_fault_a_picture_leaves_as_the_inspection_wrote_it(channel: str) -> None:
    status, body, _ = given(World(), Generator(), channel)
    assert status == 200
    assert not leaked(body)
    assert (AGAIN in body) is (channel != "url")


def silent(status: int, body: bytes, channel: str) -> None:
    """Nothing was let through, and the client is told not to try again."""
    assert not leaked(body)
    assert AGAIN not in body
    assert b"images/released" not in body
    assert status in (0, 400, 503) or (status == 200 and "stream" in channel and b'"error"' in body)


# evidence is asked only where something is withheld: see the next test
MATRIX = [
    (check, how, channel)
    for check, how, channel in itertools.product(CHECKS, ("raises", "hangs", "garbage"), CHANNELS)
    if check not in ("evidence", "people")
    and not (how == "hangs" and check in ("screening", "ruling"))  # these are not waited for: they are pure
    and not (how == "garbage" and check == "records")  # nothing is read from it
    and not (channel == "variation" and check == "rewriting")  # there is nothing to rewrite
]


@pytest.mark.parametrize(("check", "how", "channel"), MATRIX)
def test_a_broken_check_withholds(check: str, how: str, channel: str) -> None:
    world = World(patience_s=0.05).breaking(check, how)
    status, body, headers = given(world, Generator(), channel)
    silent(status, body, channel)
    if status in (400, 503):
        assert headers["x-should-retry"] == "false"


@pytest.mark.parametrize("how", ["raises", "hangs"])
@pytest.mark.parametrize("channel", CHANNELS)
def test_where_evidence_cannot_be_kept_nothing_leaves(how: str, channel: str) -> None:
    world = World(patience_s=0.05).breaking("evidence", how)
    world.inspecting.bad = {0}
    silent(*given(world, Generator(), channel)[:2], channel)


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("how", ["raises", "garbage"])
def test_where_nobody_knows_who_asks_nothing_is_asked(how: str, channel: str) -> None:
    generator = Generator()
    silent(*given(World().breaking("people", how), generator, channel)[:2], channel)
    assert generator.requests == []


@pytest.mark.parametrize("channel", ["url", "stream", "multipart", "multipart stream"])
@pytest.mark.parametrize("kind", GARBAGE)
def test_what_is_no_answer_is_a_fault(kind: str, channel: str) -> None:
    silent(*given(World(), Generator("garbage", kind), channel)[:2], channel)


STATUSES: Mapping[str, tuple[int, dict[str, Any]]] = {
    "500": (500, {}),
    "502 that looks like a refusal": (502, {"code": "moderation_blocked"}),
    "401 of the gateway's own key": (401, {"code": "invalid_api_key"}),
    "404": (404, {}),
    "201": (201, {}),
    "200 with an error": (200, {}),
}


@pytest.mark.parametrize("channel", ["json", "stream", "multipart"])
@pytest.mark.parametrize("status", STATUSES)
def test_a_generator_in_trouble_is_a_fault_and_its_words_do_not_leave(status: str, channel: str) -> None:
    silent(*given(World(), Generator("status", STATUSES[status]), channel)[:2], channel)


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("behaves", ["early", "redirect", "slow"])
def test_an_answer_that_breaks_off_leads_elsewhere_or_is_late_is_a_fault(behaves: str, channel: str) -> None:
    world = World()

    async def run() -> tuple[int, bytes, Mapping[str, str]]:
        async with (
            Generator(behaves, 5).standing() as generator,
            world.standing(generator.address, DIALECT, timeout_s=0.2),
        ):
            return await asked(world.url, channel)

    silent(*asyncio.run(run())[:2], channel)


def test_a_generator_that_is_not_there_is_a_fault() -> None:
    world = World()

    async def run() -> tuple[int, bytes, Mapping[str, str]]:
        async with world.standing("http://127.0.0.1:9", DIALECT):
            return await asked(world.url, "json")

    status, body, headers = asyncio.run(run())
    assert (status, headers["x-should-retry"]) == (503, "false")
    assert not leaked(body)


# -- planted faults: each guard removed, and the same check sees it


class Unguarded(Guard):
    """Lets everything through, as it came."""

    async def release(self, passage: Passage, images: Any) -> list[Released | Withheld]:
        return [Released(image, "png") for image in images]


def test_planted_without_the_guard_the_pixels_are_seen() -> None:
    world = World()
    door = world.door
    world.door = lambda upstream: door(upstream, Unguarded)  # type: ignore[method-assign]
    assert leaked(given(world, Generator(), "json")[1])


def test_planted_a_revised_prompt_of_the_generator_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def telling(answer: Any, count: int) -> Any:
        found = real(answer, count)
        return replace(found, told={**found.told, "note": answer.body.decode()})

    real = openai_answers.made_by
    monkeypatch.setattr(openai, "made_by", telling)
    assert leaked(given(World(), Generator(), "json")[1])


def test_planted_words_of_the_generators_errors_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def telling(answer: Any, work: Any) -> Any:
        error = openai_answers.UnableError(answer.body.decode())
        return error if answer.status != 200 else None

    monkeypatch.setattr(openai, "turned_away", telling)
    assert leaked(given(World(), Generator("status", (500, {})), "json")[1])


def test_the_marks_are_found_in_every_form() -> None:
    for shift in range(3):
        assert leaked(base64.b64encode(b"a" * shift + picture()))
    assert leaked(picture())
    assert not leaked(b"written again: ")
