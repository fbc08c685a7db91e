"""What a run says of itself: one document, from which the terminal summary, the JSON line and the HTML page are made.

It says what was examined, with what, and how much was out of reach. It never says that anything is clean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from custodes.errors import ExitCode
from custodes.ledger.run import Counts, RunDirectory, ShardRecord, newest_of
from custodes.model import Outcome, OutcomeName, Reason
from custodes.scan.pool import Failure
from custodes.scan.similar_runs import Told, selection_of

__all__ = ["Point", "RunReport", "outcomes_of", "report_of"]


class Point(msgspec.Struct, frozen=True, array_like=True):
    """Throughput in one interval: seconds since the first shard began, rows per second."""

    at_s: float
    rows_per_s: float


class RunReport(msgspec.Struct, frozen=True, kw_only=True):
    """A run, added up. ``rows`` = sum of ``outcomes`` = rows committed; ``rows_planned`` more than that means the run is not finished.

    ``reasons`` counts every reason but a plain full examination. ``findings`` are rows with at least one decision to hand over.
    """

    run: str
    run_id: str
    dataset: str
    tool: str
    created: str
    rows: int
    rows_planned: int
    shards: int
    shards_planned: int
    outcomes: dict[OutcomeName, int]
    reasons: dict[Reason, int]
    coverage: dict[str, int]
    findings: int
    findings_by_list: dict[str, int]
    findings_by_rule: dict[str, int]
    findings_flooded: dict[str, int] = {}
    lists: list[dict[str, str]]
    stale_lists: dict[str, str] = {}
    passes: list[str]
    recipients: list[str]
    demo_authority: bool
    unsafe: list[str]
    confinement: str
    decode_policy: str
    bytes_fetched: int
    seconds: float
    throughput: list[Point]
    unexamined_share: float
    failures: list[str] = []
    complete: bool = True
    not_items: int = 0
    rematch: bool = False
    similar: Told | None = None
    exit_code: int = 0


def outcomes_of(reasons: dict[Reason, int]) -> dict[OutcomeName, int]:
    """Counts by outcome, all four present."""
    outcomes = dict.fromkeys(OutcomeName, 0)
    for reason, count in reasons.items():
        outcomes[Outcome(reason).name] += count
    return outcomes


def report_of(
    run: RunDirectory,
    failures: Sequence[Failure] = (),
    *,
    share_warn: float = 0.5,
    records: Sequence[ShardRecord] | None = None,
) -> RunReport:
    """The report of a run directory as it stands (or as its records, read already, say), after a job with these failures."""
    manifest = run.manifest
    records = list(run.records()) if records is None else records
    counts = run.counts(records)
    planned: dict[str, Any] = manifest.plan
    spans = [(record.started, record.finished, record.rows) for record in records if record.generation == 0]
    outcomes = outcomes_of(counts.reasons)
    done = len(newest_of(records))
    chosen = selection_of(run) if "similar" in manifest.passes else None
    away = unscored_share(chosen.told) if chosen else unexamined_share(counts, outcomes)
    return RunReport(
        run=run.shown,
        run_id=manifest.run_id,
        dataset=manifest.dataset,
        tool=manifest.tool,
        created=manifest.created,
        rows=counts.rows,
        rows_planned=planned["rows"],
        shards=done,
        shards_planned=len(planned["shards"]),
        outcomes=outcomes,
        reasons={reason: count for reason, count in sorted(counts.reasons.items()) if reason is not Reason.FULL},
        coverage=counts.coverage,
        findings=counts.findings,
        findings_by_list=counts.by_list,
        findings_by_rule=counts.by_rule,
        findings_flooded=counts.flooded,
        lists=[{"id": used.id, "version": used.version} for used in manifest.lists],
        stale_lists=manifest.stale_lists,
        passes=manifest.passes,
        recipients=manifest.recipients,
        demo_authority=manifest.demo_authority,
        unsafe=manifest.unsafe,
        confinement=manifest.confinement,
        decode_policy=str(manifest.settings.get("decode_policy", "")),
        bytes_fetched=counts.bytes_fetched,
        seconds=max((s[1] for s in spans), default=0.0) - min((s[0] for s in spans), default=0.0),
        throughput=throughput(spans),
        unexamined_share=away,
        failures=[message_of(failure) for failure in failures],
        complete=done == len(planned["shards"]),
        not_items=int(planned.get("not_items", 0)),
        rematch=bool(manifest.parent) and chosen is None,
        similar=chosen.told if chosen else None,
        exit_code=exit_code(counts, away, failures, share_warn),
    )


def message_of(failure: Failure) -> str:
    """A failure as one line."""
    return failure.message + (f" (hint: {failure.hint})" if failure.hint else "")


def exit_code(counts: Counts, away: float, failures: Sequence[Failure], share_warn: float) -> int:
    """What the process answers. A run with failed shards is not a result, whatever it found; a little-examined one is a weak result."""
    if failures:
        return int(next((f for f in failures if f.fatal), failures[0]).exit_code)
    if counts.findings:
        return ExitCode.FOUND
    return ExitCode.MUCH_UNEXAMINED if away > share_warn else ExitCode.NOTHING_FOUND


def unexamined_share(counts: Counts, outcomes: dict[OutcomeName, int]) -> float:
    """Rows that were not examined, as a share of all; 1 when there are none."""
    return 1.0 - outcomes[OutcomeName.EXAMINED] / counts.rows if counts.rows else 1.0


def unscored_share(told: Told) -> float:
    """Rows without a vector that says anything, as a share of all."""
    return 1.0 - told.scored / told.rows if told.rows else 1.0


def throughput(spans: list[tuple[float, float, int]], points: int = 60) -> list[Point]:
    """Rows per second over the run in at most ``points`` intervals: each shard's rows spread evenly over its own time."""
    if not spans:
        return []
    first, last = min(span[0] for span in spans), max(span[1] for span in spans)
    width = max((last - first) / points, 1e-3)
    buckets = [0.0] * points
    for started, finished, rows in spans:
        rate = rows / max(finished - started, 1e-6)
        for index in range(int((started - first) / width), min(points, int((finished - first) / width) + 1)):
            left, right = first + index * width, first + (index + 1) * width
            buckets[index] += rate * max(0.0, min(right, finished) - max(left, started))
    return [Point(round((i + 0.5) * width, 3), round(rows / width, 2)) for i, rows in enumerate(buckets)]
