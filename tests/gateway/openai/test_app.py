"""The application: what is not known does not exist, what breaks says nothing, what is told names routes; and a reload or an end loses no request."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from custodes.gateway.app import AppLimits, Gateway
from custodes.gateway.dialects.openai import OpenAI
from custodes.gateway.door import DOOR, Door, Route
from custodes.gateway.guard import UnableError
from custodes.gateway.upstream import Upstream, UpstreamError
from custodes.gateway.vocabulary import Action, Grade, Verdict
from tests.gateway.fakes import KEY, World, leaked, listening, picture
from tests.gateway.openai.test_answers import Ask, meeting
from tests.gateway.upstream import Generator

SECRET = "a prompt that nobody may read"


@dataclass(frozen=True)
class Odd(OpenAI):
    """A dialect whose handlers do what they should not."""

    name: str = "odd"
    going: asyncio.Event = field(default_factory=asyncio.Event)
    until: asyncio.Event = field(default_factory=asyncio.Event)
    doors: list[Door] = field(default_factory=list)

    def routes(self) -> Sequence[Route]:
        return (
            Route("GET", "/raises/{name}", self._raises),
            Route("GET", "/begun/{name}", self._begun),
            Route("POST", "/waits", self._waits),
        )

    async def _raises(self, request: web.Request) -> web.StreamResponse:
        raise {
            "key": KeyError(SECRET),
            "http": web.HTTPForbidden(text=SECRET),
            "upstream": UpstreamError(SECRET),
            "unable": UnableError("the ledger"),
            "assert": AssertionError(SECRET),
            "recursion": RecursionError(SECRET),
        }[request.match_info["name"]]

    async def _begun(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"so far")
        return await self._raises(request)

    async def _waits(self, request: web.Request) -> web.StreamResponse:
        self.doors.append(request[DOOR])
        self.going.set()
        await self.until.wait()
        return web.Response(body=b"done")


def got(world: World, method: str, path: str, **more: Any) -> tuple[int, Any, bytes]:
    async def then(ask: Ask) -> tuple[int, Any, bytes]:
        return await ask(path, method, **more)

    return meeting(world, Generator(), then)  # type: ignore[no-any-return]


UNKNOWN = [
    ("GET", "/"),
    ("GET", "/v1"),
    ("GET", "/v1/images/generations"),
    ("PUT", "/v1/images/generations"),
    ("HEAD", "/v1/models"),
    ("OPTIONS", "/v1/images/generations"),
    ("POST", "/v1/images/generations/"),
    ("POST", "//v1/images/generations"),
    ("POST", "/v1/images/../images/edits/x"),
    ("POST", "/V1/images/generations"),
    ("POST", "/images/generations"),
    ("POST", "/images/variations"),
    ("POST", "/openai/deployments/demo/images/generations"),
    ("POST", "/v1/responses"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/videos"),
    ("POST", "/v1/files"),
    ("GET", "/v1/files/file-1/content"),
    ("POST", "/v1/batches"),
    ("POST", "/v1/audio/speech"),
    ("GET", "/v1/models/demo/x"),
    ("DELETE", "/v1/models/demo"),
    ("GET", "/metrics"),
    ("GET", "/images/released/"),
]


@pytest.mark.parametrize(("method", "path"), UNKNOWN)
def test_a_path_or_method_that_is_not_known_does_not_exist(method: str, path: str) -> None:
    world = World()
    status, headers, body = got(world, method, path)
    assert status == 404
    assert headers["x-request-id"].startswith("req_")
    if method != "HEAD":
        assert json.loads(body)["error"]["code"] == "unknown_url"


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("key", 503),
        ("assert", 503),
        ("recursion", 503),
        ("upstream", 503),
        ("unable", 503),
        ("http", 404),
        ("none", 503),
    ],
)
def test_whatever_a_handler_raises_no_content_is_told(name: str, status: int) -> None:
    async def then(ask: Ask) -> tuple[int, Any, bytes]:
        return await ask(f"/raises/{name}", "GET")

    world = World()
    found, headers, body = meeting(world, Generator(), then, Odd())
    assert (found, headers["x-should-retry"], headers["Cache-Control"]) == (status, "false", "no-store")
    assert SECRET not in f"{body!r}{headers}{world.told}"


@pytest.mark.parametrize("name", ["key", "http", "unable"])
def test_an_answer_that_was_begun_is_broken_off_and_nothing_is_put_behind_it(name: str) -> None:
    async def then(ask: Ask) -> bytes:
        with pytest.raises(aiohttp.ClientError):
            await ask(f"/begun/{name}", "GET")
        return b""

    world = World()
    meeting(world, Generator(), then, Odd())
    assert SECRET not in str(world.told)


def test_what_is_told_of_a_request_is_its_route_and_no_more() -> None:
    async def then(ask: Ask) -> None:
        await ask(f"/raises/{SECRET}?{SECRET}", "GET")
        await ask(f"/{SECRET}", "GET")
        await ask("/raises/key", "GET")

    world = World()
    meeting(world, Generator(), then, Odd())
    lines = msgspec.json.encode(world.told).decode()
    assert SECRET.split()[1] not in lines
    assert [line.route for line in world.told] == ["/raises/{name}", "unknown", "/raises/{name}"]
    assert world.told[-1].fault.startswith("KeyError at test_app.py:")


def test_there_is_no_answer_without_a_key() -> None:
    async def then(ask: Ask) -> list[int]:
        found = []
        async with aiohttp.ClientSession() as session:
            for key in (
                {},
                {"Authorization": "Bearer"},
                {"Authorization": f"Basic {KEY}"},
                {"Authorization": f"Bearer {KEY}x"},
            ):
                for method, path in (
                    ("GET", "/v1/models"),
                    ("POST", "/v1/images/generations"),
                    ("POST", "/v1/moderations"),
                ):
                    body = {"json": {"prompt": "a", "model": "demo"} if "images" in path else {"input": "a"}}
                    async with session.request(method, world.url + path, headers=key, **body) as answer:
                        found.append(answer.status)
        return found

    world = World()
    assert set(meeting(world, Generator(), then)) == {401}


BODIES: dict[str, tuple[dict[str, Any], int]] = {
    "no JSON": ({"data": b"{", "headers": {"Content-Type": "application/json"}}, 400),
    "a list": ({"json": []}, 400),
    "deep": ({"data": b'{"a":' + b"[" * 1900, "headers": {"Content-Type": "application/json"}}, 400),
    "half a character": (
        {"data": b'{"prompt":"\\ud800","model":"demo"}', "headers": {"Content-Type": "application/json"}},
        400,
    ),
    "no type": ({"data": b'{"prompt":"a","model":"demo"}'}, 400),
    "a form": ({"data": aiohttp.FormData({"prompt": "a", "model": "demo"})}, 400),
    "compressed": ({"json": {"prompt": "a", "model": "demo"}, "headers": {"Content-Encoding": "gzip"}}, 400),
    "at the limit": (
        {"data": b'{"prompt":"a","model":"demo"}'.ljust(2000), "headers": {"Content-Type": "application/json"}},
        200,
    ),
    "past the limit": (
        {"data": b'{"prompt":"a","model":"demo"}'.ljust(2001), "headers": {"Content-Type": "application/json"}},
        413,
    ),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_cannot_be_read_is_denied(name: str) -> None:
    body, status = BODIES[name]

    async def run() -> tuple[int, bytes]:
        world = World(limits=AppLimits(body_bytes_max=2000))
        async with AsyncExitStack() as stack:
            generator = await stack.enter_async_context(Generator().standing())
            await stack.enter_async_context(world.standing(generator.address, OpenAI()))
            session = await stack.enter_async_context(aiohttp.ClientSession())
            headers = {"Authorization": f"Bearer {KEY}"} | body.get("headers", {})
            url = f"{world.url}/v1/images/generations"
            async with session.post(url, **(body | {"headers": headers})) as answer:
                return answer.status, await answer.read()

    if name == "compressed":  # aiohttp's client would compress it: send it as it is
        import zlib

        body = {
            "data": zlib.compress(b'{"prompt":"a","model":"demo"}'),
            "headers": {"Content-Encoding": "deflate", "Content-Type": "application/json"},
        }
    assert asyncio.run(run())[0] == status


def test_health_is_without_a_key_and_says_whether_requests_are_taken() -> None:
    async def then(ask: Ask) -> list[tuple[int, bytes]]:
        return [(await ask(path, "GET"))[::2] for path in ("/health", "/ready")]  # type: ignore[misc]

    assert meeting(World(), Generator(), then) == [(200, b'{"status":"ok"}'), (200, b'{"status":"ready"}')]


HEAD = b"POST /v1/images/generations HTTP/1.1\r\nAuthorization: Bearer demo\r\nContent-Type: application/json\r\nConnection: close\r\n"
RAW: dict[str, tuple[bytes, bytes]] = {
    "a chunk that is none": (HEAD + b"Host: a\r\nTransfer-Encoding: chunked\r\n\r\nWORD\r\n", b"400"),
    "a header that is none": (b"GET /health HTTP/1.1\r\nAuthorization Bearer WORD: a\r\n\r\n", b"400"),
    "a path that is none": (b"GET /WORD\xff HTTP/1.1\r\nHost: a\r\n\r\n", b"400"),
    "an expectation": (HEAD + b"Host: a\r\nExpect: WORD\r\nContent-Length: 0\r\n\r\n", b"417"),
    "no request": (b"\x16\x03\x01WORD\r\n\r\n", b"400"),
}


def raw(sent: bytes, world: World) -> bytes:
    async def run() -> bytes:
        async with Generator().standing() as generator, world.standing(generator.address, OpenAI()):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(world.url.rpartition(":")[2]))
            writer.write(sent)
            async with asyncio.timeout(5):
                got = await reader.read(2000)
            writer.close()
            return got

    return asyncio.run(run())


@pytest.mark.parametrize("name", RAW)
def test_what_is_no_request_is_told_so_and_no_piece_of_it_is_logged(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    sent, status = RAW[name]
    world = World()
    with caplog.at_level(logging.DEBUG):
        assert raw(sent, world).split()[1] == status
    assert "WORD" not in caplog.text + str(world.told)


def test_planted_aiohttps_own_log_tells_pieces(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Gateway, "runner", lambda self: web.AppRunner(self.app, access_log=None))
    with caplog.at_level(logging.DEBUG):
        raw(RAW["a header that is none"][0], World())
    assert "WORD" in caplog.text


# -- reload and end


def standing(world: World, odd: Odd, then: Callable[[Gateway, aiohttp.ClientSession], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with Upstream("http://127.0.0.1:9") as upstream, aiohttp.ClientSession() as session:
            gateway = Gateway(world.door(upstream), [odd], world.limits, world.told.append)
            async with listening(gateway.app) as world.url:
                return await then(gateway, session)

    return asyncio.run(run())


async def status_of(session: aiohttp.ClientSession, url: str) -> tuple[int, str]:
    method = "POST" if url.endswith("waits") else "GET"  # aiohttp's client sends a GET again
    async with session.request(method, url) as answer:
        return answer.status, await answer.text()


def test_a_reload_is_for_requests_that_come_after_it() -> None:
    world, odd = World(), Odd()

    async def then(gateway: Gateway, session: aiohttp.ClientSession) -> None:
        first = asyncio.create_task(status_of(session, world.url + "/waits"))
        await odd.going.wait()
        async with Upstream("http://127.0.0.1:9") as other:
            new = world.door(other)
            gateway.swap(new)
            odd.until.set()
            assert (await first)[0] == (await status_of(session, world.url + "/waits"))[0] == 200
        assert odd.doors[0] is not new
        assert odd.doors[1] is new

    standing(world, odd, then)


def test_at_the_end_requests_in_flight_are_answered_and_new_ones_turned_away() -> None:
    world, odd = World(), Odd()

    async def then(gateway: Gateway, session: aiohttp.ClientSession) -> None:
        first = asyncio.create_task(status_of(session, world.url + "/waits"))
        await odd.going.wait()
        draining = asyncio.create_task(gateway.drain())
        await asyncio.sleep(0)
        status, body = await status_of(session, world.url + "/waits")
        assert (status, json.loads(body)["error"]["code"]) == (503, "draining")
        assert (await status_of(session, world.url + "/ready"))[0] == 503
        assert (await status_of(session, world.url + "/health"))[0] == 200
        assert not draining.done()
        odd.until.set()
        assert await first == (200, "done")
        await draining

    standing(world, odd, then)


def test_a_request_that_does_not_end_is_cut_off_and_no_byte_of_it_leaves() -> None:
    world, odd = World(limits=AppLimits(drain_s=0.05)), Odd()

    async def then(gateway: Gateway, session: aiohttp.ClientSession) -> None:
        first = asyncio.create_task(status_of(session, world.url + "/waits"))
        await odd.going.wait()
        await gateway.drain()
        with pytest.raises(aiohttp.ClientError):
            await first

    standing(world, odd, then)
    assert [line.status for line in world.told] == [0]


def test_too_many_requests_at_once_are_told_to_come_again() -> None:
    world, odd = World(limits=AppLimits(requests_max=1)), Odd()

    async def then(gateway: Gateway, session: aiohttp.ClientSession) -> None:
        first = asyncio.create_task(status_of(session, world.url + "/waits"))
        await odd.going.wait()
        assert (await status_of(session, world.url + "/waits"))[0] == 429
        assert (await status_of(session, world.url + "/health"))[0] == 200
        odd.until.set()
        assert (await first)[0] == 200
        assert (await status_of(session, world.url + "/waits"))[0] == 200

    standing(world, odd, then)


def test_a_request_that_a_hard_refusal_beside_it_ends_hears_that_refusal() -> None:
    world = World()

    async def run() -> tuple[int, bytes]:
        async with (
            Generator("slow", 5).standing() as generator,
            world.standing(generator.address, OpenAI(), 10),
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session,
        ):
            body = {"prompt": "a boat", "model": "demo", "user": "somebody"}
            first = asyncio.create_task(session.post(f"{world.url}/v1/images/generations", json=body))
            while not generator.requests:
                await asyncio.sleep(0.01)
            (caller,) = world.people.seen
            assert world.people.flights.end_siblings(caller, Verdict(Action.REFUSE, "both", Grade.HARD)) == 1
            async with await first as answer:
                return answer.status, await answer.read()

    status, body = asyncio.run(run())
    assert (status, json.loads(body)["error"]["code"]) == (400, "moderation_blocked")


def test_a_client_that_leaves_does_not_end_the_judging() -> None:
    """What it would have got is recorded, and sealed where it is withheld."""
    world = World()
    world.inspecting.bad = {0}

    async def run() -> None:
        async with Generator("slow", 0.3).standing() as generator, world.standing(generator.address, OpenAI()):
            body = {"prompt": "a boat", "model": "demo", "stream": True}
            headers = {"Authorization": f"Bearer {KEY}"}
            async with aiohttp.ClientSession() as session:
                answer = await session.post(f"{world.url}/v1/images/generations", json=body, headers=headers)
                answer.close()
            for _ in range(100):
                if world.told:
                    return
                await asyncio.sleep(0.02)

    asyncio.run(run())
    assert world.evidence.kept == [picture()]


def test_planted_a_handler_without_the_net_tells_what_it_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    async def bare(request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            return await handler(request)  # type: ignore[no-any-return]
        except KeyError as error:
            return web.Response(status=500, text=str(error))

    monkeypatch.setattr("custodes.gateway.app._guarded", bare)

    async def then(ask: Ask) -> bytes:
        return (await ask("/raises/key", "GET"))[2]

    assert SECRET.encode() in meeting(World(), Generator(), then, Odd())
    assert not leaked(SECRET.encode())
