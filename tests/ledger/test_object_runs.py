"""A scan whose run lies in an object store: the same outcomes, findings and card as in a folder, whatever fails on the way, and every command reads it."""

from __future__ import annotations

import json
import os
import random
import re
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from s3 import Service, at_random, running
from test_commit import KEY, commit_of, manifest
from tests.faults.test_kill import kill_until_done, truth_of
from tests.stored import Earlier, earlier
from tests.world import Server, World, custodes, make_world

from custodes.cards import statement_of
from custodes.cli.main import cli
from custodes.config import load_site
from custodes.demo.links import DemoSettings
from custodes.ledger.run import RunDirectory
from custodes.ledger.store import store_at
from custodes.scan.similar_runs import runs_of
from custodes.similar.reading import Reading, read_blocks
from custodes.similar.vectors import npy_shard

WRONG = 0.03
KILLS = 3
KILLS_SOAK = 50


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with running() as found, pytest.MonkeyPatch.context() as patch:
        for name, value in found.environment.items():
            patch.setenv(name, value)
        yield found


@pytest.fixture
def place(service: Service) -> str:
    return f"s3://{service.bucket}/{uuid.uuid4().hex}/run"


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, server: Server) -> World:
    """A scan of columns alone: the web, and how busy this machine is, make no difference to its outcomes."""
    settings = DemoSettings(rows=2000, hang_share=0, row_group_rows=50)
    made = make_world(tmp_path_factory.mktemp("calm"), server, settings)
    made.site.path.write_text(re.sub(r"(?m)^#? *passes = .*$", 'passes = ["columns"]', made.site.path.read_text()))
    return replace(made, site=load_site(made.config))


def arguments(world: World, run: str | Path) -> list[str]:
    fixed = ["--config", world.config, "--unsafe-allow-loopback", "--workers", "2", "--quiet", "--json"]
    return ["scan", str(world.demo.links), "--run", str(run), *fixed]


def stated(world: World, run: str | Path) -> dict[str, Any]:
    """The card's statement, less what differs between any two scans: ids, times, and the root, whose salts are of this run."""
    key = world.site.run_key()
    told: dict[str, Any] = json.loads(statement_of(RunDirectory.open(run, key), key).encode())
    for name in ("run", "began", "signed"):
        told["predicate"].pop(name)
    told["predicate"]["commitment"].pop("root")
    return told


@pytest.fixture(scope="module")
def in_folder(calm: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("folder") / "run"
    done = custodes(*arguments(calm, run))
    assert done.returncode == 1, done.stderr
    return run


def ids(world: World, run: Any) -> list[str]:
    return sorted(finding.id for finding in world.findings(run))


def test_a_scan_into_an_object_store_gives_what_one_into_a_folder_gives(
    calm: World, in_folder: Path, service: Service, place: str, tmp_path: Path
) -> None:
    before = sum(service.went_wrong.values())
    with service.faulty(at_random(7, WRONG)):
        done = custodes(*arguments(calm, place), cwd=tmp_path)
        assert done.returncode == 1, done.stderr
        assert calm.outcomes(place) == calm.outcomes(in_folder)  # type: ignore[arg-type]
        assert ids(calm, place) == ids(calm, in_folder)
        assert stated(calm, place) == stated(calm, in_folder)
    assert sum(service.went_wrong.values()) > before
    assert list(tmp_path.iterdir()) == []
    said = json.loads(done.stdout)
    assert (said["run"], said["complete"]) == (place, True)
    assert {"manifest.json", "report.html", "report.json"} <= set(store_at(place).names())
    assert len(store_at(place).names("findings/00000")) == said["shards"]
    again = custodes(*arguments(calm, place))
    assert again.returncode == 1, again.stderr


def killed_and_resumed(world: World, whole: Path, place: str, kills: int, seed: int) -> int:
    killed = kill_until_done(world, place, kills, random.Random(seed), longest_s=6.0)  # type: ignore[arg-type]
    found = truth_of(world, place)  # type: ignore[arg-type]
    before = world.outcomes(whole)
    assert [(row, was, now) for row, (was, now) in enumerate(zip(before, found[0], strict=True)) if was != now] == []
    assert found[1] == ids(world, whole), "findings were lost or doubled"
    assert found[2] == len(found[1]), "the report counts otherwise"
    store = store_at(place)
    shards = json.loads(store.read("report.json"))["shards"]
    assert len(store.names("findings/00000")) == shards, "orphans were left"
    return killed


@pytest.mark.timeout(900)
def test_a_scan_killed_while_it_writes_into_a_faulty_store_loses_and_doubles_nothing(
    calm: World, in_folder: Path, service: Service, place: str
) -> None:
    with service.faulty(at_random(8, WRONG)):
        assert killed_and_resumed(calm, in_folder, place, KILLS, 1) >= 1


@pytest.mark.soak
@pytest.mark.timeout(3000)
def test_a_scan_killed_50_times_while_it_writes_into_a_faulty_store_loses_and_doubles_nothing(
    calm: World, in_folder: Path, service: Service
) -> None:
    killed = rounds = 0
    with service.faulty(at_random(9, WRONG)):
        while killed < KILLS_SOAK:
            at = f"s3://{service.bucket}/{uuid.uuid4().hex}/run"
            killed += killed_and_resumed(calm, in_folder, at, min(5, KILLS_SOAK - killed), rounds)
            rounds += 1


# -- every command


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Earlier:
    made = earlier(tmp_path_factory.mktemp("commands"), 3, 40)
    made.know(md5=[3, 50, 51], pdq={90: 2})
    return made


def copied(past: Earlier, place: str) -> str:
    """The run as it lies in a folder, in the object store."""
    store = store_at(place)
    for path in past.run.path.rglob("*"):
        if path.is_file() and not path.name.startswith("."):
            store.publish(str(path.relative_to(past.run.path)), path.read_bytes())
    return place


def ran(*arguments: str | Path, code: int = 0) -> str:
    done = CliRunner().invoke(cli, [*map(str, arguments)], catch_exceptions=False, standalone_mode=False)
    assert (done.return_value or 0) == code, done.output
    return done.stdout


def said(*arguments: str | Path, code: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ran(*arguments, "--json", code=code).splitlines()[-1])
    return found


def test_every_command_that_takes_a_run_takes_it_there(past: Earlier, place: str, tmp_path: Path) -> None:
    copied(past, place)
    for command in (["report"], ["rematch", "--quiet", "--workers", "1"]):
        answers = [
            said(*command, run, *past.config, code=int(command[0] == "rematch")) for run in (past.run.path, place)
        ]
        for answer in answers:
            for name in ("run", "run_id", "seconds", "created", "throughput"):
                answer.pop(name, None)
        assert answers[0] == answers[1]
    assert [
        len(runs_of(RunDirectory.open(run, past.site.run_key()), past.site.run_key())) for run in (past.run.path, place)
    ] == [2, 2]
    packed = said("handover", "pack", place, "--out", tmp_path / "packages", *past.config, code=1)
    assert packed["packages"]
    card = Path(said("attest", place, "--out", tmp_path / "card.dsse.json", *past.config)["card"])
    ran("prove", place, "--row", "7", "--card", card, "--out", tmp_path / "proof", *past.config)
    left = said("attest", place, *past.config)
    assert left["card"] == f"{place}/card.dsse.json"
    assert {"card.dsse.json", "card.vkey"} <= set(store_at(place).names())
    wrote = said("clean", place, "--out", tmp_path / "written", "--decoys", "0.5", "--crowd", "10", *past.config)
    assert wrote["rows"] == 120


def test_vectors_in_an_object_store_are_checked_and_read_in_blocks(service: Service, place: str) -> None:
    run = RunDirectory.create(place, manifest(), KEY)
    vectors = np.random.default_rng(1).standard_normal((3, 512)).astype(np.float16)
    records = [run.commit(msgspec.structs.replace(commit_of(shard), vectors=vectors + shard)) for shard in (0, 1)]
    shards = [npy_shard(path) for path in run.vector_files(records)]
    found: dict[int, Any] = {}
    read_blocks(
        (0, shards),
        Reading(threads=3, block_bytes=1024),
        lambda base, block: found.update({base + int(block.rows[0]): block.vectors.copy()}),
    )
    assert np.array_equal(np.concatenate([found[at] for at in sorted(found)]), np.concatenate([vectors, vectors + 1]))
    assert np.array_equal(run.vectors(records[1]), vectors + 1)


def test_no_credential_is_in_what_is_said_or_kept(
    service: Service, place: str, past: Earlier, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = os.environ["AWS_SECRET_ACCESS_KEY"]
    monkeypatch.setattr("custodes.ledger.objects.TRIES", 1)
    monkeypatch.setattr("custodes.ledger.objects.REQUEST_TRIES", 1)
    with service.faulty(lambda _: "500"):
        done = CliRunner().invoke(cli, ["report", place, *past.config])
    assert done.exit_code != 0
    assert secret not in done.output + repr(done.exception)
    assert "could not be read" in done.output + str(done.exception)
