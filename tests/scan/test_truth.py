"""A scan says of every row what is true of it, and finds exactly what is there to be found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.world import World, custodes

from custodes.model import Outcome, Reason


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory, world: World) -> tuple[Path, dict[str, object], int]:
    run = tmp_path_factory.mktemp("scan") / "run"
    done = custodes(
        "scan", world.demo.links, "--run", run, "--config", world.config, "--unsafe-allow-loopback", "--json"
    )
    assert done.returncode in (0, 1, 5), done.stderr
    return run, json.loads(done.stdout.splitlines()[-1]), done.returncode


def test_every_row_ends_as_its_link_does(scanned: tuple[Path, dict[str, object], int], world: World) -> None:
    wrong = [
        (truth.row, truth.way, reason)
        for truth, reason in zip(world.demo.truth, world.outcomes(scanned[0]), strict=True)
        if Reason(reason) not in truth.reasons
    ]
    assert wrong == []


def test_exactly_the_planted_rows_are_findings(scanned: tuple[Path, dict[str, object], int], world: World) -> None:
    found = [finding.row for finding in world.findings(scanned[0])]
    assert sorted(found) == sorted(world.demo.findings)


def test_the_answer_adds_up(scanned: tuple[Path, dict[str, object], int], world: World) -> None:
    _, answer, code = scanned
    assert answer["rows"] == 400
    outcomes = answer["outcomes"]
    assert isinstance(outcomes, dict)
    assert sum(outcomes.values()) == 400
    assert answer["findings"] == len(world.demo.findings)
    reasons = answer["reasons"]
    assert isinstance(reasons, dict)
    for name in ("unavailable", "undecodable", "failed"):
        assert sum(count for reason, count in reasons.items() if Outcome(Reason(reason)).name == name) == outcomes[name]
    assert code == 1


def test_dead_links_are_judged_by_their_columns(tmp_path: Path, world: World) -> None:
    run = tmp_path / "run"
    done = custodes("scan", world.demo.links, "--run", run, "--config", world.config, "--pass", "columns", "--json")
    assert done.returncode == 1, done.stderr
    assert sorted(finding.row for finding in world.findings(run)) == sorted(world.demo.column_findings)
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["outcomes"]["examined"] == answer["coverage"]["columns"]
    assert sum(answer["outcomes"].values()) == 400


def test_a_finding_holds_what_makes_it_actionable_and_no_image(
    scanned: tuple[Path, dict[str, object], int], world: World
) -> None:
    for finding in world.findings(scanned[0]):
        assert finding.url or world.demo.truth[finding.row].way.value == "no-url"
        assert finding.viewed_by_a_person is False
        assert finding.matches
        assert finding.found_at.endswith("+00:00")
        assert finding.row_key
        if finding.outcome == "examined":
            assert finding.digests["sha256"]
            assert finding.http_status == 200
            assert finding.fetched_at


def test_rematch_finds_the_same_without_a_fetch(scanned: tuple[Path, dict[str, object], int], world: World) -> None:
    run, answer, _ = scanned
    done = custodes("rematch", run, "--config", world.config, "--json")
    assert done.returncode == 1, done.stderr
    again = json.loads(done.stdout.splitlines()[-1])
    assert again["findings"] == answer["findings"]
    assert again["outcomes"] == answer["outcomes"]


def test_the_same_scan_again_has_nothing_left_to_do(scanned: tuple[Path, dict[str, object], int], world: World) -> None:
    run, answer, _ = scanned
    done = custodes(
        "scan", world.demo.links, "--run", run, "--config", world.config, "--unsafe-allow-loopback", "--json"
    )
    assert json.loads(done.stdout.splitlines()[-1])["findings"] == answer["findings"]


def test_other_settings_on_the_same_run_are_refused_by_name(
    scanned: tuple[Path, dict[str, object], int], world: World
) -> None:
    done = custodes("scan", world.demo.links, "--run", scanned[0], "--config", world.config, "--pass", "columns")
    assert done.returncode == 2
    assert "passes was" in done.stderr
