"""A shard of a scan for similar photos: its suspects, fetched if that was asked for, matched by digest, and sealed.

A scan for similar photos is a run of its own inside the run that it goes back to, as a rematch is: the same kind of manifest, commits and sealed findings. Its
shard files repeat the outcomes of that run, so that they name no suspect. What a fetched suspect turns out to be is in the sealed findings alone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec

from custodes.carrier.protocol import Carried
from custodes.handover.finding import Finding, seal_bundle
from custodes.ledger.rows import RowsBuilder
from custodes.ledger.run import RunDirectory, ShardCommit
from custodes.model import Action, Decision, Kind, Role, Signal
from custodes.scan.shard import (
    ShardJob,
    ShardReport,
    ShardTools,
    ShardWork,
    count_found,
    finished_rows,
    header,
    make_finding,
    refused_link,
    settle,
    stored_evidence,
    take_all,
)
from custodes.scan.similar_runs import SIMILAR_RULE
from custodes.sources.base import RowDetails
from custodes.sources.source import row_details

__all__ = ["opened", "process_suspects", "suspects_found"]


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """What the suspects of a shard turned out to be: the columns of a shard file by row, and where redirects led."""

    rows: dict[int, dict[str, Any]]
    final_urls: dict[int, str]


def process_suspects(job: ShardJob, tools: ShardTools, parent: RunDirectory) -> ShardReport:
    """Work the suspects of a shard and commit it."""
    started = time.time()
    work, before = opened(job, tools, parent)
    findings = suspects_found(work, tools)
    committed = tools.run.commit(
        ShardCommit(
            shard=job.shard,
            generation=job.generation,
            table=before.select(["reason"]),
            coverage={"similar": job.scored},
            started=started,
            finished=time.time(),
            bytes_fetched=0,  # it would say which shards have suspects
            sealed=seal_bundle(header(job, tools, len(findings)), findings, tools.recipients),
            found=count_found(work, findings),
            fence=job.fence,
        )
    )
    return ShardReport(job.shard, job.generation, committed.rows, committed.reasons, len(findings))


def opened(job: ShardJob, tools: ShardTools, parent: RunDirectory) -> tuple[ShardWork, Any]:
    """The shard as the run before left it, and its table."""
    record = parent.latest_of(job.shard)
    assert record is not None
    table = parent.rows(record)
    return ShardWork(job, tools.plan.shards[job.shard], rows=RowsBuilder.from_table(table)), table


def suspects_found(work: ShardWork, tools: ShardTools) -> list[Finding]:
    """The suspects of a shard as they are handed over: fetched if they are to be, and were not yet."""
    rows = sorted(suspect.row for suspect in work.job.suspects)
    details = row_details(tools.plan, work.spec, rows) if rows else []
    if "bytes" in tools.run.manifest.passes:
        fetch(work, tools, details)
    return findings_of(work, tools, details)


def fetch(work: ShardWork, tools: ShardTools, details: Sequence[RowDetails]) -> None:
    """What was fetched is kept under the run key, and not fetched again. Shards without suspects have such a file too."""
    name = f"fetched/{work.job.shard:08d}"
    assert work.rows is not None
    if (data := tools.run.kept(name)) is None:
        carry(work, tools, details)
        table = finished_rows(work)
        rows = {each.row: table.slice(each.row, 1).to_pylist()[0] for each in details}
        data = msgspec.msgpack.encode(Fetched(rows=rows, final_urls=work.final_urls))
        tools.run.keep(name, data)
    fetched = msgspec.msgpack.decode(data, type=Fetched)
    for row, values in fetched.rows.items():
        work.rows.set(row, **values)
    work.final_urls |= fetched.final_urls
    work.by_bytes = tools.examiner.judge(stored_evidence(finished_rows(work), tools.examiner.kinds))


def carry(work: ShardWork, tools: ShardTools, details: Sequence[RowDetails]) -> None:
    """Fetch the suspects, or read them out of their shard."""
    wanted = {each.row for each in details}
    if tools.plan.holds_images:
        answers = (each for each in tools.carrier.read_shard(tools.plan, work.spec) if each.key in wanted)
        take_all(work, tools, answers)
        return
    links = []
    for each in details:
        if (refused := refused_link(each.url)) is not None:
            settle(work, tools, Carried(batch=0, key=each.row, reason=refused))
        else:
            links.append((each.row, str(each.url)))
    take_all(work, tools, tools.carrier.fetch(links))


def findings_of(work: ShardWork, tools: ShardTools, details: Sequence[RowDetails]) -> list[Finding]:
    """What is handed over: a suspect, or what its digests say that it is. One that an authority dismissed, byte for byte, is neither."""
    table = finished_rows(work)
    suspicions = {suspect.row: suspect.suspicion for suspect in work.job.suspects}
    found = []
    for each in details:
        decision = work.by_bytes.get(each.row, Decision(Action.NONE, "no-signal"))
        if decision.action is Action.NONE and any(dismisses(signal) for signal in decision.signals):
            continue
        if decision.action is Action.NONE:
            decision = Decision(Action.HOLD, SIMILAR_RULE, decision.signals)
        finding = make_finding(work, tools, (each.row, decision, each), table)
        passes = ("similar", *(("bytes",) if "bytes" in tools.run.manifest.passes else ()))
        found.append(msgspec.structs.replace(finding, passes=passes, suspicion=suspicions[each.row]))
    return found


def dismisses(signal: Signal) -> bool:
    """Whether an authority said of these very bytes that they are nothing."""
    return signal.role is Role.NEGATIVE and signal.kind in (Kind.MD5, Kind.SHA1, Kind.SHA256)
