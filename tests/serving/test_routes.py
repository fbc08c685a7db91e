"""What may be asked, by whom, and that answers tell no more than they say: over real connections, with a matcher and decoders that are made up."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import aiohttp
import pytest
from tests.serving.service import KEYS, digest, tenant
from tests.serving.service import KEYS as SECRETS

from custodes.model import Content, Reason
from custodes.serving.front import Door
from custodes.serving.messages import Code, Item, Verdict
from custodes.serving.metrics import Metrics
from custodes.serving.routes import ROUTES, Routes
from custodes.serving.settings import ServeSettings

LISTED = digest(1)
IMAGE, OTHER, BROKEN, PART = b"listed image", b"other image", b"broken", b"part of one"
HEX = {"pdq": LISTED.hex(), "quality": 80}
KNOWN = {"/v1/images", "/v1/digests", "/m/lookup", "/m/raw_lookup", "/m/index/status", "/h/hash"}


@dataclass
class Lookups:
    """Holds the listed code, and counts."""

    up: bool = True
    verdict: Verdict | None = None
    asked: list[tuple[str, int]] = field(default_factory=list)

    async def look_up(self, tenant: str, items: list[Item]) -> list[Verdict] | None:
        self.asked.append((tenant, len(items)))
        if not self.up:
            return None
        held = [any(code.code == LISTED for code in item.pdq) for item in items]
        return [self.verdict if self.verdict is not None else Verdict(each) for each in held]


class Images:
    """Decodes by name."""

    async def look(self, content: Content) -> tuple[Item, Reason]:
        data = content.reveal()
        if data == BROKEN:
            return Item(md5=bytes(16)), Reason.BROKEN
        reason = Reason.PARTIAL_DAMAGED if data == PART else Reason.FULL
        return Item(md5=bytes(16), pdq=[Code(LISTED if data == IMAGE else bytes(32), 80)]), reason


@dataclass
class Front:
    """A front on loopback, and a client."""

    address: str
    port: int
    client: aiohttp.ClientSession
    lookups: Lookups
    metrics: Metrics

    async def ask(self, method: str, path: str, key: str = "", **options: Any) -> tuple[int, bytes, dict[str, str]]:
        headers = {"Authorization": f"Bearer {SECRETS[key]}"} if key else {}
        headers |= options.pop("headers", {})
        async with self.client.request(method, self.address + path, headers=headers, **options) as answer:
            told = {name: value for name, value in answer.headers.items() if name != "Date"}
            return answer.status, await answer.read(), told

    async def raw(self, request: bytes) -> bytes:
        """Bytes as they are, until the connection closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        said = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        return said


def front(scene: Callable[[Front], Awaitable[None]], lookups: Lookups | None = None, **changed: Any) -> None:
    """Play a scene."""
    import hashlib

    hashed = {name: hashlib.sha256(key.encode()).hexdigest() for name, key in KEYS.items()}
    limits = {"requests_per_minute": changed.pop("requests_per_minute", 100_000)}
    tenants = {n: tenant(key_sha256=h, trusted_digests=n != "images", **limits) for n, h in hashed.items()}
    settings = ServeSettings(tenants=tenants, **({"latency_step_ms": 0} | changed))

    async def play() -> None:
        asked, metrics = lookups or Lookups(), Metrics()
        door = Door(Routes(settings, asked, Images(), metrics).handle, settings)
        server = await asyncio.get_running_loop().create_server(door, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with aiohttp.ClientSession() as client:
            await scene(Front(f"http://127.0.0.1:{port}", port, client, asked, metrics))
        server.close()
        await door.shutdown(1)
        await server.wait_closed()

    asyncio.run(play())


def body(*items: dict[str, Any]) -> bytes:
    return json.dumps(list(items)).encode()


# -- who may ask what


def test_every_route_is_named_here() -> None:
    assert set(ROUTES) == KNOWN


def test_without_a_key_there_are_three_pages_and_one_refusal() -> None:
    async def scene(front: Front) -> None:
        for path in ("/status", "/status/live", "/healthz"):
            assert (await front.ask("GET", path))[0] == 200
            assert (await front.ask("POST", path))[0] == 405
        refusals = {(await front.ask("POST", path))[1] for path in (*ROUTES, "/", "/nowhere", "/metrics")}
        assert refusals == {b'{"message":"a key is needed"}'}

    front(scene)


def test_a_client_that_knows_no_keys_is_the_tenant_that_was_named_for_it_and_a_wrong_key_is_nobody() -> None:
    async def scene(front: Front) -> None:
        path = f"/m/lookup?signal={LISTED.hex()}&signal_type=pdq"
        status, said, _ = await front.ask("GET", path)
        assert (status, list(json.loads(said))) == (200, ["CUSTODES"])
        assert front.lookups.asked == [("trusted", 1)]
        assert (await front.ask("GET", path, headers={"Authorization": "Bearer wrong"}))[0] == 401

    front(scene, keyless_tenant="trusted")


@pytest.mark.parametrize("bad", [{"keyless_tenant": "nobody"}, {"keyless_tenant": "a", "host": "0.0.0.0"}], ids=str)
def test_a_tenant_without_a_key_is_one_of_the_tenants_and_on_this_machine(bad: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="keyless_tenant must be one of the tenants"):
        ServeSettings(tenants={"a": tenant(key_sha256="0" * 64)}, **bad)


KEYS_GIVEN = {
    "none": None,
    "empty": "Bearer ",
    "wrong": "Bearer " + "0" * 64,
    "of another scheme": f"Basic {SECRETS['trusted']}",
    "its digest": "Bearer " + __import__("hashlib").sha256(SECRETS["trusted"].encode()).hexdigest(),
    "cut": f"Bearer {SECRETS['trusted'][:-1]}",
    "two": f"Bearer {SECRETS['trusted']} {SECRETS['trusted']}",
    "bytes": "Bearer \udcff\udcfe",
}


@pytest.mark.parametrize("given", KEYS_GIVEN.values(), ids=KEYS_GIVEN)
def test_a_wrong_key_opens_nothing(given: str | None) -> None:
    async def scene(front: Front) -> None:
        line = b"" if given is None else b"Authorization: " + given.encode("utf-8", "surrogateescape") + b"\r\n"
        said = await front.raw(b"POST /v1/digests HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + line + b"\r\n")
        assert said.startswith((b"HTTP/1.1 401", b"HTTP/1.1 400"))
        assert front.lookups.asked == []

    front(scene)


def test_who_may_send_images_alone_cannot_tell_that_digests_could_be_asked_for() -> None:
    async def scene(front: Front) -> None:
        for method in ("GET", "POST", "PUT", "HEAD", "OPTIONS"):
            nowhere = await front.ask(method, "/v1/nowhere", "images", data=body(HEX))
            for path in ("/v1/digests", "/m/raw_lookup?signal=00&signal_type=pdq", "/h/hash"):
                assert await front.ask(method, path, "images", data=body(HEX)) == nowhere
                assert nowhere[0] == 404
        query = f"/m/lookup?signal={LISTED.hex()}&signal_type=pdq"
        assert (await front.ask("GET", query, "images"))[::2] == (await front.ask("PUT", "/v1/images", "images"))[::2]
        assert front.lookups.asked == []
        assert (await front.ask("POST", "/v1/digests", "trusted", data=body(HEX)))[0] == 200  # the planted fault

    front(scene)


PATHS = [
    "/v1/digests/",
    "//v1/digests",
    "/v1//digests",
    "/v1/./digests",
    "/v1/x/../digests",
    "/v1/%64igests",
    "/V1/DIGESTS",
    "/v1/digests;a",
    "/v1/digests%00",
    "/v1/digests%20",
    "/v1\\digests",
    "http://127.0.0.1/v1/digests",
    "http://evil@x/v1/digests",
    "/m/compare",
    "/c/banks",
    "/dev/factory_reset",
    "/openapi",
    "/metrics",
    "*",
]


HOSTS = [b"a", b"", b"/v1/digests", b"a:b:c", b"\xff\xfe", b"a\tb", b"[::1", b"x" * 4000]


@pytest.mark.parametrize("path", PATHS)
def test_no_spelling_of_a_path_and_no_host_is_taken_for_another(path: str) -> None:
    async def scene(front: Front) -> None:
        sent = body(HEX)
        for host, (key, status) in product(HOSTS, (("trusted", b" 404 "), ("", b" 401 "))):
            line = f"Authorization: Bearer {SECRETS[key]}\r\n".encode() if key else b""
            head = b"POST " + path.encode() + b" HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n" + line
            said = await front.raw(head + b"Content-Length: %d\r\n\r\n" % len(sent) + sent)
            assert said[8:13] in (status, b" 400 "), said
        assert front.lookups.asked == []

    front(scene)


def test_a_known_path_answers_other_methods_with_405() -> None:
    async def scene(front: Front) -> None:
        for path, route in ROUTES.items():
            methods = route.to_all.keys() | route.to_trusted.keys()
            for method in {"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"} - methods:
                assert (await front.ask(method, path, "trusted"))[0] == 405

    front(scene)


# -- verdicts


IMAGES = {
    "listed": (IMAGE, {"verdict": "hold", "reason": ""}),
    "not listed": (OTHER, {"verdict": "ok", "reason": ""}),
    "broken": (BROKEN, {"verdict": "unexamined", "reason": "broken"}),
    "seen in part": (PART, {"verdict": "unexamined", "reason": "partial_damaged"}),
}


@pytest.mark.parametrize(("data", "verdict"), IMAGES.values(), ids=IMAGES)
@pytest.mark.parametrize("form", [False, True], ids=["plain", "form"])
def test_the_verdict_on_an_image(data: bytes, verdict: dict[str, str], form: bool) -> None:
    async def scene(front: Front) -> None:
        sent: Any = data
        if form:
            sent = aiohttp.FormData()
            sent.add_field("photo", data, filename="a.jpg")
        status, said, _ = await front.ask("POST", "/v1/images", "images", data=sent)
        assert (status, json.loads(said)) == (200, verdict)

    front(scene)


def test_hold_and_ok_differ_in_nothing_but_the_word() -> None:
    async def scene(front: Front) -> None:
        code = bytes(32).hex()
        pairs = [
            [await front.ask("POST", "/v1/images", "images", data=data) for data in (IMAGE, OTHER)],
            [
                await front.ask("POST", "/v1/digests", "trusted", data=body(HEX | {"pdq": c}))
                for c in (LISTED.hex(), code)
            ],
            [await front.ask("GET", f"/m/lookup?signal={c}&signal_type=pdq", "trusted") for c in (LISTED.hex(), code)],
            [
                await front.ask("GET", f"/m/raw_lookup?signal={c}&signal_type=pdq", "other")
                for c in (LISTED.hex(), code)
            ],
        ]
        for hold, ok in pairs:
            assert hold[0] == ok[0] == 200
            assert hold[2] == ok[2]
            assert len(hold[1]) == len(ok[1])
            assert hold[1] != ok[1]

    front(scene)


def test_answers_leave_at_steps_of_time() -> None:
    async def scene(front: Front) -> None:
        await front.ask("POST", "/v1/images", "images", data=OTHER)
        for data in (IMAGE, OTHER, BROKEN):
            began = time.perf_counter()
            await front.ask("POST", "/v1/images", "images", data=data)
            assert time.perf_counter() - began >= 0.049

    front(scene, latency_step_ms=50)


def test_digests_in_the_order_that_they_were_asked_for() -> None:
    async def scene(front: Front) -> None:
        items = [HEX, {"md5": "0" * 32, "sha1": "0" * 40, "sha256": "F" * 64}, HEX]
        _, said, _ = await front.ask("POST", "/v1/digests", "trusted", data=body(*items))
        assert json.loads(said) == {"verdicts": ["hold", "ok", "hold"]}
        _, said, _ = await front.ask("POST", "/v1/digests", "trusted", data=json.dumps(HEX))
        assert json.loads(said) == {"verdicts": ["hold"]}

    front(scene)


WRONG_DIGESTS: dict[str, bytes] = {
    "empty": b"",
    "no item": b"[]",
    "no digest": b"[{}]",
    "not JSON": b"[{",
    "unknown field": body({"sha512": "00"}),
    "a digest too short": body({"md5": "0" * 31}),
    "a digest too long": body({"md5": "0" * 34}),
    "not hexadecimal": body({"md5": "g" * 32}),
    "with spaces": body({"md5": " 0" * 16}),
    "a code without quality": body({"pdq": "0" * 64}),
    "a quality without code": body({"md5": "0" * 32, "quality": 1}),
    "a quality too high": body({"pdq": "0" * 64, "quality": 101}),
    "a quality below": body({"pdq": "0" * 64, "quality": -1}),
    "one item too many": body(*[{"md5": "0" * 32}] * 1001),
}


@pytest.mark.parametrize("sent", WRONG_DIGESTS.values(), ids=WRONG_DIGESTS)
def test_a_wrong_question_is_refused_and_nothing_is_looked_up(sent: bytes) -> None:
    async def scene(front: Front) -> None:
        assert (await front.ask("POST", "/v1/digests", "trusted", data=sent))[0] == 400
        assert front.lookups.asked == []

    front(scene)


def test_a_thousand_digests_may_be_asked_for_at_once() -> None:
    async def scene(front: Front) -> None:
        status, said, _ = await front.ask("POST", "/v1/digests", "trusted", data=body(*[{"md5": "0" * 32}] * 1000))
        assert (status, len(json.loads(said)["verdicts"])) == (200, 1000)

    front(scene)


FAILURES = {
    "there is no matcher": (Lookups(up=False), 503),
    "the tenant is refused": (Lookups(verdict=Verdict.BUSY), 429),
}


@pytest.mark.parametrize(("lookups", "status"), FAILURES.values(), ids=FAILURES)
def test_what_was_not_compared_has_no_verdict(lookups: Lookups, status: int) -> None:
    async def scene(front: Front) -> None:
        answers = [await front.ask("POST", path, "trusted", data=OTHER) for path in ("/v1/images",)]
        form = aiohttp.FormData()
        form.add_field("photo", OTHER, filename="a.jpg")
        answers.append(await front.ask("POST", "/m/lookup", "trusted", data=form))
        answers.append(await front.ask("POST", "/v1/digests", "trusted", data=body(HEX)))
        for path in ("/m/lookup", "/m/raw_lookup"):
            answers.append(await front.ask("GET", f"{path}?signal={LISTED.hex()}&signal_type=pdq", "trusted"))
        for got, said, _ in answers:
            assert got == status
            assert set(json.loads(said)) == {"message"}
        assert (await front.ask("GET", "/status"))[0] == (200 if lookups.up else 503)
        assert (await front.ask("GET", "/status/live"))[0] == 200

    front(scene, lookups)


# -- those of hasher-matcher-actioner


def test_clients_of_hasher_matcher_actioner_get_its_shapes() -> None:
    async def scene(front: Front) -> None:
        hit, miss = (f"signal={c}&signal_type=pdq" for c in (LISTED.hex(), "0" * 64))

        async def got(method: str, path: str, **options: Any) -> Any:
            status, said, _ = await front.ask(method, path, "trusted", **options)
            assert status == 200, said
            return json.loads(said)

        found = await got("GET", f"/m/lookup?{hit}")
        (match,) = found["CUSTODES"]
        assert match["distance"] == "0"
        assert await got("GET", f"/m/lookup?{hit}&seed=a&banks=CUSTODES") == found
        assert await got("GET", f"/m/lookup?{miss}") == {}
        assert await got("GET", f"/m/raw_lookup?{hit}") == {"matches": [match["bank_content_id"]]}
        assert await got("GET", f"/m/raw_lookup?{hit}&include_distance=true") == {"matches": [match]}
        assert await got("GET", f"/m/raw_lookup?{miss}") == {"matches": []}
        assert (await got("GET", "/m/index/status"))["pdq"].keys() == {"built_to", "present", "size"}
        for path, data, said in (
            ("/m/lookup", IMAGE, {"pdq": found}),
            ("/m/lookup", OTHER, {"pdq": {}}),
            ("/h/hash", IMAGE, {"pdq": LISTED.hex()}),
        ):
            form = aiohttp.FormData()
            form.add_field("photo", data, filename="a.jpg", content_type="image/jpeg")
            assert await got("POST", path, data=form) == said
        assert (await front.ask("GET", "/status"))[1] == b"I-AM-ALIVE"

    front(scene)


HMA_WRONG = {
    "a link": "/m/lookup?url=http%3A%2F%2F127.0.0.1%2Fa.jpg",
    "a link beside a signal": f"/m/lookup?url=a&signal={'0' * 64}&signal_type=pdq",
    "another bank": f"/m/lookup?signal={'0' * 64}&signal_type=pdq&banks=OTHER",
    "no signal": "/m/lookup?signal_type=pdq",
    "no type": f"/m/lookup?signal={'0' * 64}",
    "another type": f"/m/lookup?signal={'0' * 64}&signal_type=video_md5",
    "a type twice": f"/m/lookup?signal={'0' * 64}&signal_type=pdq&signal_type=md5",
    "a signal too short": f"/m/raw_lookup?signal={'0' * 62}&signal_type=pdq",
    "bytes that are no text": "/m/raw_lookup?signal=%ff&signal_type=pdq",
}


@pytest.mark.parametrize("path", HMA_WRONG.values(), ids=HMA_WRONG)
def test_what_cannot_be_answered_is_refused_and_never_no_match(path: str) -> None:
    async def scene(front: Front) -> None:
        assert (await front.ask("GET", path, "trusted"))[0] == 400
        assert front.lookups.asked == []

    front(scene)


def test_a_picture_that_was_not_examined_is_an_error_to_clients_that_know_no_such_verdict() -> None:
    async def scene(front: Front) -> None:
        for path in ("/m/lookup", "/h/hash"):
            for data in (BROKEN, PART):
                form = aiohttp.FormData()
                form.add_field("photo", data, filename="a.jpg")
                assert (await front.ask("POST", path, "trusted", data=form))[0] == 422

    front(scene)


# -- limits


def test_a_body_at_the_limit_is_read_and_one_byte_more_is_not() -> None:
    async def scene(front: Front) -> None:
        async def pieces(size: int) -> Any:
            yield b"x" * size

        for size, status in ((1000, 200), (1001, 413)):
            assert (await front.ask("POST", "/v1/images", "images", data=b"x" * size))[0] == status
            assert (await front.ask("POST", "/v1/images", "images", data=pieces(size)))[0] == status
        said = await front.raw(
            f"POST /v1/images HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {SECRETS['images']}\r\nContent-Length: {10**15}\r\n\r\n".encode()
        )
        assert said.startswith(b"HTTP/1.1 413")

    front(scene, body_bytes_max=1000)


@pytest.mark.parametrize("chunks", [b"zz\r\nx\r\n0\r\n\r\n", b"-1\r\nx\r\n"])
def test_a_body_in_broken_chunks_is_no_request(chunks: bytes) -> None:
    async def scene(front: Front) -> None:
        line = f"Authorization: Bearer {SECRETS['images']}\r\n"
        head = f"POST /v1/images HTTP/1.1\r\nHost: a\r\n{line}Transfer-Encoding: chunked\r\n\r\n"
        assert (await front.raw(head.encode() + chunks))[9:12] == b"400"
        assert front.lookups.asked == []

    front(scene, request_timeout_s=1)


def test_compressed_requests_are_refused() -> None:
    async def scene(front: Front) -> None:
        for name in ("gzip", "deflate", "br"):
            headers = {"Content-Encoding": name}
            assert (await front.ask("POST", "/v1/images", "images", data=b"\x1f\x8b", headers=headers))[0] == 415

    front(scene)


FORMS = {
    "two parts": [("photo", IMAGE), ("photo", OTHER)],
    "a part of another name": [("video", IMAGE)],
    "no part": [],
}


@pytest.mark.parametrize("parts", FORMS.values(), ids=FORMS)
def test_a_form_has_one_image(parts: list[tuple[str, bytes]]) -> None:
    async def scene(front: Front) -> None:
        with aiohttp.MultipartWriter("form-data") as writer:
            for name, data in parts:
                writer.append(data).set_content_disposition("form-data", name=name)
        assert (await front.ask("POST", "/m/lookup", "trusted", data=writer))[0] == 400

    front(scene)


BROKEN_FORMS = {
    "no boundary": ("multipart/form-data", b"--a\r\n\r\nx\r\n--a--"),
    "another boundary": ("multipart/form-data; boundary=b", b"--a\r\n\r\nx\r\n--a--"),
    "cut": ("multipart/form-data; boundary=a", b'--a\r\nContent-Disposition: form-data; name="photo"\r\n\r\nx'),
    "a form in a form": (
        "multipart/form-data; boundary=a",
        b"--a\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n--a--",
    ),
    "empty": ("multipart/form-data; boundary=a", b""),
}


@pytest.mark.parametrize(("kind", "data"), BROKEN_FORMS.values(), ids=BROKEN_FORMS)
def test_a_broken_form_is_refused(kind: str, data: bytes) -> None:
    async def scene(front: Front) -> None:
        headers = {"Content-Type": kind}
        assert (await front.ask("POST", "/v1/images", "images", data=data, headers=headers))[0] == 400

    front(scene)


def test_a_tenant_over_its_rate_is_refused_before_anything_is_decoded() -> None:
    async def scene(front: Front) -> None:
        statuses = [(await front.ask("POST", "/v1/images", "images", data=OTHER))[0] for _ in range(4)]
        assert statuses == [200, 200, 200, 429]
        assert (await front.ask("POST", "/v1/digests", "trusted", data=body(*[HEX] * 4)))[0] == 429
        assert front.lookups.asked == [("images", 1)] * 3

    front(scene, requests_per_minute=3)


SLOW = {
    "nothing": b"",
    "half a head": b"POST /v1/images HTTP/1.1\r\nHost: a\r\n",
    "half a body": f"POST /v1/images HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {SECRETS['images']}\r\nContent-Length: 9\r\n\r\nx".encode(),
}


@pytest.mark.parametrize("sent", SLOW.values(), ids=SLOW)
def test_a_client_that_stalls_is_hung_up_on_and_others_are_served_meanwhile(sent: bytes) -> None:
    async def scene(front: Front) -> None:
        began = time.perf_counter()
        stalled = asyncio.create_task(front.raw(sent))
        assert (await front.ask("POST", "/v1/images", "images", data=OTHER))[0] == 200
        assert not stalled.done()
        said = await stalled
        assert said[:12] in (b"", b"HTTP/1.1 408")
        assert time.perf_counter() - began < 5

    front(scene, request_timeout_s=1)


def test_a_connection_too_many_is_closed_and_room_comes_back() -> None:
    async def scene(front: Front) -> None:
        opened = [await asyncio.open_connection("127.0.0.1", front.port) for _ in range(3)]
        assert await front.raw(b"") == b""
        for _, writer in opened:
            writer.close()
            await writer.wait_closed()
        while not (said := await front.raw(b"GET /status HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")):
            await asyncio.sleep(0.01)
        assert b"I-AM-ALIVE" in said

    front(scene, connections_max=3)


JUNK = [
    b"\x16\x03\x01\x02\x00\x01",
    b"GET\r\n\r\n",
    b"G" * 9000 + b" / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"\0\0\0\0\r\n\r\n",
]


@pytest.mark.parametrize("sent", JUNK, ids=["TLS", "no path", "long", "version", "zeros"])
def test_what_is_no_request_gets_an_answer_in_our_form_or_none(sent: bytes) -> None:
    async def scene(front: Front) -> None:
        said = await front.raw(sent)
        assert said == b"" or (said[:5] == b"HTTP/" and said[9:12] == b"400" and b'{"message":' in said)

    front(scene, request_timeout_s=1)


def test_a_bug_of_ours_is_told_by_type_and_place_and_is_no_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    class Faulty(Lookups):
        async def look_up(self, tenant: str, items: list[Item]) -> list[Verdict] | None:
            raise KeyError(items[0].pdq[0].code.hex())

    async def scene(front: Front) -> None:
        status, said, _ = await front.ask("POST", "/v1/digests", "trusted", data=body(HEX))
        assert (status, said) == (500, b'{"message":"a bug of ours"}')

    front(scene, Faulty())
    told = capsys.readouterr().err
    assert "KeyError at test_routes.py" in told
    assert LISTED.hex() not in told


# -- counts


def test_metrics_are_counts_and_name_no_tenant() -> None:
    async def scene(front: Front) -> None:
        await front.ask("POST", "/v1/images", "images", data=IMAGE)
        await front.ask("POST", "/v1/images", "images", data=BROKEN)
        await front.ask("POST", "/v1/secret-path", "images")
        server = await asyncio.get_running_loop().create_server(
            Door(front.metrics.handle, ServeSettings()), "127.0.0.1", 0
        )
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with front.client.get(f"{address}/metrics") as answer:
            text = await answer.text()
        async with front.client.get(f"{address}/other") as answer:
            assert answer.status == 404
        assert 'custodes_serve_requests_total{route="/v1/images",status="200"} 2.0' in text
        assert 'custodes_serve_requests_total{route="other",status="404"} 1.0' in text
        assert 'custodes_serve_verdicts_total{verdict="hold"} 1.0' in text
        assert 'custodes_serve_verdicts_total{verdict="unexamined"} 1.0' in text
        assert 'verdict="ok"' not in text
        assert "secret" not in text
        assert "images," not in text.replace("/v1/images", "")
        server.close()

    front(scene)
