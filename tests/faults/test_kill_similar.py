"""Killed before any step on the disk and started again, a scan for similar photos hands over the same suspects, each once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.share import share
from tests.similar.looping import FILES, Loop, looped
from tests.world import custodes

from custodes.errors import StorageError
from custodes.ledger.run import RunDirectory

PLANTED = Path(__file__).parent / "planted"
COORDINATOR_STEPS = 11
"""Of the manifest, the one part of the vectors, and what was chosen: written, linked, folder synced; and two folders."""

WORKER_STEPS = 4 + FILES * 6


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Loop:
    return looped(tmp_path_factory.mktemp("kill-similar"))


def command(loop: Loop) -> list[str | Path]:
    given = ["--vectors", loop.home / "vectors", "--model", "numbers", "--budget", "20", "--workers", "1"]
    return ["similar", "scan", loop.past.run.path, *given, "--quiet", "--json", *loop.past.config]


def handed_over(loop: Loop) -> list[str]:
    done = custodes(*command(loop))
    assert done.returncode in (1, 3), done.stderr
    if done.returncode == 3:
        raise StorageError(done.stderr)
    answer = json.loads(done.stdout.splitlines()[-1])
    run = RunDirectory.open(Path(answer["run"]), loop.past.site.run_key())
    findings = loop.past.findings(run)
    assert answer["findings"] == len(findings) == 20
    assert len(list(run.path.parent.iterdir())) == 1
    return sorted(finding.id for finding in findings)


@pytest.fixture(scope="module")
def undisturbed(loop: Loop) -> list[str]:
    return handed_over(loop)


def killed_at(loop: Loop, step: int, *planted: str) -> list[str]:
    shutil.rmtree(loop.past.run.path / "similar", ignore_errors=True)
    fault = {"PYTHONPATH": str(PLANTED), "CUSTODES_PLANTED": ",".join(planted), "CUSTODES_PLANTED_NTH": str(step)}
    assert custodes(*command(loop), env=fault).returncode == -9
    return handed_over(loop)


@pytest.mark.parametrize("step", share(range(0, COORDINATOR_STEPS, 2), 5))
def test_a_coordinator_that_is_killed_chooses_the_same(loop: Loop, undisturbed: list[str], step: int) -> None:
    assert killed_at(loop, step, "coordinator-dies-at-a-step") == undisturbed


@pytest.mark.parametrize("step", share([0, 4, 6, 7, 9, WORKER_STEPS - 1], 3))
def test_a_worker_that_is_killed_loses_nothing_and_doubles_nothing(
    loop: Loop, undisturbed: list[str], step: int
) -> None:
    assert killed_at(loop, step, "dies-at-a-step") == undisturbed


def test_the_kill_test_catches_a_build_that_marks_the_shard_before_its_findings(
    loop: Loop, undisturbed: list[str]
) -> None:
    assert undisturbed
    with pytest.raises(StorageError, match="is missing or was changed"):
        killed_at(loop, 7, "marks-the-shard-first", "dies-at-a-step")
