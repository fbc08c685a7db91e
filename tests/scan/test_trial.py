"""Before a list is switched on one may count what it would match in a run: every row once, by everything that is known of it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from tests.stored import Earlier, earlier, md5_of, pdq_of
from tests.world import custodes, write_links

from custodes.config import Site
from custodes.errors import SourceError
from custodes.examine import Examiner
from custodes.ledger.rows import outcomes_table
from custodes.ledger.run import Found, RunDirectory, ShardCommit, shard_name
from custodes.lists.container import collect
from custodes.lists.matcher import Matcher
from custodes.lists.store import LoadedList, LoadedLists
from custodes.model import Entry, Kind, Meaning, Role
from custodes.scan import trial as module
from custodes.scan.run import ScanPlan, manifest_of, plan_scan
from custodes.scan.trial import Trial, trial
from custodes.sources.base import SourceOptions


@pytest.fixture
def past(tmp_path: Path) -> Earlier:
    return earlier(tmp_path, 4, 3)


def examiner(*entries: Entry, scheme: str = "iwf") -> Examiner:
    loaded = LoadedList("new", "", collect(entries)[0], scheme)
    return Examiner(Matcher(LoadedLists((loaded,))))


ENTRIES = (
    Entry(Kind.MD5, md5_of(0), "1", "A"),
    Entry(Kind.MD5, md5_of(0), "2", "B"),  # the same row twice
    Entry(Kind.PDQ, pdq_of(0, 3), "3", "A"),  # and once more, nearly
    Entry(Kind.MD5, md5_of(5), "4", "unheard of"),
    Entry(Kind.PDQ, pdq_of(11, 5), "5", "A", role=Role.NEGATIVE),
    Entry(Kind.MD5, bytes(16), "6", "A"),
)
EXPECTED = Trial(
    complete=True,
    rows=12,
    matched=3,
    exact=2,
    near=2,
    kinds={Kind.MD5: 2, Kind.PDQ: 2},
    roles={Role.CONFIRMED: 2, Role.NEGATIVE: 1},
    meanings={Meaning.CSAM: 1, Meaning.UNMAPPED: 1},
)


@pytest.mark.parametrize("together", [1, 3, 4, 1 << 17])
def test_however_many_shards_are_judged_together_each_row_counts_once(
    past: Earlier, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUERIES_AT_ONCE", together)
    assert trial(past.run, past.plan, examiner(*ENTRIES)) == EXPECTED


def test_nothing_is_written(past: Earlier) -> None:
    before = {path: path.stat().st_mtime_ns for path in past.run.path.rglob("*")}
    trial(past.run, past.plan, examiner(*ENTRIES))
    assert {path: path.stat().st_mtime_ns for path in past.run.path.rglob("*")} == before


def test_a_run_that_is_not_finished_says_so(past: Earlier) -> None:
    (past.run.path / shard_name(0, 0)).unlink()
    counted = trial(past.run, past.plan, examiner(*ENTRIES))
    assert (counted.complete, counted.rows, counted.matched) == (False, 9, 2)


def columns_run(home: Path, site: Site) -> tuple[RunDirectory, Path]:
    """A run with the pass over columns alone: three rows, of which one has no digest."""
    source = home / "columns"
    source.mkdir()
    digests = [md5_of(0).hex(), None, md5_of(5).hex()]
    write_links(source / "0.parquet", ["http://a.test/0", "http://a.test/1", "http://a.test/2"], md5=digests)
    settings = site.scan_settings(passes=("columns",))
    plan = plan_scan(str(source), SourceOptions(), settings)
    names = [str(recipient) for recipient in site.recipients()]
    scan = ScanPlan("columns", plan, settings, site.lists_used(), names, demo_authority=True, confinement="")
    run = RunDirectory.create(home / "columns-run", manifest_of(scan), site.run_key())
    run.commit(
        ShardCommit(
            shard=0,
            generation=0,
            table=outcomes_table(np.zeros(3, dtype=np.uint8)),
            coverage={"columns": 2},
            started=0.0,
            finished=0.0,
            bytes_fetched=0,
            sealed=b"sealed",
            found=Found(),
        )
    )
    return run, source


def test_the_datasets_own_digests_and_links_are_compared(past: Earlier, tmp_path: Path) -> None:
    run, source = columns_run(tmp_path, past.site)
    plan = plan_scan(str(source), SourceOptions(), past.site.scan_settings(passes=("columns",)))
    link = hashlib.md5(b"http://a.test/1").digest()
    counted = trial(run, plan, examiner(*ENTRIES, Entry(Kind.URL_RAW_MD5, link, "7", "A")))
    assert (counted.rows, counted.matched, counted.exact, counted.near) == (3, 3, 3, 0)
    assert counted.kinds == {Kind.MD5: 2, Kind.URL_RAW_MD5: 1}
    (source / "0.parquet").unlink()
    with pytest.raises(SourceError):
        trial(run, plan, examiner(*ENTRIES))


def test_a_dry_run_counts_and_changes_no_list(past: Earlier, tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    rows = [f"{e.kind},{e.value.hex()},{e.id},{e.category},{e.role}" for e in ENTRIES]
    path.write_text("\n".join(["kind,value,id,category,role", *rows, rows[0]]))
    command = ["lists", "import", path, "--list", "new", "--scheme", "iwf", "--dry-run", *past.config]
    done = custodes(*command, "--against", past.run.path, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["dry_run"], said["records"], said["skipped"]) == (True, 7, 1)
    assert said["skipped_reasons"] == {"repeat": 1}
    assert said["against"]["matched"] == EXPECTED.matched
    assert said["against"]["meanings"] == {"csam": 1, "unmapped": 1}
    assert "of 12 rows 3 match: 2 exactly, 2 nearly" in custodes(*command, "--against", past.run.path).stdout
    assert past.site.lists().ids() == ["other"]
