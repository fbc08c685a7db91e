"""Decisions, keys and people for tests of the gateway's ledger: harmless names alone."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from custodes.crypto.keys import RunKey
from custodes.gateway.people.ledger import Asking, Entry, Ladder, Ledger, Noted
from custodes.gateway.people.people import Means, People, name_of
from custodes.gateway.people.settings import PeopleSettings, TenantSettings
from custodes.gateway.vocabulary import Action, Category, Fact, Grade, Stage, Verdict

T = TypeVar("T")

NOON = 1_792_324_800_000  # 2026-10-18 12:00 UTC
HOUR, DAY = 3_600_000, 86_400_000
USER = Ladder(warn_at=1, suspend_at=3, window_ms=30 * DAY, suspend_ms=DAY, growth=2, suspend_ms_max=5 * DAY)
TENANT = Ladder(warn_at=5, suspend_at=8, window_ms=30 * DAY, suspend_ms=DAY, growth=2, suspend_ms_max=5 * DAY)
ALLOWED = Verdict(Action.ALLOW, "no rule applied")
BROKEN = Verdict(Action.WITHHOLD, "fault", Grade.HARD, Category.UNREADABLE)


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def refused(strikes: int = 1, grade: Grade = Grade.HARD, rule: str = "an umbrella in a garden") -> Verdict:
    return Verdict(Action.REFUSE, rule, grade, Category.SAFETY, strikes=strikes)


def noted(number: int | str = 1, verdict: Verdict | None = None, at: int = NOON, **changed: Any) -> Noted:
    """A refusal of the request of this number, in this hour."""
    told = verdict or refused()
    whole = {
        "at": at,
        "tenant": "tenant",
        "user": "user",
        "request": f"req_{number}-{at // HOUR:x}",
        "name": f"req_{number}",
        "stage": Stage.INPUT,
        "verdict": told,
        "facts": (Fact("context:umbrella", Stage.INPUT, "lexicon 1"),),
        "policy": "strict",
        "acknowledged": False,
        "retried_since": at - HOUR,
        "ladders": (USER, TENANT),
    }
    return Noted(**(whole | changed))  # type: ignore[arg-type]


def asking(at: int = NOON, user: str = "user", tenant: str = "tenant") -> Asking:
    return Asking(tenant, user, at, at - HOUR, at - 30 * DAY)


def entry(booking: str = "b", images: int = 1, at: int = NOON, **changed: Any) -> Entry:
    """Ten requests a minute, and ten images a day; a booking ends after an hour."""
    told = {"per_minute": 10, "images_per_day": 10, "booked_until": at + HOUR} | changed
    return Entry(asking=told.pop("asking", asking(at)), images=images, booking=booking, **told)


@dataclass
class Clock:
    """Seconds, as told; whoever sleeps moves it."""

    now: float = NOON / 1000
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


def tenant(key: str = "demo", **changed: Any) -> TenantSettings:
    return TenantSettings(key_sha256=hashlib.sha256(key.encode()).hexdigest(), **changed)


def people(ledger: Ledger, clock: Clock | None = None, **changed: Any) -> People:
    """Two tenants, demo and other, whose keys are their names."""
    told = {"tenants": {"demo": tenant(), "other": tenant("other")}} | changed
    clock = clock or Clock()
    means = Means(RunKey(bytes(32)), clock=clock, sleep=clock.sleep)
    return People(ledger, PeopleSettings(**told), means)


__all__ = [
    "ALLOWED",
    "BROKEN",
    "DAY",
    "HOUR",
    "NOON",
    "TENANT",
    "USER",
    "Clock",
    "asking",
    "entry",
    "name_of",
    "noted",
    "people",
    "refused",
    "run",
    "tenant",
]
