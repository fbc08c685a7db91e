"""A file of vectors of another kind is named, and what differs by chance is not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custodes.similar.drift import LARGE, ROWS_MIN, drifting, stability_index
from custodes.similar.signals import BINS

Int64s = npt.NDArray[np.int64]


def scored(middle: float, rows: int, seed: int, spread: float = 20) -> Int64s:
    """A histogram of so many rows around a bin."""
    drawn = np.random.default_rng(seed).normal(middle, spread, rows)
    return np.bincount(np.clip(drawn, 0, BINS - 1).astype(np.int64), minlength=BINS)


def index_slowly(mine: Sequence[int], rest: Sequence[int]) -> float:
    """The formula, part by part: a part ends with the bin in which a tenth of the rest does, and another before the first such bin."""
    ends = [
        next(at for at in range(len(rest)) if 10 * sum(rest[: at + 1]) >= sum(rest) * part) for part in range(1, 10)
    ]
    cuts = sorted({ends[0], *(end + 1 for end in ends), 0, len(rest)})
    parts = [slice(start, end) for start, end in pairwise(cuts)]
    p, q = ([sum(each[part]) + 0.5 for part in parts] for each in (mine, rest))
    shares = [(a / sum(p), b / sum(q)) for a, b in zip(p, q, strict=True)]
    return sum((a - b) * math.log(a / b) for a, b in shares)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 40).flatmap(
        lambda bins: st.tuples(*[st.lists(st.integers(0, 50), min_size=bins, max_size=bins)] * 2)
    )
)
def test_the_index_is_that_of_the_formula(case: tuple[list[int], list[int]]) -> None:
    mine, rest = case
    found = stability_index(np.array(mine, dtype=np.int64), np.array(rest, dtype=np.int64))
    assert found == pytest.approx(index_slowly(mine, rest), abs=1e-9)
    assert found >= 0


def test_the_index_written_out() -> None:
    """A tenth of the rest in each of ten bins; mine is half in the first and half in the last."""
    rest = np.full(10, 1000, dtype=np.int64)
    mine = np.array([5000, *[0] * 8, 5000], dtype=np.int64)
    p, q = [5000.5 / 10005, *[0.5 / 10005] * 8, 5000.5 / 10005], 1000.5 / 10005
    assert stability_index(mine, rest) == pytest.approx(sum((each - q) * math.log(each / q) for each in p))
    assert stability_index(rest, rest) == 0


@pytest.mark.parametrize("spread", [0, 0.3, 1, 20, 60])
@pytest.mark.parametrize("shift", [-1, 1], ids=["lower", "higher"])
def test_a_file_of_another_kind_is_found_and_no_other(spread: float, shift: int) -> None:
    """Also where the others' scores are all in one bin."""
    middle = 300.5 + shift * (spread + 2)
    files = [scored(300.5, 20_000, seed, spread) for seed in range(6)]
    files[4] = scored(middle, 2000, 9, spread)
    found = drifting(files)
    assert [(each.file, each.rows) for each in found] == [(4, 2000)]
    assert found[0].stability == stability_index(files[4], np.sum(files, axis=0) - files[4]) >= LARGE


@pytest.mark.parametrize("rows", [ROWS_MIN, 20 * ROWS_MIN])
def test_chance_is_not_a_difference(rows: int) -> None:
    for seed in range(0, 200, 4):
        assert drifting([scored(300, rows, seed + file) for file in range(4)]) == []


@pytest.mark.parametrize(("rows", "found"), [(ROWS_MIN - 1, []), (ROWS_MIN, [0])])
def test_files_of_few_rows_are_not_judged(rows: int, found: list[int]) -> None:
    assert [
        each.file for each in drifting([scored(200, rows, 1), scored(300, 20_000, 2), scored(300, 20_000, 3)])
    ] == found


@pytest.mark.parametrize(("rows", "found"), [(ROWS_MIN - 1, 0), (ROWS_MIN, 1)])
def test_nor_are_files_beside_few_rows(rows: int, found: int) -> None:
    """Of two files each is the rest of the other: one is told."""
    files = [scored(300, ROWS_MIN, 1), scored(200, rows, 2)]
    assert len(drifting(files)) == found


def test_the_largest_difference_comes_first_and_of_equal_ones_the_first_file() -> None:
    middles = {3: 340, 7: 100, 8: 340}
    files = [scored(300, 50_000, file) for file in range(9)]
    files = [
        scored(middles[file], 2000, 1 + (file == 7)) if file in middles else each for file, each in enumerate(files)
    ]
    found = drifting(files)
    assert [each.file for each in found] == [7, 3, 8]
    assert found[0].stability > found[1].stability
    assert found[1].stability == pytest.approx(found[2].stability, rel=0.01)


@pytest.mark.parametrize("files", range(3, 8))
def test_where_others_differ_because_of_a_file_it_comes_first(files: int) -> None:
    """A file that is a large part of the rest of others makes these differ too; once it is left out, they do not."""
    found = drifting([scored(200 if file == 2 else 300, 5000, file) for file in range(files)])
    assert [each.file for each in found] == [2]


def test_several_that_differ_do_not_make_the_others_differ() -> None:
    found = drifting([scored(200 if file in (1, 5, 8) else 300, 5000, file) for file in range(12)])
    assert sorted(each.file for each in found) == [1, 5, 8]


def test_no_more_than_half_of_the_files_differ_from_the_rest() -> None:
    assert len(drifting([scored(100 + 40 * file, 5000, file) for file in range(7)])) == 3


@pytest.mark.parametrize(
    "files",
    [
        [],
        [scored(300, 5000, 1)],
        [np.zeros(BINS, dtype=np.int64)] * 3,
        [scored(300, 5000, 1), np.zeros(BINS, dtype=np.int64)],
    ],
    ids=["no file", "one file", "no row", "one file with rows"],
)
def test_without_others_no_file_differs(files: list[Int64s]) -> None:
    assert drifting(files) == []


def test_histograms_are_left_as_they_are() -> None:
    files = [scored(300, 5000, 1), scored(200, 5000, 2)]
    before = [each.copy() for each in files]
    drifting(files)
    assert all(np.array_equal(a, b) for a, b in zip(files, before, strict=True))
