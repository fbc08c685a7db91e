"""A scan on Ray says what a scan on one machine says, whatever is killed; Ray sees nothing of it; and it is refused where it would not be safe."""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from nodes import Cluster, cluster, kill
from tests.world import World, custodes
from wanted import Wanted, wanted

pytest.importorskip("ray", reason="NO RAY: nothing of scans on a cluster was tested (pip install 'custodes[ray]')")
pytestmark = pytest.mark.xdist_group("ray")

SHARDS: Final = 24


@pytest.fixture(scope="module")
def one_machine(tmp_path_factory: pytest.TempPathFactory) -> Wanted:
    return wanted(tmp_path_factory.mktemp("wanted"), SHARDS)


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[Cluster]:
    with cluster(2, 2, SLOW_S="0.2") as made:
        yield made


def on(made: Cluster) -> list[str]:
    return ["--executor", "ray", "--address", made.address]


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def begun(process: subprocess.Popen[str], path: Path, shards: int = 1) -> None:
    """Wait until so many shards are committed."""
    until = time.monotonic() + 60
    while len(list((path / "shards").rglob("*.parquet"))) < shards:
        assert process.poll() is None, ended(process)
        assert time.monotonic() < until
        time.sleep(0.02)


# -- who is killed


def kill_worker(made: Cluster, _: subprocess.Popen[str], rng: random.Random) -> None:
    kill(some(made.named("custodes.cli.worker"), rng))


def kill_seat(made: Cluster, _: subprocess.Popen[str], rng: random.Random) -> None:
    kill(some(made.named("ray::Seat"), rng))


def kill_node(made: Cluster, _: subprocess.Popen[str], rng: random.Random) -> None:
    if nodes := [name for name in made.nodes if name != "head"]:
        made.lose(rng.choice(nodes))


def kill_raylet(made: Cluster, _: subprocess.Popen[str], rng: random.Random) -> None:
    if nodes := [name for name in made.nodes if name != "head"]:
        kill(made.named("raylet/raylet") & made.of(rng.choice(nodes)))


def kill_driver(_: Cluster, scan: subprocess.Popen[str], rng: random.Random) -> None:
    kill(drivers(scan))


def kill_coordinator(_: Cluster, scan: subprocess.Popen[str], rng: random.Random) -> None:
    scan.kill()


def kill_head(made: Cluster, _: subprocess.Popen[str], rng: random.Random) -> None:
    if "head" in made.nodes:
        made.lose("head")


KILLS: Final[dict[str, Callable[[Cluster, subprocess.Popen[str], random.Random], None]]] = {
    "worker": kill_worker,
    "seat": kill_seat,
    "node": kill_node,
    "raylet": kill_raylet,
    "driver": kill_driver,
    "coordinator": kill_coordinator,
    "head": kill_head,
}


def some(pids: set[int], rng: random.Random) -> set[int]:
    return {rng.choice(sorted(pids))} if pids else set()


def drivers(scan: subprocess.Popen[str]) -> set[int]:
    listed = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(scan.pid)], capture_output=True, text=True, check=False
    ).stdout
    return {int(line.split()[0]) for line in listed.splitlines() if "custodes.cluster.driver" in line}


def restored(made: Cluster) -> None:
    """What an operator does: a head and a node that are gone are started again."""
    if "head" not in made.nodes:
        for name in list(made.nodes):
            made.lose(name)
        made.start(2, 2)
    elif len(made.nodes) < 2:
        made.node(2)


def history(made: Cluster, one: Wanted, path: Path, kinds: list[str], rng: random.Random) -> int:
    """A scan during which things are killed, started again until it is done. How often it was started."""
    starts = 0
    while True:
        starts += 1
        assert starts < 10
        scan = made.custodes(*one.scan(path), *on(made))
        if kinds:
            begun(scan, path, len(list((path / "shards").rglob("*.parquet"))) + 1)
        while kinds and scan.poll() is None:
            KILLS[kinds.pop(0)](made, scan, rng)
            time.sleep(rng.uniform(0, 0.6))
        code, _, err = ended(scan)
        if code == 1:
            return starts
        assert code in (3, -9), err
        restored(made)


@pytest.mark.parametrize("kinds", [["worker", "seat", "node"], ["driver", "coordinator"]], ids=" ".join)
def test_whatever_is_killed_nothing_is_lost_or_double_and_the_card_is_the_same(
    kinds: list[str], two_nodes: Cluster, one_machine: Wanted, tmp_path: Path
) -> None:
    path = one_machine.begun(tmp_path / "run")
    starts = history(two_nodes, one_machine, path, list(kinds), random.Random(1))
    assert (starts > 1) == bool({"driver", "coordinator", "head"} & set(kinds))
    one_machine.same(path)
    restored(two_nodes)
