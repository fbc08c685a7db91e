"""Fetch once, rematch for ever: the digests of an earlier run against the lists of today, without one fetch.

A rematch is a run of its own inside the run that it goes back to, with the same kind of manifest, commits and sealed findings. It reads
stored digests, and the dataset's own columns where the earlier run had that pass; the dataset must still be where it was, because the
run directory keeps no URL and a finding without one helps nobody. Shards are judged together, because a search among many entries costs
each digest the less the more there are, and committed one by one.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from custodes.errors import CustodesError
from custodes.examine import Evidence
from custodes.handover.finding import seal_bundle
from custodes.ledger.manifest import ListUsed, Manifest, make_manifest
from custodes.ledger.run import RunDirectory, ShardCommit, ShardRecord
from custodes.ledger.store import Store
from custodes.lists.matcher import QUERIES_AT_ONCE
from custodes.scan.settings import JUDGING, ScanSettings, without_pace
from custodes.scan.shard import (
    ShardJob,
    ShardReport,
    ShardTools,
    ShardWork,
    count_found,
    findings_of,
    header,
    judge_columns,
    stored_evidence,
)

__all__ = ["rematch_manifest", "rematch_shards", "rematch_slots", "rematch_store"]

ROWS_TOGETHER: Final = QUERIES_AT_ONCE
"""Stored rows (codes, where a row has several) from which on no further shard joins a group: what the matcher searches at once."""

SLOTS_MAX: Final = 256


def rematch_manifest(
    parent: RunDirectory, lists: Sequence[ListUsed], recipients: Sequence[str], settings: ScanSettings, *, demo: bool
) -> Manifest:
    """The manifest of a rematch: the parent's input, passes and settings with other lists, judged as ``settings`` say."""
    old, new = parent.manifest, without_pace(settings)
    return make_manifest(
        dataset=old.dataset,
        passes=old.passes,
        lists=list(lists),
        settings=old.settings | {name: new[name] for name in JUDGING},
        recipients=sorted(recipients),
        demo_authority=demo,
        unsafe=old.unsafe,
        confinement=old.confinement,
        input=old.input,
        plan=old.plan,
        parent=old.fingerprint,
    )


def rematch_store(parent: RunDirectory, manifest: Manifest) -> Store:
    """Where a rematch lies: named by what it is, so that the same one goes on where it stopped."""
    return parent.store.inner(f"rematch/{manifest.fingerprint[:16]}")


def rematch_slots(rows: int, shards: int) -> int:
    """Shards that a worker needs in hand to judge as many rows together as pays, of so many in all. Negative rows: not known."""
    shard_rows = max(rows // shards, 1)
    return min(-(-ROWS_TOGETHER // shard_rows), SLOTS_MAX)


@dataclass
class Stored:
    """A shard of the earlier run, read back."""

    work: ShardWork
    started: float
    record: ShardRecord
    table: Any
    evidence: Evidence

    @property
    def codes(self) -> int:
        """Stored rows, or codes where there are more of them: what judging it takes."""
        return max(int(self.table.num_rows), *(len(column[0]) for column in self.evidence.columns.values()), 0)


def rematch_shards(
    jobs: Iterable[ShardJob], tools: ShardTools, parent: RunDirectory
) -> Iterator[tuple[ShardJob, ShardReport | CustodesError]]:
    """Judge stored digests (and the dataset's columns) again, and commit each shard: says of each job at once what became of it."""
    group: list[Stored] = []
    for job in jobs:
        try:
            group.append(read_back(job, tools, parent))
        except CustodesError as error:
            yield job, error
        if sum(stored.codes for stored in group) >= ROWS_TOGETHER:
            yield from rematch_group(group, tools)
            group = []
    yield from rematch_group(group, tools)


def read_back(job: ShardJob, tools: ShardTools, parent: RunDirectory) -> Stored:
    """A shard's rows as they were committed, and what the dataset's columns say of them today."""
    started = time.time()
    record = parent.latest_of(job.shard)
    assert record is not None
    table = parent.rows(record)
    work = ShardWork(job, tools.plan.shards[job.shard])
    judge_columns(work, tools, with_urls=False)
    work.coverage["bytes"] = record.coverage.get("bytes", 0)
    return Stored(work, started, record, table, stored_evidence(table, tools.examiner.kinds))


def rematch_group(group: Sequence[Stored], tools: ShardTools) -> Iterator[tuple[ShardJob, ShardReport | CustodesError]]:
    """One search for all of them, then a commit for each."""
    judge_together(group, tools)
    for stored in group:
        try:
            yield stored.work.job, commit(stored, tools)
        except CustodesError as error:
            yield stored.work.job, error


def judge_together(group: Sequence[Stored], tools: ShardTools) -> None:
    """The decisions on all stored digests, each given to its shard."""
    firsts = [0]
    for stored in group:
        firsts.append(firsts[-1] + stored.table.num_rows)
    evidence = Evidence.together([(first, stored.evidence) for first, stored in zip(firsts, group, strict=False)])
    for item, decision in tools.examiner.judge(evidence).items():
        number = bisect_right(firsts, item) - 1
        group[number].work.by_bytes[item - firsts[number]] = decision


def commit(stored: Stored, tools: ShardTools) -> ShardReport:
    """Seal the findings of a judged shard and commit it."""
    work, job = stored.work, stored.work.job
    findings = findings_of(work, tools, stored.table)
    committed = tools.run.commit(
        ShardCommit(
            shard=job.shard,
            generation=job.generation,
            table=stored.table.select(["reason"]),
            coverage=work.coverage,
            started=stored.started,
            finished=time.time(),
            bytes_fetched=0,
            sealed=seal_bundle(header(job, tools, len(findings)), findings, tools.recipients),
            found=count_found(work, findings),
            fence=job.fence,
        )
    )
    return ShardReport(job.shard, job.generation, committed.rows, committed.reasons, len(findings))
