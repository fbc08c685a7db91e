"""A linear probe: learns from what an authority judged which vectors are like what it confirmed, and says how far it may be believed.

Promises the same probe from the same verdicts, in whatever order they come; that one photo in many rows is learnt, and measured, once; that figures of
precision and recall come from parts that the probe was not fitted to; and that it is not taught at all from too little. A score orders suspects
for an authority. It says of nothing what it is.

What is fitted: logistic regression on vectors of length 1, with L2 (scikit-learn). Confirmed photos weigh one half together, rejected ones and background
a quarter each, however many they are. The score is calibrated by Platt's sigmoid, on scores of photos that were left out when they were
scored; two numbers are fitted from some dozens of verdicts, where isotonic regression would follow each of them. So it estimates the share
that is confirmed among photos like those that were judged, not among all rows.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module, metadata
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from custodes.errors import ConfigError, InputError
from custodes.similar.arithmetic import dots, filled_up
from custodes.similar.measure import Level, average_precision, levels

__all__ = [
    "Comparison",
    "Judged",
    "Origin",
    "ProbeCard",
    "Taught",
    "TeachSettings",
    "compare",
    "held_out",
    "needed",
    "teach",
]

FORMAT: Final = "custodes-probe/1"
HELD_OUT_ONE_IN: Final = 5
_SQUARES: Final = (np.float32(2.0**-100), np.float32(2.0**100))  # outside, sums of floats lose too much: arithmetic, 3.
_STEPS_MAX: Final = 2000
_FREE: Final = 1e6  # so weak is the penalty on the two numbers of the calibration

Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class TeachSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked of verdicts, and how the probe is fitted."""

    positives_min: int = 20  # different confirmed photos, at least
    negatives_min: int = 20  # different rejected ones
    background_min: int = 100  # rows that nobody judged
    folds: int = 5
    strengths: tuple[float, ...] = (
        1.0,
        10.0,
        100.0,
    )  # scikit-learn's C, to choose from: the higher, the closer to the verdicts
    seed: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.folds <= min(self.positives_min, self.negatives_min, self.background_min):
            raise ValueError("folds must be at least 2, and each must get a photo of every kind")
        if not self.strengths or not all(strength > 0 for strength in self.strengths):
            raise ValueError("strengths must be more than 0, and there must be one")


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """What a card says beside figures. ``taught_from``: digests by name, and nothing of any row."""

    model: str  # of the vectors, as the operator names it
    made_at: str
    taught_from: dict[str, str] = {}


class ProbeCard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a probe is, was taught from, and was worth in cross-validation."""

    format: str
    model: str
    dimension: int
    made_at: str
    made_with: dict[str, str]
    taught_from: dict[str, str]
    settings: TeachSettings
    positives: int
    negatives: int
    background: int
    contradictory: int  # photos that were confirmed and rejected: left out
    strength: float  # that was chosen
    average_precision: float
    levels: tuple[Level, ...]
    weights_sha256: str = ""  # of the file, when it is one


@dataclass(frozen=True, eq=False, repr=False)
class Judged:
    """Vectors, one a row, and whether each was confirmed (true) or rejected."""

    vectors: Float32s
    labels: Bools

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or self.labels.shape != (len(self.vectors),):
            raise InputError("each vector needs one label, and each label one vector")


@dataclass(frozen=True, eq=False, repr=False)
class Taught:
    """A probe that can be used. Scores are between 0 and 1."""

    weights: Float32s
    bias: float
    slope: float
    offset: float
    card: ProbeCard

    def score(self, block: npt.NDArray[Any]) -> Float64s:
        """Of vectors of fp16, fp32 or int8, at the speed of ``arithmetic.dots``; not a number for a vector without a direction."""
        if block.shape[1] != len(self.weights):
            raise InputError(
                f"vectors have {block.shape[1]:,} numbers, the probe {len(self.weights):,}",
                hint="use the vectors of the model that it was taught with",
            )
        return self.scored(*dots(np.ascontiguousarray(block), self.filled[None]))

    @property
    def filled(self) -> Float32s:
        """The weights as ``arithmetic.dots`` takes them."""
        filled = np.zeros(filled_up(len(self.weights)), dtype=np.float32)
        filled[: len(self.weights)] = self.weights
        return filled

    def scored(self, products: Float32s, squares: Float32s) -> Float64s:
        """The scores, from the products of vectors with the weights (the first row of ``products``) and their squares."""
        odd = ~((squares >= _SQUARES[0]) & (squares <= _SQUARES[1]))
        with np.errstate(all="ignore"):
            raw = products[0].astype(np.float64) / np.sqrt(squares.astype(np.float64)) + self.bias
            scores = _sigmoid(self.slope * raw + self.offset)
        scores[odd] = np.nan
        return scores


def teach(judged: Judged, background: Float32s, settings: TeachSettings, origin: Origin) -> Taught:
    """Fit, calibrate and cross-validate. Raises InputError, saying how many more it needs, for verdicts that are too few or one-sided."""
    photos = _photos(judged, background)
    if lacking := needed(photos.counts, settings):
        raise InputError(
            "too little to learn from: " + ", ".join(f"{photos.counts[kind]:,} {kind}" for kind in lacking),
            hint="it needs " + ", ".join(f"{more:,} more {kind}" for kind, more in lacking.items()),
        )
    strength, scored = _chosen(photos, settings)
    slope, offset = _calibrated(scored[0], photos.labels)
    if slope <= 0:
        raise InputError(
            "by these vectors what is confirmed cannot be told from what is not: no better than chance in cross-validation",
            hint="more verdicts may help, or vectors of another model",
        )
    weights, bias = _fit(photos.unit, photos.unit_background, photos.labels, strength)
    chances = [_sigmoid(slope * each + offset) for each in scored]
    card = ProbeCard(
        format=FORMAT,
        model=origin.model,
        dimension=judged.vectors.shape[1],
        made_at=origin.made_at,
        made_with={name: metadata.version(name) for name in ("custodes", "numpy", "scikit-learn")},
        taught_from=origin.taught_from | photos.digests,
        settings=settings,
        positives=photos.counts["confirmed"],
        negatives=photos.counts["rejected"],
        background=photos.counts["background"],
        contradictory=photos.contradictory,
        strength=strength,
        average_precision=average_precision(chances[0], photos.labels),
        levels=levels(chances[0], photos.labels, chances[1]),
    )
    return Taught(weights.astype(np.float32), bias, slope, offset, card)


def needed(counts: dict[str, int], settings: TeachSettings) -> dict[str, int]:
    """How many more of each kind are needed; empty: it is enough."""
    least = {
        "confirmed": settings.positives_min,
        "rejected": settings.negatives_min,
        "background": settings.background_min,
    }
    return {kind: least[kind] - count for kind, count in counts.items() if count < least[kind]}


def held_out(vectors: Float32s) -> Bools:
    """Which photos are kept apart to compare probes with: one in five, by their own digest, so that none is ever taught, whatever comes later."""
    digests = (hashlib.sha256(b"custodes held out/1" + row).digest() for row in _keys(vectors))
    return np.array([int.from_bytes(each[:8]) % HELD_OUT_ONE_IN == 0 for each in digests], dtype=np.bool_)


# --- comparing


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Two probes on the same held-out photos: average precision of each, or None where there is nothing to compare on."""

    positives: int
    negatives: int
    old: float | None = None
    new: float | None = None

    @property
    def worse(self) -> bool:
        """Whether the new one was not shown to be at least as good."""
        return self.old is None or self.new is None or self.new < self.old


def compare(old: Taught, new: Taught, held: Judged) -> Comparison:
    """Rank the same photos by both, each photo once. Raises InputError where the probes are not of one model."""
    if (old.card.model, old.card.dimension) != (new.card.model, new.card.dimension):
        raise InputError(
            f"one probe is of the model {old.card.model!r}, the other of {new.card.model!r}",
            hint="probes of two models do not compare: give another --out",
        )
    photos = _photos(held, np.empty((0, held.vectors.shape[1]), dtype=np.float32))
    positives, negatives = photos.counts["confirmed"], photos.counts["rejected"]
    if not positives or not negatives:
        return Comparison(positives=positives, negatives=negatives)
    before, after = (average_precision(each.score(photos.vectors), photos.labels) for each in (old, new))
    return Comparison(positives=positives, negatives=negatives, old=before, new=after)


# --- what is learnt from


@dataclass(frozen=True, eq=False, repr=False)
class _Photos:
    """Different vectors, confirmed ones first, each kind in the order of their bytes."""

    vectors: Float32s
    labels: Bools
    background: Float32s
    contradictory: int

    @property
    def counts(self) -> dict[str, int]:
        positives = int(np.count_nonzero(self.labels))
        return {
            "confirmed": positives,
            "rejected": len(self.labels) - positives,
            "background": len(self.background),
        }

    @property
    def digests(self) -> dict[str, str]:
        kinds = {"confirmed": self.vectors[self.labels], "rejected": self.vectors[~self.labels]}
        kinds["background"] = self.background
        return {kind: hashlib.sha256(rows.tobytes()).hexdigest() for kind, rows in kinds.items()}

    @property
    def unit(self) -> Float64s:
        return _unit(self.vectors)

    @property
    def unit_background(self) -> Float64s:
        return _unit(self.background)


def _photos(judged: Judged, background: Float32s) -> _Photos:
    """One photo in many rows is one; one that was both confirmed and rejected is none; what was judged is not background."""
    if background.ndim != 2 or background.shape[1] != judged.vectors.shape[1]:
        raise InputError("background and judged vectors have different dimensions", hint="take both from one model")
    said: dict[bytes, set[bool]] = {}
    for row, label in zip(_keys(judged.vectors), judged.labels.tolist(), strict=True):
        said.setdefault(row, set()).add(label)
    kinds = {label: sorted(row for row, labels in said.items() if labels == {label}) for label in (True, False)}
    dimension = judged.vectors.shape[1]
    return _Photos(
        vectors=_rows([*kinds[True], *kinds[False]], dimension),
        labels=np.repeat([True, False], [len(kinds[True]), len(kinds[False])]),
        background=_rows(sorted(set(_keys(background)) - said.keys()), dimension),
        contradictory=sum(len(labels) == 2 for labels in said.values()),
    )


def _keys(vectors: Float32s) -> Iterable[bytes]:
    """The bytes of each vector, the same for equal ones: minus zero is zero."""
    if not np.isfinite(vectors).all() or not vectors.any(axis=1).all():
        raise InputError("a vector to learn from has no direction: it is zero, or not finite")
    return (row.tobytes() for row in vectors.astype("<f4") + np.float32(0))


def _rows(keys: list[bytes], dimension: int) -> Float32s:
    return np.frombuffer(b"".join(keys), dtype="<f4").reshape(-1, dimension)


def _unit(vectors: Float32s) -> Float64s:
    wide = vectors.astype(np.float64)
    unit: Float64s = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    return unit


# --- fitting


def _chosen(photos: _Photos, settings: TeachSettings) -> tuple[float, tuple[Float64s, Float64s]]:
    """The strength that ranks best what it was not fitted to, the lowest of equal ones, and its scores: a little too good for having been chosen."""
    tried = [(strength, _out_of_fold(photos, settings, strength)) for strength in sorted(settings.strengths)]
    return max(tried, key=lambda each: average_precision(each[1][0], photos.labels))


def _out_of_fold(photos: _Photos, settings: TeachSettings, strength: float) -> tuple[Float64s, Float64s]:
    """Raw scores of judged photos and of the background, each by a probe that was fitted without it."""
    rng = np.random.default_rng(settings.seed)
    counts = photos.counts
    shuffled = {kind: rng.permutation(count) % settings.folds for kind, count in counts.items()}
    fold = np.concatenate([shuffled["confirmed"], shuffled["rejected"]])  # stratified: each kind by itself
    unit, background = photos.unit, photos.unit_background
    judged_scores, background_scores = np.empty(len(unit)), np.empty(len(background))
    for number in range(settings.folds):
        out, out_background = fold == number, shuffled["background"] == number
        weights, bias = _fit(unit[~out], background[~out_background], photos.labels[~out], strength)
        judged_scores[out] = unit[out] @ weights + bias
        background_scores[out_background] = background[out_background] @ weights + bias
    return judged_scores, background_scores


def _fit(judged: Float64s, background: Float64s, labels: Bools, strength: float) -> tuple[Float64s, float]:
    positives = np.count_nonzero(labels)
    negatives = len(labels) - positives
    each = np.where(labels, 1 / (2 * positives), 1 / (4 * negatives)) * len(labels)
    weights = np.concatenate([each, np.full(len(background), len(labels) / (4 * len(background)))])
    confirmed = np.concatenate([labels, np.zeros(len(background), dtype=np.bool_)])
    return _regression(np.concatenate([judged, background]), confirmed, weights, strength)


def _calibrated(scores: Float64s, labels: Bools) -> tuple[float, float]:
    """Slope and offset of the sigmoid (Platt 1999), with his targets: short of 1 and 0 by what so few cases cannot tell."""
    positives = np.count_nonzero(labels)
    negatives = len(labels) - positives
    target = np.where(labels, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    twice, weights = np.concatenate([scores, scores])[:, None], np.concatenate([target, 1 - target])
    truth = np.repeat([True, False], len(scores))
    slope, offset = _regression(twice, truth, weights, _FREE)
    return float(slope[0]), offset


def _regression(rows: Float64s, labels: Bools, weights: Float64s, strength: float) -> tuple[Float64s, float]:
    linear_model, problems = _imported("sklearn.linear_model"), _imported("sklearn.exceptions")
    model = linear_model.LogisticRegression(C=strength, max_iter=_STEPS_MAX)
    one_thread = _imported("threadpoolctl").threadpool_limits(1)  # several would add up in an order of their own
    try:
        with one_thread, warnings.catch_warnings():
            warnings.simplefilter("error", problems.ConvergenceWarning)
            model.fit(rows, labels, sample_weight=weights)
    except problems.ConvergenceWarning:
        raise InputError("the probe did not settle", hint="lower its strengths") from None
    return model.coef_[0], float(model.intercept_[0])


def _imported(name: str) -> Any:
    """A module of scikit-learn, or one that it brings."""
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigError(
            "teaching needs scikit-learn, which is not installed", hint="pip install 'custodes[similar]'"
        ) from error


def _sigmoid(numbers: Float64s) -> Float64s:
    chances: Float64s = 1 / (1 + np.exp(-np.clip(numbers, -700, 700)))
    return chances
