"""Which rows leave: those that are meant, with their families whole, the same each time; and how the crowd that hides them is counted."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from custodes.cleaning.mask import OUTCOMES, Choice, Flags, Leaving, Near, Pairs, Rows, crowd_of, leaving, no_copies
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
        swapped=np.zeros(count, dtype=np.bool_),
        ruled=np.zeros(count, dtype=np.bool_),
    )


def marked(rows: Rows, **flags: list[int]) -> Rows:
    """The same with some rows swapped, or ruled."""
    there = np.arange(len(rows.outcomes))
    return dataclasses.replace(rows, **{name: np.isin(there, some) for name, some in flags.items()})


def near(*pairs: tuple[int, int]) -> Near:
    """A finder of the near copies that these are of one another."""

    def find(some: Flags) -> Pairs:
        both = [pair for one, other in pairs for pair in ((one, other), (other, one)) if some[pair[1]]]
        return np.array([row for row, _ in both], np.int64), np.array([like for _, like in both], np.int64)

    return find


def left_of(rows: Rows, copies: Near = no_copies, **chosen: Any) -> list[int]:
    choice = Choice(**({"decoys": 0.0, "crowd": 0} | chosen))
    return np.flatnonzero(leaving(rows, choice, copies).left).tolist()


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


def test_a_family_leaves_whole_over_links_photos_and_near_copies_in_any_order() -> None:
    rows = rows_with([EXAMINED] * 8, [0], links=[1, 1, 2, 3, 3, 4, 5, 0], photos=[9, 8, 8, 7, 6, 6, 5, 4])
    assert left_of(rows) == [0, 1, 2]
    assert left_of(rows, near((2, 3))) == [0, 1, 2, 3, 4, 5]
    assert left_of(rows, near((2, 3), (5, 7))) == [0, 1, 2, 3, 4, 5, 7]
    assert left_of(rows, near((3, 6))) == [0, 1, 2]


def test_what_leaves_by_a_rule_leaves_alone_and_swapped_images_only_where_it_is_asked() -> None:
    rows = marked(rows_with([EXAMINED] * 5, [], links=[1, 1, 2, 2, 3]), ruled=[0], swapped=[2])
    assert left_of(rows) == [0]
    assert left_of(rows, drop_swapped=True) == [0, 2, 3]


@pytest.mark.parametrize(("rows", "refused"), [(9, True), (10, False)])
def test_a_crowd_is_refused_below_its_size_and_taken_at_it_even_where_nothing_matched(rows: int, refused: bool) -> None:
    world = rows_with([EXAMINED] * 100, [], photos=[*range(1, rows + 1), *range(2**63, 2**63 + 100 - rows)])
    choice = Choice(decoys=0.1, crowd=10)
    if refused:
        with pytest.raises(InputError, match="too few rows would leave"):
            leaving(world, choice)
    else:
        assert np.count_nonzero(leaving(world, choice).left) == rows


PUBLIC: dict[str, tuple[Rows, dict[str, Any]]] = {
    "undecodable": (rows_with([UNDECODABLE] * 40 + [EXAMINED] * 40, [79]), {}),
    "unavailable, and dropped": (
        rows_with([UNAVAILABLE] * 40 + [EXAMINED] * 40, [79]),
        {"drop": (OutcomeName.UNAVAILABLE,)},
    ),
    "of the link of an undecodable one": (
        rows_with([UNDECODABLE] * 20 + [EXAMINED] * 60, [79], links=[*range(1, 21), *range(1, 21), *range(41, 81)]),
        {},
    ),
    "swapped, and dropped": (
        marked(rows_with([EXAMINED] * 80, [79]), swapped=list(range(40))),
        {"drop_swapped": True},
    ),
    "taken by a rule": (marked(rows_with([EXAMINED] * 80, [79]), ruled=list(range(40))), {}),
}


@pytest.mark.parametrize("case", PUBLIC)
def test_what_leaves_for_a_public_reason_is_no_crowd(case: str) -> None:
    rows, chosen = PUBLIC[case]
    assert left_of(rows, **chosen) == [*range(40), 79]
    with pytest.raises(InputError, match="too few rows would leave"):
        left_of(rows, crowd=2, **chosen)


def test_were_rows_of_a_rule_a_crowd_forty_that_anyone_can_name_would_hide_the_one() -> None:
    rows, _ = PUBLIC["taken by a rule"]
    found = leaving(rows, Choice(decoys=0, crowd=0))
    fault = dataclasses.replace(found, public=np.zeros_like(found.public), families=np.arange(80))
    assert (crowd_of(rows, found), crowd_of(rows, fault)) == (1, 41)


def test_what_matched_and_leaves_for_a_public_reason_too_needs_no_crowd() -> None:
    rows = marked(rows_with([EXAMINED] * 80, [0], photos=[2**63, *range(1, 80)]), ruled=[0])
    assert left_of(rows, decoys=0.1, crowd=79) == list(range(80))


def test_what_left_earlier_leaves_again_and_hides_nothing_that_leaves_anew() -> None:
    rows = rows_with([EXAMINED] * 100, [99], photos=[*range(1, 41), *range(2**63, 2**63 + 60)])
    earlier = np.arange(100) < 50
    with pytest.raises(InputError, match="too few rows would leave"):
        leaving(rows, Choice(decoys=0.1, crowd=2), earlier=earlier)
    assert np.count_nonzero(leaving(rows, Choice(decoys=0.1, crowd=2)).left) == 41
    more = dataclasses.replace(rows, photos=np.arange(1, 101, dtype=np.uint64))
    found = leaving(more, Choice(decoys=0.1, crowd=50), earlier=earlier)
    assert found.left.all()
    with pytest.raises(InputError, match="too few rows would leave"):
        leaving(more, Choice(decoys=0.1, crowd=51), earlier=earlier)


CROWDS: dict[str, tuple[Rows, list[int], Near, int]] = {
    "of rows": (rows_with([EXAMINED] * 40, [0, 1]), list(range(40)), no_copies, 20),
    "of photos, not of their rows": (
        rows_with([EXAMINED] * 40, [0], photos=[1] * 1 + [2] * 19 + [3] * 20),
        list(range(40)),
        no_copies,
        1,
    ),
    "of rows, where the photo that matched has many": (
        rows_with([EXAMINED] * 40, list(range(20)), photos=[1] * 20 + list(range(2, 22))),
        list(range(40)),
        no_copies,
        1,
    ),
    "of families, not of their photos": (
        rows_with([EXAMINED] * 40, [0, 1]),
        list(range(40)),
        near((0, 1), *((row, row + 1) for row in range(2, 30)), *((row, row + 1) for row in range(31, 39))),
        3,
    ),
    "of those alone, where it is alone": (
        rows_with([EXAMINED] * 40, [0]),
        list(range(40)),
        near(*((row, row + 1) for row in range(10, 40, 2) if row < 39)),
        10,
    ),
    "of its outcome, which anyone can see": (
        rows_with([UNAVAILABLE] * 4 + [EXAMINED] * 36, [0]),
        list(range(40)),
        no_copies,
        4,
    ),
    "of swapped ones, where it is one": (
        marked(rows_with([EXAMINED] * 40, [0]), swapped=[0, 1, 2]),
        list(range(40)),
        no_copies,
        3,
    ),
    "of the worst outcome": (
        rows_with([UNAVAILABLE] * 4 + [EXAMINED] * 36, [0, 39]),
        list(range(40)),
        no_copies,
        4,
    ),
    "of nobody": (rows_with([EXAMINED] * 40, [0]), [0], no_copies, 1),
}


@pytest.mark.parametrize("case", CROWDS)
def test_the_crowd_is_counted(case: str) -> None:
    rows, left, copies, crowd = CROWDS[case]
    everything = dataclasses.replace(rows, flagged=np.isin(np.arange(len(rows.outcomes)), left))
    families = leaving(everything, Choice(decoys=0, crowd=0), copies).families
    left_flags = np.isin(np.arange(len(rows.outcomes)), left)
    assert crowd_of(rows, Leaving(left_flags, np.zeros_like(left_flags), rows.flagged, families)) == crowd
