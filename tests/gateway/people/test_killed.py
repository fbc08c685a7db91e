"""A gateway that is killed at any moment has lost no decision and no strike that was answered, and counts none twice."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from contextlib import closing
from datetime import date
from pathlib import Path

import pytest

from custodes.gateway.people.sqlite import SqliteLedger
from tests.gateway.people.making import asking, run

_ALWAYS = (date(2026, 1, 1), date(2027, 1, 1))


def lost(folder: Path, numbers: range, *how: str) -> tuple[int, int]:
    """How many processes were killed; and in how many ledgers something that was answered is gone, or was counted twice."""
    command = [sys.executable, "-m", "tests.gateway.people.killing", str(folder), str(numbers.start), str(numbers.stop)]
    done = subprocess.run([*command, *how], capture_output=True, text=True, timeout=280, check=True)
    return int(done.stdout), sum(not _whole(folder, number) for number in numbers)


def _whole(folder: Path, number: int) -> bool:
    path = folder / f"{number}.told"
    told = Counter(path.read_text().split()) if path.exists() else Counter[str]()
    with closing(SqliteLedger(folder / f"{number}.db")) as ledger:
        decisions = run(ledger.decisions(0, 1_000))
        kept = Counter(each.request.partition("-")[0].removeprefix("req_") for each in decisions)
        strikes = run(ledger.standing(asking(user=""))).strikes
        counted = sum(each.decisions for each in run(ledger.tally(*_ALWAYS)).counts)
    return told <= kept and strikes == len(kept) and counted == len(decisions)


def test_killed_at_20_moments_nothing_that_was_answered_is_lost(tmp_path: Path) -> None:
    killed, wrong = lost(tmp_path, range(20))
    assert wrong == 0
    assert killed >= 12  # else nothing was tried


def test_planted_an_answer_before_the_commit_is_seen_to_be_lost(tmp_path: Path) -> None:
    assert lost(tmp_path, range(20), "early")[1] > 0


@pytest.mark.soak
def test_killed_at_2000_moments_nothing_that_was_answered_is_lost(tmp_path: Path) -> None:
    killed, wrong = lost(tmp_path, range(20, 2_020))
    assert (killed > 1_200, wrong) == (True, 0)
