"""The stand-in generator: it speaks every dialect, draws the same picture for the same words, and misbehaves as told."""

from __future__ import annotations

import asyncio
import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from custodes.demo.generator.drawing import FORMATS, MARK, PLANTED, Wish, drawn, planted
from custodes.demo.generator.server import listening
from custodes.demo.generator.studio import Fault, Manner, Studio
from custodes.demo.plain_pdq import distance, forms
from tests.gateway.clients import CHANNELS, Heard, ask, holds_pixels, size_of

LEAKING = {"openai stream": 3, "a1111": 2, "comfyui": 1, "comfyui socket": 3}
"""Channels that tell more pictures than those that were asked for."""


def asked(channel: str, manner: Manner, prompt: str = "a blue boat") -> tuple[Heard, Studio]:
    async def of_a_studio() -> tuple[Heard, Studio]:
        studio = Studio(manner)
        async with listening(studio) as url:
            return await ask(channel, url, prompt), studio

    return asyncio.run(of_a_studio())


@pytest.mark.parametrize("channel", CHANNELS)
def test_every_channel_gives_the_picture_that_was_asked_for(channel: str) -> None:
    heard, studio = asked(channel, Manner(leaks=False))
    assert [size_of(picture) for picture in heard.pictures] == [(64, 64)]
    assert heard.status == 200
    assert "a blue boat" in studio.asked[0][1]
    assert studio.made == 1


@pytest.mark.parametrize("channel", CHANNELS)
def test_what_a_client_heard_holds_pixels_exactly_where_a_picture_was_given(channel: str) -> None:
    heard, _ = asked(channel, Manner(leaks=False))
    assert any(holds_pixels(piece) for piece in heard.wire)
    refused, _ = asked(channel, Manner(Fault.REFUSES, leaks=False))
    assert not any(holds_pixels(piece) for piece in refused.wire)
    assert refused.pictures == []


@pytest.mark.parametrize("channel", sorted(LEAKING))
def test_the_leaks_of_generators_are_there_and_can_be_shut(channel: str) -> None:
    def told(manner: Manner) -> int:
        wire = b"".join(asked(channel, manner)[0].wire)
        return sum(wire.count(piece) for piece in (b"\x89PNG", base64.b64encode(b"\x89PNG\r\n")))

    assert told(Manner(leaks=True)) > told(Manner(leaks=False)) == 1


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.NONE])
@pytest.mark.parametrize("channel", CHANNELS)
def test_each_fault_is_seen_by_a_client_of_each_channel(channel: str, fault: Fault) -> None:
    heard, _ = asked(channel, Manner(fault, leaks=False, slow_s=0.05))
    whole, _ = asked(channel, Manner(leaks=False))
    if fault is Fault.SLOW:  # late, and whole
        assert heard.pictures == whole.pictures
    elif fault is Fault.HUGE and channel != "comfyui socket":
        assert heard.code or sum(map(len, heard.wire)) > 20 << 20
    else:
        assert (heard.status, heard.code, heard.pictures) != (200, "", whole.pictures)


def test_the_same_words_give_the_same_picture_and_other_words_or_seeds_another() -> None:
    first = drawn(Wish("a blue boat", 64, 64))
    assert np.array_equal(pixels(first), pixels(drawn(Wish("Boat a  BLUE", 64, 64))))
    assert not np.array_equal(pixels(first), pixels(drawn(Wish("a red boat", 64, 64))))
    assert not np.array_equal(pixels(first), pixels(drawn(Wish("a blue boat", 64, 64, seed=1))))


def pixels(picture: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(Image.open(io.BytesIO(picture)))


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_drawn_and_carries_its_mark(form: str) -> None:
    picture = drawn(Wish("a boat", 48, 32, format=form, frames=3 if form == "gif" else 1))
    assert MARK.encode() in picture
    if form != "svg":
        image = Image.open(io.BytesIO(picture))
        assert image.size == (48, 32)
        assert getattr(image, "n_frames", 1) == (3 if form == "gif" else 1)


@pytest.mark.parametrize("wish", [Wish("a", 7, 64), Wish("a", 64, 4097), Wish("a", 64, 64, format="bmp")])
def test_what_cannot_be_drawn_is_an_error(wish: Wish) -> None:
    with pytest.raises(ValueError, match="not drawn"):
        drawn(wish)


@pytest.mark.parametrize("size", [(1024, 1024), (512, 512), (256, 256), (768, 512)])
def test_the_planted_picture_stays_near_itself_in_every_size(size: tuple[int, int]) -> None:
    known, quality = forms(planted())
    wish = Wish(f"a {PLANTED} in the evening", *size)
    assert quality >= 80
    assert distance(known[0], forms(Image.open(io.BytesIO(drawn(wish))))[0]) <= 12
    other = forms(Image.open(io.BytesIO(drawn(replace(wish, words="a house in the evening")))))[0]
    assert distance(known[0], other) > 60


def test_who_asks_without_the_key_gets_nothing() -> None:
    heard, studio = asked("openai", Manner(key="another"))
    assert (heard.status, studio.made) == (401, 0)
