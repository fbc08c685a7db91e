"""Checks for the guard that do what a test says, and break when it says so; and a gateway of them on loopback, in front of a stand-in generator."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from custodes.gateway.app import Answered, AppLimits, Gateway
from custodes.gateway.door import Denial, DeniedError, Dialect, Door
from custodes.gateway.guard import Caller, Checks, Guard, Looked, Patience
from custodes.gateway.people.flights import Flights
from custodes.gateway.upstream import Upstream, UpstreamLimits
from custodes.gateway.vocabulary import Action, Asked, Category, Fact, Grade, Stage, Text, Verdict

KEY = "demo"
MODELS = frozenset({"gpt-image-2", "dall-e-2", "demo"})
MARK = b"PIXELS-OF-THE-GENERATOR-" * 8
"""What the generator's pictures are made of: never to be seen by a client."""


def picture(number: int = 0) -> bytes:
    """A picture of the generator."""
    return b"\x89PNG\r\n\x1a\n" + bytes([number]) + MARK


def leaked(answer: bytes) -> bool:
    """Whether pixels of the generator are in it, plain or in base64 at any of its three places."""
    shifted = [base64.b64encode(b"x" * shift + MARK)[8:64] for shift in range(3)]
    return any(piece in answer for piece in (MARK[:24], MARK[:24].hex().encode(), *shifted))


@dataclass
class Faults:
    """What of the checks is broken, and how: ``raises``, ``hangs`` or ``garbage``."""

    of: dict[str, str] = field(default_factory=dict)

    def check(self, name: str) -> Any:
        """For a check that answers at once. Returns garbage, or None."""
        if self.of.get(name) == "raises":
            raise KeyError(MARK.decode())
        return object() if self.of.get(name) == "garbage" else None

    async def wait(self, name: str) -> Any:
        if self.of.get(name) == "hangs":
            await asyncio.sleep(3600)
        return self.check(name)


@dataclass
class Screening:
    faults: Faults

    def facts(self, texts: Sequence[Text]) -> tuple[Fact, ...]:
        if (broken := self.faults.check("screening")) is not None:
            return broken  # type: ignore[no-any-return]
        return tuple(
            Fact(f"context:{word}", Stage.INPUT, "fake", where=text.where)
            for text in texts
            for word in ("umbrella", "garden", "mild", "hat")
            if word in text.value
        )


@dataclass
class Inspecting:
    """Pictures whose number is in ``bad`` are known; what is released is a digest of what came."""

    faults: Faults
    bad: set[int] = field(default_factory=set)
    seen: list[tuple[Stage, str]] = field(default_factory=list)

    async def look(self, content: bytes, stage: Stage, where: str) -> Looked:
        if (broken := await self.faults.wait("inspecting")) is not None:
            return broken  # type: ignore[no-any-return]
        self.seen.append((stage, where))
        known = (Fact("known:report", stage, "fake", where=where),)
        if stage is Stage.OUTPUT and int(where) in self.bad:
            return Looked(known, stage)
        if stage is Stage.INPUT and b"KNOWN" in content:
            return Looked(known, stage)
        digest = hashlib.sha256(content).digest()
        return Looked((), stage, released=b"written again: " + digest, format="png")


@dataclass
class Ruling:
    """Umbrella and garden are hard; ``mild`` is rewritten; ``hat`` is soft; known pictures are withheld."""

    faults: Faults

    def decide(self, facts: Sequence[Fact], stage: Stage, *, tenant: str, acknowledged: bool) -> Verdict:
        if (broken := self.faults.check("ruling")) is not None:
            return broken  # type: ignore[no-any-return]
        named = {fact.name for fact in facts}
        if "known:report" in named:
            return Verdict(Action.WITHHOLD, "known", Grade.HARD, report=True, strikes=3, facts=tuple(facts))
        if {"context:umbrella", "context:garden"} <= named:
            return Verdict(Action.REFUSE, "both", Grade.HARD, strikes=2, facts=tuple(facts))
        if "context:hat" in named and not acknowledged and stage is Stage.INPUT:
            return Verdict(Action.REFUSE, "hats", Grade.SOFT, Category.SEXUAL, facts=tuple(facts))
        if "context:mild" in named:
            return Verdict(Action.REWRITE, "mild", Grade.SOFT, Category.SEXUAL)
        return Verdict(Action.ALLOW, "")


@dataclass
class Rewriting:
    faults: Faults

    async def rewrite(self, texts: Sequence[Text], verdict: Verdict) -> Mapping[str, str] | None:
        if (broken := await self.faults.wait("rewriting")) is not None:
            return broken  # type: ignore[no-any-return]
        return {text.where: text.value.replace("mild", "wild") for text in texts if "mild" in text.value}


@dataclass
class Remote:
    faults: Faults
    asked: int = 0

    async def facts(self, asked: Asked) -> tuple[Fact, ...]:
        if (broken := await self.faults.wait("remote")) is not None:
            return broken  # type: ignore[no-any-return]
        self.asked += 1
        return ()


@dataclass
class Records:
    faults: Faults
    decisions: list[tuple[Caller, Stage, Verdict]] = field(default_factory=list)

    acknowledged: list[bool] = field(default_factory=list)

    async def decided(
        self, caller: Caller, stage: Stage, verdict: Verdict, facts: Sequence[Fact], *, acknowledged: bool
    ) -> None:
        await self.faults.wait("records")
        self.decisions.append((caller, stage, verdict))
        self.acknowledged.append(acknowledged)


@dataclass
class Evidence:
    faults: Faults
    kept: list[bytes] = field(default_factory=list)

    async def keep(self, caller: Caller, verdict: Verdict, content: bytes, looked: Looked) -> None:
        await self.faults.wait("evidence")
        self.kept.append(content)


@dataclass
class People:
    """One tenant. ``busy``: so many more requests are turned away with a 429; ``models``: what it is held to; ``looks``: how often somebody only looked."""

    faults: Faults
    busy: int = 0
    seen: list[Caller] = field(default_factory=list)
    suspended: set[str] = field(default_factory=set)
    flights: Flights = field(default_factory=Flights)
    models: frozenset[str] = frozenset()
    warned: bool = False
    looks: int = 0

    def known(self, key: str) -> frozenset[str]:
        if key != KEY:
            raise DeniedError(Denial.KEY, "nobody has this key")
        return self.models

    async def visitor(self, key: str, user: str) -> Caller:
        if (broken := await self.faults.wait("people")) is not None:
            return broken  # type: ignore[no-any-return]
        self.known(key)
        self.looks += 1
        return Caller("tenant", user and f"u-{len(user)}", warned=self.warned)

    async def caller(self, key: str, user: str, request: str, images: int) -> Caller:
        if (broken := await self.faults.wait("people")) is not None:
            return broken  # type: ignore[no-any-return]
        self.known(key)
        if user in self.suspended:
            raise DeniedError(Denial.SUSPENDED, "this user is suspended")
        if self.busy:
            self.busy -= 1
            raise DeniedError(Denial.RATE, "too many requests", retry_after_s=1)
        self.seen.append(Caller("tenant", user and f"u-{len(user)}", f"r-{request[:16]}", self.warned))
        self.flights.enter(self.seen[-1])
        return self.seen[-1]


@dataclass
class Counted:
    """What was counted."""

    why: list[str] = field(default_factory=list)
    upstream: int = 0

    def denied(self, why: str) -> None:
        self.why.append(why)

    def upstream_failed(self) -> None:
        self.upstream += 1


@dataclass
class World:
    """A gateway, its checks, and what it told."""

    faults: Faults = field(default_factory=Faults)
    told: list[Answered] = field(default_factory=list)
    patience_s: float = 0.2
    limits: AppLimits = field(default_factory=AppLimits)
    counted: Counted = field(default_factory=Counted)
    url: str = ""

    def __post_init__(self) -> None:
        self.inspecting, self.records = Inspecting(self.faults), Records(self.faults)
        self.evidence, self.people, self.remote = Evidence(self.faults), People(self.faults), Remote(self.faults)
        self.checks = Checks(
            Screening(self.faults),
            self.inspecting,
            Ruling(self.faults),
            Rewriting(self.faults),
            self.records,
            self.evidence,
            self.remote,
        )

    def door(self, upstream: Upstream, guard: Callable[[Checks, Patience], Guard] = Guard) -> Door:
        patience = Patience(self.patience_s, self.patience_s, self.patience_s)
        return Door(self.people, guard(self.checks, patience), upstream, MODELS, self.counted)

    @asynccontextmanager
    async def standing(self, address: str, dialect: Dialect, timeout_s: float = 1.0) -> AsyncIterator[Gateway]:
        """The gateway, listening on loopback."""
        limits = UpstreamLimits(body_bytes_max=1 << 20, timeout_s=timeout_s, connect_s=timeout_s)
        async with Upstream(address, {"Authorization": "Bearer of-the-gateway"}, limits) as upstream:
            gateway = Gateway(self.door(upstream), [dialect], self.limits, self.told.append)
            async with serving(gateway.runner()) as self.url:
                yield gateway

    def breaking(self, check: str, how: str) -> World:
        """The same, with one check broken."""
        self.faults.of[check] = how
        return self


@asynccontextmanager
async def listening(app: web.Application) -> AsyncIterator[str]:
    """An application on a port of loopback."""
    async with serving(web.AppRunner(app, access_log=None, shutdown_timeout=0.2)) as url:
        yield url


@asynccontextmanager
async def serving(runner: web.AppRunner) -> AsyncIterator[str]:
    """What serves an application, on a port of loopback."""
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
