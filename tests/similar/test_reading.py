"""Files are read once, every row of them, by any number of threads; the first error ends all of these."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custodes.errors import SourceError
from custodes.similar import search as searching
from custodes.similar.reading import Reading, parts_of, read_blocks
from custodes.similar.search import Search, run_search
from custodes.similar.vectors import Block, VectorShard, vector_shards

from .making import Vectors, brute, some_vectors


def on_disk(folder: Path, vectors: Vectors, starts: list[int]) -> list[VectorShard]:
    """Files that begin with these rows."""
    for number, (start, end) in enumerate(pairwise([*starts, len(vectors)])):
        np.save(folder / f"{number:03}.npy", vectors[start:end])
    return vector_shards(str(folder))


def some_shards(rows: list[int], dimension: int = 4) -> list[VectorShard]:
    return [VectorShard(f"{at}", 0, count, dimension, np.dtype("<f4"), "") for at, count in enumerate(rows)]


# -- parts


@given(st.lists(st.integers(0, 30), max_size=20), st.integers(0, 600))
def test_parts_are_whole_files_in_order_of_so_many_bytes_and_no_file_more(rows: list[int], part_bytes: int) -> None:
    shards = some_shards(rows)
    parts = parts_of(shards, part_bytes)
    assert [shard for _, mine in parts for shard in mine] == shards
    row = 0
    for number, (first, mine) in enumerate(parts, 1):
        assert first == row
        row += sum(shard.rows for shard in mine)
        sizes = [shard.rows * shard.row_bytes for shard in mine]
        assert number == len(parts) or sum(sizes) >= part_bytes
        assert len(sizes) == 1 or sum(sizes[:-1]) < part_bytes


@pytest.mark.parametrize(("part_bytes", "parts"), [(159, 2), (160, 2), (161, 1)])
def test_a_part_ends_with_the_file_that_makes_it_large_enough(part_bytes: int, parts: int) -> None:
    assert len(parts_of(some_shards([10, 10]), part_bytes)) == parts


def test_of_no_files_there_is_no_part() -> None:
    assert parts_of([]) == []


# -- every row once


def taken(part: tuple[int, list[VectorShard]], how: Reading) -> dict[int, list[float]]:
    """Row: vector. Fails where a row comes twice."""
    found: dict[int, list[float]] = {}
    lock = threading.Lock()

    def take(first: int, block: Block) -> None:
        with lock:
            assert len(block.vectors) * part[1][0].row_bytes <= max(how.block_bytes, part[1][0].row_bytes)
            assert len(block.vectors) <= max(1, how.rows_max)
            for row, vector in zip((first + block.rows).tolist(), block.vectors.tolist(), strict=True):
                assert found.setdefault(row, vector) is vector

    read_blocks(part, how, take)
    return found


@st.composite
def readings(draw: st.DrawFn) -> Reading:
    rows_max = draw(st.sampled_from([0, 1, 7, 1000]))
    return Reading(draw(st.integers(1, 4)), draw(st.integers(1, 600)), rows_max, draw(st.integers(0, 2000)))


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.integers(0, 40), min_size=1, max_size=5), first=st.integers(0, 10**12), how=readings())
def test_every_row_is_given_once_with_its_number(rows: list[int], first: int, how: Reading) -> None:
    vectors = some_vectors(sum(rows), 5)
    with TemporaryDirectory() as folder:
        shards = on_disk(Path(folder), vectors, np.cumsum([0, *rows[:-1]]).tolist())
        assert taken((first, shards), how) == {first + row: vector for row, vector in enumerate(vectors.tolist())}


@settings(max_examples=25, deadline=None)
@given(
    starts=st.lists(st.integers(0, 90), max_size=4),
    how=readings(),
    seeds=st.integers(1, 5),
    top=st.integers(1, 9),
    above=st.sampled_from([None, 0.9]),
)
def test_a_search_finds_the_same_however_files_are_cut_and_read(
    starts: list[int], how: Reading, seeds: int, top: int, above: float | None
) -> None:
    vectors, wanted = some_vectors(90, 6), some_vectors(seeds, 6, seed=2)
    vectors[30:35] = vectors[3]
    vectors[60] = np.nan
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(searching, "PAIRS_IN_BLOCK_MAX", how.rows_max)
        (Path(folder) / "v").mkdir()
        shards = on_disk(Path(folder) / "v", vectors, [0, *sorted(starts)])
        out = Path(folder) / "found.parquet"
        found = run_search(
            Search(
                shards,
                wanted,
                top,
                above,
                out,
                threads=how.threads,
                part_bytes=how.part_bytes,
                block_bytes=how.block_bytes,
            )
        )
        assert (found.tally.vectors, found.tally.nan, found.vectors_read) == (90, 1, 90)
        columns = pq.read_table(out).to_pydict()
    answer = list(zip(columns["seed"], columns["row"], columns["score"], strict=True))
    assert answer == brute(vectors, wanted, top, above).tolist()


# -- what goes wrong


class BrokenError(Exception):
    """What was done with a block failed."""


def broken_at(block: int, error: type[BaseException]) -> tuple[list[int], Callable[[int, Block], None]]:
    """Fails with so many blocks taken; which rows were taken."""
    rows: list[int] = []
    lock = threading.Lock()

    def take(first: int, block_of_rows: Block) -> None:
        with lock:
            rows.append(first + int(block_of_rows.rows[0]))
            if len(rows) == block:
                raise error

    return rows, take


@pytest.mark.parametrize("error", [BrokenError, KeyboardInterrupt])
@pytest.mark.parametrize("threads", [1, 4])
def test_the_first_error_ends_all_threads_and_is_raised(
    threads: int, error: type[BaseException], tmp_path: Path
) -> None:
    shards = on_disk(tmp_path, some_vectors(20_000, 1), [0, 9000])
    rows, take = broken_at(5, error)
    before = threading.active_count()
    with pytest.raises(error):
        read_blocks((0, shards), Reading(threads, 1, 1), take)
    assert threading.active_count() == before
    assert 5 <= len(rows) < 20_000
    assert rows == sorted(rows) or threads > 1
    assert len(rows) == 5 or threads > 1


@pytest.mark.parametrize("threads", [1, 4])
def test_when_all_threads_fail_one_error_is_raised(threads: int, tmp_path: Path) -> None:
    shards = on_disk(tmp_path, some_vectors(100, 2), [0])

    def take(first: int, block: Block) -> None:
        raise BrokenError

    with pytest.raises(BrokenError):
        read_blocks((0, shards), Reading(threads, 1, 1), take)


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("rows", [19, 21], ids=["fewer rows", "more rows"])
def test_a_file_that_changed_since_it_was_planned_ends_the_reading(rows: int, threads: int, tmp_path: Path) -> None:
    """Found where the next piece is looked for, by whichever thread it is."""
    shards = on_disk(tmp_path, some_vectors(60, 2), [0, 20, 40])
    np.save(tmp_path / "001.npy", some_vectors(rows, 2))
    rows_taken, take = broken_at(1000, BrokenError)
    with pytest.raises(SourceError, match=r"001\.npy changed since it was planned"):
        read_blocks((0, shards), Reading(threads, 1, 1), take)
    assert max(rows_taken) < 20


@pytest.mark.parametrize("threads", [1, 4])
def test_a_file_that_is_cut_while_it_is_read_ends_the_reading(threads: int, tmp_path: Path) -> None:
    """Found where a piece is read."""
    shards = on_disk(tmp_path, some_vectors(60, 2), [0])
    path, lock = tmp_path / "000.npy", threading.Lock()

    def take(first: int, block: Block) -> None:
        with lock, path.open("r+b") as file:
            file.truncate(shards[0].offset)

    with pytest.raises(SourceError, match=r"000\.npy is truncated"):
        read_blocks((0, shards), Reading(threads, 1, 1), take)


@pytest.mark.parametrize("threads", [1, 4])
def test_a_parquet_file_with_a_vector_of_another_length_ends_the_reading(threads: int, tmp_path: Path) -> None:
    column = pa.array([[1.0, 2.0]] * 50 + [[1.0]] + [[1.0, 2.0]] * 50, pa.list_(pa.float32()))
    pq.write_table(pa.table({"v": column}), tmp_path / "a.parquet")
    shards = vector_shards(str(tmp_path / "a.parquet"), "v")
    rows, take = broken_at(1000, BrokenError)
    with pytest.raises(SourceError, match="row 50: its vector does not have 2 numbers"):
        read_blocks((0, shards), Reading(threads, 80, 1000), take)
    assert max(rows) < 50
