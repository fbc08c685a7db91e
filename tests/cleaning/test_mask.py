"""Which rows leave: those that are meant, all rows of their links, the same each time; and no guess is better than the crowd allows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from custodes.cleaning.mask import OUTCOMES, Choice, Leaving, Rows, crowd_of, leaving
from custodes.errors import InputError
from custodes.model import OutcomeName

EXAMINED, UNAVAILABLE, UNDECODABLE, FAILED = (OUTCOMES.index(name) for name in OutcomeName)
EVERYTHING = 1 - 2**-20


def rows_with(
    outcomes: list[int], flagged: list[int], links: list[int] | None = None, photos: list[int] | None = None
) -> Rows:
    count = len(outcomes)
    return Rows(
        starts=(0, count),
        outcomes=np.array(outcomes, dtype=np.uint8),
        flagged=np.isin(np.arange(count), flagged),
        links=np.array(links or range(1, count + 1), dtype=np.uint64),
        photos=np.array(photos or [2**64 - 1 - row for row in range(count)], dtype=np.uint64),
    )


def left_of(rows: Rows, **chosen: Any) -> list[int]:
    choice = Choice(**({"decoys": 0.0, "crowd": 1} | chosen))
    return np.flatnonzero(leaving(rows, choice).left).tolist()


@pytest.mark.parametrize(
    ("drop", "left"),
    [((), [0, 2]), (("unavailable",), [0, 1, 2]), (("failed",), [0, 2, 3]), (("unavailable", "failed"), [0, 1, 2, 3])],
)
def test_what_matched_what_does_not_decode_and_what_is_dropped_leaves(drop: tuple[str, ...], left: list[int]) -> None:
    rows = rows_with([EXAMINED, UNAVAILABLE, UNDECODABLE, FAILED, EXAMINED], [0])
    assert left_of(rows, drop=tuple(OutcomeName(name) for name in drop)) == left


def test_every_row_with_the_link_of_one_that_leaves_leaves_and_rows_without_links_share_none() -> None:
    rows = rows_with([EXAMINED] * 6, [1], links=[7, 7, 8, 0, 0, 7])
    assert left_of(rows) == [0, 1, 5]
    assert left_of(rows_with([EXAMINED] * 3, [1], links=[0, 0, 0])) == [1]


def test_all_rows_of_a_photo_are_drawn_or_none_and_a_larger_share_draws_the_same_and_more() -> None:
    rng = np.random.default_rng(1)
    photos = np.repeat(rng.integers(1, 2**64, 2000, dtype=np.uint64), 3).tolist()
    rows = rows_with([EXAMINED] * 6000, [], photos=photos)
    few, more = left_of(rows, decoys=0.05), left_of(rows, decoys=0.2)
    assert len(few) % 3 == 0
    assert {row // 3 * 3 + at for row in few for at in range(3)} == set(few)
    assert set(few) < set(more)
    assert 200 <= len(few) <= 400
    assert few == left_of(rows, decoys=0.05)


@pytest.mark.parametrize(("undecodable", "refused"), [(9, True), (10, False)])
def test_a_crowd_is_refused_below_its_size_and_taken_at_it_even_where_nothing_matched(
    undecodable: int, refused: bool
) -> None:
    rows = rows_with([UNDECODABLE] * undecodable + [EXAMINED] * 100, [])
    if refused:
        with pytest.raises(InputError, match="too few rows would leave"):
            leaving(rows, Choice(decoys=0, crowd=10))
    else:
        leaving(rows, Choice(decoys=0, crowd=10))


CROWDS: dict[str, tuple[Rows, list[int], int]] = {
    "of rows": (rows_with([EXAMINED] * 40, [0, 1]), list(range(40)), 20),
    "of photos, not of their rows": (
        rows_with([EXAMINED] * 40, [0], photos=[1] * 1 + [2] * 19 + [3] * 20),
        list(range(40)),
        3,
    ),
    "of rows, where the photo that matched has many": (
        rows_with([EXAMINED] * 40, list(range(20)), photos=[1] * 20 + list(range(2, 22))),
        list(range(40)),
        2,
    ),
    "of its outcome, which anyone can see": (rows_with([UNAVAILABLE] * 4 + [EXAMINED] * 36, [0]), list(range(40)), 4),
    "of the worst outcome": (rows_with([UNAVAILABLE] * 4 + [EXAMINED] * 36, [0, 39]), list(range(40)), 4),
    "of nobody": (rows_with([EXAMINED] * 40, [0]), [0], 1),
}


@pytest.mark.parametrize("case", CROWDS)
def test_the_crowd_is_counted(case: str) -> None:
    rows, left, crowd = CROWDS[case]
    found = Leaving(np.isin(np.arange(len(rows.outcomes)), left), rows.flagged)
    assert crowd_of(rows, found) == crowd


# -- an adversary who has the dataset before and after


def random_rows(seed: int) -> Rows:
    """8,000 rows: photos with up to three rows and links with up to two, a third dead, some undecodable; two photos in a thousand matched."""
    rng = np.random.default_rng(seed)
    photos = rng.integers(1, 2**64, 4000, dtype=np.uint64)
    of = rng.integers(0, 4000, 8000)
    outcomes = rng.choice([EXAMINED, UNAVAILABLE, UNDECODABLE], 8000, p=[0.64, 0.33, 0.03]).astype(np.uint8)
    links = of.astype(np.uint64) * np.uint64(2) + rng.integers(1, 3, 8000).astype(np.uint64)
    return Rows((0, 8000), outcomes, np.isin(of, rng.choice(4000, 8, replace=False)), links, photos[of])


Guess = Callable[[Rows, Leaving], Any]
GUESSES: dict[str, Guess] = {
    "any row that left": lambda rows, found: found.left,
    "one that is alive": lambda rows, found: found.left & (rows.outcomes == EXAMINED),
    "one that is dead": lambda rows, found: found.left & (rows.outcomes == UNAVAILABLE),
    "one whose photo left in all its rows": lambda rows, found: (
        found.left & ~np.isin(rows.photos, rows.photos[~found.left])
    ),
    "one whose link left in all its rows": lambda rows, found: (
        found.left & ~np.isin(rows.links, rows.links[~found.left])
    ),
    "one that decodes": lambda rows, found: found.left & (rows.outcomes != UNDECODABLE),
}
"""Where an adversary would look: what anyone can see of rows without a list."""


def success(guess: Guess, take: Callable[[Rows], Leaving]) -> float:
    """How often a row that is chosen at random among those of a guess is one that matched, over 40 datasets; exactly, not drawn."""
    shares = []
    for seed in range(40):
        rows = random_rows(seed)
        found = take(rows)
        looked_at = guess(rows, found)
        shares.append(np.count_nonzero(looked_at & found.matched) / max(1, np.count_nonzero(looked_at)))
    return float(np.mean(shares))


def by_the_rules(rows: Rows) -> Leaving:
    return leaving(rows, Choice(decoys=0.2, crowd=20))


@pytest.mark.parametrize("guess", GUESSES)
def test_no_guess_is_better_than_the_crowd_allows(guess: str) -> None:
    assert success(GUESSES[guess], by_the_rules) <= 1 / 20


def test_without_decoys_or_with_decoys_that_are_rows_the_same_guesses_succeed() -> None:
    alone = success(GUESSES["one that is alive"], lambda rows: leaving(rows, Choice(decoys=0, crowd=1)))
    assert alone > 1 / 20

    def by_rows(rows: Rows) -> Leaving:
        drawn = np.random.default_rng(1).random(len(rows.photos)) < 0.1
        return Leaving(rows.flagged | drawn, rows.flagged)

    assert success(GUESSES["one whose photo left in all its rows"], by_rows) > 1 / 20
