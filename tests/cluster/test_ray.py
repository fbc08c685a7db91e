"""A scan on Ray says what a scan on one machine says, whatever is killed; Ray sees nothing of it; and it is refused where it would not be safe."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from histories import History, begun, ended, on
from nodes import PLANTED, Cluster, below, cluster, kill, processes
from searching import files, search
from tests.similar.looping import Loop, looped
from tests.world import Server, World, custodes, make_world
from wanted import ROWS, Compared, Wanted, md5_of, run, wanted

from custodes.cluster.driver import FOLDER, own_folder, sweep
from custodes.demo.links import DemoSettings
from custodes.durable import exclusive
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


def test_whatever_is_killed_nothing_is_lost_or_double_and_the_card_is_the_same(
    two_nodes: Cluster, one_machine: Wanted, tmp_path: Path
) -> None:
    history = History(two_nodes, one_machine, tmp_path / "run", random.Random(1))
    assert history.play(["worker", "node", "driver"]) == Compared()
    assert (history.killed.total(), history.starts) == (3, 2)


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
    two_nodes.shards(0.2)
    images = two_nodes.custodes(
        "scan", pictures, "--run", tmp_path / "images", "--quiet", *one_machine.config, *on(two_nodes)
    )
    assert ended(images)[0] == 0
    path = tmp_path / "run"
    scan = two_nodes.custodes(*one_machine.scan(path), *on(two_nodes))
    begun(scan, path)
    found = search(two_nodes, secrets)
    assert ended(scan)[0] == 1
    assert found | search(two_nodes, secrets, files) == set()


def test_pictures_that_go_through_ray_are_found_by_the_same_search(
    two_nodes: Cluster, one_machine: Wanted, pictures: Path
) -> None:
    secrets = {"picture": planted(one_machine, pictures)["picture"]}
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
    assert any(where.startswith("memory of") for _, where in found)


# -- what else is worked there


@pytest.mark.soak
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


GENEROUS = """
[fetch]
connect_timeout_s = 60.0
total_timeout_s = 120.0
slow_for_s = 60
retry_after_max_s = 3.0
"""


@pytest.fixture(scope="module")
def patient_world(tmp_path_factory: pytest.TempPathFactory, server: Server) -> World:
    """Links of which none hangs, and time for all: what is said of each does not depend on how busy this machine is."""
    settings = DemoSettings(rows=400, hang_share=0, row_group_rows=50)
    return make_world(tmp_path_factory.mktemp("patient"), server, settings, GENEROUS)


def own_processes() -> set[int]:
    """Of Rays that were started for a run."""
    return {pid for pid, _, line, _ in processes() if f"/{FOLDER}" in line}


def own_scan(one: Wanted, path: Path) -> subprocess.Popen[str]:
    argv = [*one.scan(path), "--workers", "2", "--executor", "ray"]
    environment = os.environ | {"PYTHONPATH": str(PLANTED / "slow_shards"), "PLANTED": str(path.with_suffix(".plan"))}
    return subprocess.Popen(
        [sys.executable, "-m", "custodes.cli.main", *map(str, argv)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_whole_scan_on_a_ray_of_its_own_says_what_the_local_pool_says(patient_world: World, tmp_path: Path) -> None:
    world = patient_world
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
    assert done.stderr == ""
    assert not own_processes()


@pytest.mark.soak
def test_a_rematch_on_a_ray_of_its_own_finds_what_the_scan_found(patient_world: World, tmp_path: Path) -> None:
    world = patient_world
    fixed = ["--config", world.config, "--quiet", "--json", "--workers", "2"]
    done = custodes("scan", world.demo.links, "--run", tmp_path / "run", *fixed, "--unsafe-allow-loopback")
    assert done.returncode == 1, done.stderr
    again = custodes("rematch", tmp_path / "run", *fixed, "--executor", "ray")
    assert (again.returncode, again.stderr) == (1, "")
    assert json.loads(again.stdout)["findings"] == len(world.demo.findings)


@pytest.mark.parametrize("part", ["raylet/raylet", pytest.param("gcs/gcs_server", marks=pytest.mark.soak)])
def test_a_ray_of_its_own_that_is_lost_ends_the_scan_within_half_a_minute_and_it_goes_on(
    part: str, one_machine: Wanted, tmp_path: Path
) -> None:
    path = one_machine.begun(tmp_path / "run")
    path.with_suffix(".plan").write_text("0.3")
    scan = own_scan(one_machine, path)
    begun(scan, path)
    path.with_suffix(".plan").write_text("60")
    kill({pid for pid, _, line, _ in processes() if f"/{part} " in line and f"/{FOLDER}" in line})
    lost = time.monotonic()
    code, _, err = ended(scan)
    assert time.monotonic() - lost < 30
    said = "the Ray that was started for this run is lost (hint: start the same command again: it goes on where it stopped)"
    assert (code, err.strip()) == (3, f"custodes: {said}")
    assert run(*one_machine.scan(path)).code == 1
    one_machine.same(path)
    assert not own_processes()


# -- what a driver that was killed leaves


def test_folders_of_killed_drivers_are_removed_and_those_that_are_held_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left, mine, link = tmp_path / f"{FOLDER}left", tmp_path / f"{FOLDER}held", tmp_path / f"{FOLDER}link"
    for folder in (left, mine, tmp_path / "else"):
        (folder / "logs").mkdir(parents=True)
    link.symlink_to(tmp_path / "else")
    with exclusive(mine):
        made = own_folder()
        assert not left.exists()
        assert (mine / "logs").exists()
    assert (tmp_path / "else" / "logs").exists()
    assert stat.S_IMODE(Path(made).stat().st_mode) == 0o700
    sweep()
    assert Path(made).exists()
    assert not mine.exists()


def test_another_users_folders_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / f"{FOLDER}theirs").mkdir()
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    sweep()
    assert (tmp_path / f"{FOLDER}theirs").exists()


def test_an_interrupt_ends_the_scan_and_all_that_was_started_for_it_and_the_next_one_goes_on(
    two_nodes: Cluster, one_machine: Wanted, tmp_path: Path
) -> None:
    path = one_machine.begun(tmp_path / "run")
    two_nodes.shards(2)
    scan = two_nodes.custodes(*one_machine.scan(path), *on(two_nodes))
    begun(scan, path, 4)
    members = below({scan.pid}) | two_nodes.named("custodes.cli.worker")
    os.killpg(scan.pid, signal.SIGINT)
    code, _, err = ended(scan)
    assert (code, err.strip()) == (130, "custodes: stopped; a scan that is started again goes on where it stopped")
    assert not members & {pid for pid, _, _, _ in processes()}
    assert run(*one_machine.scan(path)).code == 1
    one_machine.same(path)


@pytest.mark.soak
def test_a_shard_that_ends_every_worker_is_given_up_aloud_and_all_others_are_done(
    two_nodes: Cluster, one_machine: Wanted, tmp_path: Path
) -> None:
    path = one_machine.begun(tmp_path / "run")
    two_nodes.shards(0, 3)
    code, _, err = ended(two_nodes.custodes(*one_machine.scan(path), *on(two_nodes)))
    assert (code, "shard 3 ended 3 workers" in err) == (3, True)
    assert len(one_machine.rows(path)) == SHARDS - 1
    assert run(*one_machine.scan(path)).code == 1
    one_machine.same(path)
