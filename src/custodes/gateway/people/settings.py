"""``[gateway]``: who may ask how much, what strikes lead to, and how probing is slowed. Values alone; what is done with them is for ``people``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from custodes.gateway.people.ledger import Ladder

__all__ = [
    "DAY_MS",
    "PeopleSettings",
    "ProbingSettings",
    "StrikeSettings",
    "TenantSettings",
    "ladders",
    "wrong_tenants",
]

DAY_MS: Final = 86_400_000
_HOUR_MS: Final = 3_600_000
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")

Number = Annotated[int, Meta(ge=1, le=1_000_000_000)]


class TenantSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[gateway.tenants.NAME]``: one who may ask."""

    key_sha256: str
    """SHA-256 of the tenant's key, as `custodes gateway key NAME` prints it. The key itself is never here."""
    models: tuple[str, ...] = ()
    """Models that it may ask for; empty: all that the gateway offers."""
    policy: str = ""
    """A policy that stands on the gateway's: a file, or the name of one of ours; empty: the gateway's own."""
    off: tuple[str, ...] = ()
    """Rules of the gateway's policy that are left out for this tenant, by the names that the policy gives them for that."""
    requests_per_minute: Number = 60
    """Requests that are taken in a minute, by all gateways of a ledger together."""
    images_per_day: Number = 10_000
    """Images that are released in a day (UTC). Those of a request are booked before they are made, and given back if they are not released."""
    one_user: bool = False
    """Whether one person has this key. Then a request that names no end user is of that person; else it counts against the tenant alone."""

    def __post_init__(self) -> None:
        if not _SHA256.fullmatch(self.key_sha256):
            raise ValueError(
                "key_sha256 must be 64 lower-case hexadecimal digits: make a key with `custodes gateway key`"
            )


class StrikeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[gateway.strikes]``: what strikes lead to. How many a refusal counts is the policy's."""

    warn_at: Number = 1
    """Strikes of one end user at which a warning is recorded."""
    suspend_at: Number = 6
    """Strikes of one end user at which the user is suspended."""
    tenant_warn_at: Number = 50
    """Strikes of all users of a tenant together at which the tenant is warned."""
    tenant_suspend_at: Number = 200
    """Strikes of all users of a tenant together at which the tenant is suspended."""
    window_days: Annotated[int, Meta(ge=1, le=3_650)] = 30
    """Days after which a strike counts no more."""
    suspend_hours: Annotated[int, Meta(ge=1, le=87_600)] = 24
    """Length of a first suspension."""
    growth: Annotated[int, Meta(ge=1, le=100)] = 2
    """Each further suspension is so many times as long as the one before."""
    suspend_hours_max: Annotated[int, Meta(ge=1, le=876_000)] = 8_760
    """No suspension is longer."""
    retry_window_s: Annotated[int, Meta(ge=1, le=86_400)] = 3_600
    """The same request again within so many seconds is a retry: it has no strike of its own."""

    def __post_init__(self) -> None:
        if self.warn_at >= self.suspend_at or self.tenant_warn_at >= self.tenant_suspend_at:
            raise ValueError("a warning comes before a suspension: warn_at must be smaller than suspend_at")
        if self.suspend_hours_max < self.suspend_hours:
            raise ValueError("suspend_hours_max must not be smaller than suspend_hours")


class ProbingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[gateway.probing]``: who is refused often is answered later and later, whatever is asked."""

    free: Number = 5
    """Refused requests of one end user, within the window, that delay nothing."""
    tenant_free: Number = 500
    """The same of all users of a tenant together."""
    window_s: Annotated[int, Meta(ge=1, le=86_400)] = 3_600
    """Seconds for which a refusal counts."""
    first_s: Annotated[float, Meta(ge=0.001, le=60)] = 1.0
    """The first delay. Each further refusal doubles it."""
    most_s: Annotated[float, Meta(ge=0.001, le=300)] = 32.0
    """No delay is longer."""
    waiting_max: Annotated[int, Meta(ge=1, le=1_000)] = 4
    """Requests of one end user, or of one slowed tenant, that wait at once. A further one is told to come later (429)."""

    def delay_s(self, refusals: int, tenant_refusals: int) -> float:
        """How long an answer waits."""
        over = max(refusals - self.free, tenant_refusals - self.tenant_free)
        return min(self.most_s, self.first_s * 2.0 ** min(over - 1, 40)) if over > 0 else 0.0


class PeopleSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of them. ``decisions_days``: for so long a decision is kept that has no strike and no appeal; counts are kept for ever."""

    tenants: dict[str, TenantSettings]
    strikes: StrikeSettings = StrikeSettings()
    probing: ProbingSettings = ProbingSettings()
    decisions_days: Annotated[int, Meta(ge=1, le=3_650)] = 180

    def __post_init__(self) -> None:
        for wrong in wrong_tenants(self.tenants):
            raise ValueError(wrong)
        if self.decisions_days < self.strikes.window_days:
            raise ValueError(
                "decisions_days must not be smaller than the window of strikes: what counts can be appealed"
            )


def wrong_tenants(tenants: Mapping[str, TenantSettings]) -> Iterator[str]:
    """Why these tenants cannot be told apart, or asked for at all."""
    if not tenants:
        yield "there is no tenant, so nobody may ask: make one with `custodes gateway key NAME`"
    yield from (
        f"{name!r} is no name for a tenant: use up to 63 of a-z, 0-9, - and _"
        for name in tenants
        if not _NAME.fullmatch(name)
    )
    if len({tenant.key_sha256 for tenant in tenants.values()}) < len(tenants):
        yield "two tenants have one key"


def ladders(settings: StrikeSettings) -> tuple[Ladder, Ladder]:
    """What strikes lead to: of a user, of a tenant."""

    def ladder(warn_at: int, suspend_at: int) -> Ladder:
        return Ladder(
            warn_at=warn_at,
            suspend_at=suspend_at,
            window_ms=settings.window_days * DAY_MS,
            suspend_ms=settings.suspend_hours * _HOUR_MS,
            growth=settings.growth,
            suspend_ms_max=settings.suspend_hours_max * _HOUR_MS,
        )

    return (
        ladder(settings.warn_at, settings.suspend_at),
        ladder(settings.tenant_warn_at, settings.tenant_suspend_at),
    )
