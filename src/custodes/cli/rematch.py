"""``custodes rematch``."""

from __future__ import annotations

from pathlib import Path

import click

from custodes.cli.options import config_option, json_option, workers_option
from custodes.cli.scan import conduct, say
from custodes.config import load_site
from custodes.jobs import prepare_rematch

__all__ = ["rematch"]


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--list", "list_ids", multiple=True, metavar="ID", help="Only these lists (default: all).")
@workers_option
@click.option("--quiet", is_flag=True, help="No progress.")
@config_option
@json_option
def rematch(run: Path, list_ids: tuple[str, ...], config: str | None, *, workers: int, quiet: bool, json_: bool) -> int:
    """Compare the digests that RUN keeps with today's lists. Nothing is fetched."""
    report = conduct(prepare_rematch(load_site(config), run, list_ids, workers), quiet=quiet)
    say(report, json_=json_)
    return report.exit_code
