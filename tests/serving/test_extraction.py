"""The attack that a yes or no invites: from one matching picture to the listed code, bit by bit. It gains nothing; without the defences, everything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tests.serving.service import asked, digest, distance, entries, examiner, guard, judge_of, near, turned

from custodes.examine import Examiner
from custodes.model import Kind
from custodes.serving.defence import Guard
from custodes.serving.judge import Judge, _Turn
from custodes.serving.messages import Verdict

RUNS, RUNS_SOAK = 10, 300
BITS = 256

Oracle = Callable[[list[bytes]], list[bool]]
Rng = np.random.Generator


class NotSticky(Guard):
    """Planted fault: what lies around an earlier match is looked up."""

    def inside(self, forms: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        return np.full(len(forms), -1, dtype=np.int64)


class NotTogether(Judge):
    """Planted fault: what lies around a match of the same request is not held with it."""

    def _record(self, turn: _Turn, guard: Guard, owned: Any, matched: Any) -> None:
        turn.say([item for item in turn.open(owned) if item in matched], Verdict.HOLD)


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Examiner:
    return examiner(tmp_path_factory.mktemp("lists"), entries(RUNS_SOAK, (Kind.PDQ,)))


def boundary(oracle: Oracle, inside: bytes, rng: Rng) -> bytes | None:
    """Walk away from a match until there is none: then the distance is one more than the greatest that matches."""
    assert oracle([inside]) == [True]
    for bit in rng.permutation(BITS).tolist():
        outside = turned(inside, bit)
        if not oracle([outside])[0]:
            return outside
        inside = outside
    return None


def approached(oracle: Oracle, inside: bytes, rng: Rng) -> bytes | None:
    """The same from outside: the first yes is the last that is needed."""
    path = rng.permutation(BITS)[:60].tolist()
    for count in range(len(path), -1, -1):
        if oracle([turned(inside, *path[:count])])[0]:
            return turned(inside, *path[: count + 1])
    return None


def climbed(oracle: Oracle, outside: bytes | None, start: bytes, *, at_once: bool = False) -> bytes:
    """From just outside, a bit that brings a match is one that differs from the listed code."""
    if outside is None:
        return start
    tried = [turned(outside, bit) for bit in range(BITS)]
    answers = oracle(tried) if at_once else [oracle([each])[0] for each in tried]
    return turned(outside, *[bit for bit, yes in enumerate(answers) if yes])


def outwards(oracle: Oracle, start: bytes, _: bytes, rng: Rng) -> bytes:
    return climbed(oracle, boundary(oracle, start, rng), start)


def inwards(oracle: Oracle, start: bytes, _: bytes, rng: Rng) -> bytes:
    return climbed(oracle, approached(oracle, start, rng), start)


def in_one_request(oracle: Oracle, start: bytes, listed: bytes, rng: Rng) -> bytes:
    """Whoever happens to stand just outside needs one request, of 256 items."""
    agreeing = [
        bit
        for bit in range(BITS)
        if turned(start, bit) and distance(turned(start, bit), listed) > distance(start, listed)
    ]
    outside = turned(start, *agreeing[: 32 - distance(start, listed)])
    return climbed(oracle, outside, start, at_once=True)


ATTACKS = {"outwards": outwards, "inwards": inwards, "in one request": in_one_request}


def oracle_of(judge: Judge, name: str, count: list[int]) -> Oracle:
    def oracle(codes: list[bytes]) -> list[bool]:
        count[0] += len(codes)
        return [verdict is Verdict.HOLD for verdict in asked(judge, name, near(*codes))]

    return oracle


def attacked(judge: Judge, attack: str, runs: int) -> Iterator[tuple[int, int, int]]:
    """For each run: the distance from the listed code before and after, and how many codes were asked for."""
    for run in range(runs):
        rng = np.random.default_rng(run)
        listed = digest(run)
        start = turned(listed, *rng.permutation(BITS)[: rng.integers(25, 32)].tolist())
        count = [0]
        found = ATTACKS[attack](oracle_of(judge, f"t{run}", count), start, listed, rng)
        yield distance(start, listed), distance(found, listed), count[0]


def judge(lists: Examiner, runs: int, kind: type[Guard] = Guard, **limits: Any) -> Judge:
    return judge_of(lists, {f"t{run}": guard(kind, **limits) for run in range(runs)})


def no_progress(judge: Judge, attack: str, runs: int) -> None:
    found = list(attacked(judge, attack, runs))
    assert [run for run, (before, after, _) in enumerate(found) if after < before] == []
    assert [run for run, (_, after, _) in enumerate(found) if after == 0] == []


NO_LOCK = {"probes_per_hit": 1_000_000}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_gains_nothing(lists: Examiner, attack: str) -> None:
    no_progress(judge(lists, RUNS), attack, RUNS)


@pytest.mark.parametrize("attack", ATTACKS)
def test_it_gains_nothing_where_no_tenant_is_ever_locked(lists: Examiner, attack: str) -> None:
    no_progress(judge(lists, RUNS, **NO_LOCK), attack, RUNS)


@pytest.mark.parametrize("attack", ["outwards", "inwards"])
def test_it_gains_nothing_where_only_the_lock_is_left(lists: Examiner, attack: str) -> None:
    """A tenant is locked for the eighth picture around a match although all of them are looked up."""

    class OnlyLock(Guard):
        def inside(self, forms: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
            found = super().inside(forms)
            for row, hit in enumerate(found.tolist()):
                if hit >= 0:
                    self.probe(hit, forms[row, 0].tobytes())
            return np.full(len(forms), -1, dtype=np.int64)

    no_progress(judge(lists, RUNS, OnlyLock), attack, RUNS)


@pytest.mark.parametrize("attack", ATTACKS)
def test_without_the_defences_it_recovers_every_listed_code(lists: Examiner, attack: str) -> None:
    recovered(judge(lists, RUNS, NotSticky, **NO_LOCK), attack, RUNS)


def recovered(judge: Judge, attack: str, runs: int) -> None:
    found = list(attacked(judge, attack, runs))
    assert [after for _, after, _ in found] == [0] * runs
    assert max(asked for *_, asked in found) <= 330


def test_without_holding_a_request_together_one_request_is_enough(lists: Examiner) -> None:
    alone = NotTogether(lists, lambda: {f"t{run}": guard() for run in range(RUNS)}, 1_000_000_000)
    recovered(alone, "in one request", RUNS)


@pytest.mark.soak
@pytest.mark.parametrize("attack", ATTACKS)
def test_300_attacks_gain_nothing_and_300_without_the_defences_everything(
    lists: Examiner, attack: str, tmp_path: Path
) -> None:
    no_progress(judge(lists, RUNS_SOAK), attack, RUNS_SOAK)
    no_progress(judge(lists, RUNS_SOAK, **NO_LOCK), attack, RUNS_SOAK)
    recovered(judge(lists, RUNS_SOAK, NotSticky, **NO_LOCK), attack, RUNS_SOAK)
