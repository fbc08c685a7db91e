"""Who has the dataset before and after, the card and the log, and guesses which rows left because they matched: right once in the crowd at most.

Measured over random datasets, exactly: of the rows that a guess looks at, the share that matched. Then decoys are drawn badly, and the same guesses win.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from custodes.cleaning.mask import OUTCOMES, Choice, Flags, Leaving, Pairs, Rows, leaving
from custodes.errors import InputError
from custodes.model import OutcomeName

EXAMINED, UNAVAILABLE, UNDECODABLE, _ = (OUTCOMES.index(name) for name in OutcomeName)
ROWS, PHOTOS, FAMILIES = 40_000, 20_000, 16_000
CROWD = 20
SHARES = (0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12, 0.16, 0.24, 0.32, 0.48, 0.64)
FEW = 0.03


@dataclass(frozen=True)
class World:
    """A dataset, as its adversary sees it too: ``kin`` says which photos look alike, ``subject`` what a caption tells."""

    rows: Rows
    kin: Any
    subject: Any

    def near(self, some: Flags) -> Pairs:
        kin, first = np.unique(self.kin[some], return_index=True)
        found = np.flatnonzero(np.isin(self.kin, kin))
        return found, np.flatnonzero(some)[first][np.searchsorted(kin, self.kin[found])]


def world(seed: int) -> World:
    """Photos with rows, links with captions, near copies, a third dead, some undecodable, swapped or taken by a rule. Lists know some images by their
    digest, some by how they look, and some links.
    """
    rng = np.random.default_rng(seed)
    kin_of = rng.integers(0, FAMILIES, PHOTOS)
    names = rng.integers(1, 2**64, PHOTOS, dtype=np.uint64)
    of = rng.integers(0, PHOTOS, ROWS)
    links = of.astype(np.uint64) * np.uint64(2) + rng.integers(1, 3, ROWS).astype(np.uint64)
    dead = rng.random(2 * PHOTOS + 3) < 0.33
    outcomes = np.where(rng.random(ROWS) < 0.03, UNDECODABLE, EXAMINED).astype(np.uint8)
    outcomes[dead[links.astype(np.int64)]] = UNAVAILABLE
    by_digest = np.isin(of, rng.choice(PHOTOS, 6, replace=False))
    by_looks = np.isin(kin_of[of], rng.choice(FAMILIES, 6, replace=False)) & (outcomes == EXAMINED)
    by_link = np.isin(links, rng.choice(links, 4))
    swapped = (rng.random(2 * PHOTOS + 3) < 0.05)[links.astype(np.int64)] & (outcomes == EXAMINED)
    ruled = rng.random(ROWS) < 0.05
    rows = Rows((0, ROWS), outcomes, by_digest | by_looks | by_link, links, names[of], swapped, ruled)
    return World(rows, kin_of[of], rng.integers(0, 4, FAMILIES)[kin_of[of]])


Take = Callable[[World], Leaving]
Guess = Callable[[World, Leaving], Any]


def whole(names: Any, gone: Flags) -> Flags:
    """The rows that left of names all of whose rows did."""
    return gone & ~np.isin(names, names[~gone])


def torn(names: Any, gone: Flags) -> Flags:
    """The rows that left of names some of whose rows stayed."""
    return gone & np.isin(names, names[~gone])


def unexplained(world: World, found: Leaving) -> Flags:
    """The rows that left and need not have: without what rules take, and what shares a link with what does not decode."""
    undecodable = world.rows.outcomes == UNDECODABLE
    return found.left & ~world.rows.ruled & ~np.isin(world.rows.links, world.rows.links[undecodable])


def of_several(names: Any, world: World, found: Leaving) -> Flags:
    """Unexplained rows that left together with others of another name that look alike."""
    rest = unexplained(world, found)
    pairs = np.unique(np.stack([world.kin[rest], names[rest].astype(np.int64)]), axis=1)
    kin, count = np.unique(pairs[0], return_counts=True)
    return rest & np.isin(world.kin, kin[count > 1])


GUESSES: dict[str, Guess] = {
    "any row that left": lambda _, found: found.left,
    "one that need not have left": unexplained,
    "one that is alive": lambda world, found: unexplained(world, found) & (world.rows.outcomes == EXAMINED),
    "one that is dead": lambda world, found: unexplained(world, found) & (world.rows.outcomes == UNAVAILABLE),
    "one that was swapped": lambda world, found: unexplained(world, found) & world.rows.swapped,
    "one whose photo left whole": lambda world, found: unexplained(world, found) & whole(world.rows.photos, found.left),
    "one whose photo did not": lambda world, found: unexplained(world, found) & torn(world.rows.photos, found.left),
    "one whose link left whole": lambda world, found: unexplained(world, found) & whole(world.rows.links, found.left),
    "one whose link did not": lambda world, found: unexplained(world, found) & torn(world.rows.links, found.left),
    "one whose near copies left": lambda world, found: unexplained(world, found) & whole(world.kin, found.left),
    "one whose near copies stayed": lambda world, found: unexplained(world, found) & torn(world.kin, found.left),
    "one that left with near copies": lambda world, found: of_several(world.rows.photos, world, found),
    "one that left with other links": lambda world, found: of_several(world.rows.links, world, found),
    "one that left alone": lambda world, found: (
        unexplained(world, found) & ~of_several(world.rows.photos, world, found)
    ),
    **{
        f"one of subject {number}": lambda world, found, number=number: (  # type: ignore[misc]
            unexplained(world, found) & (world.subject == number)
        )
        for number in range(4)
    },
}
"""Where an adversary would look."""


def matched_in(world: World, found: Leaving, looked_at: Flags) -> float:
    """Of the families among these rows, and of the rows, the larger share that matched and left for nothing else."""
    secret = found.matched & ~found.public
    shares = [np.count_nonzero(looked_at & secret) / max(1, np.count_nonzero(looked_at))]
    shares.append(len(np.unique(world.kin[looked_at & secret])) / max(1, len(np.unique(world.kin[looked_at]))))
    return max(shares)


def by_the_rules(world: World, earlier: Flags | None = None) -> Leaving:
    """As an operator does it: more decoys until it is not refused. So there are about as few as there may be."""
    for share in SHARES:
        with suppress(InputError):
            return leaving(world.rows, Choice(decoys=share, crowd=CROWD), world.near, earlier)
    raise AssertionError("refused with any number of decoys")


def successes(take: Take, worlds: int) -> dict[str, float]:
    """How often each guess is right, over so many datasets."""
    taken = [(here, take(here)) for here in map(world, range(worlds))]
    return {
        name: float(np.mean([matched_in(here, found, guess(here, found)) for here, found in taken]))
        for name, guess in GUESSES.items()
    }


@pytest.mark.parametrize("worlds", [6, pytest.param(100, marks=pytest.mark.soak)])
def test_no_guess_is_better_than_the_crowd_allows(worlds: int) -> None:
    found = successes(by_the_rules, worlds)
    print(f"over {worlds} datasets, of a crowd of {CROWD} ({1 / CROWD:.1%}):")
    for name, share in sorted(found.items(), key=lambda each: -each[1]):
        print(f"  {name}: right {share:.2%} of the time")
    assert max(found.values()) <= 1 / CROWD


def rows_drawn(world: World) -> Leaving:
    """Decoys that are rows, not photos."""
    drawn = np.random.default_rng(1).random(ROWS) < FEW
    return left_as(world, drawn)


def photos_drawn_without_kin(world: World) -> Leaving:
    """Decoys that leave without their near copies, while what matched by its looks leaves with them."""
    return left_as(world, world.rows.photos < np.uint64(int(FEW * 2**64)))


def of_one_subject(world: World) -> Leaving:
    """As many decoys, all of one subject."""
    decoys = (world.subject == 0) & (world.rows.photos < np.uint64(int(4 * FEW * 2**64)))
    return left_as(world, np.isin(world.kin, world.kin[decoys]))


def left_as(world: World, decoys: Flags) -> Leaving:
    """What matched and what leaves for a public reason leave by the rules, and decoys as they are drawn."""
    bare = leaving(world.rows, Choice(decoys=0, crowd=0), world.near)
    return replace(bare, left=bare.left | decoys)


def matches_without_kin(world: World) -> Leaving:
    """What matched leaves without its near copies and its photo's other links, while decoys leave with theirs."""
    found = by_the_rules(world)
    kept = found.matched & ~world.rows.flagged & ~found.public
    return replace(found, left=found.left & ~kept, matched=world.rows.flagged)


def without_decoys(world: World) -> Leaving:
    return leaving(world.rows, Choice(decoys=0, crowd=0), world.near)


FAULTS: dict[str, tuple[Take, str]] = {
    "no decoys": (without_decoys, "one that need not have left"),
    "decoys are rows, not photos": (rows_drawn, "one whose photo left whole"),
    "decoys leave without their near copies": (photos_drawn_without_kin, "one that left with near copies"),
    "matches leave without their near copies": (matches_without_kin, "one whose near copies stayed"),
    "all decoys are of one subject": (of_one_subject, "one of subject 1"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_with_decoys_that_can_be_told_a_guess_succeeds(fault: str) -> None:
    take, guess = FAULTS[fault]
    share = successes(take, 4)[guess]
    print(f"{fault}: {guess}: right {share:.2%} of the time")
    assert share > 2 / CROWD


# -- two releases, the second with a longer list


def second(here: World) -> World:
    rng = np.random.default_rng(99)
    more = np.isin(here.kin, rng.choice(FAMILIES, 8, replace=False))
    return replace(here, rows=replace(here.rows, flagged=here.rows.flagged | more))


@pytest.mark.parametrize("worlds", [4, pytest.param(100, marks=pytest.mark.soak)])
def test_the_difference_of_two_releases_tells_no_more_than_the_crowd_allows(worlds: int) -> None:
    shares, blind = [], []
    for before in map(world, range(worlds)):
        first, after = by_the_rules(before), second(before)
        again = by_the_rules(after, first.left)
        assert not (first.left & ~again.left).any()
        shares.append(matched_in(after, again, again.left & ~first.left))
        alike = by_the_rules(after)
        blind.append(matched_in(after, alike, alike.left & ~first.left))
    print(f"difference of two releases: right {np.mean(shares):.2%} of the time; without --after {np.mean(blind):.2%}")
    assert 0 < np.mean(shares) <= 1 / CROWD < np.mean(blind)


def test_a_second_release_with_no_more_decoys_is_refused() -> None:
    before = world(0)
    choice = Choice(decoys=0.3, crowd=CROWD)
    first = leaving(before.rows, choice, before.near)
    after = second(before)
    blind = leaving(after.rows, choice, after.near)
    assert matched_in(after, blind, blind.left & ~first.left) == 1
    with pytest.raises(InputError, match="too few rows would leave"):
        leaving(after.rows, choice, after.near, first.left)
