"""Fetch once, rematch for ever: the digests of an earlier run against the lists of today, without one fetch.

A rematch is a run of its own inside the run that it goes back to, with the same kind of manifest, commits and sealed findings. It reads
stored digests, and the dataset's own columns where the earlier run had that pass; the dataset must still be where it was, because the
run directory keeps no URL and a finding without one helps nobody.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from custodes.handover.finding import seal_bundle
from custodes.ledger.manifest import ListUsed, Manifest, make_manifest
from custodes.ledger.run import RunDirectory, ShardCommit
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

__all__ = ["rematch_manifest", "rematch_path", "rematch_shard"]


def rematch_manifest(
    parent: RunDirectory, lists: Sequence[ListUsed], recipients: Sequence[str], *, demo: bool
) -> Manifest:
    """The manifest of a rematch: the parent's input, passes and settings with other lists."""
    old = parent.manifest
    return make_manifest(
        dataset=old.dataset,
        passes=old.passes,
        lists=list(lists),
        settings=old.settings,
        recipients=sorted(recipients),
        demo_authority=demo,
        unsafe=old.unsafe,
        confinement=old.confinement,
        input=old.input,
        plan=old.plan,
        parent=old.fingerprint,
    )


def rematch_path(parent: Path, manifest: Manifest) -> Path:
    """Where a rematch lies: named by what it is, so that the same one goes on where it stopped."""
    return parent / "rematch" / manifest.fingerprint[:16]


def rematch_shard(job: ShardJob, tools: ShardTools, parent: RunDirectory) -> ShardReport:
    """Judge the stored digests of a shard (and the dataset's columns) again, and commit the result."""
    started = time.time()
    record = parent.latest_of(job.shard)
    assert record is not None
    table = parent.rows(record)
    work = ShardWork(job, tools.plan.shards[job.shard])
    judge_columns(work, tools)
    work.by_bytes = tools.examiner.judge(stored_evidence(table))
    work.coverage["bytes"] = record.coverage.get("bytes", 0)
    findings = findings_of(work, tools, table)
    committed = tools.run.commit(
        ShardCommit(
            shard=job.shard,
            generation=job.generation,
            table=table.select(["reason"]),
            coverage=work.coverage,
            started=started,
            finished=time.time(),
            bytes_fetched=0,
            sealed=seal_bundle(header(job, tools, len(findings)), findings, tools.recipients),
            found=count_found(work, findings),
        )
    )
    return ShardReport(job.shard, job.generation, committed.rows, committed.reasons, len(findings))
