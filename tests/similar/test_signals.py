"""What vectors say is what sorting all of them would say, whatever the blocks, files, threads and parts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from custodes import native
from custodes.errors import InputError, SourceError
from custodes.similar import signals as listening
from custodes.similar.probe import Taught
from custodes.similar.reading import Reading, parts_of, read_blocks
from custodes.similar.signals import BINS, Ear, Heard, Question, Signals
from custodes.similar.vectors import Block, VectorShard, vector_shards

from .making import Vectors, brute, some_vectors
from .untaught import probe_of

LEVELS = (*native.levels(), native.NONE)

pytestmark = pytest.mark.usefixtures("level")

Rows = npt.NDArray[np.int64]


def rows_of(*rows: int) -> Rows:
    return np.array(rows, dtype=np.int64)


def question(seeds: Vectors, probe: Taught | None = None, **changes: Any) -> Question:
    given = {"known": rows_of(), "bounds": rows_of(0)} | changes
    return Question(seeds=seeds.astype(np.float32), probe=probe, **given)


# -- the slow simple answer


@dataclass(frozen=True)
class Answer:
    """What a scan is told, as plain numbers."""

    pairs: list[tuple[int, int, float]]
    best: list[tuple[int, float]]
    candidates: list[int]
    scored: list[int]


def usable(vectors: Vectors, there: Sequence[int]) -> list[int]:
    return [row for row in there if np.isfinite(vectors[row]).all() and vectors[row].any()]


def counted(rows: Sequence[int], starts: Sequence[int]) -> list[int]:
    return [sum(start <= row < end for row in rows) for start, end in pairwise(starts)]


def slow(asked: Question, vectors: Vectors, there: Sequence[int]) -> Answer:
    """All rows one by one in double precision, sorted. ``there``: rows that have a vector."""
    fresh = [row for row in usable(vectors, there) if row not in asked.known]
    pairs = []
    if len(asked.seeds) and fresh:
        found = brute(vectors[fresh], asked.seeds, asked.top).tolist()
        pairs = [(seed, fresh[row], score) for seed, row, score in found if score >= asked.above]
    best: list[tuple[int, float]] = []
    if asked.probe is not None:
        scores = [(row, float(asked.probe.score(vectors[row : row + 1])[0])) for row in fresh]
        best = sorted((each for each in scores if each[1] >= asked.least), key=lambda each: (-each[1], each[0]))
    return Answer(
        pairs,
        best[: asked.keep],
        sorted({row for _, row, _ in pairs} | {row for row, _ in best[: asked.keep]}),
        counted(usable(vectors, there), [*asked.bounds.tolist(), len(vectors)]),
    )


def heard_by(asked: Question, parts: Sequence[Heard]) -> tuple[Ear, Answer]:
    ear = Ear(asked)
    for part in parts:
        ear.hear(part)
    return ear, Answer(ear._pairs.tolist(), ear._best.tolist(), ear.candidates().tolist(), ear.scored.tolist())


# -- any vectors, any files, any blocks


@dataclass(frozen=True)
class Case:
    """Vectors in files of these rows; rows without one; blocks of so many rows; where parts begin, as numbers of files; what is asked."""

    vectors: Vectors
    files: list[int]
    there: list[int]
    step: int
    parts: list[int]
    asked: Question

    def heard(self, parts: Sequence[int], order: np.random.Generator) -> list[Heard]:
        starts = np.cumsum([0, *self.files])
        ends = [*parts[1:], len(self.files)]
        return [self._part(range(start, end), starts, order) for start, end in zip(parts, ends, strict=True)]

    def _part(self, files: range, starts: Rows, order: np.random.Generator) -> Heard:
        signals = Signals(self.asked, starts[files.start : files.stop])
        blocks = [(int(starts[file]), block) for file in files for block in self._blocks(int(starts[file]), file)]
        for at in order.permutation(len(blocks)):
            signals.feed(*blocks[at])
        assert signals.rows == sum(self.files[file] for file in files)
        return signals.heard()

    def _blocks(self, start: int, file: int) -> Iterator[Block]:
        for first in range(0, self.files[file], self.step):
            count = min(self.step, self.files[file] - first)
            rows = [row for row in range(first, first + count) if start + row in self.there]
            yield Block(rows_of(*rows), self.vectors[[start + row for row in rows]], count - len(rows))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    dtype = draw(st.sampled_from(["<f2", "<f4", "|i1"]))
    files = draw(st.lists(st.integers(0, 40), min_size=1, max_size=5))
    dimension, count = draw(st.sampled_from([1, 2, 31, 32, 33, 70])), sum(files)
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    vectors = spoiled(some_vectors(count, dimension, dtype, int(rng.integers(1 << 32))), rng)
    there = np.flatnonzero(rng.random(count) < draw(st.sampled_from([1.0, 0.8]))).tolist()
    signal = draw(st.sampled_from(["seeds", "probe", "both"]))
    return Case(
        vectors=vectors,
        files=files,
        there=there,
        step=draw(st.integers(1, 50)),
        parts=sorted({0, *draw(st.lists(st.integers(0, len(files) - 1), max_size=3))}),
        asked=Question(
            seeds=rng.standard_normal((draw(st.integers(1, 6)) if signal != "probe" else 0, dimension), dtype="f4"),
            probe=probe_of(rng.standard_normal(dimension)) if signal != "seeds" else None,
            known=np.flatnonzero(rng.random(count) < draw(st.sampled_from([0, 0.3, 1]))),
            bounds=rows_of(0, *np.sort(rng.integers(0, count, draw(st.integers(0, 4)) if count else 0)).tolist()),
            top=draw(st.integers(1, 12)),
            above=draw(st.sampled_from([-1.0, 0.0, 0.3, 0.99])),
            keep=draw(st.integers(1, 12)),
            least=draw(st.sampled_from([0.0, 0.5, 0.9])),
        ),
    )


def spoiled(vectors: Vectors, rng: np.random.Generator) -> Vectors:
    """Some are equal, some say nothing, some are so long or so short that floats cannot tell."""
    if not len(vectors):
        return vectors
    some = [rng.integers(0, len(vectors), len(vectors) // 8) for _ in range(6)]
    vectors[some[0]] = vectors[some[0][0]] if len(some[0]) else 1
    vectors[some[1]] = 0
    if vectors.dtype.kind == "f":
        vectors[some[2], 0] = np.nan
        vectors[some[3], -1] = -np.inf
    if vectors.dtype.itemsize == 4:
        vectors[some[4]] *= np.float32(1e-30)
        vectors[some[5]] *= np.float32(1e30)
    return vectors


@pytest.mark.parametrize("level", LEVELS)
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(case=cases(), seed=st.integers(0, 99))
def test_what_is_said_is_what_sorting_all_rows_says(level: str, case: Case, seed: int) -> None:
    native.use(level)
    order = np.random.default_rng(seed)
    expected = slow(case.asked, case.vectors, case.there)
    _, at_once = heard_by(case.asked, case.heard([0], order))
    ear, in_parts = heard_by(case.asked, case.heard(case.parts, order))
    assert at_once == in_parts == expected
    assert ear.rows == len(case.vectors)
    assert len(ear.histograms) == len(case.files)
    starts = np.cumsum([0, *case.files]).tolist()
    assert [int(each.sum()) for each in ear.histograms] == counted(usable(case.vectors, case.there), starts)


@settings(max_examples=30, deadline=None)
@given(dimension=st.integers(1, 70), seed=st.integers(0, 1 << 32))
def test_scores_of_the_probe_and_the_cosines_are_those_of_double_precision(dimension: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, weights = some_vectors(50, dimension, "<f4", seed), rng.standard_normal(dimension)
    asked = question(rng.standard_normal((1, dimension)), probe_of(weights), least=0.0, above=-1.0)
    signals = Signals(asked, rows_of(0))
    signals.feed(0, Block(np.arange(50), vectors, 0))
    _, answer = heard_by(asked, [signals.heard()])
    wide, seeds = vectors.astype(np.float64), asked.seeds.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1)
    scores = 1 / (1 + np.exp(-(1.5 * (wide @ weights.astype(np.float32) / lengths + 0.1) - 0.3)))
    cosines = wide @ seeds[0] / lengths / np.linalg.norm(seeds[0])
    assert dict(answer.best) == pytest.approx(dict(enumerate(scores)), abs=1e-5)
    assert {row: score for _, row, score in answer.pairs} == pytest.approx(dict(enumerate(cosines)), abs=1e-12)


# -- files on disk, read by several threads


def on_disk(folder: Path, vectors: Vectors, files: int) -> list[VectorShard]:
    for number, part in enumerate(np.array_split(vectors, files)):
        np.save(folder / f"{number:03}.npy", part)
    return vector_shards(str(folder))


def heard_of(shards: Sequence[VectorShard], asked: Question, how: Reading) -> Answer:
    parts = []
    for row, mine in parts_of(shards, how.part_bytes):
        firsts = row + np.cumsum([0, *(shard.rows for shard in mine[:-1])])
        signals = Signals(asked, firsts)
        read_blocks((row, mine), how, signals.feed)
        parts.append(signals.heard())
    ear, answer = heard_by(asked, parts)
    assert len(ear.histograms) == len(shards)
    return answer


@pytest.mark.parametrize(
    "how", [Reading(), Reading(1, 200, 3, 1), Reading(4, 999, 50, 4000), Reading(3, 1, 1, 1 << 30)]
)
def test_candidates_do_not_depend_on_how_files_are_read(how: Reading, tmp_path: Path) -> None:
    vectors = some_vectors(600, 24)
    vectors[70:80] = np.nan
    vectors[200:500:7] = vectors[3]
    weights = np.random.default_rng(5).standard_normal(24)
    asked = question(some_vectors(3, 24, seed=9), probe_of(weights), known=np.arange(40), top=9, keep=30)
    asked = replace(asked, bounds=rows_of(0, 90, 300, 300))
    expected = slow(asked, vectors, range(600))
    assert len(expected.best) == 30
    assert heard_of(on_disk(tmp_path, vectors, 7), asked, how) == expected


def test_rows_of_a_parquet_file_without_a_vector_are_no_candidates_and_not_scored(tmp_path: Path) -> None:
    vectors = some_vectors(30, 8, "<f4")
    there = [row for row in range(30) if row % 4]
    column = [vectors[row] if row % 4 else None for row in range(30)]
    pq.write_table(pa.table({"v": pa.array(column, pa.list_(pa.float32()))}), tmp_path / "a.parquet")
    asked = question(vectors[:2], bounds=rows_of(0, 10), top=30, above=-1.0)
    answer = heard_of(vector_shards(str(tmp_path / "a.parquet"), "v"), asked, Reading(2, 100, 7))
    assert answer == slow(asked, vectors, there)
    assert answer.candidates == there
    assert sum(answer.scored) == len(there) == 22


# -- what is known already


def one_block(asked: Question, vectors: Vectors) -> Answer:
    signals = Signals(asked, rows_of(0))
    signals.feed(0, Block(np.arange(len(vectors)), vectors, 0))
    return heard_by(asked, [signals.heard()])[1]


def test_rows_that_are_known_take_no_place_and_are_scored_all_the_same() -> None:
    vectors = np.eye(4, dtype="<f4")[[0, 0, 0, 1, 1]] + np.float32(0.1)
    asked = question(vectors[:1], probe_of(np.eye(4)[0]), top=1, keep=1)
    hidden = replace(asked, known=rows_of(0, 1, 2))
    assert one_block(asked, vectors).candidates == [0]
    assert one_block(hidden, vectors).candidates == [3]
    assert one_block(hidden, vectors).scored == [5]
    assert one_block(replace(asked, known=np.arange(5)), vectors) == Answer([], [], [], [5])


def test_were_known_rows_not_left_out_they_would_be_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = some_vectors(20, 8)
    asked = question(vectors[:1], probe_of(np.ones(8)), known=np.arange(10))
    assert min(one_block(asked, vectors).candidates) == 10
    monkeypatch.setattr(listening, "_among", lambda rows, _: np.zeros(len(rows), dtype=np.bool_))
    assert min(one_block(asked, vectors).candidates) == 0


@pytest.mark.parametrize(
    ("least", "found"), [(-1, 1), (0, 1), (1, 0)], ids=["one step below its score", "its score", "one step above"]
)
def test_a_score_that_is_met_counts_and_one_step_more_does_not(least: int, found: int) -> None:
    vectors, probe = some_vectors(1, 8), probe_of(np.ones(8))
    score = float(probe.score(vectors)[0])
    limit = math.nextafter(score, least * math.inf) if least else score
    assert len(one_block(question(vectors[:0], probe, least=limit), vectors).best) == found


# -- files that differ


def test_the_histogram_counts_cosines_with_the_probe_or_the_middle_of_the_seeds() -> None:
    cosines = np.array([-1, -0.5, 0, 0.3, 1])
    vectors = np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1).astype("<f4") * np.float32(7)
    expected = [0, 128, 256, 332, BINS - 1]
    by_probe = question(vectors[:0], probe_of(np.array([3, 0])))
    by_seeds = question(np.array([[2, 2], [9, -9]]))
    for asked in (by_probe, by_seeds):
        signals = Signals(asked, rows_of(0))
        signals.feed(0, Block(np.arange(5), vectors, 0))
        ear, _ = heard_by(asked, [signals.heard()])
        assert np.flatnonzero(ear.histograms[0]).tolist() == pytest.approx(expected, abs=1)
        assert ear.histograms[0].sum() == 5


def test_seeds_that_cancel_out_have_no_middle_and_every_cosine_with_it_is_zero() -> None:
    asked = question(np.array([[1, 0], [-1, 0]]))
    assert not asked.gauge.any()
    signals = Signals(asked, rows_of(0))
    signals.feed(0, Block(np.arange(3), some_vectors(3, 2), 0))
    assert np.flatnonzero(np.frombuffer(signals.heard().histograms, dtype=np.int64)).tolist() == [BINS // 2]


# -- what is refused


@pytest.mark.parametrize("signal", ["seeds", "probe", "both", "known"])
@pytest.mark.parametrize("dimension", [15, 17, 32, 33, 64])
def test_vectors_of_another_dimension_are_refused(signal: str, dimension: int) -> None:
    """Also where sums would run over as many numbers, and where no row is a candidate."""
    seeds = np.ones((0 if signal == "probe" else 1, 16))
    known = np.arange(3) if signal == "known" else rows_of()
    asked = question(seeds, None if signal == "seeds" else probe_of(np.ones(16)), known=known)
    Signals(asked, rows_of(0)).feed(0, Block(np.arange(3), some_vectors(3, 16), 0))
    with pytest.raises(SourceError, match=f"vectors have {dimension} numbers") as raised:
        Signals(asked, rows_of(0)).feed(0, Block(np.arange(3), some_vectors(3, dimension), 0))
    assert "same model" in (raised.value.hint or "")


def test_without_seeds_and_probe_there_is_no_question() -> None:
    with pytest.raises(InputError, match="nothing to search near"):
        question(np.empty((0, 8)))


@pytest.mark.parametrize(("keep", "allowed"), [(0, False), (1, True), (1_000_000, True), (1_000_001, False)])
def test_candidates_of_the_probe_are_one_to_a_million(keep: int, allowed: bool) -> None:
    if allowed:
        assert question(np.ones((1, 8)), keep=keep).keep == keep
        return
    with pytest.raises(InputError, match=f"{keep:,} candidates of the probe: it must be 1 to 1,000,000"):
        question(np.ones((1, 8)), keep=keep)


def test_what_a_question_and_its_answers_hold_is_in_no_repr() -> None:
    asked = question(np.full((1, 8), 0.123))
    assert "0.123" not in f"{asked!r} {Signals(asked, rows_of(0))!r} {Ear(asked)!r}"
