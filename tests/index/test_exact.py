"""Search for equal codes answers as a dictionary does, on every level, whatever the codes look like."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from custodes import native
from custodes.errors import InputError
from custodes.index import ExactIndex, ExactMatches, HammingIndex, arrays, buckets
from custodes.index.buckets import Buckets, Runs

from .shapes import LEVELS, SHAPES, Generator, Uint8s, uniform

SIZES = [8, 9, 16, 20, 31, 32, 64]


def one_bucket(rng: Generator, count: int, size: int) -> Uint8s:
    """Codes chosen by somebody who knows the key: it is the same for all, and they differ in their last two words only. All are equal
    where words overlap.
    """
    codes = np.repeat(uniform(rng, 1, size), count, axis=0)
    if size % 8 == 0 and size >= 16:
        first, second = (np.uint64(factor) for factor in buckets._FACTORS[size // 8 - 2 : size // 8])
        words = np.empty((count, 2), dtype=np.uint64)
        words[:, 0] = rng.integers(0, 2**63, count, dtype=np.uint64)
        words[:, 1] = (np.uint64(12345) - words[:, 0] * first) * np.uint64(pow(int(second), -1, 2**64))
        codes[:, -16:] = words.view(np.uint8)
    return codes


EXACT_SHAPES = [*SHAPES, one_bucket]


def pairs(found: ExactMatches) -> list[tuple[int, int]]:
    return list(zip(found.rows.tolist(), found.ids.tolist(), strict=True))


def in_a_dictionary(codes: Uint8s, ids: list[int], queries: Uint8s) -> list[tuple[int, int]]:
    by_code: dict[bytes, list[int]] = {}
    for code, number in zip(codes, ids, strict=True):
        by_code.setdefault(code.tobytes(), []).append(number)
    return [(row, i) for row, query in enumerate(queries) for i in sorted(by_code.get(query.tobytes(), []))]


def asked(rng: Generator, codes: Uint8s, others: Uint8s) -> Uint8s:
    """Entries, entries with one bit changed, and other codes."""
    if not len(codes):
        return others
    near = codes[rng.integers(0, len(codes), 30)]
    near[np.arange(30), rng.integers(0, codes.shape[1], 30)] ^= np.uint8(1) << rng.integers(0, 8, 30, dtype=np.uint8)
    queries = np.concatenate([codes[rng.integers(0, len(codes), 50)], near, others])
    return queries[rng.permutation(len(queries))]


def disagreements(seed: int, size: int, shape: Callable[..., Uint8s], count: int) -> int:
    rng = np.random.default_rng(seed)
    codes = shape(rng, count, size)
    ids = rng.permutation(count) * 7 - 20
    queries = asked(rng, codes, shape(rng, 50, size))
    found = pairs(ExactIndex.build(codes, ids).search(queries, threads=int(rng.integers(1, 4))))
    expected = in_a_dictionary(codes, ids.tolist(), queries)
    return len(set(found) ^ set(expected)) + (found != expected)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(SIZES), st.sampled_from(EXACT_SHAPES), st.integers(0, 300))
def test_every_level_finds_what_a_dictionary_finds(
    seed: int, size: int, shape: Callable[..., Uint8s], count: int
) -> None:
    for level in LEVELS:
        native.use(level)
        assert disagreements(seed, size, shape, count) == 0, level


@pytest.mark.soak
@pytest.mark.timeout(1800)
@settings(max_examples=3000, deadline=None)
@given(st.integers(0, 2**32), st.integers(8, 64), st.sampled_from(EXACT_SHAPES), st.integers(0, 3000))
def test_every_level_finds_what_a_dictionary_finds_in_full(
    seed: int, size: int, shape: Callable[..., Uint8s], count: int
) -> None:
    for level in LEVELS:
        native.use(level)
        assert disagreements(seed, size, shape, count) == 0, level


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(8, 64), st.sampled_from(EXACT_SHAPES), st.integers(0, 3000))
def test_every_level_builds_the_same_arrays(seed: int, size: int, shape: Callable[..., Uint8s], count: int) -> None:
    codes = shape(np.random.default_rng(seed), count, size)
    native.use(native.NONE)
    plain = Buckets.build(codes)
    assert plain.is_sound()
    assert (plain.codes == codes).all()
    for level in LEVELS:
        native.use(level)
        built = Buckets.build(codes)
        for name in ("heads", "order", "sorted_codes"):
            assert (getattr(built, name) == getattr(plain, name)).all(), (level, name)


def test_codes_chosen_to_share_one_key_are_searched_in_bounded_time(level: str) -> None:
    """A search of each by comparing with all would be 10^10 comparisons, and this test would not end."""
    codes = one_bucket(np.random.default_rng(4), 100_000, 16)
    assert len(np.unique(buckets.keys_of(codes))) == 1
    assert len(np.unique(codes, axis=0)) == 100_000
    found = ExactIndex.build(codes).search(codes)
    assert (found.rows == found.ids).all()
    assert len(found.rows) == 100_000


def test_one_code_a_hundred_thousand_times_is_found_as_often_and_in_order(level: str) -> None:
    codes = np.full((100_000, 32), 255, dtype=np.uint8)
    found = ExactIndex.build(codes).search(np.array([[0] * 32, [255] * 32], dtype=np.uint8))
    assert (found.rows == 1).all()
    assert (found.ids == np.arange(100_000)).all()


def test_hits_among_many_misses_are_found_over_borders_of_blocks_tasks_and_threads(
    level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "_KERNEL_ROWS", 100_000)
    rng = np.random.default_rng(5)
    codes = uniform(rng, 1000, 16)
    queries = uniform(rng, 300_000, 16)
    at = np.array([0, 127, 128, 65_535, 65_536, 99_999, 100_000, 131_071, 131_072, 299_999])
    queries[at] = codes[[5, 8, 8, 5, 6, 7, 7, 7, 999, 0]]
    for threads in (1, 2, 3, 64):
        found = ExactIndex.build(codes).search(queries, threads=threads)
        assert found.rows.tolist() == at.tolist(), threads
        assert found.ids.tolist() == [5, 8, 8, 5, 6, 7, 7, 7, 999, 0], threads


@pytest.mark.parametrize("size", SIZES)
def test_a_code_that_differs_in_any_one_bit_is_not_equal(size: int, level: str) -> None:
    code = uniform(np.random.default_rng(2), 1, size)
    queries = np.repeat(code, size * 8, axis=0)
    bits = np.arange(size * 8)
    queries[bits, bits // 8] ^= (1 << (bits % 8)).astype(np.uint8)
    assert len(ExactIndex.build(code).search(queries).rows) == 0
    assert pairs(ExactIndex.build(code).search(code)) == [(0, 0)]
    assert pairs(ExactIndex.build(queries).search(queries)) == [(row, row) for row in range(len(queries))]


def test_queries_that_do_not_lie_side_by_side_are_copied_first(level: str) -> None:
    codes = uniform(np.random.default_rng(3), 100, 32)
    assert pairs(ExactIndex.build(codes[:, ::2]).search(codes[::7, ::2])) == [(i, 7 * i) for i in range(15)]


def test_an_empty_index_and_an_empty_query_give_nothing(level: str) -> None:
    none, some = np.empty((0, 32), np.uint8), np.zeros((3, 32), np.uint8)
    for codes, queries in ((none, some), (some, none), (none, none)):
        assert pairs(ExactIndex.build(codes).search(queries)) == []
        assert pairs(ExactIndex.build(codes).search(queries, threads=3)) == []


def test_what_is_asked_wrongly_is_refused() -> None:
    with pytest.raises(ValueError, match="codes must be"):
        ExactIndex.build(np.zeros((2, 7), np.uint8))
    with pytest.raises(ValueError, match="at most 64 bytes"):
        ExactIndex.build(np.zeros((2, 65), np.uint8))
    with pytest.raises(ValueError, match="ids must be"):
        ExactIndex.build(np.zeros((2, 16), np.uint8), np.zeros(3, np.int64))
    index = ExactIndex.build(np.zeros((2, 16), np.uint8))
    with pytest.raises(ValueError, match="queries have 20 bytes"):
        index.search(np.zeros((2, 20), np.uint8))
    with pytest.raises(ValueError, match="codes have 20 bytes"):
        index.add(np.zeros((2, 20), np.uint8), np.zeros(2, np.int64))
    with pytest.raises(ValueError, match="threads must be"):
        index.search(np.zeros((2, 16), np.uint8), threads=0)


def test_an_entry_costs_what_the_documentation_says(level: str) -> None:
    codes = uniform(np.random.default_rng(1), 10_000, 16)
    assert 22 * 10_000 <= ExactIndex.build(codes).nbytes <= 22.1 * 10_000
    assert 30 * 10_000 <= ExactIndex.build(codes, np.arange(10_000)[::-1]).nbytes <= 30.1 * 10_000


# -- adding and withdrawing


class Model(RuleBasedStateMachine):
    """An index against a plain list of entries. Few codes and few ids, so that they meet."""

    folder: Path

    def __init__(self) -> None:
        super().__init__()
        self.rng = np.random.default_rng(11)
        self.known = uniform(self.rng, 12, 16)
        self.index = ExactIndex(16)
        self.entries: list[tuple[int, bytes]] = []
        self.next = 0

    @rule(count=st.integers(0, 9), named=st.booleans())
    def add(self, count: int, named: bool) -> None:
        codes = self.known[self.rng.integers(0, len(self.known), count)]
        ids = self.rng.integers(0, 20, count) if named else np.arange(self.next, self.next + count)
        self.index.add(codes, ids if named else None)
        self.entries += [(int(i), code.tobytes()) for i, code in zip(ids, codes, strict=True)]
        self.next = max([self.next, *(int(i) + 1 for i in ids)])

    @rule(ids=st.sets(st.integers(0, 40), max_size=8))
    def withdraw(self, ids: set[int]) -> None:
        left = [entry for entry in self.entries if entry[0] not in ids]
        assert self.index.withdraw(np.array(sorted(ids), dtype=np.int64)) == len(self.entries) - len(left)
        self.entries = left

    @rule(level=st.sampled_from(LEVELS))
    def choose(self, level: str) -> None:
        native.use(level)

    @rule()
    def fold(self) -> None:
        self.index.fold()

    @rule()
    def reload(self) -> None:
        self.index.save(self.folder / "index")
        self.index = ExactIndex.load(self.folder / "index", mapped=bool(self.rng.integers(2)))
        self.next = max([i + 1 for i, _ in self.entries], default=0)

    @invariant()
    def the_same_is_found(self) -> None:
        assert len(self.index) == len(self.entries)
        queries = self.known[self.rng.integers(0, len(self.known), 8)]
        expected = sorted(
            (row, i) for row, query in enumerate(queries) for i, code in self.entries if code == query.tobytes()
        )
        assert pairs(self.index.search(queries)) == expected


def test_entries_come_and_go_as_in_a_plain_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Model, "folder", tmp_path, raising=False)
    case = Model.TestCase
    case.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)
    case("runTest").runTest()


def test_what_was_added_is_not_what_the_caller_changes_later(level: str) -> None:
    codes = uniform(np.random.default_rng(1), 50, 16)
    index, asked_for = ExactIndex.build(codes), codes.copy()
    index.add(codes[:5], np.arange(5) + 100)
    codes[:] = 0
    assert len(index.search(asked_for).rows) == 55


# -- files


@pytest.mark.parametrize("count", [0, 1, 100, 5000])
@pytest.mark.parametrize("size", [8, 20, 32])
def test_an_index_survives_its_file(count: int, size: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(count)
    codes, file = uniform(rng, count, size), tmp_path / "index"
    for ids in (None, rng.permutation(count) - 5):
        index = ExactIndex.build(codes, ids)
        expected = index.search(codes)
        assert len(expected.rows) == count
        index.save(file)
        for read in (
            ExactIndex.load(file),
            ExactIndex.load(file, mapped=False),
            ExactIndex.load(BytesIO(file.read_bytes())),
        ):
            for level in LEVELS:
                native.use(level)
                assert pairs(read.search(codes)) == pairs(expected)
            read.add(codes[:5])  # goes on after a load
            assert len(read) == count + min(count, 5)


def test_every_level_writes_the_same_file(tmp_path: Path) -> None:
    codes = uniform(np.random.default_rng(9), 500, 20)
    files = set()
    for level in LEVELS:
        native.use(level)
        ExactIndex.build(codes).save(tmp_path / level)
        files.add((tmp_path / level).read_bytes())
    assert len(files) == 1


def test_a_file_with_any_byte_changed_gives_the_same_answer_or_none_and_a_cut_one_none(tmp_path: Path) -> None:
    codes = uniform(np.random.default_rng(6), 40, 20)
    index = ExactIndex.build(codes, np.arange(40) * 3)
    index.save(tmp_path / "index")
    whole = (tmp_path / "index").read_bytes()
    expected = pairs(index.search(codes))
    in_padding = 0
    for at in range(len(whole)):
        changed = bytearray(whole)
        changed[at] ^= 1 << at % 8
        try:
            read = ExactIndex.load(BytesIO(changed))
        except InputError:
            continue
        in_padding += 1
        assert pairs(read.search(codes)) == expected, at
    assert in_padding < 256  # at most 63 before each of four arrays
    for length in range(len(whole)):
        with pytest.raises(InputError):
            ExactIndex.load(BytesIO(whole[:length]))


def test_an_index_of_another_kind_is_refused(tmp_path: Path) -> None:
    HammingIndex.build(np.zeros((3, 32), np.uint8)).save(tmp_path / "index")
    with pytest.raises(InputError, match="kind"):
        ExactIndex.load(tmp_path / "index")


def with_head(segment: Buckets, at: int, value: int) -> Buckets:
    heads = segment.heads.copy()
    heads[at] = value
    return Buckets(heads, segment.order, segment.sorted_codes)


def with_order(segment: Buckets, value: int) -> Buckets:
    order = segment.order.copy()
    order[3] = value
    return Buckets(segment.heads, order, segment.sorted_codes)


UNSOUND: dict[str, Callable[[Buckets], Buckets]] = {
    "a last start past the end": lambda segment: with_head(segment, -1, 101),
    "a last start before the end": lambda segment: with_head(segment, -1, 99),
    "a first start that is not 0": lambda segment: with_head(segment, 0, 1),
    "starts that fall": lambda segment: with_head(segment, 20, 1),
    "a start past the end": lambda segment: with_head(segment, 20, 101),
    "a row past the last": lambda segment: with_order(segment, 100),
    "a head too few": lambda segment: Buckets(segment.heads[:-1], segment.order, segment.sorted_codes),
    "a row too few": lambda segment: Buckets(segment.heads, segment.order[:-1], segment.sorted_codes),
    "heads of another type": lambda segment: Buckets(segment.heads.view(np.int64), segment.order, segment.sorted_codes),
    "codes that are too short": lambda segment: Buckets(
        segment.heads, segment.order, np.ascontiguousarray(segment.sorted_codes[:, :7])
    ),
    "codes that are flat": lambda segment: Buckets(segment.heads, segment.order, segment.sorted_codes.ravel()),
}


@pytest.mark.parametrize("change", UNSOUND.values(), ids=UNSOUND)
def test_arrays_that_lead_out_of_bounds_are_refused_whatever_their_digests(
    change: Callable[[Buckets], Buckets], tmp_path: Path
) -> None:
    index = ExactIndex.build(uniform(np.random.default_rng(7), 100, 16), np.arange(100)[::-1])
    (part,) = index._entries.parts
    part.segment = change(part.segment)
    index.save(tmp_path / "index")
    with pytest.raises(InputError, match="do not belong together"):
        ExactIndex.load(tmp_path / "index")


@pytest.mark.parametrize("ids", [np.arange(99), np.arange(100.0), np.zeros((1, 100), np.int64)])
def test_ids_that_do_not_fit_are_refused(ids: Uint8s, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = ExactIndex.build(uniform(np.random.default_rng(7), 100, 16), np.arange(100)[::-1])
    (part,) = index._entries.parts
    monkeypatch.setattr(part, "ids", ids.astype(np.uint64) if ids.dtype.kind == "f" else ids)
    index.save(tmp_path / "index")
    with pytest.raises(InputError, match="do not belong together"):
        ExactIndex.load(tmp_path / "index")


# -- planted faults: the check above must report each


def caught() -> bool:
    cases = itertools.product(range(5), (16, 32), EXACT_SHAPES)
    return any(disagreements(seed, size, shape, 200) for seed, size, shape in cases)


def test_planted_fault_a_filter_that_drops_one_entry_is_caught(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not caught()
    right = Buckets.build

    def build(codes: Uint8s) -> Buckets:
        segment = right(codes)
        full = int(np.flatnonzero(np.diff((segment.heads & np.uint64(0xFFFFFFFF)).astype(np.int64)))[0])
        segment.heads[full] &= np.uint64(0xFFFFFFFF)
        return segment

    monkeypatch.setattr(Buckets, "build", build)
    assert caught()


def test_planted_fault_an_answer_that_is_lost_is_caught(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = Buckets.search

    def search(self: Buckets, queries: Uint8s, threads: int) -> Runs:
        return right(self, queries, threads)[:-1]

    monkeypatch.setattr(Buckets, "search", search)
    assert caught()


def test_planted_fault_rows_of_a_second_task_that_count_from_its_start_are_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = arrays.in_threads

    def in_threads(work: Callable[..., Runs], tasks: list[tuple[object, ...]], threads: int) -> list[Runs]:
        return [each - np.array([17 * (i > 0), 0, 0], np.uint32) for i, each in enumerate(right(work, tasks, threads))]

    monkeypatch.setattr(arrays, "in_threads", in_threads)
    assert caught()


NUMPY_FAULTS: dict[str, tuple[str, object]] = {
    "the last word of a code is not compared": (
        "_before",
        lambda left, right, or_equal, real=buckets._before: real(
            left[:, :8].copy(), right[:, :8].copy(), or_equal=or_equal
        ),
    ),
    "codes are not sorted within a bucket": ("_order", lambda found, codes: np.argsort(found, kind="stable")),
    "queries ask for a filter bit that entries do not set": (
        "filter_bits",
        lambda keys, real=buckets.filter_bits: real(keys) | np.uint64(len(keys) < 200),  # 200 are built
    ),
}


@pytest.mark.parametrize(("name", "value"), NUMPY_FAULTS.values(), ids=NUMPY_FAULTS)
def test_planted_fault_without_native_code_is_caught(name: str, value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    native.use(native.NONE)
    monkeypatch.setattr(buckets, name, value)
    assert caught()
