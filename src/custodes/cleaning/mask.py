"""Which rows leave: by reasons that anyone can see, and in secret those that matched and decoys, with all that anyone can see is the same.

Promises that what leaves is never a directory of what matched. What leaves for a public reason (a rule, an outcome, a swapped image) an adversary subtracts,
so it hides nothing. Of the rest at most one in ``crowd`` matched, or it refuses: of its rows, of its photos and of its families, among those that look alike
(outcome, swapped or not, alone or not). A family is all rows tied by link, photo or near copy; decoys are drawn by a keyed hash of the photo, and leave with
their family, as what matched does. It does no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from custodes.errors import InputError
from custodes.model import OutcomeName

__all__ = [
    "OUTCOMES",
    "Choice",
    "Flags",
    "Int64s",
    "Leaving",
    "Near",
    "Pairs",
    "Rows",
    "crowd_of",
    "leaving",
    "no_copies",
]

OUTCOMES: Final = tuple(OutcomeName)

Flags = npt.NDArray[np.bool_]
Names = npt.NDArray[np.uint64]
Int64s = npt.NDArray[np.int64]

Pairs = tuple[Int64s, Int64s]
"""Rows, and for each a row that it is a near copy of."""

Near = Callable[[Flags], Pairs]
"""Finds every row that is a near copy of one of these."""


def no_copies(_: Flags) -> Pairs:
    """Where the run has seen no image."""
    return np.empty(0, np.int64), np.empty(0, np.int64)


class Choice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to leave beside what matched, what does not decode and what rules take: outcomes, swapped images, and a share of the photos as decoys.

    And how large the crowd must be. ``rules`` are told, not applied here: ``Rows.ruled`` says whom they take.
    """

    drop: tuple[OutcomeName, ...] = ()
    drop_swapped: bool = False
    rules: tuple[str, ...] = ()
    decoys: float = 0.01
    crowd: int = 100

    @property
    def reasons(self) -> tuple[str, ...]:
        """The public reasons for which rows leave."""
        swapped = ("swapped",) if self.drop_swapped else ()
        return (OutcomeName.UNDECODABLE.value, *(name.value for name in self.drop), *swapped, *self.rules)


@dataclass(frozen=True, slots=True, repr=False)
class Rows:
    """Every row of a dataset, file by file. ``starts``: where each file begins, and the end.

    ``links`` and ``photos`` are keyed hashes of a row's link (0: none) and of what names its photo best. ``swapped``: the link gave another image than the
    dataset says; ``ruled``: a public rule takes the row.
    """

    starts: tuple[int, ...]
    outcomes: npt.NDArray[np.uint8]
    flagged: Flags
    links: Names
    photos: Names
    swapped: Flags
    ruled: Flags

    def __repr__(self) -> str:
        return f"<Rows {len(self.outcomes)}>"


@dataclass(frozen=True, slots=True, repr=False)
class Leaving:
    """Which rows leave, which of them for a public reason, and which because of a match. The last is never written anywhere.

    ``families`` numbers the families of those that leave in secret.
    """

    left: Flags
    public: Flags
    matched: Flags
    families: Int64s

    def __repr__(self) -> str:
        return f"<Leaving {np.count_nonzero(self.left)} rows>"


def leaving(rows: Rows, choice: Choice, near: Near = no_copies, earlier: Flags | None = None) -> Leaving:
    """The rows that leave. Raises InputError where the crowd would be smaller than chosen.

    ``earlier``: what left in a release before this one. It leaves again, and the crowd must do among what leaves anew, too: anyone can subtract.
    """
    dropped = np.isin(rows.outcomes, [OUTCOMES.index(name) for name in (OutcomeName.UNDECODABLE, *choice.drop)])
    if choice.drop_swapped:
        dropped |= rows.swapped
    public = rows.ruled | _tied(rows.links, dropped)
    decoys = rows.photos < np.uint64(int(choice.decoys * 2**64))
    secret, families = _families(rows, rows.flagged | decoys, near)
    matched = secret & np.isin(families, families[rows.flagged])
    found = Leaving(secret | public, public, matched, families)
    crowds = [crowd_of(rows, found)]
    if earlier is not None:
        found = replace(found, left=found.left | earlier)
        crowds.append(crowd_of(rows, replace(found, public=public | earlier)))
    if min(crowds) < choice.crowd:
        raise InputError(
            f"too few rows would leave to hide what matched: the crowd would be {min(crowds)}, smaller than {choice.crowd}",
            hint="draw more decoys (--decoys SHARE); drop what tells rows apart, openly (--drop unavailable, --drop swapped); "
            "or accept a smaller crowd (--crowd N)",
        )
    return found


def crowd_of(rows: Rows, found: Leaving) -> int:
    """Of the rows that leave in secret at most one in so many matched, and of their photos and families; among those that look alike to anyone.

    Where nothing matched, as if one had: whether it is refused does not tell.
    """
    hidden = found.left & ~found.public
    named = (np.arange(len(hidden)), rows.photos, found.families)
    crowds = [_crowd(named, hidden, np.zeros_like(hidden))]
    looks = _looks(rows, found, hidden)
    for look in np.unique(looks[found.matched & hidden]):
        same = hidden & (looks == look)
        crowds.append(_crowd(named, same, same & found.matched))
    return min(crowds)


def _crowd(named: Sequence[npt.NDArray[Any]], left: Flags, matched: Flags) -> int:
    """The least of all ways to count: a guess picks a row, a photo or a family."""
    return min(len(np.unique(names[left])) // max(1, len(np.unique(names[matched]))) for names in named)


def _looks(rows: Rows, found: Leaving, hidden: Flags) -> Int64s:
    """What anyone can see of a row: its outcome, whether its image was swapped, and whether others of another link or image leave with it."""
    alone = np.ones(len(hidden), dtype=np.bool_)
    families, at = np.unique(found.families[hidden], return_inverse=True)
    for names in (rows.links, rows.photos):
        _, first = np.unique(np.stack([at.astype(np.uint64), names[hidden]]), axis=1, return_index=True)
        alone[hidden] &= np.bincount(at[first], minlength=len(families))[at] == 1
    seen: Int64s = rows.outcomes.astype(np.int64) * 4 + rows.swapped * 2 + alone
    return seen


def _families(rows: Rows, some: Flags, near: Near) -> tuple[Flags, Int64s]:
    """These rows with their families, whole; and the number of the family of each row (-1: of none)."""
    grown, fresh = np.zeros_like(some), some
    pairs: list[Pairs] = []
    while fresh.any():
        grown = grown | fresh
        pairs.append(near(fresh))
        wider = grown.copy()
        wider[pairs[-1][0]] = True
        fresh = _tied(rows.photos, _tied(rows.links, wider)) & ~grown
    members = np.flatnonzero(grown)
    ends = [np.searchsorted(members, np.concatenate(side)) for side in zip(*pairs, strict=True)] or [members[:0]] * 2
    families = np.full(len(some), -1, dtype=np.int64)
    families[members] = _joined(rows.links[members], rows.photos[members], ends)
    return grown, families


def _joined(links: Names, photos: Names, pairs: Sequence[npt.NDArray[np.integer[Any]]]) -> Int64s:
    """The least member of each member's family."""
    least = np.arange(len(links))
    groups = [np.unique(names, return_inverse=True)[1] for names in (links, photos)]
    groups[0][links == 0] = len(links) + np.flatnonzero(links == 0)  # rows without a link share none
    while True:
        before = least.copy()
        for group in groups:
            lowest = np.full(2 * len(least), len(least))
            np.minimum.at(lowest, group, least)
            least = np.minimum(least, lowest[group])
        for one, other in (pairs, pairs[::-1]):
            np.minimum.at(least, one, least[other])
        least = least[least]
        if np.array_equal(before, least):
            return least


def _tied(names: Names, some: Flags) -> Flags:
    """These rows, and every row with the name of one of them: what left must not stay under another caption."""
    known = np.unique(names[some])
    grown: Any = some | np.isin(names, known[known != 0])
    return np.asarray(grown, dtype=np.bool_)
