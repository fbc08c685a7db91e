"""``custodes clean``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NamedTuple

import click
import msgspec

from custodes.cleaning.copies import Copies
from custodes.cleaning.job import KEEP_NAME, Summed, apply_keep, keep_of, summed, write_dataset
from custodes.cleaning.keep import keep_header, stays_by
from custodes.cleaning.mask import Choice, leaving
from custodes.cleaning.rows import check_says_digests, rows_of
from custodes.cleaning.rules import Rule, ruled_by, words_of
from custodes.cli.options import as_json, config_option, json_option, printable
from custodes.config import Site, load_site
from custodes.model import OutcomeName
from custodes.office import told_of
from custodes.scan.run import plan_of
from custodes.sources.source import plan

__all__ = ["clean"]

SWAPPED = "swapped"
DROPS = (OutcomeName.UNAVAILABLE.value, OutcomeName.FAILED.value, SWAPPED)


@click.command()
@click.argument("run")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Write here: a new folder.")
@click.option(
    "--keep-metadata",
    "keep_only",
    is_flag=True,
    help=f"Only {KEEP_NAME}, which names the rows that stay by their keys.",
)
@click.option(
    "--apply",
    "keep",
    type=click.Path(path_type=Path),
    default=None,
    metavar="KEEP",
    help="RUN is an old copy of the dataset: write it with the rows that the list KEEP names.",
)
@click.option(
    "--drop",
    type=click.Choice(DROPS),
    multiple=True,
    help="Rows that ended so leave, too (undecodable ones always do); swapped: whose link gave another image than the dataset says.",
)
@click.option(
    "--drop-above",
    "above",
    type=(str, float),
    multiple=True,
    metavar="COLUMN THRESHOLD",
    help="Rows with more than THRESHOLD in COLUMN leave, too, as with: punsafe 0.45.",
)
@click.option(
    "--drop-words",
    "words",
    type=(click.Path(path_type=Path), str, float),
    multiple=True,
    metavar="FILE COLUMN THRESHOLD",
    help="Rows with more than THRESHOLD in COLUMN and a word of FILE in the caption leave, too.",
)
@click.option(
    "--decoys",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.01,
    show_default=True,
    metavar="SHARE",
    help="Photos drawn by lot that leave, too.",
)
@click.option(
    "--crowd",
    type=click.IntRange(min=2),
    default=100,
    show_default=True,
    metavar="N",
    help="Refuse if more than one in N that leave matched.",
)
@click.option(
    "--after",
    type=click.Path(path_type=Path),
    default=None,
    metavar="KEEP",
    help="The keep list of an earlier release: what left then leaves again, and the crowd is counted among what leaves anew, too.",
)
@config_option
@json_option
def clean(
    run: str,
    out: Path,
    keep: Path | None,
    drop: tuple[str, ...],
    above: tuple[tuple[str, float], ...],
    words: tuple[tuple[Path, str, float], ...],
    decoys: float,
    crowd: int,
    after: Path | None,
    config: str | None,
    *,
    keep_only: bool,
    json_: bool,
) -> None:
    """Write the dataset of RUN again without the rows that matched, others that hide which these were, and those that do not decode."""
    rules = (
        *(Rule(column, threshold) for column, threshold in above),
        *(Rule(column, threshold, words_of(file)) for file, column, threshold in words),
    )
    choice = Choice(
        drop=tuple(OutcomeName(name) for name in drop if name != SWAPPED),
        drop_swapped=SWAPPED in drop,
        rules=tuple(map(str, rules)),
        decoys=decoys,
        crowd=crowd,
    )
    chosen = Chosen(choice, rules, after, keep_only)
    sums = of_run(load_site(config), run, out, chosen) if keep is None else of_copy(keep, run, out)
    if json_:
        as_json(sums)
    else:
        for line in in_words(sums):
            click.echo(printable(line))


class Chosen(NamedTuple):
    """What is to leave, and whether only a keep list is written."""

    choice: Choice
    rules: tuple[Rule, ...]
    after: Path | None
    keep_only: bool


def of_run(site: Site, place: str, out: Path, chosen: Chosen) -> Summed:
    """Compare again in memory what the run keeps, and write what stays."""
    told, key, choice = told_of(site, place), site.run_key(), chosen.choice
    run = told.runs[0]
    planned = plan_of(run.manifest)
    if choice.drop_swapped:
        check_says_digests(planned)
    earlier = None if chosen.after is None else ~stays_by(chosen.after, planned)[1]
    places = ((place.file, place.row) for incident in told.incidents for place in incident.places)
    rows, swapped_between = rows_of(run, planned, places, key)
    ruled = ruled_by(planned, chosen.rules, len(rows.outcomes))
    rows = dataclasses.replace(rows, ruled=ruled.left)
    found = leaving(rows, choice, Copies(run, planned, rows.starts).near, earlier)
    (keep_of if chosen.keep_only else write_dataset)(planned, found, choice, out.absolute(), key)
    sums = summed(rows, found, choice, ruled.unknown)
    return msgspec.structs.replace(sums, out=str(out), swapped_between=swapped_between)


def of_copy(keep: Path, copy: str, out: Path) -> Summed:
    """Write what a keep list names of an old copy. No configuration is needed."""
    header = keep_header(keep)
    rows, left = apply_keep(keep, plan(copy, header.options), out.absolute())
    return Summed(out=str(out), rows=rows, left=left, crowd=header.crowd)


def in_words(sums: Summed) -> list[str]:
    """Sums only."""
    by = ", ".join(f"{number:,} {name}" for name, number in sums.left_by_outcome.items())
    lines = [
        f"{sums.left:,} of {sums.rows:,} rows left{f' ({by})' if by else ''}; {sums.rows - sums.left:,} stay in {sums.out}",
        f"of those that left for no reason that anyone can see, at most one in {sums.crowd:,} matched; which ones stands nowhere",
    ]
    if sums.ruled:
        lines.append(f"rules took {sums.ruled:,} rows; anyone can compute which, so they hide nothing")
    lines += [
        f"{count:,} rows have no number in {name}: no rule took them for it"
        for name, count in sums.unknown.items()
        if count
    ]
    if sums.swapped:
        when = " to ".join(f"{moment:%Y-%m-%d}" for moment in sums.swapped_between or ())
        lines.append(
            f"{sums.swapped:,} rows hold another image than the dataset says{f', seen {when}' if when else ''}"
        )
    if sums.unexamined:
        stay = ", ".join(f"{number:,} {name}" for name, number in sums.unexamined.items())
        lines.append(f"nobody has seen these rows, and they stay: {stay}")
    return lines
