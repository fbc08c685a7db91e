"""Killed anywhere and started again: nothing is lost, nothing is sent under two keys, and no line is missing. The deaths are in ``crashing``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def wrong_of(*arguments: object) -> list[str]:
    """What was wrong in a family of processes that died."""
    argv = [sys.executable, "-m", "tests.handover.crashing", *map(str, arguments)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=3000, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize("story", ["outbox", "rotation", "custody", "purge"])
def test_a_death_at_any_step_leaves_the_world_before_or_after_the_act(story: str) -> None:
    assert wrong_of("every", story) == []


CAUGHT = {
    "outbox": "marks_after_deleting",
    "rotation": "forgets_keys_first",
    "custody": "remembers_first",
    "purge": "records_before_removing",
}


@pytest.mark.parametrize("story", CAUGHT)
def test_planted_an_act_in_the_wrong_order_is_caught_by_a_death(story: str) -> None:
    assert wrong_of("every", story, CAUGHT[story]) != []


def test_planted_a_file_that_is_overwritten_where_it_lies_is_caught_by_a_death() -> None:
    assert wrong_of("every", "outbox", "writes_in_place") != []


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("kills", [60, pytest.param(500, marks=pytest.mark.soak)])
def test_workers_killed_at_random_lose_nothing_and_never_send_the_same_at_once(kills: int) -> None:
    assert wrong_of("random", kills) == []


def test_planted_without_leases_two_workers_send_the_same_at_once() -> None:
    assert wrong_of("random", 30, "leases_nothing") != []
