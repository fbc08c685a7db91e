"""Killed at any moment and started again, a scan loses no finding and counts none twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.share import share
from tests.world import Server, World, custodes, make_world

from custodes.demo.links import DemoSettings
from custodes.errors import StorageError

PLANTED = Path(__file__).parent / "planted"
KILLS = 5
KILLS_SOAK = 200


@pytest.fixture(scope="module")
def kill_world(tmp_path_factory: pytest.TempPathFactory, server: Server) -> World:
    """2,000 rows without links that hang, in 40 shards, so that kills fall everywhere."""
    settings = DemoSettings(rows=2000, hang_share=0, row_group_rows=50)
    return make_world(tmp_path_factory.mktemp("kill"), server, settings)


def arguments(world: World, run: Path) -> list[str]:
    fixed = ["--config", world.config, "--unsafe-allow-loopback", "--workers", "2", "--quiet", "--json"]
    return ["scan", str(world.demo.links), "--run", str(run), *fixed]


def truth_of(world: World, run: Path) -> tuple[list[str], list[str], int]:
    """Outcomes by row, ids of findings, and what the report counts."""
    report = json.loads(custodes("report", run, "--config", world.config, "--json").stdout)
    assert report["rows"] == len(world.demo.truth)
    return world.outcomes(run), sorted(finding.id for finding in world.findings(run)), report["findings"]


@pytest.fixture(scope="module")
def uninterrupted(kill_world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], list[str], float]:
    run = tmp_path_factory.mktemp("whole") / "run"
    began = time.monotonic()
    done = custodes(*arguments(kill_world, run))
    assert done.returncode == 1, done.stderr
    outcomes, findings, counted = truth_of(kill_world, run)
    assert counted == len(findings) == len(set(findings)) == len(kill_world.demo.findings)
    return outcomes, findings, time.monotonic() - began


def start(world: World, run: Path, planted: str = "") -> subprocess.Popen[bytes]:
    environment = os.environ | ({"PYTHONPATH": str(PLANTED), "CUSTODES_PLANTED": planted} if planted else {})
    argv = [sys.executable, "-m", "custodes.cli.main", *arguments(world, run)]
    return subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)


def family(pid: int) -> list[int]:
    """A process and all that it started."""
    listed = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in listed.splitlines()]
    found = [pid]
    for parent in found:
        found += [child for child, of in pairs if of == parent and child not in found]
    return found


def kill_until_done(
    world: World, run: Path, kills: int, rng: random.Random, *, longest_s: float, planted: str = ""
) -> int:
    """Start the scan and kill it at a random moment, again and again, then let it end. Half of the kills hit any one process of the family."""
    killed = 0
    process = start(world, run, planted)
    while killed < kills:
        try:
            process.wait(timeout=rng.uniform(0.2, rng.choice((3.0, longest_s))))  # early, or anywhere
            break
        except subprocess.TimeoutExpired:
            victim = process.pid if rng.random() < 0.5 else rng.choice(family(process.pid))
            killed += killed_now(victim)
            if victim == process.pid:
                process.wait()
                process = start(world, run, planted)
    process.wait()
    done = custodes(*arguments(world, run))
    assert done.returncode == 1, done.stderr
    return killed


def killed_now(pid: int) -> int:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return 0
    return 1


def check_kills(world: World, tmp_path: Path, uninterrupted: tuple[list[str], list[str], float], kills: int) -> int:
    """Rounds of kills until there were so many; after each round the run equals the uninterrupted one."""
    rng = random.Random(kills)
    outcomes, findings, whole_s = uninterrupted
    killed = rounds = 0
    while killed < kills:
        run = tmp_path / str(rounds)
        killed += kill_until_done(world, run, min(10, kills - killed), rng, longest_s=whole_s)
        again = truth_of(world, run)
        assert again[1] == findings, "findings were lost or doubled"
        assert again[2] == len(findings), "the report counts otherwise"
        differing = [
            (row, was, now) for row, (was, now) in enumerate(zip(outcomes, again[0], strict=True)) if was != now
        ]
        assert all(now in {str(reason) for reason in world.demo.truth[row].reasons} for row, _, now in differing), (
            differing
        )
        rounds += 1
    return killed


@pytest.mark.timeout(900)
def test_a_killed_scan_loses_nothing_and_doubles_nothing(
    kill_world: World, tmp_path: Path, uninterrupted: tuple[list[str], list[str], float]
) -> None:
    assert check_kills(kill_world, tmp_path, uninterrupted, KILLS) >= KILLS


@pytest.mark.soak
@pytest.mark.timeout(3000)
def test_a_scan_killed_200_times_loses_nothing_and_doubles_nothing(
    kill_world: World, tmp_path: Path, uninterrupted: tuple[list[str], list[str], float]
) -> None:
    assert check_kills(kill_world, tmp_path, uninterrupted, KILLS_SOAK) >= KILLS_SOAK


@pytest.mark.timeout(900)
def test_the_kill_test_catches_a_build_that_marks_the_shard_before_its_findings(
    kill_world: World, tmp_path: Path
) -> None:
    rng = random.Random(1)
    for attempt in range(10):
        run = tmp_path / str(attempt)
        try:
            kill_until_done(kill_world, run, 8, rng, longest_s=4.0, planted="marks-the-shard-first")
            found = {finding.row for finding in kill_world.findings(run)}
        except (StorageError, AssertionError):
            return
        if found != kill_world.demo.findings:
            return
    pytest.fail("the planted fault was not caught in 80 kills")


@pytest.mark.parametrize("fault", ["fails-a-sync", "fills-the-disk"])
@pytest.mark.parametrize("nth", share([0, 1, 2, 3, 5], 3))
def test_a_disk_that_fails_stops_the_run_aloud_and_loses_nothing(
    kill_world: World, tmp_path: Path, fault: str, nth: int
) -> None:
    run = tmp_path / "run"
    environment = {"PYTHONPATH": str(PLANTED), "CUSTODES_PLANTED": fault, "CUSTODES_PLANTED_NTH": str(nth)}
    columns = ["--pass", "columns"]
    failed = custodes(*arguments(kill_world, run), *columns, env=environment)
    assert failed.returncode == 3, failed.stderr
    assert "could not write" in failed.stderr
    done = custodes(*arguments(kill_world, run), *columns)
    assert done.returncode == 1, done.stderr
    assert {finding.row for finding in kill_world.findings(run)} == kill_world.demo.column_findings


def test_nothing_is_left_running_after_a_kill(kill_world: World, tmp_path: Path) -> None:
    process = start(kill_world, tmp_path / "run")
    while len(members := family(process.pid)) <= 3 and process.poll() is None:
        time.sleep(0.05)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while (
        left := [pid for pid in members if Path(f"/proc/{pid}").exists() and not zombie(pid)]
    ) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(members) > 3
    assert left == []


def zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
