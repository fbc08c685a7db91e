"""The fast search answers as the slow one, on every level, in every form of the index, whatever the codes look like."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from custodes import native
from custodes.errors import InputError
from custodes.index import HAMMING_RADIUS_MAX, HammingIndex, HammingMatches, bands, chain, segment

from .shapes import HAMMING_SHAPES, LEVELS, Uint8s, clustered, constant, evenly_flipped, flipped, uniform

TABLES_MIN = segment.TABLES_MIN
FORMS = ("join", "probe", "bulk")


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


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(HAMMING_SHAPES), st.integers(0, 200), st.integers(0, HAMMING_RADIUS_MAX))
def test_brute_force_equals_counting_bits_in_python(
    seed: int, shape: Callable[..., Uint8s], count: int, radius: int
) -> None:
    rng = np.random.default_rng(seed)
    codes = shape(rng, count, 32)
    base = codes[rng.integers(0, count, 20)] if count else shape(rng, 20, 32)
    queries = flipped(rng, base, rng.integers(0, 257, len(base)))
    slow = slow_search(codes, queries, radius)
    index = HammingIndex.build(codes)
    assert triples(index.search_brute(queries, radius)) == slow
    for level in LEVELS:  # few codes: all are compared
        native.use(level)
        assert triples(HammingIndex.build(codes).search(queries, radius)) == slow, level


def disagreements(shape: Callable[..., Uint8s], seed: int, radius: int, form: str = "join") -> int:
    """Pairs in which the search of an index with tables and brute force differ, over queries at every distance around the radius."""
    rng = np.random.default_rng(seed)
    codes = shape(rng, TABLES_MIN + int(rng.integers(0, 40)), 32)
    base = codes[rng.integers(0, len(codes), 20)]
    queries = flipped(rng, base, rng.integers(max(0, radius - 6), radius + 3, len(base)))
    queries = np.concatenate([queries, evenly_flipped(rng, base, radius), uniform(rng, 5, 32)])
    index = HammingIndex.build(codes, resident=form != "bulk")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segment, "_JOIN_MIN", 0 if form == "join" else 1 << 30)
        found = triples(index.search(queries, radius, threads=int(rng.integers(1, 4))))
    return len(set(found) ^ set(triples(index.search_brute(queries, radius)))) + len(found) - len(set(found))


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(HAMMING_SHAPES), st.integers(0, HAMMING_RADIUS_MAX))
def test_every_level_finds_what_brute_force_finds(
    form: str, seed: int, shape: Callable[..., Uint8s], radius: int
) -> None:
    for level in LEVELS:
        native.use(level)
        # Codes that are all alike are all near each other: enough of them says the same as all of them.
        assert disagreements(shape, seed, min(radius, 40) if level == native.NONE else radius, form) == 0, level


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=500, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(HAMMING_SHAPES), st.integers(0, HAMMING_RADIUS_MAX))
def test_every_level_finds_what_brute_force_finds_in_full(
    form: str, seed: int, shape: Callable[..., Uint8s], radius: int
) -> None:
    for level in LEVELS:
        native.use(level)
        assert disagreements(shape, seed, radius, form) == 0, level


@pytest.mark.parametrize("radius", range(HAMMING_RADIUS_MAX + 1))
def test_the_hardest_codes_of_every_radius_are_found_and_none_beyond(radius: int, level: str) -> None:
    rng = np.random.default_rng(radius)
    index = HammingIndex.build(codes := uniform(rng, TABLES_MIN, 32))
    at, beyond = evenly_flipped(rng, codes[:60], radius), evenly_flipped(rng, codes[:60], radius + 1)
    found = index.search(np.concatenate([at, beyond]), radius)
    own = found.rows == found.ids
    assert found.rows[own].tolist() == list(range(60))
    assert (found.distances <= radius).all()


@pytest.mark.parametrize("value", [0, 255])
def test_on_identical_codes_all_of_them_are_found_in_order(value: int, level: str) -> None:
    codes = constant(np.random.default_rng(0), TABLES_MIN, 32) * 0 + np.uint8(value)
    queries = np.array([[value] * 32, [255 - value] * 32], dtype=np.uint8)
    assert triples(HammingIndex.build(codes).search(queries, 31)) == [(0, entry, 0) for entry in range(len(codes))]


def test_blocks_of_queries_and_threads_change_no_answer(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    codes = clustered(rng, 5000, 32)
    queries = codes[:30]
    whole = triples(HammingIndex.build(codes).search_brute(queries, 31))
    monkeypatch.setattr(segment, "_QUERIES_AT_ONCE", 7)
    monkeypatch.setattr(bands, "_PROBES_AT_ONCE", 100)
    monkeypatch.setattr(bands, "_PAIRS_AT_ONCE", 7)
    for join_min in (0, 1 << 30):
        monkeypatch.setattr(segment, "_JOIN_MIN", join_min)
        for threads, resident in ((1, True), (3, True), (64, True), (3, False)):
            index = HammingIndex.build(codes, resident=resident, threads=threads)
            assert triples(index.search(queries, 31, threads=threads)) == whole
    assert triples(HammingIndex.build(codes[:3000]).search(queries, 31, threads=4)) == [
        each for each in whole if each[1] < 3000
    ]
    assert triples(HammingIndex.build(codes).search_brute(queries, 31)) == whole


def test_the_order_of_answers_does_not_depend_on_the_order_of_entries(level: str) -> None:
    rng = np.random.default_rng(3)
    codes = clustered(rng, 5000, 32)
    shuffle = rng.permutation(5000)
    straight = HammingIndex.build(codes).search(codes[:30], 31)
    assert triples(HammingIndex.build(codes[shuffle], shuffle).search(codes[:30], 31)) == triples(straight)


def test_what_is_asked_wrongly_is_refused() -> None:
    index = HammingIndex.build(np.zeros((2, 32), np.uint8))
    with pytest.raises(ValueError, match=r"uint8\[n, 32\]"):
        HammingIndex.build(np.zeros((2, 16), np.uint8))
    with pytest.raises(ValueError, match=r"uint8\[n, 32\]"):
        index.search(np.zeros((1, 31), np.uint8))
    with pytest.raises(ValueError, match="ids must be"):
        HammingIndex.build(np.zeros((2, 32), np.uint8), np.zeros(3, np.int64))
    with pytest.raises(ValueError, match="radius must be 0 to 64 bits, got 65"):
        index.search(np.zeros((1, 32), np.uint8), HAMMING_RADIUS_MAX + 1)
    with pytest.raises(ValueError, match="radius must be 0 to 64 bits, got -1"):
        index.search_brute(np.zeros((1, 32), np.uint8), -1)
    with pytest.raises(ValueError, match="threads must be at least 1"):
        index.search(np.zeros((1, 32), np.uint8), 1, threads=0)


def test_an_empty_index_and_an_empty_query_give_nothing(level: str) -> None:
    none, some = np.empty((0, 32), np.uint8), np.zeros((3, 32), np.uint8)
    large = uniform(np.random.default_rng(0), TABLES_MIN, 32)
    for codes, queries in ((none, some), (some, none), (none, none), (large, none)):
        assert triples(HammingIndex.build(codes).search(queries, 31)) == []
        assert triples(HammingIndex.build(codes).search_brute(queries, 31)) == []


# -- what an entry costs


@pytest.mark.parametrize("level", native.levels())
def test_an_entry_costs_what_the_documentation_says(level: str) -> None:
    native.use(level)
    count = 200_000
    rng = np.random.default_rng(1)
    codes, ids = uniform(rng, count, 32), rng.permutation(count)
    fixed = 16 * 65_537 * 4 + 2 * 64
    assert HammingIndex.build(codes, ids).nbytes == count * (32 + 8 + 16 * 8) + fixed
    assert HammingIndex.build(codes, ids, resident=False).nbytes == count * (32 + 8)
    assert HammingIndex.build(codes).nbytes == count * (32 + 16 * 8) + fixed


# -- adding and withdrawing


class Model(RuleBasedStateMachine):
    """An index against a plain list of entries."""

    def __init__(self) -> None:
        super().__init__()
        self.rng = np.random.default_rng(11)
        self.index = HammingIndex()
        self.entries: list[tuple[int, bytes]] = []
        self.next = 0

    @rule(count=st.integers(0, 9), named=st.booleans())
    def add(self, count: int, named: bool) -> None:
        codes = clustered(self.rng, count, 32)
        ids = self.rng.integers(0, 20, count) if named else np.arange(self.next, self.next + count)
        self.index.add(codes, ids if named else None)
        self.entries += [(int(i), code.tobytes()) for i, code in zip(ids, codes, strict=True)]
        self.next = max([self.next, *(int(i) + 1 for i in ids)])

    @rule(ids=st.sets(st.integers(0, 40), max_size=8))
    def withdraw(self, ids: set[int]) -> None:
        left = [entry for entry in self.entries if entry[0] not in ids]
        assert self.index.withdraw(np.array(sorted(ids), dtype=np.int64)) == len(self.entries) - len(left)
        self.entries = left

    @rule()
    def fold(self) -> None:
        self.index.fold()

    @rule()
    def reload(self) -> None:
        file = Path(self.folder) / "index"
        self.index.save(file)
        self.index = HammingIndex.load(file, mapped=bool(self.rng.integers(2)))
        self.next = max([i + 1 for i, _ in self.entries], default=0)

    @invariant()
    def the_same_is_found(self) -> None:
        assert len(self.index) == len(self.entries)
        queries = clustered(self.rng, 4, 32)
        queries[:2] = np.frombuffer(self.entries[0][1], np.uint8) if self.entries else queries[:2]
        expected = sorted(
            (row, i, (int.from_bytes(code) ^ int.from_bytes(query.tobytes())).bit_count())
            for row, query in enumerate(queries)
            for i, code in self.entries
        )
        assert triples(self.index.search(queries, 40)) == [each for each in expected if each[2] <= 40]


@pytest.mark.parametrize("tables_min", [1, 8, TABLES_MIN])
def test_entries_come_and_go_as_in_a_plain_list(
    tables_min: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment, "TABLES_MIN", tables_min)
    monkeypatch.setattr(Model, "folder", tmp_path, raising=False)
    case = Model.TestCase
    case.settings = settings(max_examples=8, stateful_step_count=12, deadline=None)
    case("runTest").runTest()


def test_ten_thousand_entries_added_one_at_a_time_lie_in_a_few_segments() -> None:
    codes = uniform(np.random.default_rng(5), 10_000, 32)
    index = HammingIndex()
    for row in range(len(codes)):
        index.add(codes[row : row + 1])
    assert len(index) == 10_000
    assert len(index._entries.parts) <= 8
    assert triples(index.search(codes[[0, 4095, 9999]], 0)) == [(0, 0, 0), (1, 4095, 0), (2, 9999, 0)]


# -- files


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    index = HammingIndex.build(uniform(np.random.default_rng(6), 40, 32), np.arange(40) * 3)
    index.save(tmp_path / "index")
    return tmp_path / "index"


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("count", [0, 1, 100, TABLES_MIN])
def test_an_index_survives_its_file(count: int, resident: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(count)
    codes, file = clustered(rng, count, 32), tmp_path / "index"
    for ids in (None, rng.permutation(count) + 5):
        index = HammingIndex.build(codes, ids, resident=resident)
        expected = index.search(codes[:50], 31)
        index.save(file)
        for read in (
            HammingIndex.load(file),
            HammingIndex.load(file, mapped=False),
            HammingIndex.load(file, resident=False),
            HammingIndex.load(BytesIO(file.read_bytes())),
        ):
            assert triples(read.search(codes[:50], 31)) == triples(expected)
            read.add(codes[:5])  # goes on after a load
            assert len(read) == count + min(count, 5)


def test_a_file_with_any_byte_changed_or_missing_is_refused(saved: Path) -> None:
    whole = saved.read_bytes()
    rng = np.random.default_rng(8)
    for at in {*range(700), *rng.integers(700, len(whole), 300).tolist()}:
        changed = bytearray(whole)
        changed[at] ^= 1 << int(rng.integers(8))
        if any(part <= at < part + size for part, size in padding(whole)):
            continue
        with pytest.raises(InputError):
            HammingIndex.load(BytesIO(changed))
    for length in {*range(700), *rng.integers(0, len(whole), 300).tolist()}:
        with pytest.raises(InputError):
            HammingIndex.load(BytesIO(whole[:length]))
    with pytest.raises(InputError, match="instead of"):
        HammingIndex.load(BytesIO(whole + b"\0"))


def padding(whole: bytes) -> list[tuple[int, int]]:
    """Where bytes lie that mean nothing: before the sections, to align them. None here: all sections end on 64 bytes but the last."""
    return [(4096 + 40 * 32, -(40 * 32) % 64)] if whole else []


def altered(tables: segment.Tables, field: str, at: tuple[int, ...], value: int) -> segment.Tables:
    getattr(tables, field)[at] = value
    return tables


BAD_TABLES: dict[str, Callable[[segment.Tables], segment.Tables]] = {
    "an entry past the last": lambda tables: altered(tables, "entries", (15, 7), TABLES_MIN),
    "a start past the end": lambda tables: altered(tables, "starts", (3, 65536), TABLES_MIN + 1),
    "starts that fall": lambda tables: altered(tables, "starts", (3, 40_000), 0),
    "a first start that is not 0": lambda tables: altered(tables, "starts", (0, 0), 1),
    "too few words near": lambda tables: tables._replace(near=tables.near[:-1]),
    "too few entries": lambda tables: tables._replace(entries=np.ascontiguousarray(tables.entries[:, :-1])),
}


@pytest.mark.parametrize("change", BAD_TABLES.values(), ids=BAD_TABLES)
def test_tables_that_lead_out_of_bounds_are_refused_whatever_their_digests(
    change: Callable[[segment.Tables], segment.Tables], tmp_path: Path
) -> None:
    index = HammingIndex.build(uniform(np.random.default_rng(7), TABLES_MIN, 32))
    (part,) = index._entries.parts
    assert part.segment.tables is not None
    part.segment.tables = change(segment.Tables(*(each.copy() for each in part.segment.tables)))
    index.save(tmp_path / "index")
    with pytest.raises(InputError, match="do not belong together"):
        HammingIndex.load(tmp_path / "index")


# -- planted faults


def caught(level: str) -> bool:
    native.use(level)
    return any(disagreements(uniform, seed, 31, form) for seed in range(5) for form in ("join", "probe"))


def shifted(limits: chain.Chain, **change: int) -> chain.Chain:
    values = {name: getattr(limits, name) + np.int8(change.get(name, 0)) for name in ("one", "two", "three")}
    return chain.Chain(limits.radius + change.get("radius", 0), **values)


FAULTS = {
    "a radius too small by one": {"radius": -1},
    "bands probed too near by one bit": {"one": -1, "two": 0, "three": 0},
    "pairs of bands too near by one bit": {"two": -1},
    "three bands too near by one bit": {"three": -1},
}


@pytest.mark.parametrize("change", FAULTS.values(), ids=FAULTS)
def test_planted_fault_in_the_limits_is_caught_without_native_code(
    change: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not caught(native.NONE)
    monkeypatch.setattr("custodes.index.hamming.chain_of", lambda radius: shifted(chain.chain_of(radius), **change))
    assert caught(native.NONE)


def test_planted_fault_a_mask_that_is_never_probed_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bands, "MASKS", np.delete(bands.MASKS, 5))
    assert caught(native.NONE)


def test_planted_fault_distances_in_eight_bits_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    codes, queries = np.zeros((3, 32), np.uint8), np.full((1, 32), 255, np.uint8)
    assert triples(HammingIndex.build(codes).search_brute(queries, 31)) == slow_search(codes, queries, 31) == []
    monkeypatch.setattr(bands, "distances", in_eight_bits)
    assert triples(HammingIndex.build(codes).search_brute(queries, 31)) != []


def in_eight_bits(left: npt.NDArray[np.uint64], right: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    return np.bitwise_count(left ^ right).sum(axis=-1, dtype=np.uint8)
