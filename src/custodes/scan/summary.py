"""The report of a run for a terminal, and as the document that --json prints.

Promises that what was out of reach stands beside what was found, that cautions come first, and that foreign text cannot steer the terminal.
Leaves printing to the command line.
"""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from custodes.model import Outcome, OutcomeName, Reason
from custodes.scan.report import RunReport
from custodes.scan.similar_runs import Told
from custodes.scan.similar_words import similar_lines
from custodes.scan.wording import (
    PASSING,
    REASON_WORDS,
    UNEXAMINED_WARNING_SHARE,
    cautions,
    count,
    count_of,
    duration,
    percent,
    reason_counts,
    short_key,
    size,
    unexamined_rows,
    visible,
)

__all__ = ["LINES_MAX", "json_line", "summary"]

LINES_MAX: Final = 8
"""Longest list in the summary; the page and the JSON have more."""

_WIDTH: Final = 100


def summary(report: RunReport, *, unexamined_warning_share: float = UNEXAMINED_WARNING_SHARE) -> str:
    """Some thirty lines; the last one without its line end. Above ``unexamined_warning_share`` (0 to 1) of rows not examined they warn."""
    blocks = [
        [f"{kind(report)} {visible(report.dataset)}", f"  {work(report)}"],
        [
            line
            for caution in cautions(report, unexamined_warning_share)
            for line in wrapped(caution.title, caution.text, caution.grave)
        ],
        *([list(similar(report.similar, report.findings_by_rule))] if report.similar else examined(report)),
        list(used(report)),
        list(next_steps(report)),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def kind(report: RunReport) -> str:
    """What was done to the dataset."""
    if report.similar:
        return "Similar photos in"
    return "Rematch of" if report.rematch else "Scan of"


def similar(told: Told, by_rule: Mapping[str, int]) -> Iterator[str]:
    """What a scan for similar photos scored and handed over."""
    for name, lines in similar_lines(told, by_rule):
        for line in lines:
            yield f"  {name:<22} {line}"
            name = ""  # noqa: PLW2901 - said once


def examined(report: RunReport) -> list[list[str]]:
    """Outcomes, reasons and findings of a run that examined rows."""
    lines = [(name.value, rows, percent(rows, report.rows)) for name, rows in outcomes(report).items()]
    return [table(lines), list(reasons(report)), list(findings(report))]


def json_line(report: RunReport) -> dict[str, Any]:
    """The report as a plain document: every field but ``throughput``; ``outcomes`` has all four names, ``reasons`` those that occurred."""
    document: dict[str, Any] = msgspec.to_builtins(report)
    del document["throughput"]
    return document | {"outcomes": {name.value: rows for name, rows in outcomes(report).items()}}


def outcomes(report: RunReport) -> dict[OutcomeName, int]:
    """Counts by outcome, all four present, in the order of the model."""
    return {name: report.outcomes.get(name, 0) for name in OutcomeName}


def work(report: RunReport) -> str:
    """How much was done, in one line."""
    planned = f" of {count(report.rows_planned)}" if report.rows_planned >= 0 else ""
    parts = [
        f"{count(report.rows)}{planned} {'row' if report.rows_planned == 1 else 'rows'}",
        f"{count(report.shards)} of {count_of(report.shards_planned, 'shard')}",
        duration(report.seconds),
        *([f"{report.rows / report.seconds:,.0f} rows/s"] if report.seconds > 0 else []),
        *([f"{size(report.bytes_fetched)} of images"] if report.bytes_fetched else []),
    ]
    return ", ".join(parts)


def wrapped(title: str, text: str, grave: bool) -> list[str]:
    """A caution as a paragraph with a mark in its margin."""
    mark = "!!" if grave else " !"
    return textwrap.wrap(
        f"{title}. {text}", _WIDTH, initial_indent=f"{mark} ", subsequent_indent="   ", break_on_hyphens=False
    )


def table(lines: Sequence[tuple[str, int, str]], note: str = "") -> list[str]:
    """Names, counts and shares in columns; no lines, no table."""
    if not lines:
        return []
    names, counts = max(len(line[0]) for line in lines), max(len(count(line[1])) for line in lines)
    shares = max(len(line[2]) for line in lines)
    rows = [f"  {name:<{names}}  {count(rows):>{counts}}  {share:>{shares}}".rstrip() for name, rows, share in lines]
    return [*rows, *([f"  {note}"] if note else [])]


def reasons(report: RunReport) -> Iterator[str]:
    """The most common reasons of all outcomes but the plain one."""
    found = [pair for name in OutcomeName for pair in reason_counts(report.reasons, name)]
    found.sort(key=lambda pair: -pair[1])
    if found:
        left = found[LINES_MAX:]
        note = (
            f"and {count_of(len(left), 'more reason')}, {count_of(sum(rows for _, rows in left), 'row')}"
            if left
            else ""
        )
        yield "Reasons, most common first"
        yield from table(
            [(words(reason), rows, percent(rows, report.rows)) for reason, rows in found[:LINES_MAX]], note
        )


def words(reason: Reason) -> str:
    """A reason by its code, which options and the JSON use, and in words."""
    return f"{reason.value:<18}{REASON_WORDS[reason].label}"


def findings(report: RunReport) -> Iterator[str]:
    """How many rows matched, by list and by rule; and how many there were to match."""
    if not report.findings:
        examined = outcomes(report)[OutcomeName.EXAMINED]
        yield f"No finding. {count_of(examined, 'row')} examined, {count(unexamined_rows(report))} out of reach."
        return
    yield f"{count_of(report.findings, 'finding')}, sealed to {listed([short_key(key) for key in report.recipients])}"
    yield from table([*named("list", report.findings_by_list), *named("rule", report.findings_by_rule)])


def named(what: str, counts: Mapping[str, int]) -> list[tuple[str, int, str]]:
    """Named counts as lines of a table, largest first; those past the limit are added up in one line."""
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    lines = [(f"{what}  {visible(name, 60)}", rows, "") for name, rows in ordered[:LINES_MAX]]
    left = ordered[LINES_MAX:]
    return [*lines, *([(f"{what}  and {count(len(left))} more", sum(rows for _, rows in left), "")] if left else [])]


def used(report: RunReport) -> Iterator[str]:
    """With what it was examined."""
    lists = [f"{visible(used['id'], 60)} ({visible(used['version'], 40)})" for used in report.lists]
    yield f"Lists    {listed(lists)}"
    yield f"Passes   {listed([visible(name, 40) for name in report.passes])}"
    if report.confinement:
        yield f"Decoder  {visible(report.confinement, 60)}"


def listed(names: Sequence[str]) -> str:
    """Names in a line, the first few."""
    left = len(names) - LINES_MAX
    return (
        ", ".join(
            [*(visible(name, 120) for name in names[:LINES_MAX]), *([f"and {count(left)} more"] if left > 0 else [])]
        )
        or "none"
    )


def next_steps(report: RunReport) -> Iterator[str]:
    """What the reader may want to do now."""
    findings_at = shlex.quote(visible(f"{report.run}/findings"))
    steps, local = [], "://" not in report.run
    if not report.complete or report.shards_planned > report.shards:
        steps.append("start the same command again: the run goes on where it stopped")
    if report.findings:
        steps.append(f"hand {findings_at} to the authority, which opens {'it' if local else 'a copy of it'} with:")
        steps.append(f"  custodes open {findings_at if local else 'COPY'} --identity KEY")
    passing = (
        {Outcome(reason).name for reason in PASSING if report.reasons.get(reason)}
        if "bytes" in report.passes and not report.rematch and not report.similar
        else set()
    )
    retryable = [name for name in (OutcomeName.UNAVAILABLE, OutcomeName.FAILED) if name in passing]
    steps += [f"try {name.value} rows again: custodes scan … --retry {name.value}" for name in retryable]
    if steps:
        yield "Next"
        yield from (f"  {step}" for step in steps)
