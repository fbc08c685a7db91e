"""A whole scan: plan, manifest, jobs, events, result. Started again on the same directory it goes on where it stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from custodes.errors import ConfigError, InputError, SourceError
from custodes.ledger.manifest import ListUsed, Manifest, make_manifest
from custodes.ledger.run import ShardRecord
from custodes.model import REASONS, OutcomeName, Reason
from custodes.scan.pool import Event, Executor, Failure
from custodes.scan.settings import ScanSettings, without_pace
from custodes.scan.shard import ShardJob
from custodes.scan.supply import Supply
from custodes.sources.base import Plan, ShardSpec, SourceOptions
from custodes.sources.source import plan as plan_source

__all__ = ["ScanPlan", "ScanResult", "jobs_to_do", "manifest_of", "plan_of", "plan_scan", "retry_reasons", "run_jobs"]

ROWS_PER_FETCH_SHARD = 1_000
ROWS_PER_COLUMN_SHARD = 1_000_000


@dataclass(frozen=True)
class ScanPlan:
    """What is to be scanned, with what, for whom."""

    dataset: str
    plan: Plan
    settings: ScanSettings
    lists: Sequence[ListUsed]
    recipients: Sequence[str]
    demo_authority: bool
    confinement: str


@dataclass
class ScanResult:
    """How the jobs went."""

    committed: int = 0
    failures: list[Failure] = field(default_factory=list)
    seconds: float = 0.0


def plan_scan(source: str, options: SourceOptions, settings: ScanSettings) -> Plan:
    """Plan a source for these settings: shards of a size that suits the passes, cut off after ``limit`` rows."""
    fetches = "bytes" in settings.passes
    sized = msgspec.structs.replace(
        options,
        shard_rows_max=min(options.shard_rows_max, ROWS_PER_FETCH_SHARD if fetches else ROWS_PER_COLUMN_SHARD),
        body_bytes_max=settings.fetch.body_bytes_max,
    )
    planned = plan_source(source, sized)
    if not planned.shards or planned.rows == 0:
        raise SourceError(
            f"{source} holds no rows", hint="an empty dataset is never counted as examined; is the path right?"
        )
    return planned if settings.limit is None else limited(planned, settings.limit)


def limited(plan: Plan, limit: int) -> Plan:
    """The first ``limit`` rows of a plan."""
    shards: list[ShardSpec] = []
    left = limit
    for shard in plan.shards:
        if left <= 0:
            break
        if shard.rows < 0:
            raise InputError(
                "--limit needs to know how many rows a shard has, and a compressed tar does not say",
                hint="unpack the tar",
            )
        shards.append(shard if shard.rows <= left else msgspec.structs.replace(shard, rows=left, stops_short=True))
        left -= shards[-1].rows
    return msgspec.structs.replace(plan, shards=tuple(shards), rows=sum(shard.rows for shard in shards))


def manifest_of(scan: ScanPlan) -> Manifest:
    """The manifest of a scan."""
    if not scan.recipients:
        raise ConfigError(
            "no authority is configured, and nothing that could find something starts without one",
            hint="custodes init --authority age1…",
        )
    return make_manifest(
        dataset=scan.dataset,
        passes=list(scan.settings.passes),
        lists=list(scan.lists),
        settings=without_pace(scan.settings),
        recipients=sorted(scan.recipients),
        demo_authority=scan.demo_authority,
        unsafe=scan.settings.unsafe(),
        confinement=scan.confinement,
        input=scan.plan.fingerprint(),
        plan=msgspec.to_builtins(scan.plan),
    )


def plan_of(manifest: Manifest) -> Plan:
    """The plan that a manifest holds."""
    return msgspec.convert(manifest.plan, Plan)


def retry_reasons(text: str) -> tuple[Reason, ...]:
    """Parse ``unavailable`` or ``unavailable:dns``: the reasons whose rows are to be tried again. Raises InputError for anything else."""
    name, _, reason = text.partition(":")
    retryable = (OutcomeName.UNAVAILABLE, OutcomeName.FAILED, OutcomeName.UNDECODABLE)
    if name not in retryable:
        raise InputError(
            f"--retry {text!r}: only {', '.join(retryable)} rows can be tried again",
            hint="for example --retry unavailable:dns",
        )
    reasons = REASONS[OutcomeName(name)]
    if not reason:
        return reasons
    if reason not in reasons:
        raise InputError(f"--retry {text!r}: {name} has no such reason", hint=f"reasons: {', '.join(reasons)}")
    return (Reason(reason),)


def jobs_to_do(done: Mapping[int, ShardRecord], plan: Plan, retry: Sequence[Reason] = ()) -> list[ShardJob]:
    """What is left: planned shards that are not committed, then, if asked, committed ones with rows to try again."""
    jobs = [ShardJob(shard.index) for shard in plan.shards if shard.index not in done]
    if retry:
        jobs += [ShardJob(r.shard, r.generation + 1, tuple(retry)) for r in done.values() if has_any(r, retry)]
    return jobs


def has_any(record: ShardRecord, reasons: Sequence[Reason]) -> bool:
    """Whether a shard has rows that ended so."""
    return any(record.reasons.get(reason) for reason in reasons)


def run_jobs(executor: Executor, supply: Supply, watch: Callable[[Event], None] = lambda _event: None) -> ScanResult:
    """Have jobs worked; every event is shown to ``watch``. Shards that fail are listed, not raised: the others go on."""
    result = ScanResult()
    began = time.monotonic()
    for event in executor.run(supply):
        watch(event)
        if isinstance(event, Failure):
            result.failures.append(event)
        elif not hasattr(event, "in_flight"):
            result.committed += 1
    result.seconds = time.monotonic() - began
    return result
