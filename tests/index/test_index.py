"""The fast searches answer as the slow ones, whatever the codes look like."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custodes import index
from custodes.index import HAMMING_RADIUS_MAX, ExactIndex, HammingIndex, HammingMatches

Uint8s = npt.NDArray[np.uint8]
Generator = np.random.Generator


def uniform(rng: Generator, count: int, size: int) -> Uint8s:
    return rng.integers(0, 256, (count, size), dtype=np.uint8)


def few_values(rng: Generator, count: int, size: int) -> Uint8s:
    return uniform(rng, 4, size)[rng.integers(0, 4, count)]


def same_prefix(rng: Generator, count: int, size: int) -> Uint8s:
    codes = np.zeros((count, size), dtype=np.uint8)
    codes[:, -1] = rng.integers(0, 8, count)
    return codes


def constant(rng: Generator, count: int, size: int) -> Uint8s:
    return np.full((count, size), rng.choice([0, 255]), dtype=np.uint8)


def counting(rng: Generator, count: int, size: int) -> Uint8s:
    return np.tile(np.arange(count, dtype=">u4")[:, None], (1, size // 4)).view(np.uint8)[:, :size]


SHAPES = [uniform, few_values, same_prefix, constant, counting]


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
        assert len(HammingIndex.build(codes).search(queries, 31).rows) == 0
        assert len(HammingIndex.build(codes).search_brute(queries, 31).rows) == 0


def test_codes_of_the_wrong_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="codes must be"):
        ExactIndex.build(np.zeros((2, 7), np.uint8))
    with pytest.raises(ValueError, match="queries have 20 bytes"):
        ExactIndex.build(np.zeros((2, 16), np.uint8)).search(np.zeros((2, 20), np.uint8))
    with pytest.raises(ValueError, match="ids must be"):
        ExactIndex.build(np.zeros((2, 16), np.uint8), np.zeros(3, np.int64))
    with pytest.raises(ValueError, match=r"uint8\[n, 32\]"):
        HammingIndex.build(np.zeros((2, 16), np.uint8))
    with pytest.raises(ValueError, match="radius"):
        HammingIndex.build(np.zeros((2, 32), np.uint8)).search(np.zeros((1, 32), np.uint8), HAMMING_RADIUS_MAX + 1)
    with pytest.raises(ValueError, match="radius"):
        HammingIndex.build(np.zeros((2, 32), np.uint8)).search(np.zeros((1, 32), np.uint8), -1)


# -- Hamming


def slow_search(codes: Uint8s, queries: Uint8s, radius: int) -> list[tuple[int, int, int]]:
    """Bit by bit, in Python integers: the oracle of the oracle."""
    entries = [int.from_bytes(code.tobytes(), "big") for code in codes]
    found = []
    for row, query in enumerate(queries):
        number = int.from_bytes(query.tobytes(), "big")
        distances = [(number ^ entry).bit_count() for entry in entries]
        found += [(row, i, distance) for i, distance in enumerate(distances) if distance <= radius]
    return found


def triples(found: HammingMatches) -> list[tuple[int, int, int]]:
    return list(zip(found.rows.tolist(), found.ids.tolist(), found.distances.tolist(), strict=True))


def flipped(rng: Generator, codes: Uint8s, counts: npt.NDArray[np.int64]) -> Uint8s:
    """Each code with so many of its bits flipped, at random places."""
    order = np.argsort(rng.random((len(codes), 256)), axis=1)
    bits = (np.argsort(order, axis=1) < counts[:, None]).astype(np.uint8)
    return codes ^ np.packbits(bits, axis=1)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(SHAPES), st.integers(0, 200), st.integers(0, HAMMING_RADIUS_MAX))
def test_brute_force_equals_counting_bits_in_python(
    seed: int, shape: Callable[..., Uint8s], count: int, radius: int
) -> None:
    rng = np.random.default_rng(seed)
    codes = shape(rng, count, 32)
    base = codes[rng.integers(0, count, 20)] if count else shape(rng, 20, 32)
    queries = flipped(rng, base, rng.integers(0, 257, len(base)))
    assert triples(HammingIndex.build(codes).search_brute(queries, radius)) == slow_search(codes, queries, radius)


def clustered(rng: Generator, count: int, size: int) -> Uint8s:
    centres = uniform(rng, 16, size)
    return flipped(rng, centres[rng.integers(0, 16, count)], rng.integers(0, 60, count))


def banded(rng: Generator, count: int, size: int) -> Uint8s:
    """All codes equal in half of their bands: the buckets of those hold everything."""
    codes = uniform(rng, count, size)
    codes[:, ::2] = 170
    return codes


def evenly_flipped(rng: Generator, codes: Uint8s, count: int) -> Uint8s:
    """Each code with ``count`` bits flipped, spread over the 16 bands as evenly as can be: the hardest codes to
    find.
    """
    quotas = count // 16 + (np.argsort(rng.random((len(codes), 16)), axis=1) < count % 16)
    ranks = np.argsort(np.argsort(rng.random((len(codes), 16, 16)), axis=2), axis=2)
    return codes ^ np.packbits((ranks < quotas[:, :, None]).astype(np.uint8).reshape(-1, 256), axis=1)


def disagreements(seed: int, shape: Callable[..., Uint8s], radius: int) -> int:
    """Pairs in which multi-index hashing and brute force differ, over queries at every distance around the radius."""
    rng = np.random.default_rng(seed)
    codes = shape(rng, index._MIH_ENTRIES_MIN, 32)
    base = codes[rng.integers(0, len(codes), 40)]
    queries = flipped(rng, base, rng.integers(max(0, radius - 6), radius + 3, 40))
    queries = np.concatenate([queries, evenly_flipped(rng, base, radius)])
    searched = HammingIndex.build(codes)
    assert searched._bands
    return len(set(triples(searched.search(queries, radius))) ^ set(triples(searched.search_brute(queries, radius))))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32),
    st.sampled_from([uniform, clustered, banded, few_values, same_prefix]),
    st.integers(0, HAMMING_RADIUS_MAX),
)
def test_multi_index_hashing_equals_brute_force(seed: int, shape: Callable[..., Uint8s], radius: int) -> None:
    assert disagreements(seed, shape, radius) == 0


@pytest.mark.soak
@settings(max_examples=8000, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([uniform, clustered, banded]), st.integers(0, 31))
def test_multi_index_hashing_equals_brute_force_in_full(seed: int, shape: Callable[..., Uint8s], radius: int) -> None:
    assert disagreements(seed, shape, radius) == 0


@pytest.mark.parametrize("value", [0, 255])
def test_multi_index_hashing_on_identical_codes_finds_all_of_them_in_order(value: int) -> None:
    codes = np.full((index._MIH_ENTRIES_MIN, 32), value, dtype=np.uint8)
    found = HammingIndex.build(codes).search(np.array([[value] * 32, [255 - value] * 32], dtype=np.uint8), 31)
    assert triples(found) == [(0, entry, 0) for entry in range(len(codes))]


def test_pairs_at_every_distance_up_to_the_radius_are_found_and_none_beyond() -> None:
    rng = np.random.default_rng(9)
    searched = HammingIndex.build(codes := uniform(rng, 20_000, 32))
    counts = np.repeat(np.arange(0, 41), 50)
    queries = flipped(rng, codes[: len(counts)], counts)
    found = searched.search(queries, 31)
    own = found.rows == found.ids
    assert found.rows[own].tolist() == np.flatnonzero(counts <= 31).tolist()
    assert found.distances[own].tolist() == counts[counts <= 31].tolist()


def test_the_order_of_answers_does_not_depend_on_the_order_of_entries() -> None:
    rng = np.random.default_rng(3)
    codes = clustered(rng, 5000, 32)
    shuffle = rng.permutation(5000)
    straight = HammingIndex.build(codes).search(codes[:30], 31)
    assert triples(HammingIndex.build(codes[shuffle], shuffle).search(codes[:30], 31)) == triples(straight)


def test_small_memory_blocks_change_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    codes = clustered(rng, 5000, 32)
    whole = triples(HammingIndex.build(codes).search(codes[:30], 31))
    monkeypatch.setattr(index, "_PAIRS_MAX", 100)
    monkeypatch.setattr(index, "_MIH_QUERY_ROWS", 7)
    assert triples(HammingIndex.build(codes).search(codes[:30], 31)) == whole
    assert triples(HammingIndex.build(codes).search_brute(codes[:30], 31)) == whole


def in_eight_bits(left: npt.NDArray[np.uint64], right: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    return np.bitwise_count(left ^ right).sum(axis=-1, dtype=np.uint8)


index_following = index._following

FAULTS: dict[str, tuple[str, object]] = {
    "bands probed at distance 0 only": ("_NEAR", index._NEAR[:1]),
    "the last bit of a band is never probed": ("_NEAR", index._NEAR[:-1]),
    "one band too few": ("_band_tables", lambda codes: [index._band_table(codes.view(np.uint16), 0)] * 16),
    "the chain looks at the wrong bands": (
        "_following",
        lambda bands, band: index_following(bands ^ np.uint16(257), 0),
    ),
}


@pytest.mark.parametrize(("name", "value"), FAULTS.values(), ids=FAULTS)
def test_planted_fault_in_the_bands_is_caught(name: str, value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sum(disagreements(seed, uniform, 31) for seed in range(5)) == 0
    monkeypatch.setattr(index, name, value)
    assert sum(disagreements(seed, uniform, 31) for seed in range(5)) > 0


def test_planted_fault_a_radius_off_by_one_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = HammingIndex._search_rows
    monkeypatch.setattr(
        HammingIndex, "_search_rows", lambda self, words, start, radius: right(self, words, start, radius - 1)
    )
    assert sum(disagreements(seed, uniform, 31) for seed in range(5)) > 0


def test_planted_fault_distances_in_eight_bits_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    codes, queries = np.zeros((3, 32), np.uint8), np.full((1, 32), 255, np.uint8)
    assert triples(HammingIndex.build(codes).search_brute(queries, 31)) == slow_search(codes, queries, 31) == []
    monkeypatch.setattr(index, "_distances", in_eight_bits)
    assert triples(HammingIndex.build(codes).search_brute(queries, 31)) != []
