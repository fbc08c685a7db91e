"""Drift: fast decoding keeps to its promise on a share of the published set. The whole set, and photographs, are in ``bench/drift_bench.py``."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import pytest
from bench.drift_bench import BITS_MAX, QUALITY_MIN, drift_of, jpeg, scene, summary

from custodes.decoder import image

MEAN_BITS_MAX = 1.0
SIZES = ((640, 480), (1024, 768), (1366, 768), (720, 1279), (1023, 577), (1920, 1080), (1547, 1540))
NUMBERS = range(0, 84, 3)


@functools.cache
def files() -> list[bytes]:
    return [jpeg(scene(number, SIZES[number % 7]), number) for number in NUMBERS]


def broken_promises() -> list[str]:
    """What the promise says, checked."""
    drifts = [drift_of(data) for data in files()]
    mean, _, most = summary(drift.bits for drift in drifts if drift.quality >= QUALITY_MIN)
    return [said for said, kept in (("mean", mean < MEAN_BITS_MAX), ("maximum", most <= BITS_MAX)) if not kept]


def test_fast_is_less_than_a_bit_off_on_average_and_never_more_than_eight() -> None:
    assert broken_promises() == []


def test_the_planted_blur_of_the_wrong_width_breaks_the_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = image._jpeg_frames

    def uncompensated(*loaded: Any) -> Iterator[image.Frame]:
        for frame in frames(*loaded):
            height, width = frame.shape
            yield dataclasses.replace(frame, width=width, height=height, reduction=1)

    monkeypatch.setattr(image, "_jpeg_frames", uncompensated)
    assert broken_promises() == ["mean", "maximum"]


def test_the_planted_smaller_scale_breaks_the_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "_REDUCED_SIDE_MIN", 128)
    assert broken_promises() == ["mean", "maximum"]


def test_the_share_has_every_kind_of_file() -> None:
    assert {number % 4 for number in NUMBERS} == {0, 1, 2, 3}  # kinds of scenes
    assert sum(min(SIZES[number % 7]) >= 768 for number in NUMBERS) == 16  # reduced ones
    assert sum(b"\xff\xc2" in data[:1000] for data in files()) == 5  # progressive ones
