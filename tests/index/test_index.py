"""The fast searches answer as the slow ones, whatever the codes look like."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custodes.index import ExactIndex

from .shapes import SHAPES, Uint8s, uniform

# -- exact


def exact_oracle(codes: Uint8s, ids: list[int], queries: Uint8s) -> list[tuple[int, int]]:
    by_code: dict[bytes, list[int]] = {}
    for code, number in zip(codes, ids, strict=True):
        by_code.setdefault(code.tobytes(), []).append(number)
    return [(row, i) for row, query in enumerate(queries) for i in sorted(by_code.get(query.tobytes(), []))]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([16, 20, 32]), st.sampled_from(SHAPES), st.integers(0, 300))
def test_exact_search_equals_a_dictionary(seed: int, size: int, shape: Callable[..., Uint8s], count: int) -> None:
    rng = np.random.default_rng(seed)
    codes = shape(rng, count, size)
    ids = rng.permutation(count) * 7
    queries = np.concatenate([codes[rng.integers(0, count, 50)] if count else codes, shape(rng, 50, size)])
    found = ExactIndex.build(codes, ids).search(queries)
    assert list(zip(*map(np.ndarray.tolist, found), strict=True)) == exact_oracle(codes, ids.tolist(), queries)


def test_exact_search_finds_hits_among_millions_of_misses_over_block_borders() -> None:
    rng = np.random.default_rng(5)
    codes = uniform(rng, 1000, 16)
    queries = uniform(rng, 300_000, 16)
    at = np.array([0, 65_535, 65_536, 131_071, 131_072, 299_999])
    queries[at] = codes[[5, 5, 6, 7, 999, 0]]
    found = ExactIndex.build(codes).search(queries)
    assert found.rows.tolist() == at.tolist()
    assert found.ids.tolist() == [5, 5, 6, 7, 999, 0]


@pytest.mark.parametrize("size", [16, 20, 32])
def test_a_code_that_differs_in_any_one_bit_is_not_equal(size: int) -> None:
    code = uniform(np.random.default_rng(2), 1, size)
    queries = np.repeat(code, size * 8, axis=0)
    bits = np.arange(size * 8)
    queries[bits, bits // 8] ^= (1 << (bits % 8)).astype(np.uint8)
    assert len(ExactIndex.build(code).search(queries).rows) == 0
    assert len(ExactIndex.build(code).search(code).rows) == 1


def test_an_empty_index_and_an_empty_query_give_nothing() -> None:
    none, some = np.empty((0, 32), np.uint8), np.zeros((3, 32), np.uint8)
    for codes, queries in ((none, some), (some, none), (none, none)):
        assert len(ExactIndex.build(codes).search(queries).rows) == 0


def test_codes_of_the_wrong_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="codes must be"):
        ExactIndex.build(np.zeros((2, 7), np.uint8))
    with pytest.raises(ValueError, match="queries have 20 bytes"):
        ExactIndex.build(np.zeros((2, 16), np.uint8)).search(np.zeros((2, 20), np.uint8))
    with pytest.raises(ValueError, match="ids must be"):
        ExactIndex.build(np.zeros((2, 16), np.uint8), np.zeros(3, np.int64))
