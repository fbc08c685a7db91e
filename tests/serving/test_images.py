"""Jailed decoders in a loop of asyncio: each image is answered, whatever becomes of a decoder, of the one who asked, or of all of them."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.decoder.pictures import picture, saved

from custodes.decoding import ImageLimits, JailSettings
from custodes.errors import JailError
from custodes.model import Content, Reason
from custodes.serving import images
from custodes.serving.images import Decoders
from custodes.viewing import Task

PICTURE = Content(saved(picture(96, 64), "PNG"))
PATIENT_S = 30


@asynccontextmanager
async def decoders(**settings: float) -> AsyncIterator[Decoders]:
    started = Decoders(ImageLimits(), JailSettings(**settings), failed=lambda: None)  # type: ignore[arg-type]
    started.start()
    try:
        async with asyncio.timeout(PATIENT_S):
            yield started
    finally:
        started.close()


def stop_decoders(started: Decoders) -> None:
    for decoder in started._jail._decoders:
        os.kill(decoder.pid, signal.SIGSTOP)


def test_a_decoder_that_answers_nothing_is_ended_though_nobody_else_asks() -> None:
    async def play() -> list[Reason]:
        async with decoders(wall_timeout_s=0.5) as started:
            before = await started.do(PICTURE, Task.EXAMINE)
            stop_decoders(started)
            late = await started.do(PICTURE, Task.EXAMINE)
            after = await started.do(PICTURE, Task.EXAMINE)
            return [answer.viewed.examined.reason for answer in (before, late, after)]

    assert asyncio.run(play()) == [Reason.FULL, Reason.DECODE_TIMEOUT, Reason.FULL]


def test_who_went_away_is_not_answered_and_the_others_are() -> None:
    async def play() -> tuple[list[Reason], int]:
        async with decoders(decoders=2) as started:
            asking = [asyncio.create_task(started.do(PICTURE, Task.EXAMINE)) for _ in range(40)]
            await asyncio.sleep(0)
            for task in asking[::2]:
                task.cancel()
            answers = await asyncio.gather(*asking[1::2])
            return [answer.viewed.examined.reason for answer in answers], started.waiting

    assert asyncio.run(play()) == ([Reason.FULL] * 20, 0)


@pytest.mark.parametrize("size", [images._AT_ONCE_BYTES, images._AT_ONCE_BYTES + 1])
def test_digests_are_of_the_whole_file_however_long(size: int) -> None:
    whole = PICTURE.reveal() + bytes(size - len(PICTURE))

    async def play() -> tuple[bytes, bytes, bytes]:
        async with decoders() as started:
            return (await started.do(Content(whole), Task.EXAMINE)).exact

    named = (hashlib.md5, hashlib.sha1, hashlib.sha256)
    assert asyncio.run(play()) == tuple(each(whole).digest() for each in named)


def test_whoever_waits_is_told_when_the_decoders_are_closed() -> None:
    async def play() -> list[object]:
        async with decoders() as started:
            await started.do(PICTURE, Task.EXAMINE)
            stop_decoders(started)
            waiting = asyncio.create_task(started.do(PICTURE, Task.EXAMINE))
            await asyncio.sleep(0.05)
        return [*await asyncio.gather(waiting, started.do(PICTURE, Task.EXAMINE), return_exceptions=True)]

    assert [type(answer) for answer in asyncio.run(play())] == [JailError] * 2


def test_the_loop_goes_on_while_an_image_is_decoded() -> None:
    async def play() -> int:
        async with decoders(wall_timeout_s=1) as started:
            await started.do(PICTURE, Task.EXAMINE)
            stop_decoders(started)
            waiting, turns = asyncio.create_task(started.do(PICTURE, Task.EXAMINE)), 0
            while not waiting.done():
                await asyncio.sleep(0.01)
                turns += 1
            return turns

    assert asyncio.run(play()) >= 20  # of about 100


def test_a_fault_that_nobody_foresaw_ends_the_decoders(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise KeyError("planted")

    async def play() -> list[object]:
        async with decoders() as started:
            await started.do(PICTURE, Task.EXAMINE)
            monkeypatch.setattr(started._jail, "tick", fail)
            first = await asyncio.gather(started.do(PICTURE, Task.EXAMINE), return_exceptions=True)
            return [*first, *await asyncio.gather(started.do(PICTURE, Task.EXAMINE), return_exceptions=True)]

    assert [type(answer) for answer in asyncio.run(play())] == [KeyError, JailError]
