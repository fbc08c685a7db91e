"""A shard worked in this process, with a carrier that answers from a table: the rules of outcomes, without a network."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.world import make_site, write_links

from custodes.carrier.protocol import Carried
from custodes.errors import InternalError
from custodes.handover.finding import open_bundle
from custodes.ledger.run import RunDirectory
from custodes.lists.container import Provenance
from custodes.model import Entry, Kind, Reason, Role
from custodes.scan.pool import Inline
from custodes.scan.run import ScanPlan, manifest_of, plan_scan, run_jobs
from custodes.scan.settings import ScanSettings
from custodes.scan.shard import ShardJob, ShardTools, process_shard
from custodes.scan.supply import Listed
from custodes.sources.base import SourceOptions

SEEN, REMEMBERED = b"umbrella as it is now", b"umbrella as it was"


class Scripted:
    """A carrier that answers each link as the test says."""

    def __init__(self, answers: dict[str, Carried]) -> None:
        self.answers = answers

    def fetch(self, links: Sequence[tuple[int, str]]) -> Iterator[Carried]:
        for row, url in links:
            yield replaced(self.answers[url], key=row)


def replaced(carried: Carried, **changed: Any) -> Carried:
    return Carried(**({name: getattr(carried, name) for name in carried.__struct_fields__} | changed))


def bytes_seen(data: bytes, reason: Reason = Reason.BROKEN) -> Carried:
    digests = {name: hashlib.new(name, data).digest() for name in ("md5", "sha1", "sha256")}
    return Carried(batch=0, key=0, reason=reason, status=200, size_bytes=len(data), **digests)


def tools_for(tmp_path: Path, entries: list[Entry], answers: dict[str, Carried]) -> ShardTools:
    site = make_site(tmp_path / "site")
    site.lists().import_entries("a", entries, Provenance())
    md5 = [hashlib.md5(REMEMBERED).hexdigest(), None, "no digest at all"]
    links = write_links(tmp_path / "links.parquet", ["http://a.test/", "http://b.test/", None], md5=md5)
    settings = ScanSettings(unsafe_allow_loopback=True)
    plan = plan_scan(str(links), SourceOptions(), settings)
    used = site.lists_used()
    recipients = site.recipients()
    names = [str(recipient) for recipient in recipients]
    manifest = manifest_of(ScanPlan("links", plan, settings, used, names, demo_authority=True, confinement=""))
    run = RunDirectory.create(tmp_path / "run", manifest, site.run_key())
    carrier: Any = Scripted(answers)
    return ShardTools(run, plan, settings, site.examiner(used), carrier, recipients, site.run_key())


def entry(data: bytes, role: Role = Role.CONFIRMED) -> Entry:
    return Entry(Kind.MD5, hashlib.md5(data).digest(), "1", role=role)


def test_bytes_that_do_not_decode_are_still_compared_exactly(tmp_path: Path) -> None:
    answers = {"http://a.test/": bytes_seen(SEEN), "http://b.test/": Carried(batch=0, key=0, reason=Reason.DNS)}
    tools = tools_for(tmp_path, [entry(SEEN)], answers)
    result = run_jobs(Inline(lambda job: process_shard(job, tools)), Listed([ShardJob(0)]))
    assert result.committed == 1
    counts = tools.run.counts()
    assert counts.reasons == {Reason.BROKEN: 1, Reason.DNS: 1, Reason.NO_URL: 1}
    assert counts.findings == 1


def test_a_dead_link_is_judged_by_what_the_dataset_remembers(tmp_path: Path) -> None:
    dead = Carried(batch=0, key=0, reason=Reason.HTTP_404)
    tools = tools_for(tmp_path, [entry(REMEMBERED)], {"http://a.test/": dead, "http://b.test/": dead})
    report = process_shard(ShardJob(0), tools)
    assert report.findings == 1
    assert tools.run.counts().coverage == {"bytes": 0, "columns": 1}


def test_a_remembered_negative_excuses_nothing_of_the_bytes_seen(tmp_path: Path) -> None:
    answers = {"http://a.test/": bytes_seen(SEEN), "http://b.test/": Carried(batch=0, key=0, reason=Reason.DNS)}
    tools = tools_for(tmp_path, [entry(SEEN), entry(REMEMBERED, Role.NEGATIVE)], answers)
    assert process_shard(ShardJob(0), tools).findings == 1


def test_only_a_confirmed_match_says_what_the_image_is(tmp_path: Path) -> None:
    answers = {"http://a.test/": bytes_seen(SEEN), "http://b.test/": Carried(batch=0, key=0, reason=Reason.DNS)}
    tools = tools_for(tmp_path, [entry(SEEN), entry(SEEN, Role.NEGATIVE), entry(SEEN, Role.SEED)], answers)
    process_shard(ShardJob(0), tools)
    (path,) = tools.run.sealed_files()
    identity = (tmp_path / "site" / "demo-authority.key").read_text()
    (finding,) = open_bundle(path.read_bytes(), identity)[1]
    assert finding.rule == "exact-confirmed-despite-negative"
    assert sorted(match.meaning for match in finding.matches) == ["", "", "csam"]


def test_a_shard_whose_carrier_forgets_a_row_is_not_done(tmp_path: Path) -> None:
    class Forgetful(Scripted):
        def fetch(self, links: Sequence[tuple[int, str]]) -> Iterator[Carried]:
            return list(super().fetch(links))[:-1].__iter__()

    dead = Carried(batch=0, key=0, reason=Reason.HTTP_404)
    tools = tools_for(tmp_path, [entry(SEEN)], {"http://a.test/": dead, "http://b.test/": dead})
    forgetful: Any = Forgetful(tools.carrier.answers)  # type: ignore[attr-defined]
    poor = ShardTools(**({name: getattr(tools, name) for name in tools.__dataclass_fields__} | {"carrier": forgetful}))
    with pytest.raises(InternalError, match="3 rows but 2 outcomes"):
        process_shard(ShardJob(0), poor)
    assert tools.run.latest() == {}
