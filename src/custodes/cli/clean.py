"""``custodes clean``."""

from __future__ import annotations

from pathlib import Path

import click

from custodes.cleaning.job import KEEP_NAME, Summed, apply_keep, keep_of, summed, write_dataset
from custodes.cleaning.keep import keep_header
from custodes.cleaning.mask import Choice, leaving
from custodes.cleaning.rows import rows_of
from custodes.cli.options import as_json, config_option, json_option, printable
from custodes.config import Site, load_site
from custodes.model import OutcomeName
from custodes.office import told_of
from custodes.scan.run import plan_of
from custodes.sources.source import plan

__all__ = ["clean"]

DROPS = (OutcomeName.UNAVAILABLE.value, OutcomeName.FAILED.value)


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
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
    help="Rows that ended so leave, too (undecodable ones always do).",
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
@config_option
@json_option
def clean(
    run: Path,
    out: Path,
    keep: Path | None,
    drop: tuple[str, ...],
    decoys: float,
    crowd: int,
    config: str | None,
    *,
    keep_only: bool,
    json_: bool,
) -> None:
    """Write the dataset of RUN again without the rows that matched, others that hide which these were, and those that do not decode."""
    choice = Choice(drop=tuple(OutcomeName(name) for name in drop), decoys=decoys, crowd=crowd)
    sums = of_run(load_site(config), run, out, choice, keep_only) if keep is None else of_copy(keep, run, out)
    if json_:
        as_json(sums)
    else:
        for line in in_words(sums):
            click.echo(printable(line))


def of_run(site: Site, path: Path, out: Path, choice: Choice, keep_only: bool) -> Summed:
    """Compare again in memory what the run keeps, and write what stays."""
    told, key = told_of(site, path), site.run_key()
    run = told.runs[0]
    planned = plan_of(run.manifest)
    places = ((place.file, place.row) for incident in told.incidents for place in incident.places)
    rows = rows_of(run, planned, places, key)
    found = leaving(rows, choice)
    (keep_of if keep_only else write_dataset)(planned, found, choice, out.absolute(), key)
    return summed(out, rows, found, choice)


def of_copy(keep: Path, copy: Path, out: Path) -> Summed:
    """Write what a keep list names of an old copy. No configuration is needed."""
    header = keep_header(keep)
    rows, left = apply_keep(keep, plan(str(copy), header.options), out.absolute())
    return Summed(out=str(out), rows=rows, left=left, crowd=header.crowd)


def in_words(sums: Summed) -> list[str]:
    """Sums only."""
    by = ", ".join(f"{number:,} {name}" for name, number in sums.left_by_outcome.items())
    lines = [
        f"{sums.left:,} of {sums.rows:,} rows left{f' ({by})' if by else ''}; {sums.rows - sums.left:,} stay in {sums.out}",
        f"of those that left at most one in {sums.crowd:,} matched; which ones stands nowhere",
    ]
    if sums.unexamined:
        stay = ", ".join(f"{number:,} {name}" for name, number in sums.unexamined.items())
        lines.append(f"nobody has seen these rows, and they stay: {stay}")
    return lines
