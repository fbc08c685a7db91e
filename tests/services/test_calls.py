"""The client of every authority: one origin, nowhere else, no more than its bounds, nothing twice, and nothing told in errors."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import traceback
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from custodes.errors import AuthorityError, ConfigError
from custodes.services import calls
from custodes.services.calls import Answer, Caller, CallLimits, RefusedError
from tests.authorities.service import Fault, Pauses, Reply, Seen, Service, loopback

SECRET = "s3cret token/+="


class Echo(Service):
    """Answers everything alike."""

    prefix = "/base"
    body = b"[1]"

    def answer(self, seen: Seen) -> Reply:
        return Reply(self.body, "application/json")


def run(check: Callable[[Echo], Awaitable[None]]) -> None:
    async def main() -> None:
        async with Echo() as server:
            await check(server)

    asyncio.run(main())


async def failing(call: Awaitable[object]) -> AuthorityError:
    with pytest.raises(AuthorityError) as caught:
        await call
    return caught.value


# Where it goes

ADDRESSES = [
    "http://example.org",
    "http://127.0.0.1",
    "ftp://example.org",
    "https://",
    "https:///path",
    "https://user@example.org",
    "https://user:word@example.org",
    "https://@example.org",
    "https://example.org/?a=1",
    "https://example.org/#a",
    "example.org",
    "",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_only_https_addresses_without_user_or_query_are_taken(address: str) -> None:
    with pytest.raises(ConfigError, match="the address of the service must be https") as caught:
        Caller(address, "the service")
    assert "example" not in str(caught.value)


def test_plain_http_is_for_loopback_when_it_was_allowed() -> None:
    assert Caller("http://127.0.0.1:1/x/", "the service", unsafe_allow_loopback=True).base == "http://127.0.0.1:1/x"
    for address in ("http://localhost:1", "http://10.0.0.1", "http://example.org"):
        with pytest.raises(ConfigError):
            Caller(address, "the service", unsafe_allow_loopback=True)


def test_a_user_with_a_colon_is_refused() -> None:
    with pytest.raises(ConfigError, match="colon"):
        Caller("https://example.org", "the service", basic=("a:b", SECRET))


PRIVATE = ["127.0.0.1", "10.0.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "[::1]", "[fd00::1]"]


@pytest.mark.parametrize("host", PRIVATE)
def test_an_address_that_is_not_public_is_never_dialled_and_not_asked_again(host: str) -> None:
    async def main() -> None:
        pauses = Pauses()
        caller = Caller(f"https://{host}", "the service", sleep=pauses)
        error = await failing(caller.get("/x"))
        assert str(error) == "the service GET /x: the address is not public"
        assert pauses.asked == []
        await caller.close()

    asyncio.run(main())


def connections_of_a_name_that_leads_inside() -> int:
    """How many connections a listener on this machine sees when the service's name resolves to it."""
    seen = 0

    async def main() -> None:
        def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal seen
            seen += 1
            writer.close()

        listener = await asyncio.start_server(accept, "127.0.0.1", 0)
        async with listener:
            port = listener.sockets[0].getsockname()[1]
            caller = Caller(f"https://localhost:{port}", "the service", limits=CallLimits(attempts_max=1))
            await failing(caller.get("/x"))
            await caller.close()

    asyncio.run(main())
    return seen


def test_a_name_that_leads_inside_is_not_dialled() -> None:
    assert connections_of_a_name_that_leads_inside() == 0


def test_planted_without_the_guard_it_is_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("custodes.net.address.AddressGuard.allows", lambda *_: True)
    assert connections_of_a_name_that_leads_inside() > 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_a_refusal_and_is_not_followed(status: int) -> None:
    async def check(server: Echo) -> None:
        caller = loopback(server.base, "the service", attempts_max=5)
        server.faults = {1: Fault(status=status, headers={"Location": f"{server.base}/elsewhere"})}
        error = await failing(caller.get("/x"))
        assert isinstance(error, RefusedError)
        assert (error.status, len(server.requests)) == (status, 1)
        assert "elsewhere" not in str(error)
        await caller.close()

    run(check)


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    async def check(server: Echo) -> None:
        caller = loopback(server.base, "the service")
        assert (await caller.get("/x")).json() == [1]
        await caller.close()

    run(check)


# What it sends


def test_paths_and_queries_are_sent_as_they_are_quoted() -> None:
    async def check(server: Echo) -> None:
        caller = loopback(server.base, "the service", headers={"x-key": "a"}, basic=("é", "ü"))
        await caller.get("/v2/a%2Fb%20%2E%2E?at=10%3A00&plus=a%2Bb")
        await caller.get("/v2", {"from": "2020-01-01T00:00:00Z", "token": "a+b/c= &d"})
        await caller.send("PUT", "/v2/x", b"\x00body", "text/x")
        first, second, third = server.requests
        assert (first.path, first.query) == ("/base/v2/a%2Fb%20%2E%2E", "at=10%3A00&plus=a%2Bb")
        assert (second.path, second.query) == (
            "/base/v2",
            "from=2020-01-01T00%3A00%3A00Z&token=a%2Bb%2Fc%3D+%26d",
        )
        assert (third.method, third.body, third.headers["Content-Type"]) == ("PUT", b"\x00body", "text/x")
        for seen in server.requests:
            assert (seen.headers["x-key"], seen.headers["Authorization"]) == ("a", "Basic w6k6w7w=")
            assert seen.headers["User-Agent"].startswith("custodes/")
        await caller.close()

    run(check)


async def sent(server: Echo, method: str) -> int:
    """How often a call is sent whose connection, in use before, ends without an answer."""
    caller = loopback(server.base, "the service")
    await caller.get("/warm")
    server.faults = {2: Fault()}
    with contextlib.suppress(AuthorityError):
        await (caller.get("/x") if method == "GET" else caller.send(method, "/x", b"", "text/x"))
    await caller.close()
    return len(server.requests) - 1


@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
def test_nothing_is_sent_twice_behind_our_back(method: str) -> None:
    async def check(server: Echo) -> None:
        assert await sent(server, method) == 1

    run(check)


def test_planted_without_our_middleware_a_put_is_sent_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    async def pass_on(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        return await handler(request)

    async def check(server: Echo) -> None:
        assert await sent(server, "PUT") == 2

    monkeypatch.setattr(calls, "_never_twice", pass_on)
    run(check)


def test_cookies_are_neither_kept_nor_sent() -> None:
    async def check(server: Echo) -> None:
        caller = loopback(server.base, "the service")
        server.faults = {1: Fault(headers={"Set-Cookie": "a=b; Path=/"})}
        await caller.get("/x")
        await caller.get("/x")
        assert "Cookie" not in server.requests[1].headers
        await caller.close()

    run(check)


# How often, and how long


def paused(fault: Fault, attempts_max: int = 4, **limits: Any) -> tuple[list[float], int]:
    """The pauses of a GET that meets this fault every time, and the requests."""
    pauses = Pauses()
    requests = 0

    async def check(server: Echo) -> None:
        nonlocal requests
        server.faults = dict.fromkeys(range(1, 100), fault)
        bounds = CallLimits(attempts_max=attempts_max, **limits)
        caller = loopback(server.base, "the service", limits=bounds, sleep=pauses)
        await failing(caller.get("/x"))
        requests = len(server.requests)
        await caller.close()

    run(check)
    return pauses.asked, requests


@pytest.mark.parametrize(
    "fault", [Fault(), Fault(sent_bytes=1), *(Fault(status=code) for code in (429, 500, 502, 503, 504))]
)
def test_a_get_is_repeated_with_growing_pauses_while_the_service_is_busy_or_away(fault: Fault) -> None:
    asked, requests = paused(fault)
    assert requests == 4
    assert [0.5 * 2**turn <= pause <= 2**turn for turn, pause in enumerate(asked)] == [True] * 3


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 410, 418, 501])
def test_a_refusal_is_final(status: int) -> None:
    assert paused(Fault(status=status)) == ([], 1)


def test_no_pause_is_longer_than_its_bound() -> None:
    asked, _ = paused(Fault(), attempts_max=12, pause_s=1, pause_s_max=3)
    assert max(asked) == 3


RETRY_AFTER = {
    "7": 7,
    "0": 0,
    "299": 299,
    "300": 300,
    "301": 300,
    "9" * 40: 300,
    "Fri, 31 Dec 9998 23:59:59 GMT": 300,
    "Fri, 31 Dec 1999 23:59:59 GMT": 0,
    "Fri, 31 Dec 99999 23:59:59 GMT": 0,
    "Fri, 31 Dec 9998 23:59:59 -9999": 0,
    "-5": 0,
    "1e9": 0,
    "soon": 0,
    "": 0,
}


@pytest.mark.parametrize("text", RETRY_AFTER)
def test_retry_after_is_heeded_up_to_the_bound(text: str) -> None:
    (pause,), _ = paused(Fault(status=429, headers={"Retry-After": text}), attempts_max=2, pause_s=0)
    assert pause == RETRY_AFTER[text]


def test_an_answer_that_does_not_come_is_not_waited_for() -> None:
    async def main() -> None:
        held: list[asyncio.StreamWriter] = []
        async with await asyncio.start_server(lambda _, writer: held.append(writer), "127.0.0.1", 0) as listener:
            base = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
            pauses = Pauses()
            caller = loopback(base, "the service", limits=CallLimits(timeout_s=0.1, attempts_max=2), sleep=pauses)
            assert str(await failing(caller.get("/x"))) == "the service GET /x: no whole answer in 0.1 s"
            assert len(pauses.asked) == 1
            await caller.close()
            for writer in held:
                writer.close()
                await writer.wait_closed()

    asyncio.run(main())


LIMITS = [{"timeout_s": 0}, {"body_bytes_max": 0}, {"attempts_max": 0}, {"timeout_s": -1}, {"pause_s": -1}]


@pytest.mark.parametrize("limits", [*LIMITS, {"pause_s": 2, "pause_s_max": 1}])
def test_bounds_that_bound_nothing_are_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        CallLimits(**limits)


def test_bounds_at_their_least_are_taken() -> None:
    CallLimits(timeout_s=0.001, body_bytes_max=1, attempts_max=1, pause_s=0, pause_s_max=0)


# How much

LONG: dict[str, tuple[Callable[[bytes], bytes], dict[str, str]]] = {
    "as it is": (lambda body: body, {}),
    "as gzip": (gzip.compress, {"Content-Encoding": "gzip"}),
    "as deflate": (zlib.compress, {"Content-Encoding": "deflate"}),
}


@pytest.mark.parametrize("form", LONG)
@pytest.mark.parametrize(("size_bytes", "taken"), [(1_000_000, True), (1_000_001, False), (100_000_000, False)])
def test_an_answer_is_read_up_to_its_bound_and_not_a_byte_further(form: str, size_bytes: int, taken: bool) -> None:
    pack, headers = LONG[form]

    async def check(server: Echo) -> None:
        server.faults = {1: Fault(body=pack(bytes(size_bytes)), headers=headers)}
        caller = loopback(server.base, "the service", limits=CallLimits(body_bytes_max=1_000_000, attempts_max=1))
        if taken:
            assert len((await caller.get("/x")).body) == size_bytes
        else:
            assert str(await failing(caller.get("/x"))).startswith("the service GET /x: ")
        await caller.close()

    run(check)


def test_planted_without_the_bound_the_bomb_goes_off() -> None:
    async def check(server: Echo) -> None:
        server.faults = {1: Fault(body=gzip.compress(bytes(2_000_000)), headers={"Content-Encoding": "gzip"})}
        caller = loopback(server.base, "the service", limits=CallLimits(body_bytes_max=1 << 40))
        assert len((await caller.get("/x")).body) == 2_000_000
        await caller.close()

    run(check)


def test_a_body_that_cannot_be_unpacked_is_no_answer() -> None:
    async def check(server: Echo) -> None:
        server.faults = {
            1: Fault(body=b"not gzip", headers={"Content-Encoding": "gzip"}),
            2: Fault(body=gzip.compress(b"[1, 2, 3]")[:-12], headers={"Content-Encoding": "gzip"}),
        }
        caller = loopback(server.base, "the service")
        assert str(await failing(caller.get("/x"))).startswith("the service GET /x: ")
        with pytest.raises(AuthorityError):  # cut inside what is packed: the client does not notice, the reader does
            (await caller.get("/x")).json()
        await caller.close()

    run(check)


NO_JSON = [b"", b"{", b'{"a": 1, "a": 2}', b"NaN", b"[Infinity]", b"\xff", b"[" * 200_000, b"1" * 5000]


@pytest.mark.parametrize("body", NO_JSON, ids=range(len(NO_JSON)))
def test_what_is_not_json_is_an_error_without_its_text(body: bytes) -> None:
    with pytest.raises(AuthorityError, match=r"^the answer to GET /x is not JSON$") as caught:
        Answer(200, {}, body, "GET /x").json()
    assert caught.value.__cause__ is None


# What it tells


@pytest.mark.parametrize(
    "fault", [Fault(), Fault(status=401), Fault(status=404), Fault(status=500), Fault(sent_bytes=1)]
)
def test_errors_name_the_service_the_path_and_the_status_and_nothing_else(fault: Fault) -> None:
    async def check(server: Echo) -> None:
        server.body = SECRET.encode()
        server.faults = dict.fromkeys(range(1, 20), fault)
        caller = loopback(server.base, "the service", headers={"x-key": SECRET}, basic=("somebody", SECRET))
        made: list[tuple[Awaitable[Any], str]] = [
            (caller.get("/v2/entries", {"token": SECRET}), "/v2/entries"),
            (caller.get(f"/v2/entries?token={SECRET.replace(' ', '+')}"), "/v2/entries"),
            (caller.send("POST", "/v2/entries", SECRET.encode(), "text/x"), "/v2/entries"),
            (caller.get("/v2/entries/image99/feedback"), "/v2/entries/\u2026/feedback"),
            (caller.send("PUT", "/v2/word/feedback", b"", "text/x", shown="/v2/feedback"), "/v2/feedback"),
        ]
        for call, path in made:
            error = await failing(call)
            told = "".join(traceback.format_exception(error)) + repr(error) + str(error.hint) + repr(caller)
            assert f"{path}: " in str(error)
            assert not any(text in told for text in (SECRET, "s3cret", "somebody", "image99", "word/"))
        await caller.close()

    run(check)


def test_planted_with_paths_shown_as_they_are_an_id_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(server: Echo) -> None:
        server.faults = {1: Fault(status=404)}
        caller = loopback(server.base, "the service")
        assert "image99" in str(await failing(caller.get("/v2/entries/image99/feedback")))
        await caller.close()

    monkeypatch.setattr(calls, "_shown", lambda path: path)
    run(check)


def test_an_answer_shows_nothing_of_itself() -> None:
    assert "secret" not in repr(Answer(200, {"a": "secret"}, b"secret", "GET /x"))


# Services that say in the body what is wrong


@pytest.mark.parametrize("status", [200, 302, 400, 401, 404, 429, 500, 503])
def test_an_exchange_has_its_answer_whatever_the_status_and_is_made_once(status: int) -> None:
    async def check(server: Echo) -> None:
        caller = loopback(server.base, "the service", attempts_max=5)
        server.faults = {n: Fault(status=status, headers={"request-id": "a", "Retry-After": "7"}) for n in (1, 2)}
        for call in (caller.exchange("GET", "/x"), caller.exchange("POST", "/x", b"1", "text/x")):
            answer = await call
            assert (answer.status, answer.body, answer.headers["Request-ID"], answer.after_s) == (
                status,
                b"[1]",
                "a",
                7,
            )
        assert len(server.requests) == 2
        await caller.close()

    run(check)


@pytest.mark.parametrize("fault", [Fault(), Fault(sent_bytes=1), Fault(status=500, body=bytes(1001))])
def test_an_exchange_without_a_whole_answer_is_an_error(fault: Fault) -> None:
    async def check(server: Echo) -> None:
        server.faults = {1: fault}
        caller = loopback(server.base, "the service", limits=CallLimits(body_bytes_max=1000))
        await failing(caller.exchange("POST", "/x", b"1", "text/x"))
        assert len(server.requests) == 1
        await caller.close()

    run(check)


@pytest.mark.parametrize("size_bytes", [0, 1, 65_536, 65_537, (1 << 20) - 1])
def test_bodies_of_any_length_arrive_whole(size_bytes: int) -> None:
    async def check(server: Echo) -> None:
        caller = loopback(server.base, "the service")
        body = bytes(n % 251 for n in range(size_bytes))
        await caller.send("POST", "/x", body, "text/x")
        seen = server.requests[0]
        assert (seen.body == body, seen.headers["Content-Type"]) == (True, "text/x")
        assert seen.headers["Content-Length"] == str(size_bytes)
        await caller.close()

    run(check)
