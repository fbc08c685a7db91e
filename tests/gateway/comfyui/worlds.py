"""A gateway that speaks ComfyUI, on loopback, with two tenants; and its stand-in behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from custodes.gateway.app import AppLimits
from custodes.gateway.dialects.comfyui.dialect import ComfySettings, ComfyUI
from custodes.gateway.dialects.comfyui.jobs import JobLimits
from custodes.gateway.guard import Caller
from tests.gateway.comfyui.client import Client
from tests.gateway.comfyui.generator import ComfyStandIn
from tests.gateway.fakes import KEY, People, World

T = TypeVar("T")
OTHER_KEY = "other"
LIMITS = JobLimits(run_s=1.5, pictures_max=8)
AGAIN = b"written again: "


class TwoTenants(People):
    """``demo`` and ``other``."""

    def known(self, key: str) -> frozenset[str]:
        return frozenset() if key == OTHER_KEY else super().known(key)

    async def visitor(self, key: str, user: str) -> Caller:
        return Caller("another tenant", user) if key == OTHER_KEY else await super().visitor(key, user)

    async def caller(self, key: str, user: str, request: str, images: int) -> Caller:
        if key == OTHER_KEY:
            return Caller("another tenant", user, request[:16])
        return await super().caller(key, user, request, images)


@dataclass
class Place:
    """All of it. ``settings``: of the dialect."""

    world: World = field(default_factory=lambda: World(limits=AppLimits(drain_s=0.2)))
    behind: ComfyStandIn = field(default_factory=ComfyStandIn)
    settings: ComfySettings = field(default_factory=lambda: ComfySettings(limits=LIMITS))

    @asynccontextmanager
    async def standing(self) -> AsyncIterator[Place]:
        self.dialect = ComfyUI(self.settings)
        self.world.people = TwoTenants(self.world.faults, models=self.world.people.models)
        async with self.behind.standing(), self.world.standing(self.behind.address, self.dialect):
            try:
                yield self
            finally:
                await self.dialect.close()

    def client(self, key: str = KEY, **more: str) -> Client:
        return Client(self.world.url, key, **more)


def run(work: Callable[[Place], Awaitable[T]], place: Place | None = None) -> T:
    """In a place that stands."""

    async def inside() -> T:
        async with (place or Place()).standing() as standing:
            return await work(standing)

    return asyncio.run(inside())
