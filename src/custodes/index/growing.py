"""Entries that come and go, over segments that do not change: the logarithmic method (Bentley and Saxe, 1980).

What is added becomes a small segment, and neighbours in size are merged, so each entry is moved a few times however slowly an index grows, and a search
looks into few segments. What is withdrawn is marked, and gone for good with the next merge, or when most of its segment is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from custodes.index.arrays import Int64s, Uint8s, checked_codes, checked_ids
from custodes.index.file import unsound

__all__ = ["Growing", "Part", "SegmentLike"]

_MERGE_FACTOR: Final = 4  # a segment is merged with the one before it unless that is at least four times as large


class SegmentLike(Protocol):
    """Codes that do not change."""

    def __len__(self) -> int:
        """How many codes there are."""

    @property
    def codes(self) -> Uint8s:
        """The codes, uint8[n, k], in the order in which they were given."""

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays held."""


S = TypeVar("S", bound=SegmentLike)


@dataclass(slots=True, eq=False)
class Part(Generic[S]):
    """A segment, the ids of its entries, and which of them are withdrawn. Without ``ids`` they count up from ``first``."""

    segment: S
    ids: Int64s | None
    first: int
    gone: npt.NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.segment) - (0 if self.gone is None else int(self.gone.sum()))

    def all_ids(self) -> Int64s:
        """The ids of all entries, the withdrawn ones too."""
        return np.arange(self.first, self.first + len(self.segment)) if self.ids is None else self.ids

    def stored_ids(self) -> Int64s:
        """The ids as a file holds them: one alone where they count up."""
        return np.array([self.first]) if self.ids is None else self.ids

    def ids_of(self, entries: npt.NDArray[np.integer]) -> Int64s:
        """The ids of these entries."""
        return entries + np.int64(self.first) if self.ids is None else self.ids[entries]

    def held(self, entries: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
        """Which of these entries are not withdrawn."""
        return np.ones(len(entries), np.bool_) if self.gone is None else ~self.gone[entries]


class Growing(Generic[S]):
    """Parts of an index over codes of ``size_bytes``; ``make`` turns codes into a segment."""

    def __init__(self, make: Callable[[Uint8s], S], size_bytes: int) -> None:
        self._make = make
        self._size_bytes = size_bytes
        self._next = 0
        self.parts: list[Part[S]] = []

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def __iter__(self) -> Iterator[Part[S]]:
        return iter(self.parts)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays held."""
        others = (array.nbytes for part in self.parts for array in (part.ids, part.gone) if array is not None)
        return sum(part.segment.nbytes for part in self.parts) + sum(others)

    def add(self, codes: Uint8s, ids: Int64s | None) -> None:
        """Add entries. Without ``ids`` theirs count on from the highest so far."""
        codes = checked_codes(codes, self._size_bytes)
        if len(codes):
            self.put(self._make(codes), None if ids is None else checked_ids(ids, len(codes)))
        while len(self.parts) > 1 and len(self.parts[-2]) < _MERGE_FACTOR * len(self.parts[-1]):
            self._merge(2)

    def put(self, segment: S, ids: Int64s | None, first: int | None = None) -> None:
        """Add a segment as it is."""
        part = Part(segment, ids, self._next if first is None else first)
        self._next = max(self._next, int(part.all_ids().max()) + 1 if ids is not None else part.first + len(segment))
        self.parts.append(part)

    def put_stored(self, segment: S, ids: Int64s) -> None:
        """Add a segment with ids as ``Part.stored_ids`` gave them, if it holds anything. Raises InputError where they do not fit."""
        alone = ids.shape == (1,)
        if ids.dtype != np.int64 or not (alone or ids.shape == (len(segment),)):
            raise unsound()
        if len(segment):
            self.put(segment, None if alone else ids, int(ids[0]) if alone else None)

    def withdraw(self, ids: Int64s) -> int:
        """Take out every entry with one of these ids; how many there were."""
        before = len(self)
        for part in self.parts:
            named = np.isin(part.all_ids(), ids)
            if named.any():
                part.gone = named if part.gone is None else part.gone | named
        self.parts = [self._without(part) for part in self.parts if len(part)]
        return before - len(self)

    def fold(self) -> None:
        """Make one part of all, without what is withdrawn."""
        if len(self.parts) > 1 or any(part.gone is not None for part in self.parts):
            self._merge(len(self.parts))

    def _without(self, part: Part[S]) -> Part[S]:
        """The part without what is withdrawn, once that is most of it."""
        return part if 2 * len(part) >= len(part.segment) else self._joined([part])

    def _merge(self, count: int) -> None:
        self.parts[-count:] = [self._joined(self.parts[-count:])]

    def _joined(self, parts: list[Part[S]]) -> Part[S]:
        kept = [slice(None) if part.gone is None else ~part.gone for part in parts]
        codes = np.concatenate([part.segment.codes[keep] for part, keep in zip(parts, kept, strict=True)])
        ids = np.concatenate([part.all_ids()[keep] for part, keep in zip(parts, kept, strict=True)])
        counted = bool((np.diff(ids) == 1).all())
        return Part(self._make(codes), None if counted else ids, int(ids[0]))
