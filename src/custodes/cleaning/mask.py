"""Which rows leave: those that matched, those that are dropped by their outcome, decoys, and all that share a link with one of these.

Promises that what leaves is never a directory of what matched: of the rows that leave, and of the photos, of each outcome at most one in ``crowd``
matched, or it refuses. Decoys are drawn by a keyed hash of the photo, so the same photos are drawn each time, and all rows of one. It does no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from custodes.errors import InputError
from custodes.model import OutcomeName

__all__ = ["OUTCOMES", "Choice", "Leaving", "Rows", "crowd_of", "leaving"]

OUTCOMES: Final = tuple(OutcomeName)

Flags = npt.NDArray[np.bool_]
Names = npt.NDArray[np.uint64]


class Choice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to leave beside what matched and what does not decode: outcomes, and a share of the photos as decoys. And how large the crowd must be."""

    drop: tuple[OutcomeName, ...] = ()
    decoys: float = 0.01
    crowd: int = 100


@dataclass(frozen=True, slots=True, repr=False)
class Rows:
    """Every row of a dataset, file by file. ``starts``: where each file begins, and the end.

    ``links`` and ``photos`` are keyed hashes of a row's link (0: none) and of what names its photo best.
    """

    starts: tuple[int, ...]
    outcomes: npt.NDArray[np.uint8]
    flagged: Flags
    links: Names
    photos: Names

    def __repr__(self) -> str:
        return f"<Rows {len(self.outcomes)}>"


@dataclass(frozen=True, slots=True, repr=False)
class Leaving:
    """Which rows leave, and which of them because of a match. The second is never written anywhere."""

    left: Flags
    matched: Flags

    def __repr__(self) -> str:
        return f"<Leaving {np.count_nonzero(self.left)} rows>"


def leaving(rows: Rows, choice: Choice) -> Leaving:
    """The rows that leave. Raises InputError where the crowd would be smaller than chosen."""
    matched = _with_links(rows.links, rows.flagged)
    dropped = np.isin(rows.outcomes, [OUTCOMES.index(name) for name in (OutcomeName.UNDECODABLE, *choice.drop)])
    decoys = rows.photos < np.uint64(int(choice.decoys * 2**64))
    found = Leaving(_with_links(rows.links, matched | dropped | decoys), matched)
    if crowd_of(rows, found) < choice.crowd:
        raise InputError(
            f"too few rows would leave to hide what matched: the crowd would be smaller than {choice.crowd}",
            hint="draw more decoys (--decoys SHARE), or accept a smaller crowd (--crowd N)",
        )
    return found


def crowd_of(rows: Rows, found: Leaving) -> int:
    """Of the rows that leave at most one in so many matched, and of their photos; among those of each outcome, because anyone can see whether a link is dead.

    Where nothing matched, as if one had: whether it is refused does not tell.
    """
    crowds = [_crowd(rows.photos, found.left, np.zeros_like(found.matched))]
    for code in np.unique(rows.outcomes[found.matched]):
        same = rows.outcomes == code
        crowds.append(_crowd(rows.photos, found.left & same, found.matched & same))
    return min(crowds)


def _crowd(photos: Names, left: Flags, matched: Flags) -> int:
    by_rows = int(np.count_nonzero(left)) // max(1, int(np.count_nonzero(matched)))
    by_photos = len(np.unique(photos[left])) // max(1, len(np.unique(photos[matched])))
    return min(by_rows, by_photos)


def _with_links(links: Names, some: Flags) -> Flags:
    """These rows, and every row with the link of one of them: what left must not stay under another caption."""
    known = np.unique(links[some])
    grown: Any = some | np.isin(links, known[known != 0])
    return np.asarray(grown, dtype=np.bool_)
