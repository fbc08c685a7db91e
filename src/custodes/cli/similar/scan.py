"""``custodes similar scan``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from custodes.cli.options import cluster_of, config_option, executor_options, json_option, workers_option
from custodes.cli.scan import conduct, say
from custodes.cli.similar.neighbours import Lines
from custodes.config import Site, load_site
from custodes.errors import InputError
from custodes.jobs import SimilarRequest, prepare_similar
from custodes.model import Meaning
from custodes.scan.similar import Wanted

__all__ = ["scan"]


@click.command("scan")
@click.argument("run")
@click.option(
    "--vectors",
    default=None,
    metavar="VECTORS",
    help="Vectors of the run's rows: a folder, pattern or file (default: those that the scan made with --embed).",
)
@click.option("--model", default="", metavar="NAME", help="The model that made VECTORS.")
@click.option("--column", default=None, metavar="NAME", help="VECTORS are parquet files, with vectors in this column.")
@click.option(
    "--probes",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    metavar="DIR",
    help="Score by the probe in service there, too.",
)
@click.option(
    "--seeds",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    metavar="FILE.npy",
    help="Search near these vectors, too.",
)
@click.option(
    "--class",
    "meaning",
    type=click.Choice([each.value for each in (Meaning.CSAM, Meaning.EXPLOITATIVE, Meaning.NCII)]),
    default=Meaning.CSAM.value,
    show_default=True,
    help="Search near what is confirmed to be this.",
)
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    metavar="K",
    help="So many rows near each confirmed photo.",
)
@click.option(
    "--above",
    type=click.FloatRange(-1, 1),
    default=0.0,
    show_default=True,
    metavar="S",
    help="Of those, the ones whose cosine is at least this.",
)
@click.option(
    "--from",
    "least",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    metavar="P",
    help="And what the probe scores at least this.",
)
@click.option(
    "--budget",
    type=click.IntRange(min=0),
    default=None,
    metavar="N",
    help="So many photos may wait for a verdict (default, and at most: suspects_max of the authority).",
)
@click.option("--then", type=click.Choice(["bytes"]), default=None, help="Fetch the suspects and match their digests.")
@workers_option
@executor_options
@click.option("--quiet", is_flag=True, help="No progress.")
@config_option
@json_option
def scan(run: str, config: str | None, **options: Any) -> int:
    """Search RUN for photos like those that are confirmed, and hand them to the authority, sealed, as suspects.

    Photos that were handed over before are not handed over again. A scan that stopped goes on when the same command is given again.
    """
    site = load_site(config)
    request = SimilarRequest(
        run=run,
        vectors=options["vectors"],
        column=options["column"],
        probes=options["probes"],
        seeds=options["seeds"],
        wanted=Wanted(
            model=options["model"],
            meaning=Meaning(options["meaning"]),
            top=options["top"],
            above=options["above"],
            least=options["least"],
            budget=budget_of(site, options["budget"]),
        ),
        fetch=options["then"] == "bytes",
        workers=options["workers"],
        cluster=cluster_of(options["executor"], options["address"], options["workers"]),
    )
    told = (lambda _: None) if options["quiet"] else Lines().tell
    report = conduct(prepare_similar(site, request, told), quiet=options["quiet"])
    say(report, json_=options["json_"])
    return report.exit_code


def budget_of(site: Site, asked: int | None) -> int:
    """How many photos may wait for a verdict: as many as the authority wants, or fewer. Raises InputError for more."""
    most = site.config.authority.suspects_max
    if asked is not None and asked > most:
        raise InputError(
            f"a budget of {asked:,} photos is more than the authority wants to judge: {most:,}",
            hint="suspects_max in the configuration is the authority's to set",
        )
    return most if asked is None else asked
