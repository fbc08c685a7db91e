"""Shards that are judged together: each gets its own findings and its own end, and a deadly one is found out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.stored import Earlier, earlier
from tests.world import custodes

from custodes.config import load_site
from custodes.errors import CustodesError, SourceError, StorageError
from custodes.ledger.run import RunDirectory, shard_name
from custodes.lists.matcher import MatchSettings
from custodes.pdq import FORMS
from custodes.scan import rematch as module
from custodes.scan.rematch import rematch_manifest, rematch_shards, rematch_slots, rematch_store
from custodes.scan.shard import ShardJob, ShardReport, ShardTools

PLANTED = Path(__file__).parent / "planted"
SHARDS, ROWS = 4, 3
KNOWN = {0, 2, 3, 7, 8, 11}  # first and last of all, both sides of a border between shards, two of one shard


@pytest.fixture
def past(tmp_path: Path) -> Earlier:
    made = earlier(tmp_path, SHARDS, ROWS)
    made.know(md5=[0, 3, 8], pdq={2: 0, 7: 5, 11: 3})
    return made


def tools_for(past: Earlier) -> ShardTools:
    """A rematch of the run against all lists, in this process."""
    site, carrier = past.site, None  # nothing is fetched
    used, recipients = site.lists_used(), site.recipients()
    settings = site.scan_settings(passes=("bytes",))
    manifest = rematch_manifest(past.run, used, [str(each) for each in recipients], settings, demo=True)
    run = RunDirectory.create(rematch_store(past.run, manifest), manifest, site.run_key())
    unused: Any = carrier
    return ShardTools(run, past.plan, settings, site.examiner(used), unused, recipients, site.run_key())


def ended(past: Earlier, tools: ShardTools) -> dict[int, ShardReport | CustodesError]:
    jobs = [ShardJob(shard) for shard in range(SHARDS)]
    said = list(rematch_shards(jobs, tools, past.run))
    assert sorted(job.shard for job, _ in said) == list(range(SHARDS)), "each job is told of once"
    return {job.shard: became for job, became in said}


def found(past: Earlier, run: RunDirectory) -> list[int]:
    """Rows of the dataset, counted over all its files."""
    return sorted(int(finding.url.rpartition("/")[2]) for finding in past.findings(run))


@pytest.mark.parametrize("together", [1, ROWS, ROWS + 1, 1 << 17])
def test_however_many_are_judged_together_each_shard_gets_its_own_findings(
    past: Earlier, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROWS_TOGETHER", together)
    tools = tools_for(past)
    reports = [became for _, became in sorted(ended(past, tools).items())]
    assert [(r.rows, r.findings) for r in reports if isinstance(r, ShardReport)] == [(3, 2), (3, 1), (3, 2), (3, 1)]
    assert found(past, tools.run) == sorted(KNOWN)
    forms = {f.matches[0].entry: f.matches[0].form for f in past.findings(tools.run) if f.matches[0].kind == "pdq"}
    assert forms == {"pdq-2": FORMS[0], "pdq-7": FORMS[5], "pdq-11": FORMS[3]}
    counts = tools.run.counts()
    assert (counts.rows, counts.findings, counts.coverage) == (12, 6, {"bytes": 12})


def test_a_rematch_judges_by_the_policy_of_today_and_is_named_by_it(past: Earlier) -> None:
    first = tools_for(past)
    held = {"known": MatchSettings(flood_rows_min=2, flood_share_max=0.5)}
    config = past.site.path
    config.write_text(f"{config.read_text()}\n[match.known]\nflood_rows_min = 2\n[policy]\njurisdiction = 'uk'\n")
    today = tools_for(replace(past, site=load_site(str(config))))
    assert today.run.path != first.run.path
    assert today.run.manifest.settings["policy"]["jurisdiction"] == "uk"
    assert (
        today.run.manifest.settings["fetch"]
        == first.run.manifest.settings["fetch"]
        == past.run.manifest.settings["fetch"]
    )
    assert today.settings.match == held
    ended(past, today)
    assert found(past, today.run) == sorted(KNOWN), "nothing is lost"
    counts = today.run.counts()
    assert (counts.by_rule["flood-guard"], counts.flooded) == (4, {"known": 4}), (
        "of shards of three rows those with two"
    )


def test_a_shard_whose_file_is_gone_spoils_no_other(past: Earlier, tmp_path: Path) -> None:
    (tmp_path / "dataset" / "002.parquet").unlink()
    tools = tools_for(past)
    became = ended(past, tools)
    assert isinstance(became[2], SourceError)
    assert found(past, tools.run) == [0, 2, 3, 11]
    assert sorted(tools.run.latest()) == [0, 1, 3]


def test_a_stored_shard_that_is_damaged_spoils_no_other(past: Earlier) -> None:
    path = past.run.path / shard_name(1, 0)
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    tools = tools_for(past)
    became = ended(past, tools)
    assert isinstance(became[1], StorageError)
    assert sorted(tools.run.latest()) == [0, 2, 3]


@pytest.mark.parametrize(
    ("rows", "shards", "slots"),
    [
        (1_000_000, 1_000, 132),  # as a scan of links cuts them
        (12, 4, 256),  # tiny ones: as many as are ever in hand
        (131_072, 1, 1),
        (5_000_000, 20, 1),  # row groups, each enough for itself
        (-1, 7, 256),  # compressed tars, which do not say
    ],
)
def test_a_worker_holds_as_many_shards_as_pay_together(rows: int, shards: int, slots: int) -> None:
    assert rematch_slots(rows, shards) == slots


def test_a_stored_shard_that_ends_its_workers_takes_no_neighbour_with_it(past: Earlier) -> None:
    command = ["rematch", past.run.path, *past.config, "--workers", "2", "--quiet", "--json"]
    done = custodes(*command, env={"PYTHONPATH": str(PLANTED / "deadly_shard")})
    assert done.returncode == 3, done.stderr
    assert "shard 1 ended 3 workers" in done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert (answer["complete"], answer["shards"], answer["rows"]) == (False, 3, 9)
    healed = json.loads(custodes(*command).stdout.splitlines()[-1])
    assert (healed["complete"], healed["rows"], healed["findings"]) == (True, 12, 6)


def test_workers_are_given_the_lists_and_never_open_them(past: Earlier) -> None:
    command = ["rematch", past.run.path, *past.config, "--workers", "2", "--quiet", "--json"]
    done = custodes(*command, env={"PYTHONPATH": str(PLANTED / "no_lists_key")})
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["findings"] == 6
