"""All loaded lists as one question: which entries do these digests match?

Every match is found and none is invented; each list keeps its own distance and quality limits. Digests go in by the
thousand, as arrays, and pairs of row and entry come out; an entry is a number until it is asked for as a Signal, which says
what its category means. PhotoDNA is carried by lists and never compared. What a match leads to is for the policy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from custodes.errors import ListError
from custodes.index import HAMMING_RADIUS_MAX, ExactIndex, HammingIndex
from custodes.lists.container import ROLES, Columns
from custodes.lists.meaning import Meanings, meaning_of
from custodes.lists.store import LoadedList, LoadedLists
from custodes.model import MATCHED_KINDS, Kind, Signal
from custodes.pdq import FORMS, forms_of

__all__ = ["FORMS", "QUERIES_AT_ONCE", "ExactHits", "Indexes", "MatchSettings", "Matcher", "NearHits", "indexes_of"]

Int64s = npt.NDArray[np.int64]
Uint8s = npt.NDArray[np.uint8]
Forms = Callable[[Uint8s], Uint8s]

QUERIES_AT_ONCE: Final = 1 << 17
"""Rows that are searched together: each is eight queries, and a join is the cheaper the more of them there are."""


class MatchSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How near is a match, and how much of a dataset may match, for one list. The first two defaults are PDQ's published recommendation."""

    pdq_distance_bits: int = 31  # greatest Hamming distance that is a match
    pdq_quality_min: int = 50  # codes of lower quality are not matched: featureless images are all alike
    flood_share_max: float = 0.5
    """Share of the rows of a shard that may be reported because of this list alone; beyond it they are held instead. 1: no limit."""
    flood_rows_min: int = 1000  # fewer rows than this in a shard are never held for their share

    def __post_init__(self) -> None:
        if not 0 <= self.pdq_distance_bits <= HAMMING_RADIUS_MAX:
            raise ValueError(f"pdq_distance_bits must be 0 to {HAMMING_RADIUS_MAX}")
        if not 0 <= self.pdq_quality_min <= 100:
            raise ValueError("pdq_quality_min must be 0 to 100")
        if not 0 <= self.flood_share_max <= 1:
            raise ValueError("flood_share_max must be between 0 and 1")
        if self.flood_rows_min < 1:
            raise ValueError("flood_rows_min must be at least 1")


class ExactHits(NamedTuple):
    """Pairs of query row and entry, by row."""

    rows: Int64s
    entries: Int64s


class NearHits(NamedTuple):
    """Pairs of query row and entry, by row, each once with its nearest form: ``distances`` bits, ``forms`` in FORMS."""

    rows: Int64s
    entries: Int64s
    distances: Int64s
    forms: Int64s


class Indexes(NamedTuple):
    """An index over the entries of all lists, for each kind: list after list, numbered from 0."""

    exact: Mapping[Kind, ExactIndex]
    pdq: HammingIndex | None

    def items(self) -> Iterator[tuple[Kind, ExactIndex | HammingIndex]]:
        """Kinds and their indexes."""
        yield from self.exact.items()
        if self.pdq is not None:
            yield Kind.PDQ, self.pdq


@dataclass(frozen=True, slots=True, repr=False)
class _Part:
    """The entries of one kind in one list, and the number that the first of them has among all entries of the kind."""

    of: LoadedList
    columns: Columns
    first: int


class Matcher:
    """The lists of a scan, indexed. Holds entries in memory and never prints them."""

    def __init__(
        self,
        loaded: LoadedLists,
        settings: Mapping[str, MatchSettings] | None = None,
        forms: Forms | None = None,
        indexes: Indexes | None = None,
        meanings: Meanings | None = None,
    ) -> None:
        given = settings or {}
        self.kinds = _compared(loaded)
        self.versions = loaded.versions
        self._meanings = meanings or {}
        self._parts = {kind: _parts(loaded, kind) for kind in self.kinds}
        self._exact, pdq = indexes or indexes_of(loaded)
        self._near = _Near(self._parts[Kind.PDQ], pdq, given, forms) if pdq is not None else None

    def exact(self, kind: Kind, codes: Uint8s) -> ExactHits:
        """Entries of this kind equal to the rows of uint8[n, size]; none for a kind of which no list has entries."""
        if kind is Kind.PDQ:
            raise ValueError("pdq is matched by distance: use near")
        if kind not in self._exact:
            return ExactHits(_NONE, _NONE)
        return ExactHits(*self._exact[kind].search(codes))

    def near(self, codes: Uint8s, quality: npt.NDArray[np.integer]) -> NearHits:
        """PDQ entries near any of the eight forms of the rows of uint8[n, 128] (see ``pdq.forms_of``), under each list's own limits."""
        if self._near is None:
            return NearHits(_NONE, _NONE, _NONE, _NONE)
        return self._near.search(codes, quality)

    def signal(self, kind: Kind, entry: int, distance: int = 0, form: int = 0) -> Signal:
        """What an entry says: its list, version, id and role, and what its category means."""
        part = next(part for part in reversed(self._parts[kind]) if part.first <= entry)
        row = entry - part.first
        contents = part.of.contents
        category = contents.categories[part.columns.categories[row]]
        return Signal(
            list_id=part.of.id,
            list_version=part.of.version,
            entry_id=contents.entry_id(int(part.columns.ids[row])),
            kind=kind,
            category=category,
            assurance=contents.assurances[part.columns.assurances[row]],
            role=ROLES[part.columns.roles[row]],
            distance=distance,
            form=FORMS[form],
            meaning=meaning_of(part.of.scheme, category, self._meanings),
        )


class _Near:
    """One index for the PDQ entries of all lists, searched as wide as the widest list asks and narrowed for each."""

    def __init__(
        self, parts: list[_Part], index: HammingIndex, settings: Mapping[str, MatchSettings], forms: Forms | None
    ) -> None:
        used = [settings.get(part.of.id, MatchSettings()) for part in parts]
        sizes = [len(part.columns) for part in parts]
        self._index = index
        self._forms = forms or forms_of
        self._distance_max = np.repeat([each.pdq_distance_bits for each in used], sizes)
        self._quality_min = np.repeat([each.pdq_quality_min for each in used], sizes)
        self._radius = max(each.pdq_distance_bits for each in used)
        self._quality_floor = min(each.pdq_quality_min for each in used)

    def search(self, codes: Uint8s, quality: npt.NDArray[np.integer]) -> NearHits:
        good = np.flatnonzero(quality >= self._quality_floor)
        blocks = [good[start : start + QUERIES_AT_ONCE] for start in range(0, len(good), QUERIES_AT_ONCE)]
        hits = [self._search_block(codes[rows], quality[rows], rows) for rows in blocks]
        return NearHits(*(np.concatenate([_NONE, *column]) for column in zip(*hits, strict=True))) if hits else _NO_HITS

    def _search_block(self, codes: Uint8s, quality: npt.NDArray[np.integer], numbers: Int64s) -> NearHits:
        forms = self._forms(np.ascontiguousarray(codes))
        found = self._index.search(forms.reshape(-1, forms.shape[2]), self._radius)
        rows, form = np.divmod(found.rows, forms.shape[1])
        kept = (found.distances <= self._distance_max[found.ids]) & (quality[rows] >= self._quality_min[found.ids])
        rows, form, entries, distances = rows[kept], form[kept], found.ids[kept], found.distances[kept]
        order = np.lexsort((form, distances, entries, rows))
        rows, form, entries, distances = rows[order], form[order], entries[order], distances[order]
        first = np.ones(len(rows), dtype=np.bool_)  # of each pair the nearest form, and of equals the first
        first[1:] = (rows[1:] != rows[:-1]) | (entries[1:] != entries[:-1])
        return NearHits(numbers[rows[first]], entries[first], distances[first], form[first])


_NONE: Final[Int64s] = np.empty(0, dtype=np.int64)
_NO_HITS: Final = NearHits(_NONE, _NONE, _NONE, _NONE)


def indexes_of(loaded: LoadedLists, threads: int = 1) -> Indexes:
    """Index the entries of all lists. Raises ListError if there is nothing to compare with."""
    codes = {kind: _codes(_parts(loaded, kind)) for kind in _compared(loaded)}
    return Indexes(
        {kind: ExactIndex.build(array) for kind, array in codes.items() if kind is not Kind.PDQ},
        HammingIndex.build(codes[Kind.PDQ], threads=threads) if Kind.PDQ in codes else None,
    )


def _compared(loaded: LoadedLists) -> tuple[Kind, ...]:
    if not loaded.lists or not loaded.kinds:
        raise ListError("no hash list is loaded: nothing could match", hint="import one with: custodes lists import")
    kinds = tuple(kind for kind in loaded.kinds if kind in MATCHED_KINDS)
    if not kinds:
        raise ListError(
            f"list {', '.join(loaded.versions)} holds nothing that is compared: PhotoDNA is carried, and never compared here",
            hint="use a list with other digests too",
        )
    return kinds


def _parts(loaded: LoadedLists, kind: Kind) -> list[_Part]:
    parts: list[_Part] = []
    first = 0
    for each in loaded.lists:
        if kind in each.contents.kinds:
            columns = each.contents.kinds[kind]
            parts.append(_Part(each, columns, first))
            first += len(columns)
    return parts


def _codes(parts: list[_Part]) -> Uint8s:
    return parts[0].columns.codes if len(parts) == 1 else np.concatenate([part.columns.codes for part in parts])
