"""No byte of a picture leaves when something is broken: each fault, on each channel by which a client could get one."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from custodes.gateway.guard import Guard
from tests.gateway.clients import CHANNELS, Heard, ask, holds_pixels
from tests.gateway.faults.world import FAULTS, World, built

WAIT_S = 6.0
Case = tuple[str, str]


def drawn_cases(count: int, seed: int) -> list[Case]:
    """Pairs of fault and channel: every fault once before any comes twice, channels as they fall."""
    rng, cases = random.Random(seed), list[Case]()
    pairs = [(fault, channel) for fault in FAULTS for channel in CHANNELS]
    while len(cases) < count:
        rng.shuffle(pairs)
        seen: set[str] = set()
        first = [pair for pair in pairs if pair[0] not in seen and not seen.add(pair[0])]  # type: ignore[func-returns-value]
        cases += first + [pair for pair in pairs if pair not in first]
    return cases[:count]


async def injected(world: World, case: Case, number: int) -> Heard:
    """What a client hears of one case."""
    fault, channel = case
    FAULTS[fault](world)
    try:
        return await ask(channel, world.url, f"a boat, number {number}", wait_s=WAIT_S)
    finally:
        await world.mended()


async def passes(world: World, channel: str, prompt: str) -> bool:
    """Whether a request without fault has its picture. The guard waits so short a time here that a busy machine may need some tries."""
    for _ in range(10):
        if (await ask(channel, world.url, prompt)).pictures:
            return True
        await asyncio.sleep(0.5)
    return False


async def leaks(home: Path, cases: Sequence[Case]) -> list[str]:
    """What leaked, in words. Now and then a request without fault shows that it is the faults that withhold."""
    found = []
    async with built(home) as world:
        for number, case in enumerate(cases):
            heard = await injected(world, case, number)
            if heard.pictures or any(holds_pixels(piece) for piece in heard.wire):
                found.append(f"{case[0]}, {case[1]}")
            if number % 20 == 0:
                assert await passes(world, case[1], f"a boat, number {number}"), case
    return found


def test_no_picture_leaves_in_sixty_faults(tmp_path: Path) -> None:
    assert asyncio.run(leaks(tmp_path, drawn_cases(60, 8))) == []


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_no_picture_leaves_in_a_thousand_faults(tmp_path: Path) -> None:
    assert asyncio.run(leaks(tmp_path, drawn_cases(1_000, 88))) == []


def test_cases_hold_every_fault_and_every_channel() -> None:
    cases = drawn_cases(60, 8)
    assert {fault for fault, _ in cases} == set(FAULTS)
    assert {channel for _, channel in cases} == set(CHANNELS)
    assert len(set(drawn_cases(len(FAULTS) * len(CHANNELS), 8))) == len(FAULTS) * len(CHANNELS)


def test_a_guard_that_lets_faults_pass_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: what a broken detector leaves is released as it came."""
    honest = Guard._look

    async def trusting(self: Guard, content: bytes, stage: object, where: str) -> object:
        looked = await honest(self, content, stage, where)  # type: ignore[arg-type]
        return replace(looked, facts=(), released=looked.released or content, format=looked.format or "png")

    monkeypatch.setattr(Guard, "_look", trusting)
    cases = [("detector dies", channel) for channel in CHANNELS]
    assert len(asyncio.run(leaks(tmp_path, cases))) == len(CHANNELS)
