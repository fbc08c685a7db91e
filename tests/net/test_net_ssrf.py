"""No URL, name, redirect or environment leads anywhere but to public addresses. Each check is shown to catch a fault."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pycurl
import pytest
from net_world import PUBLIC, HostileServer, SimulatedWire, Trap, hop, seeded, simulated, whole
from test_net_address import SPECIAL, inside

import custodes.net.fetch as fetch_module
from custodes.model import Reason
from custodes.net import AddressGuard, Fetched, FetchLimits, fetch_all
from custodes.net.transfer import Transfer
from custodes.url import Url, parse


class AllowsAll(AddressGuard):
    """A planted fault: as if names had been vetted when they were resolved, and nothing at connect."""

    def allows(self, address: str) -> bool:
        return True


class StandardLibrary(AddressGuard):
    """A planted fault: ipaddress.is_global."""

    def allows(self, address: str) -> bool:
        return ip_address(address).is_global


def spellings(address: str) -> list[str]:
    """The ways to write an IPv4 address into the host of a URL, plain and inside IPv6."""
    number = int(IPv4Address(address))
    a, b, c, d = number.to_bytes(4)
    high, low = f"{a:02x}{b:02x}", f"{c:02x}{d:02x}"
    inverse = f"{number ^ 0xFFFFFFFF:08x}"
    return [
        address,
        f"{address}.",
        str(number),
        f"{number:#x}",
        f"0{number:o}",
        f"{a:#x}.{b:#x}.{c:#x}.{d:#x}",
        f"0{a:o}.0{b:o}.0{c:o}.0{d:o}",
        f"{a}.{number & 0xFFFFFF}",
        f"{a}.{b}.{number & 0xFFFF}",
        f"{a:#x}.{b}.0{c:o}.{d}",
        address.translate({ord("0") + n: 0xFF10 + n for n in range(10)}),
        address.replace(".", "\u3002"),
        address.replace(".", "%2e"),
        f"[::ffff:{address}]",
        f"[::ffff:{high}:{low}]",
        f"[::{high}:{low}]",
        f"[::ffff:0:{high}:{low}]",
        f"[64:ff9b::{high}:{low}]",
        f"[64:ff9b:1:{high}:{low[:2]}:{low[2:]}00::]",
        f"[2002:{high}:{low}::1]",
        f"[2001:0:{high}:{low}::1]",
        f"[2001:0:102:304:0:ffff:{inverse[:4]}:{inverse[4:]}]",
    ]


def forms(port: int) -> list[str]:
    urls = []
    for network in SPECIAL:
        for address in inside(network, 4):
            is4 = isinstance(ip_address(address), IPv4Address)
            hosts = spellings(address) if is4 else [f"[{address}]", f"[{IPv6Address(address).exploded}]"]
            urls += [f"http://{host}:{port}/" for host in hosts]
    return urls


def breaches(trap: Trap, urls: list[str]) -> tuple[list[Fetched], int]:
    """Fetch all; how many were dialled in spite of everything, or reached the trap."""
    limits = FetchLimits(ports=(trap.port,), per_host=256, connect_timeout_s=1, total_timeout_s=2, retries_max=0)
    with simulated(limits) as go:
        results = go(urls)
        return results, len(go.wire.private_dials) + trap.visits  # type: ignore[attr-defined]


def test_no_spelling_of_a_special_address_is_dialled(trap: Trap) -> None:
    urls = forms(trap.port)
    results, count = breaches(trap, urls)
    assert len(results) == len(urls) >= 3000
    assert count == 0
    assert {fetched.reason for fetched in results} == {Reason.BLOCKED_ADDRESS}


@pytest.mark.parametrize("fault", [AllowsAll, StandardLibrary])
def test_the_same_forms_catch_a_guard_that_is_not_there(
    trap: Trap, fault: type[AddressGuard], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_module, "AddressGuard", fault)
    _, count = breaches(trap, forms(trap.port)[::7])
    assert count > 0


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "0"])
def test_the_real_fetcher_does_not_reach_a_listener_on_loopback(
    trap: Trap, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = FetchLimits(ports=(trap.port,), retries_max=0, connect_timeout_s=2)
    url = f"http://{host}:{trap.port}/"
    assert [fetched.reason for fetched in fetch_all([url], limits)] == [Reason.BLOCKED_ADDRESS]
    assert trap.visits == 0
    monkeypatch.setattr(fetch_module, "AddressGuard", AllowsAll)
    fetch_all([url], limits)
    assert trap.visits > 0 or "::" in host or host in ("localhost", "0")  # where the machine has that address at all


def rebind(trap: Trap, server: HostileServer, count: int) -> tuple[list[Fetched], list[str]]:
    rng = seeded("rebinding")
    private = [address for network in SPECIAL for address in inside(network, 1)]
    limits = FetchLimits(ports=(80, trap.port), per_host=16, retries_max=0, connect_timeout_s=1, total_timeout_s=2)

    def answer(_host: str) -> str:
        """Public, private or both in any order, flipping with every question."""
        parts = rng.sample([PUBLIC, rng.choice(private), "127.0.0.1", "::1"], rng.randint(1, 3))
        return ",".join(f"[{part}]" if ":" in part else part for part in parts)

    with simulated(limits, port=server.port, answers=answer) as go:
        urls = [f"http://name{n % 50}.test:{rng.choice([80, trap.port])}/ok" for n in range(count)]
        return go(urls), go.wire.private_dials  # type: ignore[attr-defined]


def test_a_name_that_changes_its_address_leads_nowhere_private(trap: Trap, server: HostileServer) -> None:
    results, dials = rebind(trap, server, 2000)
    assert dials == []
    assert trap.visits == 0
    reasons = [fetched.reason for fetched in results]
    assert reasons.count(None) > 100  # it did reach what is public
    assert reasons.count(Reason.BLOCKED_ADDRESS) > 100


def test_the_same_names_catch_a_filter_at_the_resolver_only(
    trap: Trap, server: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_module, "AddressGuard", AllowsAll)
    _, dials = rebind(trap, server, 200)
    assert dials
    assert trap.visits


def targets(port: int) -> list[str]:
    inner = [
        "127.0.0.1",
        "[::1]",
        "2130706433",
        "0x7f.1",
        "[::ffff:127.0.0.1]",
        "169.254.169.254",
        "10.0.0.1",
        "localhost",
    ]
    inner += ["inside.test", "[64:ff9b::7f00:1]", "\uff11\uff12\uff17.0.0.1", "[fd00:ec2::254]", "0"]
    forms = [
        "http://{}:{}/",
        "//{}:{}/",
        "\\\\{}:{}/",
        "/\\{}:{}/",
        "http:\\\\{}:{}/x",
        "http:/\\{}:{}",
        "\thttp://{}:{}/",
    ]
    return [form.format(host, port) for host in inner for form in forms]


def chains(trap: Trap, server: HostileServer, count: int) -> tuple[list[Fetched], list[str]]:
    rng = seeded("chains")
    ends = [
        *targets(trap.port),
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "http://u:p@127.0.0.1/",
        "http://[::1",
        "dict://0/",
    ]
    urls = []
    for _ in range(count):
        url = rng.choice(ends)
        for n in range(rng.randint(1, 4)):
            path = hop(rng.choice([301, 302, 303, 307, 308]), url)
            url = f"http://public{n}.test/{path}"
        urls.append(url)

    def answer(host: str) -> str:
        return "127.0.0.1" if host in ("inside.test", "localhost") else PUBLIC

    limits = FetchLimits(ports=(80, trap.port), retries_max=0, connect_timeout_s=1, total_timeout_s=5)
    with simulated(limits, port=server.port, answers=answer) as go:
        return go(urls), go.wire.private_dials  # type: ignore[attr-defined]


def test_no_chain_of_redirects_ends_inside(trap: Trap, server: HostileServer) -> None:
    results, dials = chains(trap, server, 500)
    assert dials == []
    assert trap.visits == 0
    assert {fetched.reason for fetched in results} == {
        Reason.BLOCKED_ADDRESS,
        Reason.BLOCKED_SCHEME,
        Reason.BLOCKED_USERINFO,
        Reason.REDIRECT_BAD,
    }


def test_the_same_chains_catch_a_guard_that_is_not_there(
    trap: Trap, server: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_module, "AddressGuard", AllowsAll)
    _, dials = chains(trap, server, 100)
    assert dials
    assert trap.visits


def test_an_unlisted_port_is_dialled_neither_at_first_nor_by_redirect(trap: Trap, server: HostileServer) -> None:
    with simulated(FetchLimits(retries_max=0), port=server.port) as go:
        urls = [
            f"http://a.test:{trap.port}/",
            f"http://a.test/{hop(302, f'http://a.test:{trap.port}/')}",
            "http://a.test:22/",
        ]
        assert [fetched.reason for fetched in go(urls)] == [Reason.BLOCKED_PORT] * 3
        assert [fetched.reason for fetched in go(["http://a.test:8080/ok"])] == [None]


def test_unsafe_loopback_does_not_open_other_ports_of_public_hosts() -> None:
    with simulated(FetchLimits(retries_max=0)) as go:
        wire: SimulatedWire = go.wire  # type: ignore[attr-defined]
        wire._any_port = True  # as unsafe_allow_loopback sets it: the URL passes, the address must not
        assert [fetched.reason for fetched in go(["http://93.184.216.34:22/"])] == [Reason.BLOCKED_ADDRESS]
        assert wire.dialled == []


def test_what_is_no_internet_address_is_refused_at_the_socket() -> None:
    with simulated(FetchLimits()) as go:
        wire: SimulatedWire = go.wire  # type: ignore[attr-defined]
        transfer = Transfer(wire._wiring)
        for family, address in (
            (socket.AF_UNIX, b"/run/docker.sock"),
            (socket.AF_NETLINK, (0, 0)),
            (socket.AF_VSOCK, (2, 80)),
        ):
            made = SimpleNamespace(family=family, socktype=socket.SOCK_STREAM, protocol=0, addr=address)
            assert transfer._on_open(0, made) == pycurl.SOCKET_BAD
        assert wire.dialled == []
        transfer.close()


def proxied(trap: Trap, server: HostileServer, monkeypatch: pytest.MonkeyPatch, home: Path) -> list[Fetched]:
    (home / ".netrc").write_text("default login somebody password something\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NETRC", str(home / ".netrc"))
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{trap.port}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    return fetch_all([server.url("ok"), server.url("hop/302/L29r")], unsafe_allow_loopback=True)


def test_proxies_and_netrc_of_the_environment_are_not_used(
    trap: Trap, server: HostileServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    results = proxied(trap, server, monkeypatch, tmp_path)
    assert [fetched.reason for fetched in results] == [None, None]
    assert trap.visits == 0
    assert not any(b"authorization" in r.lower() or b"cookie" in r.lower() for r in server.requests)


def test_the_same_environment_catches_a_client_that_trusts_it(
    trap: Trap, server: HostileServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def trust(_self: Any, handle: pycurl.Curl, _url: Url) -> None:
        handle.unsetopt(pycurl.PROXY)
        handle.setopt(pycurl.NOPROXY, "")

    monkeypatch.setattr(fetch_module.Fetcher, "_tune", trust)
    proxied(trap, server, monkeypatch, tmp_path)
    assert trap.visits > 0


def mutated(count: int) -> list[str]:
    rng = seeded("mutated")
    seeds = ["http://a.test/b?c", "http://b.test:8080/x", "http://c.test\\@127.0.0.1/", "http://a.test:80#@b.test/"]
    seeds += [
        "http://a.test%2fb.test/",
        "http://a.test;b.test/",
        "http:\\\\a.test\\x",
        "http://[::1]@a.test/",
        "http://A_b.test/~",
    ]
    marks = "/\\@:?#[]%.;&=+!$'()*,~|^`{}\"<> \t\r\n\0\u3002\uff0f\u2100\u00df%2f%40%00%0d%0a1aZ-_"
    out = []
    for _ in range(count):
        text = list(rng.choice(seeds))
        for _ in range(rng.randint(1, 4)):
            text.insert(rng.randint(4, len(text)), rng.choice(marks))
        out.append("".join(text))
    return out


def disagreements(server: HostileServer, count: int) -> tuple[list[str], int]:
    """URLs for which the Host that the server saw is not the host that was judged, and how many were asked for."""
    seen: dict[str, str] = {}
    limits = FetchLimits(retries_max=0, per_host=64, total_timeout_s=10, ports=tuple(range(1, 65536)))
    wrong = []
    asked = 0
    texts = [text for text in mutated(count) if isinstance(parse(text), Url) and not parse(text).is_literal_ip]  # type: ignore[union-attr]
    with simulated(limits, port=server.port, answers=lambda host: PUBLIC) as go:
        wire: SimulatedWire = go.wire  # type: ignore[attr-defined]
        tune = wire._tune

        def note(handle: pycurl.Curl, url: Url) -> None:
            tune(handle, url)
            seen[url.href] = f"{url.host}:{url.port}"
            handle.setopt(pycurl.HTTPHEADER, [f"X-Judged: {url.host}:{url.port}"])

        object.__setattr__(wire._wiring, "tune", note)
        go(texts)
    for request in server.requests:
        fields = dict(line.split(": ", 1) for line in request.decode("latin-1").split("\r\n")[1:] if ": " in line)
        host = fields["Host"] if fields["Host"].rpartition(":")[2].isdigit() else fields["Host"] + ":80"
        asked += 1
        if host != fields["X-Judged"]:
            wrong.append(host)
    return wrong, asked


@pytest.mark.parametrize("count", [1500, pytest.param(20_000, marks=pytest.mark.soak)])
def test_the_host_that_is_asked_is_the_host_that_was_judged(count: int) -> None:
    server = HostileServer(_Any())
    try:
        wrong, asked = disagreements(server, count)
    finally:
        server.close()
    assert wrong == []
    assert asked > count // 5


class _Any(dict[str, Any]):
    """Ways that answer every path."""

    def __getitem__(self, _name: str) -> Any:
        return lambda visit: visit.send(whole(b"x"))
