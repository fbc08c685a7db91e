"""Reports of runs that never happened, for the tests of what is made from reports."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from custodes.model import REASONS, Outcome, OutcomeName, Reason
from custodes.scan.report import Point, RunReport, outcomes_of

HOSTILE = "<script>alert(1)</script>\"'>{{7*7}}{% raw %}\x1b[2J\x00\x07\r\n\u202egnp.txt\u2066\u200b\ud800&amp;</svg>"


def report_with(reasons: dict[Reason, int], **changes: Any) -> RunReport:
    """A finished run whose rows ended so; ``changes`` replace fields."""
    outcomes, rows = outcomes_of(reasons), sum(reasons.values())
    examined = outcomes[OutcomeName.EXAMINED]
    report = RunReport(
        run="runs/gallery",
        run_id="r-5f2c9a",
        dataset="gallery.parquet",
        tool="custodes 0.1.0",
        created="2026-11-22T16:00:00Z",
        rows=rows,
        rows_planned=rows,
        shards=6,
        shards_planned=6,
        outcomes=outcomes,
        reasons={reason: number for reason, number in reasons.items() if reason is not Reason.FULL},
        coverage={"columns": rows * 9 // 10, "bytes": examined},
        findings=0,
        findings_by_list={},
        findings_by_rule={},
        lists=[{"id": "hotline/known", "version": "2026-11-01"}, {"id": "centre/shared", "version": "v118"}],
        passes=["columns", "bytes"],
        recipients=["age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"],
        demo_authority=False,
        unsafe=[],
        confinement="landlock abi 4 + seccomp",
        decode_policy="fast/2",
        bytes_fetched=examined * 61_234,
        seconds=192.4,
        throughput=[Point((i + 0.5) * 3.2, 60 + 25 * math.sin(i / 5) + 9 * math.sin(i * 1.7)) for i in range(60)],
        unexamined_share=1 - examined / rows if rows else 1.0,
    )
    return msgspec.structs.replace(report, **changes)


ORDINARY_REASONS = {
    Reason.FULL: 8_102,
    Reason.PARTIAL_DAMAGED: 61,
    Reason.COLUMNS_ONLY: 249,
    Reason.HTTP_404: 1_801,
    Reason.DNS: 922,
    Reason.HTTP_403: 340,
    Reason.TIMEOUT: 180,
    Reason.NOT_IMAGE: 145,
    Reason.BROKEN: 140,
    Reason.UNKNOWN_FORMAT: 10,
    Reason.MALFORMED_ROW: 50,
}


def ordinary() -> RunReport:
    """Twelve thousand rows, a third of them out of reach, three findings."""
    return report_with(
        ORDINARY_REASONS,
        findings=3,
        findings_by_list={"hotline/known": 3, "centre/shared": 1},
        findings_by_rule={"exact-confirmed": 2, "near-confirmed": 1},
    )


def nothing_found() -> RunReport:
    """The same rows, and no finding."""
    return report_with(ORDINARY_REASONS)


def huge() -> RunReport:
    """As many rows as the largest public table of links, not finished."""
    return report_with(
        {
            Reason.FULL: 3_526_641_167,
            Reason.HTTP_404: 1_400_000_000,
            Reason.DNS: 489_999_999,
            Reason.BROKEN: 110_000_000,
            Reason.INTERNAL: 1,
        },
        dataset="s3://bucket/laion5b/part-{00000..02312}.snappy.parquet",
        rows_planned=5_630_512_003,
        shards=2_712_345,
        shards_planned=2_763_321,
        complete=False,
        findings=1_714,
        findings_by_list={"hotline/known": 1_500, "centre/shared": 713},
        findings_by_rule={"exact-confirmed": 1_714},
        seconds=4_233_600.0,
        throughput=[Point((i + 0.5) * 70_560, 1_300 + 90 * math.sin(i / 4)) for i in range(60)],
        not_items=12_003,
        failures=["WorldError: shard 17 ended 3 workers", "SourceError: part-00017.snappy.parquet ends early"],
    )


def every_reason() -> RunReport:
    """Every reason there is, the later the more often."""
    return report_with({reason: 3 * number + 1 for number, reason in enumerate(Reason)})


def unsafe() -> RunReport:
    """A demonstration with guards off, only from columns, mostly out of reach."""
    return report_with(
        {Reason.COLUMNS_ONLY: 40, Reason.NO_DIGEST: 260},
        demo_authority=True,
        unsafe=["--unsafe-allow-loopback", "--unsafe-no-jail"],
        confinement="none (unsafe)",
        passes=["columns"],
        coverage={"columns": 40},
        bytes_fetched=0,
    )


def untouched() -> RunReport:
    """A run in which no shard is done yet."""
    return report_with({}, rows_planned=500, shards=0, complete=False, seconds=0.0, throughput=[])


def hostile(text: str = HOSTILE) -> RunReport:
    """A run in which everything that comes from outside is ``text``."""
    return msgspec.structs.replace(
        ordinary(),
        run=text,
        run_id=text,
        dataset=text,
        tool=text,
        created=text,
        findings_by_list={text: 3},
        findings_by_rule={text: 3},
        lists=[{"id": text, "version": text}],
        passes=[text, "bytes"],
        coverage={text: 5},
        recipients=[text],
        unsafe=[text],
        confinement=text,
        decode_policy=text,
        failures=[text],
        complete=False,
    )


SAMPLES = {
    "an ordinary run": ordinary,
    "a run that found nothing": nothing_found,
    "a run of five billion rows": huge,
    "a run with every reason": every_reason,
    "an unsafe demonstration": unsafe,
    "a run that has not begun": untouched,
    "a run with hostile names": hostile,
}

assert sum(len(reasons) for reasons in REASONS.values()) == len(Reason)
assert Outcome(Reason.FULL).name is OutcomeName.EXAMINED
