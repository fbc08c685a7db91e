"""Photos of two kinds as vectors of numbers: what is confirmed leans one way, what is rejected another, and most lean no way."""

from __future__ import annotations

from functools import cache

import numpy as np

from custodes.similar.probe import Float32s, Judged, Origin, Taught, TeachSettings, teach

DIMENSION = 16
ORIGIN = Origin(model="numbers", made_at="2026-03-01T12:00:00+00:00", taught_from={"run": "r1"})
FEW = TeachSettings(positives_min=8, negatives_min=8, background_min=20, folds=4)


def photos(count: int, lean: float, seed: int) -> Float32s:
    numbers = np.random.default_rng(seed).standard_normal((count, DIMENSION))
    numbers[:, 0] += lean
    return numbers.astype(np.float32)


def judged(positives: int = 40, negatives: int = 60, lean: float = 3, seed: int = 1) -> Judged:
    vectors = np.concatenate([photos(positives, lean, seed), photos(negatives, -0.5, seed + 1000)])
    return Judged(vectors, np.repeat([True, False], [positives, negatives]))


def some_background(count: int = 300) -> Float32s:
    return photos(count, 0, 77)


@cache
def usual() -> Taught:
    return teach(judged(), some_background(), FEW, ORIGIN)


def taught(given: Judged | None = None) -> Taught:
    return teach(given, some_background(), FEW, ORIGIN) if given else usual()
