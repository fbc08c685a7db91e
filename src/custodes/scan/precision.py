"""What suspects of a sort were worth so far: of those that were judged, how many were confirmed. Pure.

A suspect is in several slices: all, its band of the probe's score or of the cosine, the language and the host that the dataset gives. One that the authority
was unsure of counts as judged and not confirmed. Hosts are for the sealed findings alone: which hosts confirmed photos stood on is nobody else's business.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple

from custodes.handover.finding import Measured
from custodes.similar.measure import Level, Share, share
from custodes.similar.probe import ProbeCard

__all__ = ["JUDGED_MIN", "JudgedPhoto", "Precision", "cross_validated", "cross_validated_recall", "slices_of"]

JUDGED_MIN: Final = 10
"""Slices of fewer judged photos are told to the authority alone."""

_BANDS: Final = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
_HOST: Final = "host "
_TEXT_MAX: Final = 100
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,4}")  # as in BCP 47: the column may hold anything


class JudgedPhoto(NamedTuple):
    """A photo that was handed over as a suspect and judged."""

    slices: tuple[str, ...]
    confirmed: bool


def slices_of(cosine: float | None, score: float | None, language: str = "", host: str = "") -> tuple[str, ...]:
    """Where a suspect counts."""
    found = ["all"]
    if score is not None:
        found.append(f"probe {_band(score)}")
    if cosine is not None:
        found.append(f"cosine {_band(cosine)}")
    if language:
        found.append(f"language {language if _LANGUAGE.fullmatch(language) else 'of another form'}")
    if host:
        found.append(_HOST + host[:_TEXT_MAX])
    return tuple(found)


def _band(value: float) -> str:
    at = min(bisect_right(_BANDS, value), len(_BANDS) - 1)
    return f"{_BANDS[at - 1]} to {_BANDS[at]}" if at else "below 0.0"


class Precision:
    """Counts of judged suspects by slice."""

    def __init__(self, photos: Iterable[JudgedPhoto]) -> None:
        self._judged: Counter[str] = Counter()
        self._confirmed: Counter[str] = Counter()
        for photo in photos:
            self._judged.update(photo.slices)
            self._confirmed.update(photo.slices if photo.confirmed else ())

    def of(self, slices: Iterable[str]) -> tuple[Measured, ...]:
        """Of these slices, those in which something was judged."""
        return tuple(self._measured(name) for name in slices if self._judged[name])

    def told(self) -> tuple[Measured, ...]:
        """What may be told outside the sealed findings: no hosts, and no slice of few photos."""
        names = [name for name, judged in self._judged.items() if judged >= JUDGED_MIN and not name.startswith(_HOST)]
        return self.of(sorted(names))

    def _measured(self, name: str) -> Measured:
        counted = share(self._confirmed[name], self._judged[name])
        return Measured(
            slice=name,
            basis="verdicts",
            confirmed=counted.hits,
            judged=counted.of,
            low=round(counted.low, 4),
            high=round(counted.high, 4),
        )


def cross_validated(card: ProbeCard | None, score: float | None) -> tuple[Measured, ...]:
    """What cross-validation says of photos that the probe scores as high as this one, or higher."""
    found = [_from(level.threshold, level.precision) for level in _reached(card, score) if level.precision.of]
    return tuple(found[-1:])


def cross_validated_recall(card: ProbeCard | None, least: float) -> tuple[Measured, ...]:
    """Of photos that were confirmed, the share that cross-validation found at this score or higher."""
    found = [_from(level.threshold, level.recall) for level in _reached(card, least) if level.recall.of]
    return tuple(found[-1:])


def _reached(card: ProbeCard | None, score: float | None) -> list[Level]:
    return [level for level in card.levels if level.threshold <= score] if card and score is not None else []


def _from(threshold: float, counted: Share) -> Measured:
    return Measured(
        slice=f"probe from {threshold}",
        basis="cross-validation",
        confirmed=counted.hits,
        judged=counted.of,
        low=round(counted.low, 4),
        high=round(counted.high, 4),
    )
