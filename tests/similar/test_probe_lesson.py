"""What a probe is taught from: the vectors of just the rows that were asked for, of the right dataset, or none at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from custodes.errors import InputError, SourceError
from custodes.similar import lesson as module
from custodes.similar.lesson import LessonRows, digest_of, joined, lesson
from custodes.similar.vectors import vector_shards
from tests.similar.making import dataset, some_vectors


@pytest.mark.parametrize("block_rows", [1, 7, 40, 1024])
def test_vectors_are_those_of_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_rows: int) -> None:
    vectors = dataset(tmp_path)
    monkeypatch.setattr(module, "BLOCK_ROWS", block_rows)
    found = lesson(vector_shards(str(tmp_path)), LessonRows({0, 39, 40, 119}, {41, 80}, {5, 6}), 30, 0)
    assert found.judged.vectors.tolist() == vectors[[0, 39, 40, 41, 80, 119]].astype(np.float32).tolist()
    assert found.judged.labels.tolist() == [True, True, True, False, False, True]
    assert found.without == 0
    drawn = {row.tobytes() for row in found.background}
    assert len(drawn) == 30
    assert drawn <= {row.astype(np.float32).tobytes() for row in vectors}
    known = vectors[[0, 5, 6, 39, 40, 41, 80, 119]].astype(np.float32)
    assert not drawn & {row.tobytes() for row in known}


def test_the_same_background_is_drawn_each_time_and_all_there_is_if_it_is_less(tmp_path: Path) -> None:
    dataset(tmp_path)
    shards, rows = vector_shards(str(tmp_path)), LessonRows({0}, {1}, {2})
    once, again, other = (lesson(shards, rows, 20, seed).background.tolist() for seed in (0, 0, 1))
    assert once == again != other
    assert len(lesson(shards, rows, 5000, 0).background) == 117


def test_a_row_of_a_list_column_that_has_no_vector_or_none_with_a_direction_is_counted(tmp_path: Path) -> None:
    vectors = some_vectors(6, 8, "<f4").tolist()
    vectors[1], vectors[2], vectors[3] = None, [0.0] * 8, [float("nan")] * 8  # type: ignore[call-overload]
    pq.write_table(pa.table({"v": pa.array(vectors, pa.list_(pa.float32()))}), tmp_path / "a.parquet")
    found = lesson(vector_shards(str(tmp_path), "v"), LessonRows({0, 1, 2}, {3, 5}, {4}), 10, 0)
    assert found.judged.labels.tolist() == [True, False]
    assert found.without == 3
    assert len(found.background) == 0


def test_only_blocks_with_a_wanted_row_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset(tmp_path)
    monkeypatch.setattr(module, "BLOCK_ROWS", 10)
    shards = vector_shards(str(tmp_path))
    read: list[int] = []
    real = type(shards[0])._range
    monkeypatch.setattr(
        type(shards[0]),
        "_range",
        lambda self, file, first, count: lambda memory: (read.append(first), real(self, file, first, count)(memory))[1],
    )
    lesson(shards, LessonRows({0, 3, 45}, {119}, set()), 0, 0)
    assert read == [0, 0, 30]


@pytest.mark.parametrize("background", [-1, module.BACKGROUND_MAX + 1])
def test_the_background_is_limited(tmp_path: Path, background: int) -> None:
    dataset(tmp_path)
    with pytest.raises(InputError, match="at most 1,000,000"):
        lesson(vector_shards(str(tmp_path)), LessonRows({0}, {1}, set()), background, 0)


RUNS: dict[str, list[tuple[str, int]]] = {
    "one file less": [("m_0000.parquet", 40), ("m_0001.parquet", 40)],
    "one file more": [(f"m_{n:04}.parquet", 40) for n in range(4)],
    "one row less": [("m_0000.parquet", 40), ("m_0001.parquet", 39), ("m_0002.parquet", 40)],
    "other numbers": [("m_0000.parquet", 40), ("m_0002.parquet", 40), ("m_0003.parquet", 40)],
    "another order": [("m_0001.parquet", 40), ("m_0000.parquet", 40), ("m_0002.parquet", 40)],
}


@pytest.mark.parametrize("case", RUNS)
def test_vectors_of_other_rows_are_refused(tmp_path: Path, case: str) -> None:
    dataset(tmp_path)
    with pytest.raises(SourceError, match="vectors"):
        joined(vector_shards(str(tmp_path)), RUNS[case])


def test_vectors_of_the_rows_are_accepted_with_numbers_and_without(tmp_path: Path) -> None:
    dataset(tmp_path)
    shards = vector_shards(str(tmp_path))
    joined(shards, [(f"/data/metadata_{n:04}.parquet", 40) for n in range(3)])
    joined(shards, [("a.tar", 40), ("b.tar", 40), ("c.tar", 40)])


def test_a_digest_names_the_files_wherever_they_lie(tmp_path: Path) -> None:
    for name in ("one", "two"):
        dataset(tmp_path / name)
    first, second = (digest_of(vector_shards(str(tmp_path / name))) for name in ("one", "two"))
    assert first == second
    dataset(tmp_path / "three", files=2)
    assert digest_of(vector_shards(str(tmp_path / "three"))) != first
