"""Files of vectors: what is read, in what order, how often; and what is refused."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from custodes.errors import SourceError
from custodes.similar.vectors import VectorShard, aligned, load_vectors, metadata_files, vector_shards

from .making import dataset, some_vectors


def read(shard: VectorShard, rows_max: int = 7) -> tuple[list[int], Any, int]:
    blocks = [piece(bytearray(rows_max * shard.row_bytes)) for piece in shard.pieces(rows_max)]
    vectors = np.concatenate([block.vectors for block in blocks])
    return [int(row) for block in blocks for row in block.rows], vectors, sum(block.missing for block in blocks)


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "|i1"])
@pytest.mark.parametrize("rows_max", [1, 7, 20, 21])
def test_an_npy_file_is_read_as_it_is(tmp_path: Path, dtype: str, rows_max: int) -> None:
    vectors = some_vectors(20, 5, dtype)
    np.save(tmp_path / "a.npy", vectors)
    (shard,) = vector_shards(str(tmp_path / "a.npy"))
    rows, found, missing = read(shard, rows_max)
    assert (rows, missing) == (list(range(20)), 0)
    assert found.tobytes() == vectors.tobytes()
    assert found.dtype == vectors.dtype


def test_each_byte_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "a.npy", some_vectors(100, 5))
    (shard,) = vector_shards(str(tmp_path))
    asked: list[tuple[int, int]] = []
    preadv = os.preadv

    def counting(descriptor: int, buffers: Any, offset: int) -> int:
        count = preadv(descriptor, buffers, offset)
        asked.append((offset, offset + count))
        return count

    monkeypatch.setattr(os, "preadv", counting)
    read(shard, 9)
    edges = [shard.offset, *(end for _, end in asked)]
    assert [start for start, _ in asked] == edges[:-1]
    assert edges[-1] == shard.size_bytes


def test_of_a_dataset_in_the_layout_of_laion_the_images_vectors_are_taken_in_the_order_of_names(tmp_path: Path) -> None:
    dataset(tmp_path / "laion", files=12)
    (tmp_path / "laion" / "text_emb").mkdir()
    np.save(tmp_path / "laion" / "text_emb" / "text_emb_0000.npy", some_vectors(3, 24))
    shards = vector_shards(str(tmp_path / "laion"))
    assert [Path(shard.path).stem for shard in shards] == [f"img_emb_{number:04}" for number in range(12)]
    tables = aligned(shards, metadata_files(str(tmp_path / "laion")))
    assert all(path[-8:-4] == table[-12:-8] for path, table in tables.items())


def test_npy_files_beside_tars_are_found_and_the_tars_left_alone(tmp_path: Path) -> None:
    for number in range(2):
        np.save(tmp_path / f"{number:05}.npy", some_vectors(3, 4))
        (tmp_path / f"{number:05}.tar").write_bytes(b"no vectors")
    assert len(vector_shards(str(tmp_path))) == 2
    assert len(vector_shards(str(tmp_path / "0000[1-9].npy"))) == 1
    assert metadata_files(str(tmp_path)) == []


# --- what is refused


def header(text: str, version: tuple[int, int] = (1, 0), length: int | None = None) -> bytes:
    body = text.encode("latin1")
    size = (len(body) if length is None else length).to_bytes(2 if version == (1, 0) else 4, "little")
    return b"\x93NUMPY" + bytes(version) + size + body


def saved(array: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


GOOD = saved(some_vectors(6, 4))
REFUSED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "no header"),
    "another format": (b"PK\x03\x04" + b"\0" * 100, "no header"),
    "a header cut short": (GOOD[:40], "no header"),
    "the last byte missing": (GOOD[:-1], "truncated"),
    "one byte too many": (GOOD + b"\0", "too long"),
    "another file behind it": (GOOD + GOOD, "too long"),
    "more rows than there are": (GOOD.replace(b"(6, 4)", b"(7, 4)"), "truncated"),
    "fewer rows than there are": (GOOD.replace(b"(6, 4)", b"(5, 4)"), "too long"),
    "rows below zero": (GOOD.replace(b"(6, 4), }", b"(-6, -4)}"), "shape"),
    "more rows than memory could hold": (GOOD.replace(b"(6, 4), }          ", b"(9999999999, 4), }"), r"truncated|no header"),
    "objects, pickled": (saved(np.array([[{"a": 1}]], dtype=object), allow_pickle=True), "never unpickled"),
    "objects in a field": (header("{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (1, 1), }"), "holds fields"),
    "text": (saved(np.array([["a"]])), "holds <U1"),
    "doubles": (saved(np.ones((2, 2))), "holds <f8"),
    "the wrong byte order": (saved(np.ones((2, 2), ">f2")), "holds >f2"),
    "one dimension": (saved(np.ones(4, "<f2")), "shape"),
    "three dimensions": (saved(np.ones((2, 2, 2), "<f2")), "shape"),
    "no numbers": (saved(np.ones((2, 0), "<f2")), "shape"),
    "too many numbers": (saved(np.ones((1, 16_385), "<f2")), "shape"),
    "columns first": (saved(np.asfortranarray(np.ones((3, 4), "<f2"))), "by columns"),
    "a version that is not known": (header("{}", (3, 0)), "no header"),
    "a header that is too long": (header("{'descr': '<f2', 'fortran_order': False, 'shape': (1, 1), }" + " " * 5000), "no header"),
    "a header that says it is longer": (header("{'descr': '<f2'}", length=60_000), "no header"),
    "a header with a call": (header("{'descr': '<f2', 'fortran_order': False, 'shape': (int('1'), 1), }"), "no header"),
    "a header with a lie about its type": (header("{'descr': '<f2', 'fortran_order': 0, 'shape': (1, 1), }"), "no header"),
    "a header of brackets": (header("(" * 3000), "no header"),
    "a header with one key more": (header("{'descr': '<f2', 'fortran_order': False, 'shape': (1, 1), 'a': 1}"), "no header"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_is_refused_before_anything_is_read_of_it(name: str, tmp_path: Path) -> None:
    content, said = REFUSED[name]
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(SourceError, match=said):
        vector_shards(str(tmp_path / "a.npy"))


def test_the_file_that_the_refused_ones_were_made_of_is_not_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(GOOD)
    assert load_vectors(str(tmp_path / "a.npy")).shape == (6, 4)


def test_an_empty_table_of_vectors_is_read(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.empty((0, 4), "<f2"))
    (shard,) = vector_shards(str(tmp_path))
    assert list(shard.pieces(4)) == []


def test_files_of_two_dimensions_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", some_vectors(3, 4))
    np.save(tmp_path / "b.npy", some_vectors(3, 5))
    with pytest.raises(SourceError, match=r"b\.npy has vectors of 5 numbers, .*a\.npy of 4"):
        vector_shards(str(tmp_path))


def test_a_folder_without_vectors_a_fifo_and_what_is_not_there_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("no vectors")
    os.mkfifo(tmp_path / "a.npy")
    for name in (".", "a.npy", "b.npy"):
        with pytest.raises(SourceError):
            vector_shards(str(tmp_path / name))


def test_a_file_that_shrinks_after_planning_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, some_vectors(30, 4))
    (shard,) = vector_shards(str(path))
    pieces = list(shard.pieces(10))
    os.truncate(path, shard.size_bytes - 1)
    pieces[0](bytearray(100))
    with pytest.raises(SourceError, match="truncated"):
        pieces[2](bytearray(100))
    del pieces
    with pytest.raises(SourceError, match="changed"):
        list(shard.pieces(10))


# --- metadata


def drop_metadata(folder: Path) -> None:
    (folder / "metadata" / "metadata_0001.parquet").unlink()


def drop_vectors(folder: Path) -> None:
    (folder / "img_emb" / "img_emb_0002.npy").unlink()


def shorten(folder: Path) -> None:
    pq.write_table(pa.table({"key": ["a"] * 39}), folder / "metadata" / "metadata_0001.parquet")


def twice(folder: Path) -> None:
    pq.write_table(pa.table({"key": ["a"] * 40}), folder / "metadata" / "metadata_1.parquet")


def rename(folder: Path) -> None:
    (folder / "metadata" / "metadata_0001.parquet").rename(folder / "metadata" / "metadata_0007.parquet")


def unnumbered(folder: Path) -> None:
    (folder / "metadata" / "metadata_0001.parquet").rename(folder / "metadata" / "metadata.parquet")


def spoil(folder: Path) -> None:
    (folder / "metadata" / "metadata_0001.parquet").write_bytes(b"PAR1 no table PAR1")


MISMATCHES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a table is missing": (drop_metadata, "number 1 has vectors and no metadata"),
    "a file of vectors is missing": (drop_vectors, "number 2 has metadata and no vectors"),
    "a table has another count": (shorten, "40 vectors, .* 39 rows"),
    "two tables have one number": (twice, "the same number"),
    "a table has another number": (rename, "number 1 has vectors and no metadata"),
    "a table has no number": (unnumbered, "no number"),
    "a table cannot be read": (spoil, "cannot be read"),
}


@pytest.mark.parametrize("name", MISMATCHES)
def test_metadata_of_another_dataset_is_refused(name: str, tmp_path: Path) -> None:
    spoiled, said = MISMATCHES[name]
    folder = tmp_path / "laion"
    dataset(folder)
    aligned(vector_shards(str(folder)), metadata_files(str(folder)))
    spoiled(folder)
    with pytest.raises(SourceError, match=said):
        aligned(vector_shards(str(folder)), metadata_files(str(folder)))


# --- a column of parquet


def table(path: Path, lists: Any, kind: Any, **options: Any) -> Path:
    pq.write_table(pa.table({"key": pa.array(range(len(lists))), "emb": pa.array(lists, kind)}), path, **options)
    return path


KINDS = {
    "list of halffloat": pa.list_(pa.float16()),
    "list of float": pa.list_(pa.float32()),
    "large list of float": pa.large_list(pa.float32()),
    "list of int8": pa.list_(pa.int8()),
    "fixed list of float": pa.list_(pa.float32(), 4),
    "fixed list of halffloat": pa.list_(pa.float16(), 4),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_list_column_is_read_and_rows_without_a_vector_are_missing(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    dtype = kind.value_type.to_pandas_dtype()
    vectors = some_vectors(20, 4, np.dtype(dtype).str)
    lists: list[Any] = [list(vector) for vector in vectors]
    lists[0] = lists[8] = lists[9] = None
    path = table(tmp_path / "a.parquet", lists, kind, row_group_size=6)
    (shard,) = vector_shards(str(path), "emb")
    rows, found, missing = read(shard)
    assert missing == 3
    assert rows == [row for row in range(20) if row not in (0, 8, 9)]
    assert found.tobytes() == vectors[rows].tobytes()
    assert (shard.rows, shard.dimension) == (20, 4)


def test_a_null_among_the_numbers_is_not_a_number(tmp_path: Path) -> None:
    for kind in (pa.float16(), pa.float32()):
        path = table(tmp_path / "a.parquet", [[np.float16(1), np.float16(2)], [np.float16(3), None]], pa.list_(kind))
        _, found, missing = read(*vector_shards(str(path), "emb"))
        assert np.isnan(found).tolist() == [[False, False], [False, True]]
        assert missing == 0
    path = table(tmp_path / "a.parquet", [[1, 2], [3, None]], pa.list_(pa.int8()))
    with pytest.raises(SourceError, match="null"):
        read(*vector_shards(str(path), "emb"))


COLUMNS: dict[str, tuple[Any, Any, str, str]] = {
    "a row of another length": ([[1.0, 2.0], [1.0]], pa.list_(pa.float32()), "emb", "row 1: its vector"),
    "no such column": ([[1.0]], pa.list_(pa.float32()), "other", "no column"),
    "doubles": ([[1.0]], pa.list_(pa.float64()), "emb", "no list of"),
    "no lists": ([1.0], pa.float32(), "emb", "no list of"),
    "lists of lists": ([[[1.0]]], pa.list_(pa.list_(pa.float32())), "emb", "no list of"),
    "empty lists": ([[], []], pa.list_(pa.float32()), "emb", "numbers"),
    "no vector at all": ([None, None], pa.list_(pa.float32()), "emb", "numbers"),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_is_refused(name: str, tmp_path: Path) -> None:
    lists, kind, column, said = COLUMNS[name]
    path = table(tmp_path / "a.parquet", lists, kind)
    with pytest.raises(SourceError, match=said):
        read(*vector_shards(str(path), column))


def test_a_parquet_file_is_not_read_as_npy_nor_npy_as_parquet(tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", [[1.0]], pa.list_(pa.float32()))
    with pytest.raises(SourceError, match="no header"):
        vector_shards(str(path))
    np.save(tmp_path / "a.npy", some_vectors(2, 2))
    with pytest.raises(SourceError, match="cannot be read"):
        vector_shards(str(tmp_path / "a.npy"), "emb")
