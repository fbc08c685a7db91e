"""Every limit of a fetch, with its default: what a server may cost us, and what we may cost a server.

Promises: a FetchLimits that exists is in range, so nothing below checks again.
Leaves to others: keeping to it (fetch, transfer, hosts).
"""

from __future__ import annotations

from ipaddress import ip_network

import msgspec

from custodes import __version__

__all__ = ["FetchLimits"]

_RANGES = {
    "in_flight": (1, 4096),
    "per_host": (1, 256),
    "lookups": (1, 4096),
    "host_failures_max": (0, 1_000_000),
    "connect_timeout_s": (0.05, 120),
    "total_timeout_s": (0.05, 600),
    "slow_bytes_per_s": (1, 100_000_000),
    "slow_for_s": (1, 600),
    "body_bytes_max": (1, 2_000_000_000),
    "header_bytes_max": (256, 262_144),
    "redirects_max": (0, 20),
    "retries_max": (0, 5),
    "retry_wait_s": (0, 60),
    "retry_after_max_s": (0, 3600),
    "dns_cache_s": (0, 3600),
    "robots_origins_max": (1, 1_000_000),
}


class FetchLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits and manners of a Fetcher. Times are in seconds; sizes in bytes as they arrive and again once inflated."""

    in_flight: int = 256
    """Exchanges at once, on one machine."""
    per_host: int = 8
    """Connections at once to one host name, of all that one coordinator's workers hold on all machines together."""
    lookups: int = 64
    """Names looked up at once, on one machine."""
    host_failures_max: int = 16
    """Silent attempts running (no connection, no answer) after which a host is given up for the batch; 0: never."""
    connect_timeout_s: float = 5.0
    """From name lookup to the end of the TLS handshake."""
    total_timeout_s: float = 20.0
    """One deadline for an attempt with all its redirects."""
    slow_bytes_per_s: int = 1000
    """An exchange slower than this ..."""
    slow_for_s: int = 5
    """... for this long is given up."""
    body_bytes_max: int = 50_000_000
    """The longest body; one byte more is too_large."""
    header_bytes_max: int = 65_536
    """All lines of all heads and trailers of one exchange together."""
    memory_bytes_max: int = 512_000_000
    """All bodies in flight together; above half of it nothing new starts, above it the newest wait for another turn."""
    redirects_max: int = 5
    """Hops that are followed."""
    retries_max: int = 1
    """Further attempts after dns, reset, http_429 and http_5xx, once the batch is through."""
    retry_wait_s: float = 1.0
    """Before the first further attempt; doubles each time, plus up to half of jitter."""
    retry_after_max_s: float = 30.0
    """A server that asks for a longer wait is not asked again."""
    ports: tuple[int, ...] = (80, 443, 8080, 8443)
    """Ports that may be dialled."""
    blocked_networks: tuple[str, ...] = ()
    """Networks that are never dialled, beside the built-in table: your own public ranges, your NAT64 prefix."""
    dns_cache_s: int = 60
    """How long an address is remembered. libcurl keeps at most 29,999 names."""
    user_agent: str = f"custodes/{__version__} (+https://github.com/custodes/custodes)"
    """How we name ourselves; robots.txt is read for the product "custodes" whatever stands here."""
    robots: bool = False
    """Honour robots.txt. Off, because a safety scan that skips what asks to be skipped leaves a hiding place."""
    robots_origins_max: int = 10_000
    """Origins whose robots.txt is remembered."""
    noai: bool = False
    """Honour X-Robots-Tag noai and noimageai. Off, for the same reason."""
    verify_tls: bool = True
    """Check certificates."""
    ca_file: str = ""
    """Certificates to trust, PEM; empty for the system's."""

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be between {low} and {high}")
        if self.memory_bytes_max < self.body_bytes_max:
            raise ValueError("memory_bytes_max must be at least body_bytes_max")
        if not self.ports or not all(1 <= port <= 65535 for port in self.ports):
            raise ValueError("ports must be a list of numbers from 1 to 65535")
        if not self.user_agent.isascii() or not self.user_agent.isprintable() or not self.user_agent:
            raise ValueError("user_agent must be printable ASCII")
        for network in self.blocked_networks:
            ip_network(network, strict=False)
