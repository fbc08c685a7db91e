"""Candidates become photos as counting by hand would have it: ranked by both signals, one photo once, no more than are wanted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custodes.similar import suspects as suspecting
from custodes.similar.suspects import (
    Before,
    Candidate,
    Known,
    Photo,
    Suspects,
    candidates_of,
    suspects_of,
    unit,
)

from .untaught import probe_of

Float32s = npt.NDArray[np.float32]

STEP = 0.008
"""Radians: two vectors one step apart are of one photo, two steps apart they are not."""


def at_steps(*steps: float) -> Float32s:
    """Unit vectors in a plane, so many steps from the first axis."""
    angles = np.array(steps, dtype=np.float64) * STEP
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def at_cosines(*cosines: float) -> Float32s:
    """Unit vectors with these cosines with the first axis."""
    wide = np.array(cosines, dtype=np.float64)
    return np.stack([wide, np.sqrt(1 - wide**2)], axis=1).astype(np.float32)


NONE = np.empty((0, 2), dtype=np.float32)
NO_PHOTOS = Before(NONE, [], [])
AXIS = at_cosines(1.0)


def in_order(count: int) -> list[Candidate]:
    return [Candidate(row, None, None) for row in range(count)]


def rows_in(found: Suspects) -> list[list[int]]:
    return [[candidate.row for candidate in photo.rows] for photo in found.photos]


# -- the order


def ranked_slowly(rows: Sequence[int], near: Sequence[float | None], scores: Sequence[float | None]) -> list[Candidate]:
    """Reciprocal ranks, by counting how many different values are higher."""

    def weight(value: float | None, all_of_them: Sequence[float | None]) -> float:
        higher = {other for other in all_of_them if other is not None and value is not None and other > value}
        return 0 if value is None else 1 / (61 + len(higher))

    weighed = [
        (weight(near[at], near) + weight(scores[at], scores), row, near[at], scores[at]) for at, row in enumerate(rows)
    ]
    chosen = sorted((each for each in weighed if each[0]), key=lambda each: (-each[0], each[1]))
    return [Candidate(row, cosine, None if score is None else round(score, 6)) for _, row, cosine, score in chosen]


def nearest_slowly(vector: Float32s, others: Float32s) -> float | None:
    cosines = [sum(float(a) * float(b) for a, b in zip(vector, other, strict=True)) for other in others]
    return round(min(1.0, max(cosines)), 6) if cosines else None


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 1 << 32), st.integers(0, 60), st.integers(0, 5), st.integers(0, 3), st.booleans(), st.integers(1, 9)
)
def test_candidates_are_ranked_by_reciprocal_ranks(
    seed: int, count: int, confirmed: int, rejected: int, probed: bool, dimension: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(1000, count, replace=False)).astype(np.int64)
    vectors = unit(rng.standard_normal((count, dimension)))
    if count:
        vectors[rng.integers(0, count, count // 3)] = vectors[0]  # in many rows
    known = Known(*(unit(rng.standard_normal((each, dimension))) for each in (confirmed, rejected)))
    probe = probe_of(rng.standard_normal(dimension)) if probed else None
    found, ordered = candidates_of(rows, vectors, known, probe)
    scores = [float(probe.score(vectors[at : at + 1])[0]) if probe else None for at in range(count)]
    near = [nearest_slowly(vector, known.confirmed) for vector in vectors]
    far = [nearest_slowly(vector, known.rejected) for vector in vectors]
    placed = [a if a is None or b is None or b <= a else None for a, b in zip(near, far, strict=True)]
    assert found == ranked_slowly(rows.tolist(), placed, scores)
    assert np.array_equal(ordered, vectors[np.searchsorted(rows, [each.row for each in found])])
    shuffled = rng.permutation(count)
    again, same = candidates_of(rows[shuffled], vectors[shuffled], known, probe)
    assert again == found
    assert np.array_equal(same, ordered)


def test_the_order_written_out() -> None:
    """By nearness rows 3, 4, 5 and 6, of which 4 and 5 are equal; by the probe 6, 5, 4, 3."""
    vectors = np.array([[1, 0, 0], [0.8, 0, 0.6], [0.8, 0.6, 0], [0.6, 0.8, 0]], dtype=np.float32)
    known = Known(np.eye(3, dtype=np.float32)[:1], np.empty((0, 3), dtype=np.float32))
    found, _ = candidates_of(np.arange(3, 7), vectors, known, probe_of(np.array([-1.0, 1.0, 0.0])))
    weights = {3: 1 / 61 + 1 / 64, 4: 1 / 62 + 1 / 63, 5: 1 / 62 + 1 / 62, 6: 1 / 63 + 1 / 61}
    assert [each.row for each in found] == sorted(weights, key=lambda row: -weights[row]) == [6, 5, 3, 4]
    assert {each.row: each.cosine for each in found} == {3: 1.0, 4: 0.8, 5: 0.8, 6: 0.6}


def test_of_equal_candidates_the_lower_rows_come_first() -> None:
    found, _ = candidates_of(np.array([9, 2, 5]), at_cosines(0.7, 0.7, 0.7), Known(AXIS, NONE), probe_of(np.ones(2)))
    assert [each.row for each in found] == [2, 5, 9]
    assert len({(each.cosine, each.score) for each in found}) == 1


def test_a_difference_that_is_not_told_decides_nothing() -> None:
    """The sixth digit is told; the last ones differ by processor."""
    close = at_cosines(0.7, float(np.nextafter(np.float32(0.7), np.float32(1))), 0.700002)
    found, _ = candidates_of(np.arange(3), close, Known(AXIS, NONE), None)
    assert [(each.row, each.cosine) for each in found] == [(2, 0.700002), (0, 0.7), (1, 0.7)]


@pytest.mark.parametrize("confirmed", [1, 2, 5])
def test_one_photo_in_many_rows_has_one_place_whatever_stands_beside_it(confirmed: int) -> None:
    """Products in floats differ in the last place by where in a matrix a row stands, and by how many there are."""
    rng = np.random.default_rng(confirmed)
    for count in (7, 50, 1000, 1025):
        vectors = unit(rng.standard_normal((count, 768)))
        vectors[::3] = vectors[0]
        known = Known(unit(rng.standard_normal((confirmed, 768))), np.empty((0, 768), dtype=np.float32))
        found, _ = candidates_of(np.arange(count), vectors, known, None)
        places = [at for at, each in enumerate(found) if each.row % 3 == 0]
        assert [found[at].row for at in range(places[0], places[-1] + 1)] == list(range(0, count, 3))
        assert len({found[at].cosine for at in places}) == 1


@pytest.mark.parametrize(
    ("rejected", "cosine"), [(0.899, 0.9), (0.9, 0.9), (0.901, None)], ids=["farther", "as near", "nearer"]
)
def test_a_candidate_nearer_to_a_rejected_photo_has_no_place_by_nearness(rejected: float, cosine: float | None) -> None:
    known = Known(at_cosines(0.9), at_cosines(rejected))
    found, _ = candidates_of(np.arange(1), AXIS, known, probe_of(np.array([5.0, 0.0])))
    assert [each.cosine for each in found] == [cosine]
    assert found[0].score is not None
    alone, vectors = candidates_of(np.arange(1), AXIS, known, None)
    assert len(alone) == len(vectors) == (cosine is not None)


def test_a_photo_that_was_confirmed_and_rejected_is_as_near_to_both() -> None:
    rng = np.random.default_rng(1)
    vectors = unit(rng.standard_normal((50, 768)))
    confirmed, rejected = vectors[:1], np.concatenate([vectors[:1], unit(rng.standard_normal((4, 768)))])
    found, _ = candidates_of(np.arange(1), vectors[:1], Known(confirmed, rejected), None)
    assert [each.cosine for each in found] == [1.0]


def test_of_nothing_there_are_no_candidates() -> None:
    found, vectors = candidates_of(np.arange(0), NONE, Known(AXIS, AXIS), probe_of(np.ones(2)))
    assert found == []
    assert suspects_of(found, vectors, NO_PHOTOS, 10) == Suspects(())
    found, vectors = candidates_of(np.arange(3), at_steps(0, 1, 2), Known(NONE, NONE), None)
    assert (found, len(vectors)) == ([], 0)


def test_a_vector_that_floats_cannot_measure_has_length_one() -> None:
    lengths = np.linalg.norm(unit(np.array([[3e38, 3e38], [1e-44, 0], [5, 12]], dtype=np.float32)), axis=1)
    assert lengths.tolist() == pytest.approx([1, 1, 1])


# -- photos


def grouped_slowly(steps: Sequence[int], before: Sequence[tuple[int, bool]], budget: int) -> Suspects:
    """Every candidate with every photo, in order: the first that it is like has it."""
    photos: list[tuple[int, list[Candidate]]] = []
    joined: dict[int, list[Candidate]] = {}
    more = dropped = 0
    for candidate, step in zip(in_order(len(steps)), steps, strict=True):
        old = next((at for at, (other, _) in enumerate(before) if abs(other - step) <= 1), None)
        new = next((rows for leader, rows in photos if abs(leader - step) <= 1), None)
        if old is not None and before[old][1]:
            joined.setdefault(old, []).append(candidate)
        elif old is not None:
            dropped += 1
        elif new is not None:
            new.append(candidate)
        elif len(photos) < budget:
            photos.append((step, [candidate]))
        else:
            more += 1
    found = [Photo(rank, tuple(rows)) for rank, (_, rows) in enumerate(photos, 1)]
    return Suspects((*found, *(Photo(0, tuple(joined[old]), f"photo {old}") for old in sorted(joined))), more, dropped)


@settings(max_examples=150, deadline=None)
@given(
    steps=st.lists(st.integers(0, 60), max_size=60),
    before=st.lists(st.tuples(st.integers(0, 60), st.booleans()), max_size=4),
    budget=st.integers(0, 30),
    block=st.integers(1, 70),
)
def test_candidates_are_grouped_as_one_by_one(
    steps: list[int], before: list[tuple[int, bool]], budget: int, block: int
) -> None:
    """Whatever the blocks in which they are compared; also where a row is like two photos that are not like each other."""
    past = Before(
        at_steps(*(step for step, _ in before)),
        [f"photo {at}" for at in range(len(before))],
        [wanted for _, wanted in before],
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suspecting, "_BLOCK", block)
        found = suspects_of(in_order(len(steps)), at_steps(*steps), past, budget)
    assert found == grouped_slowly(steps, before, budget)
    assert sum(map(len, rows_in(found))) + found.more + found.dropped == len(steps)


def test_a_row_that_is_like_two_photos_is_of_the_first_of_them() -> None:
    """Also where it is nearer to the second; and whether they are of its block, of another, or from before."""
    found = suspects_of(in_order(3), at_steps(0, 2, 1.2), NO_PHOTOS, 9)
    assert rows_in(found) == [[0, 2], [1]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suspecting, "_BLOCK", 2)
        assert suspects_of(in_order(3), at_steps(0, 2, 1.2), NO_PHOTOS, 9) == found
    before = Before(at_steps(0, 2), ["first", "second"], [True, True])
    assert [photo.before for photo in suspects_of(in_order(1), at_steps(1.2), before, 9).photos] == ["first"]


@pytest.mark.parametrize("budget", [0, 3, 400, 10_000])
def test_a_photos_rows_in_different_blocks_are_one_photo(budget: int) -> None:
    rng = np.random.default_rng(7)
    steps = (rng.integers(0, 700, 1700) % 390 * 2).tolist()  # 511, 512, 513, 1023, 1024 and 1025 stand at edges
    steps[511] = steps[512] = steps[513] = steps[1023] = steps[1024] = steps[1025] = steps[0]
    found = suspects_of(in_order(1700), at_steps(*steps), NO_PHOTOS, budget)
    assert found == grouped_slowly(steps, [], budget)
    if budget:
        assert {0, 511, 512, 513, 1023, 1024, 1025} <= set(rows_in(found)[0])


@pytest.mark.parametrize(("cosine", "photos"), [(0.999901, 1), (0.999899, 2), (1.0, 1), (-1.0, 2)])
def test_two_vectors_are_of_one_photo_from_a_cosine_on(cosine: float, photos: int) -> None:
    pair = np.concatenate([AXIS, at_cosines(cosine)])
    assert len(suspects_of(in_order(2), pair, NO_PHOTOS, 9).photos) == photos
    before = Before(pair[:1], ["p"], [True])
    assert [photo.before for photo in suspects_of(in_order(1), pair[1:], before, 9).photos] == ["p" * (photos == 1)]


@pytest.mark.parametrize("scale", [1.0, 0.37, 0.01])
def test_vectors_that_were_rounded_to_two_bytes_are_of_one_photo(scale: float) -> None:
    exact = np.random.default_rng(3).standard_normal((40, 512)).astype(np.float32)
    rounded = (exact * np.float32(scale)).astype(np.float16).astype(np.float32)
    both = unit(np.concatenate([exact, rounded]))
    found = suspects_of(in_order(80), both, NO_PHOTOS, 80)
    assert rows_in(found) == [[row, row + 40] for row in range(40)]


@pytest.mark.parametrize(("budget", "more"), [(0, 9), (1, 6), (2, 3), (3, 0), (4, 0)])
def test_the_budget_counts_photos_and_not_rows(budget: int, more: int) -> None:
    found = suspects_of(in_order(9), at_steps(*[0, 10, 20] * 3), NO_PHOTOS, budget)
    assert rows_in(found) == [[0, 3, 6], [1, 4, 7], [2, 5, 8]][:budget]
    assert [photo.rank for photo in found.photos] == list(range(1, min(budget, 3) + 1))
    assert found.more == more


@pytest.mark.parametrize("budget", [0, 1])
def test_rows_of_a_photo_from_before_join_it_and_take_nothing_of_the_budget(budget: int) -> None:
    before = Before(at_steps(50, 0), ["first", "second"], [True, True])
    found = suspects_of(in_order(5), at_steps(0, 30, 0, 50, 1), before, budget)
    new = [Photo(1, (Candidate(1, None, None),))][:budget]
    candidates = in_order(5)
    assert found.photos == (
        *new,
        Photo(0, (candidates[3],), "first"),
        Photo(0, (candidates[0], candidates[2], candidates[4]), "second"),
    )
    assert (found.more, found.dropped) == (1 - budget, 0)


@pytest.mark.parametrize(("wanted", "dropped"), [(False, 2), (True, 0)], ids=["rejected", "the check removed"])
def test_rows_of_a_photo_that_was_rejected_before_are_dropped(wanted: bool, dropped: int) -> None:
    found = suspects_of(in_order(3), at_steps(0, 30, 1), Before(at_steps(0), ["p"], [wanted]), 9)
    assert found.dropped == dropped
    assert ([0, 2] in rows_in(found)) == wanted
    assert [1] in rows_in(found)


def test_vectors_are_in_no_repr() -> None:
    vectors: Any = at_cosines(math.cos(1))
    said = f"{Known(vectors, vectors)!r} {Before(vectors, ['name-of-a-photo'], [True])!r}"
    assert "0.54" not in said
    assert "name-of" not in said
