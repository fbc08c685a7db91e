"""How near two codes must be somewhere, if they are near on the whole: the thresholds that make multi-index hashing exact.

A code of 256 bits has 16 bands of 16, in a ring. For a radius r take whole numbers t[i] of at least -1 whose sum is r - 15. The differences d of two codes
within r bits have sum(d[i] - t[i] - 1) < 0, so by the cycle lemma some band i begins a run all of whose prefixes sum to less than zero:

    d[i] <= t[i],   d[i] + d[i+1] <= t[i] + t[i+1] + 1,   d[i] + d[i+1] + d[i+2] <= t[i] + t[i+1] + t[i+2] + 2, ...

Such a band is a start. Source: Qin and Xiao, Pigeonring, VLDB 2018 (theorem 3, with the integer reduction of section 5).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["BANDS", "HAMMING_RADIUS_MAX", "MASKS", "MASKS_END", "Chain", "chain_of"]

BANDS: Final = 16
HAMMING_RADIUS_MAX: Final = 64

Int8s = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """The limits of a start, int8[16] each: of the band, of it and the next, of it and the next two. ``one`` is -1 where none may start."""

    radius: int
    one: Int8s
    two: Int8s
    three: Int8s

    def bands(self) -> list[int]:
        """The bands at which a start may be."""
        return [int(band) for band in np.flatnonzero(self.one >= 0)]

    def starts(self, differences: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        """Which bands are starts, for the differences uint8[n, 16] of pairs."""
        first = differences.astype(np.int16)
        second = first + np.roll(first, -1, axis=1)
        third = second + np.roll(first, -2, axis=1)
        return (first <= self.one) & (second <= self.two) & (third <= self.three)


@lru_cache(maxsize=HAMMING_RADIUS_MAX + 1)
def chain_of(radius: int) -> Chain:
    """The chain of a radius of 0 to 64 bits. Raises ValueError for any other."""
    if not 0 <= radius <= HAMMING_RADIUS_MAX:
        raise ValueError(f"radius must be 0 to {HAMMING_RADIUS_MAX} bits, got {radius}")
    low, more = divmod(
        radius + 1 - BANDS, BANDS
    )  # every band has the low one, and ``more`` of them, spread over the ring, one above it
    place = np.arange(BANDS)
    one = (low + ((place + 1) * more // BANDS - place * more // BANDS)).astype(np.int8)
    two = (one + np.roll(one, -1) + 1).astype(np.int8)
    three = (two + np.roll(one, -2) + 1).astype(np.int8)
    return Chain(radius, one, two, three)


def _masks() -> npt.NDArray[np.uint16]:
    values = np.arange(1 << 16, dtype=np.uint16)
    ones = np.bitwise_count(values)
    near = values[ones <= 4]
    return near[np.argsort(np.bitwise_count(near), kind="stable")]


MASKS: Final = _masks()
"""What two values of a band may differ in, uint16, fewest bits first; at most four, which is the highest threshold."""

MASKS_END: Final = (1, 17, 137, 697, 2517)
"""How many masks have at most 0, 1, 2, 3, 4 bits."""
