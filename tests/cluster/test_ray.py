"""A scan on Ray says what a scan on one machine says, whatever is killed; Ray sees nothing of it; and it is refused where it would not be safe."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from nodes import Cluster, below, cluster, kill, processes
from searching import search
from tests.similar.looping import Loop, looped
from tests.world import Server, World, custodes
from wanted import ROWS, Wanted, md5_of, run, wanted

from custodes.ledger.run import RunDirectory
from custodes.model import Reason

pytest.importorskip("ray", reason="NO RAY: nothing of scans on a cluster was tested (pip install 'custodes[ray]')")
pytestmark = pytest.mark.xdist_group("ray")

SHARDS: Final = 24


@pytest.fixture(scope="module")
def one_machine(tmp_path_factory: pytest.TempPathFactory) -> Wanted:
    return wanted(tmp_path_factory.mktemp("wanted"), SHARDS)


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[Cluster]:
    with cluster(2, 2) as made:
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
    made.shards(0.2)
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


# -- what Ray sees


PASSES = """
import sys, ray, time
from pathlib import Path
ray.init(address=sys.argv[1], log_to_driver=False, configure_logging=False)
work = ray.remote(lambda path: Path(path).read_bytes() * 20)
kept = [work.remote(path) for path in sys.argv[2:]]
ray.wait(kept, num_returns=len(kept))
print("passed", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Path:
    """A folder of pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    for name in server.gallery.ordinary[:12]:
        (folder / name).write_bytes(server.gallery.pictures[name].data)
    return folder


def planted(one: Wanted, pictures: Path) -> dict[str, bytes]:
    """What may be nowhere: links, entries of a list, bytes of pictures, keys."""
    entry, picture = md5_of(min(one.known)), max(pictures.iterdir(), key=lambda path: path.stat().st_size).read_bytes()
    key = (one.site.keys / "run.key").read_text()
    return {
        "link": b"harbour.test/umbrella/",
        "entry": bytes.fromhex(entry),
        "id of an entry": f"entry-{min(one.known)}".encode(),
        "picture": picture[len(picture) // 2 :][:64],
        "run key": key.split()[-1].encode()[:24],
    }


def test_ray_is_shown_no_link_no_entry_of_a_list_no_key_and_no_picture(
    two_nodes: Cluster, one_machine: Wanted, pictures: Path, tmp_path: Path
) -> None:
    secrets = planted(one_machine, pictures)
    path = tmp_path / "run"
    two_nodes.shards(0.2)
    scan = two_nodes.custodes(*one_machine.scan(path), *on(two_nodes))
    begun(scan, path, SHARDS // 2)
    during = search(two_nodes, secrets)
    assert ended(scan)[0] == 1
    images = two_nodes.custodes(
        "scan", pictures, "--run", tmp_path / "images", "--quiet", *one_machine.config, *on(two_nodes)
    )
    assert ended(images)[0] == 0
    assert during | search(two_nodes, secrets) == set()


def test_pictures_that_go_through_ray_are_found_by_the_same_search(
    two_nodes: Cluster, one_machine: Wanted, pictures: Path
) -> None:
    secrets = planted(one_machine, pictures)
    argv = [*two_nodes.prefix, sys.executable, "-c", PASSES, two_nodes.address, *map(str, pictures.iterdir())]
    fixed = {
        "env": two_nodes.environment(),
        "stdin": subprocess.PIPE,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.DEVNULL,
    }
    with subprocess.Popen(argv, **fixed) as leak:
        assert leak.stdout is not None
        assert leak.stdout.readline() == b"passed\n"
        found = search(two_nodes, secrets)
        leak.kill()
    assert {name for name, _ in found} == {"picture"}
    assert any(where.startswith("memory of") for _, where in found)


# -- what else is worked there


def test_a_scan_for_similar_photos_reads_its_vectors_and_hands_over_there_and_says_the_same(
    two_nodes: Cluster, tmp_path: Path
) -> None:
    loop = looped(tmp_path)
    two_nodes.shards(0)
    given = ["--vectors", loop.home / "vectors", "--model", "numbers", "--quiet", "--json", *loop.past.config]
    command = ["similar", "scan", loop.past.run.store.at(), *given]
    here = run(*command)
    assert here.code == 1, here.err
    chosen = Path(json.loads(here.out)["run"])
    wanted_findings = told(loop, chosen)
    shutil.rmtree(chosen)
    code, out, err = ended(two_nodes.custodes(*command, *on(two_nodes)))
    assert code == 1, err
    assert told(loop, Path(json.loads(out)["run"])) == wanted_findings
    assert not list(chosen.glob("parts/*"))


def test_neighbours_are_searched_there_and_are_the_same(two_nodes: Cluster, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    (tmp_path / "vectors").mkdir()
    for number in range(3):
        np.save(tmp_path / "vectors" / f"{number}.npy", rng.standard_normal((200, 16)).astype(np.float16))
    np.save(tmp_path / "seeds.npy", rng.standard_normal((4, 16)).astype(np.float32))
    fixed = ["similar", "neighbours", tmp_path / "vectors", "--seeds", tmp_path / "seeds.npy", "--quiet", "--out"]
    assert run(*fixed, tmp_path / "here.parquet").code == 0
    code, _, err = ended(two_nodes.custodes(*fixed, tmp_path / "there.parquet", *on(two_nodes)))
    assert code == 0, err
    assert pq.read_table(tmp_path / "there.parquet").equals(pq.read_table(tmp_path / "here.parquet"))


def told(loop: Loop, path: Path) -> list[Any]:
    found = loop.past.findings(RunDirectory.open(path, loop.past.site.run_key()))
    return sorted((msgspec.structs.replace(each, found_at="", run_id="") for each in found), key=lambda each: each.url)


def test_the_recipe_for_another_engine_is_run_as_it_stands(one_machine: Wanted, tmp_path: Path) -> None:
    class Partitions:
        """A stand-in for Spark: each partition in its turn."""

        def __init__(self, items: list[Any], number: int) -> None:
            self.parts = [items[first::number] for first in range(number)]

        def mapPartitions(self, function: Any) -> Partitions:  # noqa: N802
            self.parts = [list(function(iter(part))) for part in self.parts]
            return self

        def sum(self) -> int:
            return sum(map(sum, self.parts))

    guide = (Path(__file__).parents[2] / "docs" / "guides" / "ray.md").read_text()
    recipe = guide.partition("```python\n")[2].partition("```")[0]
    path = tmp_path / "run"
    fixed = {"CONFIG": str(one_machine.site.path), "SOURCE": str(one_machine.source), "RUN": str(path), "PARTITIONS": 3}
    names: dict[str, Any] = fixed | {"sc": SimpleNamespace(parallelize=Partitions)}
    code = recipe.replace("RUN))", 'RUN, settings=load_site(CONFIG).scan_settings(passes=("columns",))))')
    exec(code, names)
    assert names["rows"] == SHARDS * ROWS
    assert names["report"].exit_code == 1
    assert one_machine.rows(path) == one_machine.rows(one_machine.run)


# -- when it is refused


def test_a_cluster_that_asks_for_no_token_is_refused_and_no_cluster_is_said_to_be_none(
    one_machine: Wanted, tmp_path: Path
) -> None:
    with cluster(1, mode="disabled") as made:
        said = ended(made.custodes(*one_machine.scan(tmp_path / "run"), *on(made)))
        assert said[0] == 3
        assert "it asks for no token" in said[2]
        assert "hint: start every node with RAY_AUTH_MODE=token" in said[2]
        made.close()
        said = ended(made.custodes(*one_machine.scan(tmp_path / "run"), *on(made)))
        assert said[0] == 3
        assert "no Ray cluster answers at" in said[2]


def test_without_ray_the_command_says_so_and_begins_nothing(
    one_machine: Wanted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    said = run(*one_machine.scan(tmp_path / "run"), "--executor", "ray")
    assert (said.code, said.out) == (2, "")
    assert "Ray, which is not installed" in said.err
    assert "pip install 'custodes[ray]'" in said.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("address", ["auto", "ray://host:10001", "host", "host:1 2", "-x:1"])
def test_an_address_is_named_in_full(address: str, one_machine: Wanted, tmp_path: Path) -> None:
    said = run(*one_machine.scan(tmp_path / "run"), "--executor", "ray", "--address", address)
    assert said.code == 2
    assert "--address wants HOST:PORT" in said.err
    said = run(*one_machine.scan(tmp_path / "run"), "--address", address)
    assert (said.code, "--address is about a Ray cluster" in said.err) == (2, True)


# -- a Ray of the run's own


def test_a_whole_scan_on_a_ray_of_its_own_says_what_the_local_pool_says(world: World, tmp_path: Path) -> None:
    fixed = ["--config", world.config, "--unsafe-allow-loopback", "--workers", "2", "--quiet", "--json"]
    done = custodes("scan", world.demo.links, "--run", tmp_path / "run", *fixed, "--executor", "ray")
    assert done.returncode == 1, done.stderr
    wrong = [
        (truth.row, truth.way, reason)
        for truth, reason in zip(world.demo.truth, world.outcomes(tmp_path / "run"), strict=True)
        if Reason(reason) not in truth.reasons
    ]
    assert wrong == []
    assert sorted(finding.row for finding in world.findings(tmp_path / "run")) == sorted(world.demo.findings)
    again = custodes(
        "rematch", tmp_path / "run", *fixed[:2], "--quiet", "--json", "--executor", "ray", "--workers", "2"
    )
    assert again.returncode == 1, again.stderr
    assert json.loads(again.stdout)["findings"] == len(world.demo.findings)
    assert done.stderr == again.stderr == ""
    assert not [line for _, _, line, _ in processes() if "custodes-ray-" in line]


def test_an_interrupt_ends_the_scan_and_all_that_was_started_for_it_and_the_next_one_goes_on(
    two_nodes: Cluster, one_machine: Wanted, tmp_path: Path
) -> None:
    path = one_machine.begun(tmp_path / "run")
    two_nodes.shards(0.3, 3)
    scan = two_nodes.custodes(*one_machine.scan(path), *on(two_nodes))
    begun(scan, path, 4)
    members = below({scan.pid}) | two_nodes.named("custodes.cli.worker")
    os.killpg(scan.pid, signal.SIGINT)
    code, _, err = ended(scan)
    assert (code, err.strip()) == (130, "custodes: stopped; a scan that is started again goes on where it stopped")
    assert not members & {pid for pid, _, _, _ in processes()}
    two_nodes.shards(0, 3)
    code, _, err = ended(two_nodes.custodes(*one_machine.scan(path), *on(two_nodes)))
    assert (code, "shard 3 ended 3 workers" in err) == (3, True)
    assert custodes(*one_machine.scan(path)).returncode == 1
    one_machine.same(path)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(50))
def test_in_random_histories_nothing_is_lost_or_double_and_the_card_is_the_same(
    seed: int, two_nodes: Cluster, one_machine: Wanted, tmp_path: Path
) -> None:
    rng = random.Random(seed)
    kinds = rng.choices(list(KILLS), k=rng.randint(1, 4))
    path = one_machine.begun(tmp_path / "run")
    history(two_nodes, one_machine, path, kinds, rng)
    one_machine.same(path)
    restored(two_nodes)
