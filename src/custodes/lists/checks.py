"""Checks of a new version before it comes into force: a supplier errs, or is somebody else.

A version that fails one is kept aside until a person accepts it: it is neither in force nor lost. The checks look at the shape of a
version and at what it must and must not hold; who made it is for the transport (``authorities``).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from custodes.index import HammingIndex
from custodes.lists.container import ROLES, Columns, Contents, Uint8s, collect
from custodes.model import MATCHED_KINDS, Entry, Kind, Role

__all__ = ["ListChecks", "Samples", "Update", "objections"]

_PDQ_RADIUS_BITS: Final = 31
_PDQ_ONES: Final = (64, 192)
"""Of 256 bits about half are set in every PDQ code, by its construction; far fewer or more come of a flat image or of no image at all."""


class ListChecks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a new version of a list must look like to come into force by itself, and how old a list may grow."""

    shrink_share_max: float = 0.2  # share of the hashes in force that may go at once
    grow_share_max: float = 1.0  # share of the hashes in force that may come at once
    small_list_max: int = 1000  # of a list of at most so many hashes shares say nothing, and none is asked
    malformed_share_max: float = 0.01  # share of records that held a malformed hash
    common_share_max: float = 0.001  # share of hashes that stand for no image: of an empty file, of one colour
    canaries: str = ""  # file (mode 0600) of hashes that must be in the list; text, csv or ndjson, as for import
    harmless: str = ""  # file of hashes of harmless images that must match nothing in the list
    stale_after_h: float = 0.0  # hours without a successful sync or import after which a list is stale; 0: never
    when_stale: str = "flag"  # "flag": scans say so; "refuse": scans do not start
    versions_kept: int = 30  # versions that are kept beside the one in force; 0: all

    def __post_init__(self) -> None:
        for name in ("shrink_share_max", "malformed_share_max", "common_share_max"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be between 0 and 1")
        for name in ("grow_share_max", "small_list_max", "stale_after_h", "versions_kept"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be 0 or more")
        if self.when_stale not in {"flag", "refuse"}:
            raise ValueError('when_stale must be "flag" or "refuse"')


@dataclass(frozen=True, slots=True, repr=False)
class Samples:
    """Hashes that the operator holds against a list: some must be in it, some must match nothing in it."""

    canaries: tuple[Entry, ...] = ()
    harmless: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True)
class Update:
    """A version that would come into force, and the one that is (None: the first)."""

    new: Contents = field(repr=False)
    old: Contents | None = field(repr=False)
    records: int = 0
    malformed: int = 0


def objections(update: Update, checks: ListChecks, samples: Samples) -> list[str]:
    """Why this version should not come into force by itself; counts only. Empty: nothing speaks against it."""
    return [
        *_size(update, checks),
        *_malformed(update, checks),
        *_common(update.new, checks),
        *_canaries(update.new, samples.canaries),
        *_harmless(update.new, samples.harmless),
    ]


def _size(update: Update, checks: ListChecks) -> Iterable[str]:
    if update.old is None or len(update.old) <= checks.small_list_max:
        return
    before, after, both = _sizes(update.old, update.new)
    gone, come = (before - both) / before, (after - both) / before
    if gone > checks.shrink_share_max:
        yield f"{gone:.1%} of its hashes would go (shrink_share_max {checks.shrink_share_max:.1%})"
    if come > checks.grow_share_max:
        yield f"it would grow by {come:.1%} (grow_share_max {checks.grow_share_max:.1%})"


def _sizes(old: Contents, new: Contents) -> tuple[int, int, int]:
    """Distinct hashes before, after, and both times. By the first eight bytes: enough to count with."""
    sizes = np.zeros(3, dtype=np.int64)
    for kind in old.kinds.keys() | new.kinds.keys():
        before, after = (_distinct(each.kinds.get(kind)) for each in (old, new))
        sizes += (len(before), len(after), len(np.intersect1d(before, after, assume_unique=True)))
    return int(sizes[0]), int(sizes[1]), int(sizes[2])


def _distinct(columns: Columns | None) -> npt.NDArray[np.uint64]:
    heads = np.empty(0, dtype=np.uint64) if columns is None else np.sort(_heads(columns.codes))
    fresh = np.ones(len(heads), dtype=np.bool_)  # sorting is many times faster than np.unique
    fresh[1:] = heads[1:] != heads[:-1]
    return np.asarray(heads[fresh], dtype=np.uint64)


def _heads(codes: Uint8s) -> npt.NDArray[np.uint64]:
    return np.ascontiguousarray(codes[:, :8]).view(np.uint64)[:, 0]


def _malformed(update: Update, checks: ListChecks) -> Iterable[str]:
    if update.records > checks.small_list_max and update.malformed > checks.malformed_share_max * update.records:
        yield (
            f"{update.malformed:,} of {update.records:,} records held a malformed hash "
            f"(malformed_share_max {checks.malformed_share_max:.1%})"
        )


def _common(new: Contents, checks: ListChecks) -> Iterable[str]:
    if len(new) <= checks.small_list_max:
        return
    common = sum(_count_common(kind, columns) for kind, columns in new.kinds.items())
    if common > checks.common_share_max * len(new):
        yield (
            f"{common:,} of {len(new):,} hashes stand for no image: of an empty file, or of one colour "
            f"(common_share_max {checks.common_share_max:.2%})"
        )


def _count_common(kind: Kind, columns: Columns) -> int:
    codes = columns.codes[columns.roles != _NEGATIVE]
    if kind is Kind.PDQ:
        ones = np.bitwise_count(np.ascontiguousarray(codes).view(np.uint64)).sum(axis=1)
        return int(np.count_nonzero((ones < _PDQ_ONES[0]) | (ones > _PDQ_ONES[1])))
    flat = (codes == 0).all(axis=1) | (codes == 0xFF).all(axis=1)  # placeholders
    empty = _EMPTY_FILE.get(kind)
    return int(np.count_nonzero(flat | ((codes == empty).all(axis=1) if empty is not None else False)))


_NEGATIVE: Final = ROLES.index(Role.NEGATIVE)
_EMPTY_FILE: Final[Mapping[Kind, Uint8s]] = {
    Kind(name): np.frombuffer(hashlib.new(name, usedforsecurity=False).digest(), dtype=np.uint8)
    for name in ("md5", "sha1", "sha256")
}


def _canaries(new: Contents, canaries: tuple[Entry, ...]) -> Iterable[str]:
    if missing := sum(not hit for hit in _hits(new, canaries)):
        yield f"{missing:,} of {len(canaries):,} canaries, which must be in it, are not"


def _harmless(new: Contents, harmless: tuple[Entry, ...]) -> Iterable[str]:
    if hits := sum(_hits(new, harmless)):
        yield f"{hits:,} of {len(harmless):,} harmless images, which must match nothing, match"


def _hits(new: Contents, sample: tuple[Entry, ...]) -> list[bool]:
    """Of each hash of a sample whether it matches an entry that is not a known false positive: PDQ by distance, others by equality."""
    if not sample:
        return []
    hits: list[bool] = []
    for kind, asked in collect(sample)[0].kinds.items():
        columns = new.kinds.get(kind)
        if columns is None or kind not in MATCHED_KINDS:
            hits += [False] * len(asked)
            continue
        codes = np.ascontiguousarray(columns.codes[columns.roles != _NEGATIVE])
        hits += _near(codes, asked.codes) if kind is Kind.PDQ else _equal(codes, asked.codes)
    return hits


def _near(codes: Uint8s, asked: Uint8s) -> list[bool]:
    if not len(codes):
        return [False] * len(asked)
    index = HammingIndex.build(codes, threads=len(os.sched_getaffinity(0)))
    hit = np.zeros(len(asked), dtype=np.bool_)
    hit[index.search(np.ascontiguousarray(asked), _PDQ_RADIUS_BITS).rows] = True
    return hit.tolist()


def _equal(codes: Uint8s, asked: Uint8s) -> list[bool]:
    known = np.isin(_heads(codes), _heads(asked))  # few survive; compared in full below
    held = {code.tobytes() for code in codes[known]}
    return [code.tobytes() in held for code in asked]
