"""``custodes rematch``."""

from __future__ import annotations

import click

from custodes.cli.options import (
    cluster_of,
    config_option,
    executor_options,
    json_option,
    metrics_option,
    workers_option,
)
from custodes.cli.scan import conduct, counted_at, say
from custodes.config import load_site
from custodes.jobs import prepare_rematch

__all__ = ["rematch"]


@click.command()
@click.argument("run")
@click.option("--list", "list_ids", multiple=True, metavar="ID", help="Only these lists (default: all).")
@workers_option
@executor_options
@metrics_option
@click.option("--quiet", is_flag=True, help="No progress.")
@config_option
@json_option
def rematch(
    run: str,
    list_ids: tuple[str, ...],
    config: str | None,
    *,
    workers: int,
    executor: str,
    address: str | None,
    metrics: str | None,
    quiet: bool,
    json_: bool,
) -> int:
    """Compare the digests that RUN keeps with today's lists. Nothing is fetched."""
    site, cluster = load_site(config), cluster_of(executor, address, workers)
    with counted_at(metrics) as counts:
        job = prepare_rematch(site, run, list_ids, workers, cluster)
        report = conduct(job, quiet=quiet, metrics=counts)
    say(report, json_=json_)
    return report.exit_code
