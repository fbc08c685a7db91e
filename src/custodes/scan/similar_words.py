"""A scan for similar photos in words, for the terminal and the page: what was scored, what was handed over, what such suspects were worth so far.

Counts and intervals only. A suspect is never called a finding of what it looks like.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from custodes.handover.finding import Measured
from custodes.scan.similar_runs import SIMILAR_RULE, Told
from custodes.scan.wording import count, count_of, percent, visible

__all__ = ["similar_lines", "similar_says"]


def similar_lines(told: Told, by_rule: Mapping[str, int]) -> Iterator[tuple[str, list[str]]]:
    """Names and their lines. ``by_rule``: what suspects turned out to be where they were fetched."""
    yield "Rows scored", [f"{count(told.scored)} of {count(told.rows)} ({percent(told.scored, told.rows)})"]
    yield "Searched near", [count_of(told.confirmed, "confirmed photo")]
    if told.rejected:
        yield "Kept away from", [count_of(told.rejected, "rejected photo")]
    yield "Probe", [visible(told.probe, 40) or "none"]
    joined = [f"{count_of(told.joined, 'row')} of photos that were handed over before"] if told.joined else []
    yield "Handed over", [f"{count_of(told.photos, 'new photo')}, in all {count_of(told.suspects, 'row')}", *joined]
    if known := sum(rows for rule, rows in by_rule.items() if rule != SIMILAR_RULE):
        yield "Of these on a list", [f"{count_of(known, 'row')}, by the bytes that were fetched"]
    yield (
        "Budget",
        [f"{count_of(told.budget, 'photo')}, of which {count(told.waiting)} were waiting for a verdict already"],
    )
    if told.left_out:
        yield "Left for a later scan", [f"{count_of(told.left_out, 'candidate row')}"]
    yield (
        "Confirmed so far",
        [_measured(each) for each in told.precision] or ["too few suspects of this run were judged"],
    )


def similar_says() -> Iterator[str]:
    """What the figures mean and what they do not, as sentences."""
    yield "A suspect looks like a confirmed photo to a model. It is no finding of its own: an authority judges it. Nobody looked at an image here."
    yield "How many suspects are confirmed depends on what is searched: the shares are of those that were judged, with intervals of 95 %."
    yield "This page holds counts. Which rows are suspects is sealed to the recipients named here, and kept for later scans under the run key."


def _measured(measured: Measured) -> str:
    low, high = (round(100 * each) for each in (measured.low, measured.high))
    return f"{visible(measured.slice, 60)}: {count(measured.confirmed)} of {count(measured.judged)} judged ({low} to {high} %)"
