"""Servers that misbehave: each ends with its documented reason, in time, within bounded memory and without a trace."""

from __future__ import annotations

import contextlib
import datetime
import resource
import selectors
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pycurl
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from net_world import BODY, PUBLIC, WAYS, HostileServer, Visit, head, hop, simulated, whole

from custodes.errors import ConfigError
from custodes.model import Reason
from custodes.net import Fetched, Fetcher, FetchLimits, fetch_all
from custodes.net.fetch import run
from custodes.net.transfer import Transfer

LIMITS = FetchLimits(
    connect_timeout_s=1.5,
    total_timeout_s=4,
    slow_for_s=1,
    body_bytes_max=5_000_000,
    memory_bytes_max=200_000_000,
    retry_wait_s=0.05,
    per_host=256,
)

ENDS: dict[str, Reason | None] = {
    "ok": None,
    "html": None,  # what a body is, the decoder says
    "chunked": None,
    "until_close": None,
    "early_hints": None,
    "gzip": None,
    "wait_ok": None,
    "busy_ok": None,
    "reset_ok": None,
    "empty": Reason.EMPTY,
    "no_content": Reason.EMPTY,
    "partial": Reason.HTTP_OTHER,
    "unasked_304": Reason.HTTP_OTHER,
    "odd_status": Reason.HTTP_OTHER,
    "drip_body": Reason.TOO_SLOW,
    "drip_head": Reason.TOO_SLOW,
    "drip_404": Reason.HTTP_404,
    "never_answers": Reason.TIMEOUT,
    "closes": Reason.RESET,
    "truncated": Reason.TRUNCATED,
    "truncated_chunk": Reason.TRUNCATED,
    "bad_chunk": Reason.PROTOCOL,
    "reset": Reason.RESET,
    "reset_in_body": Reason.RESET,
    "stall_in_chunk": Reason.TOO_SLOW,
    "flood_1xx": Reason.PROTOCOL,
    "huge_field": Reason.PROTOCOL,
    "many_fields": Reason.PROTOCOL,
    "many_trailers": Reason.PROTOCOL,
    "length_1e15": Reason.TOO_LARGE,
    "length_huge": Reason.TOO_LARGE,
    "length_negative": Reason.PROTOCOL,
    "length_twice": Reason.PROTOCOL,
    "length_list": Reason.PROTOCOL,
    "length_and_chunked": Reason.PROTOCOL,
    "endless": Reason.TOO_LARGE,
    "gzip_bomb": Reason.TOO_LARGE,
    "gzip_twice": Reason.ENCODED,
    "gzip_cut": Reason.TRUNCATED,
    "gzip_lie": Reason.ENCODED,
    "brotli": Reason.ENCODED,
    "te_gzip": Reason.ENCODED,
    "http09": Reason.PROTOCOL,
    "not_http": Reason.PROTOCOL,
    "loop": Reason.REDIRECT_LIMIT,
    "no_location": Reason.REDIRECT_BAD,
    "wait_long": Reason.HTTP_429,
    "noai": None,
    "401": Reason.HTTP_401,
    "403": Reason.HTTP_403,
    "404": Reason.HTTP_404,
    "410": Reason.HTTP_410,
    "418": Reason.HTTP_4XX,
    "429": Reason.HTTP_429,
    "451": Reason.HTTP_451,
    "500": Reason.HTTP_5XX,
    "503": Reason.HTTP_5XX,
}


@pytest.fixture(scope="module")
def ends() -> Iterator[tuple[dict[str, Fetched], HostileServer]]:
    """All hostile ways at once, in one fetcher."""
    server = HostileServer(WAYS)
    results = fetch_all([server.url(way) for way in ENDS], LIMITS, unsafe_allow_loopback=True)
    yield dict(zip(ENDS, results, strict=True)), server
    server.close()


@pytest.mark.parametrize("way", ENDS)
def test_every_way_to_misbehave_ends_with_its_reason(ends: Any, way: str) -> None:
    fetched = ends[0][way]
    assert fetched.reason is ENDS[way]
    assert (fetched.content is None) == (fetched.reason is not None)
    assert fetched.elapsed_s < LIMITS.total_timeout_s + 5


def test_a_body_comes_whole_with_its_type_and_address(ends: Any) -> None:
    got = ends[0]
    assert all(got[way].content.reveal() == BODY for way in ("ok", "until_close", "gzip", "early_hints", "wait_ok"))
    assert got["chunked"].content.reveal() == b"abcd"
    assert got["html"].content_type == "text/html"
    assert got["ok"].final_url == ""
    assert got["ok"].status == 200


def test_only_what_may_pass_is_asked_again(ends: Any) -> None:
    attempts = {way: fetched.attempts for way, fetched in ends[0].items()}
    again = {way for way, count in attempts.items() if count == 2}
    assert again == {"wait_ok", "busy_ok", "reset_ok", "closes", "reset", "reset_in_body", "429", "500", "503"}
    assert attempts["never_answers"] == attempts["404"] == attempts["wait_long"] == 1


def test_a_redirect_loop_ends_at_the_last_hop(ends: Any) -> None:
    assert sum(b"GET /loop" in request for request in ends[1].requests) == 1 + LIMITS.redirects_max


def test_requests_say_who_asks_and_nothing_more(ends: Any) -> None:
    request = next(request for request in ends[1].requests if b"GET /ok" in request)
    names = {line.split(b":")[0] for line in request.split(b"\r\n")[1:] if line}
    assert names == {b"Host", b"User-Agent", b"Accept", b"Accept-Encoding"}
    assert b"User-Agent: custodes/" in request
    assert b"Accept-Encoding: identity" in request


def test_an_endless_chunk_extension_is_cut_by_the_clock_without_growth() -> None:
    server = HostileServer(WAYS)
    limits = FetchLimits(total_timeout_s=2, slow_for_s=1, body_bytes_max=1000, memory_bytes_max=1000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    [fetched] = fetch_all([server.url("chunk_extension")], limits, unsafe_allow_loopback=True)
    server.close()
    assert fetched.reason in (Reason.TIMEOUT, Reason.TOO_SLOW, Reason.PROTOCOL)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32_000  # KiB


def test_large_lies_cost_no_more_than_the_caps() -> None:
    server = HostileServer(WAYS)
    ways = ("huge_field", "many_fields", "many_trailers", "flood_1xx", "length_1e15", "endless", "gzip_bomb")
    limits = FetchLimits(body_bytes_max=1_000_000, memory_bytes_max=8_000_000, total_timeout_s=10, per_host=4)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    results = fetch_all([server.url(way) for way in ways * 5], limits, unsafe_allow_loopback=True)
    server.close()
    assert {fetched.reason for fetched in results} == {Reason.PROTOCOL, Reason.TOO_LARGE}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32_000  # KiB; the server shares the process


SLOW = ("drip_body", "drip_head", "drip_404", "never_answers", "stall_in_chunk", "flood_1xx", "many_trailers")
FAST = ("reset", "closes", "bad_chunk", "endless", "loop")


@pytest.mark.soak
def test_no_hostile_server_holds_a_slot_past_the_deadline_and_the_good_ones_arrive(server: HostileServer) -> None:
    urls = [server.url(f"{way}/{n}", f"127.0.1.{i}") for n in range(50) for i, way in enumerate(SLOW + FAST)]
    urls += [server.url(f"ok/{n}", f"127.0.2.{n % 200}") for n in range(1400)]
    results = fetch_all(urls, FetchLimits(total_timeout_s=4, slow_for_s=1), unsafe_allow_loopback=True)
    assert max(fetched.elapsed_s for fetched in results) < 5
    assert {fetched.reason for fetched in results[600:]} == {None}
    assert None not in {fetched.reason for fetched in results[:600]}


@pytest.mark.parametrize("way", ["size", "size_chunked"])
def test_a_body_of_the_limit_passes_and_one_byte_more_does_not(server: HostileServer, way: str) -> None:
    limits = FetchLimits(body_bytes_max=100_000)
    urls = [server.url(f"{way}/{size}") for size in (99_999, 100_000, 100_001)]
    results = fetch_all(urls, limits, unsafe_allow_loopback=True)
    assert [len(fetched.content) if fetched.content else fetched.reason for fetched in results] == [
        99_999,
        100_000,
        Reason.TOO_LARGE,
    ]


def test_the_same_body_catches_caps_that_are_not_kept(server: HostileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = FetchLimits(body_bytes_max=100_000)

    def reason() -> Reason | None:
        return fetch_all([server.url("size_chunked/100001")], limits, unsafe_allow_loopback=True)[0].reason

    monkeypatch.setattr(Transfer, "_on_body", lambda self, chunk: self._chunks.append(chunk))
    assert reason() is Reason.TOO_LARGE  # libcurl's own cap still stands behind ours
    monkeypatch.setattr(Fetcher, "_tune", lambda self, handle, url: handle.setopt(pycurl.MAXFILESIZE_LARGE, 0))
    assert reason() is None
    monkeypatch.undo()
    monkeypatch.setattr(Fetcher, "_tune", lambda self, handle, url: handle.setopt(pycurl.MAXFILESIZE_LARGE, 0))
    assert reason() is Reason.TOO_LARGE  # and ours behind libcurl's


def test_heads_of_the_limit_pass_and_one_byte_more_does_not() -> None:
    size = 4096
    bare = len(head("200 OK", "Content-Length: 1", "X: "))
    ways = {
        str(more): lambda visit, more=more: visit.send(
            head("200 OK", "Content-Length: 1", "X: " + "y" * (size - bare + more)) + b"a"
        )
        for more in (0, 1)
    }
    server = HostileServer(ways)  # type: ignore[arg-type]
    limits = FetchLimits(header_bytes_max=size)
    results = fetch_all([server.url("0"), server.url("1")], limits, unsafe_allow_loopback=True)
    server.close()
    assert [fetched.reason for fetched in results] == [None, Reason.PROTOCOL]


@pytest.mark.parametrize("hops", [0, 1, 5])
def test_redirects_of_the_limit_are_followed_and_one_more_is_not(server: HostileServer, hops: int) -> None:
    def chain(length: int) -> str:
        path = "ok#x"
        for status in (301, 302, 303, 307, 308, 301)[:length]:
            path = hop(status, "/" + path)
        return server.url(path)

    limits = FetchLimits(redirects_max=hops)
    good, bad = fetch_all([chain(hops), chain(hops + 1)], limits, unsafe_allow_loopback=True)
    assert good.reason is None
    assert good.final_url == (server.url("ok") if hops else "")
    assert bad.reason is Reason.REDIRECT_LIMIT


@pytest.mark.parametrize(("in_flight", "per_host", "hosts", "most"), [(64, 3, 1, 3), (4, 64, 1, 4), (64, 2, 3, 6)])
def test_no_more_run_at_once_than_the_limits_allow(
    server: HostileServer, in_flight: int, per_host: int, hosts: int, most: int
) -> None:
    limits = FetchLimits(in_flight=in_flight, per_host=per_host)
    urls = [server.url(f"slow_ok/{n}", f"127.0.0.{1 + n % hosts}") for n in range(24)]
    results = fetch_all(urls, limits, unsafe_allow_loopback=True)
    assert {fetched.reason for fetched in results} == {None}
    assert 1 < server.most <= most


def test_bodies_beyond_the_memory_limit_wait_their_turn_and_all_arrive(server: HostileServer) -> None:
    limits = FetchLimits(body_bytes_max=1_000_000, memory_bytes_max=1_500_000)
    urls = [server.url(f"size_chunked/{1_000_000 - n}") for n in range(12)]
    with selectors.DefaultSelector() as selector:
        fetcher = Fetcher(limits, selector, unsafe_allow_loopback=True)
        held = []
        pump = fetcher.pump
        fetcher.pump = lambda: (pump(), held.append(fetcher._memory.held))[0]  # type: ignore[method-assign]
        results = run(fetcher, selector, urls)
        assert fetcher.stats.body_bytes_held == 0
        fetcher.close()
    assert [fetched.reason for fetched in results] == [None] * 12
    assert sorted(len(fetched.content or b"") for fetched in results) == [1_000_000 - n for n in reversed(range(12))]
    assert {fetched.attempts for fetched in results} == {1}
    assert max(held) <= 1_500_000


def test_a_silent_host_does_not_starve_the_others(server: HostileServer) -> None:
    limits = FetchLimits(in_flight=4, per_host=2, total_timeout_s=2, slow_for_s=1)
    urls = [server.url(f"never_answers/{n}", "127.0.0.2") for n in range(3)] + [
        server.url(f"ok/{n}") for n in range(30)
    ]
    with selectors.DefaultSelector() as selector:
        fetcher = Fetcher(limits, selector, unsafe_allow_loopback=True)
        order = [fetched.reason for fetched in run(fetcher, selector, urls)]
        fetcher.close()
    assert order == [None] * 30 + [Reason.TIMEOUT] * 3


def test_a_host_that_never_answers_is_given_up_for_the_batch_and_asked_in_the_next(server: HostileServer) -> None:
    limits = FetchLimits(per_host=4, host_failures_max=4, slow_for_s=1, total_timeout_s=3)
    urls = [server.url(f"never_answers/{n}", "127.0.0.2") for n in range(20)]
    with selectors.DefaultSelector() as selector:
        fetcher = Fetcher(limits, selector, unsafe_allow_loopback=True)
        results = run(fetcher, selector, urls)
        assert {fetched.reason for fetched in results} == {Reason.TIMEOUT}
        asked = sum(fetched.attempts for fetched in results)
        assert asked == len(server.requests)
        assert 4 <= asked < 4 + 4  # the first to fall silent may have another in its place before the fourth does
        assert [fetched.reason for fetched in run(fetcher, selector, [server.url("ok", "127.0.0.2")])] == [None]
        fetcher.close()


def test_a_host_that_redirects_is_not_blamed_for_where_it_leads(server: HostileServer) -> None:
    limits = FetchLimits(per_host=2, host_failures_max=2, slow_for_s=1, total_timeout_s=3)
    dead = server.url("never_answers", "127.0.0.2")
    urls = [server.url(hop(302, f"{dead}/{n}"), "127.0.0.3") for n in range(2)] + [server.url("ok", "127.0.0.3")] * 3
    results = fetch_all(urls, limits, unsafe_allow_loopback=True)
    assert [fetched.reason for fetched in results] == [Reason.TIMEOUT] * 2 + [None] * 3


@contextlib.contextmanager
def full_backlog() -> Iterator[int]:
    """A listener that never accepts and whose queue is full: further SYNs are dropped."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    port = listener.getsockname()[1]
    waiting = [socket.socket() for _ in range(4)]
    for each in waiting:
        each.setblocking(False)
        each.connect_ex(("127.0.0.1", port))
    try:
        yield port
    finally:
        for each in [listener, *waiting]:
            each.close()


def test_failures_to_connect_are_told_apart() -> None:
    closed = socket.create_server(("127.0.0.1", 0))
    port = closed.getsockname()[1]
    closed.close()
    limits = FetchLimits(connect_timeout_s=0.5, retries_max=0)
    with full_backlog() as full:
        urls = [f"http://127.0.0.1:{port}/", f"http://127.0.0.1:{full}/", "http://no-such-host.invalid/"]
        results = fetch_all(urls, limits, unsafe_allow_loopback=True)
    assert [fetched.reason for fetched in results] == [Reason.REFUSED, Reason.CONNECT_TIMEOUT, Reason.DNS]
    with simulated(FetchLimits(retries_max=0)) as go:  # no port: the wire says "unreachable"
        assert [fetched.reason for fetched in go([f"http://{PUBLIC}/"])] == [Reason.UNREACHABLE]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "secure.test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("secure.test")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "pair.pem"
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(pem + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def secure(certificate: Path) -> Iterator[HostileServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = HostileServer(WAYS, wrap=lambda connection: context.wrap_socket(connection, server_side=True))
    yield server
    server.close()


def test_certificates_are_checked_against_name_and_trust(secure: HostileServer, certificate: Path) -> None:
    cases = {
        "trusted": (FetchLimits(ca_file=str(certificate)), "https://secure.test/ok", None),
        "wrong name": (FetchLimits(ca_file=str(certificate)), "https://other.test/ok", Reason.TLS),
        "unknown issuer": (FetchLimits(), "https://secure.test/ok", Reason.TLS),
        "not checked": (FetchLimits(verify_tls=False), "https://other.test/ok", None),
    }
    for limits, url, expected in cases.values():
        with simulated(limits, port=secure.port) as go:
            assert [fetched.reason for fetched in go([url])] == [expected]


def test_plain_text_on_a_tls_port_is_a_tls_failure_and_silence_a_connect_timeout() -> None:
    def greet(connection: socket.socket) -> socket.socket:
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        return connection

    limits = FetchLimits(connect_timeout_s=0.5, slow_for_s=60)
    for wrap, expected in ((greet, Reason.TLS), (None, Reason.CONNECT_TIMEOUT)):
        server = HostileServer(WAYS, wrap=wrap)
        with simulated(limits, port=server.port) as go:
            assert [fetched.reason for fetched in go(["https://a.test/ok"])] == [expected]
        server.close()


def test_a_redirect_from_https_to_http_is_refused(secure: HostileServer, certificate: Path) -> None:
    with simulated(FetchLimits(ca_file=str(certificate)), port=secure.port) as go:
        urls = [f"https://secure.test/{hop(302, target)}" for target in ("http://secure.test/ok", "//secure.test/ok")]
        down, same = go(urls)
    assert (down.reason, same.reason) == (Reason.REDIRECT_BAD, None)
    assert same.final_url == "https://secure.test/ok"


def test_no_certificates_is_a_configuration_error_before_the_first_fetch(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="certificates"):
        fetch_all([], FetchLimits(ca_file=str(tmp_path / "absent.pem")))


def test_robots_txt_is_honoured_when_asked_and_costs_one_fetch_per_origin() -> None:
    robots = whole(b"User-agent: *\nDisallow: /private\n")
    server = HostileServer({"robots.txt": lambda visit: visit.send(robots), **WAYS, "private": WAYS["ok"]})
    urls = [server.url(f"{path}/{n}") for path in ("ok", "private") for n in range(20)]
    on = fetch_all(urls, FetchLimits(robots=True), unsafe_allow_loopback=True)
    asked = [request for request in server.requests if b"/robots.txt" in request]
    off = fetch_all(urls, FetchLimits(), unsafe_allow_loopback=True)
    server.close()
    assert [fetched.reason for fetched in on] == [None] * 20 + [Reason.ROBOTS] * 20
    assert len(asked) == 1
    assert {fetched.reason for fetched in off} == {None}


def robots_case(way: Any) -> tuple[Reason | None, str]:
    server = HostileServer({"robots.txt": way, **WAYS})
    limits = FetchLimits(robots=True, slow_for_s=1, total_timeout_s=3, retry_wait_s=0)
    [fetched] = fetch_all([server.url("ok")], limits, unsafe_allow_loopback=True)
    server.close()
    return fetched.reason, str(len(server.requests))


def test_a_missing_robots_txt_allows_and_a_broken_server_forbids() -> None:
    assert robots_case(WAYS["404"])[0] is None
    assert robots_case(WAYS["empty"])[0] is None
    assert robots_case(WAYS["503"])[0] is Reason.ROBOTS
    assert robots_case(WAYS["429"])[0] is Reason.ROBOTS
    assert robots_case(WAYS["never_answers"])[0] is Reason.TIMEOUT
    assert robots_case(WAYS["reset"])[0] is Reason.RESET


def test_a_redirect_asks_the_robots_txt_of_where_it_leads(server: HostileServer) -> None:
    def way(visit: Visit) -> None:
        forbids = b"Host: shut.test" in visit.request
        visit.send(whole(b"User-agent: custodes\nDisallow: /\n" if forbids else b"User-agent: *\nAllow: /\n"))

    server = HostileServer({"robots.txt": way, **WAYS})
    with simulated(FetchLimits(robots=True), port=server.port) as go:
        urls = [f"http://open.test/{hop(302, f'http://{name}.test/ok')}" for name in ("shut", "other", "open")]
        results = go(urls)
    server.close()
    assert [fetched.reason for fetched in results] == [Reason.ROBOTS, None, None]
    assert not any(b"GET /ok" in request and b"shut.test" in request for request in server.requests)


def test_robots_of_many_origins_are_remembered_within_the_bound() -> None:
    server = HostileServer({"robots.txt": WAYS["404"], **WAYS})
    limits = FetchLimits(robots=True, robots_origins_max=3, in_flight=2)
    with selectors.DefaultSelector() as selector:
        fetcher = Fetcher(limits, selector, unsafe_allow_loopback=True)
        results = run(fetcher, selector, [server.url("ok", f"127.0.0.{n}") for n in range(1, 21)])
        assert {fetched.reason for fetched in results} == {None}
        assert len(fetcher._robots) <= 3
        fetcher.close()
    server.close()


def test_noai_is_honoured_when_asked(server: HostileServer) -> None:
    limits = FetchLimits(noai=True)
    results = fetch_all([server.url("noai"), server.url("ok")], limits, unsafe_allow_loopback=True)
    assert [fetched.reason for fetched in results] == [Reason.NOAI, None]
    assert results[0].content is None


def test_no_url_is_printed_logged_or_kept_in_a_repr(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    server = HostileServer(WAYS)
    urls = [server.url(f"{way}?s3cr3t") for way in ENDS if "drip" not in way]
    urls += ["http://s3cr3t.invalid/", "ftp://s3cr3t/", "http://s3cr3t@a.test/", "http://s3cr3t:99999/", "s3cr3t"]
    results = fetch_all(urls, LIMITS, unsafe_allow_loopback=True)
    server.close()
    out, err = capfd.readouterr()
    shown = out + err + caplog.text + repr(results) + str(results)
    assert len(results) == len(urls)
    assert "s3cr3t" not in shown
    assert "127.0.0.1" not in shown


def test_the_selector_serves_others_and_is_left_as_it_was(server: HostileServer) -> None:
    ours, theirs = socket.socketpair()
    seen = []
    before = len(list(Path("/proc/self/fd").iterdir()))
    with ours, theirs, selectors.DefaultSelector() as selector:
        selector.register(ours, selectors.EVENT_READ, lambda mask: seen.append((mask, ours.recv(9))))
        fetcher = Fetcher(FetchLimits(), selector, unsafe_allow_loopback=True)
        theirs.send(b"a frame")
        results = run(fetcher, selector, [server.url(f"ok/{n}") for n in range(50)])
        fetcher.close()
        assert len(results) == 50
        assert seen == [(selectors.EVENT_READ, b"a frame")]
        assert list(selector.get_map()) == [ours.fileno()]
        selector.unregister(ours)
    settled = threading.Event()  # the server shares the process: its descriptors go when its threads end
    for _ in range(100):
        if len(list(Path("/proc/self/fd").iterdir())) <= before:
            return
        settled.wait(0.05)
    pytest.fail("descriptors were left open")


def test_closing_in_mid_flight_leaves_nothing_behind(server: HostileServer) -> None:
    with selectors.DefaultSelector() as selector:
        fetcher = Fetcher(FetchLimits(), selector, unsafe_allow_loopback=True)
        for n in range(20):
            fetcher.add(n, server.url("never_answers"))
        for _ in range(10):
            fetcher.pump()
            for key, mask in selector.select(0.01):
                key.data(mask)
        assert fetcher.stats.in_flight == 8
        assert fetcher.stats.queued == 12
        fetcher.close()
        assert len(selector.get_map()) == 0


def test_every_key_comes_back_exactly_once_over_several_batches(server: HostileServer) -> None:
    with selectors.DefaultSelector() as selector:
        fetcher = Fetcher(FetchLimits(in_flight=8, retry_wait_s=0.01), selector, unsafe_allow_loopback=True)
        for _ in range(3):
            ways = ["ok", "404", "503", "reset", "closes", "loop", "bad url", "truncated"]
            urls = [server.url(f"{way}/{n}") if way != "bad url" else "no" for n in range(20) for way in ways]
            results = run(fetcher, selector, urls)
            assert sorted(fetched.key for fetched in results) == list(range(len(urls)))
            assert fetcher.idle
            assert fetcher.stats.hosts_in_trouble == 0
        fetcher.close()


def test_the_look_ahead_is_bounded(server: HostileServer) -> None:
    with selectors.DefaultSelector() as selector:
        fetcher = Fetcher(FetchLimits(in_flight=4, per_host=1), selector, unsafe_allow_loopback=True)
        count = 0
        for _ in range(50):
            while fetcher.room:
                fetcher.add(count, server.url("never_answers"))
                count += 1
            fetcher.pump()
        assert fetcher.stats.queued <= 64
        assert count <= 70
        fetcher.close()
