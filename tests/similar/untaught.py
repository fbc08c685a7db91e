"""Probes whose weights are given: nothing is learnt, so that what they say is known beforehand."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from custodes.similar.measure import Level
from custodes.similar.probe import FORMAT, ProbeCard, Taught, TeachSettings


def card_of(dimension: int = 16, levels: tuple[Level, ...] = ()) -> ProbeCard:
    return ProbeCard(
        format=FORMAT,
        model="numbers",
        dimension=dimension,
        made_at="2026-03-01T12:00:00+00:00",
        made_with={},
        taught_from={},
        settings=TeachSettings(),
        positives=20,
        negatives=20,
        background=100,
        contradictory=0,
        strength=1.0,
        average_precision=0.5,
        levels=levels,
    )


def probe_of(weights: npt.NDArray[Any], bias: float = 0.1, slope: float = 1.5, offset: float = -0.3) -> Taught:
    return Taught(weights.astype(np.float32), bias, slope, offset, card_of(len(weights)))
