"""Killed at any step: what a log signed and published, and what a witness remembers, is old or new. The deaths are in ``crashing``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def wrong_of(*arguments: str) -> list[str]:
    argv = [sys.executable, "-m", "tests.transparency.crashing", *arguments]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize("story", ["log", "witness"])
def test_a_death_at_any_step_leaves_the_old_or_the_new(story: str) -> None:
    assert wrong_of(story) == []


@pytest.mark.parametrize("fault", ["publishes_first", "writes_in_place"])
def test_planted_an_order_that_a_death_shows_is_caught(fault: str) -> None:
    assert wrong_of("log", fault) != []
