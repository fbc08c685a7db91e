"""The address table against the registries, written out here a second time."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from net_world import seeded

from custodes.errors import WorldError
from custodes.net import AddressGuard
from custodes.net.address import own_addresses

# IANA IPv4 and IPv6 Special-Purpose Address Registries, smokescreen, ssrf_filter, imgproxy, cloud metadata services.
_SPECIAL = """
0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 100.100.100.200/32 127.0.0.0/8 168.63.129.16/32 169.254.0.0/16 169.254.169.254/32
172.16.0.0/12 192.0.0.0/24 192.0.0.192/32 192.0.2.0/24 192.31.196.0/24 192.52.193.0/24 192.88.99.0/24 192.168.0.0/16
192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 233.252.0.0/24 240.0.0.0/4 255.255.255.255/32
::/128 ::1/128 ::/96 ::ffff:0:0/96 ::ffff:0:0:0/96 64:ff9b::/96 64:ff9b:1::/48 100::/64 100:0:0:1::/64 2001::/23
2001::/32 2001:2::/48 2001:10::/28 2001:20::/28 2001:db8::/32 2002::/16 2620:4f:8000::/48 3ffe::/16 3fff::/20 5f00::/16
fc00::/7 fd00:ec2::254/128 fe80::/10 fec0::/10 ff00::/8 4000::/2 8000::/1
"""

_PUBLIC = """
1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 93.184.216.34 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 168.63.129.15
168.63.129.17 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 192.167.255.255 192.169.0.0 198.17.255.255
198.20.0.0 223.255.255.255 2000:: 2001:200:: 2001:4860:4860::8888 2003:: 2606:4700::1111 2a00::1
2620:4f:7fff:ffff:ffff:ffff:ffff:ffff 3fff:1000::
"""

SPECIAL = _SPECIAL.split()
PUBLIC = _PUBLIC.split()


def inside(network: str, count: int = 20) -> list[str]:
    """First, last and random addresses of a network."""
    net = ip_network(network)
    numbers = [int(net.network_address), int(net.broadcast_address)]
    numbers += [seeded(f"{network} {n}").randint(*numbers) for n in range(count)]
    kind = type(net.network_address)
    return [str(kind(number)) for number in numbers]


def refused(guard: AddressGuard) -> list[str]:
    return [address for network in SPECIAL for address in inside(network) if guard.allows(address)]


@pytest.mark.parametrize("network", SPECIAL)
def test_no_address_of_a_special_range_may_be_dialled(network: str) -> None:
    guard = AddressGuard()
    assert [address for address in inside(network) if guard.allows(address)] == []


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_up_to_the_edges_of_the_ranges_may_be_dialled(address: str) -> None:
    assert AddressGuard().allows(address)


def test_the_same_check_catches_the_standard_library_as_a_guard() -> None:
    class StandardLibrary(AddressGuard):
        def allows(self, address: str) -> bool:
            return ip_address(address).is_global

    assert not refused(AddressGuard())
    assert refused(StandardLibrary())


@pytest.mark.parametrize(
    "text", ["", "localhost", "127.1", "0x7f.1", "1.1.1.1.", " 1.1.1.1", "/run/socket", "1.1.1.1\0"]
)
def test_what_is_no_plain_address_is_refused(text: str) -> None:
    assert not AddressGuard(unsafe_allow_loopback=True).allows(text)


def test_an_isatap_address_is_refused_under_any_prefix() -> None:
    assert not AddressGuard().allows("2600:1234::5efe:7f00:1")
    assert not AddressGuard().allows("2600:1234::200:5efe:7f00:1")


def test_unsafe_loopback_opens_loopback_as_such_and_nothing_else() -> None:
    guard = AddressGuard(unsafe_allow_loopback=True)
    assert [network for network in SPECIAL if guard.allows(inside(network)[0])] == ["127.0.0.0/8", "::1/128"]
    assert guard.allows("127.255.255.254")
    assert not guard.allows("::ffff:127.0.0.1")
    assert guard.is_unsafe_loopback("127.0.0.1")
    assert not guard.is_unsafe_loopback("1.1.1.1")
    assert not AddressGuard().is_unsafe_loopback("127.0.0.1")


def test_own_and_configured_addresses_are_refused() -> None:
    guard = AddressGuard(("8.8.8.8", "2606:4700::/32"))
    assert not guard.allows("8.8.8.8")
    assert not guard.allows("2606:4700::1111")
    assert guard.allows("8.8.8.9")


def test_own_addresses_are_read_from_the_kernel(tmp_path: Path) -> None:
    assert "127.0.0.1" in own_addresses()
    (tmp_path / "fib_trie").write_text(
        "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 198.7.6.5\n        /32 host LOCAL\n     |-- 198.7.6.255\n"
        "        /32 link BROADCAST\n"
    )
    (tmp_path / "if_inet6").write_text("26064700000000000000000000001111 02 40 00 80 eth0\n")
    found = own_addresses(tmp_path)
    assert found == ("198.7.6.5", "2606:4700:0000:0000:0000:0000:0000:1111")
    assert not any(AddressGuard(found).allows(address) for address in ("198.7.6.5", "2606:4700::1111"))


def test_a_machine_that_hides_its_addresses_gets_no_fetcher(tmp_path: Path) -> None:
    with pytest.raises(WorldError, match="own addresses"):
        own_addresses(tmp_path)
