"""The whole search: its table, and what becomes of it when it is killed, changed or refused."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from custodes.cli.similar.neighbours import neighbours
from custodes.errors import CustodesError, InputError, SourceError, StorageError
from custodes.ledger.disk import Disk
from custodes.similar import search as searching
from custodes.similar.search import Search, run_search
from custodes.similar.vectors import vector_shards

from .making import brute, dataset, some_vectors


@dataclass
class Case:
    folder: Path
    search: Search
    expected: list[tuple[int, int, float]]

    @property
    def parts(self) -> Path:
        return self.search.out.with_name("found.parquet.parts")

    def answer(self) -> list[tuple[int, int, float]]:
        columns = pq.read_table(self.search.out).to_pydict()
        return list(zip(columns["seed"], columns["row"], columns["score"], strict=True))

    def again(self, **changes: Any) -> Search:
        """As a command that is given again would find it."""
        return replace(self.search, shards=vector_shards(str(self.folder)), **changes)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    folder = tmp_path / "laion"
    vectors = dataset(folder)
    vectors[100:104] = 0
    np.save(folder / "img_emb" / "img_emb_0002.npy", vectors[80:])
    seeds = some_vectors(5, 24, seed=9)
    shards = vector_shards(str(folder))
    search = Search(shards, seeds, 6, 0.9, tmp_path / "found.parquet", threads=2, part_bytes=1, block_bytes=500)
    return Case(folder, search, brute(vectors, seeds, 6, 0.9).tolist())


def test_the_table_is_that_of_comparing_everything_sorted_by_seed_score_and_row(case: Case) -> None:
    found = run_search(case.search)
    assert case.answer() == case.expected
    assert [field.type.bit_width for field in pq.read_schema(case.search.out)] == [32, 64, 64]
    assert (found.tally.vectors, found.tally.scored, found.tally.zero, found.vectors_read) == (120, 116, 4, 120)
    assert found.pairs == len(case.expected)
    assert not case.parts.exists()
    assert case.search.out.stat().st_mode & 0o777 == 0o600
    told = json.loads(pq.read_schema(case.search.out).metadata[b"custodes"])
    assert [each["first_row"] for each in told["files"]] == [0, 40, 80]
    assert told["zero"] == 4


@pytest.mark.parametrize("part_bytes", [1, 3000, 1 << 30])
@pytest.mark.parametrize("threads", [1, 4])
def test_the_table_does_not_depend_on_parts_and_threads(
    case: Case, part_bytes: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "_PAIRS_IN_GROUP_MAX", 7)
    run_search(replace(case.search, part_bytes=part_bytes, threads=threads))
    assert case.answer() == case.expected


class Killed(Disk):
    """Ends before or after the nth file is published, as a power cut would."""

    def __init__(self, at: int, *, after: bool) -> None:
        self._left, self._after = at, after

    def publish(self, path: Path, data: bytes) -> bool:
        self._left -= 1
        if self._left < 0 and not self._after:
            raise KeyboardInterrupt
        won = super().publish(path, data)
        if self._left < 0:
            raise KeyboardInterrupt
        return won


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(4))
def test_a_search_that_stopped_anywhere_goes_on_there(case: Case, at: int, after: bool) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_search(replace(case.search, disk=Killed(at, after=after)))
    assert not case.search.out.exists()
    found = run_search(case.again())
    assert case.answer() == case.expected
    assert found.tally.vectors == 120
    assert found.vectors_read == 120 - 40 * max(0, at - (not after))


def test_a_search_that_stopped_before_its_parts_were_removed_ends(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", stopped)
        with pytest.raises(KeyboardInterrupt):
            run_search(case.search)
    assert case.answer() == case.expected
    run_search(case.again())
    assert case.answer() == case.expected
    assert not case.parts.exists()


def stopped_search(case: Case) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_search(replace(case.search, disk=Killed(2, after=True)))


def remove_a_file(case: Case) -> Search:
    (case.folder / "img_emb" / "img_emb_0000.npy").unlink()
    return case.again()


def add_a_file(case: Case) -> Search:
    np.save(case.folder / "img_emb" / "img_emb_0009.npy", some_vectors(2, 24))
    return case.again()


def exchange_a_file(case: Case) -> Search:
    np.save(case.folder / "img_emb" / "img_emb_0001.npy", some_vectors(40, 24, seed=77))
    return case.again()


CHANGES: dict[str, tuple[Callable[[Case], Search], str]] = {
    "a file is gone": (remove_a_file, r"img_emb_0000\.npy, which is no longer there"),
    "a file is new": (add_a_file, r"other files: it did not have .*img_emb_0009"),
    "a file of the same size has other content": (exchange_a_file, r"another .*img_emb_0001"),
    "other seeds": (lambda case: case.again(seeds=some_vectors(5, 24, seed=10)), "other seeds"),
    "another top": (lambda case: case.again(top=7), "another --top"),
    "another threshold": (lambda case: case.again(above=0.8), "another search"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_search_goes_on_only_with_what_it_began_with(case: Case, name: str) -> None:
    change, said = CHANGES[name]
    stopped_search(case)
    with pytest.raises(InputError, match=said):
        run_search(change(case))
    assert not case.search.out.exists()


def test_without_the_plan_parts_of_another_search_would_be_merged(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault of the test before."""
    stopped_search(case)
    monkeypatch.setattr(searching, "_bind", lambda search, folder: None)
    run_search(case.again(seeds=some_vectors(5, 24, seed=10)))
    assert case.answer() != brute(dataset(case.folder.with_name("same")), some_vectors(5, 24, seed=10), 6, 0.9).tolist()


@pytest.mark.parametrize("at", [0, 1100, -1])
def test_a_damaged_part_is_refused(case: Case, at: int) -> None:
    stopped_search(case)
    path = case.parts / "part-000000"
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(StorageError, match="damaged"):
        run_search(case.again())
    path.unlink()
    run_search(case.again())
    assert case.answer() == case.expected


def test_a_table_that_is_there_is_not_overwritten(case: Case) -> None:
    case.search.out.write_bytes(b"mine")
    with pytest.raises(InputError, match="there already"):
        run_search(case.search)
    assert case.search.out.read_bytes() == b"mine"


def test_two_searches_for_one_table_are_refused(case: Case) -> None:
    second: list[CustodesError] = []

    def told(_: int) -> None:
        if not second:
            with pytest.raises(InputError, match="another search") as caught:
                run_search(case.again())
            second.append(caught.value)

    run_search(replace(case.search, threads=1), told=told)
    assert second
    assert case.answer() == case.expected


def test_a_file_that_shrinks_while_it_is_searched_stops_the_search(case: Case) -> None:
    path = case.folder / "img_emb" / "img_emb_0001.npy"

    def told(done: int) -> None:
        os.truncate(path, 1000)

    with pytest.raises(SourceError, match=r"truncated|changed"):
        run_search(replace(case.search, threads=1), told=told)
    assert not case.search.out.exists()
    assert len(list(case.parts.glob("part-*"))) == 1


def test_vectors_of_another_dimension_and_none_at_all_are_refused_before_anything_is_made(case: Case) -> None:
    with pytest.raises(SourceError, match="vectors have 24 numbers, seeds 25"):
        run_search(case.again(seeds=some_vectors(5, 25)))
    (none := case.folder / "none").mkdir()
    np.save(none / "a.npy", np.empty((0, 24), "<f2"))
    with pytest.raises(SourceError, match="no vector"):
        run_search(replace(case.search, shards=vector_shards(str(none))))
    assert not case.parts.exists()


# --- killed


PROGRAM = """
import os, signal, sys
from pathlib import Path
from custodes.ledger.disk import Disk
from custodes.similar.search import Search, run_search
from custodes.similar.vectors import load_vectors, vector_shards
folder, seeds, out, point = sys.argv[1:]
left = int(point)
def step():
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
class Deadly(Disk):
    def write(self, path, data): step(); super().write(path, data); step()
    def link(self, aside, path): won = super().link(aside, path); step(); return won
run_search(Search(vector_shards(folder), load_vectors(seeds), 6, 0.9, Path(out), 2, 1, 500, Deadly()), told=lambda done: step())
"""


def killed_until_done(case: Case, points: list[int]) -> int:
    np.save(case.folder / "seeds.npy", case.search.seeds)
    kills = 0
    for point in [*points, 10**6]:
        words = [case.folder, case.folder / "seeds.npy", case.search.out, point]
        done = subprocess.run([sys.executable, "-c", PROGRAM, *map(str, words)], capture_output=True, check=False)
        kills += done.returncode == -signal.SIGKILL
        if done.returncode != -signal.SIGKILL:
            assert done.returncode == 0, done.stderr
            break
    return kills


def test_killed_at_several_points_it_ends_with_the_same_table(case: Case) -> None:
    assert killed_until_done(case, [1, 4, 9]) == 3
    assert case.answer() == case.expected
    assert not case.parts.exists()


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_killed_at_any_of_many_points_it_ends_with_the_same_table(case: Case) -> None:
    rng = random.Random(1)
    for _ in range(25):
        case.search.out.unlink(missing_ok=True)
        killed_until_done(case, [rng.randrange(16) for _ in range(rng.randrange(1, 5))])
        assert case.answer() == case.expected
        assert not case.parts.exists()


# --- the command


def command(case: Case, *words: str) -> Any:
    np.save(case.folder.with_name("seeds.npy"), case.search.seeds)
    seeds = str(case.folder.with_name("seeds.npy"))
    arguments = [str(case.folder), "--seeds", seeds, "--top", "6", "--above", "0.9", "--out", str(case.search.out)]
    return CliRunner().invoke(neighbours, [*arguments, *words], standalone_mode=False)


def test_the_command_says_what_it_searched_and_what_has_no_score(case: Case) -> None:
    done = command(case)
    assert done.exception is None
    assert "120 vectors, 116 of them scored" in done.stdout
    assert "no score: 4 (zero)" in done.stdout
    assert case.answer() == case.expected


def test_the_command_answers_in_json(case: Case) -> None:
    said = json.loads(command(case, "--json", "--workers", "1").stdout)
    assert (said["vectors"], said["scored"], said["pairs"]) == (120, 116, len(case.expected))
    assert said["unscored"] == {"missing": 0, "nan": 0, "infinite": 0, "zero": 4}


def test_the_command_refuses_metadata_of_another_dataset(case: Case, tmp_path: Path) -> None:
    dataset(tmp_path / "other", rows=41)
    done = command(case, "--metadata", str(tmp_path / "other" / "metadata"))
    assert isinstance(done.exception, SourceError)
    shutil.rmtree(case.folder / "metadata")
    shutil.copytree(tmp_path / "other" / "metadata", case.folder / "metadata")
    assert isinstance(command(case).exception, SourceError)
    assert not case.search.out.exists()


def test_the_command_takes_a_threshold_between_minus_one_and_one(case: Case) -> None:
    assert isinstance(command(case, "--above", "1.01").exception, click.UsageError)
    assert isinstance(command(case, "--top", "-1").exception, click.UsageError)
