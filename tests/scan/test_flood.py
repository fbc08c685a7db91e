"""A list because of which too much of a shard would be reported has it held instead; nothing is lost, and other lists still report."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.world import make_site, write_links

from custodes.carrier.protocol import Carried
from custodes.config import Site
from custodes.handover.finding import Finding, open_bundle
from custodes.ledger.run import RunDirectory
from custodes.lists.container import Provenance
from custodes.lists.matcher import MatchSettings
from custodes.model import Action, Decision, Entry, Kind, Reason, Role, Signal
from custodes.policy import DEFAULT_POLICY
from custodes.scan import shard as module
from custodes.scan.flood import FLOOD_RULE, flooding_lists, held_back
from custodes.scan.html import render
from custodes.scan.report import report_of
from custodes.scan.run import ScanPlan, manifest_of, plan_scan
from custodes.scan.shard import ShardJob, ShardTools, process_shard
from custodes.scan.summary import summary
from custodes.sources.base import SourceOptions

POLICY = DEFAULT_POLICY


def decided(*said: tuple[str, Kind, Role]) -> Decision:
    return POLICY.decide([Signal(name, "1-x", "e", kind, "", "", role) for name, kind, role in said])


CONFIRMED, NEGATIVE = Role.CONFIRMED, Role.NEGATIVE
BY_A = decided(("a", Kind.MD5, CONFIRMED))
NEAR_A = decided(("a", Kind.PDQ, CONFIRMED))
BY_B = decided(("b", Kind.MD5, CONFIRMED))
BY_BOTH = decided(("a", Kind.MD5, CONFIRMED), ("b", Kind.PDQ, CONFIRMED))
SEED_A = decided(("a", Kind.MD5, Role.SEED))
DISMISSED_B = decided(("a", Kind.MD5, CONFIRMED), ("b", Kind.PDQ, CONFIRMED), ("c", Kind.SHA1, NEGATIVE))

LIMITS = {"a": MatchSettings(flood_rows_min=4, flood_share_max=0.5)}
FLOODS = {
    "as many rows as the share allows": ([BY_A] * 4, 8, set()),
    "one row more than the share allows": ([BY_A] * 5, 8 + 1, {"a"}),
    "fewer rows than ever count": ([BY_A] * 3, 3, set()),
    "just enough rows to count": ([BY_A] * 4, 4, {"a"}),
    "exact and near together": ([BY_A, BY_A, NEAR_A, NEAR_A], 4, {"a"}),
    "rows that another list reports too": ([BY_BOTH] * 4, 4, {"a"}),
    "a list with limits that are not reached": ([BY_B] * 999, 999, set()),
    "a list with the default limits": ([BY_B] * 1_000, 1_999, {"b"}),
    "a list with the default limits, half of the rows": ([BY_B] * 1_000, 2_000, set()),
    "seeds, which report nothing": ([SEED_A] * 9, 9, set()),
    "near matches that dismissed bytes excuse": ([DISMISSED_B] * 9, 9, {"a"}),
    "no decision": ([], 9, set()),
}


@pytest.mark.parametrize(("decisions", "rows", "lists"), FLOODS.values(), ids=FLOODS)
def test_which_lists_flood(decisions: list[Decision], rows: int, lists: set[str]) -> None:
    assert flooding_lists(decisions, rows, POLICY, LIMITS) == lists
    assert flooding_lists(decisions[::-1], rows, POLICY, LIMITS) == lists


def test_a_share_of_one_is_no_limit() -> None:
    assert flooding_lists([BY_A] * 99, 99, POLICY, {"a": MatchSettings(flood_rows_min=1, flood_share_max=1.0)}) == set()


HELD = {
    "a report that rests on the list alone": (BY_A, {"a"}, Action.HOLD, FLOOD_RULE),
    "a near one": (NEAR_A, {"a"}, Action.HOLD, FLOOD_RULE),
    "a report that another list makes too": (BY_BOTH, {"a"}, Action.REPORT, "exact-confirmed"),
    "a report of two lists that both flood": (BY_BOTH, {"a", "b"}, Action.HOLD, FLOOD_RULE),
    "a report that another list would make, were it not dismissed": (DISMISSED_B, {"a"}, Action.HOLD, FLOOD_RULE),
    "a report of another list": (BY_B, {"a"}, Action.REPORT, "exact-confirmed"),
    "nothing to report": (SEED_A, {"a"}, Action.NONE, "seed-only"),
    "no list that floods": (BY_A, set(), Action.REPORT, "exact-confirmed"),
}


@pytest.mark.parametrize(("decision", "lists", "action", "rule"), HELD.values(), ids=HELD)
def test_what_is_held(decision: Decision, lists: set[str], action: Action, rule: str) -> None:
    after = held_back(decision, lists, POLICY)
    assert (after.action, after.rule, after.signals) == (action, rule, decision.signals)


# -- whole shards


class Answers:
    """A carrier that answers each link as the test says."""

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}

    def fetch(self, links: Sequence[tuple[int, str]]) -> Iterator[Carried]:
        for row, url in links:
            if (data := self.data.get(url)) is None:
                yield Carried(batch=0, key=row, reason=Reason.DNS)
            else:
                digests = {name: hashlib.new(name, data).digest() for name in ("md5", "sha1", "sha256")}
                yield Carried(batch=0, key=row, reason=Reason.BROKEN, size_bytes=len(data), **digests)


def content(row: int) -> bytes:
    return f"umbrella {row}".encode()


def tools_for(home: Path, rows: int, lists: Mapping[str, Sequence[int]], passes: tuple[str, ...]) -> ShardTools:
    """A scan of ``rows`` links, and lists that know the content of some of them."""
    site: Site = make_site(home / "site")
    for name, known in lists.items():
        entries = [Entry(Kind.MD5, hashlib.md5(content(row)).digest(), f"e{row}") for row in known]
        site.lists().import_entries(name, entries, Provenance(source="test"))
    md5 = [hashlib.md5(content(row)).hexdigest() for row in range(rows)]
    links = write_links(home / "links.parquet", [f"http://a.test/{row}" for row in range(rows)], md5=md5)
    settings = site.scan_settings(passes=passes, match={"a": MatchSettings(flood_rows_min=4, flood_share_max=0.5)})
    plan = plan_scan(str(links), SourceOptions(), settings)
    used, recipients = site.lists_used(), site.recipients()
    names = [str(recipient) for recipient in recipients]
    scan = ScanPlan("links", plan, settings, used, names, demo_authority=True, confinement="")
    run = RunDirectory.create(home / "run", manifest_of(scan), site.run_key())
    carrier: Any = Answers()
    return ShardTools(run, plan, settings, site.examiner(used), carrier, recipients, site.run_key())


def findings(home: Path, tools: ShardTools) -> dict[int, Finding]:
    identity = (home / "site" / "demo-authority.key").read_text()
    opened = [open_bundle(path.read_bytes(), identity)[1] for path in tools.run.sealed_files()]
    return {finding.row: finding for each in opened for finding in each}


def test_a_flood_is_sealed_as_held_and_the_report_says_which_list(tmp_path: Path) -> None:
    tools = tools_for(tmp_path, 8, {"a": range(5), "b": [4, 7]}, ("columns",))
    assert process_shard(ShardJob(0), tools).findings == 6, "nothing is lost"
    said = {row: (finding.decision, finding.rule) for row, finding in findings(tmp_path, tools).items()}
    reported = ("report", "exact-confirmed")
    assert said == {**dict.fromkeys(range(4), ("hold", FLOOD_RULE)), 4: reported, 7: reported}
    counts = tools.run.counts()
    assert (counts.by_rule, counts.by_list, counts.flooded) == (
        {FLOOD_RULE: 4, "exact-confirmed": 2},
        {"a": 5, "b": 2},
        {"a": 4},
    )
    report = report_of(tools.run)
    assert report.findings_flooded == {"a": 4}
    for text in (summary(report), render(report)):
        assert "List a matched too much: 4 rows held" in text


def test_at_the_limit_everything_is_reported_and_nothing_is_said(tmp_path: Path) -> None:
    tools = tools_for(tmp_path, 8, {"a": range(4)}, ("columns",))
    process_shard(ShardJob(0), tools)
    assert tools.run.counts().by_rule == {"exact-confirmed": 4}
    assert tools.run.counts().flooded == {}
    assert "matched too much" not in summary(report_of(tools.run))


def test_a_retry_counts_what_earlier_generations_found(tmp_path: Path) -> None:
    tools = tools_for(tmp_path, 6, {"a": range(6)}, ("bytes",))
    carrier: Any = tools.carrier
    carrier.data = {f"http://a.test/{row}": content(row) for row in range(3)}
    process_shard(ShardJob(0), tools)
    assert tools.run.counts().by_rule == {"exact-confirmed": 3}
    carrier.data |= {f"http://a.test/{row}": content(row) for row in range(3, 6)}
    process_shard(ShardJob(0, 1, (Reason.DNS,)), tools)
    counts = tools.run.counts()
    assert (counts.by_rule, counts.flooded) == ({"exact-confirmed": 3, FLOOD_RULE: 3}, {"a": 3})


def test_planted_fault_without_the_guard_the_flood_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "flooding_lists", lambda *_: frozenset())
    tools = tools_for(tmp_path, 8, {"a": range(5)}, ("columns",))
    process_shard(ShardJob(0), tools)
    assert tools.run.counts().by_rule == {"exact-confirmed": 5}
