"""The report of a run as one page: self-contained, without script, fit to be printed, published or filed.

Promises that nothing on it comes from elsewhere, that foreign text is escaped and bounded, that it holds counts and never says which rows matched,
and that what was out of reach stands beside what was found. Leaves the words to ``wording``, the plots to ``plots`` and the layout to the template.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from custodes.model import OutcomeName
from custodes.scan import plots
from custodes.scan.report import RunReport
from custodes.scan.similar_runs import Told
from custodes.scan.similar_words import similar_lines, similar_says
from custodes.scan.wording import (
    OUTCOMES,
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

__all__ = ["LINES_MAX", "render"]

LINES_MAX: Final = 40
"""Longest list of bars or of names on the page; the rest is counted, and the JSON has it all."""

_COVERAGE: Final = {
    "columns": "Compared by recorded digest: the dataset's own digest of the image, also where the link is dead.",
    "bytes": "Compared by image: fetched or read, decoded and digested.",
}


@dataclass(frozen=True)
class Line:
    """A labelled bar."""

    label: str
    note: str
    count: str
    share: str
    bar: Markup


@dataclass(frozen=True)
class Chart:
    """Labelled bars under a heading. ``more`` counts those that are not shown."""

    heading: str
    note: str
    lines: Sequence[Line]
    more: int = 0


@dataclass(frozen=True)
class Figure:
    """A number that the page opens with."""

    label: str
    value: str
    note: str


def render(report: RunReport, *, unexamined_warning_share: float = UNEXAMINED_WARNING_SHARE) -> str:
    """The page, as text to be written in UTF-8. Above ``unexamined_warning_share`` (0 to 1) of rows not examined it says so at its top."""
    page: str = (
        _environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            cautions=cautions(report, unexamined_warning_share),
            figures=list(similar_figures(report.similar) if report.similar else figures(report)),
            outcomes=outcome_lines(report),
            outcome_plot=outcome_plot(report),
            hatches=plots.hatches(),
            reasons=list(reason_charts(report)),
            coverage=coverage_chart(report),
            findings=list(finding_charts(report)),
            throughput=throughput_plot(report),
            facts=list(facts(report)),
            says=list(similar_says() if report.similar else says(report)),
            similar=list(similar_lines(report.similar, report.findings_by_rule)) if report.similar else [],
            failures=clipped(report.failures),
        )
    )
    return page


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("custodes.scan"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["visible"] = visible
    return environment


def figures(report: RunReport) -> Iterator[Figure]:
    """The four numbers that matter, with what belongs beside each."""
    examined, away = report.outcomes.get(OutcomeName.EXAMINED, 0), unexamined_rows(report)
    planned = (
        f"of {count(report.rows_planned)} planned"
        if report.rows_planned >= 0
        else "the dataset does not say how many it has"
    )
    yield Figure("Rows done", count(report.rows), planned)
    yield Figure("Examined", count(examined), f"{percent(examined, report.rows)} of the rows done")
    yield Figure("Out of reach", count(away), f"{percent(away, report.rows)}, of which at most a digest was compared")
    yield Figure(
        "Findings",
        count(report.findings),
        "rows that matched; sealed, not shown here" if report.findings else "no row matched the lists named below",
    )


def outcome_lines(report: RunReport) -> list[Line]:
    """The legend of the outcomes plot: all four, always."""
    return [
        Line(name.value, OUTCOMES[name], count(rows), percent(rows, report.rows), plots.swatch(name.value))
        for name in OutcomeName
        for rows in (report.outcomes.get(name, 0),)
    ]


def outcome_plot(report: RunReport) -> Markup:
    """All rows done as one bar, cut by outcome."""
    parts = [
        plots.Part(
            name.value, name.value, f"{count_of(rows, 'row')}, {percent(rows, report.rows)}", rows / max(report.rows, 1)
        )
        for name in OutcomeName
        for rows in (report.outcomes.get(name, 0),)
    ]
    return plots.stacked(parts, "Rows by outcome", "outcomes")


def reason_charts(report: RunReport) -> Iterator[Chart]:
    """For each outcome that needs reasons, the reasons; most common first."""
    headings = {
        OutcomeName.UNAVAILABLE: "Why images were unavailable",
        OutcomeName.UNDECODABLE: "Why images could not be decoded",
        OutcomeName.FAILED: "Why examinations failed",
        OutcomeName.EXAMINED: "Examined, but not in full",
    }
    for outcome, heading in headings.items():
        found = reason_counts(report.reasons, outcome)
        if found:
            whole = report.outcomes.get(outcome, 0)
            lines = [bar_line(REASON_WORDS[reason], rows, whole, outcome.value) for reason, rows in found]
            yield Chart(heading, f"Shares of the {count(whole)} {outcome.value} rows.", lines)


def bar_line(words: tuple[str, str], rows: int, whole: int, css: str) -> Line:
    """A line with its bar. ``words`` are label and note; ``whole`` is what fills the width."""
    label, note = words
    text = f"{label}: {count_of(rows, 'row')}"
    return Line(label, note, count(rows), percent(rows, whole), plots.bar(rows / max(whole, 1), css, text))


def coverage_chart(report: RunReport) -> Chart:
    """How many rows each pass could compare."""
    lines = [
        bar_line(
            (f"Pass “{visible(name, 60)}”", _COVERAGE.get(name, "")),
            report.coverage.get(name, 0),
            report.rows,
            "examined",
        )
        for name in report.passes
    ]
    note = "A row can be compared in both passes, so the shares do not add up to 100 %." if len(lines) > 1 else ""
    return Chart("What each pass could compare", note, lines)


def finding_charts(report: RunReport) -> Iterator[Chart]:
    """Findings as counts: by list and by rule."""
    if report.findings:
        note = "Shares of all findings; a row that matches several lists counts once for each."
        yield Chart("By list", note, *counted(report.findings_by_list, report.findings))
        yield Chart(
            "By rule",
            "Shares of all findings; one rule of the policy decides for a row.",
            *counted(report.findings_by_rule, report.findings),
        )


def counted(counts: Mapping[str, int], whole: int) -> tuple[list[Line], int]:
    """Named counts, largest first, and how many are not shown."""
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    lines = [bar_line((visible(name, 120), ""), rows, whole, "finding") for name, rows in ordered[:LINES_MAX]]
    return lines, max(0, len(ordered) - LINES_MAX)


def throughput_plot(report: RunReport) -> Markup | None:
    """Rows per second over the run; None before the first shard is done."""
    if not report.throughput:
        return None
    top = max(point.rows_per_s for point in report.throughput)
    text = f"Highest {top:,.0f} rows/s; mean {mean_rate(report)} over {duration(report.seconds)}."
    return plots.area(
        report.throughput, plots.AreaText("Rows per second over time", text, f"{top:,.0f} rows/s"), "throughput"
    )


def mean_rate(report: RunReport) -> str:
    """Rows per second over the whole run, as text."""
    return f"{report.rows / report.seconds:,.0f} rows/s" if report.seconds > 0 else "n/a"


def similar_figures(told: Told) -> Iterator[Figure]:
    """The four numbers of a scan for similar photos."""
    yield Figure("Rows scored", count(told.scored), f"{percent(told.scored, told.rows)} of {count(told.rows)}")
    yield Figure("Searched near", count(told.confirmed), "confirmed photos")
    yield Figure(
        "Handed over", count(told.photos), f"new photos, in {count_of(told.suspects, 'row')}: suspects, no findings"
    )
    yield Figure("Waiting", count(told.waiting + told.photos), f"photos for a verdict, of at most {count(told.budget)}")


def facts(report: RunReport) -> Iterator[tuple[str, list[str]]]:
    """What was done, with what, for whom: the table of the page. Each fact is a name and its lines."""
    shards = f"{count(report.shards)} of {count_of(report.shards_planned, 'shard')}"
    yield "Dataset", [report.dataset]
    yield "Lists", clipped([f"{used['id']}, version {used['version']}" for used in report.lists]) or ["none"]
    yield "Passes", clipped(report.passes) or ["none"]
    yield "Findings sealed to", clipped([short_key(key) for key in report.recipients]) or ["nobody"]
    yield "Decoding", [report.decode_policy or "no image was decoded"]
    yield "Confinement of the decoder", [report.confinement or "no image was decoded"]
    yield "Unsafe options", clipped(report.unsafe) or ["none"]
    yield "Begun", [report.created]
    yield (
        "Time taken",
        [
            f"{duration(report.seconds)} from the first shard to the last, pauses included; {mean_rate(report)} on average"
        ],
    )
    yield (
        "Work",
        [
            f"{count_of(report.rows, 'row')} in {shards}; {size(report.bytes_fetched)} of images fetched or read, none kept"
        ],
    )
    yield "Tool", [report.tool]
    yield "Run", [report.run_id]


def clipped(texts: Sequence[str]) -> list[str]:
    """The first lines of a list, and how many more there are."""
    left = len(texts) - LINES_MAX
    return [*texts[:LINES_MAX], *([f"and {count(left)} more"] if left > 0 else [])]


def says(report: RunReport) -> Iterator[str]:
    """What the figures mean and what they do not, as sentences."""
    examined, away = report.outcomes.get(OutcomeName.EXAMINED, 0), unexamined_rows(report)
    yield (
        f"{count_of(examined, 'row')} {'was' if examined == 1 else 'were'} examined, with the lists and versions named on this page. "
        f"{count_of(away, 'row')} {'was' if away == 1 else 'were'} not: of such a row at most a digest was compared, which fits only the very same bytes."
    )
    yield "A row without a finding is not on these lists in these versions. That is no judgement of the image: lists hold known material only."
    yield "A finding is a match of digests, exact or near, which an authority has to confirm. Nobody looked at an image; this tool cannot show one."
    yield "This page holds counts. Which rows matched is sealed to the recipients named here and written down nowhere else."
