"""Whatever breaks, no pixel of the generator leaves: every check and the generator, broken in every way, on the socket, in history and by file."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from custodes.gateway.app import AppLimits
from custodes.gateway.dialects.comfyui.dialect import ComfySettings
from custodes.gateway.dialects.comfyui.jobs import JobLimits
from custodes.gateway.guard import Guard, Released
from tests.gateway.comfyui.client import graph, with_frames
from tests.gateway.comfyui.generator import ComfyStandIn
from tests.gateway.comfyui.worlds import AGAIN, Place, run
from tests.gateway.fakes import World, leaked

BOTH: dict[str, Any] = with_frames() | {"9": graph()["9"]}
CHECKS = ("screening", "inspecting", "ruling", "rewriting", "remote", "records", "evidence")
BEHAVES = ("error", "early", "garbage", "rejected", "no id", "many", "stuck", "no socket")
HARMLESS = {
    *(("rewriting", how) for how in ("raises", "hangs", "garbage")),  # nothing is rewritten here
    *((check, "garbage") for check in ("records", "evidence")),  # they answer nothing
    *((check, "hangs") for check in ("screening", "ruling")),  # they do not wait
}
"""Where a picture that was released may leave all the same; the other one never does."""
SHORT = ComfySettings(limits=JobLimits(run_s=0.5, pictures_max=8))


async def asked(place: Place) -> bytes:
    """All that a client gets of a run with files and frames, however it ends."""
    async with place.client() as client:
        await client.queue_prompt(BOTH, prompt_id="mine")
        if client.status == 200:
            await client.frames("mine")
            for image in (await client.ask("GET", "/history"))["mine"]["outputs"].get("9", {}).get("images", []):
                await client.ask("GET", "/view", params=image)
        return bytes(client.everything)


def place(behaves: str = "ok", bad: bool = False, **broken: str) -> Place:
    world = World(limits=AppLimits(drain_s=0.1), patience_s=0.1)
    world.faults.of.update(broken)
    world.inspecting.bad = {0} if bad else set()
    return Place(world, ComfyStandIn(behaves, batch=2), SHORT)


def test_without_a_fault_files_and_frames_leave_as_the_inspection_wrote_them() -> None:
    got = run(asked, place())
    assert got.count(AGAIN) == 4
    assert not leaked(got)


@pytest.mark.parametrize("behaves", BEHAVES)
def test_a_generator_that_fails_gives_nothing(behaves: str) -> None:
    got = run(asked, place(behaves))
    assert not leaked(got)
    assert AGAIN not in got


@pytest.mark.parametrize("how", ["raises", "hangs", "garbage"])
@pytest.mark.parametrize("check", CHECKS)
def test_a_check_that_fails_lets_nothing_through(check: str, how: str) -> None:
    got = run(asked, place(bad=True, **{check: how}))
    assert not leaked(got)
    assert (AGAIN in got) is ((check, how) in HARMLESS)


@pytest.mark.parametrize("check", ["inspecting", "ruling", "records", "evidence"])
def test_a_check_that_breaks_while_a_prompt_runs_lets_nothing_through(check: str) -> None:
    async def work(place: Place) -> bytes:
        async with place.client() as client:
            await client.queue_prompt(BOTH, prompt_id="mine")
            place.world.faults.of[check] = "raises"
            place.behind.go.set()
            await client.frames("mine")
            assert (await client.ask("GET", "/history"))["mine"]["outputs"] == {}
            assert "execution_error" in client.types()
            return bytes(client.everything)

    got = run(work, place("stuck", bad=True))
    assert not leaked(got)
    assert AGAIN not in got


def test_a_gateway_that_stops_while_a_prompt_runs_lets_nothing_through() -> None:
    async def work(place: Place) -> bytes:
        async with place.client() as client:
            await client.queue_prompt(BOTH, prompt_id="mine")
            await asyncio.sleep(0)
            await place.dialect.close()
            await client.ask("GET", "/history")
            return bytes(client.everything)

    got = run(work, place("stuck"))
    assert not leaked(got)
    assert AGAIN not in got


@pytest.mark.soak
def test_no_byte_leaves_in_a_thousand_faults() -> None:
    chance = random.Random(8)
    for _ in range(1000):
        broken = {
            check: chance.choice(["raises", "hangs", "garbage"]) for check in chance.sample(CHECKS, chance.randrange(3))
        }
        assert not leaked(run(asked, place(chance.choice(("ok", *BEHAVES)), chance.random() < 0.5, **broken)))


@pytest.mark.parametrize("behaves", ["ok", "early", "garbage", "many"])
def test_planted_pictures_that_nobody_judges_are_noticed(behaves: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def release(_: object, __: object, images: list[bytes]) -> list[Released]:
        return [Released(image, "png") for image in images]

    monkeypatch.setattr(Guard, "release", release)
    assert leaked(run(asked, place(behaves))) is (behaves == "ok")
