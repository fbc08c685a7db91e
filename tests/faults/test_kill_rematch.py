"""Killed before any step on the disk and started again, a rematch loses no finding and counts none twice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.share import share
from tests.stored import Earlier, earlier
from tests.world import custodes

from custodes.errors import StorageError
from custodes.ledger.run import RunDirectory

PLANTED = Path(__file__).parent / "planted"
SHARDS, ROWS = 6, 4
KNOWN = list(range(0, SHARDS * ROWS, 3))
STEPS = (
    4 + SHARDS * 6
)  # four folders; then for each shard, of its findings and of itself: written, linked, folder synced


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Earlier:
    made = earlier(tmp_path_factory.mktemp("kill-rematch"), SHARDS, ROWS)
    made.know(md5=KNOWN[::2], pdq=dict.fromkeys(KNOWN[1::2], 4))
    return made


def rematch_killed_at(past: Earlier, step: int, *planted: str) -> tuple[int, int, list[int]]:
    """Killed once, then to its end: the exit code of the first, what the second counts, and the rows that were found."""
    shutil.rmtree(past.run.path / "rematch", ignore_errors=True)
    command = ["rematch", past.run.path, *past.config, "--workers", "1", "--quiet", "--json"]
    names = ",".join([*planted, "dies-at-a-step"])
    fault = {"PYTHONPATH": str(PLANTED), "CUSTODES_PLANTED": names, "CUSTODES_PLANTED_NTH": str(step)}
    killed = custodes(*command, env=fault)
    done = custodes(*command)
    assert done.returncode in (1, 3), done.stderr
    if done.returncode == 3:
        raise StorageError(done.stderr)
    answer = json.loads(done.stdout.splitlines()[-1])
    run = RunDirectory.open(Path(answer["run"]), past.site.run_key())
    rows = sorted(int(finding.url.rpartition("/")[2]) for finding in past.findings(run))
    assert (answer["complete"], answer["rows"]) == (True, SHARDS * ROWS)
    return killed.returncode, answer["findings"], rows


@pytest.mark.parametrize("step", share([0, 4, 5, 6, 7, 8, 9, 10, 23, STEPS - 1], 5))
def test_a_killed_rematch_loses_nothing_and_doubles_nothing(past: Earlier, step: int) -> None:
    assert rematch_killed_at(past, step) == (-9, len(KNOWN), KNOWN)


def test_the_kill_test_catches_a_build_that_marks_the_shard_before_its_findings(past: Earlier) -> None:
    with pytest.raises(StorageError, match="is missing or was changed"):
        rematch_killed_at(past, 7, "marks-the-shard-first")
