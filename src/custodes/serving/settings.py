"""``[serve]``: where the match service listens, what a request may cost, who may ask how much."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Final

import msgspec

__all__ = ["ServeSettings", "Tenant"]

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_NUMBER_MAX: Final = 1_000_000_000


class Tenant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[serve.tenants.NAME]``: one who may ask."""

    key_sha256: str
    """SHA-256 of the tenant's key, as `custodes serve key NAME` prints it. The key itself is never here."""
    trusted_digests: bool = False
    """Whether the tenant may ask by digest. For whoever may not hold the lists leave it off: digests are chosen freely, images are not."""
    requests_per_minute: int = 600
    """Images and digests that are answered in a minute."""
    hits_per_day: int = 100
    """New matches that are answered in a day (UTC). After them every request is refused until the next."""
    hits_kept: int = 1000
    """Matches that are remembered of a tenant. It is locked when there are more: what is forgotten could be probed again."""
    probes_per_hit: int = 8
    """Different pictures around one match that lock the tenant, the match itself included."""

    def __post_init__(self) -> None:
        if not _SHA256.fullmatch(self.key_sha256):
            raise ValueError(
                "key_sha256 must be 64 lower-case hexadecimal digits: make a key with `custodes serve key`"
            )
        for name, low in (("requests_per_minute", 1), ("hits_per_day", 1), ("hits_kept", 1), ("probes_per_hit", 2)):
            if not low <= getattr(self, name) <= _NUMBER_MAX:
                raise ValueError(f"{name} must be from {low} to {_NUMBER_MAX:,}")


class ServeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[serve]``: the match service."""

    host: str = "127.0.0.1"
    """Address to listen on, as a number. Beyond loopback only with TLS."""
    port: int = 8743
    """Port to listen on."""
    metrics_port: int = 0
    """Port on 127.0.0.1 for `GET /metrics` (counts, for Prometheus); 0: none."""
    tls_certificate: str = ""
    """File of the certificate and its chain, PEM."""
    tls_key: str = ""
    """File of the certificate's private key, PEM."""
    latency_step_ms: int = 5
    """Answers leave at multiples of so many milliseconds after the request, so that their time says little."""
    body_bytes_max: int = 20_971_520
    """Greatest request."""
    request_timeout_s: int = 30
    """Time in which a request must have arrived, head and body each."""
    connections_max: int = 1000
    """Connections that may be open."""
    images_waiting_max: int = 64
    """Images in hand at once; for more the answer is 503."""
    decoders: int = 2
    """Jailed processes that decode."""
    reload_s: int = 60
    """How often is looked for new versions of the lists; a SIGHUP looks at once."""
    hits_per_day: int = 1000
    """New matches that are answered in a day (UTC), of all tenants together."""
    state: str = "state/serve"
    """Folder in which the matches of each tenant are remembered, encrypted under `lists.key`."""
    keyless_tenant: str = ""
    """Tenant that is meant by whoever sends no key, for clients that know none; on loopback alone."""
    tenants: dict[str, Tenant] = {}
    """Who may ask."""

    def __post_init__(self) -> None:
        try:
            ip_address(self.host)
        except ValueError:
            raise ValueError("host must be an IP address, for example 127.0.0.1 or ::") from None
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ValueError("tls_certificate and tls_key belong together")
        for name, low, high in _RANGES:
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be from {low:,} to {high:,}")
        if self.keyless_tenant and (self.keyless_tenant not in self.tenants or not self.loopback):
            raise ValueError("keyless_tenant must be one of the tenants, and the service listen on loopback")
        if wrong := [name for name in self.tenants if not _NAME.fullmatch(name)]:
            raise ValueError(f"{wrong[0]!r} is no name for a tenant: use up to 63 of a-z, 0-9, - and _")
        if len({tenant.key_sha256 for tenant in self.tenants.values()}) < len(self.tenants):
            raise ValueError("two tenants have one key")

    @property
    def loopback(self) -> bool:
        """Whether only this machine can connect."""
        return ip_address(self.host).is_loopback


_RANGES: Final = (
    ("port", 0, 65_535),
    ("metrics_port", 0, 65_535),
    ("latency_step_ms", 0, 1_000),
    ("body_bytes_max", 1, 1 << 30),
    ("request_timeout_s", 1, 3_600),
    ("connections_max", 1, 100_000),
    ("images_waiting_max", 1, 10_000),
    ("decoders", 1, 256),
    ("reload_s", 1, 86_400),
    ("hits_per_day", 1, _NUMBER_MAX),
)
