"""Which addresses may be dialled: an explicit table, because the standard library's flags are not a policy.

Promises: an address is allowed only if it is ordinary public unicast and none of this machine's own; anything that
cannot be read is refused. ``ipaddress.is_global`` is not asked: it holds for NAT64, 6to4, site-local and multicast.
Leaves to others: asking at every connect, which is the only place where the answer is safe (fetch).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from socket import AF_INET, AF_INET6, inet_pton
from typing import Final

from custodes.errors import WorldError

__all__ = ["BLOCKED", "AddressGuard", "own_addresses"]

BLOCKED: Final[dict[str, str]] = {
    # IANA IPv4 Special-Purpose Address Registry, with the addresses that clouds keep outside it.
    "0.0.0.0/8": "this network, RFC 791",
    "10.0.0.0/8": "private, RFC 1918",
    "100.64.0.0/10": "shared address space, RFC 6598; 100.100.100.200 is Alibaba's metadata service",
    "127.0.0.0/8": "loopback, RFC 1122",
    "168.63.129.16/32": "Azure's wire server",
    "169.254.0.0/16": "link-local, RFC 3927; metadata services",
    "172.16.0.0/12": "private, RFC 1918",
    "192.0.0.0/24": "IETF protocol assignments, RFC 6890; 192.0.0.192 is Oracle's metadata service",
    "192.0.2.0/24": "documentation, RFC 5737",
    "192.31.196.0/24": "AS112, RFC 7535",
    "192.52.193.0/24": "AMT, RFC 7450",
    "192.88.99.0/24": "6to4 relay anycast, RFC 7526",
    "192.168.0.0/16": "private, RFC 1918",
    "192.175.48.0/24": "AS112, RFC 7534",
    "198.18.0.0/15": "benchmarking, RFC 2544",
    "198.51.100.0/24": "documentation, RFC 5737",
    "203.0.113.0/24": "documentation, RFC 5737",
    "224.0.0.0/4": "multicast, RFC 1112",
    "240.0.0.0/4": "reserved, RFC 1112, with limited broadcast, RFC 919",
    # IANA IPv6 Special-Purpose Address Registry and what carries an IPv4 address inside. Only 2000::/3 is public
    # unicast, so the first and the last two lines would do for all outside it; the names are kept for the reader.
    "::/3": "unspecified, loopback, IPv4-compatible, -mapped, -translated (::ffff:0:0:0/96), NAT64 (RFC 6052, 8215)",
    "2001::/23": "IETF protocol assignments, RFC 2928: Teredo, benchmarking, ORCHID",
    "2001:db8::/32": "documentation, RFC 3849",
    "2002::/16": "6to4, RFC 3056",
    "2620:4f:8000::/48": "AS112, RFC 7534",
    "3ffe::/16": "6bone, RFC 3701",
    "3fff::/20": "documentation, RFC 9637",
    "4000::/2": "not allocated; 5f00::/16 is segment routing, RFC 9602",
    "8000::/1": "not allocated, unique local (fc00::/7), link-local, site-local, multicast; fd00:ec2::254 is Amazon's",
}
"""Every range that is never dialled, with its reason."""

_LOOPBACK: Final = ("127.0.0.0/8", "::1/128")
# RFC 5214 section 6.1: the low half of an ISATAP address is 0000:5efe or 0200:5efe and then an IPv4 address.
_ISATAP: Final = (0x00005EFE, 0x02005EFE)


class _Ranges:
    """A set of addresses of one family as sorted, merged ranges of integers."""

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network]) -> None:
        self._first: list[int] = []
        self._last: list[int] = []
        for first, last in sorted((int(n.network_address), int(n.broadcast_address)) for n in networks):
            if self._last and first <= self._last[-1] + 1:
                self._last[-1] = max(self._last[-1], last)
            else:
                self._first.append(first)
                self._last.append(last)

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._first, number) - 1
        return at >= 0 and number <= self._last[at]


class AddressGuard:
    """Says of a numeric address whether it may be dialled.

    ``blocked`` adds networks or addresses to the table. ``unsafe_allow_loopback`` allows 127.0.0.0/8 and ::1, spelled
    as such, and nothing else; it is for tests and demonstrations.
    """

    def __init__(self, blocked: Iterable[str] = (), *, unsafe_allow_loopback: bool = False) -> None:
        networks = [ip_network(text, strict=False) for text in (*BLOCKED, *blocked)]
        allowed = [ip_network(text) for text in _LOOPBACK] if unsafe_allow_loopback else []
        self._blocked4 = _Ranges(n for n in networks if n.version == 4)
        self._blocked6 = _Ranges(n for n in networks if n.version == 6)
        self._allowed4 = _Ranges(n for n in allowed if n.version == 4)
        self._allowed6 = _Ranges(n for n in allowed if n.version == 6)

    def allows(self, address: str) -> bool:
        """True only for public unicast, and for loopback where the constructor was told so."""
        is6 = ":" in address
        number = _number(address, is6)
        if number is None:
            return False
        if is6:
            return number in self._allowed6 or not (number in self._blocked6 or (number >> 32) & 0xFFFFFFFF in _ISATAP)
        return number in self._allowed4 or number not in self._blocked4

    def is_unsafe_loopback(self, address: str) -> bool:
        """True for loopback when it was allowed: the one case in which the port list does not count."""
        is6 = ":" in address
        number = _number(address, is6)
        return number is not None and number in (self._allowed6 if is6 else self._allowed4)


def own_addresses(proc: Path = Path("/proc/net")) -> tuple[str, ...]:
    """The addresses of this machine's interfaces, IPv4 and IPv6: a public one still leads to services behind the wall.

    Raises WorldError where the kernel does not tell, since a guess would open what should be closed.
    """
    try:
        routes = (proc / "fib_trie").read_text().splitlines()
        six = (proc / "if_inet6").read_text() if (proc / "if_inet6").exists() else ""
    except OSError as error:
        raise WorldError(
            "cannot read this machine's own addresses", hint="mount /proc where the fetcher starts"
        ) from error
    # fib_trie names a leaf ("|-- 192.0.2.1") and on the next lines what it is ("/32 host LOCAL").
    four: set[str] = set()
    leaf = ""
    for line in routes:
        text = line.strip()
        if text.startswith("|-- "):
            leaf = text.removeprefix("|-- ")
        elif text.startswith("/32 host LOCAL"):
            four.add(leaf)
    hexes = (line.split()[0] for line in six.splitlines() if line.strip())
    return (*sorted(four), *(":".join(text[at : at + 4] for at in range(0, 32, 4)) for text in hexes))


def _number(address: str, is6: bool) -> int | None:
    """The address as an integer; None where it is not purely numeric, which no socket address is."""
    try:
        return int.from_bytes(inet_pton(AF_INET6 if is6 else AF_INET, address.partition("%")[0]))
    except (OSError, ValueError):
        return None
