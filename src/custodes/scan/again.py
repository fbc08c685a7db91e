"""The findings of a run once more, in memory: from stored digests, the dataset and the lists of then. What was sealed cannot be opened here, and need not be.

Promises the same findings under the same names as were sealed, less where redirects led. It needs what a rematch needs, and the lists in the versions of the
run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from custodes.handover.finding import Finding
from custodes.ledger.run import RunDirectory, ShardRecord
from custodes.scan.rematch import judge_together, read_back
from custodes.scan.shard import ShardJob, ShardTools, ShardWork, findings_of, iso, judge_columns, stored_evidence
from custodes.scan.similar_runs import selection_of, with_suspects
from custodes.scan.suspects import opened, suspects_found

__all__ = ["findings_again"]


def findings_again(tools: ShardTools, parent: RunDirectory | None) -> Iterator[Finding]:
    """Shard by shard, those of the newest generation. ``parent``: of a rematch, or of a scan for similar photos."""
    chosen = selection_of(tools.run) if "similar" in tools.run.manifest.passes else None
    for shard, record in sorted(tools.run.latest().items()):
        job = with_suspects(ShardJob(shard), chosen) if chosen else ShardJob(shard)
        for finding in _findings(job, tools, parent, record):
            yield msgspec.structs.replace(finding, found_at=iso(record.finished))


def _findings(job: ShardJob, tools: ShardTools, parent: RunDirectory | None, record: ShardRecord) -> Sequence[Finding]:
    if parent is None:
        return _of_scan(job, tools, record)
    if tools.settings.similar is not None:
        return suspects_found(opened(job, tools, parent)[0], tools)
    stored = read_back(job, tools, parent)
    judge_together([stored], tools)
    return findings_of(stored.work, tools, stored.table)


def _of_scan(job: ShardJob, tools: ShardTools, record: ShardRecord) -> Sequence[Finding]:
    table = tools.run.rows(record)
    work = ShardWork(job, tools.plan.shards[job.shard])
    judge_columns(work, tools, with_urls=False)
    work.by_bytes = tools.examiner.judge(stored_evidence(table, tools.examiner.kinds))
    return findings_of(work, tools, table)
