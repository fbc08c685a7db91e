"""Random histories of a scan on two real nodes and on three that Ray simulates: whatever is killed, nothing is lost or double, and the card is the same."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from histories import KILLS, Books, History, drawn, page
from nodes import Cluster, Simulated, cluster
from wanted import Compared, Wanted, wanted

pytest.importorskip("ray", reason="NO RAY: nothing of scans on a cluster was tested (pip install 'custodes[ray]')")
pytestmark = pytest.mark.xdist_group("ray")

RESULTS: Final = Path(__file__).parents[2] / "bench" / "results" / "ray-kills.md"
REAL, SIMULATED = 30, 20


@pytest.fixture(scope="module")
def one_machine(tmp_path_factory: pytest.TempPathFactory) -> Wanted:
    return wanted(tmp_path_factory.mktemp("wanted"), 24)


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[tuple[Cluster, Books]]:
    with cluster(2, 2) as made, kept("two nodes of ray start", REAL) as books:
        yield made, books


@pytest.fixture(scope="module")
def three_nodes() -> Iterator[tuple[Cluster, Books]]:
    with cluster(1, 1, 2, kind=Simulated) as made, kept("three nodes, simulated", SIMULATED) as books:
        yield made, books


@contextmanager
def kept(where: str, histories: int) -> Iterator[Books]:
    """The page of results is written anew when all histories on a cluster were played."""
    books = Books()
    yield books
    if books.histories == histories:
        stored = RESULTS.with_suffix(".json")
        results = json.loads(stored.read_text()) if stored.exists() else {}
        results[where] = books.rows()
        stored.write_text(json.dumps(results, indent=1, sort_keys=False) + "\n")
        RESULTS.write_text(page(results))


def played(where: tuple[Cluster, Books], one: Wanted, path: Path, seed: int) -> None:
    made, books = where
    history = History(made, one, path, random.Random(seed))
    compared = history.play(drawn(seed))
    books.enter(history, compared)
    assert compared == Compared()


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(REAL))
def test_on_two_nodes_nothing_is_lost_or_double_and_the_card_is_the_same(
    seed: int, two_nodes: tuple[Cluster, Books], one_machine: Wanted, tmp_path: Path
) -> None:
    played(two_nodes, one_machine, tmp_path / "run", seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(REAL, REAL + SIMULATED))
def test_on_three_simulated_nodes_nothing_is_lost_or_double_and_the_card_is_the_same(
    seed: int, three_nodes: tuple[Cluster, Books], one_machine: Wanted, tmp_path: Path
) -> None:
    played(three_nodes, one_machine, tmp_path / "run", seed)


def test_each_kind_of_kill_is_drawn_often_on_both_clusters() -> None:
    for seeds in (range(REAL), range(REAL, REAL + SIMULATED)):
        kinds = [kind for seed in seeds for kind in drawn(seed)]
        assert min(kinds.count(kind) for kind in KILLS) >= len(seeds) // 10
