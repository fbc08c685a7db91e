"""Several coordinators on one run, and a database that is killed under them: nothing is lost, nothing is double, the card is the same."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.cluster.wanted import Wanted, wanted
from tests.postgres.server import Given, Server, new_schema, skip_without
from tests.stored import earlier
from tests.world import custodes

from custodes.config import load_site
from custodes.errors import InputError
from custodes.ledger.run import RunDirectory

PLANTED = Path(__file__).parents[1] / "postgres" / "planted"
SHARDS = 12
KILLS, KILLS_SOAK = 4, 100
LEASE_S = "2"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Wanted:
    """The dataset, and a run of it without a database."""
    skip_without()
    return wanted(tmp_path_factory.mktemp("leased"), SHARDS)


def database_section(server: Server | Given, schema: str) -> str:
    return f'[database]\nurl = "{server.url}"\nschema = "{schema}"\nunsafe_no_tls = true\n'


def shared(whole: Wanted, server: Server | Given, schema: str) -> Wanted:
    """The same site, which shares its runs by a database."""
    path = whole.site.path.with_name(f"{schema}.toml")
    text = whole.site.path.read_text()
    path.write_text(text.replace("[database]\n", database_section(server, schema), 1))
    return replace(whole, site=load_site(str(path)))


@contextmanager
def scanning(site: Wanted, run: Path, slow_s: float = 0.1, **planted: str) -> Iterator[subprocess.Popen[str]]:
    """A coordinator with two workers, in which every shard takes a while."""
    environment = os.environ | {
        "PYTHONPATH": str(PLANTED),
        "CUSTODES_SLOW_S": str(slow_s),
        "CUSTODES_LEASE_S": LEASE_S,
    }
    argv = [sys.executable, "-m", "custodes.cli.main", *map(str, site.scan(run)), "--workers", "2"]
    process = subprocess.Popen(
        argv, env=environment | planted, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        yield process
    finally:
        for pid in family(process.pid):
            signalled(pid, signal.SIGCONT)
            signalled(pid, signal.SIGKILL)
        process.communicate()


def family(pid: int) -> list[int]:
    """A process and all that it started."""
    listed = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in listed.splitlines()]
    found = [pid]
    for parent in found:
        found += [child for child, of in pairs if of == parent]
    return found


def signalled(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def marks(run: Path) -> dict[str, int]:
    """The done-marks, and when each was made."""
    return {path.name: path.stat().st_mtime_ns for path in run.glob("shards/*/*.parquet")}


def await_marks(run: Path, count: int, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 60
    while len(marks(run)) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)


def ended(process: subprocess.Popen[str], code: int = 1) -> str:
    _, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    return err


def leased_rows(site: Wanted, columns: str) -> list[tuple[object, ...]]:
    database = site.site.database()
    assert database is not None
    return database.read(
        lambda connection: connection.execute(f"SELECT {columns} FROM shards ORDER BY 1").fetchall()  # type: ignore[arg-type]
    )


def alike(site: Wanted, run: Path) -> None:
    """As ``same``, less the card, which takes a while."""
    assert site.findings(run) == site.findings(site.run)
    assert site.rows(run) == site.rows(site.run)


def test_two_coordinators_share_a_run_and_nobody_works_beside_them_without_the_database(
    whole: Wanted, postgres: Server | Given, tmp_path: Path
) -> None:
    site, run = shared(whole, postgres, new_schema("two")), whole.begun(tmp_path / "run")
    with scanning(site, run, 0.3) as one, scanning(site, run, 0.3) as two:
        await_marks(run, 1, one)
        with pytest.raises(InputError, match="in use by another custodes process"):
            RunDirectory.open(run, whole.site.run_key()).hold()
        for process in (one, two):
            ended(process)
    site.same(run)
    assert leased_rows(site, "shard, done, rows") == [(shard, True, 50) for shard in range(SHARDS)]
    assert len(leased_rows(site, "DISTINCT coordinator")) == 2


def test_of_two_coordinators_one_is_killed_and_the_other_ends_the_run(
    whole: Wanted, postgres: Server | Given, tmp_path: Path
) -> None:
    site, run = shared(whole, postgres, new_schema("killed")), whole.begun(tmp_path / "run")
    with scanning(site, run, 0.2) as one, scanning(site, run, 0.2) as two:
        await_marks(run, 3, one)
        one.kill()
        ended(two)
    alike(site, run)


def zombie(site: Wanted, run: Path, **planted: str) -> tuple[dict[str, int], dict[str, int], str]:
    """One is stopped with its workers until another has ended the run; then it goes on. The marks before and after, and what it says."""
    with scanning(site, run, 0.4, **planted) as one:
        await_marks(run, 2, one)
        for pid in family(one.pid):
            signalled(pid, signal.SIGSTOP)
        mine = marks(run)
        with scanning(site, run, 0.02) as two:
            ended(two)
        before = marks(run)
        if planted:  # whether it publishes is seen where nobody was first
            for path in run.glob("shards/*/*.parquet"):
                if path.name not in mine:
                    path.unlink()
            before = marks(run)
        for pid in family(one.pid):
            signalled(pid, signal.SIGCONT)
        said = ended(one, 3)
        return before, marks(run), said


def test_a_zombie_past_its_lease_commits_nothing(whole: Wanted, postgres: Server | Given, tmp_path: Path) -> None:
    site, run = shared(whole, postgres, new_schema("zombie")), whole.begun(tmp_path / "run")
    before, after, said = zombie(site, run)
    assert after == before
    assert "lease has run out" in said
    site.same(run)


def test_the_zombie_test_catches_a_build_without_a_fence(
    whole: Wanted, postgres: Server | Given, tmp_path: Path
) -> None:
    site, run = shared(whole, postgres, new_schema("unfenced")), whole.begun(tmp_path / "run")
    before, after, _ = zombie(site, run, CUSTODES_NO_FENCE="1")
    assert after != before


def scan_with_kills(site: Wanted, run: Path, server: Server, rng: random.Random, kills: int) -> int:
    """A scan whose database is killed and started again, in turns as by a crash and by a stop at once."""
    killed = 0
    with scanning(site, run, 0.25, CUSTODES_LEASE_S="60") as process:
        while process.poll() is None and killed < kills:
            time.sleep(rng.uniform(0.05, 0.6))
            (server.kill9 if rng.random() < 0.5 else server.stop_immediate)()
            killed += 1
            time.sleep(rng.uniform(0, 0.3))
            server.start()
        ended(process)
    return killed


def check_database_kills(whole: Wanted, server: Server, home: Path, kills: int) -> int:
    rng, killed = random.Random(kills), 0
    while killed < kills:
        run = whole.begun(home / str(killed))
        site = shared(whole, server, new_schema("kills"))
        killed += scan_with_kills(site, run, server, rng, min(5, kills - killed))
        site.same(run)
        assert leased_rows(site, "shard, done, failed, rows") == [(shard, True, False, 50) for shard in range(SHARDS)]
    return killed


@pytest.mark.timeout(600)
def test_a_database_killed_under_a_scan_costs_nothing(whole: Wanted, mortal_postgres: Server, tmp_path: Path) -> None:
    assert check_database_kills(whole, mortal_postgres, tmp_path, KILLS) >= KILLS


@pytest.mark.soak
@pytest.mark.timeout(3000)
def test_a_database_killed_100_times_costs_nothing(whole: Wanted, mortal_postgres: Server, tmp_path: Path) -> None:
    assert check_database_kills(whole, mortal_postgres, tmp_path, KILLS_SOAK) >= KILLS_SOAK


def test_a_database_that_knows_less_than_the_run_or_more_costs_nothing(
    whole: Wanted, postgres: Server | Given, tmp_path: Path
) -> None:
    """Killed; then rows of the database were lost, and a shard file was deleted that it has as done. The same command ends the run."""
    site, run = shared(whole, postgres, new_schema("lost")), whole.begun(tmp_path / "run")
    with scanning(site, run) as one:
        await_marks(run, 6, one)
        one.kill()
    gone, *_, known = sorted(marks(run))
    database = site.site.database()
    assert database is not None
    database.run(lambda connection: connection.execute("DELETE FROM shards WHERE shard = %s", (int(known[:8]),)))
    (run / "shards" / "00000" / gone).unlink()
    for path in (run / "findings" / "00000").glob(f"{gone[:8]}.*"):
        path.unlink()
    with scanning(site, run, 0) as again:
        ended(again)
    alike(site, run)
    assert leased_rows(site, "shard, done, rows") == [(shard, True, 50) for shard in range(SHARDS)]


def test_a_killed_driver_leaves_no_worker_and_nothing_is_committed_after_it(whole: Wanted, tmp_path: Path) -> None:
    rng = random.Random(1)
    for number in range(3):
        run = whole.begun(tmp_path / str(number))
        with scanning(whole, run, 0.3) as process:
            time.sleep(rng.uniform(0.3, 1.0)) if number else await_marks(run, 1, process)
            workers = family(process.pid)[1:]
            process.kill()
            time.sleep(0.2)
            before, until = marks(run), time.monotonic() + 2
            while any(alive(pid) for pid in workers) and time.monotonic() < until:
                time.sleep(0.01)
            assert not [pid for pid in workers if alive(pid)]
            time.sleep(0.5)
            assert marks(run) == before
            assert len(list(RunDirectory.open(run, whole.site.run_key()).records())) == len(before)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_worker_whose_parent_is_gone_before_it_began_does_nothing() -> None:
    """Between its start and its first look the driver may have ended: its number is named, and is not the parent's any more."""
    worker = subprocess.run(
        [sys.executable, "-P", "-m", "custodes.cli.worker", "1"],
        input=b"",
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert worker.returncode != 0
    assert b"the parent ended before its child was ready" in worker.stderr
    assert worker.stdout == b""


def test_a_rematch_is_shared_as_a_scan_is(postgres: Server | Given, tmp_path: Path) -> None:
    past = earlier(tmp_path, 6, 4)
    past.know(md5=[1, 9, 20], pdq={6: 3})
    text = past.site.path.read_text()
    schema = new_schema("rematch")
    past.site.path.write_text(text.replace("[database]\n", database_section(postgres, schema), 1))
    environment = {"PYTHONPATH": str(PLANTED), "CUSTODES_LEASE_S": LEASE_S}
    done = custodes("rematch", past.run.path, *past.config, "--workers", "2", "--quiet", "--json", env=environment)
    assert done.returncode == 1, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    run = RunDirectory.open(Path(answer["run"]), past.site.run_key())
    assert (answer["complete"], answer["findings"], len(past.findings(run))) == (True, 4, 4)
    database = load_site(str(past.site.path)).database()
    assert database is not None
    asked = "SELECT run, shard, done, rows FROM shards ORDER BY shard"
    found = database.read(lambda connection: connection.execute(asked).fetchall())
    assert found == [(run.manifest.run_id, shard, True, 4) for shard in range(6)]
